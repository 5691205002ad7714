//! Three servers without a fault: what one takes, all show.

use crate::cluster::{Cluster, open};
use crate::support::record::{self, err, mode, op};
use crate::support::session::{CHANGED, Hello, Knock, Session};
use crate::tree::{assert_equal, await_gone};
use std::time::Duration;

fn sync(session: &mut Session) {
    assert_eq!(session.call(op::SYNC, &record::path("/")).err, err::OK);
}

#[test]
fn three_servers_are_one() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    for sid in cluster.others(&[leader]) {
        cluster.await_mode(sid, "follower");
    }

    // Writes through each are read through each.
    let mut sessions: Vec<Session> = all.iter().map(|sid| cluster.session(*sid)).collect();
    for (index, session) in sessions.iter_mut().enumerate() {
        session.create(&format!("/from-{index}"), format!("{index}").as_bytes());
        let zxid = session.set(&format!("/from-{index}"), b"again").zxid;
        let (data, stat) = session.get(&format!("/from-{index}"));
        assert_eq!((data.as_deref(), stat.version, stat.mzxid), (Some(&b"again"[..]), 1, zxid), "an own write is seen");
    }
    for session in &mut sessions {
        sync(session);
        for index in 0..3 {
            assert_eq!(session.get(&format!("/from-{index}")).0.as_deref(), Some(&b"again"[..]));
        }
    }

    // A watch on each sees what another does, once, before a read that shows it.
    for index in 0..3 {
        let path = format!("/from-{index}");
        let (watching, writing) = (index, (index + 1) % 3);
        assert_eq!(sessions[watching].call(op::GET_DATA, &record::read(&path, true)).err, err::OK);
        let zxid = sessions[writing].set(&path, b"watched").zxid;
        let event = sessions[watching].event();
        assert_eq!((event.kind, event.path.as_str()), (CHANGED, path.as_str()));
        let (data, stat) = sessions[watching].get(&path);
        assert_eq!((data.as_deref(), stat.mzxid), (Some(&b"watched"[..]), zxid));
    }

    // Errors that the leader finds reach the client of a follower.
    for session in &mut sessions {
        assert_eq!(session.err(op::CREATE, &record::plain("/from-0", b"")), err::NODE_EXISTS);
        assert_eq!(session.err(op::SET_DATA, &record::set_data("/from-0", b"", 77)), err::BAD_VERSION);
        assert_eq!(session.err(op::DELETE, &record::path_int("/nowhere", -1)), err::NO_NODE);
        assert_eq!(session.err(op::MULTI, b"\0\0\0\x01"), err::MARSHALLING);
    }

    // Sequence numbers are the parent's, whoever asks.
    sessions[0].create("/queue", b"");
    let names: Vec<String> = sessions.iter_mut().map(|s| s.create_as("/queue/q-", mode::SEQUENTIAL)).collect();
    assert_eq!(names, ["/queue/q-0000000000", "/queue/q-0000000001", "/queue/q-0000000002"]);

    // Ephemerals of a session on one server vanish for all when it closes.
    for (index, server) in all.iter().copied().enumerate() {
        let mut owner = cluster.session(server);
        let path = owner.create_as(&format!("/ephemeral-{index}"), mode::EPHEMERAL);
        for session in &mut sessions {
            sync(session);
            assert_eq!(session.stat(&path).map(|stat| stat.owner), Some(owner.id));
        }
        owner.close();
        for session in &mut sessions {
            sync(session);
            assert_eq!(session.stat(&path), None);
        }
    }
    drop(sessions);
    assert_equal(&cluster, &all);
    cluster.check_health();
}

#[test]
fn a_session_moves_between_servers() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let mut session = cluster.session(all[0]);
    let path = session.create_as("/mine", mode::EPHEMERAL);
    let mut last_zxid = 0;
    for sid in [2, 3, 1, 3, 2] {
        // The old connection may be open yet: the new one takes the session from it.
        let hello = Hello { last_zxid, ..session.hello() };
        let mut moved = open(&[cluster.address(sid)], &hello);
        assert_eq!((moved.id, &moved.password), (session.id, &session.password), "on server {sid}");
        sync(&mut moved);
        assert_eq!(moved.stat(&path).map(|stat| stat.owner), Some(moved.id));
        last_zxid = moved.set(&path, format!("server {sid}").as_bytes()).zxid;
        session = moved;
    }
    // Neither with another password nor with another number.
    for sid in &all {
        let wrong = Hello { password: vec![7; 16], ..session.hello() };
        let none = Hello { id: session.id + 12_345, ..session.hello() };
        for hello in [wrong, none] {
            let answer = Session::knock(cluster.address(*sid), &hello, Duration::from_secs(60));
            assert!(matches!(answer, Knock::Expired), "{answer:?} from server {sid}");
        }
    }
    session.close();
    for sid in &all {
        await_gone(&mut cluster.session(*sid), &path);
    }
    cluster.check_health();
}

#[test]
fn a_session_whose_client_is_gone_expires_everywhere() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    for sid in &all {
        let mut owner = Session::open_for(cluster.address(*sid), 5_000);
        owner.create_as(&format!("/left-{sid}"), mode::EPHEMERAL);
        drop(owner);
    }
    for sid in &all {
        let mut session = cluster.session(*sid);
        for left in &all {
            await_gone(&mut session, &format!("/left-{left}"));
        }
    }
    assert_equal(&cluster, &all);
    cluster.check_health();
}
