//! Walks as of a view: the present entries, merged with the undos behind the view. Both lie in the order of their
//! hashes, so a position is the hash last seen, and stays good whatever is applied between two steps.

use super::Shard;
use super::history::{PinId, child_key};
use crate::ids::PartitionId;
use crate::partition::{ChildCursor, Damage, LinkRef, NodeEntry, NodeView, Place, ScanCursor};
use crate::path::PathHash;
use crate::zxid::Zxid;
use smallvec::SmallVec;
use std::iter::Peekable;
use std::ops::{Bound, RangeBounds};

/// Places that one step asks for at the most.
pub(super) const FETCHES_MAX: usize = 32;
/// What must become resident first; empty if nothing.
pub(super) type Missing = SmallVec<[Place; 4]>;

/// Where a walk goes on: behind the hash last seen, which is `None` at the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Onward {
    From(Option<PathHash>),
    End,
}

/// Streams of everything that a pin holds: snapshots, backups.
impl Shard {
    /// Shows some `max` nodes of one of this shard's partitions as of a pin, in the order of their hashes. `from` is the
    /// hash that the step before returned, and `None` at the beginning; `None` is returned at the end. The entries stay
    /// good as long as the pin.
    pub fn scan(
        &self,
        pin: &PinId,
        partition: PartitionId,
        from: Option<PathHash>,
        max: usize,
        each: &mut dyn FnMut(&NodeEntry),
    ) -> Option<PathHash> {
        let place = self.place(partition)?;
        match self.nodes_at(pin.view(), place, from, max.max(1), each) {
            Onward::From(last) => last,
            Onward::End => None,
        }
    }

    /// The node with this hash as of a pin, wherever it lies among this shard's partitions. The entry stays good as
    /// long as the pin.
    pub fn entry(&self, pin: &PinId, hash: PathHash) -> Option<NodeEntry> {
        let place = self.place(hash.partition(self.config.partitions))?;
        self.node_at(pin.view(), place, hash)
    }

    /// The partitions of this shard.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.partitions.iter().map(|partition| partition.id())
    }

    /// Number of the partition that a hash belongs to.
    pub fn partition_of(&self, hash: PathHash) -> PartitionId {
        hash.partition(self.config.partitions)
    }

    /// Reads the record of an entry that [`Self::scan`] has shown; `None` if the partition is not here.
    pub fn node(&self, partition: PartitionId, entry: &NodeEntry) -> Option<Result<NodeView<'_>, Damage>> {
        Some(self.partitions[self.place(partition)?].node(entry))
    }

    /// What must become resident before [`Self::node`] can go on without waiting; `None` if nothing.
    pub fn missing(&self, partition: PartitionId, entry: &NodeEntry) -> Option<Place> {
        let partition = &self.partitions[self.place(partition)?];
        (!partition.is_resident(entry)).then(|| partition.location(entry))
    }
}

impl Shard {
    /// The node with this hash as of a view.
    pub(super) fn node_at(&self, view: Zxid, place: usize, hash: PathHash) -> Option<NodeEntry> {
        let partition = &self.partitions[place];
        match self.history.nodes.as_of(view, &(partition.id(), hash)) {
            Some(before) => before,
            None => partition.get(hash),
        }
    }

    /// Shows some `max` nodes of a partition as of a view.
    pub(super) fn nodes_at(
        &self,
        view: Zxid,
        place: usize,
        from: Option<PathHash>,
        max: usize,
        each: &mut dyn FnMut(&NodeEntry),
    ) -> Onward {
        let partition = &self.partitions[place];
        let Some(cursor) = from.map_or(Some(ScanCursor::START), ScanCursor::after) else { return Onward::End };
        let past =
            self.history.nodes.range(view, bounds(partition.id(), from)).map(|((_, hash), before)| (hash, before));
        let mut merge = Merge::new(past, from, max);
        let next = partition.scan_nodes(cursor, max, &mut |entry| {
            merge.present(entry.hash, |past| match past {
                Some(before) => before.iter().for_each(&mut *each),
                None => each(entry),
            });
        });
        merge.finish(next.is_none(), |before| before.iter().for_each(&mut *each))
    }

    /// Shows the names of some `max` children of a node as of a view.
    pub(super) fn children_at(
        &self,
        view: Zxid,
        place: usize,
        parent: PathHash,
        from: Option<PathHash>,
        max: usize,
        each: &mut dyn FnMut(&str),
    ) -> Result<Onward, Damage> {
        let partition = &self.partitions[place];
        let Some(cursor) = from.map_or(Some(ChildCursor::START), ChildCursor::after) else { return Ok(Onward::End) };
        let mut result = Ok(());
        let mut show = |link: Option<LinkRef>, each: &mut dyn FnMut(&str)| {
            if let (Some(link), Ok(())) = (link, result) {
                result = partition.child_name(link).map(each);
            }
        };
        let mut merge = Merge::new(self.past_children(view, parent, from), from, max);
        let next = partition.children(parent, cursor, max, &mut |child, name| {
            merge.present(child_key(child), |past| match past {
                Some(before) => show(before, each),
                None => each(name),
            });
        })?;
        let onward = merge.finish(next.is_none(), |before| show(before, each));
        result.map(|()| onward)
    }

