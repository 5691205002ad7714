//! The sockets of a member: election port, quorum port, and the connections on both.
//!
//! A member names its connections; here they meet their sockets. A name outlives its socket: what is sent to a name whose
//! socket has gone is dropped, and the member has been told.

use super::dialer::{Dial, Dialer};
use crate::server::mail::Mail;
use hardware::listen::{bind_listener, set_keepalive, set_nodelay};
use hardware::mailbox::MailSender;
use hardware::reactor::{CloseHow, ListenerId, Reactor, SocketId};
use replication::node::{LearnerId, LinkId, NodeInput};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tracing::{debug, warn};

/// Connections to the quorum port that wait to be accepted.
const BACKLOG: i32 = 128;
/// How long a connection to another election port may take (`zookeeper.cnxTimeout`).
const LINK_TIMEOUT: Duration = Duration::from_secs(5);

/// Whose a socket is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    /// A connection on the election port.
    Link(LinkId),
    /// A learner of this leader.
    Learner(LearnerId),
    /// The leader of this learner.
    Leader,
}

/// Where a member listens.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Election addresses, `host:port`.
    pub election: Vec<String>,
    /// Quorum addresses, `host:port`.
    pub quorum: Vec<String>,
    /// Whether idle connections are probed (`zookeeper.tcpKeepAlive`).
    pub keep_alive: bool,
}

/// The sockets.
pub struct PeerSockets {
    places: Places,
    dialer: Dialer,
    /// What the attempts under way are for; those that are no longer wanted are not in here.
    dials: HashMap<u64, Peer>,
    by_socket: HashMap<SocketId, Peer>,
    by_peer: HashMap<Peer, SocketId>,
    election: Vec<ListenerId>,
    quorum: Vec<ListenerId>,
    next: u64,
}

impl PeerSockets {
    /// No socket yet.
    pub fn new(places: Places) -> PeerSockets {
        PeerSockets {
            places,
            dialer: Dialer::default(),
            dials: HashMap::new(),
            by_socket: HashMap::new(),
            by_peer: HashMap::new(),
            election: Vec::new(),
            quorum: Vec::new(),
            next: 0,
        }
    }

    /// Opens the election port.
    ///
    /// # Errors
    /// When none of its addresses can be bound.
    pub fn listen_for_votes(&mut self, reactor: &mut Reactor) -> io::Result<()> {
        self.election = bind_all(&self.places.election, reactor)?;
        Ok(())
    }

    /// Opens the quorum port.
    ///
    /// # Errors
    /// When none of its addresses can be bound.
    pub fn listen_for_learners(&mut self, reactor: &mut Reactor) -> io::Result<()> {
        self.quorum = bind_all(&self.places.quorum, reactor)?;
        Ok(())
    }

    /// Closes the quorum port and every learner's connection.
    pub fn stop_learners(&mut self, reactor: &mut Reactor) {
        for listener in self.quorum.drain(..) {
            reactor.stop_listening(listener);
        }
        let learners: Vec<Peer> =
            self.by_peer.keys().copied().filter(|peer| matches!(peer, Peer::Learner(_))).collect();
        for learner in learners {
            self.close(learner, reactor);
        }
    }

    /// Moves the ports: another configuration names other addresses. The quorum port follows when it is opened next.
    pub fn set_places(&mut self, places: Places) {
        self.places = places;
    }

    /// Closes the election port.
    pub fn stop_votes(&mut self, reactor: &mut Reactor) {
        for listener in self.election.drain(..) {
            reactor.stop_listening(listener);
        }
    }

