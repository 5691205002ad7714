//! Direct transfers for the streams: requests to the one thread of the process that has glommio, and its answers.
//!
//! A stream's own thread asks and waits. If an answer does not come within [`STALL`] the stream goes on with plain calls
//! by itself, and so do others until the thread has been heard of again: what glommio does can slow a stream down but
//! never stop it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::glommio_io;
use super::inbox::Inbox;

/// How long a stream waits for an answer; far beyond what a disk takes for [`super::stream::STEP_BYTES`].
const STALL: Duration = Duration::from_secs(20);
/// How often a waiting stream looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// Names an open file in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What the thread is asked for. Offsets and lengths are whole blocks.
#[derive(Debug)]
pub(super) enum Request {
    Open { file: Arc<File>, id: FileId, access: Access, reply: mpsc::Sender<Answer> },
    Read { id: FileId, offset: u64, len: usize, reply: mpsc::Sender<Answer> },
    Write { id: FileId, offset: u64, bytes: Arc<Vec<u8>>, reply: mpsc::Sender<Answer> },
    Close { id: FileId },
}

/// The end of one transfer; `result` has the bytes of a read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) offset: u64,
    pub(super) result: io::Result<Vec<u8>>,
}

/// Why a transfer gave nothing.
#[derive(Debug)]
pub(super) enum Loss {
    /// Direct I/O does not work (any more): go on with plain calls.
    GoPlain,
    /// The stream fails.
    Failed(io::Error),
}

/// Requests on their way to the thread. Bounded by what streams have in flight.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    /// The thread is gone.
    ended: bool,
    /// A stream waited for an answer in vain, and the thread has taken no request since.
    stalled: bool,
}

impl Queue {
    /// For the thread: what has been asked for, after waiting at most `patience` for it.
    pub(super) fn take(&self, patience: Duration) -> VecDeque<Request> {
        let mut state = self.lock();
        if state.requests.is_empty() && !patience.is_zero() {
            state = self.arrived.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stalled = false;
        std::mem::take(&mut state.requests)
    }

    /// For the thread: nothing is answered any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.requests.clear();
        drop(state);
        tracing::error!("the thread of direct transfers has failed; streams go on through the page cache");
    }

