//! Three members around their roles, joined by queues that are delivered in any order but their own. What elects, counts
//! and synchronises is as plain as can be here; what is looked at is the roles.

mod clients;
mod random;
mod rules;

use super::*;
use crate::request::WriteResult;
use crate::session::LearnerId;
use bytes::Bytes;
use engine::error_code::ErrorCode;
use engine::txn::Txn;
use model::{Ask, Model};
use std::collections::{BTreeSet, VecDeque};

const MEMBERS: usize = 3;

/// From a leader to a learner.
#[derive(Clone, Debug)]
enum Down {
    Proposal(Zxid, Bytes),
    Commit(Zxid),
    Sync,
    Revalidated(SessionId, bool),
}

/// From a learner to its leader.
#[derive(Clone, Debug)]
enum Up {
    Ack(Zxid),
    Request { session: SessionId, cxid: i32, opcode: i32, body: Bytes, ids: Option<Arc<Identity>> },
    Sync,
    Revalidate(SessionId, i32),
    Touches(Vec<(SessionId, i32)>),
}

/// A member, as its leader sees it.
#[derive(Default)]
struct Link {
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    learner: u64,
    /// Up to where the member has said that its log is durable.
    acked: Zxid,
}

/// What a client may expect.
#[derive(Clone, PartialEq, Debug)]
struct Expected {
    zxid: Zxid,
    result: Result<WriteResult, ErrorCode>,
}

/// The name of a request: member, session and xid.
type Name = (usize, SessionId, i32);

struct Cluster {
    members: Vec<Host>,
    links: Vec<Link>,
    leader: usize,
    epoch: u32,
    /// What the leader has told everybody to be decided.
    decided: Zxid,
    learners: u64,
    model: Model,
    /// The model after every zxid of the leader's log.
    past: BTreeMap<Zxid, Model>,
    /// Who owns sessions, as the leader must see it: a learner's number, or a connection of its own, negated.
    owners: BTreeMap<SessionId, i64>,
    expected: BTreeMap<Name, Expected>,
    /// Requests by their origins on their members.
    names: BTreeMap<(usize, u64), Name>,
    /// Requests whose clients have been cut off.
    forgotten: BTreeSet<Name>,
    answered: BTreeMap<Name, Expected>,
    syncs: BTreeMap<(usize, u64), Zxid>,
    slots: u32,
    xids: i32,
    /// Where a member that has started again stood then.
    restarted_at: [Option<Zxid>; MEMBERS],
}

impl Cluster {
    fn new(shards: u16) -> Cluster {
        let members = (0..MEMBERS)
            .map(|at| {
                let mut settings = config(shards);
                settings.server = at as u8 + 1;
                settings.outstanding_max = 100_000;
                settings.outstanding_bytes_max = 1 << 30;
                Host::member(settings)
            })
            .collect();
        let mut cluster = Cluster {
            members,
            links: (0..MEMBERS).map(|_| Link::default()).collect(),
            leader: 0,
            epoch: 0,
            decided: Zxid::ZERO,
            learners: 0,
            model: Model::new(),
            past: [(Zxid::ZERO, Model::new())].into(),
            owners: BTreeMap::new(),
            expected: BTreeMap::new(),
            names: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            answered: BTreeMap::new(),
            syncs: BTreeMap::new(),
            slots: 0,
            xids: 0,
            restarted_at: [None; MEMBERS],
        };
        cluster.establish(0);
        cluster
    }

    fn role(&self, member: usize) -> &Role {
        &self.members[member].role
    }

