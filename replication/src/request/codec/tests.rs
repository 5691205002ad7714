#![allow(clippy::unwrap_used)]

use super::*;
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

fn decoded(type_code: i32, bytes: &[u8]) -> Result<WriteOp, DecodeError> {
    decode(type_code, &mut Reader::new(bytes)).unwrap()
}

const WORLD: (i32, Option<&str>, Option<&str>) = (31, Some("world"), Some("anyone"));

#[test]
fn the_open_list_is_recognised_and_no_other_is_taken_for_it() {
    let acl_of = |entries: &[_]| match decoded(opcode::CREATE, &create_record(Some("/a"), entries, 0)) {
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
    assert_eq!(decoded(opcode::CREATE, &create_record(None, &[WORLD], 0)), Ok(TRIPPED));
    let refused = Ok(WriteOp::Refused(ErrorCode::BadArguments));
    assert_eq!(decoded(opcode::CREATE2, &create_record(None, &[WORLD], 7)), refused);
    // createTTL: flags and time to live are looked at first.
    for (flags, ttl, expected) in
        [(5, 1, TRIPPED), (5, 0, WriteOp::Refused(ErrorCode::BadArguments)), (0, 1, refused.clone().unwrap())]
    {
        let body = [create_record(None, &[WORLD], flags), i64::to_be_bytes(ttl).to_vec()].concat();
        assert_eq!(decoded(opcode::CREATE_TTL, &body), Ok(expected));
    }
    assert_eq!(decoded(opcode::DELETE, &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1]), Ok(TRIPPED));
    assert_eq!(
        decoded(opcode::SET_DATA, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1]),
        Ok(WriteOp::SetData(SetDataOp { path: "".into(), data: None, version: 1 }))
    );
}

#[test]
fn kinds_and_nulls_survive() {
    let bytes = create_record(Some("/a"), &[WORLD], 5);
    assert_eq!(decoded(opcode::CREATE_TTL, &bytes), Err(DecodeError::CutShort));
    let with_ttl = [&bytes[..], &7_i64.to_be_bytes()].concat();
    let Ok(WriteOp::Create(op)) = decoded(opcode::CREATE_TTL, &with_ttl) else { panic!("no create") };
    assert_eq!((op.kind, op.data, op.flags), (CreateKind::Ttl { ttl_ms: 7 }, None, 5));
    let nulls = [&[0xFF; 12][..], &3_i64.to_be_bytes()].concat();
    assert_eq!(
        decoded(opcode::RECONFIG, &nulls),
        Ok(WriteOp::Reconfig(ReconfigOp { joining: None, leaving: None, members: None, config_version: 3 }))
    );
}

#[test]
fn only_clients_writes_are_decoded() {
    for type_code in [opcode::SYNC, opcode::CHECK, opcode::DELETE_CONTAINER, opcode::CREATE_SESSION, 0, 4, 11, 22, 100]
    {
        assert_eq!(decode(type_code, &mut Reader::new(&[0; 40])), None, "{type_code}");
    }
}

// ---- multi ----

