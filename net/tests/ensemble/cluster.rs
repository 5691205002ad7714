//! Several servers that are one ensemble, each a process of its own.

use crate::support::server::{
    Process, class_path, four_letter_within, free_port, ringkeeper_binary, server_jars, temporary_directory,
};
use crate::support::session::{Hello, Knock, Reply, Session};
use crate::support::wait_for;
use rustix::process::Signal;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a condition may take to come true: machines that run tests are slow.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long one answer may take before a client turns to another server.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Sessions last longer than any fault of these tests.
const SESSION_TIMEOUT_MS: i32 = 600_000;

/// Fewer than the servers queue for one connection.
const REQUESTS_AT_A_TIME: usize = 100;

/// Whose program a server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ringkeeper,
    Java,
}

/// One member.
pub struct Member {
    pub kind: Kind,
    pub sid: usize,
    observer: bool,
    host: Ipv4Addr,
    /// Not in the others' files: it joins by a reconfiguration.
    joins_later: bool,
    client_port: u16,
    pub quorum_port: u16,
    pub election_port: u16,
    settings: Vec<(String, String)>,
    /// What runs its program, and whatever looks after its data directory.
    wrapper: Vec<String>,
    /// Where its data directory is, unless beside those of the others.
    folder: Option<PathBuf>,
    properties: Vec<String>,
    process: Option<Process>,
    starts: u32,
    /// Its zoo.cfg names the data directory of another program.
    is_migrated: bool,
}

/// An ensemble; its servers have the numbers 1 and up. Dropping it stops every server.
pub struct Cluster {
    members: Vec<Member>,
    directory: TempDir,
}

impl Cluster {
    /// As many servers as there are kinds, the last `observers` of them observers. None is started.
    pub fn of(kinds: &[Kind], observers: usize) -> Cluster {
        let members = kinds.iter().enumerate().map(|(index, kind)| Member {
            kind: *kind,
            sid: index + 1,
            observer: index + observers >= kinds.len(),
            host: Ipv4Addr::LOCALHOST,
            joins_later: false,
            client_port: free_port(),
            quorum_port: free_port(),
            election_port: free_port(),
            settings: Vec::new(),
            wrapper: Vec::new(),
            folder: None,
            properties: Vec::new(),
            process: None,
            starts: 0,
            is_migrated: false,
        });
        Cluster { members: members.collect(), directory: temporary_directory() }
    }

    /// Voting Ringkeeper servers, all serving.
    pub fn serving(count: usize) -> Cluster {
        let mut cluster = Cluster::of(&vec![Kind::Ringkeeper; count], 0);
        cluster.start_all();
        cluster
    }

