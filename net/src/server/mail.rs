//! What cores say to each other.
//!
//! Mail from one core to another arrives in the order in which it was sent. What a shard has to say about a zxid is sent
//! before its mark moves past it, and what the replication role has to say before the commit point does; see
//! [`super::marks`].

use super::peers::{IncomingEvent, LogPiece};
use super::shard_host::ShardHost;
use super::survey::{AdminReply, SurveyPart};
use crate::connection::Serving;
use crate::four_letter::{Effect, Needs};
use engine::acl::{AclId, AclList};
use engine::ids::{ConnId, CoreId, Origin, PartitionId, SessionId, ShardId};
use engine::partition::PartitionCut;
use engine::piece::{CapturedStat, ShardTxn};
use engine::read::{ReadReply, ReadRequest};
use engine::shard::EventBatch;
use engine::zxid::Zxid;
use hardware::block_file::BlockFile;
use hardware::mapping::MappedSegment;
use replication::ledger::SubtreeUsage;
use replication::node::Era;
use replication::peer::snapshot::walk::Chunk;
use replication::request::WriteAnswer;
use replication::role::Input;
use replication::wal::SegmentHandle;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// One message, to one core.
pub enum Mail {
    /// To the replication role, from a core that has heard of this era last.
    Role(Era, Input),
    /// To the shard of a core.
    Shard(ShardMail),
    /// To the connections of a core.
    Client(ClientMail),
    /// To every core: a list has a number.
    DefineAcl(AclId, AclList),
    /// To a core: facts are wanted for an operator's question.
    Survey {
        /// Who gathers them.
        from: CoreId,
        /// Which question, counted by the asking core.
        number: u64,
        /// Which facts.
        topic: Needs,
    },
    /// To a core: the admin thread wants facts of all cores.
    Ask {
        /// Which facts.
        needs: Needs,
        /// Where they go.
        reply: AdminReply,
    },
    /// Back from a core that was asked.
    Surveyed {
        /// Which question.
        number: u64,
        /// This core's part.
        part: Box<SurveyPart>,
    },
    /// From the storage executor: a segment of the write-ahead log is ready, or could not be made.
    WalSegment {
        /// Which one.
        sequence: u64,
        /// Its file.
        result: io::Result<(SegmentHandle, Arc<BlockFile>)>,
    },
    /// From a shard to the replication role's core: its part of a measurement.
    Measured(Measured),
    /// From a shard to the replication role's core: its part of a checkpoint is written to its files.
    Cut(ShardCut),
    /// From a shard to the replication role's core: its part of a snapshot.
    Snapshot(SnapshotPart),
    /// From the storage executor: the manifest is durable, or is not.
    ManifestWritten {
        /// The zxid that it names.
        zxid: Zxid,
        /// How much of the time that it took were pauses, if it is on disk.
        result: io::Result<Duration>,
    },
    /// From the storage executor: retired files are gone.
    Removed(io::Result<()>),
    /// From a dialling thread: a connection to a peer is there, or could not be made.
    Dialed {
        /// Which attempt.
        token: u64,
        /// The connected socket.
        result: io::Result<OwnedFd>,
    },
    /// From the thread that takes in a leader's snapshot.
    Incoming {
        /// Which snapshot.
        number: u64,
        /// What happened.
        event: IncomingEvent,
    },
    /// From the thread that reads the log for learners.
    LogPiece(LogPiece),
    /// To the core of a shard: this one takes its place, with the state of a leader's snapshot. Nobody is served.
    ReplaceShard(Box<ShardHost>),
    /// To every core: from here on clients are served in this way, and ask in this era. Whoever is connected when that ends
    /// is let go.
    Serving(Serving, Era),
    /// To the core of a shard: clients connect here from now on, and no longer where they did.
    Listen(TcpListener),
    /// To every core: set counters back.
    Reset(Effect),
    /// The view may have moved; nothing else is said.
    Look,
    /// The replication role has finished a shutdown: the other cores may end.
    RoleDone,
    /// Stop accepting, finish what is under way, end.
    Shutdown,
}

