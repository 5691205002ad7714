//! exists, getData, getChildren, getChildren2, getACL, getAllChildrenNumber; the path of sync, the prefix of
//! getEphemerals.
//!
//! Reads check no path: `""` is the root, and what is no path is simply not there. Only null is refused.

use super::OpCode;
use engine::jute::{DecodeError, Reader};
use engine::read::{PathArg, ReadOp};
use std::borrow::Cow;

/// Reads the record of a read that one shard answers (getAllChildrenNumber: each shard in part). `None` if `op` is not
/// of this family.
pub fn decode<'a>(op: OpCode, r: &mut Reader<'a>) -> Option<Result<ReadOp<'a>, DecodeError>> {
    Some(match op {
        OpCode::Exists => path_and_watch(r).map(|(path, watch)| ReadOp::Exists { path, watch }),
        OpCode::GetData => path_and_watch(r).map(|(path, watch)| ReadOp::GetData { path, watch }),
        OpCode::GetChildren => path_and_watch(r).map(|(path, watch)| ReadOp::GetChildren { path, watch, stat: false }),
        OpCode::GetChildren2 => path_and_watch(r).map(|(path, watch)| ReadOp::GetChildren { path, watch, stat: true }),
        OpCode::GetAcl => path(r).map(|path| ReadOp::GetAcl { path }),
        OpCode::GetAllChildrenNumber => path(r).map(|path| ReadOp::CountDescendants { path }),
        _ => return None,
    })
}

/// `SyncRequest` and `GetEphemeralsRequest`: one string, which may be null.
pub fn optional_text<'a>(r: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    r.string()
}

/// A path that must not be null.
pub(super) fn path<'a>(r: &mut Reader<'a>) -> Result<PathArg<'a>, DecodeError> {
    r.string()?.ok_or(DecodeError::Value("null path"))
}

fn path_and_watch<'a>(r: &mut Reader<'a>) -> Result<(PathArg<'a>, bool), DecodeError> {
    Ok((path(r)?, r.boolean()?))
}
