//! A thread of watching sessions: watches set, events counted and timed.

use super::recorder::latencies;
use crate::wire::reply::{EVENT, Event as WatchEvent, PING, error_name};
use crate::wire::{Frames, Session, request};
use crate::workload::WatchKind;
use anyhow::{Context, bail, ensure};
use hardware::reactor::{CoreWaker, Event, Reactor, ReactorConfig, SocketId};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(50);
/// How long a server may take to answer the requests that leave watches.
const ARM_LIMIT: Duration = Duration::from_secs(120);
/// Requests on their way per connection while watches are set.
const ARM_WINDOW: usize = 64;

/// What all herds and whoever makes the changes share.
#[derive(Debug)]
pub(crate) struct Round {
    /// The begin of time.
    pub(crate) origin: Instant,
    /// When the change of each node was sent, nanoseconds from the begin.
    pub(crate) sent_ns: Vec<AtomicU64>,
    /// Nothing more is waited for.
    pub(crate) over: AtomicBool,
}

impl Round {
    pub(crate) fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

/// What a herd is told.
pub(crate) enum Order {
    /// Leave a watch of this kind on each of these nodes, on every connection; with pings instead where they last.
    Arm(WatchKind, Arc<Vec<String>>),
    /// The same connections keep their watches: only show that they are alive.
    Ping,
    /// Count the events of one round, until it is over.
    Count(Arc<Round>),
}

/// What a herd says.
pub(crate) enum Word {
    /// How it is woken; comes first.
    Waker(Arc<CoreWaker>),
    /// Armed, or pinged.
    Ready,
    /// Every watch has fired; more is counted until the round is over.
    AllHere,
    /// The round is over.
    Counted(Box<Counts>),
    /// The herd is lost.
    Failed(anyhow::Error),
}

/// Events of one round.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// From the change's sending to each delivery.
    pub(crate) latency_ns: Histogram<u64>,
    /// First and last delivery, nanoseconds from the first change.
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    /// Watches without an event.
    pub(crate) lost: u64,
    /// Events beyond the first of a watch.
    pub(crate) doubled: u64,
}

impl Counts {
    pub(crate) fn none() -> Counts {
        Counts { latency_ns: latencies(), first_ns: u64::MAX, last_ns: 0, lost: 0, doubled: 0 }
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        // Both have the same bounds.
        let _ = self.latency_ns.add(&other.latency_ns);
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.lost += other.lost;
        self.doubled += other.doubled;
    }
}

struct Member {
    socket: SocketId,
    frames: Frames,
    next_xid: i32,
    asked: usize,
    answered: usize,
}

struct Herd {
    reactor: Reactor,
    members: Vec<Member>,
    by_slot: Vec<usize>,
    /// Events of this round, by member and node.
    seen: Vec<u8>,
    nodes: usize,
    events: Vec<Event>,
}

/// Serves orders until there are no more.
pub(crate) fn serve(sessions: Vec<Session>, orders: &Receiver<Order>, words: &Sender<Word>) {
    if let Err(error) = work(sessions, orders, words) {
        // Whoever gave the orders may have gone.
        let _ = words.send(Word::Failed(error));
    }
}

fn work(sessions: Vec<Session>, orders: &Receiver<Order>, words: &Sender<Word>) -> anyhow::Result<()> {
    let mut herd = Herd::new(sessions)?;
    words.send(Word::Waker(herd.reactor.waker())).context("nobody listens")?;
    while let Ok(order) = orders.recv() {
        let word = match order {
            Order::Arm(kind, paths) => herd.arm(kind, &paths).map(|()| Word::Ready)?,
            Order::Ping => herd.ping().map(|()| Word::Ready)?,
            Order::Count(round) => Word::Counted(Box::new(herd.count(&round, words)?)),
        };
        words.send(word).context("nobody listens")?;
    }
    herd.close()
}

impl Herd {
    fn new(sessions: Vec<Session>) -> anyhow::Result<Herd> {
        let mut reactor = Reactor::new(ReactorConfig { spin: Duration::ZERO, ..ReactorConfig::default() })?;
        let (mut members, mut by_slot) = (Vec::with_capacity(sessions.len()), Vec::new());
        for session in sessions {
            let socket = reactor.adopt(session.stream.into());
            if by_slot.len() <= socket.slot() {
                by_slot.resize(socket.slot() + 1, usize::MAX);
            }
            by_slot[socket.slot()] = members.len();
            members.push(Member { socket, frames: Frames::default(), next_xid: 1, asked: 0, answered: 0 });
        }
        Ok(Herd { reactor, members, by_slot, seen: Vec::new(), nodes: 0, events: Vec::new() })
    }

    /// One request for each of `paths` on every connection.
    fn arm(&mut self, kind: WatchKind, paths: &[String]) -> anyhow::Result<()> {
        self.nodes = paths.len();
        self.ask_all(paths.len(), false, |number, xid, out| request::watch(out, xid, kind, paths[number].as_bytes()))?;
        self.expect_events();
        Ok(())
    }

    fn ping(&mut self) -> anyhow::Result<()> {
        self.ask_all(1, true, |_, _, out| request::ping(out))?;
        self.expect_events();
        Ok(())
    }

