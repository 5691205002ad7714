//! Answers to reads (`FinalRequestProcessor`).
//!
//! Checks come in ZooKeeper's order: the node, then the ACL, then the watch is registered. Reads check no path syntax; a
//! path that could not be created is simply not there.

use super::job::{RecordPart, Step, Task};
use super::walk::Onward;
use super::{ReadOutcome, Shard};
use crate::acl::{Acl, AclTable, Identity, perms};
use crate::error_code::ErrorCode;
use crate::ids::Origin;
use crate::jute::Writer;
use crate::partition::{Damage, NodeEntry};
use crate::path;
use crate::read::{ReadBody, ReadOp};
use crate::watch::WatchMode;
use crate::zxid::Zxid;
use std::sync::Arc;

impl Shard {
    /// Answers a read as of `view`, or begins to. `view` is not below the oldest view in use; everything up to it that
    /// concerns this shard has been applied. A record is appended to `out`.
    ///
    /// Watches are registered at once, also when the answer is deferred (but for setWatches, which registers as it goes).
    /// [`ReadOp::FindWatch`] alone looks at the present: a watch that a change behind the view has used up is gone, and
    /// events of such changes may still follow a removal.
    #[allow(clippy::too_many_arguments)]
    pub fn read(
        &mut self,
        acls: &AclTable,
        view: Zxid,
        origin: Origin,
        part: u32,
        identity: &Arc<Identity>,
        op: &ReadOp<'_>,
        out: &mut Vec<u8>,
    ) -> ReadOutcome {
        debug_assert!(view >= self.history.oldest(), "{view} is below {}", self.history.oldest());
        self.newest_view = self.newest_view.max(view);
        let mut request = Request { acls, view, origin, part, identity, out };
        match self.answer(&mut request, op) {
            Ok(outcome) => outcome,
            Err(Refusal::Code(code)) => ReadOutcome::Failed(code),
            Err(Refusal::Damage(damage)) => {
                self.damaged(damage);
                ReadOutcome::Deferred
            }
        }
    }

    fn answer(&mut self, request: &mut Request<'_>, op: &ReadOp<'_>) -> Result<ReadOutcome, Refusal> {
        let (view, origin) = (request.view, request.origin);
        match op {
            ReadOp::Exists { path, watch } => {
                if path.contains('\0') {
                    return Err(ErrorCode::BadArguments.into());
                }
                let found = self.find(view, path);
                if let Some((_, entry)) = &found {
                    request.check(entry, perms::READ)?;
                }
                if *watch {
                    self.watch(origin, view, path, WatchMode::Data);
                }
                let (place, entry) = found.ok_or(ErrorCode::NoNode)?;
                self.record(request, place, entry, Vec::new(), RecordPart::Stat)
            }
            ReadOp::GetData { path, watch } => {
                let (place, entry) = self.readable(request, path)?;
                if *watch {
                    self.watch(origin, view, path, WatchMode::Data);
                }
                self.record(request, place, entry, Vec::new(), RecordPart::DataAndStat)
            }
            ReadOp::GetAcl { path } => {
                let (place, entry) = self.find(view, path).ok_or(ErrorCode::NoNode)?;
                let (acls, identity) = (request.acls, request.identity);
                let is_admin = acls.permits(entry.acl, perms::ADMIN, identity);
                if !is_admin && !acls.permits(entry.acl, perms::READ, identity) {
                    return Err(ErrorCode::NoAuth.into());
                }
                // ZooKeeper answers so when an internal number leads nowhere.
                let list = acls.get(entry.acl).ok_or(ErrorCode::MarshallingError)?;
                let mut prefix = Vec::new();
                encode_acl(list, is_admin, &mut prefix);
                self.record(request, place, entry, prefix, RecordPart::Stat)
            }
            ReadOp::GetChildren { path, watch, stat } => {
                let (place, entry) = self.readable(request, path)?;
                if *watch {
                    self.watch(origin, view, path, WatchMode::Child);
                }
                let task = Task::List { place, entry, with_stat: *stat, onward: Onward::From(None), count: 0 };
                self.begin(request, task)
            }
            ReadOp::CountDescendants { path } => {
                let base = path::canonical(path);
                let owned = self.place_of(self.config.key.hash(base)).is_some();
                if owned {
                    self.readable(request, path)?;
                }
                if base == "/" {
                    let nodes = self.nodes_in_all(view) - u64::from(owned);
                    return Ok(ReadOutcome::Body(ReadBody::Count(u32::try_from(nodes).unwrap_or(u32::MAX))));
                }
                let task = Task::Count { base: base.into(), place: 0, onward: Onward::From(None), count: 0 };
                self.begin(request, task)
            }
            ReadOp::AddWatch { path, recursive } => {
                let mode = if *recursive { WatchMode::Recursive } else { WatchMode::Persistent };
                self.watch(origin, view, path, mode);
                // The record is an ErrorResponse with err 0.
                Writer::new(request.out).int(0);
                Ok(ReadOutcome::Record)
            }
            ReadOp::FindWatch { path, kind, remove } => {
                let (core, conn, modes) = (origin.core, origin.conn, (*kind).into());
                if self.history.is_registering() {
                    self.finish_restoring(core, conn);
                }
                let found = match remove {
                    true => self.watches.remove(core, conn, path, modes),
                    false => self.watches.modes(core, conn, path).meets(modes),
                };
                Ok(ReadOutcome::Body(ReadBody::Found(found)))
            }
            ReadOp::SetWatches { relative_zxid, items } => {
                let items = items.clone().into_boxed_slice();
                let task = Task::Restore { relative_zxid: *relative_zxid, items, next: 0, owed: Vec::new() };
                self.begin(request, task)
            }
        }
    }

