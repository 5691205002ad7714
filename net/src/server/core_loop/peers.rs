//! The part of a core's loop that members of an ensemble need: sockets that are no client's, and clients that are let go.

use super::Core;
use crate::connection::Serving;
use crate::server::parts::Parts;
use crate::server::peers::Peer;
use bytes::Bytes;
use engine::ids::ConnId;
use hardware::reactor::{ListenerId, SocketId};
use replication::node::{self, Era};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use tracing::warn;

impl Core {
    /// A connection that does not come from a client's port.
    pub(super) fn accept_peer(&mut self, listener: ListenerId, fd: OwnedFd) {
        let Parts { role: Some(role), post, now, .. } = &mut self.parts else { return };
        // Of a listener that has been closed meanwhile: the connection ends with its descriptor.
        let Some(Ok(input)) = role.member().map(|member| member.accepted(listener, fd, &mut self.reactor)) else {
            return;
        };
        role.step_member(*now, input, post);
    }

    /// Bytes of a socket that is no client's.
    pub(super) fn hear_peer(&mut self, socket: SocketId, data: &[u8]) {
        let Parts { role: Some(role), post, now, .. } = &mut self.parts else { return };
        let input = match role.member().and_then(|member| member.peer(socket)) {
            Some(Peer::Link(link)) => node::Input::LinkBytes(link, data),
            Some(Peer::Learner(learner)) => node::Input::LearnerBytes(learner, Bytes::copy_from_slice(data)),
            Some(Peer::Leader) => node::Input::LeaderBytes(Bytes::copy_from_slice(data)),
            None => return,
        };
        role.step_member(*now, input, post);
    }

    /// A socket that is no client's has been closed by the other side.
    pub(super) fn peer_closed(&mut self, socket: SocketId) {
        let Parts { role: Some(role), post, now, .. } = &mut self.parts else { return };
        if let Some(input) = role.member().and_then(|member| member.closed(socket, &mut self.reactor)) {
            role.step_member(*now, input, post);
        }
    }

    /// Bytes have left on a socket that is no client's.
    pub(super) fn sent_to_peer(&mut self, socket: SocketId) {
        let Parts { role: Some(role), post, now, .. } = &mut self.parts else { return };
        if let Some(input) = role.member().and_then(|member| member.sent(socket, &self.reactor)) {
            role.step_member(*now, input, post);
        }
    }

    /// Clients connect somewhere else from now on.
    pub(super) fn listen_elsewhere(&mut self, listener: TcpListener) {
        if self.stopping.is_some() {
            return;
        }
        match self.reactor.listen(listener) {
            Ok(listening) => {
                if let Some(before) = self.listening.replace(listening) {
                    self.reactor.stop_listening(before);
                }
            }
            Err(problem) => warn!("the new client port cannot be opened: {problem}"),
        }
    }

    /// A member that has lost its leader or its quorum serves nobody: clients find another server, or come back
    /// (`ServerCnxnFactory.closeAll`). So do those that it has served read-only, when that ends.
    pub(super) fn serve_as(&mut self, serving: Serving, era: Era) {
        if self.stopping.is_some() {
            return;
        }
        self.parts.era = era;
        let before = std::mem::replace(&mut self.parts.serving, serving);
        if serving != Serving::No && before != Serving::ReadOnly {
            return;
        }
        // Nobody is left to be answered.
        self.parts.outstanding = 0;
        let all: Vec<ConnId> = self.clients.iter_mut().map(|(id, _)| id).collect();
        for id in all {
            self.with(id, |client, _| {
                // A question of an operator is answered by any server.
                if !client.surveyed {
                    client.connection.end();
                }
            });
        }
    }
}
