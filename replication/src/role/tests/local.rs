//! Sessions of one member's own, and the early look at ACLs.

use super::*;
use crate::request::codec::{self, opcode};
use crate::request::{MultiOp, SetDataOp, WriteResult};
use crate::session::{LearnerId, password};
use engine::error_code::ErrorCode;
use engine::txn::Txn;

const CORE: CoreId = CoreId(0);

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 0 }
}

fn policy(upgrades: bool) -> RoleConfig {
    RoleConfig { clients: ClientPolicy { local_sessions: true, upgrades, eager_acl: false }, ..config(1) }
}

fn leader(upgrades: bool) -> Host {
    let mut host = Host::member(policy(upgrades));
    host.change(|role, now, out| role.lead(now, 1, out));
    host
}

fn follower(upgrades: bool) -> Host {
    let mut host = Host::member(RoleConfig { server: 2, ..policy(upgrades) });
    host.change(|role, now, out| role.follow(now, out));
    host
}

fn open(host: &mut Host, slot: u32) -> SessionId {
    let ask =
        ConnectRequest { core: CORE, conn: conn(slot), session: SessionId::NONE, timeout_ms: 4000, password: None };
    match host.step(Input::Connect(ask))[..] {
        [Action::Connected { session, conn: at, at: zxid, .. }] if at == conn(slot) => {
            assert_eq!(zxid, host.role.committed());
            session
        }
        ref other => panic!("{other:?}"),
    }
}

fn renew(host: &mut Host, slot: u32, session: SessionId) -> Vec<Action> {
    let password = Some(password(session));
    host.step(Input::Connect(ConnectRequest { core: CORE, conn: conn(slot), session, timeout_ms: 4000, password }))
}

fn asks(slot: u32, session: SessionId, op: WriteOp) -> Input {
    let origin = Some(Origin { core: CORE, conn: conn(slot), seq: 1 });
    Input::Write(WriteRequest { origin, session, cxid: 7, identity: Arc::new(Identity::anonymous()), op })
}

fn create(path: &str, flags: i32) -> CreateOp {
    CreateOp { kind: CreateKind::Create, path: path.into(), data: None, acl: AclSpec::Open, flags }
}

fn multi(flags: i32) -> WriteOp {
    WriteOp::Multi(vec![MultiOp::Create(create("/first", 0)), MultiOp::Create(create("/second", flags))])
}

/// The transactions that a step has proposed.
fn proposed(actions: &[Action]) -> Vec<Txn> {
    let appended = |action: &Action| match action {
        Action::Append { bytes, .. } => Some(txn::decode(bytes).unwrap().1),
        _ => None,
    };
    actions.iter().filter_map(appended).collect()
}

fn answers(actions: &[Action]) -> Vec<Result<WriteResult, ErrorCode>> {
    let answer = |action: &Action| match action {
        Action::Answer(answer) => Some(answer.result.clone()),
        _ => None,
    };
    actions.iter().filter_map(answer).collect()
}

#[test]
fn no_transaction_makes_renews_or_ends_a_local_session() {
    for mut host in [leader(false), follower(false)] {
        let session = open(&mut host, 1);
        assert_eq!(host.role.local_sessions().unwrap().len(), 1);
        assert!(host.role.sessions().is_empty() && host.log.is_empty());
        let renewed = renew(&mut host, 2, session);
        assert!(
            matches!(renewed[..], [Action::CloseConnection { conn: old, .. }, Action::Connected { .. }] if old == conn(1)),
            "{renewed:?}"
        );
        assert_eq!(answers(&host.step(asks(1, session, multi(0)))), [Err(ErrorCode::SessionMoved)]);
        assert_eq!(answers(&host.step(asks(2, session, WriteOp::CloseSession))), [Ok(WriteResult::Done)]);
        assert!(host.log.is_empty() && host.role.local_sessions().unwrap().is_empty());

        let (silent, heard) = (open(&mut host, 3), open(&mut host, 4));
        host.now.mono_ms += 3_000;
        host.step(Input::Touch(vec![heard]));
        host.now.mono_ms = host.role.next_deadline().unwrap();
        let out = host.step(Input::Tick);
        assert!(
            matches!(out[..], [Action::CloseConnection { conn: at, session, .. }] if at == conn(3) && session == silent),
            "{out:?}"
        );
        assert!(host.log.is_empty());
        assert!(host.role.local_sessions().unwrap().contains(heard));
    }
}

