//! `QuorumPacket`: everything that travels on the quorum port, save the raw stream of a snapshot.
//!
//! ```text
//! int type | long zxid | buffer data (length -1: null) | vector<Id { ustring scheme, ustring id }> authinfo (-1: null)
//! ```
//!
//! Packets follow each other with nothing around them, so the end of one is found by walking its lengths.
//! [`PacketDecoder`] tells "not all here yet" from "wrong", and refuses a length before anything is reserved by it.

use bytes::{Buf, Bytes, BytesMut};
use engine::jute::{Reader, Writer};
use engine::zxid::Zxid;

/// Bytes that the data of one packet may have when the other end is Java with its default `jute.maxbuffer` and
/// extrasize.
pub const DATA_BYTES_MAX: usize = 2_097_150;
/// Bytes that the authinfo of one packet may have in all: credentials of one client connection.
const AUTHINFO_BYTES_MAX: usize = 1 << 20;
/// type, zxid, length of data.
const HEAD_BYTES: usize = 16;
/// A packet without data and authinfo.
const SMALLEST_BYTES: usize = 20;

/// Type of a packet (`Leader`'s constants).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketKind {
    /// A client's write or sync, from a learner.
    Request,
    /// A transaction to be logged.
    Proposal,
    /// A learner has this zxid on disk; or has taken NEWLEADER or UPTODATE.
    Ack,
    /// A proposal is committed.
    Commit,
    /// Liveness; the reply carries the sessions heard of.
    Ping,
    /// Is this session alive, and may it move here?
    Revalidate,
    /// Answer to a forwarded sync.
    Sync,
    /// Proposal and commit in one, to observers.
    Inform,
    /// Commit of a reconfiguration.
    CommitAndActivate,
    /// End of the history that a learner lacked.
    NewLeader,
    /// A follower presents itself.
    FollowerInfo,
    /// The leader is established: serve.
    UpToDate,
    /// Synchronisation by the transactions that follow.
    Diff,
    /// Synchronisation by cutting the log first.
    Trunc,
    /// Synchronisation by a snapshot, whose stream follows.
    Snap,
    /// An observer presents itself.
    ObserverInfo,
    /// The epoch that the leader proposes.
    LeaderInfo,
    /// Promise to follow nobody of a lower epoch.
    AckEpoch,
    /// [`PacketKind::Inform`] of a reconfiguration.
    InformAndActivate,
    /// Nothing that this release knows; to be passed over where the protocol allows it.
    Unknown(i32),
}

const KINDS: [PacketKind; 19] = [
    PacketKind::Request,
    PacketKind::Proposal,
    PacketKind::Ack,
    PacketKind::Commit,
    PacketKind::Ping,
    PacketKind::Revalidate,
    PacketKind::Sync,
    PacketKind::Inform,
    PacketKind::CommitAndActivate,
    PacketKind::NewLeader,
    PacketKind::FollowerInfo,
    PacketKind::UpToDate,
    PacketKind::Diff,
    PacketKind::Trunc,
    PacketKind::Snap,
    PacketKind::ObserverInfo,
    PacketKind::LeaderInfo,
    PacketKind::AckEpoch,
    PacketKind::InformAndActivate,
];

impl PacketKind {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            PacketKind::Unknown(code) => code,
            known => KINDS.iter().position(|kind| *kind == known).map_or(0, |at| at as i32 + 1),
        }
    }

    /// From the number on the wire.
    pub fn from_code(code: i32) -> PacketKind {
        let index = usize::try_from(code).ok().and_then(|code| code.checked_sub(1));
        index.and_then(|at| KINDS.get(at).copied()).unwrap_or(PacketKind::Unknown(code))
    }
}

/// One credential of a client, as a learner passes it on (`Id`). Null strings read as empty ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthId {
    /// Scheme that vouched for it.
    pub scheme: Box<str>,
    /// Id within the scheme.
    pub id: Box<str>,
}

/// One packet (`QuorumPacket`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumPacket {
    /// Its type.
    pub kind: PacketKind,
    /// Meaning per type; -1 on the wire is [`NO_ZXID`].
    pub zxid: Zxid,
    /// Body; `None` is null, which is not the same as empty.
    pub data: Option<Bytes>,
    /// Credentials of a REQUEST; `None` is null.
    pub auth: Option<Vec<AuthId>>,
}

/// -1, where a packet has no zxid to name.
pub const NO_ZXID: Zxid = Zxid::from_wire(-1);

