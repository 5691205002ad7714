//! A member of an ensemble: the state machines of elections, of leading and learning, and of the role, put together
//! (`QuorumPeer`).
//!
//! ```text
//!            +----------------------- Settling <------------------------+
//!            | the log has written what it was given                    |
//!            v                                                          | Leave, Resign
//!         Looking --- Elected --+--> Leading   (leader machine) --------+
//!                               +--> Following (learner machine) -------+
//! ```
//!
//! The role lives through all of it: it holds the ledger, the sessions and the end of the log, and is told what it is
//! ([`Role::look`], [`Role::lead`], [`Role::follow`]). The machines meet here and nowhere else:
//!
//! | from | to |
//! |---|---|
//! | the role's `Append` | the log (by the host), and the leader machine's `Proposed` |
//! | the leader machine's and the learner's `Commit` | the role's `Committed` |
//! | the learner's `Log` | the role's `Proposal`, which appends |
//! | the log's durable end | the role, and whichever machine there is |
//!
//! A member leaves a role in order: clients are let go, the log finishes what it was given, and only then does the end of
//! the log count in an election (ZOOKEEPER-4712).

mod io;
mod leading;
mod learning;
mod reconfig;
mod repair;

pub use crate::peer::files::directory::Epochs;
pub use io::{Action, Era, Input, Standing};

use crate::peer::election::ElectionConfig;
use crate::peer::election::port::{ElectionPort, PortAction, PortInput};
use crate::peer::ensemble::{Ensemble, HostPort, MemberRole, ServerId, Views};
use crate::peer::history::History;
use crate::peer::leader::{self, Leader};
use crate::peer::learner::{self, Learner};
use crate::peer::links::{LinkInput, LinksConfig};
use crate::peer::wire::notification::PeerState;
use crate::peer::wire::packet::ProposalFrame;
use crate::role::{self, Now, Role};
use crate::wal::Durable;
use bytes::Bytes;
use engine::zxid::Zxid;
use repair::Repair;
use std::sync::Arc;
use tracing::{info, warn};

/// Settings of a member.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This server's number.
    pub sid: ServerId,
    /// `tickTime` in milliseconds.
    pub tick_ms: i64,
    /// `initLimit` in ticks.
    pub init_limit: i64,
    /// `syncLimit` in ticks.
    pub sync_limit: i64,
    /// `connectToLearnerMasterLimit` in ticks; 0 means `initLimit`.
    pub connect_limit: i64,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `standaloneEnabled`: a reconfiguration must leave two that vote.
    pub standalone_enabled: bool,
    /// Bounds of the silence before a vote goes out again, in milliseconds
    /// (`zookeeper.fastleader.minNotificationInterval`, `...maxNotificationInterval`).
    pub election_interval_ms: (i64, i64),
    /// `zookeeper.forceSnapshotSync`: as leader, always send snapshots.
    pub force_snapshot: bool,
    /// Bytes of recent transactions kept in memory for learners that lag.
    pub history_bytes_max: usize,
    /// A mistake to make.
    #[cfg(test)]
    pub mistake: Option<crate::peer::mistake::Mistake>,
}

/// What a member finds on its disk.
#[derive(Debug)]
pub struct NodeStart {
    /// The role, which has read the log: what is known to be committed was replayed, the rest is outstanding.
    pub role: Role,
    /// The end of the log.
    pub last: Durable<Zxid>,
    /// The end of the log in full, as far back as memory allows: contiguous, and up to `last`.
    pub recent: Vec<(Zxid, Bytes)>,
    /// The transaction before the first of `recent`, which may be of an earlier epoch: learners that end with it go on
    /// from there.
    pub recent_after: Zxid,
    /// The epoch files.
    pub epochs: Epochs,
    /// The configurations.
    pub views: Views,
}

enum State {
    /// The role has ended, or never begun; the log still writes.
    Settling,
    Looking,
    Leading(Box<Leader>),
    Following(Box<Learner>),
}

/// Who waits for [`Input::EpochsPersisted`].
#[derive(Clone, Copy)]
struct Persisting {
    epoch: u32,
}

