//! Many requests that are only to be done: making keys, filling, listing and removing.

use crate::stop::Stop;
use crate::wire::reply::{EVENT, PING};
use crate::wire::session::{Ask, open_many};
use crate::wire::{Frames, request};
use crate::workload::Servers;
use anyhow::{Context, bail, ensure};
use hardware::reactor::{CloseHow, Event, Reactor, ReactorConfig, SocketId};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A server that answers nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

/// Sessions that work on a list of requests together.
pub struct Bulk {
    reactor: Reactor,
    conns: Vec<Conn>,
    outstanding: usize,
    /// Connections end when they have been answered.
    closing: bool,
    stop: Stop,
}

struct Conn {
    socket: SocketId,
    frames: Frames,
    sent: VecDeque<(u64, Instant)>,
    out: Vec<u8>,
    next_xid: i32,
}

/// A reply to one request of the list.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The request's place in the list.
    pub number: u64,
    /// 0, or an error.
    pub error: i32,
    /// What follows the header.
    pub body: &'a [u8],
    /// From sending to reply.
    pub took: Duration,
}

impl Bulk {
    /// Opens so many sessions on the servers in turn, each with so many requests unanswered at most.
    ///
    /// # Errors
    /// A server cannot be reached, or the machine refuses something.
    pub fn open(servers: &Servers, connections: u32, outstanding: u32, stop: &Stop) -> anyhow::Result<Bulk> {
        let addresses = servers.addresses();
        let asks: Vec<Ask> = (0..connections as usize)
            .map(|number| Ask::new(addresses[number % addresses.len()], SESSION_TIMEOUT))
            .collect();
        let mut reactor = Reactor::new(ReactorConfig { spin: Duration::ZERO, ..ReactorConfig::default() })?;
        let sessions = open_many(&asks, |_| stop.check())?;
        let conns = sessions.into_iter().map(|session| Conn {
            socket: reactor.adopt(session.stream.into()),
            frames: Frames::default(),
            sent: VecDeque::new(),
            out: Vec::new(),
            next_xid: 1,
        });
        let conns = conns.collect();
        Ok(Bulk { conns, reactor, outstanding: outstanding as usize, closing: false, stop: stop.clone() })
    }

    /// The usual number of sessions for work that is not measured.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn usual(servers: &Servers, stop: &Stop) -> anyhow::Result<Bulk> {
        Bulk::open(servers, 8, 64, stop)
    }

    /// Shows the servers that the sessions are alive, where nothing else is asked for a while.
    ///
    /// # Errors
    /// The machine's ring failed.
    pub fn ping(&mut self) -> anyhow::Result<()> {
        for conn in &self.conns {
            let mut out = Vec::with_capacity(12);
            request::ping(&mut out);
            self.reactor.send(conn.socket, out);
        }
        let mut events = Vec::new();
        self.reactor.turn(&mut events, Some(Instant::now()), || true)?;
        for event in events {
            if let Event::Received { socket, data } = event {
                self.received(socket, &data, &mut |_| Ok(()))?;
            }
        }
        Ok(())
    }

    /// Sends requests `0..count`, which `encode` appends (given number and xid), and passes on every answer.
    ///
    /// # Errors
    /// A connection ends, the server falls silent, `each` finds fault, or the work was stopped.
    pub fn all(
        &mut self,
        count: u64,
        mut encode: impl FnMut(u64, i32, &mut Vec<u8>),
        mut each: impl FnMut(Answer<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut next, mut answered, mut heard) = (0, 0, Instant::now());
        let mut events = Vec::new();
        while answered < count {
            self.stop.check()?;
            for conn in &mut self.conns {
                while next < count && conn.sent.len() < self.outstanding {
                    encode(next, conn.next_xid, &mut conn.out);
                    conn.next_xid = conn.next_xid.checked_add(1).unwrap_or(1);
                    conn.sent.push_back((next, Instant::now()));
                    next += 1;
                }
                if !conn.out.is_empty() {
                    self.reactor.send(conn.socket, std::mem::take(&mut conn.out));
                }
            }
            self.reactor.turn(&mut events, Some(Instant::now() + LOOK), || true)?;
            for event in events.drain(..) {
                match event {
                    Event::Received { socket, data } => {
                        heard = Instant::now();
                        answered += self.received(socket, &data, &mut each)?;
                    }
                    Event::Closed { .. } if self.closing => {}
                    Event::Closed { error, .. } => {
                        let why = error.map_or("it closed the connection".to_owned(), |error| error.to_string());
                        bail!("the server went away: {why}");
                    }
                    _ => {}
                }
            }
            ensure!(heard.elapsed() < SILENCE_MAX, "the server has not answered for {} s", SILENCE_MAX.as_secs());
        }
        Ok(())
    }

    fn received(
        &mut self,
        socket: SocketId,
        bytes: &[u8],
        each: &mut impl FnMut(Answer<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let conn =
            self.conns.iter_mut().find(|conn| conn.socket == socket).context("bytes from a closed connection")?;
        let (mut count, mut result) = (0, Ok(()));
        let sent = &mut conn.sent;
        conn.frames.replies(bytes, |reply| {
            if reply.xid == EVENT || reply.xid == PING || result.is_err() {
                return;
            }
            result = match sent.pop_front() {
                Some((number, at)) => each(Answer { number, error: reply.error, body: reply.body, took: at.elapsed() }),
                None => Err(anyhow::anyhow!("a reply that nobody asked for: xid {}", reply.xid)),
            };
            count += 1;
        });
        result.map(|()| count)
    }

    /// Closes the sessions.
    ///
    /// # Errors
    /// A server has gone; its sessions expire by themselves.
    pub fn close(mut self) -> anyhow::Result<()> {
        let count = self.conns.len() as u64;
        (self.outstanding, self.closing, self.stop) = (1, true, Stop::default());
        let closed = self.all(count, |_, xid, out| request::close(out, xid), |_| Ok(()));
        for conn in &self.conns {
            self.reactor.close(conn.socket, CloseHow::Now);
        }
        closed
    }
}
