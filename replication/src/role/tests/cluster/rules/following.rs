//! Single rules of following.

use super::*;

#[test]
fn a_write_is_answered_when_it_is_committed_and_durable_here() {
    for durable_first in [true, false] {
        let mut host = follower();
        let out = host.step(asks(1, 9, create("/a", 0)));
        let [Action::Forward { session: SESSION, cxid: 9, opcode: 1, body, ids: Some(_) }] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!(codec::decode(1, &mut engine::jute::Reader::new(body)), Some(Ok(create("/a", 0))));
        assert_eq!(host.role.outstanding_requests(), 1);
        assert_eq!(host.step(proposal(A, 9, &created("/a"))).len(), 1, "appended");
        if durable_first {
            assert_eq!(host.flush(1), []);
            host.step(Input::Committed(A));
        } else {
            assert_eq!(host.step(Input::Committed(A)), []);
            host.flush(1);
        }
        assert!(matches!(&host.answers[..], [answer] if answer.zxid == A && answer.origin.seq == 1));
        assert!(host.replica.nodes.contains_key("/a"));
        assert_eq!(host.role.outstanding_requests(), 0);
    }
}

#[test]
fn requests_of_one_session_are_matched_in_their_order() {
    let mut host = follower();
    host.step(asks(1, 1, create("/a", 0)));
    host.step(asks(2, 1, create("/b", 0)));
    host.step(proposal(A, 1, &Txn::Error { code: ErrorCode::NodeExists.code() }));
    host.step(proposal(B, 1, &created("/b")));
    host.step(Input::Committed(B));
    host.flush(9);
    let told: Vec<_> = host.answers.iter().map(|answer| (answer.origin.seq, answer.result.is_ok())).collect();
    assert_eq!(told, [(1, false), (2, true)]);
}

#[test]
fn a_transaction_from_before_a_request_is_not_its_answer() {
    let mut host = follower();
    // The session had asked by another server, with the same xid; its transaction is outstanding here.
    host.step(proposal(A, 1, &created("/elsewhere")));
    host.step(asks(1, 1, create("/here", 0)));
    host.step(Input::Committed(A));
    host.flush(9);
    assert_eq!(host.answers, []);
    host.step(proposal(B, 1, &created("/here")));
    host.step(Input::Committed(B));
    host.flush(9);
    assert_eq!(host.answers[0].zxid, B);
}

#[test]
fn the_leaders_own_closing_of_a_session_answers_no_request_of_it() {
    let mut host = follower();
    host.step(asks(1, 0, create("/a", 0)));
    host.step(proposal(A, 0, &Txn::CloseSession { paths: Some(vec![]) }));
    host.step(proposal(B, 0, &Txn::Error { code: ErrorCode::SessionExpired.code() }));
    host.step(Input::Committed(B));
    host.flush(9);
    assert_eq!((host.answers.len(), host.answers[0].zxid), (1, B));
    assert_eq!(host.answers[0].result, Err(ErrorCode::SessionExpired));
}

#[test]
fn what_no_leader_could_decode_is_answered_here_in_its_turn() {
    let mut host = follower();
    let refused = WriteOp::Refused(ErrorCode::MarshallingError);
    host.step(asks(1, 1, create("/a", 0)));
    assert_eq!(host.step(asks(2, 2, refused.clone())), []);
    host.step(proposal(A, 1, &created("/a")));
    let answer = host.answers.pop().unwrap();
    assert_eq!((answer.origin.seq, answer.zxid, answer.result), (2, A, Err(ErrorCode::MarshallingError)));
    assert_eq!(host.answers, [], "it holds from where the one before it does");
    let out = host.step(asks(3, 3, refused));
    assert!(matches!(&out[..], [Action::Answer(_)]));
    assert_eq!(host.role.outstanding_requests(), 1);
}

