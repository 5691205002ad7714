//! The log on disk for learners that lag behind what is in memory: a thread of its own reads what the leader asks for, a
//! bounded piece at a time.
//!
//! Which batches those are is looked up on the role's core; the thread reads their blocks from files that it keeps open,
//! and checks each as recovery would. A segment that has been put to another use meanwhile is known by its identity, so a
//! piece is right or there is none.

use crate::server::mail::Mail;
use crate::server::post::deliver;
use crate::server::restore::WalSegment;
use crate::server::wal_host::WalHost;
use bytes::Bytes;
use engine::zxid::Zxid;
use hardware::mailbox::MailSender;
use replication::session::LearnerId;
use replication::wal::DirectoryId;
use replication::wal::read::{BatchPlace, ReadDamage, read_places};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use tracing::error;

/// Bytes of one piece: handing it on keeps the role's core from everything else.
const PIECE_BYTES: usize = 256 << 10;

/// What the leader wants of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogWish {
    /// For whom.
    pub learner: LearnerId,
    /// Begin behind this zxid.
    pub after: Zxid,
    /// The last one wanted.
    pub upto: Zxid,
    /// Stop after about so many bytes.
    pub bytes_max: usize,
}

/// What the thread has read.
pub struct LogPiece {
    /// For whom.
    pub learner: LearnerId,
    /// Which reading, so that one that nobody waits for any more is told apart.
    pub number: u64,
    /// The transactions, or why there are none.
    pub entries: Result<Vec<(Zxid, Bytes)>, ReadDamage>,
    /// There are no more up to what was wanted.
    pub done: bool,
}

/// What is being read, and for whom.
#[derive(Default)]
pub struct LogReads {
    jobs: Option<Sender<Job>>,
    readings: BTreeMap<LearnerId, Reading>,
    count: u64,
}

/// A learner's way through the log.
struct Reading {
    number: u64,
    /// Behind which zxid the last piece begins.
    after: Zxid,
}

struct Job {
    learner: LearnerId,
    number: u64,
    after: Zxid,
    upto: Zxid,
    places: Vec<BatchPlace>,
    done: bool,
    segments: Vec<WalSegment>,
    directory: DirectoryId,
    reply: MailSender<Mail>,
}

impl LogReads {
    /// Whether something has been read for the learner already.
    pub fn has_begun(&self, learner: LearnerId) -> bool {
        self.readings.contains_key(&learner)
    }

    /// Has the next piece read; it comes by [`Mail::LogPiece`].
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn read(&mut self, wal: &WalHost, wish: LogWish, reply: MailSender<Mail>) -> io::Result<()> {
        let LogWish { learner, after, upto, bytes_max } = wish;
        let (places, done) = wal.layout().plan_read(after, upto, bytes_max.min(PIECE_BYTES));
        let segments = wal.segments_of(&places);
        self.count += 1;
        let number = self.count;
        let job = Job { learner, number, after, upto, places, done, segments, directory: wal.directory(), reply };
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => {
                let (jobs, queue) = channel();
                std::thread::Builder::new().name("log-out".into()).spawn(move || work(&queue))?;
                self.jobs.insert(jobs)
            }
        };
        jobs.send(job).map_err(|_| io::Error::other("the thread that reads the log has ended"))?;
        self.readings.insert(learner, Reading { number, after });
        Ok(())
    }

    /// What a piece comes to for the leader: the transactions, and whether there are no more; nothing when a snapshot is
    /// to take their place. `None` if nobody waits for it.
    pub fn take(&mut self, piece: LogPiece, wal: &WalHost) -> Option<(Vec<(Zxid, Bytes)>, bool)> {
        let LogPiece { learner, number, entries, done } = piece;
        self.readings.get(&learner).filter(|reading| reading.number == number)?;
        match entries {
            Ok(entries) => {
                if done {
                    self.readings.remove(&learner);
                }
                Some((entries, done))
            }
            Err(damage) => {
                self.readings.remove(&learner);
                // A segment that has retired meanwhile is no damage.
                if wal.layout().segments().any(|segment| segment.sequence == damage.segment) {
                    error!("{damage}. A learner that lags gets a snapshot instead");
                }
                Some((Vec::new(), true))
            }
        }
    }

    /// A learner, or with `None` every learner, is gone.
    pub fn end(&mut self, whose: Option<LearnerId>) {
        self.readings.retain(|learner, _| whose.is_some_and(|whose| whose != *learner));
        if self.readings.is_empty() {
            self.jobs = None;
        }
    }

    /// Everything behind this zxid may be asked for.
    pub fn oldest(&self) -> Option<Zxid> {
        self.readings.values().map(|reading| reading.after).min()
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let Job { learner, number, after, upto, places, done, mut segments, directory, reply } = job;
        // One behind the other in one piece of memory: there are thousands of them.
        let (mut found, mut records) = (Vec::new(), Vec::with_capacity(PIECE_BYTES));
        let read = read_places(&mut segments, &places, directory, after, upto, &mut |zxid, bytes| {
            records.extend_from_slice(bytes);
            found.push((zxid, bytes.len()));
        });
        let mut records = Bytes::from(records);
        let entries = read.map(|()| found.into_iter().map(|(zxid, len)| (zxid, records.split_to(len))).collect());
        let piece = LogPiece { learner, number, entries, done };
        deliver(&reply, Mail::LogPiece(piece));
    }
}
