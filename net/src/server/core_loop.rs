//! The loop of one core: take in what happened, let the state machines step, move the view, send.
//!
//! One turn:
//! 1. wait for completions, mail or a deadline ([`Reactor::turn`]);
//! 2. give received bytes to connections, and ended writes to the logs;
//! 3. *settle*: read the marks, drain the mail, step the view, and again until nothing moves;
//! 4. hand the gathered transactions to the log, the output to the sockets. Where very many connections have something to
//!    say, both happen in portions while the view still steps.
//!
//! Between a shard's applying a transaction and the core's stepping past it no connection does anything: answers are
//! only noted, and what makes a connection act waits until the view has stepped. So a read never sees more than the
//! events that have been put before it.

mod connections;
mod failure;
mod mail;
mod peers;
mod views;

pub use failure::CoreFailure;

use super::admission::Admission;
use super::clients::Clients;
use super::clock::Clock;
use super::context::Context;
use super::mail::{ClientMail, Mail};
use super::marks::Marks;
use super::parts::Parts;
use super::post::Post;
use super::role_host::{RoleHost, Seat};
use super::segments::LOG_TOKEN;
use super::shard_host::ShardHost;
use super::survey::Surveys;
use super::view::View;
use super::wal_host::WalHost;
use crate::connection::Serving;
use crate::metrics::{CoreMetrics, Counter};
use engine::acl::AclTable;
use engine::ids::{ConnId, CoreId, SessionId};
use engine::shard::EventBatch;
use hardware::mailbox::MailReceiver;
use hardware::reactor::{CloseHow, Event, ListenerId, Reactor, SocketId};
use replication::node::Era;
use replication::role::Input;
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// How long sessions that were heard of may wait until the role is told: well below any session timeout.
const TOUCH_EVERY_MS: i64 = 50;
/// Passes of settling in one turn; what still moves then goes on in the next.
const SETTLE_PASSES_MAX: usize = 64;

/// What a core is made of.
pub struct CoreParts {
    /// Its number.
    pub id: CoreId,
    /// What every core knows.
    pub context: Arc<Context>,
    /// The marks of the server.
    pub marks: Arc<Marks>,
    /// The limits of the server.
    pub admission: Arc<Admission>,
    /// The clocks.
    pub clock: Clock,
    /// Where clients arrive.
    pub listener: Option<TcpListener>,
    /// The shard that lives here.
    pub shard: Option<ShardHost>,
    /// The replication role and its log, if they live here.
    pub role: Option<(Seat, WalHost)>,
    /// The interned ACLs.
    pub acls: AclTable,
}

/// One core.
pub struct Core {
    pub(super) context: Arc<Context>,
    marks: Arc<Marks>,
    clock: Clock,
    reactor: Reactor,
    inbox: MailReceiver<Mail>,
    pub(super) parts: Parts,
    pub(super) clients: Clients,
    by_socket: Vec<Option<(SocketId, ConnId)>>,
    listener: Option<TcpListener>,
    listening: Option<ListenerId>,
    /// Connections with something to send, or whose fate may have changed.
    dirty: Vec<ConnId>,
    /// Connections that the view may have to step.
    stepping: Vec<ConnId>,
    /// Connections that stopped decoding for want of room elsewhere.
    stalled: VecDeque<ConnId>,
    /// Events by shard, in order of zxid, that the view has not reached.
    events: Vec<VecDeque<EventBatch>>,
    /// Mail that makes connections act, until the view has stepped.
    acting: Vec<ClientMail>,
    /// Connections without a session, oldest first, with the time when they are given up.
    sessionless: VecDeque<(i64, ConnId)>,
    /// Closing connections, oldest first, with the time when they are cut off.
    lingering: VecDeque<(i64, ConnId)>,
    pub(super) surveys: Surveys,
    spare: Vec<Vec<u8>>,
    told_touches_ms: i64,
    stopping: Option<Stopping>,
    /// The replication role has ended: nobody here has anything to wait for.
    role_done: bool,
    mail: Vec<Mail>,
}

