//! The replication role and its log on the core that hosts them: inputs become actions, actions become writes, mail and
//! marks.
//!
//! Nothing leaves here before it is durable: the role answers and routes only what the log has reported as written, and
//! the log reports only what a completed write covered.

use super::checkpoint;
use super::client_port::ClientPlace;
use super::clock::Clock;
use super::context::Context;
use super::mail::{ClientMail, Mail, Measured, ShardCut, ShardMail};
use super::marks::Marks;
use super::next_manifest::NextManifest;
use super::peers::{Incoming, IncomingEvent, LogPiece, LogReads, LogWish, MemberHost};
use super::post::Post;
use super::repair;
use super::restore::LoadedState;
use super::snapshots::{SnapshotBytes, Snapshots};
use super::status::Status;
use super::topology::Topology;
use super::wal_host::WalHost;
use crate::connection::Serving;
use crate::metrics::{BasicSummary, CoreMetrics};
use bytes::Bytes;
use engine::ids::CoreId;
use engine::zxid::Zxid;
use hardware::reactor::Reactor;
use replication::ledger::SubtreeUsage;
use replication::node::{self, Era};
use replication::peer::ensemble::Ensemble;
use replication::peer::history::log_is_worthwhile;
use replication::role::{Action, Input, Now, Role};
use replication::session::LearnerId;
use replication::wal::{Durable, Truncation};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// A checkpoint waits so long when a member begins to serve, in milliseconds: what it has caught up with takes effect first.
const CHECKPOINT_SETTLE_MS: i64 = 1_000;

/// The least time without a leader before clients are served read-only, in milliseconds (`QuorumPeer.run`).
const READ_ONLY_AFTER_MS: i64 = 2_000;

/// Whose role it is.
pub enum Seat {
    /// An ensemble of one.
    Alone(Box<Role>),
    /// One of several.
    Member(Box<MemberHost>),
}

impl Seat {
    /// The role; `None` when a member has ended.
    pub fn role(&self) -> Option<&Role> {
        match self {
            Seat::Alone(role) => Some(role),
            Seat::Member(member) => member.role(),
        }
    }
}

/// The role, hosted.
pub struct RoleHost {
    seat: Seat,
    /// Its log.
    pub wal: WalHost,
    /// Snapshots under way.
    pub snapshots: Snapshots,
    topology: Arc<Topology>,
    marks: Arc<Marks>,
    actions: Vec<Action>,
    /// Measurements under way: what the shards have said so far, and how many still owe their part.
    measuring: BTreeMap<Arc<str>, (SubtreeUsage, u16)>,
    checkpoint: Option<Checkpoint>,
    snap_count: u64,
    since_checkpoint: u64,
    /// The last checkpoint, behind which there is a pause.
    last_checkpoint: Option<LastCheckpoint>,
    /// No checkpoint is begun before, on the monotonic clock.
    settled_ms: i64,
    drained: bool,
    /// The role has been told to go on committing, by mail that is on its way.
    goes_on: bool,
    fault: Option<String>,
    status: Arc<Status>,
    /// The log is being cut or begun anew, and the member waits for that to be durable.
    cutting: Option<Cutting>,
    context: Arc<Context>,
    /// Where clients are served.
    clients: ClientPlace,
    /// Snapshots for learners: whose, and the number of the stream.
    outgoing: Vec<(LearnerId, u64)>,
    /// What learners get from the log on disk.
    log_reads: LogReads,
    /// Where the log begins, as the member was told.
    log_base: Option<Zxid>,
    /// The leader's snapshot, until it is the state.
    incoming: Option<Incoming>,
    /// It is to become the state, when the checkpoint under way is over (two manifests must not cross), and this is what
    /// the log will hold behind it.
    behind: Option<Vec<(Zxid, Bytes)>>,
    incoming_count: u64,
    /// How long a member looks for a leader until it serves clients that only read; `None`: for ever.
    read_only_after_ms: Option<i64>,
    /// When that will be, on the monotonic clock.
    read_only_at_ms: Option<i64>,
}

