//! A snapshot of all shards as one stream, parents first.
//!
//! The host pins the same zxid on every shard, asks them as [`SnapshotStream::poll`] says, brings back their chunks, and
//! takes the stream's from [`SnapshotStream::next_chunk`] whenever the peer (or the file) has room. A level begins when
//! every shard has finished the one above, for a parent may lie on any of them. The memory is bounded: no more is asked
//! for while [`QUEUE_BYTES`] wait to be taken, and each shard owes one chunk at the most.

use super::walk::{Chunk, NextLevel};
use super::writer::{HeadWriter, write_end_of_nodes, write_signature};
use engine::ids::ShardId;
use std::collections::VecDeque;

/// Nothing is asked for while this much waits to be taken.
pub const QUEUE_BYTES: usize = 1 << 20;
/// Size of the chunks with sessions and lists.
const HEAD_BYTES: usize = 64 << 10;

/// A shard that is to be asked for the next chunk of a level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The shard.
    pub shard: ShardId,
    /// The level.
    pub depth: u32,
}

/// The stream. See the module's documentation.
#[derive(Debug)]
pub struct SnapshotStream {
    head: Option<HeadWriter>,
    shards: Vec<Part>,
    depth: u32,
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    has_signature: bool,
    is_ended: bool,
    nodes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    is_asked: bool,
    /// The level that it has something of.
    next: NextLevel,
}

impl SnapshotStream {
    /// A stream of these shards' nodes behind `head`. `has_signature` tells a SNAP stream from the body of a file.
    pub fn new(head: HeadWriter, shards: u16, has_signature: bool) -> SnapshotStream {
        SnapshotStream {
            head: Some(head),
            shards: vec![Part { is_asked: false, next: NextLevel::Depth(0) }; usize::from(shards)],
            depth: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            has_signature,
            is_ended: false,
            nodes: 0,
        }
    }

    /// Which shards to ask now. To be called at the beginning, and after chunks came or were taken.
    pub fn poll(&mut self, asks: &mut Vec<Ask>) {
        if self.is_ended || self.queued_bytes >= QUEUE_BYTES {
            return;
        }
        for (at, part) in self.shards.iter_mut().enumerate() {
            if !part.is_asked && matches!(part.next, NextLevel::Depth(depth) if depth == self.depth) {
                part.is_asked = true;
                asks.push(Ask { shard: ShardId(at as u16), depth: self.depth });
            }
        }
    }

    /// A shard has answered.
    pub fn chunk(&mut self, shard: ShardId, chunk: Chunk) {
        let Some(part) = self.shards.get_mut(usize::from(shard.0)) else { return };
        part.is_asked = false;
        if let Some(next) = chunk.end {
            part.next = next;
        }
        self.nodes += chunk.nodes;
        self.push(chunk.bytes);
        let next = self.shards.iter().filter_map(|part| match part.next {
            NextLevel::Depth(depth) => Some(depth),
            NextLevel::None => None,
        });
        match next.min() {
            Some(depth) => self.depth = depth,
            None if self.is_ended => {}
            None => {
                self.is_ended = true;
                let mut end = Vec::new();
                write_end_of_nodes(&mut end);
                if self.has_signature {
                    write_signature(&mut end);
                }
                self.push(end);
            }
        }
    }

    /// The next bytes of the stream, if there are any yet.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        if let Some(head) = &mut self.head {
            let mut bytes = Vec::with_capacity(HEAD_BYTES / 8);
            if !head.write(HEAD_BYTES, &mut bytes) {
                self.head = None;
            }
            return Some(bytes);
        }
        let bytes = self.queue.pop_front()?;
        self.queued_bytes -= bytes.len();
        Some(bytes)
    }

    /// Whether everything has been taken.
    pub fn is_done(&self) -> bool {
        self.is_ended && self.head.is_none() && self.queue.is_empty()
    }

    /// Nodes that the shards have brought so far.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.queued_bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }
}
