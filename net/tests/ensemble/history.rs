//! Clients that write numbered values under load, and the check of what they were told against what there is.
//!
//! A client has one session for all its life and moves it to another server when its connection ends. It sends its writes
//! in windows, so some are under way when a server dies. Of those a prefix may have happened, and nothing but a prefix:
//! the writes of a session keep their order. What was acknowledged must be there for ever.

use crate::cluster::{ANSWER_PATIENCE, Cluster, call_all, lasting, open};
use crate::support::record::{self, err, op};
use crate::support::session::{Hello, Session};
use crate::support::{pause, try_wait_for, wait_for};
use crate::tree::assert_equal;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes sent before the first answer is read.
const WINDOW: usize = 16;
/// Between two windows.
const WINDOW_PAUSE: Duration = Duration::from_millis(15);
/// Every so many writes one sets the counter.
const COUNTER_EVERY: u64 = 4;
/// Between two pings of a client that rests.
const PING_EVERY: Duration = Duration::from_millis(500);
/// Each load of this process has folders of its own.
static LOADS: AtomicU64 = AtomicU64::new(0);
/// The xid of pings.
const PING_XID: i32 = -2;
/// No reply to hold against the writes under way.
const SESSION_MOVED: i32 = -118;

/// The load, while it runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    rest: Arc<Rest>,
    writers: Vec<JoinHandle<Written>>,
}

/// The clients stay connected and write nothing, while their work is looked at.
#[derive(Default)]
struct Rest {
    wanted: AtomicBool,
    /// What those were told that rest already.
    written: Mutex<Vec<Written>>,
}

/// What one client was told.
#[derive(Clone)]
pub struct Written {
    folder: String,
    /// The zxid of each write, if it was acknowledged; without one it has happened all the same.
    zxids: Vec<Option<i64>>,
}

