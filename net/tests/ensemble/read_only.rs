//! A server that has lost its quorum, and serves those who only read.

use crate::cluster::{ANSWER_PATIENCE, Cluster, Kind, PATIENCE, lasting, open};
use crate::support::record::{self, err, op};
use crate::support::server::{four_letter_within, temporary_directory};
use crate::support::session::{Hello, Knock, Session};
use crate::support::tools::run_kazoo_here;
use crate::support::wait_for;
use crate::tree::assert_equal;

/// The one that stays.
const LAST: usize = 1;

/// Three servers with read-only mode, all serving.
fn three_servers() -> Cluster {
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 3], 0);
    for sid in cluster.all() {
        cluster.set(sid, "readonlymode.enabled", "true");
    }
    cluster.start_all();
    cluster
}

fn lose_quorum(cluster: &mut Cluster) {
    for sid in cluster.others(&[LAST]) {
        cluster.kill(sid);
    }
    cluster.await_mode(LAST, "read-only");
}

fn word(cluster: &Cluster, word: &[u8]) -> String {
    four_letter_within(cluster.address(LAST), word, PATIENCE).unwrap()
}

#[test]
fn a_server_without_a_quorum_serves_reads() {
    let mut cluster = three_servers();
    let all = cluster.all();
    assert_eq!(word(&cluster, b"isro"), "rw");
    let mut global = cluster.session(LAST);
    global.create("/kept", b"what there was");
    lose_quorum(&mut cluster);
    assert_eq!(word(&cluster, b"isro"), "ro");
    assert!(word(&cluster, b"srvr").contains("READ-ONLY mode; serving only read-only clients"));

    // Who had a session was let go, and is not taken back; nor is anybody who means to write.
    assert_eq!(global.try_call(op::EXISTS, &record::read("/kept", false)), None);
    let only_read = Hello { read_only: true, ..lasting() };
    for hello in [lasting(), global.hello(), Hello { read_only: true, ..global.hello() }] {
        let answer = Session::knock(cluster.address(LAST), &hello, ANSWER_PATIENCE);
        assert!(matches!(answer, Knock::Closed), "{answer:?}");
    }

    let mut reader = open(&[cluster.address(LAST)], &only_read);
    assert!(reader.read_only && reader.id != 0);
    assert_eq!(reader.get("/kept").0.as_deref(), Some(&b"what there was"[..]));
    assert!(reader.children("/").contains(&"kept".to_owned()));
    assert_eq!(reader.call(op::EXISTS, &record::read("/not-yet", true)).err, err::NO_NODE);
    for (code, body) in [
        (op::CREATE, record::plain("/not-yet", b"")),
        (op::SET_DATA, record::set_data("/kept", b"", -1)),
        (op::DELETE, record::path_int("/kept", -1)),
        (op::SYNC, record::path("/")),
        (op::MULTI, b"\xff\xff\xff\xff\x01\xff\xff\xff\xff".to_vec()),
    ] {
        assert_eq!(reader.err(code, &body), err::NOT_READ_ONLY, "request of type {code}");
    }
    let mut moved = open(&[cluster.address(LAST)], &Hello { read_only: true, ..reader.hello() });
    assert_eq!((moved.id, moved.read_only), (reader.id, true));
    assert_eq!(reader.try_call(op::EXISTS, &record::read("/kept", false)), None, "the session has moved");
    open(&[cluster.address(LAST)], &only_read).close();

    // With a quorum all of it is over: the session is nobody's, and those of the ensemble live.
    cluster.start(2);
    let before = moved.hello();
    wait_for("the end of read-only mode", PATIENCE, || {
        moved.try_call(op::EXISTS, &record::read("/kept", false)).is_none().then_some(())
    });
    cluster.await_serving(&[LAST, 2]);
    cluster.await_leader(&[LAST, 2]);
    let mut global = open(&[cluster.address(LAST)], &Hello { read_only: true, ..global.hello() });
    assert!(!global.read_only);
    global.set("/kept", b"and goes on");
    let expired = wait_for("an answer about the session", PATIENCE, || {
        match Session::knock(cluster.address(LAST), &before, ANSWER_PATIENCE) {
            Knock::Closed => None,
            answer => Some(matches!(answer, Knock::Expired)),
        }
    });
    assert!(expired);
    cluster.start(3);
    cluster.await_serving(&all);
    assert_equal(&cluster, &all);
    cluster.check_health();
}

#[test]
fn kazoo_reads_on_and_writes_again_when_the_quorum_is_back() {
    let mut cluster = three_servers();
    cluster.session(LAST).create("/kept", b"what there was");
    lose_quorum(&mut cluster);
    let hosts = [LAST, 2].map(|sid| cluster.address(sid).to_string()).join(",");
    let directory = temporary_directory();
    let has_read = directory.path().join("has-read");
    let environment = [("RINGKEEPER_HOSTS", hosts.as_str()), ("HAS_READ", has_read.to_str().unwrap())];
    run_kazoo_here("test_read_only", &environment, &mut || {
        if has_read.exists() && cluster.process(2).exited().is_some() {
            cluster.start(2);
        }
    });
}