    /// A connection that somebody made; `None` if the listener is none of a member's.
    pub fn accepted(
        &mut self,
        listener: ListenerId,
        fd: OwnedFd,
        reactor: &mut Reactor,
    ) -> Result<NodeInput<'static>, OwnedFd> {
        self.next += 1;
        let (peer, input) = if self.election.contains(&listener) {
            let link = LinkId(self.next);
            (Peer::Link(link), NodeInput::LinkAccepted(link))
        } else if self.quorum.contains(&listener) {
            let learner = LearnerId(self.next);
            (Peer::Learner(learner), NodeInput::LearnerAccepted(learner))
        } else {
            return Err(fd);
        };
        if let Err(problem) = set_nodelay(&fd) {
            debug!("no TCP_NODELAY: {problem}");
        }
        if self.places.keep_alive
            && let Err(problem) = set_keepalive(&fd)
        {
            debug!("no SO_KEEPALIVE: {problem}");
        }
        self.adopt(peer, fd, reactor);
        Ok(input)
    }

    /// A name for a connection that is to be made.
    pub fn next_link(&mut self) -> LinkId {
        self.next += 1;
        LinkId(self.next)
    }

    /// Starts to connect; the outcome comes by [`Mail::Dialed`]. `Some` if it has failed already.
    pub fn dial(
        &mut self,
        peer: Peer,
        addresses: Vec<String>,
        timeout: Option<Duration>,
        reply: MailSender<Mail>,
    ) -> Option<NodeInput<'static>> {
        self.next += 1;
        let token = self.next;
        let timeout = timeout.unwrap_or(LINK_TIMEOUT);
        let dial = Dial { token, addresses, timeout, keep_alive: self.places.keep_alive };
        match self.dialer.dial(dial, reply) {
            Ok(()) => {
                self.dials.insert(token, peer);
                None
            }
            Err(problem) => Some(unreachable(peer, &problem)),
        }
    }

    /// An attempt to connect has ended.
    pub fn dialed(
        &mut self,
        token: u64,
        result: io::Result<OwnedFd>,
        reactor: &mut Reactor,
    ) -> Option<NodeInput<'static>> {
        self.dialer.ended();
        let peer = self.dials.remove(&token)?;
        match result {
            Ok(fd) => {
                self.adopt(peer, fd, reactor);
                Some(match peer {
                    Peer::Link(link) => NodeInput::LinkConnected(link),
                    Peer::Leader | Peer::Learner(_) => NodeInput::LeaderConnected,
                })
            }
            Err(problem) => Some(unreachable(peer, &problem)),
        }
    }

    /// Whose a socket is, if it is a member's.
    pub fn peer(&self, socket: SocketId) -> Option<Peer> {
        self.by_socket.get(&socket).copied()
    }

    /// Sends; does nothing when the peer has gone.
    pub fn send(&mut self, peer: Peer, bytes: Vec<u8>, reactor: &mut Reactor) {
        if let Some(socket) = self.by_peer.get(&peer) {
            reactor.send(*socket, bytes);
        }
    }

    /// Bytes on their way to a peer.
    pub fn queued(&self, peer: Peer, reactor: &Reactor) -> usize {
        self.by_peer.get(&peer).map_or(0, |socket| reactor.queued_bytes(*socket))
    }

    /// Closes a peer's connection, or gives up making it. What was sent before still goes out.
    pub fn close(&mut self, peer: Peer, reactor: &mut Reactor) {
        self.dials.retain(|_, wanted| *wanted != peer);
        if let Some(socket) = self.by_peer.remove(&peer) {
            self.by_socket.remove(&socket);
            reactor.close(socket, CloseHow::AfterSends);
        }
    }

    /// The other side has ended a connection.
    pub fn closed(&mut self, socket: SocketId, reactor: &mut Reactor) -> Option<NodeInput<'static>> {
        let peer = self.by_socket.remove(&socket)?;
        self.by_peer.remove(&peer);
        reactor.close(socket, CloseHow::Now);
        Some(match peer {
            Peer::Link(link) => NodeInput::LinkClosed(link),
            Peer::Learner(learner) => NodeInput::LearnerClosed(learner),
            Peer::Leader => NodeInput::LeaderClosed,
        })
    }

    fn adopt(&mut self, peer: Peer, fd: OwnedFd, reactor: &mut Reactor) {
        let socket = reactor.adopt(fd);
        self.by_socket.insert(socket, peer);
        self.by_peer.insert(peer, socket);
    }
}

fn unreachable(peer: Peer, problem: &io::Error) -> NodeInput<'static> {
    debug!("a peer cannot be reached: {problem}");
    match peer {
        Peer::Link(link) => NodeInput::LinkFailed(link),
        Peer::Leader | Peer::Learner(_) => NodeInput::LeaderUnreachable(problem.to_string()),
    }
}

/// Binds every address that can be bound (`QuorumCnxManager.Listener`, `Leader`): one is enough.
fn bind_all(names: &[String], reactor: &mut Reactor) -> io::Result<Vec<ListenerId>> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address is configured");
    let mut listeners = Vec::new();
    for name in names {
        let bound = resolve(name).and_then(|address| bind_listener(address, BACKLOG, false)).and_then(|listener| {
            let listener = reactor.listen(listener)?;
            Ok(listener)
        });
        match bound {
            Ok(listener) => listeners.push(listener),
            Err(problem) => {
                warn!("{name}: {problem}");
                failure = problem;
            }
        }
    }
    if listeners.is_empty() { Err(failure) } else { Ok(listeners) }
}

fn resolve(name: &str) -> io::Result<SocketAddr> {
    name.to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address")))
}
