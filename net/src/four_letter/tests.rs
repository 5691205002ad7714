//! Answers held against real output of Apache ZooKeeper 3.9.4.

use super::*;
use crate::connection::{ConnectionCounters, ConnectionInfo, Serving};
use crate::metrics::{AdvancedSummary, Basic, CoreMetrics, Counter};
use engine::ids::{ConnId, CoreId, SessionId};
use engine::zxid::Zxid;
use std::collections::HashSet;

const SESSION: SessionId = SessionId(0x0100_002c_a432_0008);

fn counters() -> ConnectionCounters {
    let mut latency = Basic::default();
    [0, 0, 3].into_iter().for_each(|value| latency.add(value));
    ConnectionCounters {
        established_ms: 2_977_632,
        received: 10,
        sent: 10,
        last_operation: "EXIS",
        last_cxid: 9,
        last_zxid: 0x44,
        last_response_ms: 2_987_682,
        last_latency_ms: 0,
        latency,
    }
}

fn snapshot() -> ServerSnapshot {
    let mut metrics = CoreMetrics::new();
    metrics.packets_received = 447;
    metrics.packets_sent = 448;
    [0, 21, 1].into_iter().for_each(|value| metrics.latency.add(value));
    let info = ConnectionInfo {
        peer: ([127, 0, 0, 1], 52182).into(),
        session: Some(SESSION),
        timeout_ms: 10_000,
        last_heard_ms: 2_987_682,
        outstanding: 0,
        is_reading: true,
        is_writing: false,
        counters: counters(),
    };
    let word = ConnectionInfo {
        peer: "[::1]:36830".parse().expect("an address"),
        session: None,
        timeout_ms: 0,
        last_heard_ms: 2_980_000,
        is_reading: false,
        counters: ConnectionCounters { received: 1, sent: 0, ..counters() },
        ..info.clone()
    };
    ServerSnapshot {
        version: version_text("2026-11-21 09:00 UTC"),
        serving: Serving::ReadWrite,
        state: ServerState::Standalone,
        peer_state: None,
        now_wall_ms: 1_795_219_254_309,
        now_mono_ms: 2_987_632,
        uptime_ms: 77,
        last_zxid: Zxid(0x44),
        connection_count: 2,
        outstanding: 0,
        node_count: 28,
        watch_count: 3,
        ephemeral_count: 1,
        approximate_data_bytes: 1000,
        global_sessions: 1,
        local_sessions: 0,
        open_files: 40,
        open_files_max: 1024,
        ensemble: None,
        quotas: vec![QuotaFigures {
            namespace: "app".to_owned(),
            count_limit: 100,
            bytes_limit: -1,
            count_usage: 4,
            bytes_usage: 7,
            exceeded: 2,
        }],
        metrics,
        directory_sizes: DirectorySizes { data: 67_109_358, log: 67_109_359 },
        conf: ConfFacts {
            client_port: 23910,
            secure_client_port: -1,
            data_dir: "/data/version-2".to_owned(),
            data_log_dir: "/data/version-2".to_owned(),
            tick_time_ms: 2000,
            max_client_cnxns: 60,
            session_timeout_min_ms: 4000,
            session_timeout_max_ms: 40_000,
            listen_backlog: -1,
            server_id: 0,
            sessionless_timeout_ms: 10_000,
            ensemble: None,
        },
        environment: vec![("zookeeper.version".to_owned(), "3.9.4-x".to_owned())],
        connections: vec![word, info],
        sessions: vec![SessionDeadline {
            session: SESSION,
            expires_mono_ms: 2_988_000,
            timeout_ms: 10_000,
            is_local: false,
        }],
        ephemerals: vec![(SESSION, vec!["/cap/e".into()])],
        watches: vec![
            WatchedPath { core: CoreId(0), conn: ConnId::default(), session: SESSION, path: "/b".into() },
            WatchedPath { core: CoreId(0), conn: ConnId::default(), session: SESSION, path: "/a".into() },
        ],
        digests: vec![(Zxid(0x80), 1371985504)],
        root_acl: [].into(),
        trace_mask: 306,
    }
}

fn text(word: Word, snapshot: &ServerSnapshot) -> String {
    answer(word, 0, snapshot).text
}

const SRVR: &str = "Latency min/avg/max: 0/7.3333/21\nReceived: 447\nSent: 448\nConnections: 2\nOutstanding: 0\n\
                    Zxid: 0x44\nMode: standalone\nNode count: 28\n";