/// What a shard is asked to do.
pub enum ShardMail {
    /// Apply its part of a committed transaction.
    Apply(ShardTxn),
    /// Answer a read.
    Read(ReadRequest),
    /// A connection is gone; forget its watches.
    Forget {
        /// Its core.
        core: CoreId,
        /// The connection.
        conn: ConnId,
    },
    /// Sum a subtree up, as of everything that has been applied, for the replication role.
    Measure {
        /// Its root.
        path: Arc<str>,
    },
    /// Write everything up to here out, then answer with [`Mail::Cut`].
    Checkpoint {
        /// The zxid of the checkpoint; everything up to it has been sent before.
        zxid: Zxid,
    },
    /// Hold everything up to here open for a snapshot.
    SnapshotBegin {
        /// Which snapshot, counted by the replication role's core.
        stream: u64,
        /// Its zxid; everything up to it has been sent before, and nothing behind it.
        zxid: Zxid,
    },
    /// Answer with the next nodes of a level, by [`Mail::Snapshot`].
    SnapshotAsk {
        /// Which snapshot.
        stream: u64,
        /// The level.
        depth: u32,
    },
    /// A snapshot is finished, or given up.
    SnapshotEnd {
        /// Which snapshot.
        stream: u64,
    },
    /// The manifest of the last checkpoint is durable: older generations of logs are not needed any more.
    CheckpointDone,
    /// A log segment is ready, or could not be made.
    Segment {
        /// Partition of the log.
        partition: PartitionId,
        /// Generation of the log.
        generation: u32,
        /// Its index.
        segment: u32,
        /// The file and its map.
        result: io::Result<(Arc<BlockFile>, Arc<MappedSegment>)>,
    },
}

/// What connections are told.
pub enum ClientMail {
    /// The answer to a write.
    Answer(WriteAnswer),
    /// A Stat for such an answer.
    Stat(CapturedStat),
    /// The answer to a read by another core's shard, or a late one.
    Read(ReadReply),
    /// A shard of another core has taken in a read that was sent to it at this view.
    Taken {
        /// The view of the read.
        view: Zxid,
    },
    /// Watches have fired.
    Events(ShardId, EventBatch),
    /// A sync is complete when the view is there.
    SyncDone {
        /// Who waits.
        origin: Origin,
        /// The view to wait for.
        at: Zxid,
    },
    /// A session is there.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// Negotiated timeout.
        timeout_ms: i32,
        /// The session's password.
        password: [u8; 16],
        /// The view to wait for.
        at: Zxid,
    },
    /// A session is not there.
    Refused {
        /// The connection.
        conn: ConnId,
    },
    /// Close the connection once the view is there.
    Close {
        /// The connection.
        conn: ConnId,
        /// The view to wait for.
        at: Zxid,
    },
    /// Ephemerals of a session.
    Ephemerals {
        /// Who waits.
        origin: Origin,
        /// The view to wait for.
        at: Zxid,
        /// Full paths.
        paths: Vec<Arc<str>>,
    },
}

/// A shard's part of a checkpoint, written but not yet flushed.
pub struct ShardCut {
    /// The zxid of the checkpoint.
    pub zxid: Zxid,
    /// Where each of its partitions stands.
    pub partitions: Vec<PartitionCut>,
    /// Files that were written to since the last checkpoint.
    pub files: Vec<Arc<BlockFile>>,
}

/// A shard's answer to [`ShardMail::SnapshotAsk`].
pub struct SnapshotPart {
    /// Which snapshot.
    pub stream: u64,
    /// Which shard.
    pub shard: ShardId,
    /// The nodes; `None` if the shard cannot show that state any more, and the snapshot is to be begun anew.
    pub chunk: Option<Chunk>,
}

/// A shard's answer to [`ShardMail::Measure`] goes to the role's core, which adds the shards up.
pub struct Measured {
    /// Root of the subtree.
    pub path: Arc<str>,
    /// This shard's part.
    pub usage: SubtreeUsage,
}
