//! multi and multiRead (`MultiOperationRecord`): ops, each behind a `MultiHeader`, up to a header that says done.

use super::opcode::{CHECK, ERROR, OpCode};
use super::write::{self, CreateFields, TRIPPED, flags};
use engine::jute::{DecodeError, Reader, Writer};
use engine::read::ReadOp;
use replication::request::{AclSpec, CreateKind, CreateOp, MultiOp, WriteOp};

/// A `MultiHeader` as results carry it.
pub fn encode_header(w: &mut Writer<'_>, type_code: i32, done: bool, err: i32) {
    w.int(type_code);
    w.boolean(done);
    w.int(err);
}

/// The header that ends a list of results.
pub fn encode_terminator(w: &mut Writer<'_>) {
    encode_header(w, ERROR, true, -1);
}

/// The result of an op that failed, or that another op's failure took along: `MultiHeader(-1)` and `ErrorResponse`.
pub fn encode_failure(w: &mut Writer<'_>, code: i32) {
    encode_header(w, ERROR, false, code);
    w.int(code);
}

/// Reads a multi. One that is malformed, mixes kinds or holds something else spends a zxid.
pub(super) fn decode_writes(r: &mut Reader<'_>) -> WriteOp {
    match write_ops(r) {
        Ok(Some(ops)) => WriteOp::Multi(ops),
        Ok(None) | Err(_) => TRIPPED,
    }
}

/// Reads a multiRead. The watch flags mean nothing here.
pub fn decode_reads<'a>(r: &mut Reader<'a>) -> Result<Vec<ReadOp<'a>>, DecodeError> {
    let mut ops = Vec::new();
    while let Some(type_code) = header(r)? {
        let path = super::read::path;
        ops.push(match OpCode::from_wire(type_code) {
            Some(OpCode::GetData) => {
                let path = path(r)?;
                r.boolean()?;
                ReadOp::GetData { path, watch: false }
            }
            Some(OpCode::GetChildren) => {
                let path = path(r)?;
                r.boolean()?;
                ReadOp::GetChildren { path, watch: false, stat: false }
            }
            _ => return Err(DecodeError::Value("an op that a multiRead cannot hold")),
        });
    }
    Ok(ops)
}

/// Reads a header; `None` is the terminator.
fn header(r: &mut Reader<'_>) -> Result<Option<i32>, DecodeError> {
    let type_code = r.int()?;
    let done = r.boolean()?;
    r.int()?;
    Ok((!done).then_some(type_code))
}

/// The ops, or `None` if one of them has a null path that it trips over.
fn write_ops(r: &mut Reader<'_>) -> Result<Option<Vec<MultiOp>>, DecodeError> {
    let mut ops = Vec::new();
    let mut tripped = false;
    while let Some(type_code) = header(r)? {
        let op = match OpCode::from_wire(type_code) {
            Some(OpCode::Create) => create(r, CreateKind::Create)?,
            Some(OpCode::Create2) => create(r, CreateKind::Create2)?,
            Some(OpCode::CreateContainer) => create(r, CreateKind::Container)?,
            Some(OpCode::CreateTtl) => create_ttl(r)?,
            Some(OpCode::Delete) => write::delete_fields(r)?.map(MultiOp::Delete),
            Some(OpCode::SetData) => Some(MultiOp::SetData(write::set_data_fields(r)?)),
            None if type_code == CHECK => Some(write::check_fields(r)?),
            _ => return Err(DecodeError::Value("an op that a multi cannot hold")),
        };
        tripped |= op.is_none();
        ops.extend(op);
    }
    Ok((!tripped).then_some(ops))
}

/// A create of type 1, 15 or 19: the whole multi fails over bad flags and a null list, and flags that say container
/// make it one.
fn create(r: &mut Reader<'_>, kind: CreateKind) -> Result<Option<MultiOp>, DecodeError> {
    let fields = write::create_fields(r)?;
    if !flags::is_valid(fields.flags) || flags::has_ttl(fields.flags) {
        return Err(DecodeError::Value("flags that a create in a multi cannot have"));
    }
    if fields.acl == AclSpec::List(None) {
        return Err(DecodeError::Value("null ACL"));
    }
    let kind = if fields.flags == flags::CONTAINER { CreateKind::Container } else { kind };
    Ok(create_op(fields, kind))
}

/// A create of type 21: flags without TTL make it a plain create (or a container), and bad flags are left for
/// validation to find.
fn create_ttl(r: &mut Reader<'_>) -> Result<Option<MultiOp>, DecodeError> {
    let fields = write::create_fields(r)?;
    let ttl_ms = r.long()?;
    let kind = match fields.flags {
        flags::CONTAINER => CreateKind::Container,
        flags if flags::has_ttl(flags) => CreateKind::Ttl { ttl_ms },
        _ => CreateKind::Create,
    };
    Ok(create_op(fields, kind))
}