#[test]
fn srvr_and_stat() {
    let mut snapshot = snapshot();
    let version = format!("Zookeeper version: {}\n", snapshot.version);
    assert!(version.starts_with("Zookeeper version: 3.9.4-ringkeeper-"));
    assert!(version.ends_with(", built on 2026-11-21 09:00 UTC\n"));
    assert_eq!(text(Word::Srvr, &snapshot), format!("{version}{SRVR}"));
    let clients = "Clients:\n /[0:0:0:0:0:0:0:1]:36830[0](queued=0,recved=1,sent=0)\n \
                   /127.0.0.1:52182[1](queued=0,recved=10,sent=10)\n\n";
    assert_eq!(text(Word::Stat, &snapshot), format!("{version}{clients}{SRVR}"));
    snapshot.serving = Serving::ReadOnly;
    let read_only = "READ-ONLY mode; serving only read-only clients\n";
    assert!(text(Word::Srvr, &snapshot).starts_with(&format!("{version}{read_only}Latency")));
    snapshot.state = ServerState::Leader;
    snapshot.ensemble = Some(EnsembleGauges {
        quorum_size: 3,
        synced_observers: 0,
        leader: Some(LeaderGauges {
            learners: 2,
            synced_followers: 2,
            synced_non_voting_followers: 0,
            pending_syncs: 0,
            uptime_ms: 5,
            proposals: SizeRange { last: 48, min: 36, max: 233 },
        }),
    });
    assert!(text(Word::Srvr, &snapshot).ends_with("Node count: 28\nProposal sizes last/min/max: 48/36/233\n"));
    assert!(text(Word::Mntr, &snapshot).contains("zk_synced_followers\t2\n"));
}

#[test]
fn cons() {
    let expected = " /[0:0:0:0:0:0:0:1]:36830[0](queued=0,recved=1,sent=0)\n \
                    /127.0.0.1:52182[1](queued=0,recved=10,sent=10,sid=0x100002ca4320008,lop=EXIS,\
                    est=1795219244309,to=10000,lcxid=0x9,lzxid=0x44,lresp=2987682,llat=0,\
                    minlat=0,avglat=1,maxlat=3)\n\n";
    let mut snapshot = snapshot();
    assert_eq!(text(Word::Cons, &snapshot), expected);
    snapshot.connections[1].counters.last_cxid = -1;
    snapshot.connections[1].is_writing = true;
    let shown = text(Word::Cons, &snapshot);
    assert!(shown.contains("[5](") && shown.contains(",to=10000,lzxid=0x44,"));
}

#[test]
fn conf() {
    let mut snapshot = snapshot();
    let standalone = "clientPort=23910\nsecureClientPort=-1\ndataDir=/data/version-2\ndataDirSize=67109358\n\
                      dataLogDir=/data/version-2\ndataLogSize=67109359\ntickTime=2000\nmaxClientCnxns=60\n\
                      minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=0\n";
    assert_eq!(text(Word::Conf, &snapshot), standalone);
    snapshot.conf.ensemble = Some(EnsembleConf {
        init_limit: 10,
        sync_limit: 5,
        election_ports: "23951".to_owned(),
        quorum_ports: "23941".to_owned(),
        is_observer: false,
        membership: "server.1=127.0.0.1:23941:23951:participant\nversion=100000000".to_owned(),
    });
    let ensemble = "initLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=23951\nquorumPort=23941\npeerType=0\n\
                    membership: \nserver.1=127.0.0.1:23941:23951:participant\nversion=100000000";
    assert_eq!(text(Word::Conf, &snapshot), format!("{standalone}{ensemble}"));
}

#[test]
fn dump() {
    let mut snapshot = snapshot();
    let shown = text(Word::Dump, &snapshot);
    let expected = "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at Sat Nov 21 00:00:54 UTC 2026:\n\
                    \t0x100002ca4320008\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100002ca4320008:\n\
                    \t/cap/e\nConnections dump:\nConnections Sets (1)/(2):\n\
                    2 expire at Sat Nov 21 00:01:06 UTC 2026:\n\tip: /[0:0:0:0:0:0:0:1]:36830 sessionId: 0x0\n\
                    \tip: /127.0.0.1:52182 sessionId: 0x100002ca4320008\n";
    assert_eq!(shown, expected);
    snapshot.state = ServerState::Follower;
    assert!(text(Word::Dump, &snapshot).contains("Global Sessions(1):\n0x100002ca4320008\t10000ms\n"));
    snapshot.sessions[0].is_local = true;
    assert!(text(Word::Dump, &snapshot).contains("dump:\nLocal Session Sets (1)/(1):\n"));
    snapshot.state = ServerState::Leader;
    assert!(text(Word::Dump, &snapshot).contains("Global Session Sets (0)/(0):\n"));
}

#[test]
fn watches() {
    let snapshot = snapshot();
    assert_eq!(text(Word::Wchs, &snapshot), "1 connections watching 2 paths\nTotal watches:2\n");
    assert_eq!(text(Word::Wchc, &snapshot), "0x100002ca4320008\n\t/a\n\t/b\n\n");
    assert_eq!(text(Word::Wchp, &snapshot), "/a\n\t0x100002ca4320008\n/b\n\t0x100002ca4320008\n\n");
}