    /// Everybody looks, `leader` leads, and the others are brought to its history.
    fn establish(&mut self, leader: usize) {
        for member in 0..MEMBERS {
            self.cut_off(member);
            self.members[member].change(|role, now, out| role.look(now, out));
            self.members[member].flush(usize::MAX >> 1);
        }
        self.leader = leader;
        self.epoch += 1;
        self.decided = self.decided.max(self.role(leader).committed());
        let end = self.role(leader).proposed();
        self.model = self.past[&end].clone();
        self.past.retain(|zxid, _| *zxid <= end);
        self.owners.clear();
        self.expected.retain(|_, expected| expected.zxid <= end);
        for member in (0..MEMBERS).filter(|member| *member != leader) {
            self.link(member);
        }
        let epoch = self.epoch;
        self.lead_step(|host| host.change(|role, now, out| role.lead(now, epoch, out)), None);
        let decided = self.decided;
        self.lead_step(|host| host.step(Input::Committed(decided)), None);
        self.count();
    }

    /// Synchronises a member with the leader's history: truncation, then what it lacks.
    fn link(&mut self, member: usize) {
        let log = self.members[self.leader].log.clone();
        let common = {
            let own: BTreeSet<Zxid> = self.members[member].log.iter().map(|(zxid, _)| *zxid).collect();
            log.iter().map(|(zxid, _)| *zxid).filter(|zxid| own.contains(zxid)).max().unwrap_or(Zxid::ZERO)
        };
        self.learners += 1;
        let host = &mut self.members[member];
        host.change(|role, now, out| role.follow(now, out));
        host.truncate(common);
        let mut link = Link { learner: self.learners, acked: common.min(host.last_durable()), ..Link::default() };
        link.down.push_back(Down::Commit(self.decided.min(common)));
        for (zxid, bytes) in log.into_iter().filter(|(zxid, _)| *zxid > common) {
            link.down.push_back(Down::Proposal(zxid, bytes));
            if zxid <= self.decided {
                link.down.push_back(Down::Commit(zxid));
            }
        }
        self.links[member] = link;
    }

    /// The clients of a member lose their connections, and what they had asked stays unanswered for ever.
    fn cut_off(&mut self, member: usize) {
        for (_, name) in self.names.extract_if((member, 0)..(member + 1, 0), |_, _| true) {
            if !self.answered.contains_key(&name) {
                self.forgotten.insert(name);
            }
        }
        self.syncs.retain(|(at, _), _| *at != member);
        self.links[member] = Link { learner: self.links[member].learner, ..Link::default() };
    }

    // ---- the leader ----

    /// A step of the leader. What it proposes for `request` is compared with the model's word.
    fn lead_step(&mut self, step: impl FnOnce(&mut Host) -> Vec<Action>, mut request: Option<Request>) {
        let leader = self.leader;
        let actions = step(&mut self.members[leader]);
        for action in actions {
            match action {
                Action::Append { zxid, bytes } => {
                    self.proposed(zxid, &bytes, request.take());
                    for (at, link) in self.links.iter_mut().enumerate() {
                        if at != leader && link.learner > 0 {
                            link.down.push_back(Down::Proposal(zxid, bytes.clone()));
                        }
                    }
                }
                Action::Revalidated { learner, session, valid } => {
                    self.tell_learner(learner, Down::Revalidated(session, valid));
                }
                Action::SyncFor { learner } => self.tell_learner(learner, Down::Sync),
                _ => {}
            }
        }
        self.hear_from(leader);
    }

    fn tell_learner(&mut self, learner: LearnerId, message: Down) {
        if let Some(link) = self.links.iter_mut().find(|link| link.learner == learner.0) {
            link.down.push_back(message);
        }
    }

