//! multi (`MultiOperationRecord`): ops, each behind a `MultiHeader`, up to a header that says done.

use super::{CreateFields, TRIPPED, flags, opcode};
use crate::request::{AclSpec, CreateKind, CreateOp, MultiOp, WriteOp};
use engine::jute::{DecodeError, Reader, Writer};

/// Reads a multi. One that is malformed, mixes kinds or holds something else spends a zxid.
pub(super) fn decode(r: &mut Reader<'_>) -> WriteOp {
    match ops(r) {
        Ok(Some(ops)) => WriteOp::Multi(ops),
        Ok(None) | Err(_) => TRIPPED,
    }
}

/// Appends a multi.
pub(super) fn encode(ops: &[MultiOp], out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    for op in ops {
        match op {
            MultiOp::Create(op) => {
                encode_header(&mut w, op.kind.type_code(), false);
                super::encode_create(&mut w, op);
            }
            MultiOp::Delete(op) => {
                encode_header(&mut w, opcode::DELETE, false);
                super::encode_delete(&mut w, op);
            }
            MultiOp::SetData(op) => {
                encode_header(&mut w, opcode::SET_DATA, false);
                super::encode_set_data(&mut w, op);
            }
            MultiOp::Check { path, version } => {
                encode_header(&mut w, opcode::CHECK, false);
                w.string(path);
                w.int(*version);
            }
        }
    }
    encode_header(&mut w, opcode::ERROR, true);
}

fn encode_header(w: &mut Writer<'_>, type_code: i32, done: bool) {
    w.int(type_code);
    w.boolean(done);
    w.int(-1);
}

/// Reads a header; `None` is the terminator.
fn header(r: &mut Reader<'_>) -> Result<Option<i32>, DecodeError> {
    let type_code = r.int()?;
    let done = r.boolean()?;
    r.int()?;
    Ok((!done).then_some(type_code))
}

/// The ops, or `None` if one of them has a null path: Apache ZooKeeper looks for all paths first, and trips over it.
fn ops(r: &mut Reader<'_>) -> Result<Option<Vec<MultiOp>>, DecodeError> {
    let mut ops = Vec::new();
    let mut tripped = false;
    while let Some(type_code) = header(r)? {
        tripped |= super::null_is_next(r);
        let op = match type_code {
            opcode::CREATE => create(r, CreateKind::Create)?,
            opcode::CREATE2 => create(r, CreateKind::Create2)?,
            opcode::CREATE_CONTAINER => create(r, CreateKind::Container)?,
            opcode::CREATE_TTL => create_ttl(r)?,
            opcode::DELETE => super::delete_fields(r)?.map(MultiOp::Delete),
            opcode::SET_DATA => Some(MultiOp::SetData(super::set_data_fields(r)?)),
            opcode::CHECK => Some(super::check_fields(r)?),
            _ => return Err(DecodeError::Value("an op that a multi cannot hold")),
        };
        ops.extend(op);
    }
    Ok((!tripped).then_some(ops))
}

/// A create of type 1, 15 or 19: the whole multi fails over bad flags and a null list.
fn create(r: &mut Reader<'_>, kind: CreateKind) -> Result<Option<MultiOp>, DecodeError> {
    let fields = super::create_fields(r)?;
    if !flags::is_valid(fields.flags) || flags::has_ttl(fields.flags) {
        return Err(DecodeError::Value("flags that a create in a multi cannot have"));
    }
    if fields.acl == AclSpec::List(None) {
        return Err(DecodeError::Value("null ACL"));
    }
    Ok(create_op(fields, kind))
}

/// A create of type 21: whatever is wrong with it is an error of this op alone, left for validation to find.
fn create_ttl(r: &mut Reader<'_>) -> Result<Option<MultiOp>, DecodeError> {
    let fields = super::create_fields(r)?;
    let kind = CreateKind::Ttl { ttl_ms: r.long()? };
    Ok(create_op(fields, kind))
}

fn create_op(fields: CreateFields, kind: CreateKind) -> Option<MultiOp> {
    let CreateFields { path, data, acl, flags } = fields;
    path.map(|path| MultiOp::Create(CreateOp { kind, path, data, acl, flags }))
}