fn op(bytes: &mut Vec<u8>, type_code: i32, write: impl FnOnce(&mut Writer<'_>)) {
    let mut w = Writer::new(bytes);
    w.int(type_code);
    w.boolean(false);
    w.int(-1);
    write(&mut w);
}

fn multi(build: impl FnOnce(&mut Vec<u8>)) -> WriteOp {
    let mut bytes = Vec::new();
    build(&mut bytes);
    bytes.extend_from_slice(b"\xFF\xFF\xFF\xFF\x01\xFF\xFF\xFF\xFF");
    decoded(opcode::MULTI, &bytes).unwrap()
}

fn kind_of(type_code: i32, flags: i32, ttl: bool) -> Option<CreateKind> {
    let decoded = multi(|bytes| {
        op(bytes, type_code, |w| {
            w.raw(&create_record(Some("/a"), &[], flags));
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
fn flags_that_only_create_ttl_may_have_spoil_the_whole_multi() {
    assert_eq!(kind_of(1, 0, false), Some(CreateKind::Create));
    assert_eq!(kind_of(15, 3, false), Some(CreateKind::Create2));
    assert_eq!(kind_of(1, 4, false), Some(CreateKind::Create));
    assert_eq!(kind_of(19, 4, false), Some(CreateKind::Container));
    for flags in [5, 0, 99] {
        assert_eq!(kind_of(21, flags, true), Some(CreateKind::Ttl { ttl_ms: 9 }), "validation looks at the flags");
    }
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
    for type_code in [opcode::DELETE, opcode::CHECK, opcode::SET_DATA] {
        let null_path = multi(|bytes| {
            op(bytes, 2, |w| {
                w.string("/a");
                w.int(0);
            });
            op(bytes, type_code, |w| {
                w.buffer(None);
                if type_code == opcode::SET_DATA {
                    w.buffer(None);
                }
                w.int(0);
            });
        });
        assert_eq!(null_path, TRIPPED, "type {type_code}");
    }
    assert_eq!(decoded(opcode::MULTI, &[]), Ok(TRIPPED));
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

// ---- bytes of the reference server ----

/// Captured from Apache ZooKeeper 3.9.4 between a follower and its leader.
#[test]
fn bodies_are_those_of_the_reference_server() {
    assert_eq!(&encode_create_session(8000)[..], b"\0\0\x1F\x40");
    assert_eq!(decode_create_session(b"\0\0\x1F\x40"), Ok(8000));
    let body = b"\0\0\0\x02/p\0\0\0\x02v0\0\0\0\x01\0\0\0\x1F\0\0\0\x05world\0\0\0\x06anyone\0\0\0\0";
    let create = WriteOp::Create(CreateOp {
        kind: CreateKind::Create,
        path: "/p".into(),
        data: Some(Bytes::from_static(b"v0")),
        acl: AclSpec::Open,
        flags: 0,
    });
    assert_eq!(encode(&create), Some((opcode::CREATE, Bytes::from_static(body))));
    assert_eq!(decoded(opcode::CREATE, body), Ok(create));
    let joining = "server.4=127.0.0.1:31104:31204:observer;3104";
    let text = &(joining.len() as u32).to_be_bytes();
    let body = [text, joining.as_bytes(), &[0xFF; 16]].concat();
    let reconfig = ReconfigOp { joining: Some(joining.into()), leaving: None, members: None, config_version: -1 };
    assert_eq!(encode(&WriteOp::Reconfig(reconfig)), Some((opcode::RECONFIG, body.into())));
    assert_eq!(encode(&WriteOp::CloseSession), Some((opcode::CLOSE_SESSION, Bytes::new())));
}

// ---- both ways ----

fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof!["/[a-z]{0,8}", ".{0,6}"].prop_map(Into::into)
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from))
}

fn acl_spec() -> impl Strategy<Value = AclSpec> {
    let entry = (any::<i32>(), proptest::option::of(text()), proptest::option::of(text()))
        .prop_map(|(perms, scheme, id)| AclEntry { perms, scheme, id });
    prop_oneof![
        Just(AclSpec::Open),
        Just(AclSpec::List(None)),
        proptest::collection::vec(entry, 0..3).prop_map(|list| AclSpec::List(Some(list))),
    ]
}

fn creation() -> impl Strategy<Value = CreateOp> {
    let kind = prop_oneof![
        Just(CreateKind::Create),
        Just(CreateKind::Create2),
        Just(CreateKind::Container),
        any::<i64>().prop_map(|ttl_ms| CreateKind::Ttl { ttl_ms }),
    ];
    (kind, text(), data(), acl_spec(), -2..9).prop_map(|(kind, path, data, acl, flags)| CreateOp {
        kind,
        path,
        data,
        acl,
        flags,
    })
}

fn multi_op() -> impl Strategy<Value = MultiOp> {
    prop_oneof![
        creation().prop_map(MultiOp::Create),
        (text(), any::<i32>()).prop_map(|(path, version)| MultiOp::Delete(DeleteOp { path, version })),
        (text(), data(), any::<i32>()).prop_map(|(path, data, version)| MultiOp::SetData(SetDataOp {
            path,
            data,
            version
        })),
        (text(), any::<i32>()).prop_map(|(path, version)| MultiOp::Check { path, version }),
    ]
}

fn write() -> impl Strategy<Value = WriteOp> {
    let text_or_null = || proptest::option::of(text());
    prop_oneof![
        creation().prop_map(WriteOp::Create),
        (text(), any::<i32>()).prop_map(|(path, version)| WriteOp::Delete(DeleteOp { path, version })),
        (text(), data(), any::<i32>()).prop_map(|(path, data, version)| WriteOp::SetData(SetDataOp {
            path,
            data,
            version
        })),
        (text(), acl_spec(), any::<i32>()).prop_map(|(path, acl, version)| WriteOp::SetAcl { path, acl, version }),
        proptest::collection::vec(multi_op(), 0..5).prop_map(WriteOp::Multi),
        (text_or_null(), text_or_null(), text_or_null(), any::<i64>()).prop_map(
            |(joining, leaving, members, config_version)| {
                WriteOp::Reconfig(ReconfigOp { joining, leaving, members, config_version })
            }
        ),
        Just(WriteOp::CloseSession),
    ]
}

/// Creates that no decoded multi holds: it would not have been one.
fn is_decodable(op: &WriteOp) -> bool {
    let spoils = |op: &MultiOp| match op {
        MultiOp::Create(CreateOp { kind: CreateKind::Ttl { .. }, .. }) => false,
        MultiOp::Create(op) => !(0..5).contains(&op.flags) || op.acl == AclSpec::List(None),
        _ => false,
    };
    !matches!(op, WriteOp::Multi(ops) if ops.iter().any(spoils))
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_very_request(op in write()) {
        let (type_code, body) = encode(&op).unwrap();
        let mut r = Reader::new(&body);
        let expected = if is_decodable(&op) { op } else { TRIPPED };
        prop_assert_eq!(decode(type_code, &mut r), Some(Ok(expected)));
        prop_assert!(r.rest().is_empty() || type_code == opcode::MULTI);
    }

    #[test]
    fn what_decodes_is_forwarded_as_what_it_means(type_code in -12..30, bytes in proptest::collection::vec(0_u8..40, 0..120)) {
        if let Some(Ok(op)) = decode(type_code, &mut Reader::new(&bytes)) {
            match encode(&op) {
                Some((type_code, body)) => prop_assert_eq!(decode(type_code, &mut Reader::new(&body)), Some(Ok(op))),
                None => prop_assert!(matches!(op, WriteOp::Refused(_))),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(type_code in -12..110, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(type_code, &mut Reader::new(&bytes));
    }

    #[test]
    fn damaged_multis_never_panic(ops in proptest::collection::vec(multi_op(), 1..4), at: prop::sample::Index, value: u8) {
        let (type_code, body) = encode(&WriteOp::Multi(ops)).unwrap();
        let mut body = body.to_vec();
        let at = at.index(body.len());
        body[at] = value;
        let _ = decode(type_code, &mut Reader::new(&body));
    }
}
