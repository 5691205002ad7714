//! Single situations that the model does not have.

use super::disk::Disk;
use crate::acl::{Acl, AclId, AclTable, Identity, perms};
use crate::error_code::ErrorCode;
use crate::ids::{ConnId, CoreId, Origin, PartitionId, ShardId};
use crate::jute::Reader;
use crate::node_owner::NodeOwner;
use crate::partition::{CompactionStep, Partition};
use crate::path::{HashKey, shard_of};
use crate::piece::{HashedPath, Piece, RoutedPiece, ShardTxn};
use crate::read::{ReadBody, ReadOp, RestoredKind, RestoredWatch, WatchSelector};
use crate::shard::{EventBatch, ReadOutcome, Shard, ShardAction, ShardConfig};
use crate::zxid::Zxid;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One of `shards` shards, with its disk.
struct Fixture {
    key: Arc<HashKey>,
    shard: Shard,
    disk: Disk,
    acls: AclTable,
    zxid: u64,
}

impl Fixture {
    fn new(shards: u16, partitions: u32) -> Fixture {
        let key = Arc::new(HashKey::new(std::array::from_fn(|at| (at * 3 + 1) as u8)));
        let config = ShardConfig { id: ShardId(0), shards, partitions, key: Arc::clone(&key), extended_types: true };
        let all = (0..partitions).map(|id| PartitionId(id as u16));
        let owned = all.filter(|id| shard_of(*id, shards) == ShardId(0)).map(|id| Partition::new(id, 0)).collect();
        let shard = Shard::new(config, owned);
        Fixture { key, shard, disk: Disk::default(), acls: AclTable::default(), zxid: 0 }
    }

    fn hashed(&self, path: &str) -> HashedPath {
        HashedPath { path: path.into(), hash: self.key.hash(path) }
    }

    fn apply(&mut self, pieces: Vec<Piece>) -> Zxid {
        self.zxid += 1;
        let routed = pieces.into_iter().enumerate();
        let routed = routed.map(|(order, piece)| RoutedPiece { order: order as u32, piece, stat_for: None });
        let txn = ShardTxn { zxid: Zxid(self.zxid), time_ms: 0, pieces: routed.collect() };
        self.shard.apply(&txn);
        txn.zxid
    }

    fn put(&mut self, path: &str, data: &[u8], acl: AclId) -> Zxid {
        let (node, data) = (self.hashed(path), Some(data.to_vec().into()));
        self.apply(vec![Piece::Put { node, data, acl, owner: NodeOwner::PERSISTENT }])
    }

    fn set(&mut self, path: &str, data: Vec<u8>) -> Zxid {
        let node = self.hashed(path);
        self.apply(vec![Piece::SetData { node, data: Some(data.into()), version: 1 }])
    }

    fn link(&mut self, parent: &str, name: &str) -> Zxid {
        let child = self.hashed(&format!("{parent}/{name}"));
        let parent = self.key.hash(parent);
        self.apply(vec![Piece::Link { parent, child, cversion: 1, moves_pzxid: true }])
    }

    fn read(&mut self, conn: u32, view: Zxid, identity: &Identity, op: &ReadOp<'_>) -> (ReadOutcome, Vec<u8>) {
        let conn = ConnId { slot: conn, generation: 0 };
        let origin = Origin { core: CoreId(0), conn, seq: 7 };
        let mut out = Vec::new();
        let outcome = self.shard.read(&self.acls, view, origin, 0, &Arc::new(identity.clone()), op, &mut out);
        (outcome, out)
    }

    /// Actions that are no log actions; those are performed.
    fn actions(&mut self) -> Vec<ShardAction> {
        let (mut rest, mut actions) = (Vec::new(), Vec::new());
        loop {
            self.shard.take_actions(&mut actions);
            if actions.is_empty() {
                return rest;
            }
            for action in actions.drain(..) {
                match action {
                    ShardAction::Log(action) => self.disk.perform(&mut self.shard, action),
                    other => rest.push(other),
                }
            }
        }
    }

    fn events(&mut self) -> Vec<EventBatch> {
        let event = |action| match action {
            ShardAction::Events(batch) => batch,
            other => panic!("{other:?}"),
        };
        self.actions().into_iter().map(event).collect()
    }
}

fn nobody() -> Identity {
    Identity::anonymous()
}

