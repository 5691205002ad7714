//! The bodies of write requests, from bytes and back: clients send them, and servers forward them to their leader.
//!
//! Decoding is the same for both ways in. A record that cannot be decoded is a [`DecodeError`]; where Apache ZooKeeper
//! gives such a request a zxid all the same, decoding yields [`WriteOp::Refused`] instead. Encoding makes bodies that
//! decode to the very request, here and at a Java leader, so that nothing malformed is ever forwarded.

mod flags;
mod multi;
#[cfg(test)]
mod tests;

pub use flags::is_ephemeral;

use super::{AclEntry, AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, ReconfigOp, SetDataOp, WriteOp};
use bytes::Bytes;
use engine::acl::perms;
use engine::error_code::ErrorCode;
use engine::jute::{DecodeError, Reader, Writer};
use engine::node_owner::NodeOwner;

/// Types of the requests that go to a leader (`ZooDefs.OpCode`).
pub mod opcode {
    /// create.
    pub const CREATE: i32 = 1;
    /// delete.
    pub const DELETE: i32 = 2;
    /// setData.
    pub const SET_DATA: i32 = 5;
    /// setACL.
    pub const SET_ACL: i32 = 7;
    /// sync: no write, but the leader's answer is wanted.
    pub const SYNC: i32 = 9;
    /// check, which only a multi may hold.
    pub const CHECK: i32 = 13;
    /// multi.
    pub const MULTI: i32 = 14;
    /// create2.
    pub const CREATE2: i32 = 15;
    /// reconfig.
    pub const RECONFIG: i32 = 16;
    /// createContainer.
    pub const CREATE_CONTAINER: i32 = 19;
    /// deleteContainer: the leader's own clean-up, taken from nobody else.
    pub const DELETE_CONTAINER: i32 = 20;
    /// createTTL.
    pub const CREATE_TTL: i32 = 21;
    /// error: the marker of failed results, and the terminator, of a multi.
    pub const ERROR: i32 = -1;
    /// createSession, sent between servers only.
    pub const CREATE_SESSION: i32 = -10;
    /// closeSession.
    pub const CLOSE_SESSION: i32 = -11;
}

/// `world:anyone` with every permission, as a whole vector on the wire: what nearly every create carries.
const OPEN_ACL: [u8; 27] = *b"\0\0\0\x01\0\0\0\x1F\0\0\0\x05world\0\0\0\x06anyone";

const _: () = assert!(OPEN_ACL[7] as i32 == perms::ALL);

/// Reads the body of a write. `None` if `type_code` is not a client's write.
///
/// A null path does what it does in Apache ZooKeeper: create, delete and every multi trip over it and spend a zxid
/// ([`WriteOp::Refused`]); the others find it no valid path, which an empty one is neither.
pub fn decode(type_code: i32, r: &mut Reader<'_>) -> Option<Result<WriteOp, DecodeError>> {
    Some(match type_code {
        opcode::CREATE => create(r, |_| Ok(CreateKind::Create)),
        opcode::CREATE2 => create(r, |_| Ok(CreateKind::Create2)),
        opcode::CREATE_CONTAINER => create(r, |_| Ok(CreateKind::Container)),
        opcode::CREATE_TTL => create(r, |r| Ok(CreateKind::Ttl { ttl_ms: r.long()? })),
        opcode::DELETE => delete_fields(r).map(|op| op.map_or(TRIPPED, WriteOp::Delete)),
        opcode::SET_DATA => set_data_fields(r).map(WriteOp::SetData),
        opcode::SET_ACL => set_acl(r),
        opcode::MULTI => Ok(multi::decode(r)),
        opcode::RECONFIG => reconfig(r),
        opcode::CLOSE_SESSION => Ok(WriteOp::CloseSession),
        _ => return None,
    })
}

/// The type and body by which a write is forwarded; `None` for [`WriteOp::Refused`], which is no request that a leader
/// could decode.
pub fn encode(op: &WriteOp) -> Option<(i32, Bytes)> {
    let mut body = Vec::with_capacity(TYPICAL_BODY_BYTES);
    let mut w = Writer::new(&mut body);
    let type_code = match op {
        WriteOp::Create(op) => {
            encode_create(&mut w, op);
            op.kind.type_code()
        }
        WriteOp::Delete(op) => {
            encode_delete(&mut w, op);
            opcode::DELETE
        }
        WriteOp::SetData(op) => {
            encode_set_data(&mut w, op);
            opcode::SET_DATA
        }
        WriteOp::SetAcl { path, acl, version } => {
            w.string(path);
            encode_acl(&mut w, acl);
            w.int(*version);
            opcode::SET_ACL
        }
        WriteOp::Multi(ops) => {
            multi::encode(ops, &mut body);
            opcode::MULTI
        }
        WriteOp::Reconfig(op) => {
            for text in [&op.joining, &op.leaving, &op.members] {
                w.buffer(text.as_deref().map(str::as_bytes));
            }
            w.long(op.config_version);
            opcode::RECONFIG
        }
        WriteOp::CloseSession => opcode::CLOSE_SESSION,
        WriteOp::Refused(_) => return None,
    };
    Some((type_code, body.into()))
}

/// Reads the body of createSession: the timeout in milliseconds.
///
/// # Errors
/// When it is cut short.
pub fn decode_create_session(body: &[u8]) -> Result<i32, DecodeError> {
    Reader::new(body).int()
}

/// The body of createSession (`Request.CREATE_SESSION`'s four bytes).
pub fn encode_create_session(timeout_ms: i32) -> Bytes {
    Bytes::copy_from_slice(&timeout_ms.to_be_bytes())
}

