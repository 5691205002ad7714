//! `ringkeeper cli` as a command that scripts run: output and exit codes of zkCli, one command at a time, and a prompt
//! that reads its lines from a pipe. Apache's own zkCli against the server, too.
//!
//! Against the reference (`support`), Apache's zkCli takes the place of ours, so that the expectations are held against
//! the original.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use support::record::{self, mode, op};
use support::server::{Server, ServerConfig, class_path, ringkeeper_binary, server_jars};
use support::session::Session;
use support::tools::has_java;
use support::{is_reference, only_ringkeeper};

/// A server and the client to try.
struct Cli {
    server: Server,
    apache: bool,
}

struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Cli {
    fn start() -> Cli {
        Cli { server: ServerConfig::new(2).start(), apache: is_reference() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = if self.apache {
            let mut java = Command::new("java");
            java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
            java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", &class_path(server_jars())]);
            java.arg("org.apache.zookeeper.ZooKeeperMain");
            java
        } else {
            let mut ours = Command::new(ringkeeper_binary());
            ours.arg("cli");
            ours
        };
        command.args(["-server", &self.server.hosts()]).args(words);
        command.env("HOME", self.server.data().parent().unwrap()).env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Run {
        Run::of(self.command(words).output().unwrap())
    }

    /// The command works, and this is what it prints.
    fn prints(&self, words: &[&str], out: &str, err: &str) {
        let run = self.run(words);
        assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, out, err), "{words:?}");
    }

    /// The command fails with 1 and this message.
    fn fails(&self, words: &[&str], message: &str) {
        let run = self.run(words);
        assert_eq!((run.code, run.out.as_str(), run.err.trim()), (1, "", message), "{words:?}");
    }

    fn session(&self) -> Session {
        Session::open(self.server.address())
    }
}

impl Run {
    fn of(output: Output) -> Run {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run {
            code: output.status.code().unwrap(),
            out: without_connection(&text(&output.stdout)),
            err: text(&output.stderr),
        }
    }
}