impl QuorumPacket {
    /// A packet that consists of type and zxid.
    pub fn bare(kind: PacketKind, zxid: Zxid) -> QuorumPacket {
        QuorumPacket { kind, zxid, data: None, auth: None }
    }

    /// A packet with a body.
    pub fn with_data(kind: PacketKind, zxid: Zxid, data: impl Into<Bytes>) -> QuorumPacket {
        QuorumPacket { kind, zxid, data: Some(data.into()), auth: None }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Bytes {
        let data_bytes = self.data.as_ref().map_or(0, Bytes::len);
        let mut out = Vec::with_capacity(SMALLEST_BYTES + data_bytes);
        self.write(&mut out);
        out.into()
    }

    /// Appends the bytes on the wire to others.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.int(self.kind.code());
        w.long(self.zxid.to_wire());
        w.buffer(self.data.as_deref());
        w.count(self.auth.as_ref().map(Vec::len));
        for auth in self.auth.iter().flatten() {
            w.string(&auth.scheme);
            w.string(&auth.id);
        }
    }
}

/// A PROPOSAL as it goes to followers. The transaction within it is shared by the list of recent transactions and by
/// INFORM, so that its bytes exist once however many learners there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProposalFrame(Bytes);

impl ProposalFrame {
    /// Frames a transaction: header, record and perhaps a digest.
    pub fn new(zxid: Zxid, txn: &[u8]) -> ProposalFrame {
        let mut out = Vec::with_capacity(SMALLEST_BYTES + txn.len());
        ProposalFrame::write(zxid, txn, &mut out);
        ProposalFrame(out.into())
    }

    /// Appends the packet that [`Self::new`] makes of a transaction to others.
    pub fn write(zxid: Zxid, txn: &[u8], out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.int(PacketKind::Proposal.code());
        w.long(zxid.to_wire());
        w.buffer(Some(txn));
        w.count(None);
    }

    /// The packet.
    pub fn proposal(&self) -> Bytes {
        self.0.clone()
    }

    /// The same as INFORM, in two parts to be sent one behind the other.
    pub fn inform(&self) -> [Bytes; 2] {
        [Bytes::from_static(&[0, 0, 0, 8]), self.0.slice(4..)]
    }

    /// The transaction's bytes.
    pub fn txn_bytes(&self) -> &[u8] {
        &self.0[HEAD_BYTES..self.0.len() - 4]
    }

    /// The transaction.
    pub fn txn(&self) -> Bytes {
        self.0.slice(HEAD_BYTES..self.0.len() - 4)
    }

    /// Bytes of the packet.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Why bytes on the quorum port are no packet. The connection is to be closed: there is no finding the next packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// A length that is negative or above the bound.
    #[error("quorum packet with a length of {length} where at most {max} is allowed")]
    Length {
        /// As sent.
        length: i32,
        /// The bound, in bytes.
        max: usize,
    },
    /// Credentials beyond the bound.
    #[error("quorum packet with more than {AUTHINFO_BYTES_MAX} bytes of credentials")]
    Credentials,
}

/// Cuts a stream of bytes into packets.
#[derive(Debug)]
pub struct PacketDecoder {
    waiting: BytesMut,
    data_bytes_max: usize,
    /// Bytes of `waiting` that are known to be needed before another look pays.
    wanted: usize,
}

impl PacketDecoder {
    /// A decoder that refuses packets with more than `data_bytes_max` bytes of data.
    pub fn new(data_bytes_max: usize) -> PacketDecoder {
        PacketDecoder { waiting: BytesMut::new(), data_bytes_max, wanted: SMALLEST_BYTES }
    }

    /// Changes the bound, for packets that have not been looked at yet.
    pub fn set_data_bytes_max(&mut self, data_bytes_max: usize) {
        self.data_bytes_max = data_bytes_max;
    }

    /// Takes bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Bytes taken and not yet handed out.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Gives back what has not been decoded: a raw stream follows.
    pub fn take_rest(&mut self) -> Bytes {
        self.wanted = SMALLEST_BYTES;
        self.waiting.split().freeze()
    }

    /// The next packet; `None` while it is incomplete.
    ///
    /// # Errors
    /// When what is there can never become a packet within the bounds.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: None means that more bytes are needed")]
    pub fn next(&mut self) -> Result<Option<QuorumPacket>, PacketError> {
        if self.waiting.len() < self.wanted {
            return Ok(None);
        }
        match measure(&self.waiting, self.data_bytes_max)? {
            Measure::Needs(bytes) => {
                self.wanted = bytes;
                Ok(None)
            }
            Measure::Whole(bytes) => {
                self.wanted = SMALLEST_BYTES;
                if let Some(packet) = bare(&self.waiting) {
                    self.waiting.advance(bytes);
                    return Ok(Some(packet));
                }
                Ok(decode(self.waiting.split_to(bytes).freeze()))
            }
        }
    }