    /// The node at a path as of a view, and the place of its partition.
    pub(super) fn find(&self, view: Zxid, path: &str) -> Option<(usize, NodeEntry)> {
        let hash = self.config.key.hash(path::canonical(path));
        let place = self.place_of(hash)?;
        Some((place, self.node_at(view, place, hash)?))
    }

    fn readable(&self, request: &Request<'_>, path: &str) -> Result<(usize, NodeEntry), Refusal> {
        let (place, entry) = self.find(request.view, path).ok_or(ErrorCode::NoNode)?;
        request.check(&entry, perms::READ)?;
        Ok((place, entry))
    }

    /// Appends `prefix` and what is asked of a node's record, or has the record fetched first.
    fn record(
        &mut self,
        request: &mut Request<'_>,
        place: usize,
        entry: NodeEntry,
        prefix: Vec<u8>,
        part: RecordPart,
    ) -> Result<ReadOutcome, Refusal> {
        if self.partitions[place].is_resident(&entry) {
            let before = request.out.len();
            request.out.extend_from_slice(&prefix);
            self.encode_record(place, &entry, part, request.out).inspect_err(|_| request.out.truncate(before))?;
            return Ok(ReadOutcome::Record);
        }
        let missing = self.partitions[place].location(&entry);
        let task = Task::Record { place, entry, part };
        let step = Step::Missing(place, [missing].into_iter().collect());
        Ok(self.defer(request.origin, request.part, request.view, task, prefix, step))
    }

    /// Appends what is asked of a node's record.
    pub(super) fn encode_record(
        &self,
        place: usize,
        entry: &NodeEntry,
        part: RecordPart,
        out: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        let node = self.partitions[place].node(entry)?;
        let mut writer = Writer::new(out);
        if part == RecordPart::DataAndStat {
            writer.buffer(node.data);
        }
        node.stat(entry, self.config.extended_types).encode(&mut writer);
        Ok(())
    }

    /// Takes the first step of a task right away, in the hope that it is the last.
    fn begin(&mut self, request: &mut Request<'_>, mut task: Task) -> Result<ReadOutcome, Refusal> {
        let before = request.out.len();
        if let Task::List { .. } = task {
            // The count of names, to be filled in.
            Writer::new(request.out).int(0);
        }
        let step = match self.step(&mut task, request.origin, request.view, request.out, before, false) {
            Ok(step) => step,
            Err(damage) => {
                request.out.truncate(before);
                return Err(damage.into());
            }
        };
        if let Step::Done = step {
            return Ok(match task.into_body() {
                Some(body) => ReadOutcome::Body(body),
                None => ReadOutcome::Record,
            });
        }
        let so_far = request.out.split_off(before);
        Ok(self.defer(request.origin, request.part, request.view, task, so_far, step))
    }
}

/// A read under way.
struct Request<'a> {
    acls: &'a AclTable,
    view: Zxid,
    origin: Origin,
    part: u32,
    identity: &'a Identity,
    out: &'a mut Vec<u8>,
}

impl Request<'_> {
    fn check(&self, entry: &NodeEntry, perm: i32) -> Result<(), ErrorCode> {
        if self.acls.permits(entry.acl, perm, self.identity) { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }
}

/// Why a read ends without an answer of its own.
pub(super) enum Refusal {
    Code(ErrorCode),
    Damage(Damage),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal::Code(code)
    }
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Refusal {
        Refusal::Damage(damage)
    }
}

/// The vector of a `GetACLResponse`. Callers without ADMIN see users of `digest` entries, and no hashes.
fn encode_acl(list: &[Acl], is_admin: bool, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    writer.count(Some(list.len()));
    for entry in list {
        writer.int(entry.perms);
        writer.string(&entry.scheme);
        match entry.id.split_once(':') {
            Some((user, _)) if !is_admin && &*entry.scheme == "digest" => writer.string(&format!("{user}:x")),
            _ => writer.string(&entry.id),
        }
    }
}
