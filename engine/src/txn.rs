//! Transactions as ZooKeeper logs and replicates them: `TxnHeader`, a record by type, and an optional `TxnDigest`.
//!
//! The same bytes are a log entry here, and a PROPOSAL between servers.

use crate::acl::{Acl, AclList};
use crate::ids::SessionId;
use crate::jute::{DecodeError, Reader, Writer};
use crate::zxid::Zxid;
use bytes::Bytes;
use std::sync::Arc;

/// `TxnHeader`, 32 bytes with the type that [`Txn`] supplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxnHeader {
    /// Session that asked; 0 for clean-up by the leader.
    pub client: SessionId,
    /// The client's xid; 0 for requests of the server's own.
    pub cxid: i32,
    /// Place in the order.
    pub zxid: Zxid,
    /// Milliseconds since the epoch by the leader's clock; becomes ctime and mtime.
    pub time_ms: i64,
}

/// A transaction's record. Idempotent: it names results, not wishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn {
    /// `CreateSessionTxn`.
    CreateSession {
        /// Negotiated timeout in milliseconds.
        timeout_ms: i32,
    },
    /// `CloseSessionTxn`; `None` where the record is absent (logs older than 3.6).
    CloseSession {
        /// Ephemerals of the session.
        paths: Option<Vec<Arc<str>>>,
    },
    /// `ErrorTxn`: a request that failed, and yet took a place in the order.
    Error {
        /// The code sent to the client.
        code: i32,
    },
    /// `CreateTxn` (types 1 and 15).
    Create {
        /// Final path, sequence suffix included.
        path: Arc<str>,
        /// Data; `None` is null.
        data: Option<Bytes>,
        /// ACL after fix-up.
        acl: AclList,
        /// Whether the header's client owns the node.
        ephemeral: bool,
        /// The parent's stored cversion afterwards; -1 where unknown (logs older than 3.4).
        parent_cversion: i32,
        /// Whether the type is create2 (15) rather than create (1).
        create2: bool,
    },
    /// `CreateContainerTxn`.
    CreateContainer {
        /// Final path.
        path: Arc<str>,
        /// Data; `None` is null.
        data: Option<Bytes>,
        /// ACL after fix-up.
        acl: AclList,
        /// The parent's stored cversion afterwards.
        parent_cversion: i32,
    },
    /// `CreateTTLTxn`.
    CreateTtl {
        /// Final path.
        path: Arc<str>,
        /// Data; `None` is null.
        data: Option<Bytes>,
        /// ACL after fix-up.
        acl: AclList,
        /// The parent's stored cversion afterwards.
        parent_cversion: i32,
        /// Milliseconds to live.
        ttl_ms: i64,
    },
    /// `DeleteTxn` (types 2 and 20).
    Delete {
        /// The node.
        path: Arc<str>,
        /// Whether the type is deleteContainer (20): reaped, not asked for.
        reaped: bool,
    },
    /// `SetDataTxn` (types 5 and 16).
    SetData {
        /// The node.
        path: Arc<str>,
        /// New data; `None` is null.
        data: Option<Bytes>,
        /// Version afterwards.
        version: i32,
        /// Whether the type is reconfig (16).
        reconfig: bool,
    },
    /// `SetACLTxn`.
    SetAcl {
        /// The node.
        path: Arc<str>,
        /// ACL after fix-up.
        acl: AclList,
        /// aversion afterwards.
        version: i32,
    },
    /// `CheckVersionTxn`, inside a multi only.
    Check {
        /// The node.
        path: Arc<str>,
        /// Unused when applied.
        version: i32,
    },
    /// `MultiTxn`: all of it or, if an entry is an error, nothing.
    Multi {
        /// The entries, in order.
        entries: Vec<Txn>,
    },
}

impl Txn {
    /// The type as it stands in the header (`ZooDefs.OpCode`).
    pub const fn type_code(&self) -> i32 {
        match self {
            Txn::CreateSession { .. } => -10,
            Txn::CloseSession { .. } => -11,
            Txn::Error { .. } => -1,
            Txn::Create { create2: false, .. } => 1,
            Txn::Create { create2: true, .. } => 15,
            Txn::CreateContainer { .. } => 19,
            Txn::CreateTtl { .. } => 21,
            Txn::Delete { reaped: false, .. } => 2,
            Txn::Delete { reaped: true, .. } => 20,
            Txn::SetData { reconfig: false, .. } => 5,
            Txn::SetData { reconfig: true, .. } => 16,
            Txn::SetAcl { .. } => 7,
            Txn::Check { .. } => 13,
            Txn::Multi { .. } => 14,
        }
    }

