//! Registering watches as of a view (design rule V3).

use super::Shard;
use super::action::{EventBatch, ShardAction};
use crate::event::event_frame;
use crate::ids::Origin;
use crate::path;
use crate::watch::WatchMode;
use crate::zxid::Zxid;
use std::sync::Arc;

impl Shard {
    /// Registers a watch of the origin's connection as of `view`. Events of changes that this shard has applied since go
    /// out at once, unless the connection was told of them by another watch; a standard watch is used up by the first.
    ///
    /// The path is taken as it stands: "" is the root to reads, and yet no event ever names it.
    pub(super) fn watch(&mut self, origin: Origin, view: Zxid, path: &str, mode: WatchMode) {
        let (core, conn) = (origin.core, origin.conn);
        if view < self.applied {
            let actions = &mut self.actions;
            let hash = self.config.key.hash(path);
            let used_up = self.history.changes.catch_up((core, conn), view, (hash, path), mode, &mut |change| {
                actions.push(ShardAction::Events(EventBatch {
                    core,
                    zxid: change.zxid,
                    order: change.order,
                    frame: event_frame(change.zxid.to_wire(), change.kind, change.path()),
                    acl: change.acl,
                    conns: Arc::from([conn]),
                    owed_by: Some(origin),
                }));
            });
            if used_up {
                return;
            }
        }
        let foreign =
            mode == WatchMode::Recursive && self.place_of(self.config.key.hash(path::canonical(path))).is_none();
        self.watches.add(core, conn, path, mode, foreign);
    }
}