#[test]
fn the_short_ones() {
    let mut snapshot = snapshot();
    for (word, expected) in [
        (Word::Ruok, "imok"),
        (Word::Isro, "rw"),
        (Word::Crst, "Connection stats reset.\n"),
        (Word::Srst, "Server stats reset.\n"),
        (Word::Dirs, "datadir_size: 67109358\nlogdir_size: 67109359\n"),
        (Word::Envi, "Environment:\nzookeeper.version=3.9.4-x\n"),
        (Word::Hash, "80: 1371985504\n"),
        (Word::Gtmk, "306"),
    ] {
        assert_eq!(text(word, &snapshot), expected);
    }
    let set = answer(Word::Stmk, -5, &snapshot);
    assert_eq!(set, Answer { text: "-5".to_owned(), effect: Some(Effect::SetTraceMask(-5)) });
    assert_eq!(answer(Word::Crst, 0, &snapshot).effect, Some(Effect::ResetConnections));
    assert_eq!(answer(Word::Srst, 0, &snapshot).effect, Some(Effect::ResetServer));
    snapshot.serving = Serving::ReadOnly;
    assert_eq!(text(Word::Isro, &snapshot), "ro");
    assert_eq!(refusal(Word::Ruok), "ruok is not executed because it is not in the whitelist.\n");
}

#[test]
fn envi_keeps_the_lines_that_tools_look_for() {
    let facts = EnvironmentFacts {
        host_name: "h".to_owned(),
        os_version: "6.18".to_owned(),
        user_name: "u".to_owned(),
        user_home: "/home/u".to_owned(),
        user_dir: "/".to_owned(),
        memory_free_max_total: [214 << 20, 1 << 30, 300 << 20],
    };
    let snapshot = ServerSnapshot { environment: facts.pairs("3.9.4-x, built on y"), ..snapshot() };
    let shown = text(Word::Envi, &snapshot);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..3], ["Environment:", "zookeeper.version=3.9.4-x, built on y", "host.name=h"]);
    assert_eq!(lines.len(), 19);
    for line in ["java.version=<NA>", "os.version=6.18", "user.dir=/", "os.memory.free=214MB", "os.memory.max=1024MB"] {
        assert!(lines.contains(&line), "{line}");
    }
}

#[test]
fn a_server_that_does_not_serve_says_so() {
    let mut snapshot = snapshot();
    snapshot.serving = Serving::No;
    let not_serving = "This ZooKeeper instance is not currently serving requests";
    for word in [Word::Srvr, Word::Stat, Word::Mntr, Word::Conf, Word::Cons, Word::Crst, Word::Srst, Word::Dump] {
        assert_eq!(answer(word, 0, &snapshot), Answer { text: format!("{not_serving}\n"), effect: None });
    }
    for word in [Word::Dirs, Word::Wchs, Word::Wchc, Word::Wchp] {
        assert_eq!(text(word, &snapshot), format!("{not_serving}\n"));
    }
    assert_eq!(text(Word::Hash, &snapshot), not_serving);
    assert_eq!(text(Word::Isro, &snapshot), "null");
    assert_eq!(text(Word::Ruok, &snapshot), "imok");
    assert!(text(Word::Envi, &snapshot).starts_with("Environment:\n"));
    assert_eq!(text(Word::Gtmk, &snapshot), "306");
}

#[test]
fn mntr_has_every_name_once_and_dashboards_find_theirs() {
    let mut snapshot = snapshot();
    snapshot.metrics.count(Counter::Proposals, 5);
    [1, 2, 300].into_iter().for_each(|ms| snapshot.metrics.add_advanced(AdvancedSummary::ReadLatency, ms));
    let shown = text(Word::Mntr, &snapshot);
    let lines: Vec<(&str, &str)> = shown.lines().map(|line| line.split_once('\t').expect("a tab")).collect();
    let names: HashSet<&str> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), lines.len());
    assert!(names.iter().all(|name| name.starts_with("zk_")));
    assert_eq!(lines[0], ("zk_version", &*snapshot.version));
    assert_eq!(lines[1], ("zk_server_state", "standalone"));
    for (name, value) in [
        ("zk_avg_latency", "7.3333"),
        ("zk_packets_received", "447"),
        ("zk_num_alive_connections", "2"),
        ("zk_znode_count", "28"),
        ("zk_approximate_data_size", "1000"),
        ("zk_connection_drop_probability", "0.0"),
        ("zk_last_client_response_size", "-1"),
        ("zk_app_quota_count_limit_per_namespace", "100"),
        ("zk_app_quota_exceeded_error_per_namespace", "2"),
        ("zk_proposal_count", "5"),
        ("zk_avg_fsynctime", "0.0"),
        ("zk_cnt_readlatency", "3"),
        ("zk_sum_readlatency", "303"),
        ("zk_avg_readlatency", "101.0"),
        ("zk_p50_readlatency", "2"),
        ("zk_p999_readlatency", "300"),
    ] {
        assert!(lines.contains(&(name, value)), "{name} {value}\n{shown}");
    }
    for name in [
        "outstanding_requests",
        "connection_rejected",
        "commit_count",
        "looking_count",
        "bytes_received_count",
        "sum_snapshottime",
        "cnt_election_time",
        "sum_updatelatency",
        "global_sessions",
        "local_sessions",
        "watch_count",
        "ephemerals_count",
        "open_file_descriptor_count",
        "max_file_descriptor_count",
        "uptime",
    ] {
        assert!(names.contains(&*format!("zk_{name}")), "{name}");
    }
}