    /// What must become resident before [`Self::children_at`] with the same arguments can go on without waiting.
    pub(super) fn names_missing(
        &self,
        view: Zxid,
        place: usize,
        parent: PathHash,
        from: Option<PathHash>,
        max: usize,
    ) -> Missing {
        let partition = &self.partitions[place];
        let mut missing = Missing::new();
        let mut look = |link| {
            if missing.len() < FETCHES_MAX
                && let Some(place) = partition.link_missing(link)
                && missing.last() != Some(&place)
            {
                missing.push(place);
            }
        };
        if let Some(cursor) = from.map_or(Some(ChildCursor::START), ChildCursor::after) {
            partition.child_links(parent, cursor, max, &mut look);
        }
        self.past_children(view, parent, from).take(max).filter_map(|(_, link)| link).for_each(look);
        missing
    }

    /// Keeps the names of a node's children as of a view, brought up to now, for whoever asks next.
    pub(super) fn keep_names(&mut self, view: Zxid, place: usize, parent: PathHash, names: &[u8], count: u32) {
        if self.listings.contains(parent) {
            return;
        }
        let past: SmallVec<[_; 8]> = self.past_children(view, parent, None).collect();
        // What came and went between the view and now may be back as it was: only from now on is it known to hold.
        let since = if past.is_empty() { view } else { self.applied };
        self.listings.put(parent, names, count, since);
        let partition = &self.partitions[place];
        for (child, before) in past {
            let (link, has_come) = match (before, partition.child(parent, child)) {
                (None, Some(link)) => (link, true),
                (Some(link), None) => (link, false),
                (None, None) | (Some(_), Some(_)) => continue,
            };
            // What would have to be fetched is not worth it here.
            let name = if partition.link_missing(link).is_none() { partition.child_name(link).ok() } else { None };
            match name {
                Some(name) if has_come => self.listings.link(parent, name, self.applied),
                Some(name) => self.listings.unlink(parent, name, self.applied),
                None => self.listings.forget(parent),
            }
        }
        // A parent that was removed with its children left no undos of their links.
        let now = partition.get(parent).map(|parent| parent.num_children);
        if self.listings.count(parent) != now {
            self.listings.forget(parent);
        }
    }

    /// The children of a node that have come or gone since a view, and their links as of it.
    fn past_children(
        &self,
        view: Zxid,
        parent: PathHash,
        from: Option<PathHash>,
    ) -> impl Iterator<Item = (PathHash, Option<LinkRef>)> {
        let past = self.history.children.range(view, bounds(parent, from));
        past.map(|((_, child), before)| (child, before))
    }
}

/// The keys of one group behind `from`.
fn bounds<G: Copy>(group: G, from: Option<PathHash>) -> impl RangeBounds<(G, PathHash)> {
    let lower = match from {
        Some(last) => Bound::Excluded((group, last)),
        None => Bound::Included((group, PathHash(0))),
    };
    (lower, Bound::Included((group, PathHash(u128::MAX))))
}

/// Merges the present, which is pushed, with past values, in the order of their keys. A past value stands for the
/// present one with the same key.
struct Merge<T, I: Iterator<Item = (PathHash, T)>> {
    past: Peekable<I>,
    last: Option<PathHash>,
    left: usize,
    /// Entries were left out because `left` had run out.
    is_cut: bool,
}

impl<T, I: Iterator<Item = (PathHash, T)>> Merge<T, I> {
    fn new(past: I, from: Option<PathHash>, max: usize) -> Merge<T, I> {
        Merge { past: past.peekable(), last: from, left: max, is_cut: false }
    }

    /// The next present entry: `show` gets the past values below its key, and then the past value at its key, or `None`
    /// where the entry is still what it was.
    fn present(&mut self, key: PathHash, mut show: impl FnMut(Option<T>)) {
        while self.past.peek().is_some_and(|(past, _)| *past < key) && self.proceed() {
            if let Some((past, before)) = self.past.next() {
                self.last = Some(past);
                show(Some(before));
            }
        }
        if self.proceed() {
            self.last = Some(key);
            show(self.past.next_if(|(past, _)| *past == key).map(|(_, before)| before));
        }
    }

    /// No more present entries were pushed: because there are none (`is_end`), or since `max` have been.
    fn finish(mut self, is_end: bool, mut show: impl FnMut(T)) -> Onward {
        while is_end && self.past.peek().is_some() && self.proceed() {
            if let Some((past, before)) = self.past.next() {
                self.last = Some(past);
                show(before);
            }
        }
        if is_end && !self.is_cut { Onward::End } else { Onward::From(self.last) }
    }

    fn proceed(&mut self) -> bool {
        self.is_cut |= self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.is_cut
    }
}
