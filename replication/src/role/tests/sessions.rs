//! Handshakes, expiry, closing, ephemerals.

use super::*;
use crate::request::WriteResult;
use crate::session::password;
use engine::error_code::ErrorCode;

const CORE: CoreId = CoreId(0);

fn conn(slot: u32) -> ConnId {
    ConnId { slot, generation: 0 }
}

impl Host {
    fn renew(&mut self, slot: u32, session: SessionId, timeout_ms: i32, password: Option<[u8; 16]>) -> Vec<Action> {
        let (core, conn) = (CORE, conn(slot));
        self.step(Input::Connect(ConnectRequest { core, conn, session, timeout_ms, password }));
        std::mem::take(&mut self.said)
    }

    fn at(&mut self, mono_ms: i64) {
        self.now.mono_ms = mono_ms;
        self.step(Input::Tick);
        self.settle();
    }
}

#[test]
fn a_new_session_is_answered_once_it_is_committed() {
    let mut host = Host::new(config(1));
    let (core, conn) = (CORE, conn(3));
    let connect = ConnectRequest { core, conn, session: SessionId::NONE, timeout_ms: 4000, password: Some([9; 16]) };
    let out = host.step(Input::Connect(connect));
    assert!(matches!(&out[..], [Action::Append { zxid: Zxid(1), .. }]), "{out:?}");
    let out = host.flush(1);
    let [Action::Publish { commit: Zxid(1) }, Action::Connected { session, .. }] = out[..] else { panic!("{out:?}") };
    assert_eq!(session.0 as u64 >> 56, 1, "the server's id is the top byte");
    let password = password(session);
    let at = Zxid(1);
    assert_eq!(out[1], Action::Connected { core, conn, session, timeout_ms: 4000, password, at });
    assert_eq!(host.role.sessions().len(), 1);
}

#[test]
fn renewal_closes_the_older_connection_and_takes_the_new_timeout() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    let right = Some(password(session));
    host.now.mono_ms += 100;
    let said = host.renew(2, session, 30_000, right);
    let at = Zxid(1);
    assert_eq!(said[0], Action::CloseConnection { core: CORE, conn: conn(1), session, at });
    assert!(matches!(said[1], Action::Connected { timeout_ms: 30_000, .. }));
    host.step(Input::Disconnected { session, core: CORE, conn: conn(1) });
    host.at(20_000);
    assert_eq!(host.role.sessions().len(), 1, "the new timeout counts");
    host.at(42_000);
    assert_eq!(host.role.sessions().len(), 0);
    assert_eq!(host.said, [Action::CloseConnection { core: CORE, conn: conn(2), session, at: Zxid(2) }]);
}

#[test]
fn a_wrong_password_and_an_unknown_session_look_alike_and_disturb_nobody() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    let refused = [Action::Refused { core: CORE, conn: conn(2) }];
    assert_eq!(host.renew(2, session, 4000, Some([0; 16])), refused);
    assert_eq!(host.renew(2, session, 4000, None), refused);
    let unknown = SessionId(session.0 + 77);
    assert_eq!(host.renew(2, unknown, 4000, Some(password(unknown))), refused);
    assert_eq!(host.role.proposed(), Zxid(1), "no zxid is used");
}

#[test]
fn expiry_removes_ephemerals_and_closes_the_connection() {
    let mut host = Host::new(config(2));
    let session = host.connect(1, 4000);
    host.ask(session, create("/e", 1));
    host.settle();
    assert_eq!(host.role.next_deadline(), Some(16_000), "10,000 + 4,000 up to the next multiple of the tick");
    host.at(15_999);
    assert!(host.replica.nodes.contains_key("/e"));
    host.at(16_000);
    assert!(!host.replica.nodes.contains_key("/e"));
    assert_eq!(host.said, [Action::CloseConnection { core: CORE, conn: conn(1), session, at: Zxid(3) }]);
    assert_eq!(host.role.counters().sessions_expired, 1);
    let late = host.ask(session, create("/late", 0));
    host.settle();
    let answer = host.answers.last().unwrap();
    assert_eq!((answer.origin, &answer.result), (late, &Err(ErrorCode::SessionExpired)));
}

