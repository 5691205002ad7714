//! A connection's way to its core during a call: everything that it may ask for or cause.

use crate::metrics::CoreMetrics;
use bytes::Bytes;
use engine::acl::{AclId, Identity};
use engine::error_code::ErrorCode;
use engine::ids::{Origin, SessionId, ShardId};
use engine::read::{ReadBody, ReadOp};
use engine::zxid::Zxid;
use replication::request::WriteRequest;
use replication::role::ConnectRequest;
use std::sync::Arc;

/// What a core does for its connections. Every call returns at once; answers that take longer come back through the
/// methods of [`super::Connection`] that name them.
pub trait Cx {
    /// The core's view: the zxid as of which reads are answered now. It never goes back.
    fn view(&self) -> Zxid;

    /// The last transaction that this server has processed on any core; never below [`Self::view`].
    fn last_processed(&self) -> Zxid;

    /// Whether clients are served, and how.
    fn serving(&self) -> Serving;

    /// Milliseconds of a monotonic clock, read once per turn of the core's loop.
    fn now_ms(&self) -> i64;

    /// Number of shards of this server, at least 1.
    fn shards(&self) -> u16;

    /// The shard that owns a path.
    fn shard_of(&self, path: &str) -> ShardId;

    /// Asks a shard, as of [`Self::view`]. A record that is there at once is appended to `out`; nothing else may be
    /// done to `out`, and nothing at all for any other answer.
    fn read(&mut self, call: ReadCall<'_>, out: &mut Vec<u8>) -> ReadDispatch;

    /// Whether the replication role takes another request from a connection that has `outstanding` unanswered ones.
    /// Where not, the connection stops decoding until [`super::Connection::resume`].
    fn has_room(&self, outstanding: usize) -> bool;

    /// Hands a write to the replication role: answered by [`super::Connection::note_answer`].
    fn write(&mut self, request: WriteRequest);

    /// Hands a sync to the replication role: answered by [`super::Connection::sync_done`].
    fn sync(&mut self, origin: Origin, session: SessionId);

    /// Hands a getEphemerals to the replication role: answered by [`super::Connection::ephemerals`]. A prefix that is
    /// absent, blank or "/" means all.
    fn ephemerals(&mut self, origin: Origin, session: SessionId, prefix: Option<Box<str>>);

    /// Hands a handshake to the replication role: answered by [`super::Connection::connected`] or
    /// [`super::Connection::refused`].
    fn connect(&mut self, request: ConnectRequest);

    /// The session has been heard of. Called at most once per connection and clock reading.
    fn touch(&mut self, session: SessionId);

    /// Whether the interned list grants `perm` (one bit) to `identity`: filter of watch events.
    fn acl_permits(&self, acl: AclId, perm: i32, identity: &Identity) -> bool;

    /// The connection throttle's word on a handshake; a refusal closes the connection without a reply.
    fn admit_handshake(&mut self, kind: HandshakeKind) -> bool;

    /// Reserves bytes for a request above the large-request threshold (`zookeeper.largeRequestMaxBytes` is the sum over
    /// all connections); a refusal closes the connection without a reply.
    fn reserve_large(&mut self, bytes: usize) -> bool;

    /// Gives reserved bytes back. What a closed connection still holds ([`super::Connection::large_bytes_held`]) is
    /// given back by the host.
    fn release_large(&mut self, bytes: usize);

    /// Takes one more request into process if the request throttle has room for it; it counts until
    /// [`Self::end_requests`]. What a closed connection still holds ([`super::Connection::take_requests_counted`]) is given
    /// back by the host. Never asked without a throttle.
    fn begin_request(&mut self) -> bool {
        true
    }

    /// So many requests are no longer in process.
    fn end_requests(&mut self, _count: usize) {}

    /// The core's metrics.
    fn metrics(&mut self) -> &mut CoreMetrics;
}

/// Whether a server serves clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serving {
    /// Starting, stopping or without quorum: whatever is not a four-letter word closes its connection.
    No,
    /// Reads for clients that said they can do with them.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// Which kind of session a handshake asks for, as the connection throttle weighs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeKind {
    /// A new session.
    New,
    /// An existing one.
    Renewal,
}

/// Which shard a read goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadTarget {
    /// The one that owns the path of the op.
    Owner,
    /// This one: a part of an op that is spread over shards.
    Shard(ShardId),
}

/// A read on its way to a shard.
#[derive(Clone, Copy, Debug)]
pub struct ReadCall<'a> {
    /// Where it goes.
    pub target: ReadTarget,
    /// Who waits, should the answer come later.
    pub origin: Origin,
    /// Which part of the request.
    pub part: u32,
    /// The caller's credentials.
    pub identity: &'a Arc<Identity>,
    /// What is asked.
    pub op: &'a ReadOp<'a>,
}

/// How a read was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadDispatch {
    /// The reply record has been appended.
    Answered,
    /// It failed.
    Failed(ErrorCode),
    /// The result, for ops that yield no plain record.
    Body(ReadBody),
    /// [`super::Connection::read_reply`] will bring it.
    Later,
}

/// A watch event for one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewEvent {
    /// The transaction that fired it.
    pub zxid: Zxid,
    /// The list that must grant READ.
    pub acl: AclId,
    /// The whole frame ([`engine::event::event_frame`]).
    pub frame: Bytes,
}
