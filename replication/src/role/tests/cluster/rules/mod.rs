//! Single rules, with the test in the place of the other members.

mod following;
mod leading;

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
