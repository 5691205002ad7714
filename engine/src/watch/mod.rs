//! The watches that one shard keeps: who is to hear of which change (`WatchManager`, `DataTree`).
//!
//! ZooKeeper has two tables, *data* and *child*, each from a path to watchers with modes. Here both are one: an entry is
//! a connection on a path with a set of [`WatchMode`]s, and the mode says which tables it stands for.
//!
//! *Size.* Measured, for connections with ten watches each: 45 bytes per watch beside the text of its path where every
//! path has a single watcher, 36 with four per path, 22 with a hundred or more. A path takes 20 in the index and 24 in its
//! record (16 of them point to its text); a watcher 4 to 5 in the path's list, which a single one does without, and 10 to
//! 15 in its connection's set of paths.
//!
//! *Cost.* Registering and removing are a few probes, whatever the numbers. Firing passes once over the list of the path
//! and, while recursive watches exist, over those of its ancestors; a list that is consumed is dropped whole. Leaving
//! costs a few probes per path of the connection. Nothing is ever rebuilt as a whole ([`crate::table`]).

mod audience;
mod connections;
mod modes;
mod path_set;
#[cfg(test)]
mod tests;

pub use audience::Audience;
pub use modes::{WatchMode, WatchModes};

use crate::event::EventKind;
use crate::ids::{ConnId, CoreId};
use crate::path::{self, HashKey, PathHash};
use crate::table::{Slab, StepTable, TableCursor, TableEntry};
use connections::Connections;
use path_set::{Member, PathSet};
use std::sync::Arc;

/// Sizes for the monitoring commands. Recursive watches on paths of other shards are left out, since those shards count
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchCounts {
    /// Entries (a connection on a path) in the data table.
    pub data: u64,
    /// Entries in the child table.
    pub child: u64,
    /// Paths that the data table knows.
    pub data_paths: u64,
    /// Connections with entries in the data table of this shard.
    pub data_connections: u64,
}

impl WatchCounts {
    /// What mntr calls `watch_count`.
    pub fn total(&self) -> u64 {
        self.data + self.child
    }
}

/// The watches of one shard.
pub struct WatchTable {
    key: Arc<HashKey>,
    index: StepTable<IndexEntry>,
    paths: Slab<Watched>,
    vacant_paths: Vec<u32>,
    lists: Slab<WatcherList>,
    connections: Connections,
    /// Entries with [`WatchMode::Recursive`]. While there are none, ancestors need no look.
    recursive: u64,
    counts: WatchCounts,
    /// Number of the last firing, which marks the connections that it reached.
    stamp: u32,
    path_bytes: usize,
    list_bytes: usize,
}

/// A path with watchers. Without any it waits in `vacant_paths`: sets of paths may still name its id.
struct Watched {
    path: Box<str>,
    /// The only watcher if there is no list.
    single: Watcher,
    list: ListRef,
}

/// The list of a path, if it has one (31 bits), and whether the path is foreign: owned by another shard, and here for
/// recursive watches only.
#[derive(Clone, Copy)]
struct ListRef(u32);

impl ListRef {
    const FOREIGN: u32 = 1 << 31;
    const NONE: u32 = Self::FOREIGN - 1;

    fn none(foreign: bool) -> ListRef {
        ListRef(Self::NONE | if foreign { Self::FOREIGN } else { 0 })
    }

    fn with(self, list: u32) -> ListRef {
        debug_assert!(list < Self::NONE, "a shard knows fewer than 2^31 lists");
        ListRef(self.0 & Self::FOREIGN | list)
    }

    fn id(self) -> Option<u32> {
        let list = self.0 & !Self::FOREIGN;
        (list != Self::NONE).then_some(list)
    }

    fn is_foreign(self) -> bool {
        self.0 & Self::FOREIGN != 0
    }
}

struct WatcherList {
    watchers: Vec<Watcher>,
    /// How many of them stand in the data table.
    data_entries: u32,
}

/// A connection's number (28 bits) and its modes (4 bits).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Watcher(u32);

impl Watcher {
    /// Nobody.
    const NONE: Watcher = Watcher(0);

    fn new(connection: u32, modes: WatchModes) -> Watcher {
        debug_assert!(connection < 1 << 28, "a shard knows fewer than 2^28 connections");
        Watcher(connection << 4 | u32::from(modes.0))
    }

