//! Servers to measure, alone or as ensembles: started on free loopback ports with directories of their own, stopped when
//! dropped.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a restart is tried.
const RESTART_LIMIT: Duration = Duration::from_secs(15);
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// The servers that a comparison knows how to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ringkeeper with this many shard cores.
    Ringkeeper {
        /// The program.
        program: PathBuf,
        /// `--shard-cores`.
        shard_cores: u32,
    },
    /// Apache ZooKeeper from Debian's package, default settings.
    Zookeeper {
        /// `-Xmx`, if not the JVM's own choice.
        heap: Option<String>,
    },
    /// Redis without persistence.
    Redis,
}

impl Kind {
    /// How reports name it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Ringkeeper { .. } => "ringkeeper",
            Kind::Zookeeper { .. } => "zookeeper",
            Kind::Redis => "redis",
        }
    }

    fn command(&self, folder: &Path, port: u16, membership: &str) -> io::Result<Command> {
        let config = folder.join("zoo.cfg");
        if *self != Kind::Redis {
            let data = folder.join("data");
            let text = format!(
                "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
                 admin.enableServer=false\n4lw.commands.whitelist=*\n{membership}",
                data.display()
            );
            std::fs::write(&config, text)?;
        }
        Ok(match self {
            Kind::Ringkeeper { program, shard_cores } => {
                let mut command = Command::new(program);
                command.arg("serve").arg(config).args(["--shard-cores", &shard_cores.to_string()]);
                command
            }
            Kind::Zookeeper { heap } => {
                let mut command = Command::new("java");
                command.args(heap.iter().map(|heap| format!("-Xmx{heap}")));
                command.arg("-Dzookeeper.root.logger=WARN,CONSOLE").arg("-Dzookeeper.log.threshold=WARN");
                command.args(["-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"]);
                command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
                command
            }
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
                command.arg("--dir").arg(folder);
                command
            }
        })
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    kind: Kind,
    folder: PathBuf,
    pin: Option<usize>,
    /// The lines of its configuration that name the members of its ensemble; none if it stands alone.
    membership: String,
}

impl Server {
    /// Starts it in `folder` (which may hold the data of an earlier start) on a free port, on one core if `pin` names
    /// it, and waits until it answers.
    ///
    /// # Errors
    /// The program is missing, exits, or does not answer within a minute; the message has the end of its log.
    pub fn start(kind: &Kind, folder: &Path, pin: Option<usize>) -> io::Result<Server> {
        let [port] = free_ports()?;
        let mut server = Server::begin(kind, folder, port, pin, String::new())?;
        server.wait_until_ready()?;
        Ok(server)
    }

    fn begin(kind: &Kind, folder: &Path, port: u16, pin: Option<usize>, membership: String) -> io::Result<Server> {
        Ok(Server {
            child: spawn(kind, folder, port, pin, &membership)?,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            kind: kind.clone(),
            folder: folder.to_owned(),
            pin,
            membership,
        })
    }

    /// Kills it (SIGKILL), and starts it again on the same port and directory. The kernel may hold the port and the lock on
    /// the directory for a moment after the end of a process with many connections, so that an end of the new one is
    /// taken for that, for a while.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        let until = Instant::now() + RESTART_LIMIT;
        loop {
            self.child = spawn(&self.kind, &self.folder, self.address.port(), self.pin, &self.membership)?;
            match self.wait_until_ready() {
                Err(_) if self.child.try_wait()?.is_some() && Instant::now() < until => {
                    std::thread::sleep(RESTART_PAUSE)
                }
                result => return result,
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let (kind, log) = (self.kind.clone(), log_path(&self.kind, &self.folder));
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{} ended: {status}: {}", kind.name(), last_words(&log))));
            }
            let question: &[u8] = if kind == Kind::Redis { b"PING\r\n" } else { b"srvr" };
            if self.ask(question).is_ok_and(|answer| answer.contains("PONG") || answer.contains("Mode:")) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::other(format!("{} does not answer: {}", kind.name(), last_words(&log))))
    }

    fn ask(&self, question: &[u8]) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(question)?;
        let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&chunk[..read]),
                Err(error) if answer.is_empty() => return Err(error),
                Err(_) => break,
            }
            if answer.ends_with(b"PONG\r\n") {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Members of one ensemble, on this machine.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<Server>,
}

impl Ensemble {
    /// Starts so many servers of a kind (one: a lone server) in folders of their own below `folder`, which is empty, and
    /// waits until each of them serves.
    ///
    /// # Errors
    /// As [`Server::start`]. Redis has no ensembles.
    pub fn start(kind: &Kind, size: u32, folder: &Path, pin: Option<usize>) -> io::Result<Ensemble> {
        if size == 1 {
            return Ok(Ensemble { members: vec![Server::start(kind, folder, pin)?] });
        }
        if *kind == Kind::Redis {
            return Err(io::Error::other("redis stands alone: leave --ensemble away"));
        }
        let ports = (0..size).map(|_| free_ports()).collect::<io::Result<Vec<[u16; 3]>>>()?;
        let lines = (1..).zip(&ports).map(|(number, [client, quorum, election])| {
            format!("server.{number}=127.0.0.1:{quorum}:{election};127.0.0.1:{client}\n")
        });
        let membership = "initLimit=10\nsyncLimit=5\n".to_owned() + &lines.collect::<String>();
        let mut members = Vec::new();
        for (number, [client, ..]) in (1..).zip(&ports) {
            let home = folder.join(number.to_string());
            std::fs::create_dir_all(home.join("data"))?;
            std::fs::write(home.join("data/myid"), number.to_string())?;
            members.push(Server::begin(kind, &home, *client, pin, membership.clone())?);
        }
        for member in &mut members {
            member.wait_until_ready()?;
        }
        Ok(Ensemble { members })
    }

    /// Where they listen for clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Server::address).collect()
    }

    /// Their processes.
    pub fn processes(&self) -> Vec<u32> {
        self.members.iter().map(Server::pid).collect()
    }
}

/// Ports of the loopback that nobody listens on.
fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let held = (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<Vec<_>>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn log_path(kind: &Kind, folder: &Path) -> PathBuf {
    folder.join(format!("{}.log", kind.name()))
}

/// The end of a log, which goes with its folder.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

fn spawn(kind: &Kind, folder: &Path, port: u16, pin: Option<usize>, membership: &str) -> io::Result<Child> {
    let plain = kind.command(folder, port, membership)?;
    let mut command = match pin {
        Some(core) => {
            let mut pinned = Command::new("taskset");
            pinned.arg("-c").arg(core.to_string()).arg(plain.get_program()).args(plain.get_args());
            pinned
        }
        None => plain,
    };
    let output = std::fs::File::options().create(true).append(true).open(log_path(kind, folder))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.spawn().map_err(|error| io::Error::other(format!("{} cannot be started: {error}", kind.name())))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed rather than asked: what is measured is over, and the directory is the caller's to remove.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
