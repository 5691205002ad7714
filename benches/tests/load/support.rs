//! A server, the program, and looking at what is on the server.

use benches::server::{Kind, Server};
use benches::stop::Stop;
use benches::workload::Servers;
use rustix::process::Pid;
pub use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long something that must happen may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A Ringkeeper in a folder of its own.
pub struct Fixture {
    pub server: Server,
    pub folder: TempDir,
}

impl Fixture {
    pub fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let kind = Kind::Ringkeeper { program: ringkeeper(), shard_cores: 1 };
        let home = folder.path().join("server");
        std::fs::create_dir(&home).unwrap();
        Fixture { server: Server::start(&kind, &home, None).unwrap(), folder }
    }

    pub fn servers(&self) -> Servers {
        Servers::one(self.server.address())
    }

    /// The program with these words, and the server's address.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = program(words);
        command.args(["--servers", &self.server.address().to_string()]);
        command
    }

    /// Folder for reports.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Runs the program to its end with reports in [`out`](Self::out), and returns the JSON.
    pub fn report(&self, words: &[&str]) -> (Output, Value) {
        let output = self.command(words).arg("--out").arg(self.out()).output().unwrap();
        (output, report(&self.out()))
    }

    /// Whether there is anything that a run made.
    pub fn holds_something(&self) -> bool {
        self.children("/ringkeeper-load").is_some()
    }

    /// Names of the children of a node, if there is such a node.
    pub fn children(&self, path: &str) -> Option<Vec<String>> {
        children(&self.servers(), path)
    }

    /// Waits until a run that creates is under way: until its first folder for new nodes holds something.
    pub fn wait_for_creates(&self) {
        wait_for("a node that a run created", || {
            let run = self.children("/ringkeeper-load")?.pop()?;
            let created = self.children(&format!("/ringkeeper-load/{run}/new-0/n00"))?;
            (!created.is_empty()).then_some(())
        });
    }
}

/// Three servers, each started by a shell script, so that a command can start it again; all are killed in the end.
pub struct Ensemble {
    folder: TempDir,
    ports: Vec<u16>,
}

impl Ensemble {
    pub fn new() -> Ensemble {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..9).map(|_| free_port()).collect();
        let members: String = ports
            .chunks(3)
            .zip(1..)
            .map(|(ports, id): (_, u32)| {
                format!("server.{id}=127.0.0.1:{}:{}:participant;127.0.0.1:{}\n", ports[1], ports[2], ports[0])
            })
            .collect();
        let ports: Vec<u16> = ports.chunks(3).map(|ports| ports[0]).collect();
        for (port, id) in ports.iter().zip(1..) {
            let home = folder.path().join(port.to_string());
            std::fs::create_dir_all(home.join("data")).unwrap();
            std::fs::write(home.join("data/myid"), format!("{id}\n")).unwrap();
            let data = home.join("data").display().to_string();
            let config = format!(
                "tickTime=1000\ninitLimit=60\nsyncLimit=30\nmaxClientCnxns=0\nmaxSessionTimeout=600000\n\
                 admin.enableServer=false\n4lw.commands.whitelist=*\ndataDir={data}\n{members}"
            );
            std::fs::write(home.join("zoo.cfg"), config).unwrap();
        }
        let script = format!(
            "cd {}/${{SERVER##*:}} || exit 1\n{} serve zoo.cfg --shard-cores 1 </dev/null >>log 2>&1 &\necho $! >pid\n",
            folder.path().display(),
            ringkeeper().display()
        );
        std::fs::write(folder.path().join("start.sh"), script).unwrap();
        let ensemble = Ensemble { folder, ports };
        for server in ensemble.servers().addresses() {
            let mut start = Command::new("sh");
            start.args(["-c", &ensemble.start_command()]).env("SERVER", server.to_string());
            assert!(start.status().unwrap().success());
        }
        ensemble
    }

    pub fn servers(&self) -> Servers {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        hosts.join(",").parse().unwrap()
    }

    /// Starts the server whose address is in `SERVER`.
    pub fn start_command(&self) -> String {
        format!("sh {}/start.sh", self.folder.path().display())
    }

    /// Runs the program to its end, and returns the JSON.
    pub fn report(&self, words: &[&str]) -> (Output, Value) {
        let out = self.folder.path().join("out");
        let mut command = program(words);
        command.args(["--servers", &self.servers().to_string()]).arg("--out").arg(&out);
        let output = command.output().unwrap();
        assert!(out.join("report.json").exists(), "{}", text(&output.stderr));
        (output, report(&out))
    }

    /// Whether there is anything that a run made.
    pub fn holds_something(&self) -> bool {
        children(&self.servers(), "/ringkeeper-load").is_some()
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for port in &self.ports {
            let pid = std::fs::read_to_string(self.folder.path().join(port.to_string()).join("pid"));
            if let Some(pid) = pid.ok().and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
                // One that has ended is what is wanted.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// A port that nobody listens on, below the range that the kernel gives to outgoing connections.
fn free_port() -> u16 {
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    wait_for("a free port", || {
        let offset = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + (offset % 12_000) as u16;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok().then_some(port)
    })
}

/// Names of the children of a node, if there is such a node.
fn children(servers: &Servers, path: &str) -> Option<Vec<String>> {
    use benches::driver::Bulk;
    use benches::wire::request;
    use net::proto::OpCode;
    let mut bulk = Bulk::open(servers, 1, 1, &Stop::default()).unwrap();
    let (mut error, mut names) = (0, Vec::new());
    let list = |_, xid, out: &mut Vec<u8>| request::read(out, xid, OpCode::GetChildren, path.as_bytes(), false);
    bulk.all(1, list, |answer| {
        error = answer.error;
        if error == 0 {
            let mut reader = engine::jute::Reader::new(answer.body);
            let all = reader.vector(|reader| Ok(reader.string()?.map(|name| name.into_owned()))).unwrap();
            names = all.into_iter().flatten().flatten().collect();
        }
        Ok(())
    })
    .unwrap();
    bulk.close().unwrap();
    (error == 0).then_some(names)
}

/// The program with these words.
pub fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper-load"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end of a process, and kills it rather than waiting for ever.
pub fn wait_for_end(mut child: Child) -> Output {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it does not end: {}", text(&child.wait_with_output().unwrap().stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// Ringkeeper's program, beside that of the generator; built if nobody has.
pub fn ringkeeper() -> PathBuf {
    use std::sync::OnceLock;
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let program = Path::new(env!("CARGO_BIN_EXE_ringkeeper-load")).with_file_name("ringkeeper");
        if !program.exists() {
            let mut build = Command::new(env!("CARGO"));
            build
                .args(["build", "-p", "net", "-p", "benches", "--bin", "ringkeeper"])
                .current_dir(env!("CARGO_MANIFEST_DIR"));
            build.args((!cfg!(debug_assertions)).then_some("--release"));
            build.arg("--target-dir").arg(program.parent().and_then(Path::parent).unwrap());
            assert!(build.status().unwrap().success(), "{build:?}");
        }
        program
    };
    PROGRAM.get_or_init(find).clone()
}