    fn connection(self) -> u32 {
        self.0 >> 4
    }

    fn modes(self) -> WatchModes {
        WatchModes((self.0 & 15) as u8)
    }
}

/// From the hash of a path to its id: the 88 highest bits of the hash, and the id below. That two of a hundred million
/// paths agree in these bits has a probability of 2^-36.
#[derive(Clone, Copy, Default)]
struct IndexEntry {
    high: u64,
    low: u64,
}

const _: () = assert!(size_of::<IndexEntry>() == 16 && size_of::<Watched>() == 24);

impl IndexEntry {
    const KEY: u128 = !0 << 40;

    fn new(hash: PathHash, path: u32) -> IndexEntry {
        let packed = hash.0 & Self::KEY | u128::from(path);
        IndexEntry { high: (packed >> 64) as u64, low: packed as u64 }
    }

    fn path(self) -> u32 {
        self.low as u32
    }
}

impl TableEntry for IndexEntry {
    fn key(&self) -> PathHash {
        PathHash((u128::from(self.high) << 64 | u128::from(self.low)) & Self::KEY)
    }
}

impl WatchTable {
    /// A table without watches.
    pub fn new(key: Arc<HashKey>) -> WatchTable {
        WatchTable {
            key,
            index: StepTable::new(),
            paths: Slab::new(),
            vacant_paths: Vec::new(),
            lists: Slab::new(),
            connections: Connections::default(),
            recursive: 0,
            counts: WatchCounts::default(),
            stamp: 0,
            path_bytes: 0,
            list_bytes: 0,
        }
    }

    /// Lets `conn` watch `path` in one more mode. A `foreign` path belongs to another shard: it can be watched
    /// recursively only, and is not counted.
    pub fn add(&mut self, core: CoreId, conn: ConnId, path: &str, mode: WatchMode, foreign: bool) {
        let number = self.connection(core, conn);
        let id = self.path_id(path, foreign);
        let added = WatchModes::from(mode);
        let known = self.connections.paths[number as usize].place(id);
        match known.filter(|place| self.holds(id, *place, number)) {
            Some(place) => {
                let before = self.watchers(id)[place as usize].modes();
                self.set_modes(id, place, before.with(added));
            }
            None => {
                let place = self.push(id, Watcher::new(number, added));
                let (paths, lists) = (&self.paths, &self.lists);
                let is_live = |member| is_held(paths, lists, member, number);
                self.connections.paths[number as usize].note(Member { path: id, place }, is_live);
            }
        }
    }

    /// How `conn` watches `path`.
    pub fn modes(&self, core: CoreId, conn: ConnId, path: &str) -> WatchModes {
        self.find(core, conn, path).map_or(WatchModes::NONE, |(id, place)| self.watchers(id)[place as usize].modes())
    }

    /// Takes modes away from `conn` at `path`; returns whether it had any of them.
    pub fn remove(&mut self, core: CoreId, conn: ConnId, path: &str, modes: WatchModes) -> bool {
        let Some((id, place)) = self.find(core, conn, path) else { return false };
        let before = self.watchers(id)[place as usize];
        if !before.modes().meets(modes) {
            return false;
        }
        let after = before.modes().without(modes);
        if after == WatchModes::NONE {
            self.connections.paths[before.connection() as usize].forget(id);
            self.take(id, place);
        } else {
            self.set_modes(id, place, after);
        }
        true
    }

    /// Forgets a connection and all its watches.
    pub fn drop_connection(&mut self, core: CoreId, conn: ConnId) {
        if let Some(number) = self.connections.number(core, conn) {
            self.drop_number(number);
        }
    }

    /// Collects who hears of a change to the node at `path`, and uses up the standard watches among them. For
    /// [`EventKind::NodeChildrenChanged`] the node is the parent. A deletion is one firing for both tables: whoever
    /// would get it from either gets it once.
    pub fn fire(&mut self, kind: EventKind, hash: PathHash, path: &str, audience: &mut Audience) {
        audience.clear();
        if self.index.is_empty() {
            return;
        }
        self.next_stamp();
        if let Some(id) = self.known_path(hash) {
            self.fire_here(id, hash, kind, audience);
        }
        if self.recursive > 0 && kind != EventKind::NodeChildrenChanged {
            for ancestor in path::self_and_ancestors(path).skip(1) {
                let Some(id) = self.known_path(self.key.hash(ancestor)) else { continue };
                for watcher in watchers_of(self.paths.get(id), &self.lists) {
                    if watcher.modes().meets(WatchMode::Recursive.into()) {
                        notify(&mut self.connections, *watcher, self.stamp, audience);
                    }
                }
            }
        }
    }