#[test]
fn a_local_session_writes_what_has_no_owner() {
    let mut host = leader(false);
    let session = open(&mut host, 1);
    let [Txn::Create { ephemeral: false, .. }] =
        proposed(&host.step(asks(1, session, WriteOp::Create(create("/a", 0)))))[..]
    else {
        panic!("a plain node")
    };
    // An ephemeral takes a place in the order all the same, as everything does that a leader refuses.
    let out = host.step(asks(1, session, WriteOp::Create(create("/e", 1))));
    assert_eq!(proposed(&out), [Txn::Error { code: ErrorCode::EphemeralOnLocalSession.code() }]);
    let out = host.step(asks(1, session, multi(1)));
    let [Txn::Multi { entries }] = &proposed(&out)[..] else { panic!("{out:?}") };
    assert_eq!(entries[1], Txn::Error { code: ErrorCode::SessionExpired.code() });
    // createContainer makes no ephemerals, whatever its flags say; but it asks as if it did.
    let container = WriteOp::Create(CreateOp { kind: CreateKind::Container, ..create("/c", 1) });
    let out = host.step(asks(1, session, container));
    assert_eq!(proposed(&out), [Txn::Error { code: ErrorCode::SessionExpired.code() }]);

    let mut host = follower(false);
    let session = open(&mut host, 1);
    let out = host.step(asks(1, session, WriteOp::Create(create("/e", 3))));
    assert_eq!(answers(&out), [Err(ErrorCode::EphemeralOnLocalSession)]);
    let out = host.step(asks(1, session, WriteOp::Create(create("/a", 2))));
    assert!(matches!(out[..], [Action::Forward { opcode: opcode::CREATE, .. }]), "{out:?}");
}

