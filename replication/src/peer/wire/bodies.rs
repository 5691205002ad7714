//! What the data of a quorum packet holds, per type.

use super::packet::{AuthId, NO_ZXID, PacketKind, QuorumPacket};
use bytes::Bytes;
use engine::ids::SessionId;
use engine::jute::{DecodeError, Reader, Writer};
use engine::zxid::Zxid;

/// The protocol version of ZAB 1.0, in LEADERINFO and LearnerInfo.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// The first zxid of an epoch, that no transaction has: NEWLEADER, LEADERINFO and FOLLOWERINFO name epochs by it.
pub const fn epoch_zxid(epoch: u32) -> Zxid {
    Zxid::new(epoch, 0)
}

/// How a learner presents itself (`LearnerInfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// Who it is; `None` in the form without data, which servers before 3.3 sent.
    pub sid: Option<u64>,
    /// [`PROTOCOL_VERSION`], or 1 where it was not sent.
    pub protocol: i32,
    /// Version of its committed configuration; 0 where it was not sent.
    pub config_version: i64,
}

impl LearnerInfo {
    /// Reads the data of FOLLOWERINFO or OBSERVERINFO. Shorter forms of older servers are complete as they are.
    pub fn decode(data: Option<&[u8]>) -> LearnerInfo {
        let mut r = Reader::new(data.unwrap_or_default());
        let sid = r.long().ok().map(|sid| sid as u64);
        let protocol = sid.and_then(|_| r.int().ok());
        let config_version = protocol.and_then(|_| r.long().ok());
        LearnerInfo { sid, protocol: protocol.unwrap_or(1), config_version: config_version.unwrap_or(0) }
    }

    /// The 20 bytes of today's form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        let mut w = Writer::new(&mut out);
        w.long(self.sid.unwrap_or_default() as i64);
        w.int(self.protocol);
        w.long(self.config_version);
        out
    }
}

/// LEADERINFO of an epoch.
pub fn leader_info(epoch: u32) -> QuorumPacket {
    QuorumPacket::with_data(PacketKind::LeaderInfo, epoch_zxid(epoch), PROTOCOL_VERSION.to_be_bytes().to_vec())
}

/// ACKEPOCH: `last` is the end of the learner's log, `current` its current epoch, or `None` (-1 on the wire) when the
/// epoch had been promised before and must not count again.
pub fn ack_epoch(last: Zxid, current: Option<u32>) -> QuorumPacket {
    let current = current.map_or(-1, |epoch| epoch as i32);
    QuorumPacket::with_data(PacketKind::AckEpoch, last, current.to_be_bytes().to_vec())
}

/// Reads the data of ACKEPOCH; see [`ack_epoch`].
///
/// # Errors
/// When there are no four bytes, or an epoch below -1.
pub fn decode_ack_epoch(data: Option<&[u8]>) -> Result<Option<u32>, DecodeError> {
    match Reader::new(data.unwrap_or_default()).int()? {
        -1 => Ok(None),
        epoch => u32::try_from(epoch).map(Some).map_err(|_| DecodeError::Value("negative epoch")),
    }
}

/// A client's request as a learner passes it on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardedRequest {
    /// The client's session.
    pub session: SessionId,
    /// The client's xid.
    pub cxid: i32,
    /// Operation (`ZooDefs.OpCode`).
    pub opcode: i32,
    /// The client's body, as it came.
    pub body: Bytes,
    /// Credentials of the connection; `None` for createSession.
    pub ids: Option<Vec<AuthId>>,
}

impl ForwardedRequest {
    /// The REQUEST packet.
    pub fn into_packet(self) -> QuorumPacket {
        let mut out = Vec::with_capacity(16 + self.body.len());
        let mut w = Writer::new(&mut out);
        w.long(self.session.0);
        w.int(self.cxid);
        w.int(self.opcode);
        w.raw(&self.body);
        QuorumPacket { kind: PacketKind::Request, zxid: NO_ZXID, data: Some(out.into()), auth: self.ids }
    }

