//! What connections ask of the replication role, and what it answers.
//!
//! A request arrives decoded: nothing that did not decode is ever ordered (an undecodable body that ZooKeeper gives a
//! zxid all the same comes as [`WriteOp::Refused`]). [`codec`] has the records.

pub mod codec;

use bytes::Bytes;
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::ids::{Origin, SessionId};
use engine::zxid::Zxid;
use std::sync::Arc;

/// A write, to be validated and ordered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteRequest {
    /// Who waits for the answer; `None` for requests of the server's own.
    pub origin: Option<Origin>,
    /// The session that asks.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// Credentials at the moment the frame arrived.
    pub identity: Arc<Identity>,
    /// What is to be done.
    pub op: WriteOp,
}

/// The writes of the client plane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteOp {
    /// create, create2, createContainer, createTTL.
    Create(CreateOp),
    /// delete.
    Delete(DeleteOp),
    /// setData.
    SetData(SetDataOp),
    /// setACL.
    SetAcl {
        /// The node.
        path: Box<str>,
        /// The list wished for.
        acl: AclSpec,
        /// Expected aversion; -1 for any.
        version: i32,
    },
    /// multi of writes and checks.
    Multi(Vec<MultiOp>),
    /// reconfig.
    Reconfig(ReconfigOp),
    /// closeSession by the client.
    CloseSession,
    /// A request that takes a zxid and fails with this code whatever the tree holds.
    Refused(ErrorCode),
}

/// The opcodes that create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateKind {
    /// create (1): answers with the path.
    Create,
    /// create2 (15): answers with path and Stat.
    Create2,
    /// createContainer (19): path and Stat.
    Container,
    /// createTTL (21): path and Stat.
    Ttl {
        /// Milliseconds to live, as the client gave them.
        ttl_ms: i64,
    },
}

/// A node to create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateOp {
    /// Which opcode.
    pub kind: CreateKind,
    /// Path as asked for, without sequence suffix.
    pub path: Box<str>,
    /// Data; `None` is null.
    pub data: Option<Bytes>,
    /// The list wished for.
    pub acl: AclSpec,
    /// Flags as the client sent them (`CreateMode`), unchecked.
    pub flags: i32,
}

/// A node to delete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteOp {
    /// The node.
    pub path: Box<str>,
    /// Expected version; -1 for any.
    pub version: i32,
}

/// Data to set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetDataOp {
    /// The node.
    pub path: Box<str>,
    /// Data; `None` is null.
    pub data: Option<Bytes>,
    /// Expected version; -1 for any.
    pub version: i32,
}

/// One op of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOp {
    /// A creation.
    Create(CreateOp),
    /// A deletion.
    Delete(DeleteOp),
    /// A setData.
    SetData(SetDataOp),
    /// A version check.
    Check {
        /// The node.
        path: Box<str>,
        /// Expected version; -1 for any.
        version: i32,
    },
}

/// An ACL as the client sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AclSpec {
    /// Exactly `world:anyone` with all permissions, recognised while decoding because nearly all are.
    Open,
    /// Anything else; `None` is a null vector.
    List(Option<Vec<AclEntry>>),
}

/// One entry of an ACL as the client sent it, not yet fixed up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclEntry {
    /// Permission bits, verbatim.
    pub perms: i32,
    /// Scheme; `None` is null.
    pub scheme: Option<Box<str>>,
    /// Id; `None` is null.
    pub id: Option<Box<str>>,
}

/// The fields of `ReconfigRequest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReconfigOp {
    /// Servers to add or change.
    pub joining: Option<Box<str>>,
    /// Ids to remove.
    pub leaving: Option<Box<str>>,
    /// Full replacement.
    pub members: Option<Box<str>>,
    /// Expected version of the configuration; -1 for any.
    pub config_version: i64,
}

/// The answer to a write. It holds from the moment that the connection's view has reached `zxid`; Stats that it needs
/// come from the shards before that ([`engine::piece::CapturedStat`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteAnswer {
    /// Who waits.
    pub origin: Origin,
    /// The zxid that the write, or its failure, took.
    pub zxid: Zxid,
    /// What became of it.
    pub result: Result<WriteResult, ErrorCode>,
}

/// What a successful write (or a multi, which always answers with header error 0) reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteResult {
    /// Created; the reply carries the path, and the Stat (op 0) if `stat`.
    Created {
        /// Final path.
        path: Arc<str>,
        /// Whether a Stat belongs to the reply.
        stat: bool,
    },
    /// Nothing but the header: delete, closeSession.
    Done,
    /// The Stat (op 0): setData, setACL.
    Stat,
    /// Data and Stat (op 0) of /zookeeper/config: reconfig.
    Config {
        /// The new configuration.
        data: Bytes,
    },
    /// One result per op.
    Multi(Vec<MultiResult>),
}

/// Result of one op of a multi. Those with Stats get them from the shards under their index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiResult {
    /// create: path.
    Created(Arc<str>),
    /// create2, createContainer, createTTL: path and Stat; result type 15 on the wire.
    CreatedWithStat(Arc<str>),
    /// delete.
    Deleted,
    /// setData: Stat.
    SetData,
    /// check.
    Checked,
    /// The multi failed: 0 before the failing op, its code, [`ErrorCode::RuntimeInconsistency`] behind it.
    Failed(i32),
}