    /// Sizes.
    pub fn counts(&self) -> WatchCounts {
        self.counts
    }

    /// Bytes that the table occupies, slack included.
    pub fn memory_bytes(&self) -> usize {
        let sets: usize = self.connections.paths.iter().map(PathSet::heap_bytes).sum();
        size_of::<Self>()
            + self.index.memory_bytes()
            + self.paths.memory_bytes()
            + self.vacant_paths.capacity() * size_of::<u32>()
            + self.lists.memory_bytes()
            + self.connections.heap_bytes()
            + self.path_bytes
            + self.list_bytes
            + sets
    }

    /// Shows the data table: up to `max` paths from a position on, each with its watchers (`wchp`, `wchc`). Returns
    /// where to go on, or `None` at the end. A path that stays watched is shown exactly once.
    pub fn walk_data(
        &self,
        from: TableCursor,
        max: usize,
        each: &mut dyn FnMut(&str, CoreId, ConnId),
    ) -> Option<TableCursor> {
        self.index.walk(from, max, &mut |entry| {
            let watched = self.paths.get(entry.path());
            if watched.list.is_foreign() {
                return;
            }
            for watcher in watchers_of(watched, &self.lists) {
                if watcher.modes().meets(WatchModes::DATA_TABLE) {
                    let head = &self.connections.heads[watcher.connection() as usize];
                    each(&watched.path, head.core, head.id);
                }
            }
        })
    }

    /// Whether `conn` has entries in the data table, so that connections of several shards can be counted once.
    pub fn watches_data(&self, core: CoreId, conn: ConnId) -> bool {
        let number = self.connections.number(core, conn);
        number.is_some_and(|number| self.connections.heads[number as usize].data_entries > 0)
    }

