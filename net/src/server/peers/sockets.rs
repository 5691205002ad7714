//! The sockets of a member: election port, quorum port, and the connections on both.
//!
//! A member names its connections; here they meet their sockets. A name outlives its socket: what is sent to a name whose
//! socket has gone is dropped, and the member has been told.

use super::dialer::{Dial, Dialer};
use super::gather::Gather;
use crate::server::mail::Mail;
use bytes::Bytes;
use hardware::listen::{bind_listener, set_keepalive, set_nodelay};
use hardware::mailbox::MailSender;
use hardware::reactor::{CloseHow, ListenerId, Reactor, SocketId};
use replication::node::Input;
use replication::peer::ensemble::{HostPort, ServerId};
use replication::peer::links::LinkId;
use replication::session::LearnerId;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// Connections to the quorum port that wait to be accepted.
const BACKLOG: i32 = 128;
/// Between two tries to open the election port.
const BIND_PAUSE: Duration = Duration::from_secs(1);

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

/// Who is being called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callee {
    /// The election port of a server.
    Voter(ServerId),
    /// The quorum port of the leader.
    Leader,
}

/// Where a member listens.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Election addresses.
    pub election: Vec<HostPort>,
    /// Quorum addresses.
    pub quorum: Vec<HostPort>,
    /// Their ports on every address of this machine instead (`quorumListenOnAllIPs`).
    pub everywhere: bool,
    /// Whether idle connections are probed (`zookeeper.tcpKeepAlive`).
    pub keep_alive: bool,
    /// How long a connection to another election port may take (`zookeeper.cnxTimeout`).
    pub connect_timeout: Duration,
    /// Tries to open the election port, a second apart; 0 for any number (`zookeeper.electionPortBindRetry`).
    pub bind_tries: u32,
}

