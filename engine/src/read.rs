//! What a connection asks of a shard without changing the tree: reads, and the keeping of watches.
//!
//! A request names the view that it is answered as of. Bodies are the reply records of `zookeeper.jute`, without the
//! reply header, which is the connection's business.

use crate::acl::Identity;
use crate::error_code::ErrorCode;
use crate::event::EventKind;
use crate::ids::Origin;
use crate::zxid::Zxid;
use std::borrow::Cow;
use std::sync::Arc;

/// A path as it came in a request, borrowed on the way to a shard of the same core and owned on the way to another.
pub type PathArg<'a> = Cow<'a, str>;

/// One read or watch operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOp<'a> {
    /// exists: Stat. With `watch`, a data watch is registered whether or not the node is there.
    Exists {
        /// The node.
        path: PathArg<'a>,
        /// Leave a watch.
        watch: bool,
    },
    /// getData: data and Stat.
    GetData {
        /// The node.
        path: PathArg<'a>,
        /// Leave a data watch if the node is there.
        watch: bool,
    },
    /// getChildren and getChildren2: names, and the Stat with `stat`.
    GetChildren {
        /// The node.
        path: PathArg<'a>,
        /// Leave a child watch if the node is there.
        watch: bool,
        /// getChildren2.
        stat: bool,
    },
    /// getACL: the list (digests hidden from callers without ADMIN) and Stat.
    GetAcl {
        /// The node.
        path: PathArg<'a>,
    },
    /// getAllChildrenNumber: this shard's part of the number of descendants. Sent to every shard; the one that owns
    /// the node also checks existence and READ.
    CountDescendants {
        /// The node.
        path: PathArg<'a>,
    },
    /// addWatch. A persistent watch goes to the owner of the path, a recursive one to every shard.
    AddWatch {
        /// The node, which need not exist.
        path: PathArg<'a>,
        /// Whether the whole subtree is watched.
        recursive: bool,
    },
    /// checkWatches and removeWatches. Types 3 and 5 go to every shard, the others to the owner of the path.
    FindWatch {
        /// The node.
        path: PathArg<'a>,
        /// Which kind.
        kind: WatchSelector,
        /// removeWatches.
        remove: bool,
    },
    /// setWatches and setWatches2: this shard's paths (recursive ones at every shard).
    SetWatches {
        /// Changes after this zxid have been missed.
        relative_zxid: i64,
        /// The watches, each with its place in the request.
        items: Vec<RestoredWatch>,
    },
}

impl ReadOp<'_> {
    /// The path that decides which shard answers; `None` for an op that every shard gets its own part of.
    pub fn path(&self) -> Option<&str> {
        match self {
            ReadOp::Exists { path, .. }
            | ReadOp::GetData { path, .. }
            | ReadOp::GetChildren { path, .. }
            | ReadOp::GetAcl { path }
            | ReadOp::CountDescendants { path }
            | ReadOp::AddWatch { path, .. }
            | ReadOp::FindWatch { path, .. } => Some(path),
            ReadOp::SetWatches { .. } => None,
        }
    }

    /// The op with paths of its own, for the way to another core.
    pub fn to_owned_op(&self) -> ReadOp<'static> {
        fn own(path: &str) -> PathArg<'static> {
            Cow::Owned(path.to_owned())
        }
        match self {
            ReadOp::Exists { path, watch } => ReadOp::Exists { path: own(path), watch: *watch },
            ReadOp::GetData { path, watch } => ReadOp::GetData { path: own(path), watch: *watch },
            ReadOp::GetChildren { path, watch, stat } => {
                ReadOp::GetChildren { path: own(path), watch: *watch, stat: *stat }
            }
            ReadOp::GetAcl { path } => ReadOp::GetAcl { path: own(path) },
            ReadOp::CountDescendants { path } => ReadOp::CountDescendants { path: own(path) },
            ReadOp::AddWatch { path, recursive } => ReadOp::AddWatch { path: own(path), recursive: *recursive },
            ReadOp::FindWatch { path, kind, remove } => {
                ReadOp::FindWatch { path: own(path), kind: *kind, remove: *remove }
            }
            ReadOp::SetWatches { relative_zxid, items } => {
                ReadOp::SetWatches { relative_zxid: *relative_zxid, items: items.clone() }
            }
        }
    }
}

/// Watcher types of checkWatches and removeWatches (`Watcher.WatcherType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum WatchSelector {
    /// Standard child watches.
    Children = 1,
    /// Standard data watches.
    Data = 2,
    /// Every watch on the path.
    Any = 3,
    /// Persistent watches.
    Persistent = 4,
    /// Persistent recursive watches.
    PersistentRecursive = 5,
}

/// The lists of setWatches and setWatches2, in the order in which they are worked through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RestoredKind {
    /// dataWatches.
    Data,
    /// existWatches.
    Exist,
    /// childWatches.
    Child,
    /// persistentWatches.
    Persistent,
    /// persistentRecursiveWatches.
    PersistentRecursive,
}

/// One path of a setWatches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredWatch {
    /// Place in the whole request, so that events of several shards can be put in order.
    pub index: u32,
    /// Its list.
    pub kind: RestoredKind,
    /// The path.
    pub path: Box<str>,
}

/// An event that setWatches owes at once: sent with zxid -1 instead of registering the watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwedEvent {
    /// [`RestoredWatch::index`].
    pub index: u32,
    /// What happened while the client was away.
    pub kind: EventKind,
    /// Where.
    pub path: Box<str>,
}

/// A read on its way to a shard of another core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// Who waits.
    pub origin: Origin,
    /// Which part of a request that was spread over shards, or which op of a multiRead.
    pub part: u32,
    /// Answer as of this zxid.
    pub view: Zxid,
    /// The caller's credentials.
    pub identity: Arc<Identity>,
    /// What is asked.
    pub op: ReadOp<'static>,
}

/// A shard's answer when it could not be given on the spot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadReply {
    /// Who waits.
    pub origin: Origin,
    /// [`ReadRequest::part`].
    pub part: u32,
    /// The result.
    pub result: Result<ReadBody, ErrorCode>,
}

/// What a read yields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadBody {
    /// The reply record.
    Record(Vec<u8>),
    /// This shard's part of a count.
    Count(u32),
    /// Whether this shard had the watch that was asked for.
    Found(bool),
    /// Watches restored; these events are owed.
    Restored(Vec<OwedEvent>),
}