    fn push(&self, request: Request) -> Result<(), Loss> {
        let mut state = self.lock();
        if state.ended {
            return Err(Loss::GoPlain);
        }
        state.requests.push_back(request);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    fn usable(&self) -> bool {
        let state = self.lock();
        !state.ended && !state.stalled
    }

    fn stalled(&self) {
        let mut state = self.lock();
        if !state.stalled && !state.ended {
            tracing::warn!(
                seconds = STALL.as_secs(),
                "no answer to a direct transfer; going on through the page cache"
            );
        }
        state.stalled = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the thread; clones lead to the same one.
#[derive(Debug, Clone)]
pub(super) struct Direct {
    queue: Arc<Queue>,
    stall: Duration,
}

impl Direct {
    /// The process's thread, started at first use.
    ///
    /// # Errors
    /// When glommio cannot start; the next call tries again.
    pub(super) fn of_process() -> io::Result<Direct> {
        static STARTED: Mutex<Option<Direct>> = Mutex::new(None);
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(direct) = &*started {
            return Ok(direct.clone());
        }
        let queue = Arc::new(Queue::default());
        glommio_io::start(&queue)?;
        Ok(started.insert(Direct { queue, stall: STALL }).clone())
    }

    /// Opens `file` again for direct transfers; `None` when it has to be plain ones.
    pub(super) fn open(&self, file: &Arc<File>, access: Access, inbox: &Inbox) -> Option<DirectFile> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !self.queue.usable() {
            return None;
        }
        let (reply, answers) = mpsc::channel();
        let id = FileId(NEXT.fetch_add(1, Ordering::Relaxed));
        let opened = DirectFile { direct: self.clone(), id, reply, answers };
        let reply = opened.reply.clone();
        self.queue.push(Request::Open { file: Arc::clone(file), id, access, reply }).ok()?;
        let answer = opened.answer(inbox).ok()?;
        match answer.result {
            Ok(_) => Some(opened),
            Err(error) => {
                tracing::debug!(%error, "no direct I/O on a file");
                None
            }
        }
    }
}

/// A file open for direct transfers; closed when dropped and the transfers under way have ended.
#[derive(Debug)]
pub(super) struct DirectFile {
    direct: Direct,
    id: FileId,
    reply: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl DirectFile {
    /// Asks for the bytes of whole blocks.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<(), Loss> {
        self.direct.queue.push(Request::Read { id: self.id, offset, len, reply: self.reply.clone() })
    }

    /// Asks for whole blocks to be written.
    pub(super) fn write(&self, offset: u64, bytes: Arc<Vec<u8>>) -> Result<(), Loss> {
        self.direct.queue.push(Request::Write { id: self.id, offset, bytes, reply: self.reply.clone() })
    }

    /// The next transfer that ended, whichever; only while one is under way.
    ///
    /// # Errors
    /// [`Loss::GoPlain`] when none ends in time, [`Loss::Failed`] when the executor is shutting down.
    pub(super) fn answer(&self, inbox: &Inbox) -> Result<Answer, Loss> {
        let asked = Instant::now();
        loop {
            match self.answers.recv_timeout(GLANCE.min(self.direct.stall)) {
                Ok(answer) => return Ok(answer),
                Err(_) if inbox.is_cancelling() => return Err(Loss::Failed(super::cancelled())),
                Err(_) if asked.elapsed() >= self.direct.stall || !self.direct.queue.usable() => {
                    self.direct.queue.stalled();
                    return Err(Loss::GoPlain);
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for DirectFile {
    fn drop(&mut self) {
        // Where the thread is gone its files stay open; they are few.
        let _ = self.direct.queue.push(Request::Close { id: self.id });
    }
}

/// Whether the file system or device refuses direct transfers, rather than this one having failed.
pub(super) fn refuses_direct(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::super::stream::{STEP_BYTES, read_stream, write_stream};
    use super::super::{Shutdown, StorageOutcome};
    use super::*;

    /// Some steps and a ragged end.
    const LEN: usize = 6 * STEP_BYTES + 777;

    fn content() -> Vec<u8> {
        (0..LEN as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 16) as u8).collect()
    }

    /// Answers `count` requests, of those that come together the last first, and then no more.
    fn serve(queue: &Queue, mut count: usize, refuse: bool) -> HashMap<FileId, Arc<File>> {
        let mut files = HashMap::new();
        while count > 0 {
            let mut requests: Vec<_> = queue.take(Duration::from_millis(1)).into_iter().collect();
            if !matches!(requests.first(), Some(Request::Open { .. })) {
                requests.reverse();
            }
            for request in requests {
                if count == 0 {
                    queue.lock().requests.push_back(request);
                    continue;
                }
                count -= 1;
                match request {
                    Request::Open { file, id, reply, .. } => {
                        files.insert(id, file);
                        let _ = reply.send(Answer { offset: 0, result: Ok(Vec::new()) });
                    }
                    Request::Read { reply, offset, .. } | Request::Write { reply, offset, .. } if refuse => {
                        let result = Err(io::Error::from_raw_os_error(libc::EINVAL));
                        let _ = reply.send(Answer { offset, result });
                    }
                    Request::Read { id, offset, len, reply } => {
                        let mut bytes = vec![0; len];
                        let result = files[&id].read_at(&mut bytes, offset).map(|got| bytes[..got].to_vec());
                        let _ = reply.send(Answer { offset, result });
                    }
                    Request::Write { id, offset, bytes, reply } => {
                        let result = files[&id].write_all_at(&bytes, offset).map(|()| Vec::new());
                        let _ = reply.send(Answer { offset, result });
                    }
                    Request::Close { .. } => return files,
                }
            }
        }
        files
    }

    /// Runs `stream` beside a thread that falls silent after `count` requests, and does the writes left to it when the
    /// stream has ended.
    fn beside(count: usize, refuse: bool, stream: impl FnOnce(&Direct)) {
        let direct = Direct { queue: Arc::default(), stall: Duration::from_millis(30) };
        let files = std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&direct.queue, count, refuse));
            stream(&direct);
            // Ends it also if fewer requests came.
            direct.queue.push(Request::Close { id: FileId(u64::MAX) }).unwrap();
            server.join().unwrap()
        });
        for request in direct.queue.take(Duration::ZERO) {
            if let Request::Write { id, offset, bytes, .. } = request
                && let Some(file) = files.get(&id)
            {
                file.write_all_at(&bytes, offset).unwrap();
            }
        }
    }

    fn read_all(path: &Path, direct: &Direct) -> Vec<u8> {
        let mut got = Vec::new();
        let mut each = |offset: u64, bytes: &[u8]| {
            assert_eq!(offset, 5 + got.len() as u64);
            got.extend_from_slice(bytes);
            true
        };
        let inbox = Inbox::new(1);
        let StorageOutcome::Streamed(count) =
            read_stream(path, (5, u64::MAX), 10_000, &mut each, Some(direct), &inbox).unwrap()
        else {
            panic!()
        };
        assert_eq!(count, got.len() as u64);
        got
    }

    fn write_all(path: &Path, content: &[u8], direct: &Direct) {
        let mut pieces = content.chunks(100_000);
        let mut source = |into: &mut Vec<u8>| {
            let piece = pieces.next();
            into.extend_from_slice(piece.unwrap_or_default());
            piece.is_some()
        };
        write_stream(path, &mut source, Some(direct), &Inbox::new(1)).unwrap();
    }

    #[test]
    fn streams_go_on_alone_when_answers_stay_away_or_refuse() {
        let place = tempfile::tempdir().unwrap();
        let content = content();
        for refuse in [false, true] {
            for count in 0..12 {
                let path = place.path().join(format!("f{count}"));
                beside(count, refuse, |direct| write_all(&path, &content, direct));
                // Also after the writes that came late.
                assert!(std::fs::read(&path).unwrap() == content, "{count} {refuse}");
                beside(count, refuse, |direct| assert!(read_all(&path, direct) == content[5..], "{count} {refuse}"));
            }
        }
    }

    #[test]
    fn a_thread_that_does_not_answer_is_left_alone_until_it_is_heard_of() {
        let place = tempfile::tempdir().unwrap();
        let file = Arc::new(File::create(place.path().join("f")).unwrap());
        let direct = Direct { queue: Arc::default(), stall: Duration::from_millis(1) };
        let inbox = Inbox::new(1);
        assert!(direct.open(&file, Access::Read, &inbox).is_none());
        assert!(!direct.queue.usable());
        assert!(direct.open(&file, Access::Read, &inbox).is_none());
        // Asked and told that it is over with, and not asked the second time.
        assert_eq!(direct.queue.take(Duration::ZERO).len(), 2);
        assert!(direct.queue.usable());
        direct.queue.end();
        assert!(direct.open(&file, Access::Read, &inbox).is_none());
        assert!(direct.queue.take(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_stream_that_waits_can_be_cancelled() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("f");
        std::fs::write(&path, content()).unwrap();
        let direct = Direct { queue: Arc::default(), stall: Duration::MAX };
        let inbox = Inbox::new(1);
        inbox.close(Shutdown::Cancel);
        let error = read_stream(&path, (0, u64::MAX), 1, &mut |_, _| true, Some(&direct), &inbox).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
