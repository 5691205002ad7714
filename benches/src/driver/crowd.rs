//! Many sessions that do nothing but live: pinged, counted, cut off, attached again.

use crate::stop::Stop;
use crate::wire::session::{Ask, Expired, open_each, ping_every};
use crate::wire::{Session, open_many, request};
use anyhow::Context;
use hardware::reactor::{CloseHow, Event, Reactor, ReactorConfig, SocketId};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(50);
/// Sessions opened before those that are there are looked after.
const CHUNK: usize = 200;
/// Threads that a storm comes from, and sessions that each asks for at a time.
const STORM_THREADS: usize = 8;
const STORM_BATCH: usize = 50;
const STORM_PAUSE: Duration = Duration::from_millis(20);

/// Sessions held by one thread.
pub(crate) struct Crowd {
    reactor: Reactor,
    members: Vec<Member>,
    events: Vec<Event>,
    ping_every: Duration,
    pinged: Instant,
    /// Connections that the server ended.
    pub(crate) lost: u64,
}

struct Member {
    ask: Ask,
    socket: SocketId,
}

/// A storm's end.
pub(crate) struct Storm {
    /// When each session was attached again, from the begin of the storm; those that were.
    pub(crate) attached: Vec<Duration>,
    /// Sessions that the server no longer knew.
    pub(crate) expired: u64,
    /// Sessions that could not be attached in time, and why.
    pub(crate) failed: u64,
    pub(crate) last_error: Option<String>,
}

impl Crowd {
    /// Opens sessions and goes on holding them. `progress` hears how many there are.
    pub(crate) fn open(asks: &[Ask], stop: &Stop, mut progress: impl FnMut(usize)) -> anyhow::Result<Crowd> {
        let reactor = Reactor::new(ReactorConfig { spin: Duration::ZERO, ..ReactorConfig::default() })?;
        let ping_every = asks.first().map_or(Duration::from_secs(1), |ask| ask.timeout / 3);
        let mut crowd =
            Crowd { reactor, members: Vec::new(), events: Vec::new(), ping_every, pinged: Instant::now(), lost: 0 };
        for chunk in asks.chunks(CHUNK) {
            let before = crowd.members.len();
            let sessions = open_many(chunk, |open| {
                progress(before + open);
                stop.check()
            })?;
            chunk.iter().zip(sessions).for_each(|(ask, session)| crowd.adopt(ask, session));
            crowd.hold(Duration::ZERO, stop)?;
        }
        Ok(crowd)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    fn adopt(&mut self, ask: &Ask, session: Session) {
        // What was granted may be less than what was asked for.
        self.ping_every = self.ping_every.min(ping_every(session.timeout_ms));
        let ask = Ask { again: Some((session.id, session.password)), ..ask.clone() };
        self.members.push(Member { ask, socket: self.reactor.adopt(session.stream.into()) });
    }

    /// Keeps everybody alive for so long.
    pub(crate) fn hold(&mut self, time: Duration, stop: &Stop) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            if self.pinged.elapsed() >= self.ping_every {
                self.pinged = Instant::now();
                for member in &self.members {
                    let mut out = Vec::with_capacity(12);
                    request::ping(&mut out);
                    self.reactor.send(member.socket, out);
                }
            }
            let now = Instant::now();
            self.turn(until.min(now + LOOK))?;
            if Instant::now() >= until || stop.is_set() {
                return Ok(());
            }
        }
    }

    fn turn(&mut self, until: Instant) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.reactor.turn(&mut events, Some(until), || true).context("the generator's own ring failed")?;
        for event in events.drain(..) {
            if let Event::Closed { socket, .. } = event {
                self.lost += 1;
                self.reactor.close(socket, CloseHow::Now);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Cuts all connections at once, leaving the sessions behind, and returns how to attach to them again.
    pub(crate) fn cut(mut self) -> anyhow::Result<Vec<Ask>> {
        for member in &self.members {
            self.reactor.close(member.socket, CloseHow::Reset);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while self.reactor.sockets() > 0 && Instant::now() < until {
            self.turn(Instant::now() + LOOK)?;
        }
        Ok(self.members.into_iter().map(|member| member.ask).collect())
    }

    /// Closes all sessions.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        for member in &self.members {
            let mut out = Vec::with_capacity(12);
            request::close(&mut out, 1);
            self.reactor.send(member.socket, out);
        }
        let (until, gone) = (Instant::now() + Duration::from_secs(30), self.lost);
        let all = gone + self.members.len() as u64;
        while self.lost < all && self.reactor.sockets() > 0 && Instant::now() < until {
            self.turn(Instant::now() + LOOK)?;
        }
        Ok(())
    }

    /// Attaches to all these sessions at once, and again where that fails, until `limit`. Those that were attached come
    /// back as a crowd.
    pub(crate) fn storm(asks: &[Ask], begun: Instant, limit: Duration, stop: &Stop) -> anyhow::Result<(Crowd, Storm)> {
        let until = begun + limit;
        let share = asks.len().div_ceil(STORM_THREADS).max(1);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                asks.chunks(share).map(|asks| scope.spawn(move || attach_all(asks, begun, until, stop))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut crowd = Crowd::open(&[], stop, |_| {})?;
        crowd.ping_every = asks.first().map_or(crowd.ping_every, |ask| ask.timeout / 3);
        let mut storm = Storm { attached: Vec::new(), expired: 0, failed: 0, last_error: None };
        for attached in results {
            for (ask, session, after) in attached.sessions {
                crowd.adopt(&ask, session);
                storm.attached.push(after);
            }
            storm.expired += attached.expired;
            storm.failed += attached.failed;
            storm.last_error = storm.last_error.or(attached.last_error);
        }
        storm.attached.sort_unstable();
        Ok((crowd, storm))
    }
}

#[derive(Default)]
struct Attached {
    sessions: Vec<(Ask, Session, Duration)>,
    expired: u64,
    failed: u64,
    last_error: Option<String>,
}

fn attach_all(asks: &[Ask], begun: Instant, until: Instant, stop: &Stop) -> Attached {
    let mut attached = Attached::default();
    let mut pinged = Instant::now();
    for batch in asks.chunks(STORM_BATCH) {
        let mut left: Vec<Ask> = batch.to_vec();
        while !left.is_empty() {
            if Instant::now() >= until || stop.is_set() {
                attached.failed += left.len() as u64;
                break;
            }
            if attached.sessions.first().is_some_and(|(_, first, _)| pinged.elapsed() > ping_every(first.timeout_ms)) {
                pinged = Instant::now();
                // One that has ended shows when it is used.
                attached.sessions.iter_mut().for_each(|(_, session, _)| drop(session.ping()));
            }
            let mut refused = Vec::new();
            for (ask, session) in left.iter().zip(open_each(&left)) {
                match session {
                    Ok(session) => attached.sessions.push((ask.clone(), session, begun.elapsed())),
                    Err(error) if error.downcast_ref::<Expired>().is_some() => attached.expired += 1,
                    Err(error) => {
                        attached.last_error = Some(format!("{error:#}"));
                        refused.push(ask.clone());
                    }
                }
            }
            if refused.len() == left.len() {
                std::thread::sleep(STORM_PAUSE);
            }
            left = refused;
        }
    }
    attached
}
