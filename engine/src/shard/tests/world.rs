//! A server in small: shards that lag behind one another, cores with views, connections that read and watch. Everything
//! that comes out is held against the model.

use super::disk::Disk;
use super::model::{Change, Event, Tree, Watching, data_and_stat, should_hear};
use crate::acl::{Acl, AclId, AclTable, Identity, perms};
use crate::error_code::ErrorCode;
use crate::event::EventKind;
use crate::ids::{ConnId, CoreId, Origin, PartitionId, ShardId};
use crate::jute::{Reader, Writer};
use crate::partition::Partition;
use crate::path::{self, HashKey, shard_of};
use crate::piece::{RoutedPiece, ShardTxn};
use crate::read::{OwedEvent, ReadBody, ReadOp, ReadRequest, RestoredKind, RestoredWatch, WatchSelector};
use crate::shard::{EventBatch, JobId, PinId, ReadOutcome, Shard, ShardAction, ShardConfig};
use crate::stat::Stat;
use crate::watch::WatchMode;
use crate::zxid::Zxid;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub const PARTITIONS: u32 = 16;
/// The list that only odd connections satisfy.
pub const CLOSED: AclId = AclId::FIRST_FREE;

#[derive(Clone, Debug)]
pub enum Ask {
    Exists(bool),
    Data(bool),
    Children { watch: bool, stat: bool },
    Acl,
    Count,
    AddWatch(bool),
    Restore { since: u64, paths: Vec<(RestoredKind, &'static str)> },
}

/// What the model says to a request.
#[derive(Clone, Debug)]
enum Expected {
    Record(Vec<u8>),
    Names(BTreeSet<String>, Option<Stat>),
    Count(u32),
    Restored(Vec<OwedEvent>),
    Failed(ErrorCode),
}

struct Pending {
    /// The shard whose answer decides, and all that were asked.
    owner: usize,
    asked: BTreeSet<usize>,
    answers: BTreeMap<usize, Result<ReadBody, ErrorCode>>,
    expected: Expected,
}

struct Connection {
    origin: Origin,
    identity: Arc<Identity>,
    watching: Vec<(Zxid, Watching)>,
    heard: Vec<(Zxid, u32, EventKind, String)>,
}

pub struct World {
    key: Arc<HashKey>,
    acls: AclTable,
    shards: Vec<Shard>,
    disks: Vec<Disk>,
    /// Transactions on their way to each shard.
    routed: Vec<VecDeque<ShardTxn>>,
    /// Reads on their way from each core to each shard.
    asked: BTreeMap<(usize, usize), VecDeque<ReadRequest>>,
    fetches: Vec<VecDeque<JobId>>,
    views: Vec<Zxid>,
    pub trees: Vec<Tree>,
    events: Vec<Vec<Event>>,
    connections: Vec<Connection>,
    pending: HashMap<u64, Pending>,
    requests: u64,
    stats: BTreeMap<(u64, u32), Stat>,
    pins: Vec<(usize, PinId)>,
}

impl World {
    pub fn new(shards: usize, connections: usize) -> World {
        let key = Arc::new(HashKey::new(std::array::from_fn(|at| (at * 5 + 11) as u8)));
        let mut acls = AclTable::default();
        acls.define(CLOSED, Arc::from([Acl::new(perms::READ, "digest", "odd:secret")]));
        let shard = |id: usize| {
            let count = shards as u16;
            let config = ShardConfig {
                id: ShardId(id as u16),
                shards: count,
                partitions: PARTITIONS,
                key: Arc::clone(&key),
                extended_types: true,
            };
            let owned = (0..PARTITIONS as u16).map(PartitionId).filter(|p| shard_of(*p, count) == config.id);
            let partitions = owned.map(|partition| Partition::new(partition, 0)).collect();
            Shard::new(config, partitions)
        };
        let cores = shards.min(3);
        let mut world = World {
            acls,
            shards: (0..shards).map(shard).collect(),
            disks: (0..shards).map(|_| Disk::default()).collect(),
            routed: vec![VecDeque::new(); shards],
            asked: (0..cores).flat_map(|core| (0..shards).map(move |shard| ((core, shard), VecDeque::new()))).collect(),
            fetches: vec![VecDeque::new(); shards],
            views: vec![Zxid::ZERO; cores],
            trees: vec![Tree::default()],
            events: vec![Vec::new()],
            connections: Vec::new(),
            pending: HashMap::new(),
            requests: 0,
            stats: BTreeMap::new(),
            pins: Vec::new(),
            key,
        };
        for number in 0..connections {
            let connection = world.connection(number, 0);
            world.connections.push(connection);
        }
        world
    }

    fn connection(&self, number: usize, generation: u32) -> Connection {
        let mut identity = Identity::anonymous();
        if number % 2 == 1 {
            identity.add("digest", "odd:secret");
        }
        let conn = ConnId { slot: number as u32, generation };
        let origin = Origin { core: CoreId((number % self.views.len()) as u16), conn, seq: 0 };
        Connection { origin, identity: Arc::new(identity), watching: Vec::new(), heard: Vec::new() }
    }

    fn owner(&self, path: &str) -> usize {
        let partition = self.key.hash(path::canonical(path)).partition(PARTITIONS);
        usize::from(shard_of(partition, self.shards.len() as u16).0)
    }

    /// Commits a transaction: the model has it at once, each shard when its turn comes.
    pub fn commit(&mut self, changes: &[Change]) {
        let zxid = Zxid(self.trees.len() as u64);
        let mut tree = self.trees[self.trees.len() - 1].clone();
        let mut events = Vec::new();
        let mut order = 0;
        let mut parts: BTreeMap<usize, Vec<RoutedPiece>> = BTreeMap::new();
        for change in changes {
            for (nth, (order, piece, event)) in tree.apply(zxid, change, &mut order, &self.key).into_iter().enumerate()
            {
                events.extend(event);
                let partition = piece.routed_by().partition(PARTITIONS);
                let shard = usize::from(shard_of(partition, self.shards.len() as u16).0);
                let path = match change {
                    Change::Create(path, ..) | Change::SetData(path, _) | Change::SetAcl(path, _) => Some(*path),
                    Change::Delete(_) | Change::Usage(..) => None,
                };
                let stat_for = path.filter(|_| nth == 0).and_then(|path| {
                    self.stats.insert((zxid.0, order), tree.stat(path)?);
                    Some((Origin { seq: zxid.0, ..Origin::default() }, order))
                });
                parts.entry(shard).or_default().push(RoutedPiece { order, piece, stat_for });
            }
        }
        self.trees.push(tree);
        self.events.push(events);
        for (shard, pieces) in parts {
            self.routed[shard].push_back(ShardTxn { zxid, time_ms: zxid.to_wire() * 10, pieces });
        }
        if self.shards.len() == 1 {
            self.apply(0);
        }
    }

    /// A shard applies the next transaction that is on its way to it.
    pub fn apply(&mut self, shard: usize) {
        let shard = shard % self.shards.len();
        if let Some(txn) = self.routed[shard].pop_front() {
            self.shards[shard].apply(&txn);
            self.perform(shard);
        }
        if self.shards.len() == 1 {
            self.step_view(0);
        }
    }

    /// A core moves its view as far as all shards have come.
    pub fn step_view(&mut self, core: usize) {
        let core = core % self.views.len();
        let committed = Zxid(self.trees.len() as u64 - 1);
        let marks = self.routed.iter().map(|routed| routed.front().map_or(committed, |txn| Zxid(txn.zxid.0 - 1)));
        self.views[core] = self.views[core].max(marks.min().unwrap());
    }

    /// Shards learn which views are still in use.
    pub fn forget(&mut self) {
        let asked = self.asked.values().flatten().map(|request| request.view);
        let oldest = self.views.iter().copied().chain(asked).min().unwrap();
        for shard in &mut self.shards {
            shard.set_oldest_view(oldest);
        }
    }

    pub fn ask(&mut self, connection: usize, path: &str, ask: &Ask) {
        let connection = connection % self.connections.len();
        let core = connection % self.views.len();
        let view = self.views[core];
        let tree = &self.trees[view.0 as usize];
        let node = tree.nodes.get(path::canonical(path));
        let stat = tree.stat(path::canonical(path));
        let may_read = node.is_some_and(|node| node.acl != CLOSED) || connection % 2 == 1;
        let refusal = match (node, may_read) {
            (None, _) => Some(Expected::Failed(ErrorCode::NoNode)),
            (_, false) => Some(Expected::Failed(ErrorCode::NoAuth)),
            _ => None,
        };
        let found = refusal.is_none();
        let owned: Cow<'static, str> = Cow::Owned(path.to_owned());
        let owner = self.owner(path);
        let mut ops: Vec<(usize, ReadOp<'static>)> = Vec::new();
        let mut watched = Vec::new();
        let everywhere = 0..self.shards.len();
        let expected = match ask {
            Ask::Exists(watch) => {
                ops.push((owner, ReadOp::Exists { path: owned, watch: *watch }));
                if *watch && (found || node.is_none()) {
                    watched.push((path.to_owned(), WatchMode::Data));
                }
                refusal.unwrap_or_else(|| {
                    let mut record = Vec::new();
                    stat.unwrap().encode(&mut Writer::new(&mut record));
                    Expected::Record(record)
                })
            }
            Ask::Data(watch) => {
                ops.push((owner, ReadOp::GetData { path: owned, watch: *watch }));
                if *watch && found {
                    watched.push((path.to_owned(), WatchMode::Data));
                }
                refusal
                    .unwrap_or_else(|| Expected::Record(data_and_stat(node.unwrap().data.as_deref(), &stat.unwrap())))
            }
            Ask::Children { watch, stat: with_stat } => {
                ops.push((owner, ReadOp::GetChildren { path: owned, watch: *watch, stat: *with_stat }));
                if *watch && found {
                    watched.push((path.to_owned(), WatchMode::Child));
                }
                let names = tree.children(path::canonical(path)).into_iter().map(str::to_owned).collect();
                refusal.unwrap_or(Expected::Names(names, stat.filter(|_| *with_stat)))
            }
            Ask::Acl => {
                ops.push((owner, ReadOp::GetAcl { path: owned }));
                refusal.unwrap_or_else(|| {
                    let mut record = Vec::new();
                    let mut out = Writer::new(&mut record);
                    let (perms, scheme, id) = match node.unwrap().acl {
                        CLOSED => (perms::READ, "digest", "odd:x"),
                        _ => (perms::ALL, "world", "anyone"),
                    };
                    out.count(Some(1));
                    out.int(perms);
                    out.string(scheme);
                    out.string(id);
                    stat.unwrap().encode(&mut out);
                    Expected::Record(record)
                })
            }
            Ask::Count => {
                ops.extend(everywhere.map(|shard| (shard, ReadOp::CountDescendants { path: owned.clone() })));
                refusal.unwrap_or(Expected::Count(tree.descendants(path::canonical(path)) as u32))
            }
            Ask::AddWatch(recursive) => {
                let shards = if *recursive { everywhere } else { owner..owner + 1 };
                let op = ReadOp::AddWatch { path: owned, recursive: *recursive };
                ops.extend(shards.map(|shard| (shard, op.clone())));
                let mode = if *recursive { WatchMode::Recursive } else { WatchMode::Persistent };
                watched.push((path.to_owned(), mode));
                Expected::Record(vec![0; 4])
            }
            Ask::Restore { since, paths } => {
                let relative_zxid = *since as i64;
                let mut owed = Vec::new();
                let mut items: BTreeMap<usize, Vec<RestoredWatch>> = BTreeMap::new();
                for (index, (kind, path)) in paths.iter().enumerate() {
                    let (index, stat) = (index as u32, tree.stat(path::canonical(path)));
                    match should_restore(*kind, stat.as_ref(), relative_zxid) {
                        Ok(mode) => watched.push((path.to_string(), mode)),
                        Err(kind) => owed.push(OwedEvent { index, kind, path: (*path).into() }),
                    }
                    let owner = self.owner(path);
                    for shard in everywhere.clone() {
                        if shard == owner || *kind == RestoredKind::PersistentRecursive {
                            let item = RestoredWatch { index, kind: *kind, path: (*path).into() };
                            items.entry(shard).or_default().push(item);
                        }
                    }
                }
                for shard in everywhere {
                    let items = items.remove(&shard).unwrap_or_default();
                    ops.push((shard, ReadOp::SetWatches { relative_zxid, items }));
                }
                Expected::Restored(owed)
            }
        };
        self.requests += 1;
        let seq = self.requests;
        let asker = &mut self.connections[connection];
        asker.watching.extend(watched.into_iter().map(|(path, mode)| (view, Watching::Add(path, mode))));
        let (origin, identity) = (Origin { seq, ..asker.origin }, Arc::clone(&asker.identity));
        let asked = ops.iter().map(|(shard, _)| *shard).collect();
        self.pending.insert(seq, Pending { owner, asked, answers: BTreeMap::new(), expected });
        for (shard, op) in ops {
            let request = ReadRequest { origin, part: shard as u32, view, identity: Arc::clone(&identity), op };
            self.asked.get_mut(&(core, shard)).unwrap().push_back(request);
            if self.shards.len() == 1 {
                self.deliver(0);
            }
        }
    }

    /// A shard gets the next read from some core.
    pub fn deliver(&mut self, lane: usize) {
        let lanes = self.asked.len();
        let Some((&(_, shard), lane)) = self.asked.iter_mut().nth(lane % lanes) else { return };
        let Some(ReadRequest { origin, part, view, identity, op }) = lane.pop_front() else { return };
        let mut out = b"before".to_vec();
        let outcome = self.shards[shard].read(&self.acls, view, origin, part, &identity, &op, &mut out);
        assert!(outcome == ReadOutcome::Record || out == b"before");
        match outcome {
            ReadOutcome::Record => self.answered(origin, part, Ok(ReadBody::Record(out.split_off(6)))),
            ReadOutcome::Failed(code) => self.answered(origin, part, Err(code)),
            ReadOutcome::Body(body) => self.answered(origin, part, Ok(body)),
            ReadOutcome::Deferred => {}
        }
        self.perform(shard);
    }

    pub fn work(&mut self, shard: usize) {
        let shard = shard % self.shards.len();
        self.shards[shard].work(1);
        self.perform(shard);
    }

    /// The next fetch of a shard comes back.
    pub fn fetch(&mut self, shard: usize) {
        let shard = shard % self.shards.len();
        if let Some(job) = self.fetches[shard].pop_front() {
            self.shards[shard].fetched(job);
            self.perform(shard);
        }
    }

    /// What a shard has so far goes to its files, and files turn cold or warm.
    pub fn checkpoint(&mut self, shard: usize, is_cold: bool) {
        let shard = shard % self.shards.len();
        self.disks[shard].is_cold.store(is_cold, Ordering::Relaxed);
        let applied = self.shards[shard].applied();
        self.shards[shard].begin_checkpoint(applied);
        self.perform(shard);
    }

    /// A pin comes, or, if there are some already, the oldest goes.
    pub fn pin(&mut self, shard: usize) {
        let shard = shard % self.shards.len();
        if self.pins.len() >= 2 {
            let (shard, pin) = self.pins.remove(0);
            self.shards[shard].unpin(pin);
            return;
        }
        let view = self.views[0];
        self.pins.extend(self.shards[shard].pin(view).map(|pin| (shard, pin)));
        self.check_pins();
    }

    /// What the pins show is what was there.
    pub fn check_pins(&self) {
        for (shard, pin) in &self.pins {
            let tree = &self.trees[pin.view().0 as usize];
            for (path, node) in &tree.nodes {
                if self.owner(path) != *shard {
                    continue;
                }
                let (place, entry) = self.shards[*shard].find(pin.view(), path).expect("pinned");
                let view = self.shards[*shard].partitions[place].node(&entry).unwrap();
                assert_eq!((view.data, view.acl), (node.data.as_deref(), node.acl));
                assert_eq!(view.stat(&entry, true), tree.stat(path).unwrap());
            }
            let owned: BTreeSet<&str> =
                tree.nodes.keys().map(String::as_str).filter(|path| self.owner(path) == *shard).collect();
            assert_eq!(self.shards[*shard].nodes_in_all(pin.view()), owned.len() as u64);
            let mut shown = Vec::new();
            for partition in (0..PARTITIONS as u16).map(PartitionId) {
                let mut from = None;
                loop {
                    from =
                        self.shards[*shard].scan(pin, partition, from, 2, &mut |entry| shown.push((partition, *entry)));
                    if from.is_none() {
                        break;
                    }
                }
            }
            assert_eq!(shown.len(), owned.len(), "no node twice");
            for (partition, entry) in &shown {
                let node = self.shards[*shard].node(*partition, entry).unwrap().unwrap();
                assert!(owned.contains(node.path));
            }
        }
    }

    /// Removal and leaving concern the present, so all that is on its way arrives first.
    pub fn unwatch(&mut self, connection: usize, path: &str, selector: WatchSelector) {
        self.settle();
        let connection = connection % self.connections.len();
        let view = self.views[connection % self.views.len()];
        let events = &self.events[..];
        let asker = &mut self.connections[connection];
        let before = asker.watching.len();
        asker.watching.push((view, Watching::Remove(path.to_owned(), selector)));
        // The model found something to remove if another event of every kind would be heard by fewer.
        let has_any =
            remaining(events, &asker.watching[..before], path) & !remaining(events, &asker.watching, path) != 0;
        let (origin, identity) = (asker.origin, Arc::clone(&asker.identity));
        let mut found = [false, false];
        for (nth, remove) in [false, true].into_iter().enumerate() {
            for shard in &mut self.shards {
                let op = ReadOp::FindWatch { path: path.into(), kind: selector, remove };
                match shard.read(&self.acls, view, origin, 0, &identity, &op, &mut Vec::new()) {
                    ReadOutcome::Body(ReadBody::Found(here)) => found[nth] |= here,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(found, [has_any, has_any]);
    }

    pub fn reconnect(&mut self, connection: usize) {
        self.settle();
        let connection = connection % self.connections.len();
        self.check_heard(connection);
        let Origin { core, conn, .. } = self.connections[connection].origin;
        for shard in &mut self.shards {
            shard.drop_connection(core, conn);
        }
        self.connections[connection] = self.connection(connection, conn.generation + 1);
    }

    /// Everything arrives; views reach the end.
    pub fn settle(&mut self) {
        for shard in 0..self.shards.len() {
            while !self.routed[shard].is_empty() {
                self.apply(shard);
            }
        }
        for lane in 0..self.asked.len() {
            while self.asked.values().nth(lane).is_some_and(|lane| !lane.is_empty()) {
                self.deliver(lane);
            }
        }
        for shard in 0..self.shards.len() {
            loop {
                while !self.fetches[shard].is_empty() {
                    self.fetch(shard);
                }
                let is_busy = self.shards[shard].work(1);
                self.perform(shard);
                if !is_busy && self.fetches[shard].is_empty() {
                    break;
                }
            }
        }
        (0..self.views.len()).for_each(|core| self.step_view(core));
        assert!(self.pending.is_empty(), "every request is answered");
    }

    /// The end: all answered, all heard, nothing remembered.
    pub fn finish(mut self) {
        self.settle();
        self.check_pins();
        (0..self.connections.len()).for_each(|connection| self.check_heard(connection));
        assert!(self.stats.is_empty(), "every Stat is captured");
        for (shard, pin) in std::mem::take(&mut self.pins) {
            self.shards[shard].unpin(pin);
        }
        self.forget();
        for shard in &mut self.shards {
            while shard.work(1) {}
            assert!(shard.history.is_empty() && !shard.history.has_pins());
            assert!(shard.history.changes.is_empty());
        }
    }

    fn check_heard(&mut self, connection: usize) {
        let Connection { watching, heard, .. } = &mut self.connections[connection];
        heard.sort_by_key(|(zxid, order, ..)| (*zxid, *order));
        assert_eq!(*heard, should_hear(&self.events, watching), "connection {connection}: {watching:?}");
    }

    fn perform(&mut self, shard: usize) {
        let mut actions = Vec::new();
        loop {
            self.shards[shard].take_actions(&mut actions);
            if actions.is_empty() {
                return;
            }
            for action in actions.drain(..) {
                match action {
                    ShardAction::Stat(captured) => {
                        let expected = self.stats.remove(&(captured.origin.seq, captured.op));
                        assert_eq!(Some(captured.stat), expected);
                    }
                    ShardAction::Events(batch) => self.hear(&batch),
                    ShardAction::Answer(reply) => self.answered(reply.origin, reply.part, reply.result),
                    ShardAction::Fetch { job, .. } => self.fetches[shard].push_back(job),
                    ShardAction::Log(action) => self.disks[shard].perform(&mut self.shards[shard], action),
                    ShardAction::Cut(cuts) => self.shards[shard].manifest_durable(&cuts),
                    ShardAction::Damaged(damage) => panic!("{damage}"),
                }
            }
        }
    }

    fn hear(&mut self, batch: &EventBatch) {
        let mut frame = Reader::new(&batch.frame);
        assert_eq!((frame.int().unwrap(), frame.int().unwrap()), (batch.frame.len() as i32 - 4, -1));
        assert_eq!(Zxid::from_wire(frame.long().unwrap()), batch.zxid);
        let (_, kind, _) = (frame.int().unwrap(), frame.int().unwrap(), frame.int().unwrap());
        let path = frame.string().unwrap().unwrap().into_owned();
        let expected = self.events[batch.zxid.0 as usize].iter().find(|(order, ..)| *order == batch.order);
        let (_, expected_kind, expected_path, acl) = expected.expect("an event that the model has");
        assert_eq!((*expected_kind as i32, expected_path, *acl), (kind, &path, batch.acl));
        for conn in batch.conns.iter() {
            let connection = &mut self.connections[conn.slot as usize];
            assert_eq!((connection.origin.core, connection.origin.conn), (batch.core, *conn));
            connection.heard.push((batch.zxid, batch.order, *expected_kind, path.clone()));
        }
    }

    fn answered(&mut self, origin: Origin, part: u32, result: Result<ReadBody, ErrorCode>) {
        let pending = self.pending.get_mut(&origin.seq).expect("one answer per request");
        assert!(pending.answers.insert(part as usize, result).is_none());
        if pending.answers.len() < pending.asked.len() {
            return;
        }
        let Pending { owner, answers, expected, .. } = self.pending.remove(&origin.seq).unwrap();
        let decisive = answers[&owner].clone();
        match expected {
            Expected::Failed(code) => assert_eq!(decisive, Err(code)),
            Expected::Record(record) => {
                answers.values().for_each(|answer| assert_eq!(*answer, Ok(ReadBody::Record(record.clone()))));
            }
            Expected::Names(names, stat) => {
                let Ok(ReadBody::Record(record)) = decisive else { panic!("{decisive:?}") };
                let mut reader = Reader::new(&record);
                let listed = reader.vector(|r| Ok(r.string()?.unwrap().into_owned())).unwrap().unwrap();
                assert_eq!(listed.len(), names.len(), "no name twice");
                assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
                let mut expected = Vec::new();
                stat.iter().for_each(|stat| stat.encode(&mut Writer::new(&mut expected)));
                assert_eq!(reader.rest(), expected);
            }
            Expected::Count(count) => {
                let counts = answers.into_values().map(|answer| match answer {
                    Ok(ReadBody::Count(count)) => count,
                    other => panic!("{other:?}"),
                });
                assert_eq!(counts.sum::<u32>(), count);
            }
            Expected::Restored(owed) => {
                let all = answers.into_values().flat_map(|answer| match answer {
                    Ok(ReadBody::Restored(owed)) => owed,
                    other => panic!("{other:?}"),
                });
                let mut all: Vec<_> = all.collect();
                all.sort_by_key(|event| event.index);
                assert_eq!(all, owed);
            }
        }
    }
}

/// The modes that a connection has at a path in the end: which kinds of further event it would hear, as bits.
fn remaining(events: &[Vec<Event>], watching: &[(Zxid, Watching)], path: &str) -> u8 {
    let mut own = watching.to_vec();
    // Recursive watches of ancestors do not count here.
    own.retain(|(_, step)| match step {
        Watching::Add(of, _) | Watching::Remove(of, _) => of == path,
    });
    let end = Zxid(events.len() as u64 - 1);
    let mut bits = 0;
    for (bit, others) in [
        (1, [WatchSelector::Children, WatchSelector::Persistent, WatchSelector::PersistentRecursive]),
        (2, [WatchSelector::Data, WatchSelector::Persistent, WatchSelector::PersistentRecursive]),
        (4, [WatchSelector::Data, WatchSelector::Children, WatchSelector::PersistentRecursive]),
        (8, [WatchSelector::Data, WatchSelector::Children, WatchSelector::Persistent]),
    ] {
        let mut alone = own.clone();
        alone.extend(others.map(|other| (end, Watching::Remove(path.to_owned(), other))));
        let mut further = events.to_vec();
        further.push(vec![(0, EventKind::NodeDeleted, path.to_owned(), AclId::OPEN)]);
        let heard = should_hear(&further, &alone);
        bits |= if heard.iter().any(|(zxid, ..)| *zxid > end) { bit } else { 0 };
    }
    bits
}

/// The table of setWatches: the mode to register, or the event that is owed.
fn should_restore(kind: RestoredKind, stat: Option<&Stat>, relative_zxid: i64) -> Result<WatchMode, EventKind> {
    match (kind, stat) {
        (RestoredKind::Data | RestoredKind::Child, None) => Err(EventKind::NodeDeleted),
        (RestoredKind::Data, Some(stat)) if stat.mzxid > relative_zxid => Err(EventKind::NodeDataChanged),
        (RestoredKind::Data, Some(_)) => Ok(WatchMode::Data),
        (RestoredKind::Exist, Some(_)) => Err(EventKind::NodeCreated),
        (RestoredKind::Exist, None) => Ok(WatchMode::Data),
        (RestoredKind::Child, Some(stat)) if stat.pzxid > relative_zxid => Err(EventKind::NodeChildrenChanged),
        (RestoredKind::Child, Some(_)) => Ok(WatchMode::Child),
        (RestoredKind::Persistent, _) => Ok(WatchMode::Persistent),
        (RestoredKind::PersistentRecursive, _) => Ok(WatchMode::Recursive),
    }
}