    /// The numbers of all members.
    pub fn all(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.sid).collect()
    }

    /// The members with these numbers removed.
    pub fn others(&self, without: &[usize]) -> Vec<usize> {
        self.all().into_iter().filter(|sid| !without.contains(sid)).collect()
    }

    pub fn member(&self, sid: usize) -> &Member {
        &self.members[sid - 1]
    }

    /// A setting for one member's next start.
    pub fn set(&mut self, sid: usize, key: &str, value: &str) {
        self.members[sid - 1].settings.push((key.to_owned(), value.to_owned()));
    }

    /// A member's address, and the words that run a command where it is.
    pub fn place(&mut self, sid: usize, host: Ipv4Addr, wrapper: Vec<String>) {
        let member = &mut self.members[sid - 1];
        (member.host, member.wrapper) = (host, wrapper);
    }

    /// The folder of a member's data directory, as seen by a command that is run by these words.
    pub fn store(&mut self, sid: usize, folder: &Path, wrapper: Vec<String>) {
        let member = &mut self.members[sid - 1];
        (member.folder, member.wrapper) = (Some(folder.to_owned()), wrapper);
    }

    /// A `name=value` for `-D` at every start of all members.
    pub fn define(&mut self, property: &str) {
        self.members.iter_mut().for_each(|member| member.properties.push(property.to_owned()));
    }

    /// The files of the others do not know this member.
    pub fn join_later(&mut self, sid: usize) {
        self.members[sid - 1].joins_later = true;
    }

    /// Gives a member other ports, client port included: in a configuration yet to come.
    pub fn move_member(&mut self, sid: usize) {
        let member = &mut self.members[sid - 1];
        (member.client_port, member.quorum_port, member.election_port) = (free_port(), free_port(), free_port());
    }

    /// The configuration file of a member.
    pub fn config_file(&self, sid: usize) -> PathBuf {
        self.directory.path().join(format!("zoo-{sid}.cfg"))
    }

    /// The line of a member in a configuration, in this role.
    pub fn line(&self, sid: usize, role: &str) -> String {
        let Member { host, quorum_port, election_port, client_port, .. } = self.member(sid);
        format!("server.{sid}={host}:{quorum_port}:{election_port}:{role};{host}:{client_port}")
    }

    pub fn data(&self, sid: usize) -> PathBuf {
        let suffix = if self.member(sid).is_migrated { "-migrated" } else { "" };
        self.folder(sid).join(format!("data-{sid}{suffix}"))
    }

    fn folder(&self, sid: usize) -> &Path {
        self.member(sid).folder.as_deref().unwrap_or(self.directory.path())
    }

    /// The member, which has been stopped, goes over to Ringkeeper, with the same zoo.cfg and an empty data directory.
    /// Returns the directory of Apache ZooKeeper, which stays as it is.
    pub fn migrate(&mut self, sid: usize) -> PathBuf {
        let left = self.data(sid);
        let member = &mut self.members[sid - 1];
        assert_eq!(member.kind, Kind::Java);
        (member.kind, member.is_migrated) = (Kind::Ringkeeper, true);
        left
    }

    /// The member, which has been stopped, goes back to Apache ZooKeeper, whose data directory is empty then. Returns that
    /// of Ringkeeper.
    pub fn migrate_back(&mut self, sid: usize) -> PathBuf {
        let left = self.data(sid);
        let member = &mut self.members[sid - 1];
        assert!(member.is_migrated);
        (member.kind, member.is_migrated) = (Kind::Java, false);
        fs::remove_dir_all(self.data(sid)).unwrap();
        left
    }

    pub fn address(&self, sid: usize) -> SocketAddr {
        SocketAddr::from((self.member(sid).host, self.member(sid).client_port))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all().into_iter().map(|sid| self.address(sid)).collect()
    }

    /// Starts every member and waits until all serve.
    pub fn start_all(&mut self) {
        for sid in self.all() {
            self.start(sid);
        }
        self.await_serving(&self.all());
    }

    /// Starts a member, on what its last run has left.
    pub fn start(&mut self, sid: usize) {
        let data = self.data(sid);
        self.write_myid(sid, &data);
        let file = self.config_file(sid);
        // A server that has been reconfigured has written its file itself.
        if !fs::read_to_string(&file).is_ok_and(|text| text.contains("dynamicConfigFile=")) {
            self.write_config(sid);
        }
        let member = &mut self.members[sid - 1];
        let mut words = member.wrapper.clone();
        match member.kind {
            Kind::Ringkeeper => words.extend([ringkeeper_binary().display().to_string(), "serve".to_owned()]),
            Kind::Java => words.extend(java_words(&member.properties)),
        }
        if member.kind == Kind::Ringkeeper {
            words.extend(member.properties.iter().map(|property| format!("-D{property}")));
        }
        words.push(file.display().to_string());
        if member.is_migrated {
            words.extend(["--data-dir".to_owned(), data.display().to_string()]);
        }
        member.starts += 1;
        let scratch = self.directory.path().join(format!("run-{sid}-{}", member.starts));
        member.process = Some(Process::spawn(&words, &scratch, member.client_port));
    }

    fn write_config(&self, sid: usize) {
        let mut text = format!("dataDir={}\n", self.folder(sid).join(format!("data-{sid}")).display());
        text += "tickTime=500\ninitLimit=60\nsyncLimit=20\nadmin.enableServer=false\n4lw.commands.whitelist=*\n";
        text += "maxClientCnxns=0\nmaxSessionTimeout=600000\nextendedTypesEnabled=true\n";
        for (key, value) in &self.member(sid).settings {
            writeln!(text, "{key}={value}").unwrap();
        }
        for member in self.members.iter().filter(|member| !member.joins_later || member.sid == sid) {
            let role = if member.observer { "observer" } else { "participant" };
            writeln!(text, "{}", self.line(member.sid, role)).unwrap();
        }
        fs::write(self.config_file(sid), text).unwrap();
    }

    /// By the member's wrapper, since its data directory may be out of sight here.
    fn write_myid(&self, sid: usize, data: &Path) {
        let script = r#"mkdir -p "$1" && echo "$2" > "$1/myid""#;
        let mut words = self.member(sid).wrapper.clone();
        words.extend(["sh", "-c", script, "sh"].map(str::to_owned));
        words.extend([data.display().to_string(), sid.to_string()]);
        let status = Command::new(&words[0]).args(&words[1..]).status().unwrap();
        assert!(status.success(), "{words:?}: {status}");
    }

    pub fn process(&mut self, sid: usize) -> &mut Process {
        self.members[sid - 1].process.as_mut().expect("the member was started")
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, sid: usize) {
        self.process(sid).kill();
    }

    /// SIGTERM, and waits until it is gone.
    pub fn stop(&mut self, sid: usize) {
        self.process(sid).terminate();
        self.process(sid).wait_for_exit(PATIENCE);
    }

    /// SIGSTOP.
    pub fn pause(&mut self, sid: usize) {
        self.process(sid).signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self, sid: usize) {
        self.process(sid).signal(Signal::CONT);
    }

    /// What `srvr` says of its mode, if it serves.
    pub fn mode(&self, sid: usize) -> Option<String> {
        let answer = four_letter_within(self.address(sid), b"srvr", Duration::from_secs(2)).ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// A figure of `mntr`.
    pub fn figure(&self, sid: usize, name: &str) -> Option<i64> {
        let answer = four_letter_within(self.address(sid), b"mntr", Duration::from_secs(20)).ok()?;
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'))?;
        line.trim().parse::<f64>().ok().map(|value| value as i64)
    }

    /// Waits until these members serve. A member that ends meanwhile fails the test.
    pub fn await_serving(&mut self, sids: &[usize]) {
        for sid in sids {
            wait_for(&format!("server {sid} to serve"), PATIENCE, || {
                let ended = self.process(*sid).exited();
                assert!(ended.is_none(), "server {sid} has ended: {ended:?}\n{}", self.process(*sid).log());
                self.mode(*sid)
            });
        }
    }

    /// Waits until one of these members leads, and says which.
    pub fn await_leader(&self, among: &[usize]) -> usize {
        wait_for("a leader", PATIENCE, || {
            among.iter().copied().find(|sid| self.mode(*sid).as_deref() == Some("leader"))
        })
    }

    /// Waits until the member is what is said.
    pub fn await_mode(&self, sid: usize, mode: &str) {
        wait_for(&format!("server {sid} to be {mode}"), PATIENCE, || {
            (self.mode(sid).as_deref() == Some(mode)).then_some(())
        });
    }

    /// Waits until the member's log has this text.
    pub fn await_log(&mut self, sid: usize, text: &str) {
        let process = self.process(sid);
        wait_for(&format!("`{text}` in the log of server {sid}"), PATIENCE, || {
            process.log().contains(text).then_some(())
        });
    }

    /// A session on this member.
    pub fn session(&self, sid: usize) -> Session {
        open(&[self.address(sid)], &Hello { timeout: SESSION_TIMEOUT_MS, ..Hello::default() })
    }

    /// Nobody has ended who was not told to, and the figures that must be 0 are.
    pub fn check_health(&mut self) {
        self.check_health_of(&self.all());
    }

    /// The same of these members alone, where the others need not serve.
    pub fn check_health_of(&mut self, sids: &[usize]) {
        for sid in sids.iter().copied() {
            let ended = self.process(sid).exited();
            assert!(ended.is_none(), "server {sid} has ended: {ended:?}\n{}", self.process(sid).log());
            let log = self.process(sid).log();
            assert!(!log.contains("panicked"), "server {sid} panicked:\n{log}");
            let mismatches = wait_for(&format!("the figures of server {sid}"), PATIENCE, || {
                self.figure(sid, "zk_digest_mismatches_count")
            });
            assert_eq!(mismatches, 0, "digest mismatches of server {sid}");
        }
    }
}

