//! What clients hold servers to: every reply is what the model says, as of its zxid; a session never goes back; events come
//! before what shows the change.

use super::super::checker::{Outcome, Timeline, Watches};
use super::super::server::Told;
use super::super::world::World;
use super::{Asked, Kind, restored_kind};
use engine::acl::{Identity, permits, perms};
use engine::error_code::ErrorCode;
use engine::event::EventKind;
use engine::ids::SessionId;
use engine::jute::{Reader, Writer};
use engine::path::CONFIG_NODE;
use engine::read::{OwedEvent, ReadOp, RestoredKind, RestoredWatch};
use engine::watch::WatchMode;
use engine::zxid::Zxid;
use std::hash::Hash;

impl World {
    /// A client is told something on one of its connections.
    pub fn client_hears(&mut self, at: usize, conn: u32, told: Told) -> Result<(), String> {
        if self.clients[at].conn != Some(conn) {
            return Ok(());
        }
        self.hears(at, told).map_err(|violation| format!("client {at}: {violation}"))
    }

    fn hears(&mut self, at: usize, told: Told) -> Result<(), String> {
        match told {
            Told::Connected(session) => self.is_connected(at, session),
            Told::Refused => {
                self.met.count("refused sessions");
                self.clients[at].begin_anew();
            }
            Told::Closed => self.clients[at].lose_connection(),
            Told::Event(zxid, kind, path) => {
                self.met.count("watch events");
                (zxid.0, kind).hash(self.digest());
                let client = &mut self.clients[at];
                let event = (kind, path);
                client.watcher.event(&self.checker.timeline, zxid, &event)?;
                let (kind, path) = event;
                used_up(kind).iter().for_each(|kind| {
                    client.watches.remove(&(*kind, path.clone()));
                });
            }
            Told::Written { xid, zxid, result, stats } => {
                let asked = self.is_answered(at, xid, zxid)?;
                let client = &mut self.clients[at];
                if !matches!(asked.kind, Kind::Write) {
                    return Err(format!("request {xid} is no write"));
                }
                if zxid <= std::mem::replace(&mut client.seen, zxid) {
                    return Err(format!("the write at {zxid} comes after something as new"));
                }
                let closes = result.is_ok() && self.checker.timeline.closes(client.session, zxid);
                let outcome = Outcome { result, stats };
                let whose = (client.session, xid);
                self.checker.answered(whose, zxid, &outcome, asked.acknowledged)?;
                self.met.count("answers");
                if closes {
                    self.clients[at].begin_anew();
                }
            }
            Told::Synced { xid, zxid } => {
                let asked = self.is_answered(at, xid, zxid)?;
                // A leader that has been deposed, and does not know it, knows nothing of later epochs.
                let before = asked.acknowledged;
                if zxid < before && zxid.epoch() >= before.epoch() {
                    return Err(format!("synced to {zxid} when {before} was acknowledged"));
                }
                let client = &mut self.clients[at];
                client.seen = client.seen.max(zxid);
                self.met.count("syncs");
            }
            Told::Read { xid, view, result } => {
                let asked = self.is_answered(at, xid, view)?;
                self.does_not_go_back(at, view)?;
                let Kind::Read(op) = asked.kind else { return Err(format!("request {xid} is no read")) };
                is_right(&self.checker.timeline, &self.clients[at].identity, &op, view, &result)?;
                self.met.count(met(&op));
                if result == Err(ErrorCode::NoAuth) {
                    self.met.count("refused reads");
                }
                self.watches(at, &op, result.err());
            }
            Told::MultiRead { xid, view, results } => {
                let asked = self.is_answered(at, xid, view)?;
                self.does_not_go_back(at, view)?;
                let Kind::MultiRead(ops) = asked.kind else { return Err(format!("request {xid} is no multiRead")) };
                for (op, result) in ops.iter().zip(&results) {
                    is_right(&self.checker.timeline, &self.clients[at].identity, op, view, result)?;
                }
                self.met.count("multireads");
            }
            Told::Ephemerals { xid, at: view, mut paths } => {
                let asked = self.is_answered(at, xid, view)?;
                self.does_not_go_back(at, view)?;
                let Kind::Ephemerals(prefix) = asked.kind else {
                    return Err(format!("request {xid} asks for no ephemerals"));
                };
                paths.sort_unstable();
                let mut owned = self.checker.timeline.ephemerals(self.clients[at].session, view);
                owned.retain(|path| path.starts_with(prefix));
                if !paths.iter().map(|path| &**path).eq(owned.iter().copied()) {
                    return Err(format!("its ephemerals at {view} are {owned:?}, it is told {paths:?}"));
                }
                self.met.add_to("listed ephemerals", paths.len() as u64);
            }
            Told::Restored { xid, view, owed } => {
                let asked = self.is_answered(at, xid, view)?;
                self.does_not_go_back(at, view)?;
                let Kind::Restore(relative, items) = asked.kind else {
                    return Err(format!("request {xid} restores nothing"));
                };
                self.restored(at, relative, view, &items, &owed)?;
                self.met.count("restored watches");
            }
        }
        Ok(())
    }

