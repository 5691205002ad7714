//! One node of a snapshot, and the numbers that ACLs have in it.

use engine::acl::AclId;
use engine::jute::{DecodeError, Reader, Writer};
use engine::node_owner::NodeOwner;
use engine::partition::{NodeEntry, NodeView};
use engine::zxid::Zxid;
use std::borrow::Cow;

/// `StatPersisted`: what is stored of a node beside path, data and ACL. Times are milliseconds since the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatPersisted {
    /// zxid of the creation.
    pub czxid: Zxid,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the creation.
    pub ctime: i64,
    /// Time of the last setData.
    pub mtime: i64,
    /// setData count.
    pub version: i32,
    /// Children ever created, which is not what clients see ([`engine::stat::wire_cversion`]).
    pub cversion: i32,
    /// setACL count.
    pub aversion: i32,
    /// Session, or the mark of a container or TTL node.
    pub owner: NodeOwner,
    /// zxid of the last creation or deletion of a child.
    pub pzxid: Zxid,
}

impl StatPersisted {
    /// Length in bytes.
    pub const WIRE_BYTES: usize = 60;

    /// What is stored of a node of a shard.
    pub fn of(entry: &NodeEntry, node: &NodeView<'_>) -> StatPersisted {
        StatPersisted {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: entry.cversion,
            aversion: entry.aversion,
            owner: node.owner,
            pzxid: entry.pzxid,
        }
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.long(self.czxid.to_wire());
        out.long(self.mzxid.to_wire());
        out.long(self.ctime);
        out.long(self.mtime);
        out.int(self.version);
        out.int(self.cversion);
        out.int(self.aversion);
        out.long(self.owner.0);
        out.long(self.pzxid.to_wire());
    }

    fn decode(r: &mut Reader<'_>) -> Result<StatPersisted, DecodeError> {
        Ok(StatPersisted {
            czxid: Zxid::from_wire(r.long()?),
            mzxid: Zxid::from_wire(r.long()?),
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            owner: NodeOwner(r.long()?),
            pzxid: Zxid::from_wire(r.long()?),
        })
    }
}

/// The number of an ACL within one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotAcl(pub i64);

impl SnapshotAcl {
    /// `world:anyone` with all permissions, which no table lists (`ReferenceCountedACLCache.OPEN_UNSAFE_ACL_ID`).
    pub const OPEN: SnapshotAcl = SnapshotAcl(-1);
}

impl From<AclId> for SnapshotAcl {
    /// Numbers in a snapshot are positive, and ours begin at 0.
    fn from(id: AclId) -> SnapshotAcl {
        if id == AclId::OPEN { SnapshotAcl::OPEN } else { SnapshotAcl(i64::from(id.0) + 1) }
    }
}

/// A node of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotNode<'a> {
    /// Full path; the root is "/".
    pub path: Cow<'a, str>,
    /// The data; `None` is null.
    pub data: Option<&'a [u8]>,
    /// Its ACL.
    pub acl: SnapshotAcl,
    /// Everything else.
    pub stat: StatPersisted,
}

impl SnapshotNode<'_> {
    /// Appends the node.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.string(if self.path == "/" { "" } else { &self.path });
        w.buffer(self.data);
        w.long(self.acl.0);
        self.stat.encode(&mut w);
    }
}

/// What stands where a node may stand.
pub(super) enum NodeOrEnd<'a> {
    Node(SnapshotNode<'a>),
    End,
}

/// Reads a node, or the mark behind the last one.
pub(super) fn decode<'a>(r: &mut Reader<'a>) -> Result<NodeOrEnd<'a>, DecodeError> {
    let path = match r.string()?.ok_or(DecodeError::Value("a node without path"))? {
        path if path == "/" => return Ok(NodeOrEnd::End),
        path if path.is_empty() => Cow::Borrowed("/"),
        path => path,
    };
    let data = r.buffer()?;
    let acl = SnapshotAcl(r.long()?);
    let stat = StatPersisted::decode(r)?;
    Ok(NodeOrEnd::Node(SnapshotNode { path, data, acl, stat }))
}
