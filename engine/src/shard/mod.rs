//! One shard: some partitions of the namespace, the watches on them, and the answers to reads.
//!
//! A shard takes transactions in the order of their zxids ([`Shard::apply`]) and reads at any time ([`Shard::read`]), and
//! hands out [`ShardAction`]s. It never waits: what would take long, or wait for a disk, becomes a *job*
//! ([`ReadOutcome::Deferred`]) that goes on in small steps ([`Shard::work`]).
//!
//! *Views.* A read names the view that it is answered as of (rule V1), which may lie behind what this shard has applied.
//! So each change leaves an undo behind ([`undo`]) until no view before it is in use ([`Shard::set_oldest_view`],
//! [`Shard::pin`]). A watch is registered as of the view too (V3): what it would have heard of since is made up for at
//! once ([`changes`]). The memory for both is bounded by the changes applied since the oldest view in use, and by one undo
//! per pin and changed entry. With a single shard the view is always what has been applied, and nothing is kept but for
//! pins.
//!
//! *Damage.* If a partition's log does not hold what was written, [`ShardAction::Damaged`] is handed out, and the requests
//! that met it are never answered: the server must stop.

mod action;
mod changes;
mod history;
mod job;
mod listings;
mod reading;
mod storage;
#[cfg(test)]
mod tests;
mod undo;
mod usage;
mod walk;
mod watching;

pub use action::{EventBatch, JobId, ReadOutcome, ShardAction, ShardConfig};
pub use history::PinId;
pub use storage::ShardCounters;

use crate::event::{EventKind, event_frame};
use crate::ids::{ConnId, CoreId, PartitionId};
use crate::partition::{Applied, Damage, LogAction, NodeEntry, Partition};
use crate::path::{self, PathHash};
use crate::piece::{CapturedStat, Piece, RoutedPiece, ShardTxn};
use crate::watch::{Audience, WatchTable};
use crate::zxid::Zxid;
use changes::{Change, Heard};
use history::{History, child_key};
use job::Jobs;
use listings::Listings;
use std::sync::Arc;
use storage::{Checkpoint, Touched};

/// One shard. See the module's documentation.
pub struct Shard {
    config: ShardConfig,
    partitions: Vec<Partition>,
    /// By partition number, the place in `partitions`.
    places: Vec<u32>,
    applied: Zxid,
    /// The newest view that a read or pin has named.
    newest_view: Zxid,
    history: History,
    listings: Listings,
    watches: WatchTable,
    jobs: Jobs,
    checkpoint: Option<Checkpoint>,
    touched: Touched,
    /// A partition may want compaction.
    may_compact: bool,
    /// A partition may wait for [`Partition::release_retired`].
    has_retired: bool,
    log_actions: Vec<LogAction>,
    audience: Audience,
    actions: Vec<ShardAction>,
}

/// The place of a partition that another shard owns.
const ELSEWHERE: u32 = u32::MAX;

impl Shard {
    /// A shard with its partitions: those that [`path::shard_of`] gives it.
    pub fn new(config: ShardConfig, partitions: Vec<Partition>) -> Shard {
        let mut places = vec![ELSEWHERE; config.partitions as usize];
        let mut applied = Zxid::ZERO;
        for (place, partition) in partitions.iter().enumerate() {
            debug_assert_eq!(path::shard_of(partition.id(), config.shards), config.id);
            places[usize::from(partition.id().0)] = place as u32;
            applied = applied.max(partition.zxid());
        }
        let mut history = History::new();
        history.advance(applied);
        Shard {
            watches: WatchTable::new(Arc::clone(&config.key)),
            config,
            partitions,
            places,
            applied,
            newest_view: applied,
            history,
            listings: Listings::default(),
            jobs: Jobs::default(),
            checkpoint: None,
            touched: Touched::default(),
            may_compact: true,
            has_retired: false,
            log_actions: Vec::new(),
            audience: Audience::default(),
            actions: Vec::new(),
        }
    }

    /// Applies a transaction's pieces for this shard. Transactions come in the order of their zxids.
    pub fn apply(&mut self, txn: &ShardTxn) {
        debug_assert!(txn.zxid >= self.applied, "{} behind {}", txn.zxid, self.applied);
        self.applied = self.applied.max(txn.zxid);
        for piece in &txn.pieces {
            self.apply_piece(txn, piece);
        }
        if self.is_alone() {
            self.history.advance(self.applied);
            self.release_retired();
        }
    }

    /// The last transaction that was applied here.
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// No view below this one will be named any more, but for pins: what only those would see is forgotten. Needless
    /// with a single shard, where every view is what has been applied.
    pub fn set_oldest_view(&mut self, zxid: Zxid) {
        self.history.advance(zxid);
        self.release_retired();
    }

    /// Holds a view open for long work (rule V7): a snapshot, a backup. `None` if the view is older than the oldest one
    /// in use, and not pinned already.
    pub fn pin(&mut self, view: Zxid) -> Option<PinId> {
        self.newest_view = self.newest_view.max(view);
        self.history.pin(view)
    }