    fn next_stamp(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            for head in &mut self.connections.heads {
                head.stamp = 0;
            }
            self.stamp = 1;
        }
    }

    fn fire_here(&mut self, id: u32, hash: PathHash, kind: EventKind, audience: &mut Audience) {
        let watched = self.paths.get(id);
        let (list, foreign, mut single) = (watched.list.id(), watched.list.is_foreign(), [watched.single]);
        // A list leaves its place for the pass, and returns as far as anything of it is left.
        let mut taken = Vec::new();
        let watchers = match list {
            None => &mut single[..],
            Some(list) => {
                taken = std::mem::take(&mut self.lists.get_mut(list).watchers);
                &mut taken[..]
            }
        };
        let (hearing, consumed) = (WatchModes::hearing(kind), WatchModes::consumed_by(kind));
        let (mut left, mut data_before, mut data_after) = (0, 0, 0);
        for watcher in &mut *watchers {
            let before = watcher.modes();
            if before.meets(hearing) {
                notify(&mut self.connections, *watcher, self.stamp, audience);
            }
            let after = before.without(consumed);
            if after != before {
                *watcher = Watcher::new(watcher.connection(), after);
                self.count_entry(watcher.connection(), before, after, foreign);
            }
            left += usize::from(after != WatchModes::NONE);
            data_before += u32::from(before.meets(WatchModes::DATA_TABLE));
            data_after += u32::from(after.meets(WatchModes::DATA_TABLE));
        }
        self.count_path(data_before, data_after, foreign);
        match list {
            _ if left == 0 => {
                self.list_bytes -= taken.capacity() * size_of::<Watcher>();
                self.forget_path(id, hash);
            }
            None => self.paths.get_mut(id).single = single[0],
            Some(list) => {
                let bytes_before = taken.capacity() * size_of::<Watcher>();
                self.close_ranks(id, &mut taken);
                self.list_bytes = self.list_bytes + taken.capacity() * size_of::<Watcher>() - bytes_before;
                *self.lists.get_mut(list) = WatcherList { watchers: taken, data_entries: data_after };
            }
        }
    }

    /// Moves watchers from the end of a list to the places of those that have no mode left.
    fn close_ranks(&mut self, id: u32, watchers: &mut Vec<Watcher>) {
        let mut place = 0;
        while place < watchers.len() {
            if watchers[place].modes() != WatchModes::NONE {
                place += 1;
                continue;
            }
            let Some(last) = watchers.pop() else { break };
            if place < watchers.len() && last.modes() != WatchModes::NONE {
                watchers[place] = last;
                self.connections.paths[last.connection() as usize].moved(id, place as u32);
            }
        }
        shrink(watchers);
    }

    fn connection(&mut self, core: CoreId, conn: ConnId) -> u32 {
        match self.connections.in_slot(core, conn) {
            Some(number) if self.connections.heads[number as usize].id == conn => number,
            former => {
                // A slot has one connection at a time, so a former one is gone.
                if let Some(number) = former {
                    self.drop_number(number);
                }
                self.connections.insert(core, conn)
            }
        }
    }

    fn drop_number(&mut self, number: u32) {
        let paths = self.connections.remove(number);
        for member in paths.members() {
            if self.holds(member.path, member.place, number) {
                self.take(member.path, member.place);
            }
        }
    }

    fn path_id(&mut self, path: &str, foreign: bool) -> u32 {
        let hash = self.key.hash(path);
        if let Some(id) = self.known_path(hash) {
            return id;
        }
        self.path_bytes += path.len();
        let watched = Watched { path: path.into(), single: Watcher::NONE, list: ListRef::none(foreign) };
        let id = match self.vacant_paths.pop() {
            Some(id) => {
                *self.paths.get_mut(id) = watched;
                id
            }
            None => self.paths.insert(watched),
        };
        self.index.insert(IndexEntry::new(hash, id));
        id
    }

    /// Drops a path whose watchers are all gone.
    fn forget_path(&mut self, id: u32, hash: PathHash) {
        let watched = self.paths.get_mut(id);
        self.path_bytes -= watched.path.len();
        if let Some(list) = watched.list.id() {
            self.lists.remove(list);
        }
        *watched = Watched { path: "".into(), single: Watcher::NONE, list: ListRef::none(false) };
        self.index.remove(PathHash(hash.0 & IndexEntry::KEY));
        self.vacant_paths.push(id);
    }

    fn known_path(&self, hash: PathHash) -> Option<u32> {
        self.index.get(PathHash(hash.0 & IndexEntry::KEY)).map(|entry| entry.path())
    }

    fn find(&self, core: CoreId, conn: ConnId, path: &str) -> Option<(u32, u32)> {
        let number = self.connections.number(core, conn)?;
        let id = self.known_path(self.key.hash(path))?;
        let place = self.connections.paths[number as usize].place(id)?;
        self.holds(id, place, number).then_some((id, place))
    }

    fn holds(&self, id: u32, place: u32, number: u32) -> bool {
        is_held(&self.paths, &self.lists, Member { path: id, place }, number)
    }

    fn watchers(&self, id: u32) -> &[Watcher] {
        watchers_of(self.paths.get(id), &self.lists)
    }

    /// Appends a watcher to a path and returns its place.
    fn push(&mut self, id: u32, watcher: Watcher) -> u32 {
        let data_entries = self.account(id, watcher.connection(), WatchModes::NONE, watcher.modes());
        let watched = self.paths.get_mut(id);
        let list = match watched.list.id() {
            Some(list) => list,
            None if watched.single == Watcher::NONE => {
                watched.single = watcher;
                return 0;
            }
            None => {
                let watchers = vec![std::mem::replace(&mut watched.single, Watcher::NONE)];
                self.list_bytes += watchers.capacity() * size_of::<Watcher>();
                let list = self.lists.insert(WatcherList { watchers, data_entries });
                watched.list = watched.list.with(list);
                list
            }
        };
        let watchers = &mut self.lists.get_mut(list).watchers;
        let before = watchers.capacity();
        watchers.push(watcher);
        self.list_bytes += (watchers.capacity() - before) * size_of::<Watcher>();
        (watchers.len() - 1) as u32
    }

    fn set_modes(&mut self, id: u32, place: u32, modes: WatchModes) {
        let before = self.watchers(id)[place as usize];
        self.account(id, before.connection(), before.modes(), modes);
        let after = Watcher::new(before.connection(), modes);
        let watched = self.paths.get_mut(id);
        match watched.list.id() {
            None => watched.single = after,
            Some(list) => self.lists.get_mut(list).watchers[place as usize] = after,
        }
    }

    /// Takes a watcher off the list of a path.
    fn take(&mut self, id: u32, place: u32) {
        let gone = self.watchers(id)[place as usize];
        self.account(id, gone.connection(), gone.modes(), WatchModes::NONE);
        let watched = self.paths.get(id);
        if let Some(list) = watched.list.id() {
            let watchers = &mut self.lists.get_mut(list).watchers;
            let before = watchers.capacity();
            watchers.swap_remove(place as usize);
            if let Some(moved) = watchers.get(place as usize) {
                self.connections.paths[moved.connection() as usize].moved(id, place);
            }
            shrink(watchers);
            self.list_bytes -= (before - watchers.capacity()) * size_of::<Watcher>();
            if !watchers.is_empty() {
                return;
            }
            self.list_bytes -= watchers.capacity() * size_of::<Watcher>();
        }
        let hash = self.key.hash(&watched.path);
        self.forget_path(id, hash);
    }

    /// Keeps all counts when the modes of one watcher of a path change; returns the path's entries in the data table.
    fn account(&mut self, id: u32, number: u32, before: WatchModes, after: WatchModes) -> u32 {
        let watched = self.paths.get(id);
        let (list, foreign) = (watched.list.id(), watched.list.is_foreign());
        let data_before = match list {
            None => u32::from(watched.single.modes().meets(WatchModes::DATA_TABLE)),
            Some(list) => self.lists.get(list).data_entries,
        };
        let data_after = data_before + u32::from(after.meets(WatchModes::DATA_TABLE))
            - u32::from(before.meets(WatchModes::DATA_TABLE));
        if let Some(list) = list {
            self.lists.get_mut(list).data_entries = data_after;
        }
        self.count_path(data_before, data_after, foreign);
        self.count_entry(number, before, after, foreign);
        data_after
    }

    fn count_path(&mut self, data_before: u32, data_after: u32, foreign: bool) {
        if !foreign {
            self.counts.data_paths = self.counts.data_paths + u64::from(data_after > 0) - u64::from(data_before > 0);
        }
    }

    fn count_entry(&mut self, number: u32, before: WatchModes, after: WatchModes, foreign: bool) {
        let change = |count: &mut u64, modes: WatchModes| {
            *count = *count + u64::from(after.meets(modes)) - u64::from(before.meets(modes));
        };
        change(&mut self.recursive, WatchMode::Recursive.into());
        if foreign {
            return;
        }
        change(&mut self.counts.data, WatchModes::DATA_TABLE);
        change(&mut self.counts.child, WatchModes::CHILD_TABLE);
        let head = &mut self.connections.heads[number as usize];
        let mut entries = u64::from(head.data_entries);
        let before = entries > 0;
        change(&mut entries, WatchModes::DATA_TABLE);
        head.data_entries = entries as u32;
        self.counts.data_connections = self.counts.data_connections + u64::from(entries > 0) - u64::from(before);
    }
}

fn watchers_of<'a>(watched: &'a Watched, lists: &'a Slab<WatcherList>) -> &'a [Watcher] {
    match watched.list.id() {
        None if watched.single == Watcher::NONE => &[],
        None => std::slice::from_ref(&watched.single),
        Some(list) => &lists.get(list).watchers,
    }
}

fn is_held(paths: &Slab<Watched>, lists: &Slab<WatcherList>, member: Member, number: u32) -> bool {
    let watchers = watchers_of(paths.get(member.path), lists);
    watchers.get(member.place as usize).is_some_and(|watcher| watcher.connection() == number)
}

fn notify(connections: &mut Connections, watcher: Watcher, stamp: u32, audience: &mut Audience) {
    let head = &mut connections.heads[watcher.connection() as usize];
    if head.stamp != stamp {
        head.stamp = stamp;
        audience.add(head.core, head.id);
    }
}

/// Gives memory back when a list has become much smaller.
fn shrink(watchers: &mut Vec<Watcher>) {
    if watchers.len() * 4 < watchers.capacity() {
        watchers.shrink_to(watchers.len() * 2);
    }
}
