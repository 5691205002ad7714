//! The state of a server as a stream: what a leader sends behind SNAP, and what a snapshot file holds.
//!
//! ```text
//! int count, count x { long session, int timeout }
//! int count, count x { long aclId, vector<ACL> }
//! { ustring path, buffer data, long aclId, StatPersisted }, a parent before its children; the root's path is ""
//! ustring "/"
//! ustring "BenWasHere"                                     (in a SNAP stream only)
//! ```
//! (`SerializeUtils.serializeSnapshot`, `DataTree.serialize`, `ReferenceCountedACLCache.serialize`.)
//!
//! Out: [`stream::SnapshotStream`] asks the shards, each of which walks its nodes by [`walk::DepthWalk`]. In:
//! [`reader::SnapshotReader`] takes the bytes, [`stage::Stage`] makes partitions of what it reads.

pub mod reader;
pub mod record;
pub mod stage;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod writer;