    /// Appends the record, without header.
    pub fn encode_record(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        match self {
            Txn::CreateSession { timeout_ms } => w.int(*timeout_ms),
            Txn::CloseSession { paths: None } => {}
            Txn::CloseSession { paths: Some(paths) } => {
                w.count(Some(paths.len()));
                for path in paths {
                    w.string(path);
                }
            }
            Txn::Error { code } => w.int(*code),
            Txn::Create { path, data, acl, ephemeral, parent_cversion, .. } => {
                encode_node(&mut w, path, data, acl);
                w.boolean(*ephemeral);
                w.int(*parent_cversion);
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                encode_node(&mut w, path, data, acl);
                w.int(*parent_cversion);
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl_ms } => {
                encode_node(&mut w, path, data, acl);
                w.int(*parent_cversion);
                w.long(*ttl_ms);
            }
            Txn::Delete { path, .. } => w.string(path),
            Txn::SetData { path, data, version, .. } => {
                w.string(path);
                w.buffer(data.as_deref());
                w.int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                w.string(path);
                encode_acl(&mut w, acl);
                w.int(*version);
            }
            Txn::Check { path, version } => {
                w.string(path);
                w.int(*version);
            }
            Txn::Multi { entries } => {
                w.count(Some(entries.len()));
                for entry in entries {
                    let mut w = Writer::new(out);
                    w.int(entry.type_code());
                    let length_at = out.len();
                    out.extend_from_slice(&[0; 4]);
                    entry.encode_record(out);
                    let length = (out.len() - length_at - 4) as i32;
                    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
                }
            }
        }
    }

    /// `all` is what the reader reads from, if data may share its memory.
    fn decode_record(
        type_code: i32,
        r: &mut Reader<'_>,
        all: Option<&Bytes>,
        in_multi: bool,
    ) -> Result<Txn, DecodeError> {
        Ok(match type_code {
            -10 => Txn::CreateSession { timeout_ms: r.int()? },
            -11 if r.rest().is_empty() => Txn::CloseSession { paths: None },
            -11 => Txn::CloseSession { paths: r.vector(path)? },
            -1 => Txn::Error { code: r.int()? },
            1 | 15 => Txn::Create {
                path: path(r)?,
                data: data(r, all)?,
                acl: decode_acl(r)?,
                ephemeral: r.boolean()?,
                parent_cversion: if type_code == 1 && r.rest().is_empty() { -1 } else { r.int()? },
                create2: type_code == 15,
            },
            2 | 20 => Txn::Delete { path: path(r)?, reaped: type_code == 20 },
            5 | 16 => {
                Txn::SetData { path: path(r)?, data: data(r, all)?, version: r.int()?, reconfig: type_code == 16 }
            }
            7 => Txn::SetAcl { path: path(r)?, acl: decode_acl(r)?, version: r.int()? },
            13 if in_multi => Txn::Check { path: path(r)?, version: r.int()? },
            14 if !in_multi => {
                let entries = r.vector(|r| {
                    let entry_type = r.int()?;
                    let record = r.buffer()?.ok_or(DecodeError::Value("an entry of a multi without record"))?;
                    Txn::decode_record(entry_type, &mut Reader::new(record), all, true)
                })?;
                Txn::Multi { entries: entries.unwrap_or_default() }
            }
            19 => Txn::CreateContainer {
                path: path(r)?,
                data: data(r, all)?,
                acl: decode_acl(r)?,
                parent_cversion: r.int()?,
            },
            21 => Txn::CreateTtl {
                path: path(r)?,
                data: data(r, all)?,
                acl: decode_acl(r)?,
                parent_cversion: r.int()?,
                ttl_ms: r.long()?,
            },
            _ => return Err(DecodeError::Value("unknown transaction type")),
        })
    }
}

/// Appends header and record.
pub fn encode(header: &TxnHeader, txn: &Txn, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.long(header.client.0);
    w.int(header.cxid);
    w.long(header.zxid.to_wire());
    w.long(header.time_ms);
    w.int(txn.type_code());
    txn.encode_record(out);
}

/// Reads header and record; a digest behind them is left unread.
pub fn decode(bytes: &[u8]) -> Result<(TxnHeader, Txn), DecodeError> {
    decode_with_rest(bytes).map(|(header, txn, _)| (header, txn))
}

/// Reads header and record, and gives back what is behind them: a `TxnDigest`, or nothing.
pub fn decode_with_rest(bytes: &[u8]) -> Result<(TxnHeader, Txn, &[u8]), DecodeError> {
    decode_all(bytes, None)
}

/// As [`decode`], for bytes that are kept in any case: data shares their memory.
pub fn decode_shared(bytes: &Bytes) -> Result<(TxnHeader, Txn), DecodeError> {
    decode_all(bytes, Some(bytes)).map(|(header, txn, _)| (header, txn))
}