/// A snapshot that is to become the state, and what the log will hold behind it.
struct Installing {
    zxid: Zxid,
    entries: Vec<(Zxid, Bytes)>,
}

/// A leader without an election.
#[derive(Clone, Copy, Debug)]
struct Named {
    leader: ServerId,
    /// The reconfiguration that has named it.
    zxid: Zxid,
}

/// The state machine. See the module's text.
pub struct Node {
    config: NodeConfig,
    role: Role,
    port: ElectionPort,
    views: Views,
    /// Where this server can be called: also when no configuration lists it any more, or not yet.
    own_addresses: Vec<HostPort>,
    /// The leader that a reconfiguration has named, for when the present role has ended.
    named: Option<Named>,
    /// Beginning to lead without an election.
    is_named: bool,
    /// This server leaves its leader when this reconfiguration has taken effect here.
    leaving: Option<Zxid>,
    epochs: Epochs,
    state: State,
    standing: Standing,
    era: Era,
    leader: Option<ServerId>,
    /// The recent end of the log while no machine has it.
    history: Option<History>,
    /// What is behind this zxid may be read from the log.
    log_base: Option<Zxid>,
    repair: Repair,
    /// The end of the log as given to it, and as it is durable.
    appended: Zxid,
    durable: Durable<Zxid>,
    persisting: Option<Persisting>,
    /// The end that a cut under way leads to.
    truncating: Option<Zxid>,
    /// The leader's snapshot is becoming the state.
    installing: Option<Installing>,
    /// Scratch space.
    role_actions: Vec<role::Action>,
    /// Why roles were left and learners let go, for traces.
    #[cfg(test)]
    pub partings: Vec<String>,
}

impl Node {
    /// A member that is about to look for a leader.
    pub fn new(now: Now, config: NodeConfig, start: NodeStart, out: &mut Vec<Action>) -> Node {
        Node::begin(now, config, start, Repair::Done, out)
    }

    fn begin(now: Now, config: NodeConfig, start: NodeStart, repair: Repair, out: &mut Vec<Action>) -> Node {
        let NodeStart { role, last, recent, recent_after, epochs, mut views } = start;
        if config.reconfig_enabled {
            // What was proposed counts in elections, also if the file that says so has been lost.
            for (_, record) in role.outstanding() {
                if let Some(proposed) = reconfig::proposed_by(record) {
                    views.see(Arc::new(proposed));
                }
            }
        }
        let (interval_min_ms, interval_max_ms) = config.election_interval_ms;
        let election = ElectionConfig {
            interval_min_ms,
            interval_max_ms,
            ..ElectionConfig::new(config.sid, config.reconfig_enabled)
        };
        let own_addresses = election_addresses(views.committed(), config.sid)
            .or_else(|| election_addresses(views.last_seen(), config.sid))
            .unwrap_or_default();
        let links = LinksConfig {
            own: config.sid,
            own_addresses: own_addresses.clone(),
            multi_address: false,
            hello_timeout_ms: config.sync_limit * config.tick_ms,
        };
        let history = history_of(recent_after, recent, last.get(), config.history_bytes_max);
        let mut node = Node {
            port: ElectionPort::new(election, links, views.clone()),
            appended: last.get(),
            durable: last,
            history: Some(history),
            log_base: None,
            repair,
            state: State::Settling,
            standing: Standing::Looking,
            era: Era::default(),
            leader: None,
            persisting: None,
            truncating: None,
            installing: None,
            role_actions: Vec::new(),
            #[cfg(test)]
            partings: Vec::new(),
            own_addresses,
            named: None,
            is_named: false,
            leaving: None,
            config,
            role,
            views,
            epochs,
        };
        node.look(now, out);
        node.look_when_settled(now, out);
        node
    }

