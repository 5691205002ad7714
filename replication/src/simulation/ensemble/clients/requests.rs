//! What clients ask for.

use super::super::world::World;
use crate::peer::ensemble::{MemberRole, ServerId};
use crate::request::{AclEntry, AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, ReconfigOp, SetDataOp, WriteOp};
use bytes::Bytes;
use engine::acl::Identity;
use engine::path::CONFIG_NODE;
use engine::read::ReadOp;
use std::borrow::Cow;

/// Nodes that are often asked for.
const REGISTERS: u64 = 4;
const FOLDERS: u64 = 5;

pub(super) const ANN: &str = "ann:1";
pub(super) const BOB: &str = "bob:2";

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
        let acl = if self.chance.percent(15) { self.some_acl() } else { AclSpec::Open };
        CreateOp { kind, path: path.into(), data: self.some_data(), acl, flags }
    }

    /// A list that leaves something to somebody, and keeps something from somebody, or nothing from anybody.
    fn some_acl(&mut self) -> AclSpec {
        let entry =
            |perms, scheme: &str, id: &str| AclEntry { perms, scheme: Some(scheme.into()), id: Some(id.into()) };
        let everybody = |perms| entry(perms, "world", "anyone");
        AclSpec::List(Some(match self.chance.below(6) {
            0 => vec![everybody(1), entry(31, "digest", ANN)],
            1 => vec![entry(31, "digest", ANN)],
            2 => vec![everybody(30), entry(1, "digest", BOB)],
            3 => vec![entry(16, "digest", ANN), everybody(15)],
            _ => return AclSpec::Open,
        }))
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

    /// Another set of members: of the present ones some leave, others join or become something else.
    fn some_reconfig(&mut self) -> ReconfigOp {
        let (sids, current) = (self.sids(), self.checker.timeline.members.current().clone());
        let sid = sids[self.chance.below(sids.len() as u64) as usize];
        let line = |world: &mut World, sid: i64| {
            let kind = ["participant", "participant", "observer"][world.chance.below(3) as usize];
            let moves = i64::from(world.chance.percent(5));
            format!("server.{sid}=s{sid}:{}:3888:{kind};2181", 2888 + 1000 * moves)
        };
        let present: Vec<i64> = current.members().keys().map(|ServerId(sid)| *sid).collect();
        let one = present[self.chance.below(present.len() as u64) as usize].to_string();
        let (mut joining, mut leaving, mut members) = (None, None, None);
        match self.chance.below(10) {
            0..=3 => {
                // What is not listed, or does not vote, comes first.
                let idle = sids.iter().find(|sid| current.role_of(ServerId(**sid)) == MemberRole::Observer);
                let absent = sids.iter().find(|sid| current.member(ServerId(**sid)).is_none());
                let sid = absent.or(idle).copied().unwrap_or(sid);
                joining = Some(line(self, sid));
            }
            4 => joining = Some(line(self, sid)),
            5 | 6 => leaving = Some(one),
            7 => (joining, leaving) = (Some(line(self, sid)), Some(one)),
            8 => {
                let picked: Vec<i64> = sids.into_iter().filter(|_| self.chance.percent(70)).collect();
                let lines: Vec<String> = picked.into_iter().map(|sid| line(self, sid)).collect();
                members = Some(lines.join(","));
            }
            _ => leaving = Some("none".to_owned()),
        }
        let config_version = match self.chance.below(8) {
            0 => 7,
            1 | 2 if self.checker.timeline.members.changes() > 0 => current.version(),
            _ => -1,
        };
        let text = |text: Option<String>| text.map(String::into_boxed_str);
        ReconfigOp { joining: text(joining), leaving: text(leaving), members: text(members), config_version }
    }

    pub(super) fn some_multi_read(&mut self) -> Vec<ReadOp<'static>> {
        let count = 1 + self.chance.below(4);
        let op = |world: &mut World| {
            let path = Cow::Owned(world.some_path());
            match world.chance.percent(60) {
                true => ReadOp::GetData { path, watch: false },
                false => ReadOp::GetChildren { path, watch: false, stat: false },
            }
        };
        (0..count).map(|_| op(self)).collect()
    }

    pub(super) fn some_write(&mut self, identity: &Identity) -> WriteOp {
        if self.may_reconfigure() && self.chance.percent(if identity.bypasses() { 15 } else { 1 }) {
            return WriteOp::Reconfig(self.some_reconfig());
        }
        match self.chance.below(20) {
            0..=5 => WriteOp::Create(self.some_create()),
            6..=8 => WriteOp::Delete(self.some_delete()),
            9..=11 => WriteOp::Multi(self.some_multi()),
            12 if self.chance.percent(15) => WriteOp::CloseSession,
            12 => WriteOp::SetAcl { path: self.some_path().into(), acl: self.some_acl(), version: self.version() },
            _ => WriteOp::SetData(self.some_set()),
        }
    }

    pub(super) fn some_read(&mut self) -> ReadOp<'static> {
        let (path, watch) = (Cow::Owned(self.some_path()), self.chance.percent(50));
        match self.chance.below(13) {
            0..=2 => ReadOp::Exists { path, watch },
            3..=5 => ReadOp::GetData { path, watch },
            10 => ReadOp::GetAcl { path },
            11 => ReadOp::CountDescendants { path: if watch { path } else { Cow::Borrowed("/") } },
            12 => ReadOp::GetData { path: Cow::Borrowed(CONFIG_NODE), watch: false },
            6 => ReadOp::GetChildren { path: Cow::Borrowed("/"), watch, stat: true },
            7 | 8 => ReadOp::GetChildren { path, watch, stat: true },
            _ => ReadOp::AddWatch { path, recursive: watch },
        }
    }
}