#[test]
fn every_request_and_every_touch_keeps_a_session_alive() {
    let mut host = Host::new(config(1));
    let (writer, toucher, idle) = (host.connect(1, 4000), host.connect(2, 4000), host.connect(3, 4000));
    host.at(14_000);
    host.ask(writer, create("/a", 0));
    host.step(Input::Touch(vec![toucher, SessionId(1)]));
    host.at(17_000);
    let left: Vec<_> = host.role.sessions().committed().into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [writer, toucher]);
    assert!(!host.role.sessions().contains(idle));
}

#[test]
fn nothing_behind_a_close_takes_effect() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    host.ask(session, create("/e", 1));
    let closing = host.ask(session, WriteOp::CloseSession);
    let behind = host.ask(session, create("/late", 0));
    assert_eq!(host.renew(2, session, 4000, Some(password(session))).len(), 1, "a closing session is not renewed");
    host.flush(1);
    let out = host.flush(9);
    let answers: Vec<_> = host.answers.iter().map(|answer| (answer.origin, answer.result.clone())).collect();
    assert_eq!(answers[1], (closing, Ok(WriteResult::Done)));
    assert_eq!(answers[2], (behind, Err(ErrorCode::SessionExpired)));
    let answer = out.iter().position(|action| matches!(action, Action::Answer(answer) if answer.origin == closing));
    let close = out.iter().position(|action| matches!(action, Action::CloseConnection { .. }));
    assert!(answer.unwrap() < close.unwrap(), "the reply goes before the connection does");
    assert_eq!(host.replica.nodes.len(), 4);
    host.at(100_000);
    assert_eq!(host.role.counters().sessions_expired, 0, "a session ends once");
}

#[test]
fn a_restart_gives_sessions_a_fresh_timeout_and_ids_go_on() {
    let mut host = Host::new(config(1));
    let first = host.connect(1, 4000);
    host.step(Input::CheckpointDue);
    let second = host.connect(2, 4000);
    host.ask(second, create("/e", 1));
    host.settle();
    host.now = Now { mono_ms: 50, wall_ms: host.now.wall_ms - 5000 };
    host.restart(None);
    assert_eq!(host.role.next_deadline(), Some(6000));
    let third = host.connect(3, 4000);
    assert!(third > second && second > first, "also when the clock went back");
    let said = host.renew(4, second, 4000, Some(password(second)));
    assert!(matches!(said[..], [Action::Connected { .. }]));
    host.at(6000);
    host.at(8000);
    assert_eq!(host.role.sessions().len(), 0);
    assert!(!host.replica.nodes.contains_key("/e"));
}

#[test]
fn ephemerals_of_sessions_that_nobody_knows_go_at_the_start() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    host.ask(session, create("/e", 1));
    host.settle();
    host.step(Input::CheckpointDue);
    let (zxid, system, replica) = host.checkpoint.take().unwrap();
    let mut system = SystemState::decode(&system).unwrap();
    system.sessions.clear();
    host.checkpoint = Some((zxid, system.encode(), replica));
    host.restart(None);
    assert!(!host.replica.nodes.contains_key("/e"));
    assert_eq!(host.role.ledger().ephemeral_count(), 0);
}

#[test]
fn ephemerals_are_the_callers_own_and_the_prefix_is_plain_text() {
    let mut host = Host::new(config(1));
    let (mine, other) = (host.connect(1, 4000), host.connect(2, 4000));
    for (session, path) in [(mine, "/a"), (mine, "/ab"), (mine, "/b"), (other, "/ac")] {
        host.ask(session, create(path, 1));
    }
    host.settle();
    let mut ask = |prefix: Option<&str>| {
        let origin = Origin::default();
        host.step(Input::Ephemerals { origin, session: mine, prefix: prefix.map(Into::into) });
        match host.said.pop() {
            Some(Action::Ephemerals { mut paths, at: Zxid(6), .. }) => {
                paths.sort();
                paths.iter().map(|path| path.to_string()).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        }
    };
    for all in [None, Some(""), Some(" "), Some("/")] {
        assert_eq!(ask(all), "/a /ab /b");
    }
    assert_eq!(ask(Some("/a")), "/a /ab");
    assert_eq!(ask(Some("/c")), "");
}