fn exists(path: &str, watch: bool) -> ReadOp<'_> {
    ReadOp::Exists { path: path.into(), watch }
}

fn get_data(path: &str, watch: bool) -> ReadOp<'_> {
    ReadOp::GetData { path: path.into(), watch }
}

#[test]
fn odd_paths_are_answered_as_zookeeper_answers_them() {
    let mut it = Fixture::new(1, 8);
    let view = it.put("/", b"root", AclId::OPEN);
    for path in ["a", "/a/", "//", "/a\0"] {
        assert_eq!(it.read(1, view, &nobody(), &get_data(path, true)).0, ReadOutcome::Failed(ErrorCode::NoNode));
    }
    assert_eq!(it.read(1, view, &nobody(), &exists("/a\0", true)).0, ReadOutcome::Failed(ErrorCode::BadArguments));
    assert_eq!(it.shard.watches().counts().total(), 0);
    let (outcome, body) = it.read(1, view, &nobody(), &get_data("", true));
    assert_eq!(outcome, ReadOutcome::Record);
    assert_eq!(Reader::new(&body).buffer().unwrap(), Some(&b"root"[..]));
    // The watch is on "", of which no event ever speaks.
    assert_eq!(it.shard.watches().counts().total(), 1);
    it.set("/", Vec::new());
    assert_eq!(it.events(), []);
}

#[test]
fn acls_are_shown_to_those_who_may_and_hashes_to_administrators() {
    let mut it = Fixture::new(1, 8);
    let list = [
        Acl::new(perms::READ, "digest", "reader:hash"),
        Acl::new(perms::ADMIN, "digest", "admin:hash:with:colons"),
        Acl::new(perms::ALL, "ip", "fe80::1"),
    ];
    it.acls.define(AclId(7), list.into());
    let view = it.put("/a", b"", AclId(7));
    let mut ids_seen_by = |credential: &str| {
        let mut identity = Identity::anonymous();
        identity.add("digest", credential);
        let (outcome, body) = it.read(1, view, &identity, &ReadOp::GetAcl { path: "/a".into() });
        let mut reader = Reader::new(&body);
        let entry = |r: &mut Reader<'_>| (r.int()?, r.string()?, r.string().map(|id| id.unwrap().into_owned())).2;
        (outcome == ReadOutcome::Record).then(|| reader.vector(entry).unwrap().unwrap())
    };
    assert_eq!(ids_seen_by("nobody:x"), None);
    assert_eq!(ids_seen_by("reader:hash").unwrap(), ["reader:x", "admin:x", "fe80::1"]);
    assert_eq!(ids_seen_by("admin:hash:with:colons").unwrap(), ["reader:hash", "admin:hash:with:colons", "fe80::1"]);
}

#[test]
fn refused_reads_register_nothing() {
    let mut it = Fixture::new(1, 8);
    it.acls.define(AclId(7), Arc::from([Acl::new(perms::WRITE, "world", "anyone")]));
    let view = it.put("/a", b"", AclId(7));
    let children = ReadOp::GetChildren { path: "/a".into(), watch: true, stat: true };
    for op in [exists("/a", true), get_data("/a", true), children, ReadOp::CountDescendants { path: "/a".into() }] {
        assert_eq!(it.read(1, view, &nobody(), &op).0, ReadOutcome::Failed(ErrorCode::NoAuth));
    }
    assert_eq!(it.shard.watches().counts().total(), 0);
    let (outcome, _) = it.read(1, view, &Identity::exempt(), &exists("/a", true));
    assert_eq!((outcome, it.shard.watches().counts().total()), (ReadOutcome::Record, 1));
}

#[test]
fn a_single_shard_remembers_nothing() {
    let mut it = Fixture::new(1, 8);
    it.put("/a", b"", AclId::OPEN);
    for n in 0..50u8 {
        it.set("/a", vec![n]);
        it.link("/a", &format!("c{n}"));
        assert!(it.shard.history.is_empty() && it.shard.history.changes.is_empty());
    }
}

