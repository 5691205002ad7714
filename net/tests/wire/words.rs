//! Four-letter words: the whitelist, and the shape of each answer.

use crate::on_one_and_four_shards;
use crate::support::raw::Raw;
use crate::support::record::{self, mode, op};
use crate::support::server::{Server, ServerConfig, four_letter};
use crate::support::session::Session;
use crate::support::wait_for;
use std::time::Duration;

on_one_and_four_shards!(
    only_srvr_is_allowed_by_default,
    a_whitelist_names_words,
    short_answers,
    srvr_and_stat,
    mntr,
    checkpoints_are_counted,
    cons_and_resets,
    conf,
    envi,
    dirs_and_trace_mask,
    watches_by_connection_and_path,
    dump,
    words_need_no_line_end_and_take_tails,
);

fn ask(server: &Server, word: &str) -> String {
    four_letter(server.address(), word.as_bytes()).unwrap()
}

/// Whether the text has the pattern's words in order, `#` standing for a number and `*` for any rest of a line.
fn shaped(text: &str, pattern: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let patterns: Vec<&str> = pattern.lines().map(str::trim_start).collect();
    lines.len() == patterns.len()
        && lines.iter().zip(&patterns).all(|(line, pattern)| line_shaped(line.trim_start(), pattern))
}

fn line_shaped(line: &str, pattern: &str) -> bool {
    let Some(at) = pattern.find(['#', '*']) else { return line == pattern };
    let Some(rest) = line.strip_prefix(&pattern[..at]) else { return false };
    if pattern[at..].starts_with('*') {
        return true;
    }
    let digits = rest.find(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == '-')).unwrap_or(rest.len());
    digits > 0 && line_shaped(&rest[digits..], &pattern[at + 1..])
}

fn expect(text: &str, pattern: &str) {
    assert!(shaped(text, pattern), "expected the shape\n{pattern}\ngot\n{text}");
}

fn only_srvr_is_allowed_by_default(shards: usize) {
    let server = ServerConfig::new(shards).set("4lw.commands.whitelist", "srvr").start();
    for word in [
        "ruok", "isro", "stat", "mntr", "conf", "cons", "crst", "srst", "dump", "envi", "dirs", "wchs", "wchc", "wchp",
        "hash", "gtmk",
    ] {
        assert_eq!(ask(&server, word), format!("{word} is not executed because it is not in the whitelist.\n"));
    }
    assert!(ask(&server, "srvr").contains("Mode: standalone\n"));
}

fn a_whitelist_names_words(shards: usize) {
    let server = ServerConfig::new(shards).set("4lw.commands.whitelist", "ruok, stat").start();
    assert_eq!(ask(&server, "ruok"), "imok");
    assert!(ask(&server, "stat").contains("Mode: standalone\n"));
    assert_eq!(ask(&server, "mntr"), "mntr is not executed because it is not in the whitelist.\n");
    // Always enabled, so that the status script works.
    assert!(ask(&server, "srvr").contains("Mode: standalone\n"));
}

fn short_answers(shards: usize) {
    let server = Server::start(shards);
    assert_eq!(ask(&server, "ruok"), "imok");
    assert_eq!(ask(&server, "isro"), "rw");
    assert_eq!(ask(&server, "gtmk"), "306");
    assert_eq!(ask(&server, "hash"), "");
    let mut raw = Raw::connect(server.address());
    raw.send_bytes(&[0xff, 0xf4, 0xff, 0xfd]);
    raw.expect_close();
}

const SRVR: &str = "Latency min/avg/max: #/#/#
    Received: #
    Sent: #
    Connections: #
    Outstanding: #
    Zxid: 0x#
    Mode: standalone
    Node count: #";

