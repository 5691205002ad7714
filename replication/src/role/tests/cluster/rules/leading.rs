//! Single rules of leading.

use super::*;

#[test]
fn requests_of_learners_take_their_place() {
    let mut host = leader();
    let out = host.step(new_session(4, SESSION));
    let (header, txn) = proposed(&out);
    assert_eq!((header.zxid, header.client, header.cxid), (A, SESSION, 0));
    assert_eq!(txn, Txn::CreateSession { timeout_ms: 8000 });
    let out = host.step(forwarded(4, SESSION, 7, &create("/a", 1)));
    let (header, txn) = proposed(&out);
    assert_eq!((header.zxid, header.cxid), (B, 7));
    assert!(matches!(txn, Txn::Create { ephemeral: true, .. }));
    host.flush(9);
    assert_eq!(host.role.committed(), Zxid::ZERO, "the own disk alone decides nothing");
    host.step(Input::Committed(A));
    assert_eq!(host.role.committed(), A);
    host.step(forwarded(4, SESSION, 8, &create("/b", 0)));
    let out = host.step(Input::Committed(Zxid::new(1, 3)));
    assert!(out.iter().any(|action| matches!(action, Action::Publish { commit: B })), "nor do the others' disks");
    assert_eq!(host.answers, [], "the learner's client is the learner's to answer");
}

#[test]
fn bad_requests_of_learners_take_a_fresh_zxid_and_unknown_ones_none() {
    let mut host = leader();
    host.step(new_session(4, SESSION));
    let mut send = |opcode: i32, body: &'static [u8]| {
        let body = Bytes::from_static(body);
        let ids = Some(Arc::default());
        host.step(Input::Forwarded { learner: LearnerId(4), session: SESSION, cxid: 1, opcode, body, ids })
    };
    assert_eq!(code_of(&send(opcode::CREATE, b"\0\0\0\x09/")), Some(ErrorCode::MarshallingError));
    assert_eq!(code_of(&send(opcode::MULTI, b"")), Some(ErrorCode::MarshallingError));
    assert_eq!(code_of(&send(opcode::CREATE_SESSION, b"\0")), Some(ErrorCode::MarshallingError));
    assert_eq!(code_of(&send(opcode::DELETE_CONTAINER, b"\0\0\0\x02/a")), Some(ErrorCode::Unimplemented));
    assert_eq!(code_of(&send(opcode::CHECK, b"\0\0\0\x01/\0\0\0\0")), Some(ErrorCode::Unimplemented));
    for unknown in [0, 4, 99, 110, -3] {
        assert_eq!(send(unknown, b""), []);
    }
    assert_eq!(host.role.proposed(), Zxid::new(1, 6), "each its own");
}

#[test]
fn sessions_belong_to_whom_the_client_is_connected_to() {
    let mut host = leader();
    host.step(new_session(4, SESSION));
    let write = create("/a", 0);
    assert_eq!(code_of(&host.step(forwarded(5, SESSION, 1, &write))), Some(ErrorCode::SessionMoved));
    assert_eq!(code_of(&host.step(forwarded(4, SESSION, 1, &write))), None);
    let ask = |learner, session| Input::LearnerRevalidate { learner: LearnerId(learner), session, timeout_ms: 8000 };
    let told = |learner, session, valid| [Action::Revalidated { learner: LearnerId(learner), session, valid }];
    assert_eq!(host.step(ask(5, SESSION)), told(5, SESSION, true));
    assert_eq!(host.step(ask(5, SessionId(99))), told(5, SessionId(99), false));
    assert_eq!(code_of(&host.step(forwarded(4, SESSION, 2, &create("/b", 0)))), Some(ErrorCode::SessionMoved));
    host.step(Input::LearnerGone { learner: LearnerId(5) });
    assert_eq!(code_of(&host.step(forwarded(6, SESSION, 2, &create("/b", 0)))), None, "nobody's: claimed");
    assert_eq!(code_of(&host.step(forwarded(5, SESSION, 2, &create("/c", 0)))), Some(ErrorCode::SessionMoved));
    // Closing is anybody's, and nothing behind it takes effect although it is not committed.
    assert_eq!(code_of(&host.step(forwarded(4, SESSION, 3, &WriteOp::CloseSession))), None);
    assert_eq!(code_of(&host.step(forwarded(6, SESSION, 4, &create("/c", 0)))), Some(ErrorCode::SessionExpired));
    assert_eq!(host.step(ask(6, SESSION)), told(6, SESSION, false));
    assert_eq!(code_of(&host.step(forwarded(6, SessionId(99), 1, &write))), Some(ErrorCode::SessionExpired));
}

#[test]
fn a_session_that_moves_to_a_learner_leaves_its_connection_here() {
    let mut cluster = Cluster::new(1);
    let client = cluster.client(0);
    cluster.members[0].said.clear();
    let slot = cluster.renew(client.session, 1);
    cluster.settle();
    assert_eq!(cluster.opened(1, slot), Some(Ok(client.session)));
    assert!(matches!(cluster.members[0].said[..], [Action::CloseConnection { conn, .. }] if conn.slot == client.slot));
    let stale = cluster.write(client, false, create("/stale", 0));
    let fresh = cluster.write(Client { member: 1, slot, ..client }, false, create("/fresh", 0));
    cluster.settle();
    assert_eq!(cluster.answered[&stale].result, Err(ErrorCode::SessionMoved));
    assert!(cluster.answered[&fresh].result.is_ok());
    cluster.compare_answers();
}