/// How far a shutdown has come.
struct Stopping {
    give_up: Instant,
    checkpoint_asked: bool,
}

impl Core {
    /// Puts a core together, on its own thread.
    pub fn new(parts: CoreParts, reactor: Reactor, post: Post, inbox: MailReceiver<Mail>) -> Core {
        let CoreParts { id, context, marks, admission, clock, listener, shard, role, acls } = parts;
        let role = role.map(|(seat, wal)| RoleHost::new(seat, wal, &context, Arc::clone(&marks)));
        let shards = usize::from(context.topology.shards());
        let parts = Parts {
            id,
            topology: Arc::clone(&context.topology),
            post,
            acls,
            shard,
            role,
            view: View::new(id, Arc::clone(&marks)),
            now: clock.now(),
            admission,
            metrics: CoreMetrics::new(),
            touched: Vec::new(),
            serving: if context.config.ensemble.is_distributed() { Serving::No } else { Serving::ReadWrite },
            era: Era::default(),
            outstanding: 0,
            outstanding_max: context.config.local.throttle.global_outstanding_limit as usize,
            dice: u64::from(id.0) ^ 0x9E37_79B9_7F4A_7C15,
        };
        Core {
            context,
            marks,
            clock,
            reactor,
            inbox,
            parts,
            clients: Clients::default(),
            by_socket: Vec::new(),
            listener,
            listening: None,
            dirty: Vec::new(),
            stepping: Vec::new(),
            stalled: VecDeque::new(),
            events: (0..shards).map(|_| VecDeque::new()).collect(),
            acting: Vec::new(),
            sessionless: VecDeque::new(),
            lingering: VecDeque::new(),
            surveys: Surveys::default(),
            spare: Vec::new(),
            told_touches_ms: 0,
            stopping: None,
            role_done: false,
            mail: Vec::new(),
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// Why the server cannot go on: the disk, the ring, or another core.
    pub fn run(mut self) -> Result<(), CoreFailure> {
        if let Some(role) = &mut self.parts.role {
            role.serve(self.clock.now(), &mut self.reactor, &mut self.parts.post)?;
        }
        if let Some(listener) = self.listener.take() {
            self.listening = Some(self.reactor.listen(listener).map_err(|problem| format!("listening: {problem}"))?);
        }
        let mut events = Vec::new();
        loop {
            self.end_of_turn()?;
            if self.has_stopped() {
                return Ok(());
            }
            let until = self.next_deadline();
            self.turn(&mut events, until).map_err(|problem| format!("the ring of a core failed: {problem}"))?;
            self.parts.now = self.clock.now();
            self.context.residency.set(self.parts.now.mono_ms);
            if let Some(passed) = self.parts.view.wake() {
                self.settle_to(passed)?;
            }
            for event in events.drain(..) {
                self.take(event)?;
            }
            self.settle()?;
            self.look_after_time();
        }
    }

    fn turn(&mut self, events: &mut Vec<Event>, until: Option<Instant>) -> io::Result<()> {
        let waits = self.waits_for_view();
        let (inbox, post, marks, view) = (&self.inbox, &self.parts.post, &self.marks, self.parts.view.now());
        let rests = !waits && inbox.is_empty() && !post.has_own();
        self.marks.set_waiting(self.parts.id, waits);
        if rests {
            self.parts.view.rest();
        }
        let idle = || inbox.is_empty() && !post.has_own() && !(waits && marks.passed_by_all() > view);
        let ended = self.reactor.turn(events, until, idle);
        self.marks.set_waiting(self.parts.id, false);
        ended
    }

    fn next_deadline(&self) -> Option<Instant> {
        let mono = |ms: i64| self.clock.instant(ms);
        let has_work = self.parts.shard.as_ref().is_some_and(ShardHost::has_work) || self.parts.post.is_congested();
        let candidates = [
            has_work.then(Instant::now),
            self.parts.role.as_ref().and_then(RoleHost::next_deadline).map(mono),
            self.parts.role.as_ref().and_then(|role| role.wal.next_deadline()),
            (!self.parts.touched.is_empty()).then(|| mono(self.told_touches_ms + TOUCH_EVERY_MS)),
            self.sessionless.front().map(|(at, _)| mono(*at)),
            self.lingering.front().map(|(at, _)| mono(*at)),
            self.next_look_at_throttled().map(mono),
            self.stopping.as_ref().map(|_| Instant::now() + Duration::from_millis(20)),
        ];
        candidates.into_iter().flatten().min()
    }

    /// Requests in process on other cores end without a word to this one: those that wait for them here look again.
    fn next_look_at_throttled(&self) -> Option<i64> {
        let throttle = &self.context.config.local.throttle;
        let waits = throttle.request_max > 0 && !self.stalled.is_empty();
        waits.then(|| self.parts.now.mono_ms.saturating_add(i64::from(throttle.stall_time_ms)))
    }

    // ---- what the ring reports ----

    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Accepted { listener, fd, .. } if Some(listener) != self.listening => {
                self.accept_peer(listener, fd);
            }
            Event::Accepted { fd, peer, .. } => self.accept(fd, peer),
            Event::AcceptFailed { error, .. } => {
                warn!("accepting a connection failed: {error}; if files are out, raise the limit (ulimit -n)");
            }
            Event::Received { socket, data } if self.id_of(socket).is_none() => self.hear_peer(socket, &data),
            Event::Received { socket, data } => {
                self.with_client(socket, |client, parts| client.connection.receive(parts, &data));
                // A word is taken up at once: its asker may end its side of the connection right behind it.
                if let Some(id) = self.id_of(socket)
                    && self.clients.get_mut(id).is_some_and(|client| client.connection.word().is_some())
                {
                    self.look_after(id);
                }
            }
            Event::Closed { socket, .. } if self.id_of(socket).is_none() => self.peer_closed(socket),
            Event::Closed { socket, error } => self.closed(socket, error),
            Event::Sent { socket, .. } if self.id_of(socket).is_none() => self.sent_to_peer(socket),
            Event::Sent { socket, buf, .. } => self.sent(socket, buf),
            Event::Released { socket } => {
                // The slot may belong to a newer socket by now.
                if self.id_of(socket).is_some() {
                    self.by_socket[socket.slot()] = None;
                }
            }
            Event::Written { result, buf, .. } => {
                if let Some(role) = &mut self.parts.role
                    && let Some(durable) = role.wal.written(result, buf, &mut self.parts.metrics)
                {
                    role.log_is_durable(self.parts.now, durable, &mut self.parts.post);
                }
            }
            Event::WrittenBytes { token, result, .. } if token & LOG_TOKEN != 0 => {
                if let Some(shard) = &mut self.parts.shard {
                    shard.log_written(token, result).map_err(fatal)?;
                }
            }
            Event::Read { token, result, .. } => {
                if let Some(shard) = &mut self.parts.shard {
                    shard.fetched(token, result).map_err(fatal)?;
                }
            }
            Event::WrittenBytes { .. } | Event::Synced { .. } => {}
        }
        Ok(())
    }

