//! The log at a start: one thread fetches pieces of its segments, another judges them, and the caller works on the records.

use super::restore::WalSegment;
use bytes::Bytes;
use engine::zxid::Zxid;
use hardware::aligned::AlignedBuf;
use hardware::block_file::BlockFile;
use replication::wal::{BLOCK_BYTES, Checkpoint, DirectoryId, SegmentSeq, SegmentSource, Verdict, recover_deciding};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

/// Bytes of one piece. Three exist per segment at the most.
const PIECE_BYTES: usize = 512 << 10;

/// Bytes of records that are handed over at once, and how many such groups may wait.
const GROUP_BYTES: usize = 64 << 10;
const GROUPS_MAX: usize = 16;

/// Judges the log as [`recover_deciding`] does, with its words, on a thread of its own.
pub fn judge(
    segments: &[WalSegment],
    directory: DirectoryId,
    base: Checkpoint,
    on_record: &mut dyn FnMut(Zxid, Bytes, Zxid),
) -> Verdict {
    let (sender, groups) = sync_channel(GROUPS_MAX);
    // Who no longer listens has failed, and says so.
    let work = move || judge_in_groups(segments, directory, base, &mut |group| drop(sender.send(group)));
    std::thread::scope(|scope| match std::thread::Builder::new().name("log-judge".into()).spawn_scoped(scope, work) {
        Ok(thread) => {
            groups.into_iter().for_each(|group: Group| group.hand_over(on_record));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
        Err(_) => judge_in_groups(segments, directory, base, &mut |group| group.hand_over(on_record)),
    })
}

fn judge_in_groups(
    segments: &[WalSegment],
    directory: DirectoryId,
    base: Checkpoint,
    on_group: &mut dyn FnMut(Group),
) -> Verdict {
    let mut group = Group::default();
    let verdict = reading_ahead(segments, |segments| {
        recover_deciding(segments, directory, base, &mut |zxid, bytes, committed| {
            group.records.push((zxid, bytes.len()));
            group.bytes.extend_from_slice(bytes);
            group.committed = committed;
            if group.bytes.len() >= GROUP_BYTES {
                on_group(std::mem::take(&mut group));
            }
        })
    });
    on_group(group);
    verdict
}

/// Records one behind the other.
#[derive(Default)]
struct Group {
    records: Vec<(Zxid, usize)>,
    bytes: Vec<u8>,
    /// What was known to be committed when the last of them was read.
    committed: Zxid,
}

impl Group {
    fn hand_over(self, on_record: &mut dyn FnMut(Zxid, Bytes, Zxid)) {
        let mut bytes = Bytes::from(self.bytes);
        for (zxid, length) in self.records {
            on_record(zxid, bytes.split_to(length), self.committed);
        }
    }
}

/// A segment with its next piece on its way.
struct ReadAhead<'a> {
    segment: &'a WalSegment,
    fetcher: Sender<Job>,
    /// Where the last read ended.
    end: u32,
    /// The last two pieces that have come, the newer one first, each with its first block.
    here: [Option<(u32, AlignedBuf)>; 2],
    /// On its way; its first block, and how many.
    coming: Option<(u32, u32, Receiver<io::Result<AlignedBuf>>)>,
}

struct Job {
    file: Arc<BlockFile>,
    first: u32,
    blocks: u32,
    /// To be filled, and sent back.
    buf: AlignedBuf,
    reply: Sender<io::Result<AlignedBuf>>,
}