    /// Ends a pin.
    pub fn unpin(&mut self, pin: PinId) {
        self.history.unpin(pin);
        self.release_retired();
    }

    /// Forgets a connection: its watches, and its reads under way.
    pub fn drop_connection(&mut self, core: CoreId, conn: ConnId) {
        self.watches.drop_connection(core, conn);
        self.drop_jobs(core, conn);
    }

    /// Moves out what the host is to do, in order.
    pub fn take_actions(&mut self, out: &mut Vec<ShardAction>) {
        out.append(&mut self.actions);
        self.take_log_actions(out);
    }

    /// The watches, to be counted and shown.
    pub fn watches(&self) -> &WatchTable {
        &self.watches
    }

    fn apply_piece(&mut self, txn: &ShardTxn, routed: &RoutedPiece) {
        let Some(place) = self.place_of(routed.piece.routed_by()) else {
            debug_assert!(false, "a piece for another shard");
            return;
        };
        let partition = &mut self.partitions[place];
        let applied = partition.apply(txn.zxid, txn.time_ms, &routed.piece);
        let id = partition.id();
        self.touched.mark(place);
        if let Some(damage) = partition.damage() {
            self.damaged(damage);
            return;
        }
        if !self.is_alone() || self.history.has_pins() {
            self.remember(txn.zxid, id, &routed.piece, &applied);
        }
        if !self.listings.is_empty() {
            self.keep_listing(txn.zxid, &routed.piece, &applied);
        }
        if let (Some(entry), Some((origin, op))) = (applied.current, routed.stat_for) {
            self.capture(place, entry, CapturedStat { origin, op, stat: Default::default() });
        }
        self.announce(txn.zxid, routed, &applied);
    }

    /// Leaves undos of what a piece changed.
    fn remember(&mut self, zxid: Zxid, partition: PartitionId, piece: &Piece, applied: &Applied) {
        let hash = piece.routed_by();
        if applied.previous != applied.current {
            self.history.nodes.note(zxid, (partition, hash), applied.previous);
        }
        if let Some(change) = applied.child {
            let before = (!change.added).then_some(change.link);
            self.history.children.note(zxid, (hash, child_key(change.child)), before);
        }
    }

    /// Keeps the listing of a parent up to date.
    fn keep_listing(&mut self, zxid: Zxid, piece: &Piece, applied: &Applied) {
        match piece {
            Piece::Link { parent, child, .. } if applied.child.is_some() => {
                self.listings.link(*parent, path::name(&child.path), zxid);
            }
            Piece::Unlink { parent, child, .. } if applied.child.is_some() => {
                self.listings.unlink(*parent, path::name(&child.path), zxid);
            }
            Piece::Remove { node } => self.listings.forget(node.hash),
            _ => {}
        }
    }

    /// Sends the event of a piece to the watchers.
    fn announce(&mut self, zxid: Zxid, routed: &RoutedPiece, applied: &Applied) {
        let (kind, path, node) = match &routed.piece {
            Piece::Put { node, .. } => (EventKind::NodeCreated, &node.path, applied.current),
            Piece::SetData { node, .. } | Piece::Rewrite { node, .. } => {
                (EventKind::NodeDataChanged, &node.path, applied.current)
            }
            Piece::Remove { node } => (EventKind::NodeDeleted, &node.path, applied.previous),
            Piece::Link { child, .. } | Piece::Unlink { child, .. } => {
                (EventKind::NodeChildrenChanged, &child.path, applied.current)
            }
            Piece::SetAcl { .. } | Piece::QuotaUsage { .. } => return,
        };
        let Some(NodeEntry { acl, .. }) = node else { return };
        let mut change = Change {
            zxid,
            order: routed.order,
            kind,
            hash: routed.piece.routed_by(),
            piece_path: Arc::clone(path),
            acl,
            heard: Heard::default(),
        };
        self.watches.fire(kind, change.hash, change.path(), &mut self.audience);
        let is_kept = !self.is_alone() || self.history.is_registering();
        let mut frame = None;
        for (core, conns) in self.audience.cores() {
            let conns: Arc<[ConnId]> = conns.into();
            if is_kept {
                change.heard.add_list(core, Arc::clone(&conns));
            }
            let frame = frame.get_or_insert_with(|| event_frame(zxid.to_wire(), kind, change.path())).clone();
            let batch = EventBatch { core, zxid, order: change.order, frame, acl, conns, owed_by: None };
            self.actions.push(ShardAction::Events(batch));
        }
        if is_kept {
            self.history.changes.push(change);
        }
    }

    /// Whether this is the only shard.
    fn is_alone(&self) -> bool {
        self.config.shards <= 1
    }

    /// The place of the partition that a hash belongs to, if it is here.
    fn place_of(&self, hash: PathHash) -> Option<usize> {
        let place = *self.places.get(usize::from(hash.partition(self.config.partitions).0))?;
        (place != ELSEWHERE).then_some(place as usize)
    }

    fn damaged(&mut self, damage: Damage) {
        self.actions.push(ShardAction::Damaged(damage));
    }
}