#[test]
fn sessions_live_by_what_learners_hear() {
    let mut cluster = Cluster::new(1);
    let (silent, heard) = (cluster.client(1), cluster.client(2));
    cluster.write(silent, false, create("/silent", 1));
    cluster.write(heard, false, create("/heard", 1));
    cluster.settle();
    for member in [1, 2] {
        cluster.ping(member);
    }
    cluster.settle();
    for _ in 0..6 {
        cluster.pass(2000);
        cluster.members[2].step(Input::Touch(vec![heard.session]));
        cluster.ping(1);
        cluster.ping(2);
        cluster.settle();
    }
    cluster.compare();
    assert!(!cluster.members[0].replica.nodes.contains_key("/silent"));
    assert!(cluster.members[1].replica.nodes.contains_key("/heard"));
    let closed = |action: &Action| matches!(action, Action::CloseConnection { conn, .. } if conn.slot == silent.slot);
    assert!(cluster.members[1].said.iter().any(closed), "the connection goes with its session");
}

#[test]
fn a_learners_sync_waits_for_what_was_outstanding() {
    let mut host = leader();
    let (learner, other) = (LearnerId(4), LearnerId(5));
    assert_eq!(host.step(Input::ForwardedSync { learner }), [Action::SyncFor { learner }]);
    host.step(new_session(4, SESSION));
    assert_eq!(host.step(Input::ForwardedSync { learner }), []);
    host.step(forwarded(4, SESSION, 1, &create("/a", 0)));
    assert_eq!(host.step(Input::ForwardedSync { learner: other }), []);
    assert_eq!(host.step(Input::ForwardedSync { learner }), []);
    assert_eq!(host.step(Input::Committed(A)), [Action::SyncFor { learner }], "also before this disk has it");
    host.step(Input::LearnerGone { learner: other });
    assert_eq!(host.step(Input::Committed(B)), [Action::SyncFor { learner }]);
}

#[test]
fn the_epoch_ends_with_its_counter() {
    let mut host = follower();
    let end = Zxid::new(1, Zxid::LAST_COUNTER);
    let ledger = Ledger::fresh(host.config.ledger.clone());
    host.role.restart_from_snapshot(ledger, Zxid(end.0 - 1), &[(SESSION, 8000)], &[], &mut Vec::new()).unwrap();
    host.published = Zxid(end.0 - 1);
    host.change(|role, now, out| role.look(now, out));
    let again = host.change(|role, now, out| role.lead(now, 1, out));
    assert!(matches!(again[..], [Action::Fail(RoleFault::EpochUsed { epoch: 1, .. })]), "an epoch is led once");

    let mut host = leader();
    host.step(new_session(4, SESSION));
    host.role.proposed = Zxid(end.0 - 1);
    assert_eq!(proposed(&host.step(forwarded(4, SESSION, 1, &create("/a", 0)))).0.zxid, end);
    assert_eq!(host.step(forwarded(4, SESSION, 2, &create("/b", 0))), [Action::Resign]);
    assert_eq!(host.step(forwarded(4, SESSION, 3, &create("/c", 0))), [], "said once");
    host.now.mono_ms += 1_000_000;
    assert_eq!(host.step(Input::Tick), []);
    host.flush(9);
    host.step(Input::Committed(end));
    assert_eq!(host.role.committed(), end, "what was proposed commits");
    host.change(|role, now, out| role.look(now, out));
    host.change(|role, now, out| role.lead(now, 2, out));
    assert_eq!(proposed(&host.step(forwarded(4, SESSION, 2, &create("/b", 0)))).0.zxid, Zxid::new(2, 1));
    assert_eq!(host.role.sessions().len(), 1, "sessions survive");
}

#[test]
fn a_new_leader_validates_behind_the_end_of_its_log() {
    let mut host = follower();
    host.step(proposal(A, 0, &Txn::CreateSession { timeout_ms: 8000 }));
    host.step(proposal(B, 1, &created("/a")));
    host.flush(9);
    host.change(|role, now, out| role.look(now, out));
    host.change(|role, now, out| role.lead(now, 2, out));
    assert_eq!(host.role.committed(), Zxid::ZERO);
    assert_eq!(code_of(&host.step(forwarded(4, SESSION, 2, &create("/a", 0)))), Some(ErrorCode::NodeExists));
    assert_eq!(
        code_of(&host.step(forwarded(4, SESSION, 3, &delete("/a")))),
        None,
        "the session is not committed either"
    );
    assert_eq!(host.role.next_deadline(), Some(host.now.mono_ms / 2000 * 2000 + 10_000), "a full timeout");
    host.flush(9);
    host.step(Input::Committed(Zxid::new(2, 2)));
    assert_eq!(host.role.ledger().outstanding_paths(), 0);
    assert!(!host.replica.nodes.contains_key("/a"));
}

#[test]
fn a_failed_multi_leaves_sequence_numbers_alone() {
    let mut cluster = Cluster::new(2);
    let client = cluster.client(2);
    let sequential = |path: &str| match create(path, 2) {
        WriteOp::Create(op) => crate::request::MultiOp::Create(op),
        _ => unreachable!(),
    };
    let nowhere = SetDataOp { path: "/nope".into(), data: None, version: -1 };
    let failing = vec![sequential("/s"), sequential("/s"), crate::request::MultiOp::SetData(nowhere)];
    cluster.write(client, false, WriteOp::Multi(failing));
    let name = cluster.write(client, false, create("/s", 2));
    cluster.settle();
    cluster.compare();
    cluster.compare_answers();
    let Ok(WriteResult::Created { path, .. }) = &cluster.answered[&name].result else { panic!("not created") };
    assert_eq!(&**path, "/s0000000000");
}