/// Has `work` read the segments through a thread that fetches ahead.
fn reading_ahead<T>(segments: &[WalSegment], work: impl FnOnce(&mut [ReadAhead<'_>]) -> T) -> T {
    let (fetcher, jobs) = channel();
    std::thread::scope(|scope| {
        // Without it every read falls back to reading by itself.
        let _ = std::thread::Builder::new().name("log-ahead".into()).spawn_scoped(scope, move || fetch(&jobs));
        let ahead = |segment| ReadAhead { segment, fetcher: fetcher.clone(), end: 0, here: [None, None], coming: None };
        let mut readers: Vec<ReadAhead<'_>> = segments.iter().map(ahead).collect();
        let done = work(&mut readers);
        drop((readers, fetcher));
        done
    })
}

fn fetch(jobs: &Receiver<Job>) {
    while let Ok(Job { file, first, blocks, mut buf, reply }) = jobs.recv() {
        buf.resize(blocks as usize * BLOCK_BYTES);
        let result = WalSegment::read_blocks(&file, first, buf.as_mut_slice());
        // Who has gone elsewhere meanwhile does not want it.
        let _ = reply.send(result.map(|()| buf));
    }
}

impl ReadAhead<'_> {
    /// Copies what is here of the blocks from `first` on to the beginning of `into`; how many blocks that was.
    fn take(&self, first: u32, into: &mut [u8]) -> u32 {
        for (start, piece) in self.here.iter().flatten() {
            let from = (first as usize).checked_sub(*start as usize).map(|blocks| blocks * BLOCK_BYTES);
            if let Some(bytes) = from.and_then(|from| piece.as_slice().get(from..)).filter(|bytes| !bytes.is_empty()) {
                let length = bytes.len().min(into.len());
                into[..length].copy_from_slice(&bytes[..length]);
                return (length / BLOCK_BYTES) as u32;
            }
        }
        0
    }

    /// Waits for the piece on its way, if it has this block.
    fn await_piece(&mut self, block: u32) -> bool {
        let Some((start, _, answer)) =
            self.coming.take_if(|(start, length, _)| (*start..*start + *length).contains(&block))
        else {
            return false;
        };
        let Ok(Ok(piece)) = answer.recv() else { return false };
        let behind = start + (piece.len() / BLOCK_BYTES) as u32;
        let [newer, older] = std::mem::take(&mut self.here);
        self.here = [Some((start, piece)), newer];
        self.ask(behind, older.map(|(_, spare)| spare));
        true
    }

    /// Has the piece from block `first` on fetched, into the memory of one that is no longer needed.
    fn ask(&mut self, first: u32, spare: Option<AlignedBuf>) {
        let blocks = self.segment.blocks.saturating_sub(first).min((PIECE_BYTES / BLOCK_BYTES) as u32);
        let (reply, answer) = channel();
        let buf = spare.unwrap_or_else(|| AlignedBuf::with_capacity(PIECE_BYTES));
        let job = Job { file: Arc::clone(&self.segment.file), first, blocks, buf, reply };
        self.coming = (blocks > 0 && self.fetcher.send(job).is_ok()).then_some((first, blocks, answer));
    }
}

impl SegmentSource for ReadAhead<'_> {
    fn sequence(&self) -> SegmentSeq {
        self.segment.sequence
    }

    fn blocks(&self) -> u32 {
        self.segment.blocks
    }

    fn read(&mut self, first: u32, into: &mut [u8]) -> io::Result<()> {
        let end = first + (into.len() / BLOCK_BYTES) as u32;
        let goes_on = std::mem::replace(&mut self.end, end) >= first && first > 1;
        let mut at = first;
        while at < end {
            let rest = &mut into[(at - first) as usize * BLOCK_BYTES..];
            at += match self.take(at, rest) {
                0 if self.await_piece(at) => 0,
                0 => {
                    // What could not be fetched is tried once more, and fails here.
                    WalSegment::read_blocks(&self.segment.file, at, rest)?;
                    if goes_on {
                        self.ask(end, None);
                    }
                    end - at
                }
                blocks => blocks,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardware::block_file::{PreferDirect, WriteSync};

    #[test]
    fn every_read_has_the_bytes_of_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("segment");
        let blocks = (2 * PIECE_BYTES / BLOCK_BYTES) as u32 + 70;
        let mut content = AlignedBuf::zeroed(blocks as usize * BLOCK_BYTES);
        for (number, block) in content.as_mut_slice().chunks_exact_mut(BLOCK_BYTES).enumerate() {
            block.fill((number % 251) as u8);
        }
        std::fs::write(&path, []).expect("a file");
        let file = BlockFile::open(&path, PreferDirect::No).expect("opened");
        file.write_at(0, content.as_slice(), WriteSync::None).expect("written");
        let segments = [WalSegment { sequence: SegmentSeq(1), file, blocks }];
        reading_ahead(&segments, |readers| {
            let reader = &mut readers[0];
            // In order in steps that do not fit the pieces, then back, then past the end.
            let steps = (0..blocks / 64).map(|step| step * 64).chain([1, blocks - 70, 0, blocks - 80, blocks - 64]);
            for first in steps {
                let mut into = AlignedBuf::zeroed(64 * BLOCK_BYTES);
                reader.read(first, into.as_mut_slice()).expect("read");
                let from = first as usize * BLOCK_BYTES;
                assert!(into.as_slice() == &content.as_slice()[from..from + into.len()], "from block {first}");
            }
            let mut beyond = AlignedBuf::zeroed(64 * BLOCK_BYTES);
            assert!(reader.read(blocks - 1, beyond.as_mut_slice()).is_err());
        });
    }
}