    fn is_connected(&mut self, at: usize, session: SessionId) {
        let client = &mut self.clients[at];
        if client.session == SessionId::NONE {
            self.checker.timeline.connects(session);
        }
        (client.session, client.is_up) = (session, true);
        let (items, seen) = (client.to_restore(), client.seen);
        if let Some(conn) = client.conn.filter(|_| !items.is_empty()) {
            self.request(at, conn, Kind::Restore(seen, items));
        }
    }

    /// A reply comes: the one that is due, and behind every event that it may show.
    fn is_answered(&mut self, at: usize, xid: i32, zxid: Zxid) -> Result<Asked, String> {
        (at, xid, zxid.0).hash(self.digest());
        let now = self.now;
        let client = &mut self.clients[at];
        let first = client.asked.pop_front().filter(|asked| asked.xid == xid);
        client.waits_since = now;
        let Some(asked) = first else { return Err(format!("request {xid} is answered before its turn")) };
        client.watcher.reply(&self.checker.timeline, zxid)?;
        Ok(asked)
    }

    fn does_not_go_back(&mut self, at: usize, view: Zxid) -> Result<(), String> {
        let client = &mut self.clients[at];
        let seen = std::mem::replace(&mut client.seen, view);
        if view < seen { Err(format!("has seen {seen} and is shown {view}")) } else { Ok(()) }
    }

    /// A read has left a watch.
    fn watches(&mut self, at: usize, op: &ReadOp<'_>, failed: Option<ErrorCode>) {
        let client = &mut self.clients[at];
        let (path, watch, kind) = match op {
            ReadOp::Exists { path, watch: true } if failed == Some(ErrorCode::NoNode) => (path, WatchMode::Data, 1),
            ReadOp::Exists { path, watch: true } | ReadOp::GetData { path, watch: true } if failed.is_none() => {
                (path, WatchMode::Data, 0)
            }
            ReadOp::GetChildren { path, watch: true, .. } if failed.is_none() => (path, WatchMode::Child, 2),
            ReadOp::AddWatch { path, recursive: false } => (path, WatchMode::Persistent, 3),
            ReadOp::AddWatch { path, recursive: true } => (path, WatchMode::Recursive, 4),
            _ => return,
        };
        client.watcher.watch(path, watch);
        client.watches.insert((kind, path.clone().into_owned()));
    }

    /// setWatches: what has changed meanwhile is owed, the other watches are there again.
    fn restored(
        &mut self,
        at: usize,
        relative: Zxid,
        view: Zxid,
        items: &[RestoredWatch],
        owed: &[OwedEvent],
    ) -> Result<(), String> {
        let mut expected = Vec::new();
        let mut registered = Watches::default();
        let client = &mut self.clients[at];
        for item in items {
            let node = self.checker.timeline.seen(&item.path, view);
            let missed = |zxid: i64| zxid > relative.to_wire();
            let event = match (item.kind, &node) {
                (RestoredKind::Data | RestoredKind::Child, None) => Some(EventKind::NodeDeleted),
                (RestoredKind::Data, Some(seen)) if missed(seen.stat.mzxid) => Some(EventKind::NodeDataChanged),
                (RestoredKind::Child, Some(seen)) if missed(seen.stat.pzxid) => Some(EventKind::NodeChildrenChanged),
                (RestoredKind::Exist, Some(_)) => Some(EventKind::NodeCreated),
                _ => None,
            };
            let watch = match item.kind {
                RestoredKind::Data | RestoredKind::Exist => WatchMode::Data,
                RestoredKind::Child => WatchMode::Child,
                RestoredKind::Persistent => WatchMode::Persistent,
                RestoredKind::PersistentRecursive => WatchMode::Recursive,
            };
            match event {
                Some(kind) => expected.push(OwedEvent { index: item.index, kind, path: item.path.clone() }),
                None => registered.add(&item.path, watch),
            }
        }
        if expected != owed {
            return Err(format!("back after {relative}, at {view}, is owed {expected:?}, and told {owed:?}"));
        }
        for (path, watch) in registered.iter() {
            client.watcher.watch(path, watch);
        }
        for event in owed {
            let of_event = |(kind, path): &(u8, String)| {
                let item = &items[event.index as usize];
                restored_kind(*kind) == item.kind && **path == *event.path
            };
            client.watches.retain(|watch| !of_event(watch));
        }
        self.met.add_to("owed events", owed.len() as u64);
        Ok(())
    }
}

