//! One shard's nodes, parents first: level by level, in bounded memory whatever the shape of the tree.
//!
//! A level is the nodes of one depth that have children; all that have none come last, as a level of their own
//! ([`LEAVES`]), for nobody's parent is among them. Whether a node has children its entry in the index tells: so the
//! records of leaves, which most nodes are, are read but once.
//!
//! For a level the shard's nodes are scanned in the order of their hashes, and those of the level are written out; what
//! lies deeper is remembered by its hash, [`REMEMBERED_MAX`] nodes at the most, the deepest levels being given up first.
//! The levels remembered whole need no scan of their own. So a wide tree takes one scan per level that is wider than the
//! memory, a deep one few, and neither millions of children nor thousands of levels take more memory than that.

use super::record::{SnapshotNode, StatPersisted};
use engine::ids::PartitionId;
use engine::partition::{Damage, NodeEntry, Place};
use engine::path::PathHash;
use engine::shard::{PinId, Shard};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Nodes whose hashes are remembered: 16 bytes each.
pub const REMEMBERED_MAX: usize = if cfg!(test) { 16 } else { 1 << 18 };
/// Nodes that one step looks at.
pub const STEP_NODES: usize = if cfg!(test) { 4 } else { 256 };
/// A chunk is handed out when it has reached this many bytes; its last node may go beyond.
pub const CHUNK_BYTES: usize = if cfg!(test) { 200 } else { 64 << 10 };
/// Places that one step asks for at the most.
const FETCHES_MAX: usize = 32;
/// In place of a depth: the nodes without children, of all depths.
pub const LEAVES: u32 = u32::MAX;

/// Nodes of one level, encoded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chunk {
    /// The nodes.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub nodes: u64,
    /// Whether the level is finished, and then which level of this shard is next.
    pub end: Option<NextLevel>,
}

/// The next depth at which a shard has nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextLevel {
    /// This one, or [`LEAVES`].
    Depth(u32),
    /// None: the shard has shown everything.
    None,
}

/// What came of a step.
#[derive(Debug)]
pub enum WalkStep {
    /// Go on, when there is time.
    Working,
    /// These bytes of a partition's log are to be made resident first; then go on.
    Fetch(PartitionId, Vec<Place>),
    /// What was asked for. The walk rests until [`DepthWalk::ask`].
    Chunk(Chunk),
}

/// The walk. It goes over the shard as of one pin, which its owner holds.
#[derive(Debug, Default)]
pub struct DepthWalk {
    /// The level under way, and where it stands.
    level: Option<(u32, Source)>,
    is_asked: bool,
    chunk: Chunk,
    batch: Batch,
    /// Hashes of levels to come.
    remembered: BTreeMap<u32, Vec<PathHash>>,
    remembered_count: usize,
    /// The least depth behind the level of the last scan that is not remembered whole.
    cutoff: Option<u32>,
}

/// Where the nodes of a level come from.
#[derive(Clone, Debug)]
enum Source {
    /// A scan: partitions from this place on, the first of them behind this hash.
    Scan {
        place: usize,
        from: Option<PathHash>,
    },
    Remembered(std::vec::IntoIter<PathHash>),
    /// All have been taken.
    Drained,
}

/// Entries of one partition that are being worked on.
#[derive(Debug, Default)]
struct Batch {
    entries: Vec<(PartitionId, NodeEntry)>,
    next: usize,
    /// Entries before this place have been fetched, or were resident.
    granted: usize,
}

impl DepthWalk {
    /// A walk that has not begun. The first level to ask for is 0, of every shard.
    pub fn new() -> DepthWalk {
        DepthWalk::default()
    }

    /// Asks for the next chunk of a level. Levels are asked for in ascending order, and one that is under way until its
    /// end.
    pub fn ask(&mut self, depth: u32) {
        self.is_asked = true;
        if self.level.is_none() {
            let source = match self.remembered.remove(&depth) {
                Some(hashes) => {
                    self.remembered_count -= hashes.len();
                    Source::Remembered(hashes.into_iter())
                }
                None => {
                    self.remembered.clear();
                    self.remembered_count = 0;
                    self.cutoff = None;
                    Source::Scan { place: 0, from: None }
                }
            };
            self.level = Some((depth, source));
        }
    }

