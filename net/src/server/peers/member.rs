//! A member of an ensemble on the core that hosts the replication role: what concerns files and sockets.

use super::config_files::{ConfigFileError, ConfigFiles};
use super::epochs::EpochFiles;
use super::sockets::{Callee, Peer, PeerSockets, Places};
use crate::server::mail::Mail;
use hardware::mailbox::MailSender;
use hardware::reactor::{ListenerId, Reactor, SocketId};
use replication::node::{Action, Input, Node, NodeConfig, NodeStart};
use replication::peer::ensemble::{Ensemble, Member};
use replication::role::{Now, Role};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// What a member is made of.
pub struct MemberParts {
    /// Settings of the state machines.
    pub config: NodeConfig,
    /// What was found on disk.
    pub start: NodeStart,
    /// Where the promises are kept.
    pub epochs: EpochFiles,
    /// Whether its disk has lost something that it may have acknowledged.
    pub has_lost: bool,
    /// Where the members are kept, if they may change.
    pub files: Option<ConfigFiles>,
    /// Where it listens.
    pub places: Places,
}

/// A member, hosted.
pub struct MemberHost {
    config: NodeConfig,
    has_lost: bool,
    life: Life,
    /// The promises.
    pub epochs: EpochFiles,
    files: Option<ConfigFiles>,
    sockets: PeerSockets,
    /// Actions that need the ring, in their order.
    outbox: VecDeque<Action>,
    /// Whether the leader's connection is not being read.
    paused: bool,
}

enum Life {
    Starting(Box<NodeStart>),
    Running(Box<Node>),
    Over,
}

impl MemberHost {
    /// A member that has not begun to look for a leader.
    pub fn new(parts: MemberParts) -> MemberHost {
        MemberHost {
            config: parts.config,
            has_lost: parts.has_lost,
            life: Life::Starting(Box::new(parts.start)),
            epochs: parts.epochs,
            files: parts.files,
            sockets: PeerSockets::new(parts.places),
            outbox: VecDeque::new(),
            paused: false,
        }
    }

    /// Opens the election port and begins.
    ///
    /// # Errors
    /// When the port cannot be opened: ZooKeeper ends with exit code 14 then.
    pub fn begin(&mut self, now: Now, reactor: &mut Reactor) -> Result<Vec<Action>, String> {
        self.sockets.listen_for_votes(reactor).map_err(|problem| {
            format!("the election port cannot be opened: {problem}; stop the program that has it, or change server.N")
        })?;
        let mut actions = Vec::new();
        if let Life::Starting(start) = std::mem::replace(&mut self.life, Life::Over) {
            let begin = if self.has_lost { Node::repairing } else { Node::new };
            self.life = Life::Running(Box::new(begin(now, self.config.clone(), *start, &mut actions)));
        }
        Ok(actions)
    }

    /// The state machine, once it runs.
    pub fn node(&self) -> Option<&Node> {
        match &self.life {
            Life::Running(node) => Some(node),
            Life::Starting(_) | Life::Over => None,
        }
    }

    /// The state machine, for a snapshot that takes the place of everything.
    pub fn node_mut(&mut self) -> Option<&mut Node> {
        match &mut self.life {
            Life::Running(node) => Some(node),
            Life::Starting(_) | Life::Over => None,
        }
    }

    /// The role.
    pub fn role(&self) -> Option<&Role> {
        match &self.life {
            Life::Running(node) => Some(node.role()),
            Life::Starting(start) => Some(&start.role),
            Life::Over => None,
        }
    }

    /// Gives the state machine one input.
    pub fn step(&mut self, now: Now, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Life::Running(node) = &mut self.life {
            node.step(now, input, &mut actions);
        }
        actions
    }

    /// Members that were proposed are kept in a file.
    ///
    /// # Errors
    /// [`ConfigFileError`]: the server must not go on as if they were.
    pub fn keep_last_seen(&self, ensemble: &Ensemble) -> Result<(), ConfigFileError> {
        self.files.as_ref().map_or(Ok(()), |files| files.keep_last_seen(ensemble))
    }

    /// Members that are in force are kept in a file, and the sockets follow them.
    ///
    /// # Errors
    /// [`ConfigFileError`]: the server must not go on as if they were.
    pub fn activate(&mut self, ensemble: Arc<Ensemble>) -> Result<(), ConfigFileError> {
        let kept = self.files.as_mut().map_or(Ok(()), |files| files.activate(&ensemble));
        self.outbox.push_back(Action::Activate(ensemble));
        kept
    }