    /// Takes one input and appends what is to be done.
    pub fn step(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Role(input) => self.step_role(now, input, out),
            Input::Client(era, input) => {
                #[cfg(test)]
                let era = match self.config.mistake {
                    Some(crate::peer::mistake::Mistake::ErasForgotten) => self.era,
                    _ => era,
                };
                if era == self.era || !input.is_request() {
                    self.step_role(now, input, out);
                }
            }
            Input::Durable(durable) => self.log_is_durable(now, durable, out),
            Input::EpochsPersisted => self.epochs_persisted(now, out),
            Input::LogTruncated(end) => self.log_truncated(now, end, out),

            Input::LinkAccepted(link) => self.step_link(now, LinkInput::Accepted { link }, out),
            Input::LinkConnected(link, sid) => self.step_link(now, LinkInput::Connected { link, sid }, out),
            Input::LinkFailed(sid) => self.step_link(now, LinkInput::ConnectFailed { sid }, out),
            Input::LinkBytes(link, bytes) => self.step_link(now, LinkInput::Bytes { link, bytes }, out),
            Input::LinkWritten(link) => self.step_link(now, LinkInput::Written { link }, out),
            Input::LinkClosed(link) => self.step_link(now, LinkInput::Closed { link }, out),

            Input::CannotListen(why) => {
                warn!("the quorum port cannot be opened: {why}; this server cannot lead");
                self.step_leader(now, leader::Input::Resign, out);
            }
            Input::LearnerAccepted(learner) => self.step_leader(now, leader::Input::Accepted { learner }, out),
            Input::LearnerBytes(learner, bytes) => {
                self.step_leader(now, leader::Input::Received { learner, bytes }, out);
            }
            Input::LearnerWritten(learner, bytes) => {
                self.step_leader(now, leader::Input::Written { learner, bytes }, out);
            }
            Input::LearnerClosed(learner) => {
                self.step_leader(now, leader::Input::Disconnected { learner }, out);
                self.step_role(now, role::Input::LearnerGone { learner }, out);
            }
            Input::SnapshotAt(learner, zxid) => {
                self.step_leader(now, leader::Input::SnapshotAt { learner, zxid }, out);
            }
            Input::SnapshotBytes(learner, bytes) => {
                self.step_leader(now, leader::Input::SnapshotBytes { learner, bytes }, out);
            }
            Input::SnapshotEnd(learner) => self.step_leader(now, leader::Input::SnapshotEnd { learner }, out),
            Input::LogBase(base) => {
                self.log_base = base;
                self.step_leader(now, leader::Input::LogBase(base), out);
            }
            Input::LogRead { learner, entries, done } => {
                self.step_leader(now, leader::Input::LogRead { learner, entries, done }, out);
            }

            Input::LeaderConnected => self.step_learner(now, learner::Input::Connected, out),
            Input::LeaderUnreachable => self.step_learner(now, learner::Input::ConnectFailed, out),
            Input::LeaderBytes(bytes) => self.step_learner(now, learner::Input::Received(bytes), out),
            Input::LeaderWritten(bytes) => self.step_learner(now, learner::Input::Written(bytes), out),
            Input::LeaderClosed => self.step_learner(now, learner::Input::Disconnected, out),
            Input::SnapshotParsed(rest) => self.step_learner(now, learner::Input::SnapshotParsed { rest }, out),
            Input::SnapshotInstalled(end) => self.snapshot_installed(now, end, out),
            Input::SnapshotFailed => {
                self.installing = None;
                self.step_learner(now, learner::Input::Disconnected, out);
            }

            Input::Tick => self.tick(now, out),
        }
        // A role is left, and the next begun, when everything that the step has brought is done.
        self.leave_if_due(now, out);
        self.look_when_settled(now, out);
    }

    /// When [`Input::Tick`] is due, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<i64> {
        let machine = match &self.state {
            State::Leading(leader) => leader.next_deadline(),
            State::Following(learner) => learner.next_deadline(),
            State::Settling | State::Looking => None,
        };
        [machine, self.port.next_deadline(), self.role.next_deadline()].into_iter().flatten().min()
    }

    /// The role, to look at.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The role, for a snapshot that takes the place of everything.
    pub fn role_mut(&mut self) -> &mut Role {
        &mut self.role
    }

    /// What this member is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What it is at, for messages.
    #[cfg(test)]
    pub fn plight(&self) -> String {
        let state = match self.state {
            State::Settling => "settles",
            State::Looking => "looks",
            State::Leading(_) => "leads",
            State::Following(_) => "follows",
        };
        let (appended, durable) = (self.appended, self.durable.get());
        let installs = self.installing.as_ref().map(|installing| installing.zxid);
        let under_way = format!("cut to {:?}, installs {installs:?}", self.truncating);
        format!("{state}, log {durable} of {appended}, {under_way}, {:?}", self.epochs)
    }

    /// The era of what clients ask now.
    pub fn era(&self) -> Era {
        self.era
    }

    /// Who leads, as far as is known here.
    pub fn leader(&self) -> Option<ServerId> {
        self.leader
    }

    /// This server's number.
    pub fn sid(&self) -> ServerId {
        self.config.sid
    }

    /// The configurations.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// The leader machine, if this server leads.
    pub fn leading(&self) -> Option<&Leader> {
        match &self.state {
            State::Leading(leader) => Some(leader),
            _ => None,
        }
    }

    /// Whether more bytes may be read from the leader.
    pub fn reads_from_leader(&self) -> bool {
        match &self.state {
            State::Following(learner) => learner.has_room(),
            _ => true,
        }
    }

    /// Whether the next bytes of a snapshot may be handed over for a learner.
    pub fn has_room_for(&self, learner: crate::session::LearnerId) -> bool {
        self.leading().is_some_and(|leader| leader.has_room(learner))
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        self.step_port(now, PortInput::Tick, out);
        match self.state {
            State::Leading(_) => self.step_leader(now, leader::Input::Tick, out),
            State::Following(_) => self.step_learner(now, learner::Input::Tick, out),
            State::Settling | State::Looking => {}
        }
        self.step_role(now, role::Input::Tick, out);
    }

    // ---- elections ----

    fn step_link(&mut self, now: Now, input: LinkInput<'_>, out: &mut Vec<Action>) {
        self.step_port(now, PortInput::Link(input), out);
    }

    fn step_port(&mut self, now: Now, input: PortInput<'_>, out: &mut Vec<Action>) {
        let mut actions = Vec::new();
        self.port.step(now.mono_ms, input, &mut actions);
        for action in actions {
            match action {
                PortAction::Connect { sid, addresses } => out.push(Action::DialLink { sid, addresses }),
                PortAction::Write { link, bytes } => out.push(Action::WriteLink(link, bytes)),
                PortAction::Close { link } => out.push(Action::CloseLink(link)),
                PortAction::Elected { leader, state, .. } => self.elected(now, leader, state, out),
                PortAction::Adopt { ensemble, restart } => self.adopt(now, ensemble, restart, out),
            }
        }
    }

    fn elected(&mut self, now: Now, leader: ServerId, state: PeerState, out: &mut Vec<Action>) {
        if !matches!(self.state, State::Looking) {
            return;
        }
        if state == PeerState::Leading && self.repair != Repair::Done {
            // The others remember what it was.
            return self.look(now, out);
        }
        let Some(history) = self.history.take() else { return };
        self.leader = Some(leader);
        info!(server = %self.config.sid, %leader, "an election has ended");
        match state {
            PeerState::Leading => self.begin_leading(now, history, out),
            _ => self.begin_learning(now, leader, history, out),
        }
    }

    /// A configuration newer than the own came with a vote.
    fn adopt(&mut self, now: Now, ensemble: Arc<Ensemble>, restart: bool, out: &mut Vec<Action>) {
        self.views.commit(Arc::clone(&ensemble));
        out.push(Action::Activate(ensemble));
        if restart {
            self.views_have_changed(now, true, out);
            self.look(now, out);
        }
    }

    /// The configurations have changed while in a role.
    fn views_have_changed(&mut self, now: Now, membership: bool, out: &mut Vec<Action>) {
        let views = self.views.clone();
        if membership {
            if let Some(addresses) = election_addresses(self.views.committed(), self.config.sid) {
                self.own_addresses = addresses;
            }
            let own_addresses = self.own_addresses.clone();
            self.step_port(now, PortInput::Restart { own_addresses, views }, out);
        } else {
            self.step_port(now, PortInput::Views(views), out);
        }
    }

    // ---- the log and the files ----

    fn log_is_durable(&mut self, now: Now, durable: Durable<Zxid>, out: &mut Vec<Action>) {
        self.durable = durable;
        match self.state {
            State::Leading(_) => self.step_leader(now, leader::Input::Durable(durable), out),
            State::Following(_) => self.step_learner(now, learner::Input::Durable(durable), out),
            State::Settling | State::Looking => {}
        }
        self.step_role(now, role::Input::Durable(durable), out);
    }

    fn persist(&mut self, epochs: Epochs, epoch: u32, out: &mut Vec<Action>) {
        self.epochs = epochs;
        self.persisting = Some(Persisting { epoch });
        out.push(Action::PersistEpochs(epochs));
    }

    fn epochs_persisted(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(Persisting { epoch }) = self.persisting.take() else { return };
        match self.state {
            State::Leading(_) => self.step_leader(now, leader::Input::EpochPersisted(epoch), out),
            State::Following(_) => self.step_learner(now, learner::Input::EpochPersisted(epoch), out),
            State::Settling | State::Looking => {}
        }
    }

    fn log_truncated(&mut self, now: Now, end: Durable<Zxid>, out: &mut Vec<Action>) {
        let Some(last) = self.truncating.take() else { return };
        (self.appended, self.durable) = (last, end);
        self.step_learner(now, learner::Input::Truncated { last }, out);
    }

    // ---- leaving a role ----

    /// Gives up whatever role there was. The election begins at the end of the step, or when the log has written what it
    /// was given.
    fn leave(&mut self, now: Now, history: History, out: &mut Vec<Action>) {
        self.history = Some(history);
        self.state = State::Settling;
        self.leader = None;
        self.repair_again();
        self.leaving = None;
        self.stand(Standing::Looking, out);
        self.look(now, out);
    }

    fn look(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut actions = std::mem::take(&mut self.role_actions);
        self.role.look(now, &mut actions);
        self.pass_on(now, &mut actions, out);
        self.role_actions = actions;
        self.state = State::Settling;
        self.step_role(now, role::Input::Durable(self.durable), out);
    }

    fn look_when_settled(&mut self, now: Now, out: &mut Vec<Action>) {
        let is_settled = self.durable.get() >= self.appended && self.truncating.is_none() && self.installing.is_none();
        if !matches!(self.state, State::Settling) || !is_settled {
            return;
        }
        if self.follow_to_repair(now, out) {
            return;
        }
        self.state = State::Looking;
        if let Some(Named { leader, zxid }) = self.named.take() {
            info!(server = %self.config.sid, %leader, "a reconfiguration has named the leader");
            self.is_named = leader == self.config.sid;
            self.step_port(now, PortInput::Designated { leader, zxid: zxid.to_wire() }, out);
            self.is_named = false;
            if !matches!(self.state, State::Looking) {
                return;
            }
        }
        let look = PortInput::Look {
            role: self.member_role(),
            zxid: self.zxid_to_vote_with(),
            peer_epoch: i64::from(self.epochs.current),
        };
        self.step_port(now, look, out);
    }

    fn member_role(&self) -> MemberRole {
        self.views.committed().role_of(self.config.sid)
    }

    fn stand(&mut self, standing: Standing, out: &mut Vec<Action>) {
        if self.standing != standing {
            self.standing = standing;
            if !standing.serves() {
                self.era.end();
            }
            out.push(Action::Standing(standing, self.era));
        }
    }

    // ---- the role ----

    fn step_role(&mut self, now: Now, input: role::Input, out: &mut Vec<Action>) {
        self.prepare_reconfig(&input);
        let mut actions = std::mem::take(&mut self.role_actions);
        self.role.step(now, input, &mut actions);
        self.pass_on(now, &mut actions, out);
        self.role_actions = actions;
    }

    /// With [`crate::peer::mistake::Mistake::ReuseZxid`] learners are given, now and then, another transaction than the
    /// own log under the same zxid: the one that the request would have become a moment later.
    #[cfg(test)]
    fn reused(&self, zxid: Zxid, bytes: Bytes) -> Bytes {
        let errs = self.config.mistake == Some(crate::peer::mistake::Mistake::ReuseZxid) && zxid.counter() % 64 == 63;
        let Ok((mut header, txn)) = engine::txn::decode(&bytes) else { return bytes };
        if !errs {
            return bytes;
        }
        header.time_ms += 1;
        let mut other = Vec::new();
        engine::txn::encode(&header, &txn, &mut other);
        other.into()
    }

    /// Gives the role's actions to the machine that they are for, and the others to the host.
    fn pass_on(&mut self, now: Now, actions: &mut Vec<role::Action>, out: &mut Vec<Action>) {
        for action in actions.drain(..) {
            match action {
                role::Action::Append { zxid, bytes } => {
                    self.appended = zxid;
                    let reconfig = self.take_proposed(now, &bytes, out);
                    out.push(Action::Role(role::Action::Append { zxid, bytes: bytes.clone() }));
                    if matches!(self.state, State::Leading(_)) {
                        #[cfg(test)]
                        let bytes = self.reused(zxid, bytes);
                        let proposed = leader::Input::Proposed { zxid, txn: bytes, reconfig };
                        self.step_leader(now, proposed, out);
                    }
                }
                role::Action::Forward { session, cxid, opcode, body, ids } => {
                    self.step_learner(now, learning::forwarded(session, cxid, opcode, body, ids.as_deref()), out);
                }
                role::Action::ForwardSync { session } => {
                    self.step_learner(now, learning::forwarded_sync(session), out);
                }
                role::Action::Revalidate { session, timeout_ms } => {
                    self.step_learner(now, learner::Input::Revalidate { session, timeout_ms }, out);
                }
                role::Action::Revalidated { learner, session, valid } => {
                    self.step_leader(now, leader::Input::Revalidated { learner, session, valid }, out);
                }
                role::Action::SyncFor { learner } => {
                    self.step_leader(now, leader::Input::SyncFor { learner }, out);
                }
                role::Action::Resign => self.step_leader(now, leader::Input::Resign, out),
                role::Action::Fail(fault) => out.push(Action::Fail(fault.to_string())),
                other => out.push(Action::Role(other)),
            }
        }
    }
}

