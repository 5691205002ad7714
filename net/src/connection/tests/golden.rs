//! Frames captured from Apache ZooKeeper 3.9.4, byte for byte.

use super::*;
use engine::event::EventKind;
use engine::read::OwedEvent;
use replication::request::{AclSpec, CreateKind, CreateOp, MultiOp, MultiResult, WriteOp};

fn write_answered(
    host: &mut Host,
    connection: &mut Connection,
    zxid: u64,
    result: Result<WriteResult, ErrorCode>,
    events: &[ViewEvent],
) -> (WriteOp, Vec<u8>) {
    let write = host.writes.pop_front().unwrap();
    let origin = write.origin.unwrap();
    bring_answer(connection, host, WriteAnswer { origin, zxid: Zxid(zxid), result });
    assert!(connection.output().is_empty());
    step(host, connection, zxid, events);
    (write.op, drain(host, connection))
}

/// One connection through the whole list, in its order.
#[test]
fn the_captured_conversation() {
    let mut host = Host::at(0);
    let mut c = fresh(ConnectionLimits::default());

    let connect = "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00*16 00";
    c.receive(&mut host, &hex(connect));
    let asked = host.handshakes.pop().unwrap();
    assert_eq!((asked.session, asked.timeout_ms, asked.password), (SessionId::NONE, 30_000, Some([0; 16])));
    c.connected(&mut host, SESSION, 30_000, [0xAB; 16], Zxid(1));
    assert!(c.output().is_empty(), "the session's creation is not in the view yet");
    step(&mut host, &mut c, 1, &[]);
    let expected = "00000025 00000000 00007530 010000273b0d0000 00000010 ab*16 00";
    assert_eq!(drain(&mut host, &mut c), hex(expected));

    c.receive(&mut host, &hex("00000008 fffffffe 0000000b"));
    assert_eq!(drain(&mut host, &mut c), hex("00000010 fffffffe 0000000000000001 00000000"));

    let create = "00000033 00000001 00000001 00000002 2f67 00000002 7630 00000001 0000001f \
                  00000005 776f726c64 00000006 616e796f6e65 00000000";
    c.receive(&mut host, &hex(create));
    let created = WriteResult::Created { path: "/g".into(), stat: false };
    let (op, sent) = write_answered(&mut host, &mut c, 2, Ok(created), &[]);
    let expected_op = WriteOp::Create(CreateOp {
        kind: CreateKind::Create,
        path: "/g".into(),
        data: Some(bytes::Bytes::from_static(b"v0")),
        acl: AclSpec::Open,
        flags: 0,
    });
    assert_eq!(op, expected_op);
    assert_eq!(sent, hex("00000016 00000001 0000000000000002 00000000 00000002 2f67"));

    c.receive(&mut host, &hex(&create.replace("00000033 00000001", "00000033 00000002")));
    let (_, sent) = write_answered(&mut host, &mut c, 3, Err(ErrorCode::NodeExists), &[]);
    assert_eq!(sent, hex("00000010 00000002 0000000000000003 ffffff92"));

    let stat = Stat { czxid: 2, mzxid: 2, ctime: 5, mtime: 5, data_length: 2, pzxid: 2, ..Stat::default() };
    let mut record = Vec::new();
    let mut w = Writer::new(&mut record);
    w.buffer(Some(b"v0"));
    stat.encode(&mut w);
    host.script(Script::Record(record));
    c.receive(&mut host, &hex("0000000f 00000003 00000004 00000002 2f67 01"));
    assert_eq!(host.reads.pop().unwrap().op, ReadOp::GetData { path: "/g".into(), watch: true });
    let expected = "0000005a 00000003 0000000000000003 00000000 00000002 7630 0000000000000002 0000000000000002 \
                    0000000000000005 0000000000000005 00000000 00000000 00000000 0000000000000000 00000002 00000000 \
                    0000000000000002";
    assert_eq!(drain(&mut host, &mut c), hex(expected));

    c.receive(&mut host, &hex("00000018 00000004 00000005 00000002 2f67 00000002 7631 00000000"));
    let origin = host.writes[0].origin.unwrap();
    bring_stat(&mut c, &mut host, CapturedStat { origin, op: 0, stat: Stat { version: 1, mzxid: 4, ..stat } });
    let (_, sent) = write_answered(&mut host, &mut c, 4, Ok(WriteResult::Stat), &[event(4, "/g")]);
    let expected = "0000001e ffffffff 0000000000000004 00000000 00000003 00000003 00000002 2f67 \
                    00000054 00000004 0000000000000004 00000000 0000000000000002 0000000000000004 \
                    0000000000000005 0000000000000005 00000001 00000000 00000000 0000000000000000 00000002 00000000 \
                    0000000000000002";
    assert_eq!(sent, hex(expected));

    let multi = "00000052 00000007 0000000e \
                 0000000d 00 ffffffff 00000002 2f67 00000001 \
                 00000002 00 ffffffff 00000005 2f6e6f7065 ffffffff \
                 00000005 00 ffffffff 00000002 2f67 00000001 78 ffffffff \
                 ffffffff 01 ffffffff";
    c.receive(&mut host, &hex(multi));
    let results = [0, -101, -2].map(MultiResult::Failed).to_vec();
    let (op, sent) = write_answered(&mut host, &mut c, 6, Ok(WriteResult::Multi(results)), &[]);
    let WriteOp::Multi(ops) = op else { panic!("no multi") };
    assert!(matches!(&ops[..], [MultiOp::Check { version: 1, .. }, MultiOp::Delete(_), MultiOp::SetData(_)]));
    let expected = "00000040 00000007 0000000000000006 00000000 ffffffff 00 00000000 00000000 \
                    ffffffff 00 ffffff9b ffffff9b ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff";
    assert_eq!(sent, hex(expected));

    let owed = OwedEvent { index: 0, kind: EventKind::NodeDataChanged, path: "/g".into() };
    host.script(Script::Body(ReadBody::Restored(vec![owed])));
    c.receive(&mut host, &hex("00000022 fffffff8 00000065 0000000000000000 00000001 00000002 2f67 00000000 00000000"));
    let expected = "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f67 \
                    00000010 fffffff8 0000000000000006 00000000";
    assert_eq!(drain(&mut host, &mut c), hex(expected));

    host.script(Script::Record(Vec::new()));
    c.receive(&mut host, &hex("00000012 00000008 0000006a 00000002 2f67 00000001"));
    assert_eq!(drain(&mut host, &mut c), hex("00000014 00000008 0000000000000006 00000000 00000000"));

    c.receive(&mut host, &hex("0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70"));
    assert_eq!(drain(&mut host, &mut c), hex("00000010 fffffffc 0000000000000000 00000000"));
    assert_eq!(c.identity().credentials().len(), 2);

    c.receive(&mut host, &hex("00000008 00000009 fffffff5"));
    assert_eq!(c.fate(), Fate::Open);
    let (op, sent) = write_answered(&mut host, &mut c, 7, Ok(WriteResult::Done), &[]);
    assert_eq!(op, WriteOp::CloseSession);
    assert_eq!(sent, hex("00000010 00000009 0000000000000007 00000000"));
    assert_eq!(c.fate(), Fate::CloseWhenSent);
    assert_eq!(c.info().counters.last_operation, "CLOS");
}