    // ---- settling ----

    /// Takes in mail and steps the view until nothing moves.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..SETTLE_PASSES_MAX {
            let ahead = self.parts.view.ahead();
            let moved = self.drain_mail()?;
            if let Some(shard) = &mut self.parts.shard {
                shard.publish(&self.marks, &mut self.parts.post);
            }
            // With everything on one core, what was drained may have moved the marks, and nobody else can be behind.
            let ahead = if self.marks_are_ours() { self.parts.view.ahead() } else { ahead };
            let stepped = self.step_view(ahead);
            let acted = self.act();
            self.resume_stalled();
            self.look_after_dirty();
            if !moved && !stepped && !acted && !self.parts.post.has_own() {
                return Ok(());
            }
        }
        Ok(())
    }

    // ---- time, and the end of a turn ----

    fn look_after_time(&mut self) {
        let now_ms = self.parts.now.mono_ms;
        if !self.parts.touched.is_empty() && now_ms >= self.told_touches_ms + TOUCH_EVERY_MS {
            self.told_touches_ms = now_ms;
            let mut touched = std::mem::take(&mut self.parts.touched);
            touched.sort_unstable();
            touched.dedup();
            self.parts.tell_role(Input::Touch(touched));
        }
        if let Some(role) = &mut self.parts.role
            && role.next_deadline().is_some_and(|at| at <= now_ms)
        {
            role.tick(self.parts.now, &mut self.parts.post);
        }
        while let Some((_, id)) = self.sessionless.pop_front_if(|(at, _)| *at <= now_ms) {
            let Some(client) = self.clients.get_mut(id) else { continue };
            if client.session == SessionId::NONE && !client.closing {
                self.parts.metrics.count(Counter::SessionlessExpired, 1);
                self.with(id, |client, _| client.connection.end());
            }
        }
        while let Some((_, id)) = self.lingering.pop_front_if(|(at, _)| *at <= now_ms) {
            if let Some(client) = self.clients.get_mut(id) {
                self.reactor.close(client.socket, CloseHow::Now);
                self.forget(id);
            }
        }
    }

    fn end_of_turn(&mut self) -> Result<(), CoreFailure> {
        self.parts.post.flush();
        let Parts { shard, post, .. } = &mut self.parts;
        if let Some(shard) = shard {
            shard.end_of_turn(&self.marks, &mut self.reactor, post).map_err(fatal)?;
        }
        if let Some(role) = &mut self.parts.role {
            role.talk_to_peers(self.parts.now, &mut self.reactor, &mut self.parts.post);
            role.end_of_turn(&self.clock, &mut self.reactor, &mut self.parts.post);
            if let Some(why) = role.failure() {
                error!("{why}");
                return Err(CoreFailure::Own(format!("{why}. Nothing more is acknowledged")));
            }
        }
        if self.parts.post.has_lost_a_core() {
            // In a shutdown the replication role's core ends first; the word of it may still be in the mailbox.
            self.drain_mail()?;
            if self.stopping.is_none() {
                return Err(CoreFailure::Deserted);
            }
            self.role_done = true;
        }
        if self.parts.post.has_own() {
            self.settle()?;
        }
        self.look_after_dirty();
        Ok(())
    }

    // ---- stopping ----

    fn begin_stopping(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        if let Some(listening) = self.listening.take() {
            self.reactor.stop_listening(listening);
        }
        self.parts.serving = Serving::No;
        let patience = Duration::from_millis(u64::from(self.context.config.local.throttle.shutdown_timeout_ms));
        self.stopping = Some(Stopping { give_up: Instant::now() + patience, checkpoint_asked: false });
        if self.parts.role.is_some() {
            self.parts.tell_role(Input::Shutdown);
        }
    }

    /// Whether everything that a shutdown waits for has happened: requests answered, output sent, a last checkpoint.
    fn has_stopped(&mut self) -> bool {
        let Some(stopping) = &mut self.stopping else { return false };
        if Instant::now() >= stopping.give_up {
            return true;
        }
        if let Some(role) = &mut self.parts.role {
            if !role.is_drained() {
                return false;
            }
            if !stopping.checkpoint_asked {
                stopping.checkpoint_asked = true;
                role.step(self.parts.now, Input::CheckpointDue, &mut self.parts.post);
                return false;
            }
            for core in self.parts.post.others() {
                self.parts.post.send(core, Mail::RoleDone);
            }
            self.parts.post.flush();
            return !self.parts.post.is_congested();
        }
        self.role_done
    }
}

fn fatal(problem: impl std::fmt::Display) -> String {
    problem.to_string()
}