fn srvr_and_stat(shards: usize) {
    let server = Server::start(shards);
    expect(&ask(&server, "srvr"), &format!("Zookeeper version: *\n{SRVR}"));
    let version = ask(&server, "srvr").lines().next().unwrap().to_owned();
    let number = version.strip_prefix("Zookeeper version: ").unwrap();
    let (release, _) = number.split_once('-').unwrap();
    assert!(
        release.split('.').all(|part| part.parse::<u32>().is_ok()) && release.matches('.').count() == 2,
        "{number}"
    );
    // The root counts twice.
    assert!(ask(&server, "srvr").ends_with("Node count: 5\n"));
    let mut session = Session::open(server.address());
    for n in 0..10 {
        session.create(&format!("/n{n}"), b"");
    }
    let text = ask(&server, "srvr");
    assert!(text.contains("\nZxid: 0xb\n") && text.ends_with("Node count: 15\n"), "{text}");
    assert!(text.contains("\nConnections: 2\n"), "{text}");
    let text = ask(&server, "stat");
    let (clients, rest) = text.split_once("\n\n").unwrap();
    expect(rest, SRVR);
    let mut lines = clients.lines().skip(1);
    assert_eq!(lines.next(), Some("Clients:"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        expect(line, " /127.0.0.1:#[#](queued=#,recved=#,sent=#)");
    }
}

fn mntr(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"12345");
    session.create_as("/e", mode::EPHEMERAL);
    session.call(op::GET_DATA, &record::read("/a", true)).ok();
    let text = ask(&server, "mntr");
    let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once('\t').unwrap()).collect();
    assert_eq!((lines[0].0, lines[1]), ("zk_version", ("zk_server_state", "standalone")));
    let value = |key: &str| lines.iter().find(|(known, _)| *known == key).unwrap_or_else(|| panic!("{key}\n{text}")).1;
    for (key, expected) in [
        ("zk_znode_count", "7"),
        ("zk_watch_count", "1"),
        ("zk_ephemerals_count", "1"),
        ("zk_global_sessions", "1"),
        ("zk_local_sessions", "0"),
        ("zk_num_alive_connections", "2"),
    ] {
        // Counts are integers or Java doubles of integral value.
        assert_eq!(value(key).trim_end_matches(".0"), expected, "{key}");
    }
    for key in [
        "zk_avg_latency",
        "zk_min_latency",
        "zk_max_latency",
        "zk_packets_received",
        "zk_packets_sent",
        "zk_outstanding_requests",
        "zk_uptime",
        "zk_approximate_data_size",
        "zk_open_file_descriptor_count",
        "zk_max_file_descriptor_count",
        "zk_connection_rejected",
        "zk_bytes_received_count",
        "zk_commit_count",
        "zk_avg_readlatency",
        "zk_p99_readlatency",
        "zk_cnt_updatelatency",
        "zk_sum_fsynctime",
        "zk_cnt_node_created_watch_count",
    ] {
        assert!(value(key).parse::<f64>().is_ok(), "{key} {}", value(key));
    }
}

fn checkpoints_are_counted(shards: usize) {
    let server = ServerConfig::new(shards).set("snapCount", "10").start();
    let mut session = Session::open(server.address());
    for number in 0..20 {
        session.create(&format!("/{number}"), b"");
    }
    wait_for("a checkpoint in mntr", Duration::from_secs(60), || {
        let text = ask(&server, "mntr");
        text.lines().any(|line| line.starts_with("zk_cnt_snapshottime\t") && !line.ends_with("\t0")).then_some(())
    });
}

fn cons_and_resets(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    let text = ask(&server, "cons");
    assert!(text.ends_with("\n\n"), "{text:?}");
    let line = text.lines().find(|line| line.contains("sid=")).unwrap();
    expect(
        line,
        " /127.0.0.1:#[#](queued=#,recved=#,sent=#,sid=0x#,lop=CREA,est=#,to=20000,lcxid=0x1,lzxid=0x2,lresp=#,llat=#,minlat=#,avglat=#,maxlat=#)",
    );
    assert!(line.contains(&format!("sid=0x{:x},", session.id)));
    assert_eq!(ask(&server, "crst"), "Connection stats reset.\n");
    assert_eq!(ask(&server, "srst"), "Server stats reset.\n");
    let text = ask(&server, "srvr");
    let received = text.lines().find_map(|line| line.strip_prefix("Received: ")).unwrap();
    assert!(received.parse::<u64>().unwrap() < 5, "{text}");
}

