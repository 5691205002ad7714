//! What a shard remembers of the past: undos of nodes and of child lists, recent changes, pins.

use super::changes::Changes;
use super::undo::{Pins, Undo};
use crate::ids::PartitionId;
use crate::partition::{LinkRef, NodeEntry};
use crate::path::PathHash;
use crate::zxid::Zxid;
use std::ops::Bound;

/// The part of a child's hash that its place in the parent's list goes by ([`crate::partition::ChildCursor`]).
const CHILD_KEY: u128 = !0 << 40;

/// Keys by partition first, so that a walk over one partition finds its own undos together.
pub(super) type NodeKey = (PartitionId, PathHash);
/// Parent and child.
pub(super) type ChildKey = (PathHash, PathHash);

/// A child's hash as child lists compare it.
pub(super) fn child_key(child: PathHash) -> PathHash {
    PathHash(child.0 & CHILD_KEY)
}

/// A view that is held open. Give it back by [`super::Shard::unpin`].
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub struct PinId {
    pub(super) view: Zxid,
}

impl PinId {
    /// The view.
    pub fn view(&self) -> Zxid {
        self.view
    }
}

/// See the module's documentation.
pub(super) struct History {
    /// The entry of a node right before a transaction; `None` where there was no node.
    pub(super) nodes: Undo<NodeKey, Option<NodeEntry>>,
    /// The link of a child right before a transaction; `None` where there was no such child.
    pub(super) children: Undo<ChildKey, Option<LinkRef>>,
    pub(super) changes: Changes,
    oldest: Zxid,
    pins: Pins,
    /// Views as of which watches are still being registered; the changes behind them are kept.
    registering: Pins,
    /// A pin has gone since the last full sweep: where the sweep stands.
    sweep: Option<Sweep>,
    /// Another pin has gone since that sweep began.
    sweep_again: bool,
}

enum Sweep {
    Nodes(Bound<NodeKey>),
    Children(Bound<ChildKey>),
}

impl History {
    pub(super) fn new() -> History {
        History {
            nodes: Undo::new(),
            children: Undo::new(),
            changes: Changes::default(),
            oldest: Zxid::ZERO,
            pins: Pins::new(),
            registering: Pins::new(),
            sweep: None,
            sweep_again: false,
        }
    }

    /// The oldest view that may still be asked for, pins included.
    pub(super) fn needed_from(&self) -> Zxid {
        self.pins.keys().next().map_or(self.oldest, |pinned| self.oldest.min(*pinned))
    }

    pub(super) fn oldest(&self) -> Zxid {
        self.oldest
    }

    pub(super) fn has_pins(&self) -> bool {
        !self.pins.is_empty()
    }

    /// Nobody will name a view below this one any more, except by a pin.
    pub(super) fn advance(&mut self, oldest: Zxid) {
        self.oldest = self.oldest.max(oldest);
        self.nodes.prune(self.oldest, &self.pins);
        self.children.prune(self.oldest, &self.pins);
        let registering = self.registering.keys().next().copied();
        self.changes.prune(registering.map_or(self.oldest, |view| view.min(self.oldest)));
    }

    pub(super) fn pin(&mut self, view: Zxid) -> Option<PinId> {
        if view < self.oldest && !self.pins.contains_key(&view) {
            return None;
        }
        *self.pins.entry(view).or_insert(0) += 1;
        Some(PinId { view })
    }

    /// A pin on a view, or on the oldest one in use if the view is older still.
    pub(super) fn pin_or_oldest(&mut self, view: Zxid) -> PinId {
        let view = view.max(self.oldest);
        *self.pins.entry(view).or_insert(0) += 1;
        PinId { view }
    }

    pub(super) fn unpin(&mut self, pin: PinId) {
        if !release(&mut self.pins, pin.view) || self.is_empty() {
            return;
        }
        if self.sweep.is_some() {
            self.sweep_again = true;
        } else {
            self.sweep = Some(Sweep::Nodes(Bound::Unbounded));
        }
    }

    /// Keeps the changes behind a view until [`Self::end_registering`], so that watches can be registered as of it in
    /// several steps.
    pub(super) fn begin_registering(&mut self, view: Zxid) {
        *self.registering.entry(view).or_insert(0) += 1;
    }

    pub(super) fn end_registering(&mut self, view: Zxid) {
        release(&mut self.registering, view);
    }

    pub(super) fn is_registering(&self) -> bool {
        !self.registering.is_empty()
    }

    /// Forgets some of what only a former pin wanted; true if there may be more.
    pub(super) fn sweep(&mut self, max: usize) -> bool {
        self.sweep = match self.sweep.take() {
            None => None,
            Some(Sweep::Nodes(from)) => match self.nodes.sweep(from, max, self.oldest, &self.pins) {
                Some(next) => Some(Sweep::Nodes(next)),
                None => Some(Sweep::Children(Bound::Unbounded)),
            },
            Some(Sweep::Children(from)) => self.children.sweep(from, max, self.oldest, &self.pins).map(Sweep::Children),
        };
        if self.sweep.is_none() && std::mem::take(&mut self.sweep_again) {
            self.sweep = Some(Sweep::Nodes(Bound::Unbounded));
        }
        self.sweep.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.children.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes() + self.children.memory_bytes() + self.changes.memory_bytes()
    }
}

/// Gives back one hold of a view; returns whether it was the last.
fn release(views: &mut Pins, view: Zxid) -> bool {
    let Some(count) = views.get_mut(&view) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        views.remove(&view);
    }
    last
}
