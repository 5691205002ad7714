//! What each kind of request becomes, and what is said to those that are wrong.

use super::*;
use crate::proto::multi;
use engine::event::EventKind;
use engine::read::{OwedEvent, RestoredKind, WatchSelector};
use replication::request::WriteOp;

fn path_only(xid: i32, op: i32) -> Vec<u8> {
    request(xid, op, |w| w.string("/a"))
}

#[test]
fn opcodes_that_clients_may_not_send_end_the_connection() {
    for op in [0, -1, 13, -10, 20, 10, 23, 99, 1000] {
        let mut host = Host::at(4);
        let mut c = established(&mut host);
        c.receive(&mut host, &[get(1), path_only(2, op), get(3)].concat());
        let sent = frames(&drain(&mut host, &mut c));
        assert_eq!(sent.len(), 2);
        assert_eq!((sent[1].xid, sent[1].zxid, sent[1].err, sent[1].body.len()), (2, -1, -6, 0));
        assert_eq!(c.fate(), Fate::CloseWhenSent);
        assert_eq!(host.reads.len(), 1);
        assert!(host.writes.is_empty());
    }
}

#[test]
fn records_that_do_not_decode_cost_nothing_but_a_reply() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    let cut = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 18, 19, 21, 22, 101, 103, 104, 105, 106];
    for (xid, op) in cut.into_iter().enumerate() {
        c.receive(&mut host, &request(xid as i32, op, |w| w.raw(&[0, 0])));
    }
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!(sent.len(), cut.len());
    for (xid, sent) in sent.iter().enumerate() {
        assert_eq!((sent.xid, sent.zxid, sent.err, sent.body.len()), (xid as i32, 4, -5, 0));
    }
    assert!(host.writes.is_empty() && host.reads.is_empty());
    assert_eq!(c.fate(), Fate::Open);
    c.receive(&mut host, &request(99, OpCode::Multi as i32, |w| w.raw(&[0, 0])));
    assert_eq!(host.writes[0].op, WriteOp::Refused(ErrorCode::MarshallingError));
}

#[test]
fn a_header_cut_short_closes() {
    let mut host = Host::new();
    let mut c = established(&mut host);
    c.receive(&mut host, &hex("00000007 00000000000000"));
    assert_eq!(c.fate(), Fate::CloseNow);
}

#[test]
fn errors_of_reads_carry_the_view_and_no_body() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    host.script(Script::Fail(ErrorCode::NoNode));
    c.receive(&mut host, &get(1));
    let null_path = request(2, 4, |w| {
        w.buffer(None);
        w.boolean(false);
    });
    c.receive(&mut host, &null_path);
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!(sent[0], Sent { xid: 1, zxid: 4, err: -101, body: vec![] });
    assert_eq!(sent[1], Sent { xid: 2, zxid: 4, err: -5, body: vec![] });
}

#[test]
fn pings_answer_with_their_own_xid() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &request(77, 11, |w| w.raw(&[1, 2, 3])));
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-2, 4)]);
    assert_eq!(host.touches, 1);
    c.receive(&mut host, &ping());
    assert_eq!(host.touches, 1, "once per reading of the clock");
}

#[test]
fn sasl_is_not_configured_and_who_am_i_needs_nobody() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &request(1, 102, |w| w.buffer(Some(b"token"))));
    c.receive(&mut host, &request(2, 107, |_| {}));
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!(sent[0], Sent { xid: 1, zxid: 0, err: 0, body: vec![0xFF; 4] });
    assert_eq!((sent[1].zxid, sent[1].err), (4, 0));
    let mut r = Reader::new(&sent[1].body);
    assert_eq!(r.count(), Ok(Some(1)));
    assert_eq!(r.string(), Ok(Some("ip".into())));
    assert_eq!(r.string(), Ok(Some("127.0.0.1".into())));
}

fn auth(scheme: &str, text: &[u8]) -> Vec<u8> {
    request(-4, 100, |w| {
        w.int(0);
        w.string(scheme);
        w.buffer(Some(text));
    })
}

#[test]
fn a_credential_counts_for_what_comes_after_it() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), auth("digest", b"a:b"), set(2)].concat());
    assert!(c.output().is_empty(), "the reply keeps its place");
    let credentials: Vec<usize> = host.writes.iter().map(|write| write.identity.credentials().len()).collect();
    assert_eq!(credentials, [1, 2]);
    answer(&mut host, &mut c, 5);
    step(&mut host, &mut c, 5, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 5), (-4, 0)]);
}

#[test]
fn failed_authentication_is_the_last_thing_answered() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), auth("nosuch", b"a:b"), set(2)].concat());
    assert_eq!(host.writes.len(), 1);
    assert_eq!(c.fate(), Fate::Open, "the write is owed an answer");
    answer(&mut host, &mut c, 5);
    step(&mut host, &mut c, 5, &[]);
    assert_eq!(errors_of(&drain(&mut host, &mut c)), [(1, 0), (-4, -115)]);
    assert_eq!(c.fate(), Fate::CloseWhenSent);
    assert_eq!(host.metrics.auth_failed, 1);
}