/// What comes when the log has its new end.
enum Cutting {
    /// The member hears of it.
    Truncated,
    /// The leader's snapshot is the state.
    Installs(Box<LoadedState>),
}

/// A checkpoint that is being taken.
struct Checkpoint {
    begun_ms: i64,
    zxid: Zxid,
    system: Vec<u8>,
    cuts: Vec<ShardCut>,
}

/// A checkpoint that is durable.
struct LastCheckpoint {
    ended_ms: i64,
    took_ms: i64,
    paused: Duration,
}

/// A checkpoint whose parts are all written: what the manifest is made of.
pub struct CutAll {
    /// Its zxid.
    pub zxid: Zxid,
    /// The system state.
    pub system: Vec<u8>,
    /// Whether the log is still to be begun anew behind this state.
    pub is_installed: bool,
    /// Every shard's part.
    pub cuts: Vec<ShardCut>,
}

/// About what a snapshot takes: per znode its Stat, the lengths, and the id of the ACL.
fn snapshot_bytes(role: &Role) -> u64 {
    let ledger = role.ledger();
    u64::try_from(ledger.data_bytes()).unwrap_or(0) + 80 * ledger.node_count() as u64
}

impl RoleHost {
    /// Hosts a role that has replayed its log.
    pub fn new(seat: Seat, wal: WalHost, context: &Arc<Context>, marks: Arc<Marks>) -> RoleHost {
        let topology = Arc::clone(&context.topology);
        RoleHost {
            seat,
            status: Arc::clone(&context.status),
            cutting: None,
            context: Arc::clone(context),
            clients: ClientPlace::of(&context.config.local.client),
            outgoing: Vec::new(),
            log_reads: LogReads::default(),
            log_base: None,
            incoming: None,
            behind: None,
            incoming_count: 0,
            read_only_after_ms: context
                .config
                .local
                .session
                .read_only_mode_enabled
                .then(|| i64::from(context.config.ensemble.tick_time_ms).max(READ_ONLY_AFTER_MS)),
            read_only_at_ms: None,
            wal,
            snapshots: Snapshots::new(Arc::clone(&topology)),
            topology,
            marks,
            actions: Vec::new(),
            measuring: BTreeMap::new(),
            checkpoint: None,
            snap_count: u64::from(context.config.local.storage.snap_count),
            since_checkpoint: 0,
            last_checkpoint: None,
            settled_ms: i64::MIN,
            drained: false,
            goes_on: false,
            fault: None,
        }
    }

    /// The role itself, for figures and bounds; `None` when a member has ended.
    pub fn role(&self) -> Option<&Role> {
        self.seat.role()
    }

    /// The member, if this server is one of several.
    pub fn member(&mut self) -> Option<&mut MemberHost> {
        match &mut self.seat {
            Seat::Alone(_) => None,
            Seat::Member(member) => Some(member),
        }
    }

    /// Whether the role and its log take another request.
    pub fn has_room(&self) -> bool {
        self.role().is_some_and(Role::has_room) && self.wal.has_room()
    }

    /// Whether a shutdown has nothing left to wait for.
    pub fn is_drained(&self) -> bool {
        self.drained && self.checkpoint.is_none()
    }

    /// Why the server must stop, if it must: the log takes no more, or the role cannot go on.
    pub fn failure(&self) -> Option<String> {
        let log = self.wal.failure().map(|why| format!("{why}; check the disk, then start the server again"));
        log.or_else(|| self.fault.clone())
    }

