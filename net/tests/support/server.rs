//! The server under test, as a process of its own.

use super::{is_reference, pause, try_wait_for, wait_for};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// How long a server may take to serve (a JVM on a loaded machine is slow), and to stop.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What the reference reads from system properties and not from its file.
const PLAIN_PROPERTIES: [&str; 5] = [
    "jute.maxbuffer",
    "readonlymode.enabled",
    "znode.container.checkIntervalMs",
    "znode.container.maxPerMinute",
    "znode.container.maxNeverUsedIntervalMs",
];

/// Jars that the reference server and the Java clients need.
const SERVER_JARS: [&str; 15] = [
    "zookeeper",
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-simple",
    "netty-buffer",
    "netty-codec",
    "netty-common",
    "netty-handler",
    "netty-resolver",
    "netty-transport",
    "netty-transport-native-epoll",
    "netty-transport-native-unix-common",
    "commons-cli",
    "metrics-core",
    "snappy-java",
];

/// A server to start: shard cores and settings.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    shards: usize,
    settings: Vec<(String, String)>,
    wrapper: Vec<String>,
    reference: bool,
}

impl ServerConfig {
    /// The tests' usual server: ticks of one second, no limit on connections, every four-letter word, TTL nodes.
    pub fn new(shards: usize) -> ServerConfig {
        ServerConfig { shards, settings: Vec::new(), wrapper: Vec::new(), reference: is_reference() }
            .set("tickTime", "1000")
            .set("clientPortAddress", "127.0.0.1")
            .set("maxClientCnxns", "0")
            .set("4lw.commands.whitelist", "*")
            .set("extendedTypesEnabled", "true")
            .set("admin.enableServer", "false")
    }

    /// The same with `key` set to `value`.
    pub fn set(mut self, key: &str, value: &str) -> ServerConfig {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same with another number of shard cores.
    pub fn shards(mut self, shards: usize) -> ServerConfig {
        self.shards = shards;
        self
    }

    /// The same run by another program that takes the command line behind its own arguments (`nsenter`, `prlimit`).
    pub fn wrapped(mut self, wrapper: &[&str]) -> ServerConfig {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Apache ZooKeeper, whichever server is under test.
    pub fn reference(mut self) -> ServerConfig {
        self.reference = true;
        self
    }

    /// A serving server in a temporary directory of its own.
    pub fn start(self) -> Server {
        let directory = temporary_directory();
        let data = directory.path().join("data");
        let mut server = self.start_in(&data);
        server.directory = Some(directory);
        server
    }

    /// A serving server on this data directory.
    pub fn start_in(self, data: &Path) -> Server {
        let process = self.spawn(data, free_port());
        Server { process, data: data.to_owned(), config: self, directory: None }.when_serving()
    }

    /// The process alone, whether it will serve or not.
    pub fn spawn(&self, data: &Path, port: u16) -> Process {
        self.spawn_at(data, data.parent().unwrap(), port)
    }

    /// The same with the process's log and working directory in `scratch`.
    pub fn spawn_at(&self, data: &Path, scratch: &Path, port: u16) -> Process {
        let mut words = self.wrapper.clone();
        if self.reference {
            words.extend(self.reference_words(data, scratch, port));
        } else {
            words.extend(self.ringkeeper_words(data, port));
        }
        Process::spawn(&words, scratch, port)
    }

    fn ringkeeper_words(&self, data: &Path, port: u16) -> Vec<String> {
        let mut words = vec![ringkeeper_binary().display().to_string(), "serve".to_owned()];
        words.extend(["--data-dir".to_owned(), data.display().to_string()]);
        words.extend(["--client-port".to_owned(), port.to_string()]);
        words.extend(["--shard-cores".to_owned(), self.shards.to_string()]);
        for (key, value) in &self.settings {
            words.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        words
    }

    fn reference_words(&self, data: &Path, scratch: &Path, port: u16) -> Vec<String> {
        let file = scratch.join(format!("zoo-{port}.cfg"));
        let mut text = format!("dataDir={}\nclientPort={port}\n", data.display());
        let mut words: Vec<String> =
            ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(str::to_owned).to_vec();
        words.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned());
        for (key, value) in &self.settings {
            if PLAIN_PROPERTIES.contains(&key.as_str()) {
                words.push(format!("-D{key}={value}"));
            } else {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        fs::write(&file, text).unwrap();
        words.extend(["-cp".to_owned(), class_path(&SERVER_JARS)]);
        words.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned());
        words.push(file.display().to_string());
        words
    }
}

/// A class path of jars: Debian's, unless another folder is named.
pub fn class_path(jars: &[&str]) -> String {
    let folder = std::env::var("RINGKEEPER_TEST_JARS").unwrap_or_else(|_| "/usr/share/java".to_owned());
    jars.iter().map(|jar| format!("{folder}/{jar}.jar")).collect::<Vec<_>>().join(":")
}

/// All jars that the reference server needs.
pub fn server_jars() -> &'static [&'static str] {
    &SERVER_JARS
}

/// A server that serves. Dropping it stops it (SIGTERM, then SIGKILL); a failed test prints the end of its log.
#[derive(Debug)]
pub struct Server {
    process: Process,
    data: PathBuf,
    config: ServerConfig,
    directory: Option<TempDir>,
}

impl Server {
    /// The tests' usual server.
    pub fn start(shards: usize) -> Server {
        ServerConfig::new(shards).start()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.process.port))
    }

