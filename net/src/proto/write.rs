//! create in all its forms, delete, setData, setACL, reconfig, closeSession.

use super::{OpCode, multi};
use bytes::Bytes;
use engine::acl::perms;
use engine::error_code::ErrorCode;
use engine::jute::{DecodeError, Reader};
use replication::request::{
    AclEntry, AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, ReconfigOp, SetDataOp, WriteOp,
};

/// Flags of a create (`CreateMode`).
pub mod flags {
    /// The node is a container.
    pub const CONTAINER: i32 = 4;
    /// The node has a time to live.
    pub const TTL: i32 = 5;
    /// The node has a time to live and a sequence number.
    pub const SEQUENTIAL_TTL: i32 = 6;

    /// Whether it is one of the seven modes; the numbers are an enumeration, not a mask.
    pub const fn is_valid(flags: i32) -> bool {
        flags >= 0 && flags <= SEQUENTIAL_TTL
    }

    /// Whether the node has a time to live.
    pub const fn has_ttl(flags: i32) -> bool {
        flags == TTL || flags == SEQUENTIAL_TTL
    }
}

/// `world:anyone` with every permission, as a whole vector on the wire: what nearly every create carries.
const OPEN_ACL: [u8; 27] = *b"\0\0\0\x01\0\0\0\x1F\0\0\0\x05world\0\0\0\x06anyone";

/// Reads the record. `None` if `op` is not a write.
///
/// A null path does what it does in Apache ZooKeeper: create and delete trip over it and spend a zxid
/// ([`WriteOp::Refused`]); the others find it no valid path, which an empty one is neither.
pub fn decode(op: OpCode, r: &mut Reader<'_>) -> Option<Result<WriteOp, DecodeError>> {
    Some(match op {
        OpCode::Create => create(r, |_| Ok(CreateKind::Create)),
        OpCode::Create2 => create(r, |_| Ok(CreateKind::Create2)),
        OpCode::CreateContainer => create(r, |_| Ok(CreateKind::Container)),
        OpCode::CreateTtl => create(r, |r| Ok(CreateKind::Ttl { ttl_ms: r.long()? })),
        OpCode::Delete => delete_fields(r).map(|op| op.map_or(TRIPPED, WriteOp::Delete)),
        OpCode::SetData => set_data_fields(r).map(WriteOp::SetData),
        OpCode::SetAcl => set_acl(r),
        OpCode::Multi => Ok(multi::decode_writes(r)),
        OpCode::Reconfig => reconfig(r),
        OpCode::CloseSession => Ok(WriteOp::CloseSession),
        _ => return None,
    })
}

/// An internal null: spends a zxid.
pub(super) const TRIPPED: WriteOp = WriteOp::Refused(ErrorCode::MarshallingError);

/// `CreateRequest` as far as it is common to all creates; a null path stays null.
pub(super) struct CreateFields {
    pub path: Option<Box<str>>,
    pub data: Option<Bytes>,
    pub acl: AclSpec,
    pub flags: i32,
}

pub(super) fn create_fields(r: &mut Reader<'_>) -> Result<CreateFields, DecodeError> {
    Ok(CreateFields { path: text(r)?, data: data(r)?, acl: acl(r)?, flags: r.int()? })
}

/// `DeleteRequest`; `None` for a null path.
pub(super) fn delete_fields(r: &mut Reader<'_>) -> Result<Option<DeleteOp>, DecodeError> {
    let path = text(r)?;
    let version = r.int()?;
    Ok(path.map(|path| DeleteOp { path, version }))
}

/// `SetDataRequest`.
pub(super) fn set_data_fields(r: &mut Reader<'_>) -> Result<SetDataOp, DecodeError> {
    Ok(SetDataOp { path: text(r)?.unwrap_or_default(), data: data(r)?, version: r.int()? })
}

/// `CheckVersionRequest`.
pub(super) fn check_fields(r: &mut Reader<'_>) -> Result<MultiOp, DecodeError> {
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
        None if flags::is_valid(flags) => TRIPPED,
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

const _: () = assert!(OPEN_ACL[7] as i32 == perms::ALL);

#[cfg(test)]
mod tests {
    use super::*;
    use engine::jute::Writer;
    use proptest::prelude::*;

    fn create_record(path: Option<&str>, acl: &[(i32, Option<&str>, Option<&str>)], flags: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut w = Writer::new(&mut bytes);
        w.buffer(path.map(str::as_bytes));
        w.buffer(None);
        w.count(Some(acl.len()));
        for (perms, scheme, id) in acl {
            w.int(*perms);
            w.buffer(scheme.map(str::as_bytes));
            w.buffer(id.map(str::as_bytes));
        }
        w.int(flags);
        bytes
    }

    fn decoded(op: OpCode, bytes: &[u8]) -> Result<WriteOp, DecodeError> {
        decode(op, &mut Reader::new(bytes)).expect("a write")
    }

    const WORLD: (i32, Option<&str>, Option<&str>) = (31, Some("world"), Some("anyone"));

    #[test]
    fn the_open_list_is_recognised_and_no_other_is_taken_for_it() {
        let acl_of = |entries: &[_]| match decoded(OpCode::Create, &create_record(Some("/a"), entries, 0)) {
            Ok(WriteOp::Create(op)) => op.acl,
            other => panic!("{other:?}"),
        };
        assert_eq!(acl_of(&[WORLD]), AclSpec::Open);
        for entries in [
            vec![],
            vec![WORLD, WORLD],
            vec![(30, Some("world"), Some("anyone"))],
            vec![(31, Some("world"), None)],
            vec![(31, Some("worle"), Some("anyone"))],
        ] {
            let AclSpec::List(Some(list)) = acl_of(&entries) else { panic!("taken for the open list") };
            assert_eq!(list.len(), entries.len());
        }
    }

    #[test]
    fn a_null_path_spends_a_zxid() {
        assert_eq!(decoded(OpCode::Create, &create_record(None, &[WORLD], 0)), Ok(TRIPPED));
        assert_eq!(
            decoded(OpCode::Create2, &create_record(None, &[WORLD], 7)),
            Ok(WriteOp::Refused(ErrorCode::BadArguments))
        );
        assert_eq!(decoded(OpCode::Delete, &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1]), Ok(TRIPPED));
        assert_eq!(
            decoded(OpCode::SetData, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1]),
            Ok(WriteOp::SetData(SetDataOp { path: "".into(), data: None, version: 1 }))
        );
    }

    #[test]
    fn kinds_and_nulls_survive() {
        let bytes = create_record(Some("/a"), &[WORLD], 5);
        assert_eq!(decoded(OpCode::CreateTtl, &bytes), Err(DecodeError::CutShort));
        let with_ttl = [&bytes[..], &7_i64.to_be_bytes()].concat();
        let Ok(WriteOp::Create(op)) = decoded(OpCode::CreateTtl, &with_ttl) else { panic!("no create") };
        assert_eq!((op.kind, op.data, op.flags), (CreateKind::Ttl { ttl_ms: 7 }, None, 5));
        let nulls = [&[0xFF; 12][..], &3_i64.to_be_bytes()].concat();
        assert_eq!(
            decoded(OpCode::Reconfig, &nulls),
            Ok(WriteOp::Reconfig(ReconfigOp { joining: None, leaving: None, members: None, config_version: 3 }))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(number in -12..110, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(op) = OpCode::from_wire(number) {
                let _ = decode(op, &mut Reader::new(&bytes));
                let _ = super::super::read::decode(op, &mut Reader::new(&bytes));
                let _ = super::super::watch::decode(op, &mut Reader::new(&bytes));
            }
        }
    }
}
