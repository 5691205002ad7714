//! Recovery: a partition from its segments, up to where the manifest's cut ends.
//!
//! A pure function over bytes. The manifest names segments and their ends, and records fill a segment without gaps; so
//! there is no torn tail to tell from damage. Whatever does not check out is damage.

use super::Partition;
use super::children::ChildSet;
use super::index::Index;
use super::log::Log;
use super::manifest::{PartitionCut, SegmentCut};
use super::record::{Record, SEGMENT_HEADER, SegmentIdentity, decode, is_intact, is_node, length, padded, seed_at};
use super::segment::SegmentBytes;
use super::types::{Damage, Fault, LogAddress, NodeFacts, NodeImage};
use crate::ids::PartitionId;
use crate::path::PathHash;
use crate::table::TableCursor;
use crate::zxid::Zxid;
use std::collections::HashMap;
use std::sync::Arc;

/// Rebuilds a partition from the files of its segments, which are given in the order of `cut.segments`. Then shows each
/// node's final state to `visit`, in the order of the log. What the files hold behind the ends that the cut names is
/// ignored, and overwritten later; replay goes on behind `cut.zxid`.
pub fn recover(
    cut: &PartitionCut,
    files: &[Arc<dyn SegmentBytes>],
    visit: &mut dyn FnMut(&NodeFacts<'_>),
) -> Result<Partition, Damage> {
    let mut found = Vec::with_capacity(cut.segments.len());
    for (at, segment) in cut.segments.iter().enumerate() {
        let damage = |fault| Damage { partition: cut.partition, segment: segment.segment, offset: 0, fault };
        let file = files.get(at).ok_or(damage(Fault::Missing))?;
        if segment.end > segment.bytes || at >= LogAddress::SLOTS {
            return Err(damage(Fault::Header));
        }
        if file.bytes(0..segment.end).is_none() {
            return Err(damage(Fault::Missing));
        }
        found.push((*segment, Arc::clone(file)));
    }
    let log = Log::recovered(cut.partition, cut.generation, found);
    let mut partition = Partition::with_log(cut.partition, log);
    partition.index = Index::with_room(cut.room());
    let mut replay = Replay { partition, orphans: HashMap::new() };
    for (slot, (segment, file)) in cut.segments.iter().zip(files).enumerate() {
        replay.segment(segment, &**file, slot as u16)?;
    }
    let mut partition = replay.finish(cut)?;
    partition.zxid = cut.zxid;
    for (slot, (segment, file)) in cut.segments.iter().zip(files).enumerate() {
        show_nodes(&partition, segment, &**file, slot as u16, visit)?;
    }
    Ok(partition)
}

struct Replay {
    partition: Partition,
    /// Children whose parent's record comes later: compaction moves records in the order of the log.
    orphans: HashMap<PathHash, ChildSet>,
}

impl Replay {
    fn segment(&mut self, cut: &SegmentCut, file: &dyn SegmentBytes, slot: u16) -> Result<(), Damage> {
        let records = Records::open(self.partition.id, cut, file)?;
        let seed = records.identity.seed();
        for record in records {
            let (offset, bytes) = record?;
            let damage = |fault| damage(self.partition.id, cut, offset, fault);
            if !is_intact(bytes, seed_at(seed, offset)) {
                return Err(damage(Fault::Checksum));
            }
            let (zxid, record) = decode(bytes).ok_or(damage(Fault::Record))?;
            self.enter(zxid, &record, LogAddress::new(slot, offset));
        }
        Ok(())
    }

    fn enter(&mut self, zxid: Zxid, record: &Record<'_>, address: LogAddress) {
        let partition = &mut self.partition;
        match record {
            Record::Node(node) => {
                partition.enter_node(node, address);
                if !self.orphans.is_empty()
                    && let Some(children) = self.orphans.remove(&node.hash)
                {
                    partition.index.adopt(node.hash, children);
                }
            }
            Record::Link(link) => {
                let pzxid = link.moves_pzxid.then_some(zxid);
                let is_new = match partition.index.link(link.parent, link.child, address, link.cversion, pzxid) {
                    Some(linked) => linked.link.is_none(),
                    None => self.orphans.entry(link.parent).or_default().insert(link.child, address).is_none(),
                };
                if is_new {
                    partition.live += padded(record.bytes() as u64);
                }
            }
            Record::Unlink { parent, child, moves_pzxid, link_bytes } => {
                let was_there = match partition.index.unlink(*parent, *child, moves_pzxid.then_some(zxid)) {
                    Some(linked) => linked.link.is_some(),
                    None => self.unlink_orphan(*parent, *child),
                };
                if was_there {
                    // A number that only the counts at the end can prove wrong.
                    self.partition.live = self.partition.live.saturating_sub(padded(u64::from(*link_bytes)));
                }
            }
            Record::Remove { hash } => {
                partition.take_out(*hash);
                if let Some(children) = self.orphans.remove(hash) {
                    partition.forget_links(&children);
                }
            }
            Record::Acl { hash, acl, aversion } => partition.index.set_acl(*hash, *acl, *aversion),
            Record::Pad { .. } => {}
        }
    }

    fn unlink_orphan(&mut self, parent: PathHash, child: PathHash) -> bool {
        let Some(children) = self.orphans.get_mut(&parent) else { return false };
        let was_there = children.remove(child).is_some();
        if children.len() == 0 {
            self.orphans.remove(&parent);
        }
        was_there
    }

    fn finish(self, cut: &PartitionCut) -> Result<Partition, Damage> {
        let partition = self.partition;
        let mut orphan = None;
        for children in self.orphans.values() {
            children.walk(TableCursor::START, 1, &mut |link| orphan = Some(link));
        }
        if let Some(orphan) = orphan {
            return Err(partition.damage_at(orphan, Fault::Orphan));
        }
        if let Some(damage) = partition.damage {
            return Err(damage);
        }
        if (partition.node_count(), partition.live_bytes()) != (cut.nodes, cut.live_bytes) {
            let segment = cut.segments.last().map_or(0, |segment| segment.segment);
            let offset = cut.segments.last().map_or(0, |segment| segment.end);
            return Err(Damage { partition: partition.id, segment, offset, fault: Fault::Counts });
        }
        Ok(partition)
    }
}

/// Shows the nodes whose present records lie in this segment.
fn show_nodes(
    partition: &Partition,
    cut: &SegmentCut,
    file: &dyn SegmentBytes,
    slot: u16,
    visit: &mut dyn FnMut(&NodeFacts<'_>),
) -> Result<(), Damage> {
    for record in Records::open(partition.id, cut, file)? {
        let (offset, bytes) = record?;
        if !is_node(bytes) {
            continue;
        }
        let Some((_, Record::Node(node))) = decode(bytes) else {
            return Err(damage(partition.id, cut, offset, Fault::Record));
        };
        let here = LogAddress::new(slot, offset);
        if let Some(entry) = partition.get(node.hash).filter(|entry| entry.address == here) {
            let (acl, aversion) = (entry.acl, entry.aversion);
            let (pzxid, cversion) = (entry.pzxid, entry.cversion);
            let image = NodeImage { acl, aversion, pzxid, cversion, ..node };
            visit(&NodeFacts { image, num_children: entry.num_children });
        }
    }
    Ok(())
}

/// The records of a segment up to its end, each with its offset, not yet held against their checksums.
struct Records<'a> {
    cut: &'a SegmentCut,
    identity: SegmentIdentity,
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Records<'a> {
    fn open(partition: PartitionId, cut: &'a SegmentCut, file: &'a dyn SegmentBytes) -> Result<Records<'a>, Damage> {
        let SegmentCut { generation, segment: number, bytes, end } = *cut;
        let identity = SegmentIdentity { partition, generation, number, bytes };
        let bytes = file.bytes(0..end).ok_or(damage(partition, cut, 0, Fault::Missing))?;
        if !bytes.starts_with(&identity.encode()) {
            return Err(damage(partition, cut, 0, Fault::Header));
        }
        Ok(Records { cut, identity, bytes, offset: SEGMENT_HEADER as u64 })
    }

    fn read(&self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.offset as usize..)?;
        let bytes = length(rest)?;
        let padding = rest.get(bytes as usize..padded(bytes.into()) as usize)?;
        let is_sound = padding.iter().all(|byte| *byte == 0) && self.offset < LogAddress::OFFSET_LIMIT;
        rest.get(..bytes as usize).filter(|_| is_sound)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u64, &'a [u8]), Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.cut.end {
            return None;
        }
        let offset = self.offset;
        match self.read() {
            Some(record) => {
                self.offset += padded(record.len() as u64);
                Some(Ok((offset, record)))
            }
            None => {
                self.offset = self.cut.end;
                Some(Err(damage(self.identity.partition, self.cut, offset, Fault::Record)))
            }
        }
    }
}

fn damage(partition: PartitionId, cut: &SegmentCut, offset: u64, fault: Fault) -> Damage {
    Damage { partition, segment: cut.segment, offset, fault }
}