    /// This server among these members.
    pub fn own<'a>(&self, ensemble: &'a Ensemble) -> Option<&'a Member> {
        ensemble.member(self.config.sid)
    }

    /// Keeps an action for [`Self::next_network`].
    pub fn post(&mut self, action: Action) {
        self.outbox.push_back(action);
    }

    /// Does the next action that needs the ring. What comes of it at once is `Some` input; `None` within when nothing
    /// does, and `None` when nothing is left to do.
    pub fn next_network(&mut self, reactor: &mut Reactor, reply: &MailSender<Mail>) -> Option<Option<Input<'static>>> {
        let action = self.outbox.pop_front()?;
        let sockets = &mut self.sockets;
        Some(match action {
            Action::DialLink { sid, addresses } => sockets.dial(Callee::Voter(sid), &addresses, None, reply.clone()),
            Action::WriteLink(link, bytes) => {
                sockets.send(Peer::Link(link), bytes, reactor);
                None
            }
            Action::CloseLink(link) => {
                sockets.close(Peer::Link(link), reactor);
                None
            }
            Action::Listen(true) => match sockets.listen_for_learners(reactor) {
                Ok(()) => None,
                Err(problem) => Some(Input::CannotListen(problem.to_string())),
            },
            Action::Listen(false) => {
                sockets.stop_learners(reactor);
                None
            }
            Action::WriteLearner(learner, bytes) => {
                sockets.send(Peer::Learner(learner), bytes, reactor);
                None
            }
            Action::CloseLearner(learner) => {
                sockets.close(Peer::Learner(learner), reactor);
                None
            }
            Action::DialLeader { addresses, timeout_ms } => {
                let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default());
                sockets.dial(Callee::Leader, &addresses, Some(timeout), reply.clone())
            }
            Action::WriteLeader(bytes) => {
                sockets.send(Peer::Leader, bytes, reactor);
                None
            }
            Action::Activate(ensemble) => {
                if let Some(own) = ensemble.member(self.config.sid) {
                    sockets.move_to(own.election_addresses(), own.quorum_addresses(), reactor);
                }
                None
            }
            Action::CloseLeader => {
                self.paused = false;
                sockets.close_leader(reactor);
                None
            }
            _ => None,
        })
    }

    /// Ends the turn: what was gathered for the peers goes out. Reads on from the leader when there is room for it, and no
    /// further when there is not: in the state machine, or for the bytes of a snapshot.
    pub fn pace(&mut self, has_room_for_snapshot: bool, reactor: &mut Reactor) {
        self.sockets.flush(reactor);
        let Life::Running(node) = &self.life else { return };
        self.sockets.listen_again(reactor);
        let Some(socket) = self.sockets.leader() else { return };
        let paused = !node.reads_from_leader() || !has_room_for_snapshot;
        if paused != std::mem::replace(&mut self.paused, paused) {
            if paused {
                reactor.pause_receive(socket);
            } else {
                reactor.resume_receive(socket);
            }
        }
    }

    /// A connection on one of the member's ports.
    ///
    /// # Errors
    /// Gives it back if the listener is none of them.
    pub fn accepted(
        &mut self,
        listener: ListenerId,
        fd: OwnedFd,
        reactor: &mut Reactor,
    ) -> Result<Input<'static>, OwnedFd> {
        self.sockets.accepted(listener, fd, reactor)
    }

    /// An attempt to connect has ended.
    pub fn dialed(&mut self, token: u64, result: io::Result<OwnedFd>, reactor: &mut Reactor) -> Option<Input<'static>> {
        self.sockets.dialed(token, result, reactor)
    }

    /// Whose a socket is.
    pub fn peer(&self, socket: SocketId) -> Option<Peer> {
        self.sockets.peer(socket)
    }

    /// A peer has ended its connection.
    pub fn closed(&mut self, socket: SocketId, reactor: &mut Reactor) -> Option<Input<'static>> {
        self.sockets.closed(socket, reactor)
    }

    /// The kernel has taken some of what was sent.
    pub fn sent(&mut self, socket: SocketId, reactor: &Reactor) -> Option<Input<'static>> {
        self.sockets.sent(socket, reactor)
    }
}
