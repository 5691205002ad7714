//! What a core hosts besides its connections, and what it therefore can do for them: the [`Cx`] of the connection
//! machine.

use super::admission::Admission;
use super::mail::{Mail, ShardMail};
use super::post::Post;
use super::role_host::RoleHost;
use super::shard_host::ShardHost;
use super::topology::Topology;
use super::view::View;
use crate::connection::{Cx, HandshakeKind, ReadCall, ReadDispatch, ReadTarget, Serving};
use crate::metrics::CoreMetrics;
use engine::acl::{AclId, AclTable, Identity};
use engine::ids::{CoreId, Origin, SessionId, ShardId};
use engine::read::ReadRequest;
use engine::zxid::Zxid;
use replication::node::Era;
use replication::request::WriteRequest;
use replication::role::{ConnectRequest, Input, Now};
use std::sync::Arc;

/// Everything of a core but its reactor and its connections.
pub struct Parts {
    /// The core.
    pub id: CoreId,
    /// Who lives where.
    pub topology: Arc<Topology>,
    /// The way to other cores.
    pub post: Post,
    /// The interned ACLs.
    pub acls: AclTable,
    /// The shard that lives here.
    pub shard: Option<ShardHost>,
    /// The replication role, if it lives here.
    pub role: Option<RoleHost>,
    /// The core's view.
    pub view: View,
    /// The clocks as of this turn.
    pub now: Now,
    /// Limits of the whole server.
    pub admission: Arc<Admission>,
    /// The core's figures.
    pub metrics: CoreMetrics,
    /// Sessions heard of since the role was last told.
    pub touched: Vec<SessionId>,
    /// Whether clients are served.
    pub serving: Serving,
    /// The era that this core has heard of last.
    pub era: Era,
    /// Requests handed to the role and not answered yet, from connections of this core.
    pub outstanding: usize,
    /// `globalOutstandingLimit`.
    pub outstanding_max: usize,
    /// For the throttle's chance: a pseudo-random sequence.
    pub dice: u64,
}

impl Parts {
    /// Gives the role an input of this core's, wherever the role lives.
    pub fn tell_role(&mut self, input: Input) {
        self.pass_to_role(self.era, input);
    }

    /// Gives the role an input of a core that had heard of this era last.
    pub fn pass_to_role(&mut self, era: Era, input: Input) {
        match &mut self.role {
            Some(role) => role.hear(self.now, era, input, &mut self.post),
            None => self.post.send(self.topology.role(), Mail::Role(era, input)),
        }
    }

    fn roll(&mut self) -> f64 {
        self.dice = self.dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Cx for Parts {
    fn view(&self) -> Zxid {
        self.view.now()
    }

    fn last_processed(&self) -> Zxid {
        self.view.committed()
    }

    fn serving(&self) -> Serving {
        self.serving
    }

    fn now_ms(&self) -> i64 {
        self.now.mono_ms
    }

    fn shards(&self) -> u16 {
        self.topology.shards()
    }

    fn shard_of(&self, path: &str) -> ShardId {
        self.topology.shard_of_path(path)
    }

    fn read(&mut self, call: ReadCall<'_>, out: &mut Vec<u8>) -> ReadDispatch {
        let shard = match call.target {
            ReadTarget::Shard(shard) => shard,
            ReadTarget::Owner => self.topology.shard_of_path(call.op.path().unwrap_or("/")),
        };
        if let Some(host) = self.shard.as_mut().filter(|host| host.id() == shard) {
            return host.read(&self.acls, self.view.now(), call, out);
        }
        let request = ReadRequest {
            origin: call.origin,
            part: call.part,
            view: self.view.now(),
            identity: Arc::clone(call.identity),
            op: call.op.to_owned_op(),
        };
        self.view.sent();
        self.post.send(self.topology.home(shard), Mail::Shard(ShardMail::Read(request)));
        ReadDispatch::Later
    }

    fn has_room(&self, outstanding: usize) -> bool {
        if self.post.is_congested() {
            return false;
        }
        let role_has_room = self.role.as_ref().is_none_or(RoleHost::has_room);
        outstanding == 0 || (role_has_room && self.outstanding < self.outstanding_max)
    }

    fn write(&mut self, request: WriteRequest) {
        self.outstanding += usize::from(request.origin.is_some());
        self.tell_role(Input::Write(request));
    }

    fn sync(&mut self, origin: Origin, session: SessionId) {
        self.outstanding += 1;
        self.tell_role(Input::Sync { origin, session });
    }

    fn ephemerals(&mut self, origin: Origin, session: SessionId, prefix: Option<Box<str>>) {
        self.tell_role(Input::Ephemerals { origin, session, prefix });
    }

    fn connect(&mut self, request: ConnectRequest) {
        self.tell_role(Input::Connect(request));
    }

    fn touch(&mut self, session: SessionId) {
        self.touched.push(session);
    }

    fn acl_permits(&self, acl: AclId, perm: i32, identity: &Identity) -> bool {
        self.acls.permits(acl, perm, identity)
    }

    fn admit_handshake(&mut self, kind: HandshakeKind) -> bool {
        let dice = self.roll();
        self.admission.admit_handshake(kind == HandshakeKind::Renewal, self.now.mono_ms, dice)
    }

    fn reserve_large(&mut self, bytes: usize) -> bool {
        self.admission.reserve_large(bytes)
    }

    fn release_large(&mut self, bytes: usize) {
        self.admission.release_large(bytes);
    }

    fn begin_request(&mut self) -> bool {
        self.admission.begin_request()
    }

    fn end_requests(&mut self, count: usize) {
        self.admission.end_requests(count);
    }

    fn metrics(&mut self) -> &mut CoreMetrics {
        &mut self.metrics
    }
}