#[test]
fn handshakes_are_the_leaders_to_decide() {
    let mut host = follower();
    let connect = |slot, session, password| {
        let conn = ConnId { slot, generation: 0 };
        Input::Connect(ConnectRequest { core: CoreId(0), conn, session, timeout_ms: 8000, password })
    };
    let right = Some(crate::session::password(SESSION));
    assert!(
        matches!(host.step(connect(1, SESSION, None))[..], [Action::Refused { .. }]),
        "the password is checked here"
    );
    let ask = [Action::Revalidate { session: SESSION, timeout_ms: 8000 }];
    assert_eq!(host.step(connect(2, SESSION, right)), ask);
    assert_eq!(host.step(connect(3, SESSION, right)), ask);
    assert_eq!(host.step(connect(4, SESSION, right)), ask);
    host.step(proposal(A, 0, &Txn::CreateSession { timeout_ms: 8000 }));
    let out = host.step(Input::Revalidated { session: SESSION, valid: true });
    let [Action::Connected { conn, at, .. }] = out[..] else { panic!("{out:?}") };
    assert_eq!((conn.slot, at), (2, A), "the session is there when the client reads");
    let out = host.step(Input::Revalidated { session: SESSION, valid: true });
    assert!(matches!(
        out[..],
        [Action::CloseConnection { conn: ConnId { slot: 2, .. }, .. }, Action::Connected { .. }]
    ));
    let out = host.step(Input::Revalidated { session: SESSION, valid: false });
    assert!(matches!(out[..], [Action::Refused { conn: ConnId { slot: 4, .. }, .. }]));
    // The first of its connections has lost it.
    let stale = Origin { conn: ConnId { slot: 2, generation: 0 }, ..ORIGIN };
    let Input::Write(request) = asks(1, 1, create("/a", 0)) else { unreachable!() };
    let out = host.step(Input::Write(WriteRequest { origin: Some(stale), ..request }));
    assert!(matches!(&out[..], [Action::Answer(answer)] if answer.result == Err(ErrorCode::SessionMoved)));
    // Only what is committed is in the table.
    assert_eq!(host.role.sessions().len(), 0);
    host.flush(9);
    host.step(Input::Committed(A));
    assert_eq!(host.role.sessions().committed(), [(SESSION, 8000)]);
    assert!(host.role.sessions().owner(SESSION).is_some(), "and keeps its connection");
}

#[test]
fn a_follower_tells_whom_it_heard_from_and_lets_nobody_expire() {
    let mut host = follower();
    host.step(proposal(A, 0, &Txn::CreateSession { timeout_ms: 8000 }));
    host.flush(9);
    assert_eq!(host.role.take_touches(), []);
    host.step(Input::Committed(A));
    assert_eq!(host.role.take_touches(), [(SESSION, 8000)], "newly committed");
    assert_eq!(host.role.take_touches(), [], "cleared each time");
    host.step(Input::Touch(vec![SESSION, SessionId(1)]));
    host.step(asks(1, 1, create("/a", 0)));
    assert_eq!(host.role.take_touches(), [(SESSION, 8000)], "once, and of no stranger");
    assert_eq!(host.role.next_deadline(), None);
    host.now.mono_ms += 1_000_000;
    assert_eq!(host.step(Input::Tick), []);
}

#[test]
fn syncs_come_back_in_order_at_what_was_decided() {
    let mut host = follower();
    for seq in [1, 2] {
        let origin = Origin { seq, ..ORIGIN };
        let out = host.step(Input::Sync { origin, session: SESSION });
        assert_eq!(out, [Action::ForwardSync { session: SESSION }]);
    }
    host.step(Input::SyncReturned);
    assert_eq!(host.said.pop(), Some(Action::SyncDone { origin: ORIGIN, at: Zxid::ZERO }));
    host.step(proposal(A, 1, &created("/a")));
    host.step(Input::Committed(A));
    assert_eq!(host.step(Input::SyncReturned), [], "decided, but not applied");
    host.flush(9);
    assert_eq!(host.said.pop(), Some(Action::SyncDone { origin: Origin { seq: 2, ..ORIGIN }, at: A }));
    assert_eq!(host.step(Input::SyncReturned), [], "nobody asked");
}

#[test]
fn much_that_is_decided_at_once_is_committed_step_by_step() {
    let config = RoleConfig { server: 2, commit_step: 3, ..config(2) };
    let mut host = Host::member(config);
    host.change(|role, now, out| role.follow(now, out));
    let zxid = |counter| Zxid::new(1, counter);
    for counter in 1..=8 {
        host.step(proposal(zxid(counter), 0, &created(&format!("/n{counter}"))));
    }
    host.flush(9);
    assert!(!host.role.has_ready(), "nothing is decided");
    host.step(Input::Committed(zxid(8)));
    let mut steps = vec![host.published];
    assert_eq!(host.role.known_committed(), zxid(8), "all of it is decided");
    while host.role.has_ready() {
        assert!(steps.len() < 9, "{steps:?}");
        host.step(Input::GoOn);
        steps.push(host.published);
    }
    assert_eq!(steps, [zxid(3), zxid(6), zxid(8)]);
    assert!((1..=8).all(|counter| host.replica.nodes.contains_key(&*format!("/n{counter}"))));
    assert_eq!(host.step(Input::GoOn), [], "more is not there");
}