#[test]
fn a_change_that_a_late_watch_missed_is_made_up_for_behind_its_reply() {
    let mut it = Fixture::new(2, 8);
    let path = (0..).map(|n| format!("/a{n}")).find(|path| it.shard.place_of(it.key.hash(path)).is_some()).unwrap();
    let view = it.put(&path, b"1", AclId::WORLD_READ);
    let changed = it.set(&path, b"2".to_vec());
    it.set(&path, b"3".to_vec());
    assert_eq!(it.events(), []);
    let (_, body) = it.read(4, view, &nobody(), &get_data(&path, true));
    assert_eq!(Reader::new(&body).buffer().unwrap(), Some(&b"1"[..]));
    let events = it.events();
    let [batch] = &events[..] else { panic!("{events:?}") };
    assert_eq!((batch.zxid, batch.acl, batch.owed_by.unwrap().seq), (changed, AclId::WORLD_READ, 7));
    assert_eq!(batch.conns[..], [ConnId { slot: 4, generation: 0 }]);
    // It is used up, also for another read as of the same view.
    it.read(4, view, &nobody(), &get_data(&path, true));
    assert_eq!((it.events(), it.shard.watches().counts().total()), (vec![], 0));
}

#[test]
fn long_listings_go_on_under_their_pin_and_end_with_their_connection() {
    let mut it = Fixture::new(1, 1);
    it.put("/a", b"", AclId::OPEN);
    for n in 0..30 {
        it.link("/a", &format!("c{n}"));
    }
    let view = it.shard.applied();
    let list = ReadOp::GetChildren { path: "/a".into(), watch: false, stat: false };
    assert_eq!(it.read(1, view, &nobody(), &list).0, ReadOutcome::Deferred);
    assert_eq!(it.read(2, view, &nobody(), &list).0, ReadOutcome::Deferred);
    let (parent, child) = (it.key.hash("/a"), it.hashed("/a/c3"));
    it.apply(vec![Piece::Unlink { parent, child, moves_pzxid: true }]);
    it.link("/a", "late");
    it.shard.drop_connection(CoreId(0), ConnId { slot: 2, generation: 0 });
    while it.shard.work(1) {}
    let actions = it.actions();
    let [ShardAction::Answer(reply)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(reply.origin.conn.slot, 1);
    let Ok(ReadBody::Record(body)) = &reply.result else { panic!("{reply:?}") };
    let mut names = Reader::new(body).vector(|r| Ok(r.string()?.unwrap().into_owned())).unwrap().unwrap();
    names.sort();
    let mut expected: Vec<String> = (0..30).map(|n| format!("c{n}")).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert!(it.shard.history.is_empty() && !it.shard.history.has_pins());
    assert_eq!(it.shard.counters().jobs, 0);
}

#[test]
fn many_watchers_hear_in_one_batch_per_core() {
    let mut it = Fixture::new(1, 1);
    let view = it.put("/a", b"", AclId::OPEN);
    for slot in 0..5000u32 {
        let origin = Origin { core: CoreId((slot % 2) as u16), conn: ConnId { slot, generation: 3 }, seq: 0 };
        let identity = Arc::new(nobody());
        it.shard.read(&it.acls, view, origin, 0, &identity, &get_data("/a", true), &mut Vec::new());
    }
    it.set("/a", Vec::new());
    let events = it.events();
    assert_eq!(
        events.iter().map(|batch| (batch.core.0, batch.conns.len())).collect::<Vec<_>>(),
        [(0, 2500), (1, 2500)]
    );
    assert_eq!(events[0].frame.as_ptr(), events[1].frame.as_ptr(), "encoded once");
    it.set("/a", Vec::new());
    assert_eq!(it.events(), []);
}

#[test]
fn removal_finds_what_is_there() {
    let mut it = Fixture::new(1, 1);
    let view = it.put("/a", b"", AclId::OPEN);
    it.read(1, view, &nobody(), &get_data("/a", true));
    let mut find = |kind, remove| {
        let op = ReadOp::FindWatch { path: "/a".into(), kind, remove };
        it.read(1, view, &nobody(), &op).0 == ReadOutcome::Body(ReadBody::Found(true))
    };
    assert!(!find(WatchSelector::Children, true) && !find(WatchSelector::Persistent, true));
    assert!(find(WatchSelector::Any, false) && find(WatchSelector::Data, true) && !find(WatchSelector::Any, true));
}

#[test]
fn pinned_versions_outlive_compaction_and_their_files_go_afterwards() {
    let mut it = Fixture::new(1, 1);
    it.put("/a", b"", AclId::OPEN);
    let view = it.set("/a", vec![1; 100_000]);
    let pin = it.shard.pin(view).unwrap();
    for n in 2..60 {
        it.set("/a", vec![n; 100_000]);
        assert_eq!(it.actions(), []);
    }
    let mut steps = 0;
    while let Some((_, step)) = it.shard.compact(64 << 10) {
        assert!(matches!(step, CompactionStep::More | CompactionStep::Done));
        assert_eq!(it.actions(), []);
        steps += 1;
    }
    assert!(steps > 10);
    // Retired files are no longer named once this checkpoint's manifest is durable.
    it.shard.begin_checkpoint(it.shard.applied());
    let actions = it.actions();
    let [ShardAction::Cut(cuts)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((cuts.len(), cuts[0].zxid), (1, it.shard.applied()));
    it.shard.manifest_durable(cuts);
    assert_eq!((it.actions(), it.disk.removed), (vec![], 0));
    let (place, entry) = it.shard.find(view, "/a").unwrap();
    assert_eq!(it.shard.partitions[place].node(&entry).unwrap().data, Some(&[1; 100_000][..]));
    it.shard.unpin(pin);
    while it.shard.work(1) {}
    assert_eq!(it.disk.removed, 0);
    it.set("/a", vec![]);
    assert_eq!(it.actions(), []);
    assert!(it.disk.removed > 0);
    assert!(it.shard.history.is_empty());
}

#[test]
fn damage_is_reported_and_nothing_is_served_of_it() {
    let mut it = Fixture::new(1, 1);
    let view = it.put("/a", b"data", AclId::OPEN);
    it.shard.begin_checkpoint(view);
    it.actions();
    it.disk.is_broken.store(true, Ordering::Relaxed);
    let (outcome, body) = it.read(1, view, &nobody(), &get_data("/a", false));
    assert_eq!((outcome, body), (ReadOutcome::Deferred, vec![]));
    let actions = it.actions();
    assert!(matches!(actions[..], [ShardAction::Damaged(_)]), "{actions:?}");
}

#[test]
fn a_removal_finds_watches_that_are_still_being_restored() {
    let mut it = Fixture::new(1, 1);
    let view = it.put("/a", b"", AclId::OPEN);
    it.shard.begin_checkpoint(view);
    it.actions();
    it.disk.is_cold.store(true, Ordering::Relaxed);
    let item = RestoredWatch { index: 0, kind: RestoredKind::Data, path: "/a".into() };
    let op = ReadOp::SetWatches { relative_zxid: 9, items: vec![item] };
    assert_eq!(it.read(1, view, &nobody(), &op).0, ReadOutcome::Deferred);
    let actions = it.actions();
    let [ShardAction::Fetch { job, .. }] = actions[..] else { panic!("{actions:?}") };
    let op = ReadOp::FindWatch { path: "/a".into(), kind: WatchSelector::Data, remove: true };
    assert_eq!(it.read(1, view, &nobody(), &op).0, ReadOutcome::Body(ReadBody::Found(true)));
    let actions = it.actions();
    let [ShardAction::Answer(reply)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(reply.result, Ok(ReadBody::Restored(vec![])));
    it.shard.fetched(job);
    assert!(!it.shard.work(9));
    assert_eq!((it.actions(), it.shard.watches().counts().total()), (vec![], 0));
}

#[test]
fn a_listing_made_as_of_the_past_says_nothing_of_the_time_between() {
    // Two shards, so that older views are kept.
    let mut it = Fixture::new(2, 4);
    it.shard.set_oldest_view(Zxid::ZERO);
    let is_here = |path: &String| shard_of(it.key.hash(path).partition(4), 2) == ShardId(0);
    let folder = (0..).map(|number| format!("/{number}")).find(is_here).unwrap();
    it.put(&folder, b"", AclId::OPEN);
    let (parent, child) = (it.key.hash(&folder), it.hashed(&format!("{folder}/b")));
    let there = it.link(&folder, "b");
    let gone = it.apply(vec![Piece::Unlink { parent, child, moves_pzxid: true }]);
    let again = it.link(&folder, "b");
    let list = ReadOp::GetChildren { path: folder.as_str().into(), watch: false, stat: false };
    // As of the oldest view first: what is kept from it must not answer for the view after it.
    for (view, count) in [(there, 1), (gone, 0), (again, 1)] {
        let (outcome, record) = it.read(1, view, &nobody(), &list);
        assert_eq!(outcome, ReadOutcome::Record, "{view}");
        assert_eq!(Reader::new(&record).int().unwrap(), count, "{view}");
    }
}