#[test]
fn the_first_ephemeral_makes_it_one_of_the_ensemble_under_its_id() {
    let mut host = leader(true);
    for (slot, op) in [(1, WriteOp::Create(create("/e", 1))), (2, multi(3))] {
        let session = open(&mut host, slot);
        let out = host.step(asks(slot, session, op));
        let [Txn::CreateSession { timeout_ms: 4000 }, made] = &proposed(&out)[..] else { panic!("{out:?}") };
        assert!(!matches!(made, Txn::Error { .. }), "{made:?}");
        assert!(host.role.sessions().contains(session) && !host.role.local_sessions().unwrap().contains(session));
    }

    let mut host = follower(true);
    let session = open(&mut host, 1);
    let out = host.step(asks(1, session, WriteOp::Create(create("/e", 1))));
    let [
        Action::Forward { session: first, opcode: opcode::CREATE_SESSION, body, .. },
        Action::Forward { session: second, opcode: opcode::CREATE, .. },
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((*first, *second, codec::decode_create_session(body)), (session, session, Ok(4000)));
    assert!(!host.role.local_sessions().unwrap().contains(session));
    assert_eq!(host.role.sessions().owner(session), Some(Owner::Local(Connection { core: CORE, conn: conn(1) })));
    // Its second ephemeral needs nothing any more.
    let out = host.step(asks(1, session, WriteOp::Create(create("/f", 1))));
    assert!(matches!(out[..], [Action::Forward { opcode: opcode::CREATE, .. }]), "{out:?}");
}

#[test]
fn a_leader_takes_writes_of_sessions_that_others_keep() {
    let elsewhere = SessionId(2 << 56 | 9);
    let forwarded = |session, op: &WriteOp| {
        let (opcode, body) = codec::encode(op).unwrap();
        Input::Forwarded { learner: LearnerId(1), session, cxid: 1, opcode, body, ids: Some(Arc::default()) }
    };
    let mut host = leader(false);
    let out = host.step(forwarded(elsewhere, &WriteOp::Create(create("/a", 0))));
    assert!(matches!(proposed(&out)[..], [Txn::Create { .. }]), "{out:?}");
    let expired = [Txn::Error { code: ErrorCode::SessionExpired.code() }];
    let out = host.step(forwarded(elsewhere, &WriteOp::Create(create("/e", 1))));
    assert_eq!(proposed(&out), expired, "it can own nothing");
    // One of this server's own that is not known has ended.
    let out = host.step(forwarded(SessionId(1 << 56 | 9), &WriteOp::Create(create("/b", 0))));
    assert_eq!(proposed(&out), expired);
    // And where nobody has local sessions, so has any.
    let mut strict = Host::member(config(1));
    strict.change(|role, now, out| role.lead(now, 1, out));
    assert_eq!(proposed(&strict.step(forwarded(elsewhere, &WriteOp::Create(create("/a", 0))))), expired);
}

#[test]
fn they_end_with_the_role() {
    let mut host = leader(true);
    let session = open(&mut host, 1);
    host.change(|role, now, out| role.look(now, out));
    assert!(host.role.local_sessions().is_none());
    host.change(|role, now, out| role.lead(now, 2, out));
    assert_eq!(renew(&mut host, 2, session), [Action::Refused { core: CORE, conn: conn(2) }]);
}

#[test]
fn what_the_acls_forbid_goes_no_further() {
    let eager = ClientPolicy { eager_acl: true, ..ClientPolicy::default() };
    for leads in [true, false] {
        let mut host = Host::member(RoleConfig { clients: eager, ..config(1) });
        host.change(|role, now, out| if leads { role.lead(now, 1, out) } else { role.follow(now, out) });
        let session = SessionId(1 << 56 | 9);
        let set = |path: &str| WriteOp::SetData(SetDataOp { path: path.into(), data: None, version: -1 });
        let no_list = AclSpec::List(Some(Vec::new()));
        for (op, expected) in [
            // Everybody may read the configuration, and nobody write it.
            (set("/zookeeper/config"), ErrorCode::NoAuth),
            (WriteOp::SetAcl { path: "/zookeeper/config".into(), acl: AclSpec::Open, version: -1 }, ErrorCode::NoAuth),
            (WriteOp::Create(create("/zookeeper/config/x", 0)), ErrorCode::NoAuth),
            (WriteOp::Delete(DeleteOp { path: "/zookeeper/config/x".into(), version: -1 }), ErrorCode::NoAuth),
            (WriteOp::Create(CreateOp { acl: no_list.clone(), ..create("/x", 0) }), ErrorCode::InvalidAcl),
        ] {
            let out = host.step(asks(1, session, op));
            let [Action::Answer(WriteAnswer { zxid: Zxid::ZERO, result: Err(code), .. })] = out[..] else {
                panic!("{out:?}")
            };
            assert_eq!(code, expected);
        }
        // What is not there, what is allowed, and what is looked at in its place only.
        for op in [set("/none"), set("/"), WriteOp::Create(create("nowhere", 0)), multi(0)] {
            let out = host.step(asks(1, session, op));
            let goes_on = |action: &Action| matches!(action, Action::Append { .. } | Action::Forward { .. });
            assert!(out.iter().any(goes_on), "{out:?}");
        }
        assert_eq!(
            answers(&host.step(asks(
                1,
                session,
                WriteOp::Create(CreateOp { kind: CreateKind::Container, acl: no_list.clone(), ..create("/x", 4) })
            ))),
            []
        );
    }
}