    /// The model takes the leader's transaction, whose outcome it is asked for.
    fn proposed(&mut self, zxid: Zxid, bytes: &Bytes, request: Option<Request>) {
        let (header, txn) = txn::decode(bytes).unwrap();
        let identity = request.as_ref().map_or_else(Identity::exempt, |request| (*request.identity).clone());
        let ask = Ask { zxid: zxid.to_wire(), time_ms: header.time_ms, session: header.client, identity: &identity };
        match request {
            Some(Request { name, op: Some(op), from, .. }) => {
                let owner = self.owners.get(&header.client).copied();
                let lives = self.model.sessions.contains(&header.client);
                let moved = lives && op != WriteOp::CloseSession && owner.is_some_and(|owner| owner != from);
                let result = if moved { Err(ErrorCode::SessionMoved) } else { self.model.run(&ask, &op) };
                if lives && owner.is_none() && from > 0 && op != WriteOp::CloseSession {
                    self.owners.insert(header.client, from);
                }
                self.expected.insert(name, Expected { zxid, result });
            }
            Some(Request { from, .. }) => {
                assert!(matches!(txn, Txn::CreateSession { .. }));
                self.model.sessions.insert(header.client);
                self.owners.insert(header.client, from);
            }
            None => match txn {
                Txn::CloseSession { .. } => {
                    self.model.run(&ask, &WriteOp::CloseSession).unwrap();
                }
                Txn::Error { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            },
        }
        if !self.model.sessions.contains(&header.client) {
            self.owners.remove(&header.client);
        }
        self.past.insert(zxid, self.model.clone());
    }

    /// What a majority has is decided.
    fn count(&mut self) {
        self.links[self.leader].acked = self.members[self.leader].last_durable();
        let mut marks: Vec<Zxid> = self.links.iter().map(|link| link.acked).collect();
        marks.sort();
        let decided = marks[MEMBERS - 1 - MEMBERS / 2];
        if decided <= self.decided {
            return;
        }
        self.decided = decided;
        for (at, link) in self.links.iter_mut().enumerate() {
            if at != self.leader && link.learner > 0 {
                link.down.push_back(Down::Commit(decided));
            }
        }
        self.lead_step(|host| host.step(Input::Committed(decided)), None);
    }

    // ---- the network and the disks ----

    /// Delivers the next message of one queue; false if it is empty.
    fn deliver(&mut self, member: usize, upwards: bool) -> bool {
        if upwards {
            let Some(message) = self.links[member].up.pop_front() else { return false };
            self.take_up(member, message);
            return true;
        }
        let Some(message) = self.links[member].down.pop_front() else { return false };
        let input = match message {
            Down::Proposal(zxid, bytes) => Input::Proposal { zxid, bytes },
            Down::Commit(zxid) => Input::Committed(zxid),
            Down::Sync => Input::SyncReturned,
            Down::Revalidated(session, valid) => Input::Revalidated { session, valid },
        };
        self.follower_step(member, input);
        true
    }

    fn take_up(&mut self, member: usize, message: Up) {
        let number = self.links[member].learner;
        let learner = LearnerId(number);
        match message {
            Up::Ack(zxid) => {
                self.links[member].acked = self.links[member].acked.max(zxid);
                self.count();
            }
            Up::Request { session, cxid, opcode, body, ids } => {
                let op = crate::request::codec::decode(opcode, &mut engine::jute::Reader::new(&body));
                let identity = ids.clone().unwrap_or_default();
                let op = op.map(Result::unwrap);
                let request = Request { name: (member, session, cxid), op, identity, from: number as i64 };
                let input = Input::Forwarded { learner, session, cxid, opcode, body, ids };
                self.lead_step(|host| host.step(input), Some(request));
            }
            Up::Sync => self.lead_step(|host| host.step(Input::ForwardedSync { learner }), None),
            Up::Revalidate(session, timeout_ms) => {
                let lives = self.model.sessions.contains(&session);
                if lives {
                    self.owners.insert(session, number as i64);
                }
                let input = Input::LearnerRevalidate { learner, session, timeout_ms };
                self.lead_step(|host| host.step(input), None);
                let answer = self.links[member].down.back();
                assert!(
                    matches!(answer, Some(Down::Revalidated(asked, valid)) if *asked == session && *valid == lives)
                );
            }
            Up::Touches(sessions) => {
                self.lead_step(|host| host.step(Input::LearnerTouched { sessions }), None);
            }
        }
    }

    fn follower_step(&mut self, member: usize, input: Input) {
        let actions = self.members[member].step(input);
        for action in actions {
            let message = match action {
                Action::Forward { session, cxid, opcode, body, ids } => {
                    Up::Request { session, cxid, opcode, body, ids }
                }
                Action::ForwardSync { .. } => Up::Sync,
                Action::Revalidate { session, timeout_ms } => Up::Revalidate(session, timeout_ms),
                _ => continue,
            };
            self.links[member].up.push_back(message);
        }
        self.hear_from(member);
    }

    fn flush(&mut self, member: usize, entries: usize) {
        if member == self.leader {
            self.lead_step(|host| host.flush(entries), None);
            self.count();
        } else {
            self.members[member].flush(entries);
            let durable = self.members[member].last_durable();
            self.links[member].up.push_back(Up::Ack(durable));
            self.hear_from(member);
        }
    }

    fn ping(&mut self, member: usize) {
        if member != self.leader {
            let touches = self.members[member].role.take_touches();
            self.links[member].up.push_back(Up::Touches(touches));
        }
    }

    fn pass(&mut self, ms: i64) {
        for host in &mut self.members {
            host.now.mono_ms += ms;
            host.now.wall_ms += ms;
        }
        self.lead_step(|host| host.step(Input::Tick), None);
    }

    fn measure(&mut self, member: usize) {
        if member == self.leader {
            while let Some(path) = self.members[member].measures.pop() {
                let usage = self.members[member].replica.usage(&path);
                self.lead_step(|host| host.step(Input::Measured { path, usage }), None);
            }
        } else {
            self.members[member].measure();
            self.hear_from(member);
        }
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for member in 0..MEMBERS {
                if self.members[member].durable < self.members[member].log.len() {
                    self.flush(member, usize::MAX >> 1);
                    moved = true;
                }
                if !self.members[member].measures.is_empty() {
                    self.measure(member);
                    moved = true;
                }
                moved |= self.deliver(member, true) | self.deliver(member, false);
            }
            if !moved {
                return;
            }
        }
    }