#[test]
fn enforced_authentication_refuses_even_pings() {
    let mut host = Host::at(4);
    let mut limits = ConnectionLimits::default();
    limits.auth.enforced_schemes = vec!["digest".into()];
    let mut c = established_with(&mut host, limits.clone());
    c.receive(&mut host, &[auth("digest", b"a:b"), get(1)].concat());
    assert_eq!(errors_of(&drain(&mut host, &mut c)), [(-4, 0), (1, 0)]);
    let mut c = established_with(&mut host, limits);
    c.receive(&mut host, &ping());
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!((sent[0].xid, sent[0].zxid, sent[0].err), (-2, 0, -124));
    assert_eq!(c.fate(), Fate::CloseWhenSent);
}

#[test]
fn counts_are_added_up_over_all_shards() {
    let mut host = Host { shards: 3, ..Host::at(4) };
    let mut c = established(&mut host);
    host.script(Script::Body(ReadBody::Count(2)));
    host.script(Script::Later);
    host.script(Script::Body(ReadBody::Count(3)));
    c.receive(&mut host, &path_only(1, 104));
    assert!(c.output().is_empty());
    let waiting = host.reads[1].clone();
    assert_eq!((waiting.target, waiting.part), (ReadTarget::Shard(ShardId(1)), 1));
    let reply = ReadReply { origin: waiting.origin, part: 1, result: Ok(ReadBody::Count(4)) };
    c.read_reply(&mut host, reply);
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!(sent, [Sent { xid: 1, zxid: 4, err: 0, body: vec![0, 0, 0, 9] }]);
    host.script(Script::Body(ReadBody::Count(0)));
    host.script(Script::Fail(ErrorCode::NoNode));
    host.script(Script::Body(ReadBody::Count(0)));
    c.receive(&mut host, &path_only(2, 104));
    assert_eq!(errors_of(&drain(&mut host, &mut c)), [(2, -101)]);
}

#[test]
fn watches_go_to_whoever_may_hold_them() {
    let mut host = Host { shards: 2, ..Host::at(4) };
    let mut c = established(&mut host);
    let watch = |xid, op, kind| {
        request(xid, op, |w| {
            w.string("/a");
            w.int(kind);
        })
    };
    let mut targets = |host: &mut Host, frame: Vec<u8>, answers: &[Script]| {
        host.reads.clear();
        host.scripts.extend(answers.iter().cloned());
        c.receive(host, &frame);
        let targets: Vec<ReadTarget> = host.reads.iter().map(|read| read.target).collect();
        (targets, errors_of(&drain(host, &mut c))[0].1)
    };
    let everywhere = vec![ReadTarget::Shard(ShardId(0)), ReadTarget::Shard(ShardId(1))];
    let found = |found| Script::Body(ReadBody::Found(found));
    let record = Script::Record(Vec::new());
    assert_eq!(targets(&mut host, watch(1, 106, 0), std::slice::from_ref(&record)), (vec![ReadTarget::Owner], 0));
    assert_eq!(targets(&mut host, watch(2, 106, 1), &[record.clone(), record]), (everywhere.clone(), 0));
    assert_eq!(targets(&mut host, watch(3, 18, 1), &[found(false)]), (vec![ReadTarget::Owner], -121));
    assert_eq!(targets(&mut host, watch(4, 17, 5), &[found(true), found(false)]), (everywhere.clone(), 0));
    assert_eq!(targets(&mut host, watch(5, 18, 3), &[found(false), found(false)]), (everywhere, -121));
    let any = WatchSelector::Any;
    let expected = ReadOp::FindWatch { path: "/a".into(), kind: any, remove: true };
    assert_eq!(host.reads[0].op, expected);
}

#[test]
fn set_watches_is_grouped_by_shard_and_its_events_are_put_in_order() {
    let mut host = Host { shards: 2, ..Host::at(4) };
    let mut c = established(&mut host);
    let frame = request(-8, 105, |w| {
        w.long(2);
        for paths in [&["/a", "/b"][..], &[], &["/c"], &[], &["/r"]] {
            w.count(Some(paths.len()));
            paths.iter().for_each(|path| w.string(path));
        }
    });
    host.script(Script::Later);
    let owed = |index, path: &str| OwedEvent { index, kind: EventKind::NodeDataChanged, path: path.into() };
    host.script(Script::Body(ReadBody::Restored(vec![owed(2, "/c")])));
    c.receive(&mut host, &frame);
    let items: Vec<Vec<(u32, RestoredKind)>> = host
        .reads
        .iter()
        .map(|read| match &read.op {
            ReadOp::SetWatches { relative_zxid: 2, items } => {
                items.iter().map(|item| (item.index, item.kind)).collect()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let (a, b) = (host.shard_of("/a").0, host.shard_of("/b").0);
    assert_ne!(a, b);
    assert!(items.iter().all(|items| items.contains(&(3, RestoredKind::PersistentRecursive))));
    assert_eq!(items.iter().flatten().filter(|(index, _)| *index == 0).count(), 1);
    let origin = host.reads[0].origin;
    let restored = ReadBody::Restored(vec![owed(0, "/a")]);
    c.read_reply(&mut host, ReadReply { origin, part: 0, result: Ok(restored) });
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-1, -1), (-1, -1), (-8, 4)]);
    c.receive(&mut host, &request(-8, 101, |w| w.raw(&[0; 20])));
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-8, 4)]);
}