    /// When the role wants a tick, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<i64> {
        match &self.seat {
            Seat::Alone(role) => role.next_deadline(),
            Seat::Member(member) => {
                let deadline = member.node().and_then(node::Node::next_deadline);
                [deadline, self.read_only_at_ms].into_iter().flatten().min()
            }
        }
    }

    /// Starts taking requests, or looking for the other members.
    ///
    /// # Errors
    /// When a member's election port cannot be opened.
    pub fn serve(&mut self, now: Now, reactor: &mut Reactor, post: &mut Post) -> Result<(), String> {
        match &mut self.seat {
            Seat::Alone(role) => {
                let mut actions = std::mem::take(&mut self.actions);
                role.serve(now, &mut actions);
                self.carry_out_all(now, &mut actions, post);
                self.actions = actions;
            }
            Seat::Member(member) => {
                let actions = member.begin(now, reactor)?;
                self.stands_as(now, node::Standing::Looking);
                self.carry_out_for_member(now, actions, post);
                self.tell_log_base(now, post);
            }
        }
        self.go_on(post);
        Ok(())
    }

    /// Gives the role one input and carries out what it asks for.
    pub fn step(&mut self, now: Now, input: Input, post: &mut Post) {
        self.goes_on &= !matches!(input, Input::GoOn);
        match &mut self.seat {
            Seat::Alone(role) => {
                let mut actions = std::mem::take(&mut self.actions);
                role.step(now, input, &mut actions);
                self.carry_out_all(now, &mut actions, post);
                self.actions = actions;
                self.go_on(post);
            }
            Seat::Member(_) => self.step_member(now, node::Input::Role(input), post),
        }
    }

    /// Gives the role an input of a core that had heard of this era last.
    pub fn hear(&mut self, now: Now, era: Era, input: Input, post: &mut Post) {
        match &self.seat {
            Seat::Alone(_) => self.step(now, input, post),
            Seat::Member(_) => {
                self.goes_on &= !matches!(input, Input::GoOn);
                self.step_member(now, node::Input::Client(era, input), post);
            }
        }
    }

    /// The time that [`Self::next_deadline`] named has come.
    pub fn tick(&mut self, now: Now, post: &mut Post) {
        match &self.seat {
            Seat::Alone(_) => self.step(now, Input::Tick, post),
            Seat::Member(_) => {
                self.step_member(now, node::Input::Tick, post);
                if self.read_only_at_ms.is_some_and(|at| at <= now.mono_ms) {
                    self.serve_read_only(now, post);
                }
            }
        }
    }

    /// A member that looks for a leader will serve clients that only read, unless it finds one soon.
    fn stands_as(&mut self, now: Now, standing: node::Standing) {
        let is_looking = standing == node::Standing::Looking;
        self.read_only_at_ms = self.read_only_after_ms.filter(|_| is_looking).map(|after_ms| now.mono_ms + after_ms);
    }

    fn serve_read_only(&mut self, now: Now, post: &mut Post) {
        self.read_only_at_ms = None;
        self.step(now, Input::ServeReadOnly, post);
        self.status.set_read_only();
        info!("no leader is in sight: clients that only read are served");
        let Seat::Member(member) = &self.seat else { return };
        if let Some(era) = member.node().map(node::Node::era) {
            self.serve_as(Serving::ReadOnly, era, post);
        }
    }

    fn serve_as(&self, serving: Serving, era: Era, post: &mut Post) {
        for core in 0..self.topology.cores() {
            post.send(CoreId(core), Mail::Serving(serving, era));
        }
    }

    /// The log is durable up to here.
    pub fn log_is_durable(&mut self, now: Now, durable: Durable<Zxid>, post: &mut Post) {
        match &self.seat {
            Seat::Alone(_) => self.step(now, Input::Durable(durable), post),
            Seat::Member(_) => {
                self.tell_log_base(now, post);
                if self.cutting.is_some() && self.wal.is_cutting() {
                    return;
                }
                match self.cutting.take() {
                    None => self.step_member(now, node::Input::Durable(durable), post),
                    Some(Cutting::Truncated) => self.step_member(now, node::Input::LogTruncated(durable), post),
                    Some(Cutting::Installs(state)) => {
                        if self.install(now, *state, post) {
                            self.step_member(now, node::Input::SnapshotInstalled(durable), post);
                        }
                    }
                }
            }
        }
    }

    /// Where the log begins has perhaps changed. `snapshotSizeFactor` below 0 forbids to read it for others.
    fn tell_log_base(&mut self, now: Now, post: &mut Post) {
        if self.wal.is_cutting() {
            return;
        }
        let base = Some(self.wal.layout().base());
        if self.context.config.ensemble.snapshot_size_factor >= 0.0 && base != self.log_base {
            self.log_base = base;
            self.step_member(now, node::Input::LogBase(base), post);
        }
    }

    /// Gives the member one input and carries out what it asks for. Does nothing for an ensemble of one.
    pub fn step_member(&mut self, now: Now, input: node::Input<'_>, post: &mut Post) {
        if let node::Input::LearnerClosed(learner) = input {
            self.end_outgoing(Some(learner), post);
        }
        let Seat::Member(member) = &mut self.seat else { return };
        let actions = member.step(now, input);
        self.carry_out_for_member(now, actions, post);
        self.go_on(post);
    }

    /// What the role has still to commit comes behind what it has said so far.
    fn go_on(&mut self, post: &mut Post) {
        if !self.goes_on && self.role().is_some_and(Role::has_ready) {
            self.goes_on = true;
            // Nobody's request: it is of any era.
            post.send(self.topology.role(), Mail::Role(Era::default(), Input::GoOn));
        }
    }

    fn carry_out_for_member(&mut self, now: Now, actions: Vec<node::Action>, post: &mut Post) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            let Seat::Member(member) = &mut self.seat else { return };
            match action {
                node::Action::Role(action) => self.carry_out(now, action, post),
                node::Action::PersistEpochs(epochs) => match member.epochs.store(epochs) {
                    Ok(()) => queue.extend(member.step(now, node::Input::EpochsPersisted)),
                    Err(problem) => self.fault = Some(format!("a promise could not be written: {problem}")),
                },
                node::Action::TruncateLog(to) => match self.wal.truncate(to) {
                    Ok(Truncation::Done) => {
                        let end = self.wal.durable();
                        queue.extend(member.step(now, node::Input::LogTruncated(end)));
                    }
                    Ok(Truncation::Pending) => self.cutting = Some(Cutting::Truncated),
                    Err(problem) => self.fault = Some(problem.to_string()),
                },
                node::Action::Standing(standing, era) => {
                    if let Some(node) = member.node() {
                        self.status.set(node);
                    }
                    self.stands_as(now, standing);
                    self.settled_ms = now.mono_ms + CHECKPOINT_SETTLE_MS;
                    self.serve_as(if standing.serves() { Serving::ReadWrite } else { Serving::No }, era, post);
                }
                node::Action::Repaired => {
                    if let Err(problem) = repair::ended(&self.context) {
                        warn!("the mark of a repair stays ({problem}): the next start will repair this server again");
                    }
                }
                node::Action::Fail(why) => self.fault = Some(why),
                node::Action::SnapshotWanted(learner) => {
                    let Some(system) = member.role().map(Role::system_state) else { continue };
                    let zxid = system.zxid;
                    let number = self.snapshots.begin(system, post);
                    self.outgoing.push((learner, number));
                    queue.extend(member.step(now, node::Input::SnapshotAt(learner, zxid)));
                }
                node::Action::ReadLog { learner, after, upto, bytes_max } => {
                    let wish = LogWish { learner, after, upto, bytes_max };
                    if !self.read_log(wish, post) {
                        let Seat::Member(member) = &mut self.seat else { return };
                        let instead = node::Input::LogRead { learner, entries: Vec::new(), done: true };
                        queue.extend(member.step(now, instead));
                    }
                }
                node::Action::SnapshotBegin(zxid) => {
                    self.incoming_count += 1;
                    let (number, reply) = (self.incoming_count, post.return_address());
                    match Incoming::begin(&self.context, number, zxid, reply) {
                        Ok(incoming) => self.incoming = Some(incoming),
                        Err(problem) => self.fault = Some(format!("no thread for the leader's snapshot: {problem}")),
                    }
                }
                node::Action::SnapshotBytes(bytes) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.bytes(bytes);
                    }
                }
                node::Action::SnapshotEnd { entries, .. } => {
                    self.behind = Some(entries);
                    self.seal();
                }
                node::Action::SnapshotDrop => self.incoming = None,
                node::Action::CloseLearner(learner) => {
                    self.end_outgoing(Some(learner), post);
                    let Seat::Member(member) = &mut self.seat else { return };
                    member.post(node::Action::CloseLearner(learner));
                }
                node::Action::Listen(false) => {
                    self.end_outgoing(None, post);
                    let Seat::Member(member) = &mut self.seat else { return };
                    member.post(node::Action::Listen(false));
                }
                node::Action::CloseLeader => {
                    // One that is becoming the state does so all the same: the member waits for it.
                    if self.behind.is_none() {
                        self.incoming = None;
                    }
                    member.post(node::Action::CloseLeader);
                }
                node::Action::KeepLastSeen(ensemble) => {
                    if let Err(problem) = member.keep_last_seen(&ensemble) {
                        self.fault = Some(problem.to_string());
                    }
                }
                node::Action::Activate(ensemble) => self.activate(ensemble, post),
                network => member.post(network),
            }
        }
    }

    /// Has the log read for a learner, unless that is too much of it.
    fn read_log(&mut self, wish: LogWish, post: &mut Post) -> bool {
        if !self.log_reads.has_begun(wish.learner) {
            let log_bytes = self.wal.layout().bytes_behind(wish.after);
            let snapshot_bytes = self.role().map_or(0, snapshot_bytes);
            let share = self.context.config.ensemble.snapshot_size_factor;
            if !log_is_worthwhile(log_bytes, snapshot_bytes, share) {
                info!(log_bytes, snapshot_bytes, "a learner lacks so much of the log that a snapshot is better");
                return false;
            }
        }
        match self.log_reads.read(&self.wal, wish, post.return_address()) {
            Ok(()) => true,
            Err(problem) => {
                warn!("the log cannot be read for a learner: {problem}");
                false
            }
        }
    }

    /// The thread that reads the log for learners has read some.
    pub fn log_piece(&mut self, now: Now, piece: LogPiece, post: &mut Post) {
        let learner = piece.learner;
        if let Some((entries, done)) = self.log_reads.take(piece, &self.wal) {
            self.step_member(now, node::Input::LogRead { learner, entries, done }, post);
        }
    }

    /// Somebody wants to know which learners there are.
    pub fn count_learners(&self) {
        if let Seat::Member(member) = &self.seat
            && let Some(node) = member.node()
        {
            self.status.count_learners(node);
        }
    }

    /// A configuration is in force: into the files, and the sockets follow.
    fn activate(&mut self, ensemble: Arc<Ensemble>, post: &mut Post) {
        let Seat::Member(member) = &mut self.seat else { return };
        if let Some(client) = member.own(&ensemble).and_then(|own| own.client.as_ref()) {
            self.clients.move_to(client, &self.context, post);
        }
        if let Err(problem) = member.activate(ensemble) {
            self.fault = Some(problem.to_string());
        }
        if let Some(node) = member.node() {
            self.status.set(node);
        }
    }

    fn end_outgoing(&mut self, whose: Option<LearnerId>, post: &mut Post) {
        self.log_reads.end(whose);
        for (learner, number) in std::mem::take(&mut self.outgoing) {
            if whose.is_none_or(|whose| whose == learner) {
                self.snapshots.end(number, post);
            } else {
                self.outgoing.push((learner, number));
            }
        }
    }

    /// Hands on what there is of learners' snapshots, as far as they have room.
    fn pump_snapshots(&mut self, now: Now, post: &mut Post) {
        for (learner, number) in self.outgoing.clone() {
            while let Seat::Member(member) = &self.seat
                && member.node().is_some_and(|node| node.has_room_for(learner))
            {
                match self.snapshots.next_chunk(number, post) {
                    SnapshotBytes::Chunk(bytes) => {
                        self.step_member(now, node::Input::SnapshotBytes(learner, bytes.into()), post);
                    }
                    SnapshotBytes::Waiting => break,
                    SnapshotBytes::Done => {
                        self.end_outgoing(Some(learner), post);
                        self.step_member(now, node::Input::SnapshotEnd(learner), post);
                        break;
                    }
                    SnapshotBytes::Lost => {
                        self.end_outgoing(Some(learner), post);
                        if let Some(member) = self.member() {
                            member.post(node::Action::CloseLearner(learner));
                        }
                        self.step_member(now, node::Input::LearnerClosed(learner), post);
                        break;
                    }
                }
            }
        }
    }

    /// Has the snapshot made ready to become the state, unless a checkpoint is under way.
    fn seal(&mut self) {
        if self.behind.is_some()
            && self.checkpoint.is_none()
            && let Some(incoming) = &self.incoming
        {
            incoming.seal();
        }
    }

    /// The thread that takes in the leader's snapshot has something to say.
    pub fn incoming(&mut self, now: Now, number: u64, event: IncomingEvent, post: &mut Post) {
        if self.incoming.as_ref().is_none_or(|incoming| incoming.number != number) {
            return;
        }
        match event {
            IncomingEvent::Parsed(rest) => {
                let rest = self.incoming.as_mut().map(|incoming| incoming.behind(rest)).unwrap_or_default();
                self.step_member(now, node::Input::SnapshotParsed(rest), post);
            }
            IncomingEvent::Room => {}
            IncomingEvent::Failed(why) => {
                warn!("the leader's snapshot cannot be taken in: {why}");
                (self.incoming, self.behind) = (None, None);
                if let Some(member) = self.member() {
                    member.post(node::Action::CloseLeader);
                }
                self.step_member(now, node::Input::SnapshotFailed, post);
            }
            IncomingEvent::Ready(state) => {
                let records = self.behind.as_deref().unwrap_or_default();
                match self.wal.reset(state.zxid, records) {
                    Ok(()) => self.cutting = Some(Cutting::Installs(state)),
                    Err(problem) => self.fault = Some(problem.to_string()),
                }
            }
        }
    }

    /// The log has begun anew behind the leader's snapshot, which takes the place of the last checkpoint, and of what is in
    /// memory. False if the server must stop instead.
    fn install(&mut self, now: Now, state: LoadedState, post: &mut Post) -> bool {
        let LoadedState { zxid, shards, ledger, system } = state;
        if let Err(problem) = NextManifest::of(&self.context).take_over() {
            self.fault = Some(format!("the manifest of the leader's snapshot cannot take its place: {problem}"));
            return false;
        }
        let logged = self.behind.take().unwrap_or_default();
        self.incoming = None;
        self.since_checkpoint = 0;
        self.measuring.clear();
        for shard in shards {
            let home = self.topology.home(shard.id());
            post.send(home, Mail::ReplaceShard(Box::new(shard)));
        }
        let mut actions = Vec::new();
        let Some(node) = self.member().and_then(MemberHost::node_mut) else { return false };
        if let Err(fault) = node.role_mut().restart_from_snapshot(ledger, zxid, &system.sessions, &logged, &mut actions)
        {
            self.fault = Some(fault.to_string());
            return false;
        }
        self.carry_out_all(now, &mut actions, post);
        true
    }

    /// Does what members have to say to each other. Call at the end of a turn, before the log gets what has gathered.
    pub fn talk_to_peers(&mut self, now: Now, reactor: &mut Reactor, post: &mut Post) {
        self.pump_snapshots(now, post);
        let reply = post.return_address();
        let has_room = self.incoming.as_ref().is_none_or(Incoming::has_room);
        loop {
            let Seat::Member(member) = &mut self.seat else { return };
            match member.next_network(reactor, &reply) {
                Some(Some(input)) => self.step_member(now, input, post),
                Some(None) => {}
                None => {
                    member.pace(has_room, reactor);
                    return;
                }
            }
        }
    }

    /// Hands the log what has gathered, and takes a checkpoint when one is due. Call at the end of a turn.
    pub fn end_of_turn(&mut self, clock: &Clock, reactor: &mut Reactor, post: &mut Post) {
        if self.checkpoint.is_none() && self.incoming.is_none() && self.wants_checkpoint(clock) && self.takes_effect() {
            self.step(clock.now(), Input::CheckpointDue, post);
        }
        self.submit_log(reactor, post);
    }

    /// Whether enough has been logged for a checkpoint, or the logs of the partitions take too much space, and the pause
    /// behind the last one is over.
    fn wants_checkpoint(&self, clock: &Clock) -> bool {
        let is_crowded = self.since_checkpoint > 0 && self.context.log_space.is_crowded();
        if !is_crowded && self.since_checkpoint < self.snap_count {
            return false;
        }
        let now_ms = clock.now().mono_ms;
        now_ms >= self.settled_ms
            && self.last_checkpoint.as_ref().is_none_or(|last| {
                let pause_ms = checkpoint::pause_after_ms(last.took_ms, last.paused, is_crowded);
                now_ms.saturating_sub(last.ended_ms) >= pause_ms
            })
    }

    /// Whether what is logged takes effect at once: a member that catches up would only write down again what it was.
    fn takes_effect(&self) -> bool {
        match &self.seat {
            Seat::Alone(_) => true,
            Seat::Member(member) => member.node().is_some_and(|node| node.standing().serves()),
        }
    }

    /// Hands the log what has gathered, unless it is still busy.
    pub fn submit_log(&mut self, reactor: &mut Reactor, post: &mut Post) {
        let committed = self.role().map_or(Zxid::ZERO, Role::committed);
        self.wal.submit(committed, reactor, post);
    }

    /// A shard's part of a measurement.
    pub fn measured(&mut self, now: Now, part: Measured, post: &mut Post) {
        let Some((sum, left)) = self.measuring.get_mut(&part.path) else { return };
        sum.count += part.usage.count;
        sum.bytes += part.usage.bytes;
        *left -= 1;
        if *left == 0 {
            let usage = *sum;
            self.measuring.remove(&part.path);
            self.step(now, Input::Measured { path: part.path, usage }, post);
        }
    }

    /// A shard's part of a checkpoint; the whole, once it is complete.
    pub fn cut(&mut self, cut: ShardCut) -> Option<CutAll> {
        let checkpoint = self.checkpoint.as_mut().filter(|checkpoint| checkpoint.zxid == cut.zxid)?;
        checkpoint.cuts.push(cut);
        if checkpoint.cuts.len() < usize::from(self.topology.shards()) {
            return None;
        }
        let cuts = std::mem::take(&mut checkpoint.cuts);
        let (zxid, system) = (checkpoint.zxid, std::mem::take(&mut checkpoint.system));
        Some(CutAll { zxid, system, is_installed: self.wal.is_resetting(), cuts })
    }

    /// The manifest with this zxid is durable, after pauses of `paused`: the log below it is no longer needed.
    pub fn checkpoint_done(
        &mut self,
        now: Now,
        zxid: Zxid,
        paused: Duration,
        metrics: &mut CoreMetrics,
        post: &mut Post,
    ) {
        if let Some(checkpoint) = self.checkpoint.take() {
            let took_ms = now.mono_ms.saturating_sub(checkpoint.begun_ms);
            metrics.add(BasicSummary::SnapshotTime, took_ms.unsigned_abs());
            let is_crowded = self.context.log_space.is_crowded();
            debug!(%zxid, took_ms, ?paused, is_crowded, "checkpoint is durable");
            self.last_checkpoint = Some(LastCheckpoint { ended_ms: now.mono_ms, took_ms, paused });
        }
        self.seal();
        self.wal.retire(zxid, self.log_reads.oldest(), post);
        self.tell_log_base(now, post);
        for shard in 0..self.topology.shards() {
            let shard = engine::ids::ShardId(shard);
            post.send(self.topology.home(shard), Mail::Shard(ShardMail::CheckpointDone));
        }
    }

    fn carry_out_all(&mut self, now: Now, actions: &mut Vec<Action>, post: &mut Post) {
        for action in actions.drain(..) {
            self.carry_out(now, action, post);
        }
    }

    fn carry_out(&mut self, now: Now, action: Action, post: &mut Post) {
        match action {
            Action::Append { zxid, bytes } => {
                self.since_checkpoint += 1;
                self.wal.append(zxid, &bytes);
            }
            Action::DefineAcl { id, list } => {
                for core in 0..self.topology.cores() {
                    post.send(engine::ids::CoreId(core), Mail::DefineAcl(id, Arc::clone(&list)));
                }
            }
            Action::Route { shard, txn } => {
                let zxid = txn.zxid;
                post.send(self.topology.home(shard), Mail::Shard(ShardMail::Apply(txn)));
                self.marks.route(shard, zxid);
            }
            Action::Publish { commit } => self.marks.publish(commit),
            Action::Answer(answer) => {
                post.send(answer.origin.core, Mail::Client(ClientMail::Answer(answer)));
            }
            Action::SyncDone { origin, at } => {
                post.send(origin.core, Mail::Client(ClientMail::SyncDone { origin, at }));
            }
            Action::Connected { core, conn, session, timeout_ms, password, at } => {
                let connected = ClientMail::Connected { conn, session, timeout_ms, password, at };
                post.send(core, Mail::Client(connected));
            }
            Action::Refused { core, conn } => post.send(core, Mail::Client(ClientMail::Refused { conn })),
            Action::CloseConnection { core, conn, at, .. } => {
                post.send(core, Mail::Client(ClientMail::Close { conn, at }));
            }
            Action::Ephemerals { origin, at, paths } => {
                post.send(origin.core, Mail::Client(ClientMail::Ephemerals { origin, at, paths }));
            }
            Action::Measure { path, at: _ } => {
                let owed = (SubtreeUsage::default(), self.topology.shards());
                self.measuring.insert(Arc::clone(&path), owed);
                for shard in 0..self.topology.shards() {
                    let shard = engine::ids::ShardId(shard);
                    let mail = ShardMail::Measure { path: Arc::clone(&path) };
                    post.send(self.topology.home(shard), Mail::Shard(mail));
                }
            }
            Action::Checkpoint { zxid, system } => {
                self.since_checkpoint = 0;
                self.checkpoint = Some(Checkpoint { begun_ms: now.mono_ms, zxid, system, cuts: Vec::new() });
                for shard in 0..self.topology.shards() {
                    let shard = engine::ids::ShardId(shard);
                    let mail = ShardMail::Checkpoint { zxid };
                    post.send(self.topology.home(shard), Mail::Shard(mail));
                }
            }
            Action::Drained { .. } => self.drained = true,
            Action::Fail(fault) => self.fault = Some(fault.to_string()),
            // An ensemble of one has nobody to say these to, and a member has taken them out.
            Action::Forward { .. }
            | Action::ForwardSync { .. }
            | Action::Revalidate { .. }
            | Action::Revalidated { .. }
            | Action::SyncFor { .. }
            | Action::Resign => {}
        }
    }
}