/// The kinds of watch in a client's library that an event uses up.
fn used_up(kind: EventKind) -> &'static [u8] {
    match kind {
        EventKind::NodeCreated | EventKind::NodeDataChanged => &[0, 1],
        EventKind::NodeChildrenChanged => &[2],
        EventKind::NodeDeleted => &[0, 1, 2],
    }
}

/// What a read counts as.
fn met(op: &ReadOp<'_>) -> &'static str {
    match op {
        ReadOp::GetAcl { .. } => "read ACLs",
        ReadOp::CountDescendants { .. } => "counts of descendants",
        ReadOp::GetData { path, .. } if *path == CONFIG_NODE => "read configurations",
        _ => "reads",
    }
}

/// Whether a reply is what the model says as of the view.
fn is_right(
    timeline: &Timeline,
    identity: &Identity,
    op: &ReadOp<'_>,
    view: Zxid,
    result: &Result<Vec<u8>, ErrorCode>,
) -> Result<(), String> {
    let path = op.path().unwrap_or("/");
    let seen = timeline.seen(path, view);
    let mut expected = Vec::new();
    let mut writer = Writer::new(&mut expected);
    let may = |perm| seen.as_ref().is_some_and(|seen| permits(&seen.acl, perm, identity));
    let is_hidden = match op {
        ReadOp::GetAcl { .. } => !may(perms::READ) && !may(perms::ADMIN),
        _ => !may(perms::READ),
    };
    let is_right = match (op, &seen, result) {
        (ReadOp::AddWatch { .. }, _, Ok(_)) => return Ok(()),
        (ReadOp::GetData { path, .. }, _, Ok(record)) if *path == CONFIG_NODE => {
            let text = Reader::new(record).buffer().map_err(|problem| problem.to_string())?;
            timeline.members.is_shown(text.unwrap_or_default(), view)
        }
        (_, None, result) => *result == Err(ErrorCode::NoNode),
        (_, Some(_), result) if is_hidden => *result == Err(ErrorCode::NoAuth),
        (ReadOp::GetAcl { .. }, Some(seen), Ok(record)) => {
            writer.count(Some(seen.acl.len()));
            for entry in seen.acl.iter() {
                writer.int(entry.perms);
                writer.string(&entry.scheme);
                // Who may not change the list is not shown what proves a user.
                match entry.id.split_once(':') {
                    Some((user, _)) if !may(perms::ADMIN) => writer.string(&format!("{user}:x")),
                    _ => writer.string(&entry.id),
                }
            }
            seen.stat.encode(&mut writer);
            expected == *record
        }
        (ReadOp::CountDescendants { .. }, Some(_), Ok(record)) => {
            **record == (timeline.descendants(path, view) as u32).to_be_bytes()
        }
        (ReadOp::Exists { .. }, Some(seen), Ok(record)) => {
            seen.stat.encode(&mut writer);
            expected == *record
        }
        (ReadOp::GetData { .. }, Some(seen), Ok(record)) => {
            writer.buffer(seen.data.as_deref());
            seen.stat.encode(&mut writer);
            expected == *record
        }
        (ReadOp::GetChildren { stat, .. }, Some(seen), Ok(record)) => {
            let mut reader = Reader::new(record);
            let names = names(&mut reader)?;
            if *stat {
                seen.stat.encode(&mut writer);
            }
            names == timeline.children(path, view) && reader.rest() == expected
        }
        _ => false,
    };
    match is_right {
        true => Ok(()),
        false => Err(format!("{op:?} at {view} gives {result:?}, there is {seen:?}")),
    }
}

/// The names of a listing, in the order of the model; doubled ones stay doubled.
fn names(reader: &mut Reader<'_>) -> Result<Vec<String>, String> {
    let count = reader.int().map_err(|problem| problem.to_string())?;
    let mut names = Vec::new();
    for _ in 0..count {
        let name = reader.string().map_err(|problem| problem.to_string())?;
        names.push(name.unwrap_or_default().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
