//! The rules of validation and resolution, one by one.
#![allow(clippy::unwrap_used)]

mod order;
mod pending;
mod quotas;
mod resolution;
mod semantics;

use super::*;
use crate::request::{
    AclEntry, AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, MultiResult, ReconfigOp, SetDataOp, WriteOp,
    WriteResult,
};
use bytes::Bytes;
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::piece::Piece;
use engine::txn::{Txn, TxnHeader};
use std::collections::VecDeque;

const S: SessionId = SessionId(0x0100_0000_0000_0001);
const OTHER: SessionId = SessionId(0x0100_0000_0000_0002);

pub(crate) fn config() -> LedgerConfig {
    LedgerConfig {
        hash_key: HashKey::new(std::array::from_fn(|at| (at * 7 + 3) as u8)),
        partitions: 8,
        schemes: Schemes::default(),
        extended_types: true,
        enforce_quota: true,
        reconfig_enabled: false,
    }
}

/// A ledger with the proposals that are not committed yet.
struct World {
    ledger: Ledger,
    zxid: u64,
    time_ms: i64,
    session: SessionId,
    alive: bool,
    identity: Identity,
    outstanding: VecDeque<(TxnHeader, Txn)>,
}

impl World {
    fn new() -> World {
        World::with(config())
    }

    fn with(config: LedgerConfig) -> World {
        World {
            ledger: Ledger::fresh(config),
            zxid: 0,
            time_ms: 1000,
            session: S,
            alive: true,
            identity: Identity::anonymous(),
            outstanding: VecDeque::new(),
        }
    }

    fn header(&mut self) -> TxnHeader {
        self.zxid += 1;
        TxnHeader { client: self.session, cxid: 1, zxid: Zxid(self.zxid), time_ms: self.time_ms }
    }

    /// Proposes only.
    fn propose(&mut self, op: WriteOp) -> Txn {
        let header = self.header();
        let asker = Asker { header: &header, identity: &self.identity, alive: self.alive, is_local: false };
        let txn = self.ledger.propose(asker, op);
        self.outstanding.push_back((header, txn.clone()));
        txn
    }

    /// Commits the oldest proposal.
    fn commit(&mut self) -> Vec<Piece> {
        let (header, txn) = self.outstanding.pop_front().unwrap();
        assert_eq!(self.ledger.unmeasured(&txn), []);
        let mut resolved = Resolved::default();
        self.ledger.commit(&header, &txn, None, Vec::new(), &mut resolved);
        for (at, piece) in resolved.pieces.iter().enumerate() {
            assert_eq!(piece.order, at as u32);
        }
        resolved.pieces.into_iter().map(|piece| piece.piece).collect()
    }

    fn commit_all(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !self.outstanding.is_empty() {
            pieces.extend(self.commit());
        }
        pieces
    }

    /// Proposes and commits; the error code, or 0.
    fn run(&mut self, op: WriteOp) -> i32 {
        let txn = self.propose(op);
        self.commit_all();
        code(&txn)
    }

    fn node(&self, path: &str) -> NodeState {
        self.ledger.committed_node(path).unwrap()
    }
}

fn code(txn: &Txn) -> i32 {
    match txn {
        Txn::Error { code } => *code,
        _ => 0,
    }
}

fn plain(path: &str, flags: i32) -> CreateOp {
    CreateOp { kind: CreateKind::Create, path: path.into(), data: None, acl: AclSpec::Open, flags }
}

fn create(path: &str, flags: i32) -> WriteOp {
    WriteOp::Create(plain(path, flags))
}

fn create_data(path: &str, data: &'static str) -> WriteOp {
    WriteOp::Create(CreateOp { data: Some(Bytes::from_static(data.as_bytes())), ..plain(path, 0) })
}

fn create_acl(path: &str, list: &[(i32, &str, &str)]) -> WriteOp {
    WriteOp::Create(CreateOp { acl: acl(list), ..plain(path, 0) })
}

fn acl(list: &[(i32, &str, &str)]) -> AclSpec {
    let entry = |(perms, scheme, id): &(i32, &str, &str)| AclEntry {
        perms: *perms,
        scheme: Some((*scheme).into()),
        id: Some((*id).into()),
    };
    AclSpec::List(Some(list.iter().map(entry).collect()))
}

fn of_kind(kind: CreateKind, path: &str, flags: i32) -> WriteOp {
    WriteOp::Create(CreateOp { kind, ..plain(path, flags) })
}

fn delete(path: &str, version: i32) -> WriteOp {
    WriteOp::Delete(DeleteOp { path: path.into(), version })
}

fn set(path: &str, data: &'static str, version: i32) -> SetDataOp {
    SetDataOp { path: path.into(), data: Some(Bytes::from_static(data.as_bytes())), version }
}

fn set_data(path: &str, data: &'static str, version: i32) -> WriteOp {
    WriteOp::SetData(set(path, data, version))
}

fn set_acl(path: &str, acl: AclSpec, version: i32) -> WriteOp {
    WriteOp::SetAcl { path: path.into(), acl, version }
}

fn check(path: &str, version: i32) -> MultiOp {
    MultiOp::Check { path: path.into(), version }
}

fn reconfig() -> WriteOp {
    WriteOp::Reconfig(ReconfigOp { joining: None, leaving: None, members: None, config_version: -1 })
}

fn created(txn: &Txn) -> &str {
    match txn {
        Txn::Create { path, .. } | Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. } => path,
        other => panic!("{other:?} creates nothing"),
    }
}