    /// The next packet, if it is a whole PROPOSAL: its zxid, and the packet as it came, in the memory of what came with it.
    /// For many that are kept together; a few would hold more memory than they have bytes. `None` says nothing about what
    /// [`Self::next`] has.
    ///
    /// # Errors
    /// As of [`Self::next`].
    pub fn next_proposal(&mut self) -> Result<Option<(Zxid, ProposalFrame)>, PacketError> {
        let is_proposal = int_at(&self.waiting, 0) == Some(PacketKind::Proposal.code());
        if self.waiting.len() < self.wanted || !is_proposal {
            return Ok(None);
        }
        let Measure::Whole(bytes) = measure(&self.waiting, self.data_bytes_max)? else { return Ok(None) };
        let data_bytes = int_at(&self.waiting, HEAD_BYTES - 4).and_then(|length| usize::try_from(length).ok());
        let is_plain = data_bytes.is_some_and(|length| HEAD_BYTES + length + 4 == bytes);
        // No credentials can also be an empty list of them: the frame is to be what it would be had it been made here.
        let (Some(zxid), Some(-1), true) = (long_at(&self.waiting, 4), int_at(&self.waiting, bytes - 4), is_plain)
        else {
            return Ok(None);
        };
        self.wanted = SMALLEST_BYTES;
        Ok(Some((Zxid::from_wire(zxid), ProposalFrame(self.waiting.split_to(bytes).freeze()))))
    }
}

enum Measure {
    /// At least so many bytes in all.
    Needs(usize),
    /// The packet has so many bytes.
    Whole(usize),
}

fn measure(bytes: &[u8], data_bytes_max: usize) -> Result<Measure, PacketError> {
    let Some(data_bytes) = int_at(bytes, HEAD_BYTES - 4) else { return Ok(Measure::Needs(SMALLEST_BYTES)) };
    let mut at = HEAD_BYTES + length(data_bytes, data_bytes_max)?;
    let Some(count) = int_at(bytes, at) else { return Ok(Measure::Needs(at + 4)) };
    at += 4;
    let ids = at;
    // Java takes any count but -1 that is not positive for an empty vector.
    for _ in 0..count.max(0) {
        for _ in 0..2 {
            let Some(text_bytes) = int_at(bytes, at) else { return Ok(Measure::Needs(at + 4)) };
            at += 4 + length(text_bytes, AUTHINFO_BYTES_MAX)?;
            if at - ids > AUTHINFO_BYTES_MAX {
                return Err(PacketError::Credentials);
            }
        }
    }
    Ok(if bytes.len() < at { Measure::Needs(at) } else { Measure::Whole(at) })
}

fn length(length: i32, max: usize) -> Result<usize, PacketError> {
    match usize::try_from(length) {
        Ok(bytes) if bytes <= max => Ok(bytes),
        Err(_) if length == -1 => Ok(0),
        _ => Err(PacketError::Length { length, max }),
    }
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|int| i32::from_be_bytes(*int))
}

fn long_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().map(|long| i64::from_be_bytes(*long))
}

/// A whole packet without data and credentials.
fn bare(bytes: &[u8]) -> Option<QuorumPacket> {
    let is_bare = int_at(bytes, HEAD_BYTES - 4) == Some(-1) && int_at(bytes, HEAD_BYTES) == Some(-1);
    let (kind, zxid) = (int_at(bytes, 0)?, long_at(bytes, 4)?);
    is_bare.then(|| QuorumPacket::bare(PacketKind::from_code(kind), Zxid::from_wire(zxid)))
}

/// Takes apart what has been measured. `None` cannot happen then.
fn decode(bytes: Bytes) -> Option<QuorumPacket> {
    let mut r = Reader::new(&bytes);
    let kind = PacketKind::from_code(r.int().ok()?);
    let zxid = Zxid::from_wire(r.long().ok()?);
    let data = r.buffer().ok()?.map(|data| bytes.slice_ref(data));
    let text = |r: &mut Reader<'_>| Ok(r.string()?.unwrap_or_default().into());
    let auth = r.vector(|r| Ok(AuthId { scheme: text(r)?, id: text(r)? })).ok()?;
    Some(QuorumPacket { kind, zxid, data, auth })
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