fn election_addresses(ensemble: &Ensemble, sid: ServerId) -> Option<Vec<HostPort>> {
    ensemble.member(sid).map(|member| member.election_addresses())
}

/// The end of the log as the machines keep it.
fn history_of(after: Zxid, recent: Vec<(Zxid, Bytes)>, last: Zxid, bytes_max: usize) -> History {
    if recent.is_empty() {
        return History::new(last, bytes_max);
    }
    let mut history = History::new(after, bytes_max);
    for (zxid, txn) in recent {
        if history.push(zxid, ProposalFrame::new(zxid, &txn)).is_err() {
            return History::new(last, bytes_max);
        }
        history.settle(zxid);
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_begins_behind_the_last_transaction_before_it() {
        let recent = |zxids: &[Zxid]| zxids.iter().map(|zxid| (*zxid, Bytes::from_static(&[0; 36]))).collect();
        let (end, first) = (Zxid::new(1, 9), Zxid::new(2, 1));
        let history = history_of(end, recent(&[first]), first, 1 << 20);
        assert!(history.reaches_back_to(end), "a learner that ends with the epoch before lacks nothing");
        assert_eq!(history.range(end, first).count(), 1);
        let holey = history_of(end, recent(&[Zxid::new(2, 2)]), Zxid::new(2, 2), 1 << 20);
        assert_eq!((holey.base(), holey.last()), (Zxid::new(2, 2), Zxid::new(2, 2)));
        assert_eq!(history_of(end, Vec::new(), first, 1 << 20).base(), first);
    }
}
