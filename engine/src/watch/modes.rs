//! How a path is watched, and which changes that mode hears of.

use crate::event::EventKind;
use crate::read::WatchSelector;

/// How a connection watches a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WatchMode {
    /// Standard, in the data table: exists and getData.
    Data = 1,
    /// Standard, in the child table: getChildren.
    Child = 2,
    /// Persistent, in both tables.
    Persistent = 4,
    /// Persistent recursive, in the data table.
    Recursive = 8,
}

/// A set of [`WatchMode`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchModes(pub(super) u8);

impl WatchModes {
    /// No mode: no entry.
    pub const NONE: WatchModes = WatchModes(0);
    /// What stands in the data table.
    pub const DATA_TABLE: WatchModes =
        WatchModes(WatchMode::Data as u8 | WatchMode::Persistent as u8 | WatchMode::Recursive as u8);
    /// What stands in the child table.
    pub const CHILD_TABLE: WatchModes = WatchModes(WatchMode::Child as u8 | WatchMode::Persistent as u8);
    pub(super) const ALL: WatchModes = WatchModes(15);

    /// Whether the set and `other` have a mode in common.
    pub const fn meets(self, other: WatchModes) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn with(self, other: WatchModes) -> WatchModes {
        WatchModes(self.0 | other.0)
    }

    pub(super) const fn without(self, other: WatchModes) -> WatchModes {
        WatchModes(self.0 & !other.0)
    }

    /// Modes that hear of a change to the very node that they are on.
    pub const fn hearing(kind: EventKind) -> WatchModes {
        match kind {
            EventKind::NodeCreated | EventKind::NodeDataChanged => Self::DATA_TABLE,
            EventKind::NodeChildrenChanged => Self::CHILD_TABLE,
            EventKind::NodeDeleted => Self::ALL,
        }
    }

    /// Standard modes, which are used up by hearing of a change.
    pub(super) const fn consumed_by(kind: EventKind) -> WatchModes {
        match kind {
            EventKind::NodeCreated | EventKind::NodeDataChanged => WatchModes(WatchMode::Data as u8),
            EventKind::NodeChildrenChanged => WatchModes(WatchMode::Child as u8),
            EventKind::NodeDeleted => WatchModes(WatchMode::Data as u8 | WatchMode::Child as u8),
        }
    }
}

impl From<WatchMode> for WatchModes {
    fn from(mode: WatchMode) -> WatchModes {
        WatchModes(mode as u8)
    }
}

impl From<WatchSelector> for WatchModes {
    fn from(selector: WatchSelector) -> WatchModes {
        match selector {
            WatchSelector::Children => WatchMode::Child.into(),
            WatchSelector::Data => WatchMode::Data.into(),
            WatchSelector::Persistent => WatchMode::Persistent.into(),
            WatchSelector::PersistentRecursive => WatchMode::Recursive.into(),
            WatchSelector::Any => WatchModes::ALL,
        }
    }
}
