//! A member without a leader that serves clients that only read.

use super::*;
use crate::request::WriteResult;
use crate::session::password;
use engine::error_code::ErrorCode;

const CORE: CoreId = CoreId(0);

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 0 }
}

/// A member with a session of the ensemble, which has lost its leader.
fn alone() -> (Host, SessionId) {
    let mut host = Host::new(config(1));
    let global = host.connect(1, 4000);
    host.change(|role, now, out| role.look(now, out));
    (host, global)
}

fn ask_for(host: &mut Host, slot: u32, session: SessionId, password: Option<[u8; 16]>) -> Vec<Action> {
    host.step(Input::Connect(ConnectRequest { core: CORE, conn: conn(slot), session, timeout_ms: 4000, password }))
}

fn new_session(host: &mut Host, slot: u32) -> SessionId {
    match ask_for(host, slot, SessionId::NONE, None)[..] {
        [Action::Connected { session, conn: at, .. }] if at == conn(slot) => session,
        ref other => panic!("{other:?}"),
    }
}

fn closed(slot: u32, session: SessionId) -> Action {
    Action::CloseConnection { core: CORE, conn: conn(slot), session, at: Zxid(1) }
}

#[test]
fn nobody_is_answered_before_the_host_says_so() {
    let (mut host, _) = alone();
    assert_eq!(ask_for(&mut host, 2, SessionId::NONE, None), []);
    host.step(Input::ServeReadOnly);
    new_session(&mut host, 2);
    assert!(host.log.len() == 1 && host.role.outstanding_requests() == 0, "no transaction makes a session");
}

#[test]
fn a_session_of_the_ensemble_has_to_look_elsewhere() {
    let (mut host, global) = alone();
    host.step(Input::ServeReadOnly);
    assert_eq!(ask_for(&mut host, 2, global, Some(password(global))), [closed(2, global)]);
    // One of another server, or of this one before: it may live.
    for unknown in [SessionId(2 << 56 | 77), SessionId(global.0 - 1)] {
        assert_eq!(ask_for(&mut host, 2, unknown, Some(password(unknown))), [closed(2, unknown)]);
    }
}

#[test]
fn sessions_of_here_are_renewed_closed_and_expire() {
    let (mut host, _) = alone();
    host.step(Input::ServeReadOnly);
    let session = new_session(&mut host, 2);
    let right = Some(password(session));
    let refused = |slot| Action::Refused { core: CORE, conn: conn(slot) };
    assert_eq!(ask_for(&mut host, 3, session, Some([7; 16])), [refused(3)]);
    let renewed = ask_for(&mut host, 3, session, right);
    assert_eq!(renewed[0], closed(2, session));
    assert!(matches!(renewed[1], Action::Connected { session: same, .. } if same == session), "{renewed:?}");

    let (_, out) = host.write(session, &Arc::new(Identity::anonymous()), WriteOp::CloseSession);
    let [Action::Answer(WriteAnswer { zxid: Zxid(1), result: Ok(WriteResult::Done), .. })] = out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(ask_for(&mut host, 3, session, right), [refused(3)], "it has ended");

    let silent = new_session(&mut host, 4);
    let heard = new_session(&mut host, 5);
    host.now.mono_ms += 3_000;
    host.step(Input::Touch(vec![heard]));
    host.now.mono_ms = host.role.next_deadline().unwrap();
    assert_eq!(host.step(Input::Tick), [closed(4, silent)]);
    assert_eq!(ask_for(&mut host, 6, silent, Some(password(silent))), [refused(6)]);
    assert_eq!(ask_for(&mut host, 6, heard, Some(password(heard))).len(), 2);
    assert_eq!(host.role.sessions().len(), 1, "the session of the ensemble is none of it");
}

#[test]
fn what_should_not_come_is_refused_and_changes_nothing() {
    let (mut host, _) = alone();
    host.step(Input::ServeReadOnly);
    let session = new_session(&mut host, 2);
    let delete = WriteOp::Delete(DeleteOp { path: "/x".into(), version: -1 });
    let (_, out) = host.write(session, &Arc::new(Identity::anonymous()), delete);
    assert!(matches!(&out[..], [Action::Answer(WriteAnswer { result: Err(ErrorCode::NotReadOnly), .. })]), "{out:?}");
    assert_eq!(host.log.len(), 1);
}

#[test]
fn all_of_it_ends_with_a_role() {
    let (mut host, global) = alone();
    host.step(Input::ServeReadOnly);
    let session = new_session(&mut host, 2);
    host.change(|role, now, out| role.lead(now, 5, out));
    host.settle();
    assert_eq!(
        ask_for(&mut host, 3, session, Some(password(session))),
        [Action::Refused { core: CORE, conn: conn(3) }]
    );
    assert!(matches!(ask_for(&mut host, 3, global, Some(password(global)))[..], [Action::Connected { .. }]));
    // And begins anew without any of the sessions before.
    host.change(|role, now, out| role.look(now, out));
    assert_eq!(ask_for(&mut host, 2, SessionId::NONE, None), []);
    host.step(Input::ServeReadOnly);
    assert_eq!(ask_for(&mut host, 3, session, Some(password(session))), [closed_at(3, session, host.role.committed())]);
}

fn closed_at(slot: u32, session: SessionId, at: Zxid) -> Action {
    Action::CloseConnection { core: CORE, conn: conn(slot), session, at }
}