#[test]
fn requests_that_are_with_the_leader_take_room() {
    let mut host = follower();
    for seq in 0..8 {
        assert!(host.role.has_room());
        host.step(asks(seq, 1, create("/a", 0)));
    }
    assert!(!host.role.has_room());
    host.step(proposal(A, 1, &created("/a")));
    assert!(!host.role.has_room());
    host.step(Input::Committed(A));
    host.flush(9);
    assert!(host.role.has_room());
}

#[test]
fn what_contradicts_the_log_stops_the_server() {
    let fault = |input: Input| {
        let mut host = follower();
        host.step(proposal(A, 1, &created("/a")));
        let out = host.step(input);
        let [Action::Fail(fault)] = &out[..] else { panic!("{out:?}") };
        let fault = fault.clone();
        assert_eq!(host.step(proposal(B, 1, &created("/b"))), [], "nothing more happens");
        assert_eq!(host.log.len(), 1, "and nothing of it was logged");
        fault
    };
    let garbage = Input::Proposal { zxid: B, bytes: Bytes::from_static(b"nothing") };
    assert!(matches!(fault(garbage), RoleFault::Undecodable { zxid: B, .. }));
    let Input::Proposal { bytes, .. } = proposal(Zxid::new(1, 9), 1, &created("/b")) else { unreachable!() };
    assert!(matches!(fault(Input::Proposal { zxid: B, bytes }), RoleFault::Misnamed { .. }));
    assert!(matches!(fault(proposal(Zxid::new(1, 3), 1, &created("/b"))), RoleFault::Gap { .. }));
    assert!(matches!(fault(proposal(Zxid::new(2, 2), 1, &created("/b"))), RoleFault::Gap { .. }));
    assert!(matches!(fault(Input::Committed(B)), RoleFault::CommitAhead { .. }));
}

#[test]
fn a_zxid_that_comes_again_is_passed_over() {
    let mut host = follower();
    host.step(proposal(A, 1, &created("/a")));
    assert_eq!(host.step(proposal(A, 2, &Txn::Error { code: -5 })), []);
    let out = host.step(proposal(Zxid::new(2, 1), 1, &created("/b")));
    assert!(matches!(out[..], [Action::Append { .. }]), "a later epoch begins with 1");
    host.flush(9);
    host.step(Input::Committed(Zxid::new(3, 0)));
    assert_eq!(host.role.committed(), Zxid::new(2, 1), "all that went before the epoch");
}

#[test]
fn a_proposal_keeps_its_bytes() {
    let mut host = follower();
    let Input::Proposal { zxid, bytes } = proposal(A, 1, &created("/a")) else { unreachable!() };
    let with_digest = Bytes::from([&bytes[..], b"\0\0\0\x02\0\0\0\x02\x11\x8c\xc9\xc3"].concat());
    let out = host.step(Input::Proposal { zxid, bytes: with_digest.clone() });
    assert_eq!(out, [Action::Append { zxid, bytes: with_digest.clone() }]);
    assert_eq!(host.role.outstanding().collect::<Vec<_>>(), [(zxid, &with_digest)]);
}

#[test]
fn leaving_drops_waiters_and_keeps_the_end_of_the_log() {
    let mut host = follower();
    host.step(asks(1, 1, create("/a", 0)));
    host.step(asks(2, 2, create("/b", 0)));
    host.step(Input::Sync { origin: ORIGIN, session: SESSION });
    host.step(proposal(A, 1, &created("/a")));
    host.step(proposal(B, 7, &created("/c")));
    host.change(|role, now, out| role.look(now, out));
    host.flush(9);
    assert_eq!(host.role.outstanding_requests(), 2);
    assert_eq!(host.step(Input::Committed(B)), [], "nobody leads");
    assert_eq!(host.step(asks(3, 3, create("/d", 0))), []);
    assert_eq!((host.role.committed(), host.role.proposed()), (Zxid::ZERO, B));
    host.change(|role, now, out| role.follow(now, out));
    host.truncate(A);
    assert_eq!(host.role.proposed(), A);
    host.step(Input::Committed(A));
    assert_eq!((&host.answers[..], &host.said[..]), (&[][..], &[][..]), "nobody is told");
    assert!(host.replica.nodes.contains_key("/a") && !host.replica.nodes.contains_key("/c"));
}