/// Output without what is told about the connection.
fn without_connection(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("Connecting to ") {
            continue;
        }
        if line.is_empty() && lines.peek() == Some(&"WATCHER::") {
            let event = lines.nth(2);
            assert!(event.is_some_and(|event| event.starts_with("WatchedEvent state:")), "{text}");
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[test]
fn create_get_set_delete() {
    let cli = Cli::start();
    cli.prints(&["create", "/a", "hello"], "", "Created /a\n");
    cli.prints(&["get", "/a"], "hello\n", "");
    cli.prints(&["set", "/a", "two words"], "", "");
    cli.prints(&["get", "/a"], "two words\n", "");
    cli.prints(&["set", "-v", "1", "/a", "3"], "", "");
    cli.fails(&["set", "-v", "1", "/a", "4"], "version No is not valid : /a");
    cli.fails(&["delete", "-v", "9", "/a"], "version No is not valid : /a");
    cli.prints(&["create", "/a/b"], "", "Created /a/b\n");
    cli.fails(&["delete", "/a"], "Node not empty: /a");
    cli.prints(&["delete", "/a/b"], "", "");
    cli.prints(&["delete", "-v", "2", "/a"], "", "");
    cli.fails(&["get", "/a"], "Node does not exist: /a");
    cli.fails(&["delete", "/a"], "Node does not exist: /a");
    cli.fails(&["set", "/a", "x"], "Node does not exist: /a");
    cli.fails(&["create", "/no/parent"], "Node does not exist: /no/parent");
}

#[test]
fn create_in_every_mode() {
    let cli = Cli::start();
    cli.prints(&["create", "/q"], "", "Created /q\n");
    cli.fails(&["create", "/q"], "Node already exists: /q");
    cli.prints(&["create", "-s", "/q/s-", "x"], "", "Created /q/s-0000000000\n");
    cli.prints(&["create", "-e", "/q/e", "x"], "", "Created /q/e\n");
    cli.prints(&["create", "-s", "-e", "/q/se-"], "", "Created /q/se-0000000002\n");
    cli.prints(&["create", "-c", "/q/c"], "", "Created /q/c\n");
    cli.prints(&["create", "-t", "1000000", "/q/t", "x"], "", "Created /q/t\n");
    let mut session = cli.session();
    // A one-shot command's session is over, or will be.
    support::wait_for("the ephemerals are gone", std::time::Duration::from_secs(60), || {
        support::pause(std::time::Duration::from_millis(100));
        (session.children("/q") == ["c", "s-0000000000", "t"]).then_some(())
    });
    let acl = "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=:cdrwa,world:anyone:r";
    cli.prints(&["create", "/acl", "x", acl], "", "Created /acl\n");
    let seen = session.call(op::GET_ACL, &record::path("/acl")).acl();
    assert_eq!((seen[0].0, seen[0].1.as_str(), seen[1].0, seen[1].1.as_str()), (31, "digest", 1, "world"));
    let mut owner = cli.session();
    owner.create_as("/eph", mode::EPHEMERAL);
    cli.fails(&["create", "/eph/x"], "Ephemerals cannot have children: /eph/x");
}

#[test]
fn list() {
    let cli = Cli::start();
    let mut session = cli.session();
    for path in ["/p", "/p/b", "/p/a", "/p/a/z", "/p/c"] {
        session.create(path, b"");
    }
    cli.prints(&["ls", "/p"], "[a, b, c]\n", "");
    cli.prints(&["ls", "/p/b"], "[]\n", "");
    cli.prints(&["ls", "/"], "[p, zookeeper]\n", "");
    cli.fails(&["ls", "/none"], "Node does not exist: /none");
    let recursive = cli.run(&["ls", "-R", "/p"]);
    assert_eq!(recursive.code, 0);
    // Siblings first, then the tree of each.
    assert_eq!(recursive.out, "/p\n/p/a\n/p/b\n/p/c\n/p/a/z\n");
    let with_stat = cli.run(&["ls", "-s", "/p"]);
    assert!(with_stat.out.starts_with("[a, b, c]\ncZxid = 0x"), "{}", with_stat.out);
    cli.prints(&["getAllChildrenNumber", "/p"], "4\n", "");
    session.call(op::CREATE, &record::create("/sealed", None, &[(31, "digest", "a:b")], 0)).ok();
    cli.fails(&["ls", "/sealed"], "Insufficient permission : /sealed");
}

/// The eleven lines in their order, with what is known of them.
fn stat_block(text: &str, known: &[(&str, &str)]) {
    let keys: Vec<&str> = text.lines().map(|line| line.split_once(" = ").unwrap().0).collect();
    assert_eq!(
        keys,
        [
            "cZxid",
            "ctime",
            "mZxid",
            "mtime",
            "pZxid",
            "cversion",
            "dataVersion",
            "aclVersion",
            "ephemeralOwner",
            "dataLength",
            "numChildren"
        ]
    );
    for (key, value) in known {
        assert!(text.lines().any(|line| line == format!("{key} = {value}")), "{key} = {value} in\n{text}");
    }
}

#[test]
fn stat_and_get_with_stat() {
    let cli = Cli::start();
    let mut session = cli.session();
    let zxid = session.create("/a", b"12345").zxid;
    session.create("/a/b", b"");
    session.set("/a", b"123456");
    let created = format!("{zxid:#x}");
    let known = [
        ("cZxid", created.as_str()),
        ("cversion", "1"),
        ("dataVersion", "1"),
        ("aclVersion", "0"),
        ("ephemeralOwner", "0x0"),
        ("dataLength", "6"),
        ("numChildren", "1"),
    ];
    let run = cli.run(&["stat", "/a"]);
    stat_block(&run.out, &known);
    let run = cli.run(&["get", "-s", "/a"]);
    let (data, block) = run.out.split_once('\n').unwrap();
    assert_eq!(data, "123456");
    stat_block(block, &known);
    let date = run.out.lines().find_map(|line| line.strip_prefix("ctime = ")).unwrap();
    assert!(date.contains(" UTC 20") && date.len() == "Sat Nov 21 00:00:54 UTC 2026".len(), "{date}");
    let run = cli.run(&["set", "-s", "/a", "x"]);
    stat_block(&run.out, &[("dataVersion", "2"), ("dataLength", "1")]);
    cli.fails(&["stat", "/none"], "Node does not exist: /none");
}

#[test]
fn access_lists() {
    let cli = Cli::start();
    let mut session = cli.session();
    session.create("/a", b"");
    cli.prints(&["getAcl", "/a"], "'world,'anyone\n: cdrwa\n", "");
    cli.prints(&["setAcl", "/a", "world:anyone:cra,ip:127.0.0.1:w"], "", "");
    cli.prints(&["getAcl", "/a"], "'world,'anyone\n: cra\n'ip,'127.0.0.1\n: w\n", "");
    cli.fails(&["setAcl", "-v", "7", "/a", "world:anyone:cdrwa"], "version No is not valid : /a");
    cli.fails(&["setAcl", "/a", "nope:x:cdrwa"], "Acl is not valid : /a");
    cli.fails(&["getAcl", "/none"], "Node does not exist: /none");
    session.call(op::CREATE, &record::create("/sealed", None, &[(31, "digest", "a:b")], 0)).ok();
    cli.fails(&["setAcl", "/sealed", "world:anyone:r"], "Insufficient permission : /sealed");
    cli.fails(&["set", "/sealed", "x"], "Insufficient permission : /sealed");
}

#[test]
fn quotas() {
    let cli = Cli::start();
    let mut session = cli.session();
    session.create("/q", b"12345");
    let none = cli.run(&["listquota", "/q"]);
    assert!((none.out.clone() + &none.err).contains("quota for /q does not exist."), "{}{}", none.out, none.err);
    assert_eq!(cli.run(&["setquota", "-n", "100", "/q"]).code, 0);
    assert_eq!(cli.run(&["setquota", "-B", "2000", "/q"]).code, 0);
    let (limits, _) = session.get("/zookeeper/quota/q/zookeeper_limits");
    assert_eq!(String::from_utf8(limits.unwrap()).unwrap(), "count=100,bytes=-1=;byteHardLimit=2000;countHardLimit=-1");
    let list = cli.run(&["listquota", "/q"]);
    assert_eq!(list.code, 0);
    let expected = "Output quota for /q count=100,bytes=-1=;byteHardLimit=2000;countHardLimit=-1\n\
        Output stat for /q count=1,bytes=5\n";
    assert_eq!(
        (list.out.as_str(), list.err.trim()),
        (expected, "absolute path is /zookeeper/quota/q/zookeeper_limits")
    );
    assert_eq!(cli.run(&["delquota", "-n", "/q"]).code, 0);
    let (limits, _) = session.get("/zookeeper/quota/q/zookeeper_limits");
    let limits = String::from_utf8(limits.unwrap()).unwrap();
    assert!(limits.contains("count=-1") && limits.contains("byteHardLimit=2000"), "{limits}");
    assert_eq!(cli.run(&["delquota", "/q"]).code, 0);
    assert_eq!(session.stat("/zookeeper/quota/q/zookeeper_limits"), None);
}

#[test]
fn deleteall_and_sync() {
    let cli = Cli::start();
    let mut session = cli.session();
    session.create("/d", b"");
    for n in 0..30 {
        session.create(&format!("/d/{n}"), b"");
        session.create(&format!("/d/{n}/x"), b"");
    }
    cli.prints(&["deleteall", "/d"], "", "");
    assert_eq!(session.stat("/d"), None);
    cli.fails(&["deleteall", "/d"], "Node does not exist: /d");
    cli.prints(&["sync", "/"], "Sync is OK\n", "");
}

#[test]
fn identity_and_configuration() {
    let cli = Cli::start();
    let who = cli.run(&["whoami"]);
    assert_eq!(who.code, 0);
    assert!(who.out.starts_with("Auth scheme: User\n") && who.out.contains("ip: 127.0.0.1\n"), "{}", who.out);
    let version = cli.run(&["version"]);
    assert!((version.out.clone() + &version.err).contains("ZooKeeper CLI version: "), "{}{}", version.out, version.err);
    let config = cli.run(&["config"]);
    assert_eq!((config.code, config.out.trim()), (0, ""));
    let reconfig = cli.run(&["reconfig", "-remove", "3"]);
    assert_eq!((reconfig.code, reconfig.err.trim()), (1, "KeeperErrorCode = Reconfig is disabled"));
    cli.prints(&["getEphemerals"], "[]\n", "");
}

#[test]
fn data_in_other_shapes() {
    if only_ringkeeper("options that came with 3.9") {
        return;
    }
    let cli = Cli::start();
    let mut session = cli.session();
    session.create("/a", &[0, 1, 2, 250, b'z']);
    cli.prints(&["get", "-b", "/a"], "AAEC+no=\n", "");
    let dump = cli.run(&["get", "-x", "/a"]);
    assert!(dump.out.contains("|00000000| 00 01 02 fa 7a"), "{}", dump.out);
    assert_eq!(cli.run(&["set", "-b", "/a", "aGk="]).code, 0);
    assert_eq!(session.get("/a").0.as_deref(), Some(&b"hi"[..]));
}

#[test]
fn wrong_calls() {
    let cli = Cli::start();
    let unknown = cli.run(&["nonsense"]);
    // zkCli's own code for it.
    assert_eq!(unknown.code, 127);
    assert!(unknown.err.contains("Command not found"), "{}", unknown.err);
    for words in [&["ls"][..], &["create"], &["set", "/a"], &["delete"], &["get", "-q", "/"]] {
        let run = cli.run(words);
        assert_eq!(run.code, 1, "{words:?} {} {}", run.out, run.err);
    }
    let run = cli.run(&["get", "no-slash"]);
    assert_eq!(run.code, 1, "{} {}", run.out, run.err);
    assert_eq!(cli.session().children("/"), ["zookeeper"]);
}

#[test]
fn a_server_that_is_not_there() {
    if only_ringkeeper("exit codes") {
        return;
    }
    let port = support::server::free_port();
    let command = |words: &[&str]| {
        let mut command = Command::new(ringkeeper_binary());
        command.args(["cli", "--server", &format!("127.0.0.1:{port}"), "--timeout", "2000"]).args(words);
        Run::of(command.stdin(Stdio::null()).output().unwrap())
    };
    let run = command(&["ls", "/"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("ConnectionLoss"), "{}", run.err);
    let run = Command::new(ringkeeper_binary()).args(["cli", "--server"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let run = Command::new(ringkeeper_binary()).args(["cli", "--nonsense"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
}

/// Lines for a prompt, through a pipe: create, watch, change, error, quit.
fn converse(cli: &Cli) -> Run {
    let mut child = cli.command(&[]).stdin(Stdio::piped()).spawn().unwrap();
    let lines = "create /talk one\nget -w /talk\nset /talk two\nget /talk\nls /talk/none\ncreate -e /talk/e\nls /talk\n\
        addauth digest bob:pw\ncreate /talk/mine x auth::cdrwa\nget /talk/mine\nquit\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    Run::of(child.wait_with_output().unwrap())
}

fn check_conversation(cli: &Cli, run: &Run) {
    for expected in ["one", "two", "[e]", "x"] {
        let found = run.out.lines().any(|line| line == expected || line.ends_with(&format!("] {expected}")));
        assert!(found, "{expected} in\n{}", run.out);
    }
    let both = run.out.clone() + &run.err;
    assert!(both.contains("Created /talk\n") && both.contains("Created /talk/mine\n"), "{both}");
    assert!(both.contains("Node does not exist: /talk/none"), "{both}");
    let mut session = cli.session();
    assert_eq!(session.get("/talk").1.version, 1);
    let sealed = session.call(op::GET_DATA, &record::read("/talk/mine", false));
    assert_eq!(sealed.err, record::err::NO_AUTH);
    // `quit` closes the session, and its ephemerals go.
    assert_eq!(session.children("/talk"), ["mine"]);
}

#[test]
fn a_conversation() {
    let cli = Cli::start();
    let run = converse(&cli);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    check_conversation(&cli, &run);
}

#[test]
fn a_conversation_with_apaches_zkcli() {
    if !has_java() {
        return;
    }
    let cli = Cli { apache: true, ..Cli::start() };
    let run = converse(&cli);
    check_conversation(&cli, &run);
}