    /// A member other than the leader dies and starts again, knowing that `known` of what it had applied was committed.
    fn restart(&mut self, member: usize, known: usize) {
        self.cut_off(member);
        let learner = LearnerId(self.links[member].learner);
        self.owners.retain(|_, owner| *owner != learner.0 as i64);
        self.links[member].learner = 0;
        self.lead_step(|host| host.step(Input::LearnerGone { learner }), None);
        self.members[member].restart_as_member(known);
        self.restarted_at[member] = Some(self.role(member).committed());
        self.link(member);
    }

    /// Members that have applied as much hold the same, which is what the model holds.
    fn compare(&self) {
        for (host, restarted_at) in self.members.iter().zip(self.restarted_at) {
            let committed = host.role.committed();
            assert_eq!(committed, host.published);
            let model = &self.past[&committed];
            let ledger = host.role.ledger();
            assert!(host.replica.nodes.keys().eq(model.nodes.keys()), "the same nodes");
            for (path, expected) in &model.nodes {
                let node = &host.replica.nodes[path];
                // What was counted after a start is shown from the next transaction on.
                let counts = path.ends_with("zookeeper_stats") && restarted_at == Some(committed);
                let data = if counts { &expected.data } else { &node.data };
                assert_eq!((data, node.stat, node.owner.0), (&expected.data, expected.stat, expected.owner), "{path}");
                assert_eq!(host.replica.acls.get(node.acl), Some(&expected.acl), "{path}");
                let known = ledger.committed_node(path).unwrap();
                assert_eq!(
                    (known.version, known.cversion, known.aversion, known.children as usize, known.acl, known.owner),
                    (
                        node.stat.version,
                        node.stat.cversion,
                        node.stat.aversion,
                        node.children.len(),
                        node.acl,
                        node.owner
                    ),
                    "{path}"
                );
            }
            let sessions: Vec<_> = host.role.sessions().committed().into_iter().map(|(id, _)| id).collect();
            assert!(sessions.iter().eq(&model.sessions), "the same sessions");
        }
    }
}

/// A request on its way through the leader.
struct Request {
    name: Name,
    /// `None` for createSession.
    op: Option<WriteOp>,
    identity: Arc<Identity>,
    /// As in [`Cluster::owners`].
    from: i64,
}