    /// Takes a REQUEST packet apart; the body is left as it is.
    ///
    /// # Errors
    /// When the fields in front of the body are cut short.
    pub fn from_packet(packet: QuorumPacket) -> Result<ForwardedRequest, DecodeError> {
        let data = packet.data.unwrap_or_default();
        let mut r = Reader::new(&data);
        let (session, cxid, opcode) = (SessionId(r.long()?), r.int()?, r.int()?);
        let body = data.slice_ref(r.rest());
        Ok(ForwardedRequest { session, cxid, opcode, body, ids: packet.auth })
    }
}

/// The reply to a PING: sessions heard of since the last one, with their timeouts in milliseconds.
pub fn ping_reply(zxid: Zxid, sessions: &[(SessionId, i32)]) -> QuorumPacket {
    let mut out = Vec::with_capacity(12 * sessions.len());
    let mut w = Writer::new(&mut out);
    for (session, timeout_ms) in sessions {
        w.long(session.0);
        w.int(*timeout_ms);
    }
    QuorumPacket::with_data(PacketKind::Ping, zxid, out)
}

/// Reads the data of a PING reply. A record that is cut short at the end is passed over, as Java does.
pub fn decode_touches(data: Option<&[u8]>) -> Vec<(SessionId, i32)> {
    let mut r = Reader::new(data.unwrap_or_default());
    std::iter::from_fn(|| Some((SessionId(r.long().ok()?), r.int().ok()?))).collect()
}

/// REVALIDATE, the question.
pub fn revalidate(session: SessionId, timeout_ms: i32) -> QuorumPacket {
    let mut out = Vec::with_capacity(12);
    let mut w = Writer::new(&mut out);
    w.long(session.0);
    w.int(timeout_ms);
    QuorumPacket::with_data(PacketKind::Revalidate, NO_ZXID, out)
}

/// Reads the question: session and timeout in milliseconds.
///
/// # Errors
/// When it is cut short.
pub fn decode_revalidate(data: Option<&[u8]>) -> Result<(SessionId, i32), DecodeError> {
    let mut r = Reader::new(data.unwrap_or_default());
    Ok((SessionId(r.long()?), r.int()?))
}

/// REVALIDATE, the answer.
pub fn revalidated(session: SessionId, valid: bool) -> QuorumPacket {
    let mut out = Vec::with_capacity(9);
    let mut w = Writer::new(&mut out);
    w.long(session.0);
    w.boolean(valid);
    QuorumPacket::with_data(PacketKind::Revalidate, NO_ZXID, out)
}

/// Reads the answer: session, and whether it lives and belongs here now.
///
/// # Errors
/// When it is cut short.
pub fn decode_revalidated(data: Option<&[u8]>) -> Result<(SessionId, bool), DecodeError> {
    let mut r = Reader::new(data.unwrap_or_default());
    Ok((SessionId(r.long()?), r.boolean()?))
}

/// COMMITANDACTIVATE: `designated` is the sid of the leader under the new configuration.
pub fn commit_and_activate(zxid: Zxid, designated: u64) -> QuorumPacket {
    QuorumPacket::with_data(PacketKind::CommitAndActivate, zxid, designated.to_be_bytes().to_vec())
}

/// INFORMANDACTIVATE: the designated leader, then the transaction.
pub fn inform_and_activate(zxid: Zxid, designated: u64, txn: &[u8]) -> QuorumPacket {
    let mut out = Vec::with_capacity(8 + txn.len());
    let mut w = Writer::new(&mut out);
    w.long(designated as i64);
    w.raw(txn);
    QuorumPacket::with_data(PacketKind::InformAndActivate, zxid, out)
}

/// Reads the data of COMMITANDACTIVATE or INFORMANDACTIVATE: the designated leader, and what follows it.
///
/// # Errors
/// When there are no eight bytes.
pub fn decode_activate(data: Option<&Bytes>) -> Result<(u64, Bytes), DecodeError> {
    let data = data.cloned().unwrap_or_default();
    let mut r = Reader::new(&data);
    let designated = r.long()? as u64;
    Ok((designated, data.slice_ref(r.rest())))
}