/// The sockets.
pub struct PeerSockets {
    places: Places,
    dialer: Dialer,
    /// What the attempts under way are for; those that are no longer wanted are not in here.
    dials: HashMap<u64, Callee>,
    by_socket: HashMap<SocketId, Peer>,
    by_peer: HashMap<Peer, SocketId>,
    /// Bytes handed to a socket and not known to be written.
    handed: HashMap<SocketId, usize>,
    /// What waits for the end of the turn.
    gathered: Gather<SocketId>,
    election: Vec<ListenerId>,
    quorum: Vec<ListenerId>,
    /// The election port has moved and could not be opened: when to try again.
    bind_at: Option<Instant>,
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
            handed: HashMap::new(),
            gathered: Gather::default(),
            election: Vec::new(),
            quorum: Vec::new(),
            bind_at: None,
            next: 0,
        }
    }

    /// Opens the election port.
    ///
    /// # Errors
    /// When none of its addresses can be bound.
    pub fn listen_for_votes(&mut self, reactor: &mut Reactor) -> io::Result<()> {
        let mut tries = 1;
        loop {
            match self.bind(&self.places.election, reactor) {
                Ok(listeners) => {
                    self.election = listeners;
                    return Ok(());
                }
                Err(problem) if tries == self.places.bind_tries => return Err(problem),
                // Somebody else may be about to let go of it. Nobody is served yet who could be kept waiting.
                Err(_) => std::thread::sleep(BIND_PAUSE),
            }
            tries += 1;
        }
    }

    /// Opens the quorum port.
    ///
    /// # Errors
    /// When none of its addresses can be bound.
    pub fn listen_for_learners(&mut self, reactor: &mut Reactor) -> io::Result<()> {
        self.quorum = self.bind(&self.places.quorum, reactor)?;
        Ok(())
    }

    /// A configuration gives this server other addresses. The quorum port follows when this server leads the next time.
    pub fn move_to(&mut self, election: Vec<HostPort>, quorum: Vec<HostPort>, reactor: &mut Reactor) {
        self.places.quorum = quorum;
        if self.places.election == election {
            return;
        }
        self.places.election = election;
        for listener in self.election.drain(..) {
            reactor.stop_listening(listener);
        }
        self.bind_at = Some(Instant::now());
        self.listen_again(reactor);
    }

    /// Opens an election port that has moved, once a second until it can be opened.
    pub fn listen_again(&mut self, reactor: &mut Reactor) {
        if self.bind_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.bind_at = match self.bind(&self.places.election, reactor) {
            Ok(listeners) => {
                self.election = listeners;
                None
            }
            Err(problem) => {
                warn!("the election port of the new configuration cannot be opened yet: {problem}");
                Some(Instant::now() + BIND_PAUSE)
            }
        };
    }

    fn bind(&self, places: &[HostPort], reactor: &mut Reactor) -> io::Result<Vec<ListenerId>> {
        if !self.places.everywhere {
            return bind_all(places, reactor);
        }
        let mut everywhere: Vec<HostPort> = places.iter().map(|place| HostPort::new("::", place.port)).collect();
        everywhere.dedup();
        bind_all(&everywhere, reactor)
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

    /// A connection that somebody made.
    ///
    /// # Errors
    /// Gives it back if the listener is none of a member's.
    pub fn accepted(
        &mut self,
        listener: ListenerId,
        fd: OwnedFd,
        reactor: &mut Reactor,
    ) -> Result<Input<'static>, OwnedFd> {
        self.next += 1;
        let (peer, input) = if self.election.contains(&listener) {
            let link = LinkId(self.next);
            (Peer::Link(link), Input::LinkAccepted(link))
        } else if self.quorum.contains(&listener) {
            let learner = LearnerId(self.next);
            (Peer::Learner(learner), Input::LearnerAccepted(learner))
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

    /// Starts to connect; the outcome comes by [`Mail::Dialed`]. `Some` if it has failed already.
    pub fn dial(
        &mut self,
        callee: Callee,
        addresses: &[HostPort],
        timeout: Option<Duration>,
        reply: MailSender<Mail>,
    ) -> Option<Input<'static>> {
        self.next += 1;
        let token = self.next;
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let timeout = timeout.unwrap_or(self.places.connect_timeout);
        let dial = Dial { token, addresses, timeout, keep_alive: self.places.keep_alive };
        match self.dialer.dial(dial, reply) {
            Ok(()) => {
                self.dials.insert(token, callee);
                None
            }
            Err(problem) => Some(unreachable(callee, &problem)),
        }
    }

    /// An attempt to connect has ended. `None` if nobody wants it any more.
    pub fn dialed(&mut self, token: u64, result: io::Result<OwnedFd>, reactor: &mut Reactor) -> Option<Input<'static>> {
        self.dialer.ended();
        let callee = self.dials.remove(&token)?;
        match (result, callee) {
            (Ok(fd), Callee::Voter(sid)) => {
                self.next += 1;
                let link = LinkId(self.next);
                self.adopt(Peer::Link(link), fd, reactor);
                Some(Input::LinkConnected(link, sid))
            }
            (Ok(fd), Callee::Leader) => {
                self.adopt(Peer::Leader, fd, reactor);
                Some(Input::LeaderConnected)
            }
            (Err(problem), _) => Some(unreachable(callee, &problem)),
        }
    }

    /// Whose a socket is, if it is a member's.
    pub fn peer(&self, socket: SocketId) -> Option<Peer> {
        self.by_socket.get(&socket).copied()
    }

    /// Sends by [`PeerSockets::flush`] at the latest; does nothing when the peer has gone.
    pub fn send(&mut self, peer: Peer, bytes: Bytes, reactor: &mut Reactor) {
        let Some(socket) = self.by_peer.get(&peer).copied() else { return };
        for bytes in self.gathered.add(socket, bytes).into_iter().flatten() {
            self.hand(socket, bytes, reactor);
        }
    }

    /// Hands the sockets what has been gathered for them. Call at the end of a turn.
    pub fn flush(&mut self, reactor: &mut Reactor) {
        while let Some((socket, bytes)) = self.gathered.pop() {
            self.hand(socket, bytes, reactor);
        }
    }

    fn hand(&mut self, socket: SocketId, bytes: Vec<u8>, reactor: &mut Reactor) {
        *self.handed.entry(socket).or_default() += bytes.len();
        reactor.send(socket, bytes);
    }

    /// The kernel has taken some of what was sent on a socket.
    pub fn sent(&mut self, socket: SocketId, reactor: &Reactor) -> Option<Input<'static>> {
        let peer = self.peer(socket)?;
        let queued = reactor.queued_bytes(socket);
        let handed = self.handed.insert(socket, queued).unwrap_or_default();
        let written = handed.saturating_sub(queued);
        match peer {
            Peer::Link(link) => (queued == 0).then_some(Input::LinkWritten(link)),
            Peer::Learner(learner) => Some(Input::LearnerWritten(learner, written)),
            Peer::Leader => Some(Input::LeaderWritten(written)),
        }
    }

    /// The socket of the leader's connection.
    pub fn leader(&self) -> Option<SocketId> {
        self.by_peer.get(&Peer::Leader).copied()
    }

    /// Closes a peer's connection. What was sent before still goes out.
    pub fn close(&mut self, peer: Peer, reactor: &mut Reactor) {
        if let Some(socket) = self.by_peer.remove(&peer) {
            if let Some(bytes) = self.gathered.take(socket) {
                reactor.send(socket, bytes);
            }
            self.by_socket.remove(&socket);
            self.handed.remove(&socket);
            reactor.close(socket, CloseHow::AfterSends);
        }
    }

    /// Closes the connection to the leader, or gives up making it.
    pub fn close_leader(&mut self, reactor: &mut Reactor) {
        self.dials.retain(|_, callee| *callee != Callee::Leader);
        self.close(Peer::Leader, reactor);
    }

    /// The other side has ended a connection.
    pub fn closed(&mut self, socket: SocketId, reactor: &mut Reactor) -> Option<Input<'static>> {
        let peer = self.by_socket.remove(&socket)?;
        self.by_peer.remove(&peer);
        self.handed.remove(&socket);
        self.gathered.take(socket);
        reactor.close(socket, CloseHow::Now);
        Some(match peer {
            Peer::Link(link) => Input::LinkClosed(link),
            Peer::Learner(learner) => Input::LearnerClosed(learner),
            Peer::Leader => Input::LeaderClosed,
        })
    }

    fn adopt(&mut self, peer: Peer, fd: OwnedFd, reactor: &mut Reactor) {
        let socket = reactor.adopt(fd);
        self.by_socket.insert(socket, peer);
        self.by_peer.insert(peer, socket);
    }
}

fn unreachable(callee: Callee, problem: &io::Error) -> Input<'static> {
    debug!("a peer cannot be reached: {problem}");
    match callee {
        Callee::Voter(sid) => Input::LinkFailed(sid),
        Callee::Leader => Input::LeaderUnreachable,
    }
}

/// Binds every address that can be bound (`QuorumCnxManager.Listener`, `Leader`): one is enough.
fn bind_all(places: &[HostPort], reactor: &mut Reactor) -> io::Result<Vec<ListenerId>> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address is configured");
    let mut listeners = Vec::new();
    for place in places {
        let name = place.to_string();
        let bound = resolve(&name)
            .and_then(|address| bind_listener(address, BACKLOG, false))
            .and_then(|listener| reactor.listen(listener));
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