    /// Whether a chunk is owed.
    pub fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Takes one step over at most [`STEP_NODES`] nodes.
    ///
    /// # Errors
    /// A log does not hold what was written: the server must stop.
    pub fn step(&mut self, shard: &Shard, pin: &PinId) -> Result<WalkStep, Damage> {
        let Some((depth, source)) = &mut self.level else { return Ok(WalkStep::Working) };
        let depth = *depth;
        if self.batch.next == self.batch.entries.len() {
            self.batch.next = 0;
            self.batch.granted = 0;
            self.batch.entries.clear();
            source.fill(shard, pin, depth == LEAVES, &mut self.batch.entries);
        }
        if self.batch.entries.is_empty() && matches!(source, Source::Drained) {
            self.level = None;
            self.chunk.end = Some(match self.remembered.keys().next().copied().or(self.cutoff) {
                Some(next) => NextLevel::Depth(next),
                None if depth == LEAVES => NextLevel::None,
                None => NextLevel::Depth(LEAVES),
            });
            return Ok(self.hand_out());
        }
        while let Some((partition, entry)) = self.batch.entries.get(self.batch.next).copied() {
            if self.batch.next >= self.batch.granted
                && let Some(fetch) = self.batch.look_ahead(shard)
            {
                return Ok(fetch);
            }
            let Some(node) = shard.node(partition, &entry) else { break };
            let node = node?;
            self.batch.next += 1;
            let at = if depth == LEAVES { LEAVES } else { depth_of(node.path) };
            if at == depth {
                SnapshotNode {
                    path: Cow::Borrowed(node.path),
                    data: node.data,
                    acl: node.acl.into(),
                    stat: StatPersisted::of(&entry, &node),
                }
                .encode(&mut self.chunk.bytes);
                self.chunk.nodes += 1;
                if self.chunk.bytes.len() >= CHUNK_BYTES {
                    return Ok(self.hand_out());
                }
            } else if at > depth {
                self.remember(at, entry.hash);
            }
        }
        Ok(WalkStep::Working)
    }

    fn hand_out(&mut self) -> WalkStep {
        self.is_asked = false;
        WalkStep::Chunk(std::mem::take(&mut self.chunk))
    }

    fn remember(&mut self, depth: u32, hash: PathHash) {
        if self.cutoff.is_some_and(|cutoff| depth >= cutoff) {
            return;
        }
        self.remembered.entry(depth).or_default().push(hash);
        self.remembered_count += 1;
        if self.remembered_count > REMEMBERED_MAX
            && let Some((deepest, hashes)) = self.remembered.pop_last()
        {
            self.remembered_count -= hashes.len();
            self.cutoff = Some(deepest);
        }
    }
}

impl Source {
    /// Takes the next entries: of a scan, the leaves or all others.
    fn fill(&mut self, shard: &Shard, pin: &PinId, leaves: bool, out: &mut Vec<(PartitionId, NodeEntry)>) {
        match self {
            Source::Scan { place, from } => {
                let Some(partition) = shard.partition_ids().nth(*place) else {
                    *self = Source::Drained;
                    return;
                };
                *from = shard.scan(pin, partition, *from, STEP_NODES, &mut |entry| {
                    if (entry.num_children == 0) == leaves {
                        out.push((partition, *entry));
                    }
                });
                if from.is_none() {
                    *place += 1;
                }
            }
            Source::Remembered(hashes) => {
                for hash in hashes.by_ref().take(STEP_NODES) {
                    out.extend(shard.entry(pin, hash).map(|entry| (shard.partition_of(hash), entry)));
                }
                if hashes.len() == 0 && out.is_empty() {
                    *self = Source::Drained;
                }
            }
            Source::Drained => {}
        }
    }
}

impl Batch {
    /// Looks at what comes next: `None` if it can be read without waiting.
    fn look_ahead(&mut self, shard: &Shard) -> Option<WalkStep> {
        let (wanted, _) = self.entries.get(self.next)?;
        let wanted = *wanted;
        let mut places = Vec::new();
        self.granted = self.next;
        for (partition, entry) in &self.entries[self.next..] {
            let missing = shard.missing(*partition, entry);
            if missing.is_some() && (*partition != wanted || places.len() == FETCHES_MAX) {
                break;
            }
            places.extend(missing);
            self.granted += 1;
        }
        (!places.is_empty()).then_some(WalkStep::Fetch(wanted, places))
    }
}

/// Components of a path: 0 for the root.
pub fn depth_of(path: &str) -> u32 {
    if path.len() <= 1 { 0 } else { path.bytes().filter(|byte| *byte == b'/').count() as u32 }
}