fn create_op(fields: CreateFields, kind: CreateKind) -> Option<MultiOp> {
    let CreateFields { path, data, acl, flags } = fields;
    path.map(|path| MultiOp::Create(CreateOp { kind, path, data, acl, flags }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(bytes: &mut Vec<u8>, type_code: i32, write: impl FnOnce(&mut Writer<'_>)) {
        let mut w = Writer::new(bytes);
        encode_header(&mut w, type_code, false, -1);
        write(&mut w);
    }

    fn create_fields(w: &mut Writer<'_>, path: &str, flags: i32) {
        w.string(path);
        w.buffer(None);
        w.count(Some(0));
        w.int(flags);
    }

    fn multi(build: impl FnOnce(&mut Vec<u8>)) -> WriteOp {
        let mut bytes = Vec::new();
        build(&mut bytes);
        encode_terminator(&mut Writer::new(&mut bytes));
        decode_writes(&mut Reader::new(&bytes))
    }

    fn kind_of(type_code: i32, flags: i32, ttl: bool) -> Option<CreateKind> {
        let decoded = multi(|bytes| {
            op(bytes, type_code, |w| {
                create_fields(w, "/a", flags);
                if ttl {
                    w.long(9);
                }
            })
        });
        match decoded {
            WriteOp::Multi(ops) => match &ops[..] {
                [MultiOp::Create(op)] => Some(op.kind),
                other => panic!("{other:?}"),
            },
            _ => None,
        }
    }

    #[test]
    fn kinds_follow_type_and_flags() {
        assert_eq!(kind_of(1, 0, false), Some(CreateKind::Create));
        assert_eq!(kind_of(15, 3, false), Some(CreateKind::Create2));
        assert_eq!(kind_of(1, 4, false), Some(CreateKind::Container));
        assert_eq!(kind_of(15, 4, false), Some(CreateKind::Container));
        assert_eq!(kind_of(19, 4, false), Some(CreateKind::Container));
        assert_eq!(kind_of(21, 5, true), Some(CreateKind::Ttl { ttl_ms: 9 }));
        assert_eq!(kind_of(21, 0, true), Some(CreateKind::Create));
        assert_eq!(kind_of(21, 99, true), Some(CreateKind::Create));
        for (type_code, flags) in [(1, 7), (1, -1), (1, 5), (15, 6), (19, 5)] {
            assert_eq!(kind_of(type_code, flags, false), None, "{type_code} {flags}");
        }
    }

    #[test]
    fn malformed_multis_spend_a_zxid() {
        assert_eq!(multi(|_| {}), WriteOp::Multi(vec![]));
        assert_eq!(multi(|bytes| op(bytes, 7, |w| w.string("/a"))), TRIPPED);
        assert_eq!(multi(|bytes| op(bytes, 20, |w| w.string("/a"))), TRIPPED);
        let mixed = multi(|bytes| {
            op(bytes, 13, |w| {
                w.string("/a");
                w.int(0);
            });
            op(bytes, 4, |w| {
                w.string("/a");
                w.boolean(false);
            });
        });
        assert_eq!(mixed, TRIPPED);
        let null_path = multi(|bytes| {
            op(bytes, 2, |w| {
                w.buffer(None);
                w.int(0);
            })
        });
        assert_eq!(null_path, TRIPPED);
        assert_eq!(decode_writes(&mut Reader::new(&[])), TRIPPED);
        let null_acl = multi(|bytes| {
            op(bytes, 1, |w| {
                w.string("/a");
                w.buffer(None);
                w.count(None);
                w.int(0);
            })
        });
        assert_eq!(null_acl, TRIPPED);
    }

    #[test]
    fn multi_read_takes_two_ops_and_no_watch() {
        let mut bytes = Vec::new();
        for type_code in [4, 8] {
            op(&mut bytes, type_code, |w| {
                w.string("/a");
                w.boolean(true);
            });
        }
        let open = bytes.clone();
        encode_terminator(&mut Writer::new(&mut bytes));
        let expected = vec![
            ReadOp::GetData { path: "/a".into(), watch: false },
            ReadOp::GetChildren { path: "/a".into(), watch: false, stat: false },
        ];
        assert_eq!(decode_reads(&mut Reader::new(&bytes)), Ok(expected));
        assert_eq!(decode_reads(&mut Reader::new(&open)), Err(DecodeError::CutShort));
        let mut write = Vec::new();
        op(&mut write, 2, |w| w.string("/a"));
        assert!(decode_reads(&mut Reader::new(&write)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_writes(&mut Reader::new(&bytes));
            let _ = decode_reads(&mut Reader::new(&bytes));
        }

        #[test]
        fn damaged_multis_never_panic(at in 0_usize..60, value: u8) {
            let mut bytes = Vec::new();
            op(&mut bytes, 1, |w| create_fields(w, "/a", 0));
            op(&mut bytes, 13, |w| { w.string("/a"); w.int(0); });
            encode_terminator(&mut Writer::new(&mut bytes));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = decode_writes(&mut Reader::new(&bytes));
        }
    }
}
