//! Clients of the members: what they ask, and what they are told.

use super::*;

/// A client: its session, and its connection to a member.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub session: SessionId,
    pub member: usize,
    pub slot: u32,
}

impl Cluster {
    fn slot(&mut self) -> u32 {
        self.slots += 1;
        self.slots
    }

    pub fn ask_member(&mut self, member: usize, input: Input, request: Option<Request>) {
        if member == self.leader {
            self.lead_step(|host| host.step(input), request);
        } else {
            self.follower_step(member, input);
        }
    }

    /// Asks for a session; the answer comes with time.
    pub fn open(&mut self, member: usize) -> u32 {
        let slot = self.slot();
        let connect = connect(slot, SessionId::NONE);
        let name = (member, SessionId::NONE, 0);
        let request = Request { name, op: None, identity: Arc::default(), from: -i64::from(slot) };
        self.ask_member(member, Input::Connect(connect), Some(request));
        slot
    }

    /// Whether the connection has its session by now.
    pub fn opened(&mut self, member: usize, slot: u32) -> Option<Result<SessionId, ()>> {
        let said = &mut self.members[member].said;
        let at = said.iter().position(|action| match action {
            Action::Connected { conn, .. } | Action::Refused { conn, .. } => conn.slot == slot,
            _ => false,
        })?;
        match said.remove(at) {
            Action::Connected { session, .. } => Some(Ok(session)),
            _ => Some(Err(())),
        }
    }

    /// A session once everything has settled.
    pub fn client(&mut self, member: usize) -> Client {
        let slot = self.open(member);
        self.settle();
        let session = self.opened(member, slot).unwrap().unwrap();
        Client { session, member, slot }
    }

    /// The client goes on at another member.
    pub fn renew(&mut self, session: SessionId, member: usize) -> u32 {
        let slot = self.slot();
        if member == self.leader && self.model.sessions.contains(&session) {
            self.owners.insert(session, -i64::from(slot));
        }
        self.ask_member(member, Input::Connect(connect(slot, session)), None);
        slot
    }

    pub fn write(&mut self, client: Client, as_user: bool, op: WriteOp) -> Name {
        self.xids += 1;
        self.write_as(client, self.xids, as_user, op)
    }

    pub fn write_as(&mut self, client: Client, cxid: i32, as_user: bool, op: WriteOp) -> Name {
        let mut identity = Identity::anonymous();
        if as_user {
            identity.add("digest", "user:hash");
        }
        let identity = Arc::new(identity);
        let Client { session, member, slot } = client;
        let origin = self.origin_of(member, slot);
        let name = (member, session, cxid);
        self.names.insert((member, origin.seq), name);
        let conn = ConnId { slot, generation: 0 };
        let owner = self.role(member).sessions().owner(session).and_then(Owner::connection);
        if member != self.leader && owner.is_some_and(|owner| owner.conn != conn) {
            // A connection that another one of the same member has taken the session from.
            let zxid = self.role(member).committed();
            self.expected.insert(name, Expected { zxid, result: Err(ErrorCode::SessionMoved) });
        }
        let request = Request { name, op: Some(op.clone()), identity: identity.clone(), from: -i64::from(slot) };
        let write = WriteRequest { origin: Some(origin), session, cxid, identity, op };
        self.ask_member(member, Input::Write(write), Some(request));
        name
    }

    pub fn sync(&mut self, client: Client) {
        let origin = self.origin_of(client.member, client.slot);
        self.syncs.insert((client.member, origin.seq), self.decided);
        self.ask_member(client.member, Input::Sync { origin, session: client.session }, None);
    }

    fn origin_of(&mut self, member: usize, slot: u32) -> Origin {
        self.members[member].seq += 1;
        Origin { core: CoreId(0), conn: ConnId { slot, generation: 0 }, seq: self.members[member].seq }
    }

    /// Takes in what a member has told its clients.
    pub fn hear_from(&mut self, member: usize) {
        let host = &mut self.members[member];
        for answer in std::mem::take(&mut host.answers) {
            let Some(name) = self.names.remove(&(member, answer.origin.seq)) else {
                panic!("{answer:?} is owed to nobody, or was given before")
            };
            let told = Expected { zxid: answer.zxid, result: answer.result };
            assert_eq!(self.answered.insert(name, told), None, "one answer to {name:?}");
        }
        let (done, rest) =
            std::mem::take(&mut host.said).into_iter().partition(|said| matches!(said, Action::SyncDone { .. }));
        host.said = rest;
        for done in done {
            let Action::SyncDone { origin, at } = done else { continue };
            let before = self.syncs.remove(&(member, origin.seq)).unwrap();
            assert!(at >= before && at <= self.members[member].published, "what was decided is applied");
        }
    }

    /// Everybody has been told what the model says, and nobody waits.
    pub fn compare_answers(&self) {
        assert_eq!(self.names, BTreeMap::new(), "all are answered");
        assert_eq!(self.syncs, BTreeMap::new(), "all are answered");
        for (name, told) in &self.answered {
            assert_eq!(self.expected.get(name), Some(told), "{name:?}");
        }
        for name in self.expected.keys() {
            assert!(self.answered.contains_key(name) || self.forgotten.contains(name), "{name:?} has no answer");
        }
    }
}

fn connect(slot: u32, session: SessionId) -> ConnectRequest {
    let password = Some(crate::session::password(session));
    let conn = ConnId { slot, generation: 0 };
    ConnectRequest { core: CoreId(0), conn, session, timeout_ms: 8000, password }
}
