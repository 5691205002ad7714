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

mod failure;
mod peers;

pub use failure::CoreFailure;

use super::admission::Admission;
use super::checkpoint;
use super::clients::{Client, Clients};
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
use crate::connection::{Connection, Fate, Serving, ViewEvent};
use crate::metrics::{CoreMetrics, Counter};
use engine::acl::AclTable;
use engine::ids::{ConnId, CoreId, SessionId, ShardId};
use engine::shard::EventBatch;
use engine::zxid::Zxid;
use hardware::listen::{set_keepalive, set_nodelay};
use hardware::mailbox::MailReceiver;
use hardware::reactor::{CloseHow, Event, ListenerId, Reactor, SocketId};
use replication::node::Era;
use replication::role::Input;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, error, warn};

/// Connections with something to send from which on sending does not wait for the end of the turn. Fewer are quicker
/// served one after the other and then sent to in one go; with more the first grow cold meanwhile and their peers sit idle.
/// Tests reach it with fewer.
const SEND_EARLY: usize = if cfg!(debug_assertions) { 128 } else { 1024 };
/// Messages taken out of the mailbox at a time.
const MAIL_BATCH: usize = 4096;
/// How long sessions that were heard of may wait until the role is told: well below any session timeout.
const TOUCH_EVERY_MS: i64 = 50;
/// Output buffers kept for reuse.
const SPARE_BUFFERS_MAX: usize = 256;
/// Capacity above which an output buffer is not kept.
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// How long a closing connection may take to accept what it is still owed.
const LINGER_MS: i64 = 10_000;
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

    /// Whether somebody here waits for the view to move.
    fn waits_for_view(&self) -> bool {
        !self.stepping.is_empty() || self.events.iter().any(|queue| !queue.is_empty())
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

    fn accept(&mut self, fd: OwnedFd, peer: SocketAddr) {
        let Some(place) = self.parts.admission.enter(peer.ip()) else {
            self.parts.metrics.count(Counter::ConnectionsRejected, 1);
            debug!(%peer, "too many connections (maxClientCnxns, maxCnxns)");
            let socket = self.reactor.adopt(fd);
            self.reactor.close(socket, CloseHow::Reset);
            return;
        };
        if let Err(problem) = set_nodelay(&fd) {
            debug!(%peer, "no TCP_NODELAY: {problem}");
        }
        if self.context.config.local.client.tcp_keep_alive
            && let Err(problem) = set_keepalive(&fd)
        {
            debug!(%peer, "no SO_KEEPALIVE: {problem}");
        }
        let socket = self.reactor.adopt(fd);
        let id = self.clients.next_id();
        let now_ms = self.parts.now.mono_ms;
        let limits = Arc::clone(&self.context.connection_limits);
        let connection = Connection::new(id, self.parts.id, peer, limits, now_ms);
        self.clients.insert(Client {
            connection,
            socket,
            place: Some(place),
            events: Vec::new(),
            handed: 0,
            paused: false,
            dirty: false,
            stepping: false,
            stalled: false,
            surveyed: false,
            closing: false,
            session: SessionId::NONE,
        });
        if self.by_socket.len() <= socket.slot() {
            self.by_socket.resize(socket.slot() + 1, None);
        }
        self.by_socket[socket.slot()] = Some((socket, id));
        let timeout = i64::from(self.context.config.local.client.sessionless_timeout_ms).max(1);
        // Rounded up to the next multiple of itself, and counted from there (`NIOServerCnxnFactory`).
        self.sessionless.push_back(((now_ms + timeout) / timeout * timeout + timeout, id));
    }

    fn closed(&mut self, socket: SocketId, problem: Option<io::Error>) {
        let Some(id) = self.id_of(socket) else { return };
        let orderly = problem.is_none();
        if let Some(problem) = problem {
            debug!("a connection broke: {problem}");
        }
        if orderly && self.clients.get_mut(id).is_some_and(|client| client.surveyed && !client.closing) {
            // `echo srvr | nc`: the answer is still wanted, and closes the connection.
            return;
        }
        if let Some(client) = self.clients.get_mut(id)
            && !client.closing
            && client.session != SessionId::NONE
        {
            self.parts.metrics.count(Counter::ConnectionDrops, 1);
        }
        self.reactor.close(socket, CloseHow::Now);
        self.forget(id);
    }

    fn sent(&mut self, socket: SocketId, mut buf: Vec<u8>) {
        let queued = self.reactor.queued_bytes(socket);
        if let Some(id) = self.id_of(socket)
            && let Some(client) = self.clients.get_mut(id)
        {
            let done = client.handed.saturating_sub(queued);
            client.handed -= done;
            if client.connection.is_stalled() {
                self.with(id, |client, parts| client.connection.output_sent(parts, done));
            } else {
                client.connection.output_sent(&mut self.parts, done);
            }
        }
        if self.spare.len() < SPARE_BUFFERS_MAX && buf.capacity() <= SPARE_BYTES_MAX {
            buf.clear();
            self.spare.push(buf);
        }
    }

    // ---- connections ----

    fn id_of(&self, socket: SocketId) -> Option<ConnId> {
        let (known, id) = self.by_socket.get(socket.slot()).copied().flatten()?;
        (known == socket).then_some(id)
    }

    fn with_client(&mut self, socket: SocketId, act: impl FnOnce(&mut Client, &mut Parts)) {
        if let Some(id) = self.id_of(socket) {
            self.with(id, act);
        }
    }

    /// Lets a connection act, and remembers to look after what that left.
    pub(super) fn with(&mut self, id: ConnId, act: impl FnOnce(&mut Client, &mut Parts)) {
        let Some(client) = self.clients.get_mut(id) else { return };
        act(client, &mut self.parts);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Sends what a connection has to say, follows its fate, and sees whether it waits for something.
    fn look_after(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.dirty = false;
        if client.closing {
            return;
        }
        if !client.connection.output().is_empty() {
            let bytes = client.connection.take_output(self.spare.pop().unwrap_or_default());
            client.handed += bytes.len();
            self.reactor.send(client.socket, bytes);
        }
        if client.connection.next_view().is_some() && !client.stepping {
            client.stepping = true;
            self.stepping.push(id);
        }
        let wants_input = client.connection.wants_input();
        if wants_input == client.paused {
            client.paused = !wants_input;
            if wants_input {
                self.reactor.resume_receive(client.socket);
            } else {
                self.reactor.pause_receive(client.socket);
            }
        }
        if client.connection.is_stalled() && !client.stalled {
            client.stalled = true;
            self.stalled.push_back(id);
        }
        if let Some(session) = client.connection.session() {
            client.session = session;
        }
        if let Some((word, argument)) = client.connection.word()
            && !client.surveyed
        {
            client.surveyed = true;
            self.ask(id, word, argument);
            return;
        }
        match self.clients.get_mut(id).map(|client| (client.connection.fate(), client.socket)) {
            Some((Fate::CloseWhenSent, socket)) => {
                self.reactor.close(socket, CloseHow::AfterSends);
                self.lingering.push_back((self.parts.now.mono_ms + LINGER_MS, id));
                if let Some(client) = self.clients.get_mut(id) {
                    client.closing = true;
                }
                self.leave(id);
            }
            Some((Fate::CloseNow, socket)) => {
                self.reactor.close(socket, CloseHow::Now);
                self.forget(id);
            }
            _ => {}
        }
    }

    /// The connection no longer counts for anybody: its watches go, its place, its session's claim on it.
    fn leave(&mut self, id: ConnId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if let Some(place) = client.place.take() {
            self.parts.admission.leave(place);
        } else {
            return;
        }
        self.parts.admission.release_large(client.connection.large_bytes_held());
        self.parts.admission.end_requests(client.connection.take_requests_counted());
        let (session, core) = (client.session, self.parts.id);
        if session != SessionId::NONE {
            self.parts.tell_role(Input::Disconnected { session, core, conn: id });
        }
        for shard in 0..self.parts.topology.shards() {
            let shard = ShardId(shard);
            let mail = super::mail::ShardMail::Forget { core, conn: id };
            self.parts.post.send(self.parts.topology.home(shard), Mail::Shard(mail));
        }
    }

    fn forget(&mut self, id: ConnId) {
        self.leave(id);
        self.clients.remove(id);
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

    /// The view was left behind while the core slept: it steps before anybody reads.
    fn settle_to(&mut self, passed: Zxid) -> Result<(), String> {
        self.drain_mail()?;
        if let Some(shard) = &mut self.parts.shard {
            shard.publish(&self.marks, &mut self.parts.post);
        }
        let passed = if self.marks_are_ours() { self.parts.view.ahead() } else { passed };
        self.step_view(passed);
        Ok(())
    }

    /// Whether shard and role live here alone, so that the marks only move by what this core does.
    fn marks_are_ours(&self) -> bool {
        self.parts.topology.cores() == 1
    }

    fn drain_mail(&mut self) -> Result<bool, String> {
        let mut mail = std::mem::take(&mut self.mail);
        self.inbox.drain_into(&mut mail, MAIL_BATCH);
        let mut moved = !mail.is_empty();
        for letter in mail.drain(..) {
            self.deliver(letter)?;
        }
        self.mail = mail;
        loop {
            while let Some(letter) = self.parts.post.next_own() {
                moved = true;
                self.deliver(letter)?;
            }
            // What the shard answers to all of it comes at once, and is mail again.
            let Parts { shard, post, .. } = &mut self.parts;
            if let Some(shard) = shard {
                shard.carry_out(&mut self.reactor, post).map_err(fatal)?;
            }
            if !self.parts.post.has_own() {
                return Ok(moved);
            }
        }
    }

    fn deliver(&mut self, mail: Mail) -> Result<(), String> {
        match mail {
            Mail::Role(era, input) => self.parts.pass_to_role(era, input),
            Mail::Shard(mail) => {
                let Parts { shard, post, acls, .. } = &mut self.parts;
                if let Some(shard) = shard {
                    shard.deliver(mail, acls, post).map_err(fatal)?;
                }
            }
            Mail::Client(mail) => self.client_mail(mail),
            Mail::DefineAcl(id, list) => self.parts.acls.define(id, list),
            Mail::Survey { from, number, topic } => {
                let part = Box::new(self.facts(topic));
                self.parts.post.send(from, Mail::Surveyed { number, part });
            }
            Mail::Ask { needs, reply } => self.ask_for_admin(needs, reply),
            Mail::Surveyed { number, part } => self.surveyed(number, *part),
            Mail::WalSegment { sequence, result } => {
                if let Some(role) = &mut self.parts.role {
                    role.wal.prepared(sequence, result);
                }
            }
            Mail::Measured(part) => {
                if let Some(role) = &mut self.parts.role {
                    role.measured(self.parts.now, part, &mut self.parts.post);
                }
            }
            Mail::Snapshot(part) => {
                if let Some(role) = &mut self.parts.role {
                    role.snapshots.part(part, &mut self.parts.post);
                }
            }
            Mail::Cut(cut) => {
                if let Some(all) = self.parts.role.as_mut().and_then(|role| role.cut(cut)) {
                    checkpoint::write(&self.context, all, self.parts.post.return_address()).map_err(fatal)?;
                }
            }
            Mail::ManifestWritten { zxid, result } => {
                let paused = result.map_err(|problem| format!("the checkpoint could not be written: {problem}"))?;
                let Parts { role: Some(role), metrics, post, now, .. } = &mut self.parts else { return Ok(()) };
                role.checkpoint_done(*now, zxid, paused, metrics, post);
            }
            Mail::Removed(result) => {
                if let Err(problem) = result {
                    warn!("a file that is no longer needed stays: {problem}");
                }
            }
            Mail::Dialed { token, result } => {
                let Parts { role: Some(role), post, now, .. } = &mut self.parts else { return Ok(()) };
                if let Some(input) = role.member().and_then(|member| member.dialed(token, result, &mut self.reactor)) {
                    role.step_member(*now, input, post);
                }
            }
            Mail::Serving(serving, era) => self.serve_as(serving, era),
            Mail::Listen(listener) => self.listen_elsewhere(listener),
            Mail::Incoming { number, event } => {
                if let Some(role) = &mut self.parts.role {
                    role.incoming(self.parts.now, number, event, &mut self.parts.post);
                }
            }
            Mail::LogPiece(piece) => {
                if let Some(role) = &mut self.parts.role {
                    role.log_piece(self.parts.now, piece, &mut self.parts.post);
                }
            }
            Mail::ReplaceShard(shard) => self.parts.shard = Some(*shard),
            Mail::Reset(effect) => self.reset(effect),
            Mail::Look => {}
            Mail::RoleDone => self.role_done = true,
            Mail::Shutdown => self.begin_stopping(),
        }
        Ok(())
    }

    /// Notes what connections wait for; what makes them act is kept for [`Self::act`].
    fn client_mail(&mut self, mail: ClientMail) {
        match mail {
            ClientMail::Answer(answer) => {
                self.parts.outstanding = self.parts.outstanding.saturating_sub(1);
                let id = answer.origin.conn;
                self.note(id, |connection| connection.note_answer(answer));
            }
            ClientMail::Stat(captured) => {
                self.note(captured.origin.conn, |connection| connection.note_stat(captured));
            }
            ClientMail::Events(shard, batch) => self.events[usize::from(shard.0)].push_back(batch),
            ClientMail::Taken { view } => self.parts.view.taken(view),
            other => self.acting.push(other),
        }
    }

    fn note(&mut self, id: ConnId, note: impl FnOnce(&mut Connection)) {
        let Some(client) = self.clients.get_mut(id) else { return };
        note(&mut client.connection);
        if !client.stepping {
            client.stepping = true;
            self.stepping.push(id);
        }
    }

    fn act(&mut self) -> bool {
        let acting = std::mem::take(&mut self.acting);
        let acted = !acting.is_empty();
        for mail in acting {
            match mail {
                ClientMail::Read(reply) => {
                    self.with(reply.origin.conn, |client, parts| client.connection.read_reply(parts, reply));
                }
                ClientMail::SyncDone { origin, at } => {
                    self.parts.outstanding = self.parts.outstanding.saturating_sub(1);
                    self.with(origin.conn, |client, parts| client.connection.sync_done(parts, origin, at));
                }
                ClientMail::Connected { conn, session, timeout_ms, password, at } => {
                    self.connected(conn, session, timeout_ms, password, at);
                }
                ClientMail::Refused { conn } => self.with(conn, |client, parts| client.connection.refused(parts)),
                ClientMail::Close { conn, at } => {
                    self.with(conn, |client, parts| client.connection.close_at(parts, at));
                }
                ClientMail::Ephemerals { origin, at, paths } => {
                    self.with(origin.conn, |client, parts| client.connection.ephemerals(parts, origin, at, paths));
                }
                ClientMail::Answer(_) | ClientMail::Stat(_) | ClientMail::Events(..) | ClientMail::Taken { .. } => {}
            }
        }
        acted
    }

    fn connected(&mut self, conn: ConnId, session: SessionId, timeout_ms: i32, password: [u8; 16], at: Zxid) {
        if self.clients.get_mut(conn).is_none_or(|client| client.closing) {
            // The client has gone meanwhile; its session lives on until it expires.
            let core = self.parts.id;
            self.parts.tell_role(Input::Disconnected { session, core, conn });
            return;
        }
        self.with(conn, |client, parts| {
            client.session = session;
            client.connection.connected(parts, session, timeout_ms, password, at);
        });
    }

    /// Moves the view, and with it everything that belongs to the zxids that it passes.
    fn step_view(&mut self, to: Zxid) -> bool {
        let stepped = to > self.parts.view.now();
        if stepped {
            self.parts.view.step(to);
            if let Some(shard) = &mut self.parts.shard {
                shard.views_have_moved(&self.marks);
            }
        }
        let view = self.parts.view.now();
        self.deliver_events(view);
        let waiting = std::mem::take(&mut self.stepping);
        for id in waiting {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let due = client.connection.next_view().is_some_and(|at| at <= view);
            if due || !client.events.is_empty() {
                client.stepping = false;
                let events = std::mem::take(&mut client.events);
                self.with(id, |client, parts| client.connection.step_view(parts, &events));
                self.send_early();
            } else if client.connection.next_view().is_some() {
                self.stepping.push(id);
            } else {
                client.stepping = false;
            }
        }
        stepped
    }

    /// Once many connections have something to send: gets the log and the first of them going, and goes on meanwhile.
    fn send_early(&mut self) {
        if self.dirty.len() < SEND_EARLY {
            return;
        }
        if let Some(role) = &mut self.parts.role {
            role.submit_log(&mut self.reactor, &mut self.parts.post);
        }
        self.look_after_dirty();
        self.reactor.send_now();
    }

    /// Gives each connection the events that the view has reached, in order of zxid and within one in ZooKeeper's. All that
    /// is left to do when this returns are the connections in `stepping`.
    fn deliver_events(&mut self, view: Zxid) {
        let mut due: Vec<EventBatch> = Vec::new();
        for queue in &mut self.events {
            while let Some(batch) = queue.pop_front_if(|batch| batch.zxid <= view) {
                due.push(batch);
            }
        }
        due.sort_by_key(|batch| (batch.zxid, batch.order));
        if let [EventBatch { zxid, acl, frame, conns, .. }] = due.as_slice() {
            // A single event, perhaps for very many: each connection is touched once.
            let event = [ViewEvent { zxid: *zxid, acl: *acl, frame: frame.clone() }];
            for id in conns.iter() {
                if self.clients.get_mut(*id).is_some_and(|client| !client.closing) {
                    self.with(*id, |client, parts| client.connection.step_view(parts, &event));
                    self.send_early();
                }
            }
            return;
        }
        for batch in due {
            for id in batch.conns.iter() {
                let Some(client) = self.clients.get_mut(*id).filter(|client| !client.closing) else { continue };
                client.events.push(ViewEvent { zxid: batch.zxid, acl: batch.acl, frame: batch.frame.clone() });
                if !client.stepping {
                    client.stepping = true;
                    self.stepping.push(*id);
                }
            }
        }
    }

    fn resume_stalled(&mut self) {
        for _ in 0..self.stalled.len() {
            let Some(id) = self.stalled.pop_front() else { return };
            let Some(client) = self.clients.get_mut(id) else { continue };
            client.stalled = false;
            if client.connection.is_stalled() {
                self.with(id, |client, parts| client.connection.resume(parts));
            }
        }
    }

    fn look_after_dirty(&mut self) {
        while let Some(id) = self.dirty.pop() {
            self.look_after(id);
        }
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