/// Opens a session, or moves one, to the first of these servers that takes it.
pub fn open(addresses: &[SocketAddr], hello: &Hello) -> Session {
    wait_for(&format!("one of {addresses:?} to take a session"), PATIENCE, || {
        addresses.iter().find_map(|address| match Session::knock(*address, hello, ANSWER_PATIENCE) {
            Knock::Open(mut session) => {
                session.expect_to_wait(PATIENCE);
                Some(*session)
            }
            Knock::Closed => None,
            Knock::Expired => panic!("session {:#x} was lost", hello.id),
        })
    })
}

/// Sends requests many at a time and reads their replies.
pub fn call_all(session: &mut Session, requests: &[(i32, Vec<u8>)]) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(requests.len());
    for window in requests.chunks(REQUESTS_AT_A_TIME) {
        for (code, body) in window {
            session.send(*code, body);
        }
        replies.extend(window.iter().map(|_| session.reply()));
    }
    replies
}

/// The ConnectRequest of a new session that lasts through any fault.
pub fn lasting() -> Hello {
    Hello { timeout: SESSION_TIMEOUT_MS, ..Hello::default() }
}

fn java_words(properties: &[String]) -> Vec<String> {
    let mut words: Vec<String> =
        ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(str::to_owned).to_vec();
    words.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=info".to_owned());
    words.extend(properties.iter().map(|property| format!("-D{property}")));
    words.extend(["-cp".to_owned(), class_path(server_jars())]);
    words.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned());
    words
}