fn multi_read(xid: i32, types: &[i32]) -> Vec<u8> {
    request(xid, 22, |w| {
        for type_code in types {
            multi::encode_header(w, *type_code, false, -1);
            w.string("/a");
            w.boolean(true);
        }
        multi::encode_terminator(w);
    })
}

fn results(body: &[u8]) -> Vec<(i32, i32, Vec<u8>)> {
    let mut r = Reader::new(body);
    let mut results = Vec::new();
    loop {
        let (type_code, done, err) = (r.int().unwrap(), r.boolean().unwrap(), r.int().unwrap());
        if done {
            assert!(r.rest().is_empty());
            return results;
        }
        let bytes = if type_code == -1 { 4 } else { 8 };
        let record = (0..bytes).map(|_| r.byte().unwrap()).collect();
        results.push((type_code, err, record));
    }
}

#[test]
fn multi_read_gives_each_op_its_own_result() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    let record = |byte| Script::Record(vec![byte; 8]);
    let expected = [(4, 0, vec![1; 8]), (-1, -101, (-101_i32).to_be_bytes().to_vec()), (8, 0, vec![3; 8])];
    host.scripts.extend([record(1), Script::Fail(ErrorCode::NoNode), record(3)]);
    c.receive(&mut host, &multi_read(1, &[4, 4, 8]));
    assert_eq!(results(&frames(&drain(&mut host, &mut c))[0].body), expected);
    assert!(host.reads.iter().all(|read| matches!(
        read.op,
        ReadOp::GetData { watch: false, .. } | ReadOp::GetChildren { watch: false, stat: false, .. }
    )));

    host.scripts.extend([record(1), Script::Later, record(3), Script::Later]);
    c.receive(&mut host, &multi_read(2, &[4, 4, 8, 8]));
    let origin = host.reads.last().unwrap().origin;
    let mut reply = |part, result| c.read_reply(&mut host, ReadReply { origin, part, result });
    reply(3, Ok(ReadBody::Record(vec![4; 8])));
    reply(3, Ok(ReadBody::Record(vec![9; 8])));
    reply(0, Ok(ReadBody::Record(vec![9; 8])));
    reply(1, Err(ErrorCode::NoNode));
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!((sent[0].xid, sent[0].zxid, sent[0].err), (2, 4, 0));
    let expected = [&expected[..], &[(8, 0, vec![4; 8])]].concat();
    assert_eq!(results(&sent[0].body), expected);

    c.receive(&mut host, &multi_read(3, &[]));
    assert!(results(&frames(&drain(&mut host, &mut c))[0].body).is_empty());
    c.receive(&mut host, &multi_read(4, &[2]));
    assert_eq!(errors_of(&drain(&mut host, &mut c)), [(4, -5)]);
}

#[test]
fn multi_read_has_a_bound_on_what_it_may_yield() {
    let mut host = Host::at(4);
    let limits = ConnectionLimits { multi_read_bytes_max: 100, ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits);
    host.scripts.extend([Script::Record(vec![0; 60]), Script::Record(vec![0; 60])]);
    c.receive(&mut host, &multi_read(1, &[4, 4, 4]));
    assert_eq!(errors_of(&drain(&mut host, &mut c)), [(1, -5)]);
    host.scripts.clear();
    host.scripts.extend([Script::Later, Script::Later, Script::Later]);
    c.receive(&mut host, &multi_read(2, &[4, 4, 4]));
    let origin = host.reads.last().unwrap().origin;
    for part in 0..2 {
        c.read_reply(&mut host, ReadReply { origin, part, result: Ok(ReadBody::Record(vec![0; 60])) });
    }
    assert_eq!(errors_of(&drain(&mut host, &mut c)), [(2, -5)]);
}

#[test]
fn ephemerals_come_from_the_role_as_of_its_own_view() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[request(1, 103, |w| w.string("/e")), get(2)].concat());
    let (origin, prefix) = host.listings.pop_front().unwrap();
    assert_eq!(prefix.as_deref(), Some("/e"));
    c.ephemerals(&mut host, origin, Zxid(6), vec!["/e/1".into()]);
    assert!(c.output().is_empty() && host.reads.is_empty());
    step(&mut host, &mut c, 6, &[]);
    let sent = frames(&drain(&mut host, &mut c));
    assert_eq!(sent[0], Sent { xid: 1, zxid: 6, err: 0, body: hex("00000001 00000004 2f652f31") });
    assert_eq!((sent[1].xid, sent[1].zxid), (2, 6));
}
