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
        use benches::driver::Bulk;
        use benches::wire::request;
        use net::proto::OpCode;
        let mut bulk = Bulk::open(&self.servers(), 1, 1, &Stop::default()).unwrap();
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

    /// Waits until a run that creates is under way: until its first folder for new nodes holds something.
    pub fn wait_for_creates(&self) {
        wait_for("a node that a run created", || {
            let run = self.children("/ringkeeper-load")?.pop()?;
            let created = self.children(&format!("/ringkeeper-load/{run}/new-0/n00"))?;
            (!created.is_empty()).then_some(())
        });
    }
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
