//! The clients' connections of a core: from the accepted socket to the last byte sent.

use super::Core;
use crate::connection::{Connection, Fate};
use crate::metrics::Counter;
use crate::server::clients::Client;
use crate::server::mail::{Mail, ShardMail};
use crate::server::parts::Parts;
use engine::ids::{ConnId, SessionId, ShardId};
use hardware::listen::{set_keepalive, set_nodelay};
use hardware::reactor::{CloseHow, SocketId};
use replication::role::Input;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tracing::debug;

/// Output buffers kept for reuse.
const SPARE_BUFFERS_MAX: usize = 256;
/// Capacity above which an output buffer is not kept.
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// How long a closing connection may take to accept what it is still owed.
const LINGER_MS: i64 = 10_000;

impl Core {
    pub(super) fn accept(&mut self, fd: OwnedFd, peer: SocketAddr) {
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

    pub(super) fn closed(&mut self, socket: SocketId, problem: Option<io::Error>) {
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

    pub(super) fn sent(&mut self, socket: SocketId, mut buf: Vec<u8>) {
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

    pub(super) fn id_of(&self, socket: SocketId) -> Option<ConnId> {
        let (known, id) = self.by_socket.get(socket.slot()).copied().flatten()?;
        (known == socket).then_some(id)
    }

    pub(super) fn with_client(&mut self, socket: SocketId, act: impl FnOnce(&mut Client, &mut Parts)) {
        if let Some(id) = self.id_of(socket) {
            self.with(id, act);
        }
    }

    /// Lets a connection act, and remembers to look after what that left.
    pub(in crate::server) fn with(&mut self, id: ConnId, act: impl FnOnce(&mut Client, &mut Parts)) {
        let Some(client) = self.clients.get_mut(id) else { return };
        act(client, &mut self.parts);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Sends what a connection has to say, follows its fate, and sees whether it waits for something.
    pub(super) fn look_after(&mut self, id: ConnId) {
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
            let mail = ShardMail::Forget { core, conn: id };
            self.parts.post.send(self.parts.topology.home(shard), Mail::Shard(mail));
        }
    }

    pub(super) fn forget(&mut self, id: ConnId) {
        self.leave(id);
        self.clients.remove(id);
    }

    pub(super) fn resume_stalled(&mut self) {
        for _ in 0..self.stalled.len() {
            let Some(id) = self.stalled.pop_front() else { return };
            let Some(client) = self.clients.get_mut(id) else { continue };
            client.stalled = false;
            if client.connection.is_stalled() {
                self.with(id, |client, parts| client.connection.resume(parts));
            }
        }
    }

    pub(super) fn look_after_dirty(&mut self) {
        while let Some(id) = self.dirty.pop() {
            self.look_after(id);
        }
    }
}