impl Load {
    /// Starts so many clients; each begins with another server.
    pub fn start(cluster: &Cluster, clients: usize) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let rest = Arc::new(Rest::default());
        let load = LOADS.fetch_add(1, Ordering::SeqCst);
        let writers = (0..clients).map(|number| {
            let mut addresses = cluster.addresses();
            let count = addresses.len();
            addresses.rotate_left(number % count);
            let (stop, acknowledged, rest) = (Arc::clone(&stop), Arc::clone(&acknowledged), Arc::clone(&rest));
            std::thread::spawn(move || {
                Writer::new(addresses, format!("/load-{load}-{number}"), acknowledged).run(&stop, &rest)
            })
        });
        let writers = writers.collect();
        Load { stop, acknowledged, rest, writers }
    }

    /// Waits until so many more writes are acknowledged.
    pub fn await_progress(&self, writes: u64) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + writes;
        wait_for("acknowledged writes", crate::cluster::PATIENCE, || {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a client has failed");
            (self.acknowledged.load(Ordering::SeqCst) >= goal).then_some(())
        });
    }

    /// Looks at what the clients were told so far, while they rest: connected, with nothing under way.
    pub fn at_rest(&self, look: impl FnOnce(&[Written])) {
        self.rest.wanted.store(true, Ordering::SeqCst);
        let written = wait_for("all clients to rest", crate::cluster::PATIENCE, || {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a client has failed");
            let mut written = self.rest.written.lock().unwrap_or_else(PoisonError::into_inner);
            (written.len() == self.writers.len()).then(|| std::mem::take(&mut *written))
        });
        look(&written);
        self.rest.wanted.store(false, Ordering::SeqCst);
    }

    /// Ends the load when all clients know what became of their writes.
    pub fn finish(mut self) -> Vec<Written> {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.writers.drain(..).map(|writer| writer.join().expect("a client has failed"));
        ended.collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

struct Writer {
    addresses: Vec<SocketAddr>,
    hello: Hello,
    folder: String,
    last_zxid: i64,
    zxids: Vec<Option<i64>>,
    /// Sent, and not known to have happened.
    outstanding: VecDeque<u64>,
    next: u64,
    acknowledged: Arc<AtomicU64>,
}

/// What a write is.
fn is_counter(number: u64) -> bool {
    number % COUNTER_EVERY == COUNTER_EVERY - 1
}

fn name(number: u64) -> String {
    format!("n{number:08}")
}

impl Writer {
    fn new(addresses: Vec<SocketAddr>, folder: String, acknowledged: Arc<AtomicU64>) -> Writer {
        Writer {
            addresses,
            hello: lasting(),
            folder,
            last_zxid: 0,
            zxids: Vec::new(),
            outstanding: VecDeque::new(),
            next: 0,
            acknowledged,
        }
    }

    fn run(mut self, stop: &AtomicBool, rest: &Rest) -> Written {
        let mut session = self.connect();
        while self.begin(&mut session).is_none() {
            session = self.connect();
        }
        loop {
            if self.outstanding.is_empty() && stop.load(Ordering::SeqCst) {
                session.try_call(op::CLOSE_SESSION, b"");
                return Written { folder: self.folder, zxids: self.zxids };
            }
            if self.outstanding.is_empty() && rest.wanted.load(Ordering::SeqCst) {
                session = self.rest(session, rest, stop);
            }
            // The trees are compared node by node in the end: the load leaves them small.
            pause(WINDOW_PAUSE);
            if self.write(&mut session).is_none() {
                session = self.connect();
                while self.settle(&mut session).is_none() {
                    session = self.connect();
                }
            }
        }
    }

    /// Keeps the session alive until the rest is over.
    fn rest(&mut self, mut session: Session, rest: &Rest, stop: &AtomicBool) -> Session {
        let written = Written { folder: self.folder.clone(), zxids: self.zxids.clone() };
        rest.written.lock().unwrap_or_else(PoisonError::into_inner).push(written);
        while rest.wanted.load(Ordering::SeqCst) && !stop.load(Ordering::SeqCst) {
            session.send_as(PING_XID, op::PING, b"");
            if session.try_reply().is_none() {
                session = self.connect();
            }
            try_wait_for(PING_EVERY, || (!rest.wanted.load(Ordering::SeqCst)).then_some(()));
        }
        session
    }

    /// The session on another server than the last one.
    fn connect(&mut self) -> Session {
        self.addresses.rotate_left(1);
        self.hello.last_zxid = self.last_zxid;
        let mut session = open(&self.addresses, &self.hello);
        session.raw.expect_to_stall(ANSWER_PATIENCE);
        assert!(self.hello.id == 0 || self.hello.id == session.id, "another session than the one asked for");
        self.hello = session.hello();
        session
    }

    /// The client's folder, with its counter.
    fn begin(&mut self, session: &mut Session) -> Option<()> {
        for path in [self.folder.clone(), format!("{}/counter", self.folder)] {
            let reply = session.try_call(op::CREATE, &record::plain(&path, b""))?;
            assert!([err::OK, err::NODE_EXISTS].contains(&reply.err), "{path}: {}", reply.err);
        }
        Some(())
    }

    fn write(&mut self, session: &mut Session) -> Option<()> {
        while self.outstanding.len() < WINDOW {
            let number = self.next;
            if is_counter(number) {
                let version = (number / COUNTER_EVERY) as i32;
                let data = number.to_string();
                let path = format!("{}/counter", self.folder);
                session.send(op::SET_DATA, &record::set_data(&path, data.as_bytes(), version));
            } else {
                let path = format!("{}/{}", self.folder, name(number));
                session.send(op::CREATE, &record::plain(&path, number.to_string().as_bytes()));
            }
            self.outstanding.push_back(number);
            self.next += 1;
        }
        for _ in 0..WINDOW {
            let reply = session.try_reply()?;
            let number = *self.outstanding.front().unwrap();
            if reply.err == SESSION_MOVED {
                return None;
            }
            assert_eq!(reply.err, err::OK, "write {number} of {}", self.folder);
            assert!(reply.zxid > self.last_zxid, "write {number}: zxid {:#x} after {:#x}", reply.zxid, self.last_zxid);
            self.last_zxid = reply.zxid;
            self.happened(Some(reply.zxid));
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        Some(())
    }

    fn happened(&mut self, zxid: Option<i64>) {
        let number = self.outstanding.pop_front().unwrap();
        assert_eq!(self.zxids.len() as u64, number);
        self.zxids.push(zxid);
    }

    /// Finds out which of the outstanding writes have happened; the others will be sent again.
    fn settle(&mut self, session: &mut Session) -> Option<()> {
        let synced = session.try_call(op::SYNC, &record::path("/"))?;
        assert_eq!(synced.err, err::OK, "sync");
        let reply = session.try_call(op::GET_CHILDREN, &record::read(&self.folder, false))?;
        assert!(reply.zxid >= self.last_zxid, "a server shows less than the session has seen");
        self.last_zxid = reply.zxid;
        let names = reply.names();
        let counter = session.try_call(op::EXISTS, &record::read(&format!("{}/counter", self.folder), false))?;
        let sets = counter.stat().version as u64;
        let is_there = |number: u64| {
            if is_counter(number) { sets > number / COUNTER_EVERY } else { names.binary_search(&name(number)).is_ok() }
        };
        let first = self.outstanding.front().copied().unwrap_or(self.next);
        if let Some(lost) = (0..first).find(|number| !is_there(*number)) {
            panic!("{}: write {lost} was seen to happen and is gone", self.folder);
        }
        while let Some(number) = self.outstanding.front().copied().filter(|number| is_there(*number)) {
            assert!(number < self.next);
            self.happened(None);
        }
        if let Some(stray) = self.outstanding.iter().find(|number| is_there(**number)) {
            panic!("{}: write {stray} has happened, and {:?} before it has not", self.folder, self.outstanding.front());
        }
        self.next = self.outstanding.front().copied().unwrap_or(self.next);
        self.outstanding.clear();
        Some(())
    }
}

/// Every server has exactly what the clients were told, in their order.
pub fn check(cluster: &Cluster, sids: &[usize], history: &[Written]) {
    for sid in sids {
        let mut session = cluster.session(*sid);
        assert_eq!(session.call(op::SYNC, &record::path("/")).err, err::OK);
        for Written { folder, zxids } in history {
            let numbers = 0..zxids.len() as u64;
            let mut expected: Vec<String> = numbers.clone().filter(|number| !is_counter(*number)).map(name).collect();
            expected.insert(0, "counter".to_owned());
            assert_eq!(session.children(folder), expected, "{folder} on server {sid}");
            let created: Vec<u64> = numbers.clone().filter(|number| !is_counter(*number)).collect();
            let reads: Vec<(i32, Vec<u8>)> = created
                .iter()
                .map(|number| (op::GET_DATA, record::read(&format!("{folder}/{}", name(*number)), false)))
                .collect();
            let mut last = 0;
            for (number, reply) in created.into_iter().zip(call_all(&mut session, &reads)) {
                let (data, stat) = reply.data();
                assert_eq!(data, Some(number.to_string().into_bytes()), "{folder} {number} on server {sid}");
                assert_eq!((stat.version, stat.czxid > last), (0, true), "{folder} {number} on server {sid}");
                last = stat.czxid;
                if let Some(zxid) = zxids[number as usize] {
                    assert_eq!(stat.czxid, zxid, "zxid of write {number} of {folder} on server {sid}");
                }
            }
            let sets: Vec<u64> = numbers.filter(|number| is_counter(*number)).collect();
            let (data, stat) = session.get(&format!("{folder}/counter"));
            assert_eq!(stat.version as usize, sets.len(), "{folder}: versions on server {sid}");
            let text = sets.last().map(u64::to_string).unwrap_or_default();
            assert_eq!(data, Some(text.into_bytes()), "{folder}: counter on server {sid}");
        }
        session.close();
    }
}

/// Ends the load: these servers have all that was acknowledged, show the same, and nobody is the worse for it.
pub fn conclude(cluster: &mut Cluster, sids: &[usize], load: Load) {
    check(cluster, sids, &load.finish());
    assert_equal(cluster, sids);
    cluster.check_health();
}

/// How many writes have happened.
pub fn total(history: &[Written]) -> usize {
    history.iter().map(|written| written.zxids.len()).sum()
}
