//! A disk that does not give back what it was given: bits that flip long after they were written, writes that went to
//! another place, files that are gone. And what a host does when it finds out: what is damaged is set aside, and the
//! member starts on the rest, as one that has lost something.

use super::super::super::checkpoint;
use super::Storage;
use crate::wal::disk::{Chance, DIRECTORY};
use crate::wal::{BLOCK_BYTES, Checkpoint as LogFloor, Recovered, SegmentSeq, Verdict, origin, recover};
use engine::partition::Manifest;
use engine::zxid::Zxid;

/// What a start cannot read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the checkpoint is damaged: {0}")]
    State(String),
    #[error("the log is damaged where no checkpoint covers it: {0}")]
    Log(String),
}

impl Storage {
    /// What the manifest says that the log begins behind.
    pub(super) fn floor(manifest: Option<&Manifest>) -> LogFloor {
        match manifest {
            None => LogFloor::Local(Zxid::ZERO),
            Some(manifest) if manifest.is_installed => LogFloor::Installed(manifest.zxid),
            Some(manifest) => LogFloor::Local(manifest.zxid),
        }
    }

    pub(super) fn read_manifest(&self) -> Result<Option<Manifest>, Unreadable> {
        let decoded = self.manifest.as_deref().map(Manifest::decode).transpose();
        decoded.map_err(|problem| Unreadable::State(problem.to_string()))
    }

    /// Something on the disk of a server that is down is not what it was. What it is, for the trace.
    pub fn decay(&mut self, chance: &mut Chance) -> Option<String> {
        let manifest = self.read_manifest().ok()?;
        let what = match chance.below(8) {
            0 if manifest.is_some() => {
                let bytes = self.manifest.as_mut()?;
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << chance.below(8);
                format!("byte {at} of the manifest")
            }
            1 | 2 if manifest.is_some() => {
                let cuts = manifest.iter().flat_map(|manifest| &manifest.partitions);
                let segments = cuts.flat_map(|cut| cut.segments.iter().map(|segment| (cut.partition, *segment)));
                let segments: Vec<_> = segments.filter(|(_, segment)| segment.end > 0).collect();
                let (partition, segment) = *segments.get(chance.below(segments.len() as u64) as usize)?;
                let (name, at) = ((partition, segment.generation, segment.segment), chance.below(segment.end));
                self.files.flip(name, at, 1 << chance.below(8));
                format!("byte {at} of {name:?}")
            }
            which => self.decay_log(which, manifest.as_ref(), chance)?,
        };
        self.has_decayed = true;
        Some(what)
    }

    fn decay_log(&mut self, which: u64, manifest: Option<&Manifest>, chance: &mut Chance) -> Option<String> {
        let verdict = recover(&mut self.wal.sources(), DIRECTORY, Storage::floor(manifest), &mut |_, _| {});
        let segments = verdict.recovered()?.layout().segments().filter(|segment| !segment.is_void());
        let blocks = |end: Option<u32>| 0..end.unwrap_or(1);
        let blocks: Vec<(SegmentSeq, u32)> = segments
            .flat_map(|segment| {
                let end = segment.batches.last().map(|batch| batch.end);
                blocks(end).map(move |block| (segment.sequence, block))
            })
            .collect();
        let (segment, block) = *blocks.get(chance.below(blocks.len() as u64) as usize)?;
        let (other, place) = blocks[chance.below(blocks.len() as u64) as usize];
        if which < 6 || block == 0 || place == 0 || (segment, block) == (other, place) {
            let at = chance.below(BLOCK_BYTES as u64) as usize;
            self.wal.block(segment, block)[at] ^= 1 << chance.below(8);
            return Some(format!("byte {at} of block {block} of log segment {segment}"));
        }
        let misplaced = self.wal.block(segment, block).to_vec();
        self.wal.block(other, place).copy_from_slice(&misplaced);
        if which == 7 {
            self.wal.block(segment, block).fill(0);
        }
        Some(format!("block {block} of log segment {segment}, now in place of {place} of {other}"))
    }

    /// A leader's snapshot that was about to become the state has become it if the log begins behind it.
    pub(super) fn settle_next_manifest(&mut self) {
        if let Some(next) = self.next_manifest.take()
            && origin(&mut self.wal.sources(), DIRECTORY).is_some_and(|(zxid, _)| zxid == next.zxid)
        {
            self.manifest = Some(next.encode());
        }
    }

    /// The log, or what is left of it when all that is damaged is in the checkpoint too.
    pub(super) fn read_log(&mut self, floor: LogFloor) -> Result<Recovered, Unreadable> {
        let damage = match recover(&mut self.wal.sources(), DIRECTORY, floor, &mut |_, _| {}) {
            Verdict::Clean(recovered) => return Ok(recovered),
            Verdict::TornTail(recovered, _) => {
                self.torn_tails += 1;
                return Ok(recovered);
            }
            Verdict::Damage(damage) => damage,
        };
        let whole = self.wal.clone();
        self.wal.files.retain(|sequence, _| *sequence > damage.segment);
        let verdict = recover(&mut self.wal.sources(), DIRECTORY, floor, &mut |_, _| {});
        let covered = verdict.recovered().filter(|recovered| {
            let layout = recovered.layout();
            layout.segments().any(|segment| !segment.is_void()) && layout.base() <= floor.zxid()
        });
        match covered {
            Some(recovered) if self.has_decayed => {
                self.covered += 1;
                Ok(recovered.clone())
            }
            _ => {
                self.wal = whole;
                Err(Unreadable::Log(damage.to_string()))
            }
        }
    }

    /// Makes room for a start on what is left.
    pub(super) fn set_aside(&mut self, problem: &Unreadable) -> Result<(), String> {
        if !std::mem::replace(&mut self.has_decayed, false) {
            return Err(format!("nothing has decayed, and yet {problem}"));
        }
        self.is_repairing = true;
        self.set_asides += 1;
        self.wal.files.clear();
        match problem {
            Unreadable::Log(_) => {
                if let Some(mut manifest) = self.read_manifest().map_err(|problem| problem.to_string())? {
                    manifest.is_installed = true;
                    self.manifest = Some(manifest.encode());
                }
            }
            Unreadable::State(_) => {
                self.manifest = None;
                self.files.keep_only(&|_| false);
            }
        }
        Ok(())
    }

    /// The partitions' files that a start goes on with.
    pub(super) fn keep_named(&mut self, manifest: Option<&Manifest>) {
        self.files.keep_only(&|name| manifest.is_some_and(|manifest| checkpoint::names(manifest, name)));
    }
}
