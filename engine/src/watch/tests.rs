//! The table against a naive one: a set of (table, path, connection, mode).

#![allow(clippy::unwrap_used)]

use super::*;
use crate::read::WatchSelector;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/bc", "/a/b/c", "/ab", "/x", "", "foo"];

fn key() -> Arc<HashKey> {
    Arc::new(HashKey::new(std::array::from_fn(|at| (at * 7 + 3) as u8)))
}

fn conn(n: u32) -> (CoreId, ConnId) {
    (CoreId((n % 3) as u16), ConnId { slot: n / 3, generation: n })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Table {
    Data,
    Child,
}

/// As `WatchManager` and `DataTree` say it, without any thought of cost.
#[derive(Default)]
struct Model {
    entries: BTreeMap<(Table, &'static str, u32), BTreeSet<u8>>,
}

impl Model {
    fn add(&mut self, conn: u32, path: &'static str, mode: WatchMode) {
        for table in tables(mode) {
            self.entries.entry((*table, path, conn)).or_default().insert(mode as u8);
        }
    }

    fn remove(&mut self, conn: u32, path: &'static str, modes: WatchModes) -> bool {
        let mut removed = false;
        for table in [Table::Data, Table::Child] {
            if let Some(known) = self.entries.get_mut(&(table, path, conn)) {
                let before = known.len();
                known.retain(|mode| modes.0 & mode == 0);
                removed |= known.len() < before;
            }
        }
        self.entries.retain(|_, modes| !modes.is_empty());
        removed
    }

    fn pass(&mut self, table: Table, path: &str, heard: &mut BTreeSet<u32>) {
        let mut components: Vec<&str> = path::self_and_ancestors(path).collect();
        components.dedup();
        for ((of, watched, conn), modes) in &mut self.entries {
            if *of != table || !components.contains(watched) {
                continue;
            }
            let here = *watched == path;
            if here || modes.contains(&(WatchMode::Recursive as u8)) {
                heard.insert(*conn);
            }
            if here {
                modes.remove(&(WatchMode::Data as u8));
                modes.remove(&(WatchMode::Child as u8));
            }
        }
        self.entries.retain(|_, modes| !modes.is_empty());
    }

    fn fire(&mut self, kind: EventKind, path: &str) -> BTreeSet<u32> {
        let mut heard = BTreeSet::new();
        if kind != EventKind::NodeChildrenChanged {
            self.pass(Table::Data, path, &mut heard);
        }
        if matches!(kind, EventKind::NodeDeleted | EventKind::NodeChildrenChanged) {
            self.pass(Table::Child, path, &mut heard);
        }
        heard
    }

    fn counts(&self) -> WatchCounts {
        let data: Vec<_> = self.entries.keys().filter(|(table, ..)| *table == Table::Data).collect();
        WatchCounts {
            data: data.len() as u64,
            child: (self.entries.len() - data.len()) as u64,
            data_paths: data.iter().map(|(_, path, _)| path).collect::<BTreeSet<_>>().len() as u64,
            data_connections: data.iter().map(|(.., conn)| conn).collect::<BTreeSet<_>>().len() as u64,
        }
    }
}

fn tables(mode: WatchMode) -> &'static [Table] {
    match mode {
        WatchMode::Data | WatchMode::Recursive => &[Table::Data],
        WatchMode::Child => &[Table::Child],
        WatchMode::Persistent => &[Table::Data, Table::Child],
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(u32, usize, WatchMode),
    Remove(u32, usize, WatchSelector),
    Fire(EventKind, usize),
    Drop(u32),
}

fn mode() -> impl Strategy<Value = WatchMode> {
    prop_oneof![
        4 => Just(WatchMode::Data),
        3 => Just(WatchMode::Child),
        1 => Just(WatchMode::Persistent),
        1 => Just(WatchMode::Recursive),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let selector = prop_oneof![
        Just(WatchSelector::Any),
        Just(WatchSelector::Data),
        Just(WatchSelector::Children),
        Just(WatchSelector::Persistent),
        Just(WatchSelector::PersistentRecursive),
    ];
    let kind = prop_oneof![
        Just(EventKind::NodeCreated),
        Just(EventKind::NodeDeleted),
        Just(EventKind::NodeDataChanged),
        Just(EventKind::NodeChildrenChanged),
    ];
    prop_oneof![
        12 => (0..20u32, 0..PATHS.len(), mode()).prop_map(|(c, p, m)| Op::Add(c, p, m)),
        3 => (0..20u32, 0..PATHS.len(), selector).prop_map(|(c, p, s)| Op::Remove(c, p, s)),
        2 => (kind, 0..7usize).prop_map(|(k, p)| Op::Fire(k, p)),
        1 => (0..20u32).prop_map(Op::Drop),
    ]
}

fn heard(audience: &Audience) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    for (core, conns) in audience.cores() {
        for id in conns {
            assert_eq!(conn(id.generation).0, core);
            assert!(all.insert(id.generation), "one event per connection");
        }
    }
    all
}

proptest! {
    #[test]
    fn behaves_like_two_naive_tables(ops in proptest::collection::vec(op(), 0..300)) {
        let key = key();
        let mut table = WatchTable::new(key.clone());
        let mut model = Model::default();
        let mut audience = Audience::default();
        for (nth, op) in ops.into_iter().enumerate() {
            match op {
                Op::Add(c, p, mode) => {
                    let (core, id) = conn(c);
                    table.add(core, id, PATHS[p], mode, false);
                    model.add(c, PATHS[p], mode);
                }
                Op::Remove(c, p, selector) => {
                    let (core, id) = conn(c);
                    let removed = table.remove(core, id, PATHS[p], selector.into());
                    prop_assert_eq!(removed, model.remove(c, PATHS[p], selector.into()));
                }
                Op::Fire(kind, p) => {
                    table.fire(kind, key.hash(PATHS[p]), PATHS[p], &mut audience);
                    prop_assert_eq!(heard(&audience), model.fire(kind, PATHS[p]));
                }
                Op::Drop(c) => {
                    let (core, id) = conn(c);
                    table.drop_connection(core, id);
                    model.entries.retain(|(.., conn), _| *conn != c);
                }
            }
            prop_assert_eq!(table.counts(), model.counts());
            for c in (0..20).filter(|_| nth % 32 == 0) {
                let (core, id) = conn(c);
                for path in PATHS {
                    let of = |table| model.entries.get(&(table, path, c)).into_iter().flatten();
                    let modes = of(Table::Data).chain(of(Table::Child)).fold(0, |all, mode| all | mode);
                    prop_assert_eq!(table.modes(core, id, path), WatchModes(modes));
                }
            }
        }
        let mut shown = BTreeSet::new();
        let mut cursor = Some(TableCursor::START);
        while let Some(from) = cursor {
            cursor = table.walk_data(from, 2, &mut |path, _, id| {
                shown.insert((path.to_owned(), id.generation));
            });
        }
        let data = model.entries.keys().filter(|(table, ..)| *table == Table::Data);
        prop_assert_eq!(shown, data.map(|(_, path, conn)| (path.to_string(), *conn)).collect::<BTreeSet<_>>());
    }
}

#[test]
fn recursive_watches_of_foreign_paths_hear_and_are_not_counted() {
    let key = key();
    let mut table = WatchTable::new(key.clone());
    let (core, id) = conn(1);
    table.add(core, id, "/a", WatchMode::Recursive, true);
    assert_eq!(table.counts(), WatchCounts::default());
    assert!(!table.watches_data(core, id));
    let mut audience = Audience::default();
    table.fire(EventKind::NodeCreated, key.hash("/a/b"), "/a/b", &mut audience);
    assert_eq!(heard(&audience), BTreeSet::from([1]));
    table.fire(EventKind::NodeChildrenChanged, key.hash("/a"), "/a", &mut audience);
    assert!(heard(&audience).is_empty());
    assert!(table.walk_data(TableCursor::START, 10, &mut |path, _, _| panic!("{path}")).is_none());
    assert!(table.remove(core, id, "/a", WatchSelector::Any.into()));
    table.fire(EventKind::NodeCreated, key.hash("/a/b"), "/a/b", &mut audience);
    assert!(heard(&audience).is_empty());
}

#[test]
fn a_slot_that_is_used_again_inherits_nothing() {
    let key = key();
    let mut table = WatchTable::new(key.clone());
    let (old, new) = (ConnId { slot: 3, generation: 1 }, ConnId { slot: 3, generation: 2 });
    table.add(CoreId(0), old, "/a", WatchMode::Data, false);
    table.add(CoreId(0), new, "/b", WatchMode::Data, false);
    table.drop_connection(CoreId(0), old);
    assert_eq!(table.modes(CoreId(0), old, "/a"), WatchModes::NONE);
    assert!(table.watches_data(CoreId(0), new));
    assert_eq!(table.counts(), WatchCounts { data: 1, child: 0, data_paths: 1, data_connections: 1 });
}

#[test]
fn a_hundred_thousand_watchers_of_one_node_come_and_go() {
    let key = key();
    let mut table = WatchTable::new(key.clone());
    let mut audience = Audience::default();
    for round in 0..3 {
        for n in 0..100_000 {
            let (core, id) = conn(n);
            table.add(core, id, "/a/b", WatchMode::Data, false);
            if n % 10 == 0 {
                table.add(core, id, "/a/b", WatchMode::Persistent, false);
            }
        }
        table.fire(EventKind::NodeDataChanged, key.hash("/a/b"), "/a/b", &mut audience);
        assert_eq!(audience.cores().map(|(_, conns)| conns.len()).sum::<usize>(), 100_000);
        assert_eq!(table.counts().total(), 20_000, "round {round}");
        table.fire(EventKind::NodeDeleted, key.hash("/a/b"), "/a/b", &mut audience);
        assert_eq!(audience.cores().map(|(_, conns)| conns.len()).sum::<usize>(), 10_000);
    }
    for n in 0..100_000 {
        let (core, id) = conn(n);
        table.drop_connection(core, id);
    }
    assert_eq!(table.counts(), WatchCounts::default());
    assert_eq!((table.path_bytes, table.list_bytes), (0, 0));
}

/// The budget: some 30 to 40 bytes per watch beyond its path, and a little more where no two watch the same path.
#[test]
fn watches_are_small() {
    for (paths, watchers, budget) in [(200_000u32, 1u32, 48), (50_000, 4, 40), (2_000, 100, 26), (100, 2_000, 24)] {
        let mut table = WatchTable::new(key());
        let mut text = 0;
        for p in 0..paths {
            let path = format!("/some/where/node{p}");
            text += path.len() + size_of::<Box<str>>();
            for w in 0..watchers {
                let (core, id) = conn((p * 7 + w * 501) % 20_000);
                table.add(core, id, &path, WatchMode::Data, false);
            }
        }
        let watches = (paths * watchers) as usize;
        assert_eq!(table.counts().data, watches as u64);
        let each = (table.memory_bytes() - text) / watches;
        assert!(each <= budget, "{each} bytes per watch with {watchers} watchers per path");
    }
}