    /// The same as text, for foreign clients.
    pub fn hosts(&self) -> String {
        self.address().to_string()
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the process at once, as a power cut of the process would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait_for_exit(STOP_LIMIT)
    }

    /// Starts again on the same directory, on a new port, and waits until it serves.
    pub fn restart(&mut self) {
        self.restart_with_shards(self.config.shards);
    }

    /// Starts on the same directory and is killed before it may serve, as often as there are times to wait.
    pub fn start_and_kill(&mut self, waits: &[Duration]) {
        for wait in waits {
            self.process.kill();
            self.process = self.config.spawn(&self.data, free_port());
            try_wait_for(*wait, || self.process.exited());
            self.process.kill();
        }
    }

    /// The same with another number of shard cores.
    pub fn restart_with_shards(&mut self, shards: usize) {
        self.process.kill();
        self.config.shards = shards;
        self.process = self.config.spawn(&self.data, free_port());
        self.await_serving();
    }

    fn when_serving(mut self) -> Server {
        self.await_serving();
        self
    }

    fn await_serving(&mut self) {
        let address = self.address();
        let mut limit = START_LIMIT.as_millis() / 10;
        while !answers_srvr(address) {
            if let Some(status) = self.process.exited() {
                panic!("the server ended at start with {status}; its output:\n{}", self.process.log());
            }
            limit -= 1;
            assert!(limit > 0, "the server does not serve; its output:\n{}", self.process.log());
            pause(Duration::from_millis(10));
        }
    }
}

fn answers_srvr(address: SocketAddr) -> bool {
    // Patience is short: the reference may leave a word unanswered that comes while it starts.
    four_letter_within(address, b"srvr", Duration::from_secs(1)).is_ok_and(|answer| answer.contains("Mode: "))
}

/// Sends a four-letter word on a connection of its own and reads the answer to its end.
pub fn four_letter(address: SocketAddr, word: &[u8]) -> std::io::Result<String> {
    four_letter_within(address, word, Duration::from_secs(20))
}

/// The same, with so much time for the connection and for each read.
pub fn four_letter_within(address: SocketAddr, word: &[u8], patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A process with its output in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    port: u16,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command whose output goes to a file in `scratch`.
    pub fn spawn(words: &[String], scratch: &Path, port: u16) -> Process {
        fs::create_dir_all(scratch).unwrap();
        let log = scratch.join(format!("server-{port}.log"));
        let output = File::create(&log).unwrap();
        let mut command = Command::new(&words[0]);
        // Settings come by arguments alone; the tests' own variables are none of the server's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGKEEPER_")) {
            command.env_remove(name);
        }
        let child = command
            .args(&words[1..])
            .current_dir(scratch)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", words[0]));
        Process { child, port, log, ended: None }
    }

    /// The client port that it was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end.
    pub fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let ended = try_wait_for(limit, || self.exited());
        ended.unwrap_or_else(|| panic!("the server does not end; its output:\n{}", self.log()))
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Any signal, if the process has not ended.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        if self.exited().is_none() {
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
        if try_wait_for(Duration::from_secs(10), || self.exited()).is_none() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("--- the server's last lines ({:?})", self.ended);
            for line in &lines[lines.len().saturating_sub(60)..] {
                println!("{line}");
            }
        }
    }
}

/// A directory for one server's data.
pub fn temporary_directory() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ringkeeper-test-");
    match std::env::var_os("RINGKEEPER_TEST_DIR") {
        Some(parent) => builder.tempdir_in(parent).unwrap(),
        None => builder.tempdir().unwrap(),
    }
}

/// A port that nobody listens on, below the range that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    wait_for("a free port", Duration::from_secs(10), || {
        let offset = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + (offset % 12_000) as u16;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok().then_some(port)
    })
}

/// The program under test: the one of this build, next to the test programs' directory.
pub fn ringkeeper_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RINGKEEPER_TEST_BINARY") {
        return path.into();
    }
    if let Some(path) = option_env!("CARGO_BIN_EXE_ringkeeper") {
        return path.into();
    }
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("ringkeeper")
}