#[test]
fn what_has_been_decided_is_not_cut() {
    let mut host = follower();
    host.step(proposal(A, 1, &created("/a")));
    host.step(proposal(B, 1, &created("/b")));
    host.step(Input::Committed(A));
    host.change(|role, now, out| role.look(now, out));
    let fault = RoleFault::TruncatesCommitted { to: Zxid::ZERO, decided: A };
    assert_eq!(host.role.truncate(Zxid::ZERO), Err(fault), "not even before it is applied");
    assert_eq!(host.role.proposed(), B);
    assert_eq!(host.role.truncate(A), Ok(()));
}

#[test]
fn a_snapshot_takes_the_place_of_everything() {
    let mut host = follower();
    let locked = [engine::acl::Acl::new(31, "digest", "a:b")].into();
    let Txn::Create { path, .. } = created("/old") else { unreachable!() };
    let old = Txn::Create { path, data: None, acl: locked, ephemeral: false, parent_cversion: -1, create2: false };
    host.step(proposal(A, 1, &old));
    host.step(Input::Committed(A));
    host.flush(9);
    host.step(proposal(B, 1, &created("/tail")));
    let at = Zxid::new(3, 7);
    let mut source = Host::new(config(2));
    let session = source.connect(1, 8000);
    source.ask(session, create("/new", 1));
    source.settle();
    let mut acls = host.role.acls_for_snapshot();
    let id = acls.intern(&[engine::acl::Acl::new(1, "digest", "c:d")].into(), at);
    assert!(host.role.ledger().acls().all(|(old, _)| old < id), "numbers are not given twice");
    let marks = vec![at; host.config.ledger.partitions as usize].into();
    let mut loader = crate::ledger::LedgerLoader::new(host.config.ledger.clone(), acls, marks);
    source.replica.load(&key(), &mut loader);
    let ledger = loader.finish().unwrap();
    host.replica = Replica { acls: Default::default(), ..source.replica.clone() };
    (host.log, host.durable) = (Vec::new(), 0);
    let mut out = Vec::new();
    host.role.restart_from_snapshot(ledger, at, &[(session, 8000)], &[], &mut out).unwrap();
    assert!(matches!(&out[..], [Action::DefineAcl { .. }, Action::Publish { commit }] if *commit == at));
    host.execute(out);
    assert_eq!((host.role.committed(), host.role.proposed(), host.role.outstanding_requests()), (at, at, 0));
    assert_eq!(host.role.sessions().committed(), [(session, 8000)]);
    assert_eq!(host.role.ledger().ephemerals(session).count(), 1);
    host.step(proposal(Zxid::new(3, 8), 1, &created("/next")));
    host.step(Input::Committed(Zxid::new(3, 8)));
    host.flush(9);
    assert!(host.replica.nodes.contains_key("/next"));
    let behind =
        host.role.restart_from_snapshot(Ledger::fresh(host.config.ledger.clone()), at, &[], &[], &mut Vec::new());
    assert!(matches!(behind, Err(RoleFault::SnapshotBehind { .. })));
}

#[test]
fn quotas_are_kept_by_followers_too() {
    let mut cluster = Cluster::new(2);
    let client = cluster.client(1);
    for path in ["/q", "/q/a", "/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits"] {
        cluster.write(client, false, create(path, 0));
    }
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    cluster.write(client, false, create(stats, 0));
    cluster.write(client, false, create("/q/b", 0));
    cluster.settle();
    cluster.compare();
    for host in &cluster.members {
        assert_eq!(host.replica.nodes[stats].data.as_deref(), Some(&b"count=3,bytes=0"[..]));
    }
}

#[test]
fn a_follower_drains_when_its_clients_have_their_answers() {
    let mut host = follower();
    host.step(asks(1, 1, create("/a", 0)));
    host.step(Input::Shutdown);
    host.step(proposal(A, 1, &created("/a")));
    host.step(proposal(B, 7, &created("/b")));
    assert_eq!(host.step(asks(2, 2, create("/c", 0))), []);
    host.flush(1);
    let out = host.step(Input::Committed(B));
    assert_eq!(out.last(), Some(&Action::Drained { zxid: A }), "others' proposals go on for ever");
}
