//! What clients ask for.

use super::super::world::World;
use crate::request::{AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, SetDataOp, WriteOp};
use bytes::Bytes;
use engine::read::ReadOp;
use std::borrow::Cow;

/// Nodes that are often asked for.
const REGISTERS: u64 = 4;
const FOLDERS: u64 = 5;

impl World {
    /// A path that is there, or one that may be.
    fn some_path(&mut self) -> String {
        let (register, folder) = (self.chance.below(REGISTERS), self.chance.below(FOLDERS));
        match self.chance.below(8) {
            0..=2 => format!("/r{register}"),
            3 | 4 => format!("/n{folder}"),
            5 => format!("/n{folder}/e{register}"),
            6 => format!("/n{folder}/m"),
            _ => {
                let count = self.checker.timeline.paths().count() as u64;
                let at = self.chance.below(count) as usize;
                self.checker.timeline.paths().nth(at).unwrap_or("/").to_owned()
            }
        }
    }

    fn version(&mut self) -> i32 {
        if self.chance.percent(70) { -1 } else { self.chance.below(4) as i32 }
    }

    fn some_data(&mut self) -> Option<Bytes> {
        (!self.chance.percent(5)).then(|| Bytes::from(format!("{}", self.chance.below(1 << 30))))
    }

    fn some_create(&mut self) -> CreateOp {
        let (register, folder) = (self.chance.below(REGISTERS), self.chance.below(FOLDERS));
        let (path, flags) = match self.chance.below(8) {
            0 | 1 => (format!("/r{register}"), 0),
            2 | 3 => (format!("/n{folder}"), 0),
            4 => (format!("/n{folder}/s-"), 2),
            5 => (format!("/n{folder}/e{register}"), 1),
            6 => (format!("/n{folder}/m"), 0),
            _ => ("/q-".to_owned(), 3),
        };
        let kind = if self.chance.percent(50) { CreateKind::Create } else { CreateKind::Create2 };
        CreateOp { kind, path: path.into(), data: self.some_data(), acl: AclSpec::Open, flags }
    }

    fn some_delete(&mut self) -> DeleteOp {
        let path = self.some_path();
        DeleteOp { path: path.into(), version: self.version() }
    }

    fn some_set(&mut self) -> SetDataOp {
        let path = self.some_path();
        SetDataOp { path: path.into(), data: self.some_data(), version: self.version() }
    }

    fn some_multi(&mut self) -> Vec<MultiOp> {
        let count = 1 + self.chance.below(4);
        let mut ops = Vec::new();
        for _ in 0..count {
            ops.push(match self.chance.below(6) {
                0 | 1 => MultiOp::Create(self.some_create()),
                2 => MultiOp::Delete(self.some_delete()),
                3 => MultiOp::Check { path: self.some_path().into(), version: self.version() },
                _ => MultiOp::SetData(self.some_set()),
            });
        }
        ops
    }

    pub(super) fn some_write(&mut self) -> WriteOp {
        match self.chance.below(20) {
            0..=5 => WriteOp::Create(self.some_create()),
            6..=8 => WriteOp::Delete(self.some_delete()),
            9..=11 => WriteOp::Multi(self.some_multi()),
            12 if self.chance.percent(15) => WriteOp::CloseSession,
            _ => WriteOp::SetData(self.some_set()),
        }
    }

    pub(super) fn some_read(&mut self) -> ReadOp<'static> {
        let (path, watch) = (Cow::Owned(self.some_path()), self.chance.percent(50));
        match self.chance.below(10) {
            0..=2 => ReadOp::Exists { path, watch },
            3..=5 => ReadOp::GetData { path, watch },
            6 => ReadOp::GetChildren { path: Cow::Borrowed("/"), watch, stat: true },
            7 | 8 => ReadOp::GetChildren { path, watch, stat: true },
            _ => ReadOp::AddWatch { path, recursive: watch },
        }
    }
}
