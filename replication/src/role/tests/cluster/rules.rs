//! Single rules of leading and following.

use super::clients::Client;
use super::*;
use crate::request::SetDataOp;
use crate::request::codec::{self, opcode};
use engine::txn::TxnHeader;

/// A member that follows; its leader is the test.
fn follower() -> Host {
    let mut host = Host::member(RoleConfig { server: 2, outstanding_max: 8, ..config(2) });
    host.change(|role, now, out| role.follow(now, out));
    host
}

/// A member that leads the first epoch.
fn leader() -> Host {
    let mut host = Host::member(config(2));
    host.change(|role, now, out| role.lead(now, 1, out));
    host
}

const A: Zxid = Zxid::new(1, 1);
const B: Zxid = Zxid::new(1, 2);
const SESSION: SessionId = SessionId(0x0300_0000_0000_0007);
const ORIGIN: Origin = Origin { core: CoreId(0), conn: ConnId { slot: 5, generation: 0 }, seq: 1 };

fn proposal(zxid: Zxid, cxid: i32, txn: &Txn) -> Input {
    let mut bytes = Vec::new();
    txn::encode(&TxnHeader { client: SESSION, cxid, zxid, time_ms: 1 }, txn, &mut bytes);
    Input::Proposal { zxid, bytes: bytes.into() }
}

fn created(path: &str) -> Txn {
    let acl = [engine::acl::Acl::world(31)].into();
    Txn::Create { path: path.into(), data: None, acl, ephemeral: false, parent_cversion: -1, create2: false }
}

fn asks(seq: u64, cxid: i32, op: WriteOp) -> Input {
    let identity = Arc::new(Identity::anonymous());
    Input::Write(WriteRequest { origin: Some(Origin { seq, ..ORIGIN }), session: SESSION, cxid, identity, op })
}

fn forwarded(learner: u64, session: SessionId, cxid: i32, op: &WriteOp) -> Input {
    let (opcode, body) = codec::encode(op).unwrap();
    Input::Forwarded { learner: LearnerId(learner), session, cxid, opcode, body, ids: Some(Arc::default()) }
}

fn new_session(learner: u64, session: SessionId) -> Input {
    let (opcode, body) = (opcode::CREATE_SESSION, codec::encode_create_session(8000));
    Input::Forwarded { learner: LearnerId(learner), session, cxid: 0, opcode, body, ids: None }
}

/// The transaction that a step has proposed.
fn proposed(actions: &[Action]) -> (TxnHeader, Txn) {
    let bytes = actions.iter().find_map(|action| match action {
        Action::Append { bytes, .. } => Some(bytes),
        _ => None,
    });
    txn::decode(bytes.unwrap()).unwrap()
}

fn code_of(actions: &[Action]) -> Option<ErrorCode> {
    match proposed(actions).1 {
        Txn::Error { code } => ErrorCode::from_code(code),
        _ => None,
    }
}

// ---- following ----

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
    let ask = Action::Revalidate { session: SESSION, timeout_ms: 8000 };
    assert_eq!(host.step(connect(2, SESSION, right)), [ask.clone()]);
    assert_eq!(host.step(connect(3, SESSION, right)), [ask.clone()]);
    assert_eq!(host.step(connect(4, SESSION, right)), [ask]);
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
    host.role.restart_from_snapshot(ledger, at, &[(session, 8000)], &mut out).unwrap();
    assert!(matches!(&out[..], [Action::DefineAcl { .. }, Action::Publish { commit }] if *commit == at));
    host.execute(out);
    assert_eq!((host.role.committed(), host.role.proposed(), host.role.outstanding_requests()), (at, at, 0));
    assert_eq!(host.role.sessions().committed(), [(session, 8000)]);
    assert_eq!(host.role.ledger().ephemerals(session).count(), 1);
    host.step(proposal(Zxid::new(3, 8), 1, &created("/next")));
    host.step(Input::Committed(Zxid::new(3, 8)));
    host.flush(9);
    assert!(host.replica.nodes.contains_key("/next"));
    let behind = host.role.restart_from_snapshot(Ledger::fresh(host.config.ledger.clone()), at, &[], &mut Vec::new());
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

// ---- leading ----

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
    host.role.restart_from_snapshot(ledger, Zxid(end.0 - 1), &[(SESSION, 8000)], &mut Vec::new()).unwrap();
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