/// The body of a forwarded sync (`SyncRequest`): a leader looks at no path.
pub fn encode_sync() -> Bytes {
    Bytes::from_static(b"\0\0\0\x01/")
}

/// A path, a small value and the open list fit.
const TYPICAL_BODY_BYTES: usize = 192;

/// An internal null: spends a zxid.
const TRIPPED: WriteOp = WriteOp::Refused(ErrorCode::MarshallingError);

impl CreateKind {
    /// Whether createTTL, if it is one, has flags for it and a time to live that can be.
    fn is_valid_for(self, flags: i32) -> bool {
        match self {
            CreateKind::Ttl { ttl_ms } => flags::has_ttl(flags) && (1..=NodeOwner::TTL_MAX_MS).contains(&ttl_ms),
            _ => !flags::has_ttl(flags),
        }
    }

    /// The request's type.
    pub(crate) const fn type_code(self) -> i32 {
        match self {
            CreateKind::Create => opcode::CREATE,
            CreateKind::Create2 => opcode::CREATE2,
            CreateKind::Container => opcode::CREATE_CONTAINER,
            CreateKind::Ttl { .. } => opcode::CREATE_TTL,
        }
    }
}

/// `CreateRequest` as far as it is common to all creates; a null path stays null.
struct CreateFields {
    path: Option<Box<str>>,
    data: Option<Bytes>,
    acl: AclSpec,
    flags: i32,
}

fn create_fields(r: &mut Reader<'_>) -> Result<CreateFields, DecodeError> {
    Ok(CreateFields { path: text(r)?, data: data(r)?, acl: acl(r)?, flags: r.int()? })
}

/// `DeleteRequest`; `None` for a null path.
fn delete_fields(r: &mut Reader<'_>) -> Result<Option<DeleteOp>, DecodeError> {
    let path = text(r)?;
    let version = r.int()?;
    Ok(path.map(|path| DeleteOp { path, version }))
}

/// `SetDataRequest`.
fn set_data_fields(r: &mut Reader<'_>) -> Result<SetDataOp, DecodeError> {
    Ok(SetDataOp { path: text(r)?.unwrap_or_default(), data: data(r)?, version: r.int()? })
}

/// `CheckVersionRequest`.
fn check_fields(r: &mut Reader<'_>) -> Result<MultiOp, DecodeError> {
    Ok(MultiOp::Check { path: text(r)?.unwrap_or_default(), version: r.int()? })
}

fn create<'a>(
    r: &mut Reader<'a>,
    kind: impl FnOnce(&mut Reader<'a>) -> Result<CreateKind, DecodeError>,
) -> Result<WriteOp, DecodeError> {
    let CreateFields { path, data, acl, flags } = create_fields(r)?;
    let kind = kind(r)?;
    Ok(match path {
        Some(path) => WriteOp::Create(CreateOp { kind, path, data, acl, flags }),
        None if flags::is_valid(flags) && kind.is_valid_for(flags) => TRIPPED,
        // Flags and time to live are looked at before the path.
        None => WriteOp::Refused(ErrorCode::BadArguments),
    })
}

fn set_acl(r: &mut Reader<'_>) -> Result<WriteOp, DecodeError> {
    Ok(WriteOp::SetAcl { path: text(r)?.unwrap_or_default(), acl: acl(r)?, version: r.int()? })
}

fn reconfig(r: &mut Reader<'_>) -> Result<WriteOp, DecodeError> {
    Ok(WriteOp::Reconfig(ReconfigOp {
        joining: text(r)?,
        leaving: text(r)?,
        members: text(r)?,
        config_version: r.long()?,
    }))
}

/// Whether a null comes next.
fn null_is_next(r: &Reader<'_>) -> bool {
    r.rest().starts_with(&[0xFF; 4])
}

fn text(r: &mut Reader<'_>) -> Result<Option<Box<str>>, DecodeError> {
    Ok(r.string()?.map(Into::into))
}

fn data(r: &mut Reader<'_>) -> Result<Option<Bytes>, DecodeError> {
    Ok(r.buffer()?.map(Bytes::copy_from_slice))
}

fn acl(r: &mut Reader<'_>) -> Result<AclSpec, DecodeError> {
    if r.rest().starts_with(&OPEN_ACL) {
        r.count()?;
        r.int()?;
        r.buffer()?;
        r.buffer()?;
        return Ok(AclSpec::Open);
    }
    let entries = r.vector(|r| Ok(AclEntry { perms: r.int()?, scheme: text(r)?, id: text(r)? }))?;
    Ok(AclSpec::List(entries))
}

fn encode_create(w: &mut Writer<'_>, op: &CreateOp) {
    w.string(&op.path);
    w.buffer(op.data.as_deref());
    encode_acl(w, &op.acl);
    w.int(op.flags);
    if let CreateKind::Ttl { ttl_ms } = op.kind {
        w.long(ttl_ms);
    }
}

fn encode_delete(w: &mut Writer<'_>, op: &DeleteOp) {
    w.string(&op.path);
    w.int(op.version);
}

fn encode_set_data(w: &mut Writer<'_>, op: &SetDataOp) {
    w.string(&op.path);
    w.buffer(op.data.as_deref());
    w.int(op.version);
}

fn encode_acl(w: &mut Writer<'_>, acl: &AclSpec) {
    match acl {
        AclSpec::Open => w.raw(&OPEN_ACL),
        AclSpec::List(None) => w.count(None),
        AclSpec::List(Some(entries)) => {
            w.count(Some(entries.len()));
            for entry in entries {
                w.int(entry.perms);
                w.buffer(entry.scheme.as_deref().map(str::as_bytes));
                w.buffer(entry.id.as_deref().map(str::as_bytes));
            }
        }
    }
}