fn decode_all<'a>(bytes: &'a [u8], all: Option<&Bytes>) -> Result<(TxnHeader, Txn, &'a [u8]), DecodeError> {
    let mut r = Reader::new(bytes);
    let client = SessionId(r.long()?);
    let cxid = r.int()?;
    let zxid = Zxid::from_wire(r.long()?);
    let time_ms = r.long()?;
    let type_code = r.int()?;
    let txn = Txn::decode_record(type_code, &mut r, all, false)?;
    Ok((TxnHeader { client, cxid, zxid, time_ms }, txn, r.rest()))
}

/// Appends a vector of ACLs.
pub fn encode_acl(w: &mut Writer<'_>, list: &[Acl]) {
    w.count(Some(list.len()));
    for entry in list {
        w.int(entry.perms);
        w.string(&entry.scheme);
        w.string(&entry.id);
    }
}

fn encode_node(w: &mut Writer<'_>, path: &str, data: &Option<Bytes>, acl: &[Acl]) {
    w.string(path);
    w.buffer(data.as_deref());
    encode_acl(w, acl);
}

fn path(r: &mut Reader<'_>) -> Result<Arc<str>, DecodeError> {
    Ok(Arc::from(&*r.string()?.ok_or(DecodeError::Value("null path"))?))
}

fn data(r: &mut Reader<'_>, all: Option<&Bytes>) -> Result<Option<Bytes>, DecodeError> {
    let share = |data| all.map_or_else(|| Bytes::copy_from_slice(data), |all| all.slice_ref(data));
    Ok(r.buffer()?.map(share))
}

fn decode_acl(r: &mut Reader<'_>) -> Result<AclList, DecodeError> {
    let entries = r.vector(|r| {
        let perms = r.int()?;
        let scheme = r.string()?.ok_or(DecodeError::Value("null scheme"))?;
        let id = r.string()?.ok_or(DecodeError::Value("null id"))?;
        Ok(Acl::new(perms, &scheme, &id))
    })?;
    Ok(entries.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;
    use proptest::prelude::*;

    fn round_trip(txn: Txn) {
        let header = TxnHeader { client: SessionId(7), cxid: 3, zxid: Zxid::new(1, 9), time_ms: 1_700_000_000_000 };
        let mut bytes = Vec::new();
        encode(&header, &txn, &mut bytes);
        assert_eq!(decode(&bytes), Ok((header, txn.clone())));
        assert_eq!(decode_shared(&bytes.into()), Ok((header, txn)));
    }

    #[test]
    fn every_type_reads_back() {
        let acl: AclList = [Acl::world(31), Acl::new(1, "digest", "a:b")].into();
        let create = Txn::Create {
            path: "/a".into(),
            data: Some(Bytes::from_static(b"x")),
            acl: acl.clone(),
            ephemeral: true,
            parent_cversion: 4,
            create2: false,
        };
        let failed = [create.clone(), Txn::Error { code: ErrorCode::NoNode.code() }, Txn::Error { code: -2 }];
        for txn in [
            Txn::CreateSession { timeout_ms: 30_000 },
            Txn::CloseSession { paths: Some(vec!["/e".into(), "/f".into()]) },
            Txn::CloseSession { paths: None },
            Txn::Error { code: -101 },
            create,
            Txn::CreateContainer { path: "/c".into(), data: None, acl: acl.clone(), parent_cversion: 1 },
            Txn::CreateTtl { path: "/t".into(), data: None, acl: acl.clone(), parent_cversion: 1, ttl_ms: 9 },
            Txn::Delete { path: "/a".into(), reaped: false },
            Txn::Delete { path: "/a".into(), reaped: true },
            Txn::SetData { path: "/a".into(), data: None, version: 2, reconfig: false },
            Txn::SetAcl { path: "/a".into(), acl, version: 2 },
            Txn::Multi { entries: vec![Txn::Check { path: "/a".into(), version: 1 }] },
            Txn::Multi { entries: failed.to_vec() },
            Txn::Multi { entries: vec![] },
        ] {
            round_trip(txn);
        }
    }

    #[test]
    fn a_create_of_an_old_log_lacks_the_parent_cversion() {
        let mut bytes = Vec::new();
        let txn = Txn::Create {
            path: "/a".into(),
            data: None,
            acl: [].into(),
            ephemeral: false,
            parent_cversion: 5,
            create2: false,
        };
        encode(&TxnHeader::default(), &txn, &mut bytes);
        bytes.truncate(bytes.len() - 4);
        assert!(matches!(decode(&bytes), Ok((_, Txn::Create { parent_cversion: -1, .. }))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(type_code in -12..25, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut all = vec![0; 28];
            all.extend_from_slice(&i32::to_be_bytes(type_code));
            all.extend_from_slice(&bytes);
            prop_assert_eq!(decode(&all), decode_shared(&all.into()));
        }
    }
}