    /// An event has no reply that its acknowledgement could go with: sent by itself, and taken in by the server's side on this
    /// thread's time, that would cost more than the event. It goes with the next request.
    fn expect_events(&mut self) {
        self.members.iter().for_each(|member| self.reactor.delay_acks(member.socket));
    }

    fn close(&mut self) -> anyhow::Result<()> {
        self.ask_all(1, false, |_, xid, out| request::close(out, xid))
    }

    /// `count` requests on every connection, which are pings or are not: replies to other pings may be on their way.
    fn ask_all(&mut self, count: usize, pings: bool, encode: impl Fn(usize, i32, &mut Vec<u8>)) -> anyhow::Result<()> {
        for member in &mut self.members {
            (member.asked, member.answered) = (0, 0);
        }
        let until = Instant::now() + ARM_LIMIT;
        let mut left = self.members.len();
        let mut wanting: Vec<usize> = (0..left).collect();
        while left > 0 {
            for index in wanting.drain(..) {
                let member = &mut self.members[index];
                let mut out = Vec::new();
                while member.asked < count && member.asked - member.answered < ARM_WINDOW {
                    encode(member.asked, member.next_xid, &mut out);
                    member.next_xid = member.next_xid.checked_add(1).unwrap_or(1);
                    member.asked += 1;
                }
                self.reactor.send(member.socket, out);
            }
            ensure!(Instant::now() < until, "the server does not answer: {left} sessions wait for replies");
            self.turn(Instant::now() + LOOK, |members, index, reply| {
                if reply.xid == EVENT || (reply.xid == PING) != pings {
                    return Ok(());
                }
                if reply.error != 0 && reply.error != engine::error_code::ErrorCode::NoNode.code() {
                    bail!("a watch cannot be left: {}", error_name(reply.error));
                }
                members[index].answered += 1;
                left -= usize::from(members[index].answered == count);
                if members[index].asked < count && members[index].asked - members[index].answered < ARM_WINDOW / 2 {
                    wanting.push(index);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn count(&mut self, round: &Round, words: &Sender<Word>) -> anyhow::Result<Counts> {
        let (nodes, wanted) = (self.nodes, self.members.len() * self.nodes);
        self.seen.clear();
        self.seen.resize(wanted, 0);
        let (mut counts, mut seen, mut fresh, mut told) = (Counts::none(), std::mem::take(&mut self.seen), 0, false);
        while !round.over.load(Ordering::Relaxed) {
            let origin = round.origin;
            let mut now_ns = 0;
            self.turn(Instant::now() + LOOK, |_, index, reply| {
                let Some(event) = (reply.xid == EVENT).then(|| WatchEvent::read(reply.body)).flatten() else {
                    return Ok(());
                };
                let node = node_of(event.path).filter(|node| *node < nodes);
                let node = node.with_context(|| format!("an event of {}", String::from_utf8_lossy(event.path)))?;
                if now_ns == 0 {
                    now_ns = origin.elapsed().as_nanos() as u64;
                }
                let times = &mut seen[index * nodes + node];
                *times = times.saturating_add(1);
                if *times == 1 {
                    let sent_ns = round.sent_ns[node].load(Ordering::Acquire);
                    counts.latency_ns.saturating_record(now_ns.saturating_sub(sent_ns).max(1));
                    counts.first_ns = counts.first_ns.min(now_ns);
                    counts.last_ns = counts.last_ns.max(now_ns);
                    fresh += 1;
                } else {
                    counts.doubled += 1;
                }
                Ok(())
            })?;
            if fresh == wanted && !told {
                told = true;
                words.send(Word::AllHere).context("nobody listens")?;
            }
        }
        counts.lost = (wanted - fresh) as u64;
        self.seen = seen;
        Ok(counts)
    }

    fn turn(
        &mut self,
        until: Instant,
        mut each: impl FnMut(&mut [Member], usize, crate::wire::Reply<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(&mut events, Some(until), || true).context("the generator's own ring failed")?;
        for event in events.drain(..) {
            match event {
                Event::Received { socket, data } => {
                    let index = self.by_slot[socket.slot()];
                    let (mut frames, mut result) = (std::mem::take(&mut self.members[index].frames), Ok(()));
                    let members = &mut self.members[..];
                    frames.replies(&data, |reply| {
                        if result.is_ok() {
                            result = each(members, index, reply);
                        }
                    });
                    self.members[index].frames = frames;
                    result?;
                }
                Event::Closed { socket, .. } => {
                    let member = &self.members[self.by_slot[socket.slot()]];
                    // After its last request was answered a session that was closed may go.
                    ensure!(
                        member.asked > 0 && member.asked == member.answered,
                        "the server closed a watching connection"
                    );
                }
                _ => {}
            }
        }
        self.events = events;
        Ok(())
    }
}

/// The number at the end of a path, or before `/c`.
fn node_of(path: &[u8]) -> Option<usize> {
    let path = path.strip_suffix(b"/c").unwrap_or(path);
    let digits = path.len() - path.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&path[digits..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_known_by_their_paths() {
        assert_eq!(node_of(b"/a/f7/n00000012"), Some(12));
        assert_eq!(node_of(b"/a/f7/n00000012/c"), Some(12));
        assert_eq!(node_of(b"/a/f7/"), None);
    }
}