fn conf(shards: usize) {
    let server = ServerConfig::new(shards).set("maxClientCnxns", "77").start();
    let text = ask(&server, "conf");
    let port = server.address().port();
    for line in [
        &format!("clientPort={port}"),
        "secureClientPort=-1",
        "tickTime=1000",
        "maxClientCnxns=77",
        "minSessionTimeout=2000",
        "maxSessionTimeout=20000",
        "clientPortListenBacklog=-1",
        "serverId=0",
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line} in\n{text}");
    }
    for key in ["dataDir=", "dataDirSize=", "dataLogDir=", "dataLogSize="] {
        assert!(text.lines().any(|seen| seen.starts_with(key)), "{key} in\n{text}");
    }
}

fn envi(shards: usize) {
    let server = Server::start(shards);
    let text = ask(&server, "envi");
    assert!(text.starts_with("Environment:\n"), "{text}");
    for key in
        ["zookeeper.version=", "host.name=", "java.version=", "os.name=Linux", "os.arch=", "user.name=", "user.dir="]
    {
        assert!(text.lines().any(|line| line.starts_with(key)), "{key} in\n{text}");
    }
}

fn dirs_and_trace_mask(shards: usize) {
    let server = Server::start(shards);
    expect(&ask(&server, "dirs"), "datadir_size: #\nlogdir_size: #");
    let mut raw = Raw::connect(server.address());
    raw.send_bytes(b"stmk\0\0\0\0\0\0\0\x05");
    assert_eq!(raw.read_to_end(), b"5");
    assert_eq!(ask(&server, "gtmk"), "5");
}

fn watches_by_connection_and_path(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let mut other = Session::open(server.address());
    for path in ["/a", "/b"] {
        session.create(path, b"");
        session.call(op::GET_DATA, &record::read(path, true)).ok();
    }
    other.call(op::SYNC, &record::path("/")).ok();
    other.call(op::EXISTS, &record::read("/a", true)).ok();
    // Child watches are not shown.
    other.call(op::GET_CHILDREN, &record::read("/b", true)).ok();
    expect(&ask(&server, "wchs"), "2 connections watching 2 paths\nTotal watches:3");
    let by_connection = ask(&server, "wchc");
    let blocks = |text: &str| {
        let mut blocks: Vec<Vec<String>> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix('\t') {
                Some(inner) => blocks.last_mut().unwrap().push(inner.to_owned()),
                None => blocks.push(vec![line.to_owned()]),
            }
        }
        blocks.iter_mut().for_each(|block| block[1..].sort());
        blocks.sort();
        blocks
    };
    let (first, second) = (format!("0x{:x}", session.id), format!("0x{:x}", other.id));
    let mut expected =
        vec![vec![first.clone(), "/a".to_owned(), "/b".to_owned()], vec![second.clone(), "/a".to_owned()]];
    expected.sort();
    assert_eq!(blocks(&by_connection), expected);
    let mut both = [first.clone(), second];
    both.sort();
    let expected = [[vec!["/a".to_owned()], both.to_vec()].concat(), vec!["/b".to_owned(), first]];
    assert_eq!(blocks(&ask(&server, "wchp")), expected);
}

fn dump(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create_as("/e", mode::EPHEMERAL);
    let text = ask(&server, "dump");
    assert!(text.starts_with("SessionTracker dump:\nSession Sets (1)/(1):\n"), "{text}");
    assert!(text.contains("\nephemeral nodes dump:\nSessions with Ephemerals (1):\n"), "{text}");
    assert!(text.contains(&format!("\n0x{:x}:\n\t/e\n", session.id)), "{text}");
    assert!(text.contains("\nConnections dump:\nConnections Sets ("), "{text}");
    assert!(text.contains(&format!(" sessionId: 0x{:x}", session.id)), "{text}");
}

fn words_need_no_line_end_and_take_tails(shards: usize) {
    let server = Server::start(shards);
    for tail in ["", "\n", "\r\n", " and more\n"] {
        assert_eq!(ask(&server, &format!("ruok{tail}")), "imok");
    }
    // Byte by byte as well.
    let mut raw = Raw::connect(server.address());
    for byte in b"isro" {
        raw.send_bytes(&[*byte]);
    }
    assert_eq!(raw.read_to_end(), b"rw");
}
