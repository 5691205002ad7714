//! What may come before what (design rules V2, V4, V5).

use super::*;

fn reply(host: &mut Host, c: &mut Connection, read: usize, body: u8) {
    let SeenRead { origin, part, .. } = host.reads[read].clone();
    c.read_reply(host, ReadReply { origin, part, result: Ok(ReadBody::Record(vec![body])) });
}

#[test]
fn replies_of_other_cores_keep_their_places() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    host.scripts.extend([Script::Later, Script::Record(vec![2]), Script::Later, Script::Record(vec![4])]);
    c.receive(&mut host, &[get(1), get(2), get(3), get(4), ping()].concat());
    assert!(c.output().is_empty());
    reply(&mut host, &mut c, 2, 3);
    assert!(c.output().is_empty());
    reply(&mut host, &mut c, 0, 1);
    let sent = frames(&drain(&mut host, &mut c));
    let bodies: Vec<Vec<u8>> = sent.iter().map(|sent| sent.body.clone()).collect();
    assert_eq!(bodies, [vec![1], vec![2], vec![3], vec![4], vec![]]);
    reply(&mut host, &mut c, 0, 9);
    assert!(c.output().is_empty(), "an answer that nobody waits for changes nothing");
}

#[test]
fn a_late_reply_shows_the_view_that_it_was_dispatched_with() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    host.script(Script::Later);
    c.receive(&mut host, &get(1));
    step(&mut host, &mut c, 6, &[event(6, "/a")]);
    c.receive(&mut host, &get(2));
    reply(&mut host, &mut c, 0, 1);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 4), (-1, 6), (2, 6)]);
}

#[test]
fn a_read_behind_a_write_waits_and_sees_it() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), set(2), get(3), set(4), get(5)].concat());
    assert_eq!((host.writes.len(), host.reads.len()), (2, 0), "writes are pipelined, up to the first read");
    answer(&mut host, &mut c, 6);
    answer(&mut host, &mut c, 8);
    step(&mut host, &mut c, 7, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 6)]);
    step(&mut host, &mut c, 9, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(2, 8), (3, 9)]);
    assert_eq!(host.reads[0].view, Zxid(9));
    answer(&mut host, &mut c, 10);
    step(&mut host, &mut c, 10, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(4, 10), (5, 10)]);
}

#[test]
fn an_event_comes_before_the_reply_of_its_write_and_between_others_by_zxid() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), set(2), set(3)].concat());
    answer(&mut host, &mut c, 5);
    answer(&mut host, &mut c, 7);
    let events = [event(5, "/a"), event(5, "/b"), event(6, "/c"), event(7, "/a"), event(8, "/d")];
    step(&mut host, &mut c, 8, &events);
    let expected = [(-1, 5), (-1, 5), (1, 5), (-1, 6), (-1, 7), (2, 7), (-1, 8)];
    assert_eq!(order_of(&drain(&mut host, &mut c)), expected);
    answer(&mut host, &mut c, 9);
    assert!(c.output().is_empty());
    step(&mut host, &mut c, 9, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(3, 9)]);
}

#[test]
fn events_go_behind_unanswered_reads_and_ahead_of_pending_writes() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    host.scripts.extend([Script::Later, Script::Later]);
    c.receive(&mut host, &[get(1), get(2), set(3), ping()].concat());
    step(&mut host, &mut c, 5, &[event(5, "/a")]);
    assert!(c.output().is_empty());
    answer(&mut host, &mut c, 6);
    step(&mut host, &mut c, 7, &[event(6, "/a"), event(7, "/a")]);
    reply(&mut host, &mut c, 1, 0);
    assert!(c.output().is_empty());
    reply(&mut host, &mut c, 0, 0);
    let sent = order_of(&drain(&mut host, &mut c));
    assert_eq!(sent, [(1, 4), (2, 4), (-1, 5), (-1, 6), (3, 6), (-2, 6), (-1, 7)]);
}

#[test]
fn an_event_fired_by_its_own_registration_comes_right_behind_that_reply() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    host.script(Script::Later);
    c.receive(&mut host, &[get(1), set(2), ping()].concat());
    answer(&mut host, &mut c, 7);
    step(&mut host, &mut c, 8, &[event(7, "/mine"), event(8, "/other")]);
    c.receive(&mut host, &get(3));
    assert_eq!(host.reads.len(), 1, "nothing newer is read before the first registration is known");
    assert_eq!(c.next_view(), None);
    c.step_view(&mut host, &[event(5, "/a")]);
    reply(&mut host, &mut c, 0, 0);
    let sent = order_of(&drain(&mut host, &mut c));
    assert_eq!(sent, [(1, 4), (-1, 5), (-1, 7), (2, 7), (-2, 7), (-1, 8), (3, 8)]);
}

#[test]
fn an_answer_that_comes_late_still_follows_its_event() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &set(1));
    step(&mut host, &mut c, 5, &[event(5, "/a")]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-1, 5)]);
    answer(&mut host, &mut c, 5);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 5)]);
}

#[test]
fn a_reply_waits_for_the_stats_that_it_shows() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &set(1));
    let origin = host.writes.pop_front().unwrap().origin.unwrap();
    bring_answer(&mut c, &mut host, WriteAnswer { origin, zxid: Zxid(5), result: Ok(WriteResult::Stat) });
    step(&mut host, &mut c, 5, &[]);
    assert!(c.output().is_empty());
    let stat = Stat { version: 3, ..Stat::default() };
    bring_stat(&mut c, &mut host, CapturedStat { origin, op: 0, stat });
    assert_eq!(frames(&drain(&mut host, &mut c))[0].body.len(), Stat::WIRE_BYTES);
}

#[test]
fn sync_keeps_reads_back_until_the_view_is_there() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[sync(1), get(2)].concat());
    let origin = host.syncs.pop_front().unwrap();
    c.sync_done(&mut host, origin, Zxid(6));
    step(&mut host, &mut c, 5, &[event(5, "/a")]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-1, 5)]);
    step(&mut host, &mut c, 6, &[event(6, "/a")]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-1, 6), (1, 6), (2, 6)]);
    c.receive(&mut host, &request(3, 9, |w| w.buffer(None)));
    let origin = host.syncs.pop_front().unwrap();
    c.sync_done(&mut host, origin, Zxid(6));
    assert_eq!(frames(&drain(&mut host, &mut c))[0].body, vec![0xFF; 4]);
}

#[test]
fn events_that_the_acl_forbids_are_dropped() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    host.forbidden = Some(AclId(9));
    let hidden = ViewEvent { acl: AclId(9), ..event(5, "/a") };
    step(&mut host, &mut c, 6, &[hidden, event(6, "/b")]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-1, 6)]);
}

#[test]
fn nothing_behind_a_close_takes_effect() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), close(2), set(3), get(4)].concat());
    c.receive(&mut host, &set(5));
    assert_eq!((host.writes.len(), host.reads.len()), (2, 0));
    assert!(!c.wants_input());
    answer(&mut host, &mut c, 5);
    let origin = host.writes.pop_front().unwrap().origin.unwrap();
    bring_answer(&mut c, &mut host, WriteAnswer { origin, zxid: Zxid(6), result: Ok(WriteResult::Done) });
    c.close_at(&mut host, Zxid(6));
    assert_eq!(c.fate(), Fate::Open);
    step(&mut host, &mut c, 7, &[event(6, "/e"), event(7, "/other")]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 5), (-1, 6), (2, 6)]);
    assert_eq!(c.fate(), Fate::CloseWhenSent);
}

#[test]
fn an_expired_session_ends_behind_what_was_owed_before() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), set(2)].concat());
    answer(&mut host, &mut c, 5);
    c.close_at(&mut host, Zxid(6));
    step(&mut host, &mut c, 8, &[event(6, "/e"), event(7, "/e")]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 5), (-1, 6)]);
    assert_eq!(c.fate(), Fate::CloseWhenSent);
}

#[test]
fn a_moved_session_ends_without_a_reply() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &[set(1), set(2)].concat());
    answer(&mut host, &mut c, 5);
    let origin = host.writes.pop_front().unwrap().origin.unwrap();
    let moved = WriteAnswer { origin, zxid: Zxid(6), result: Err(ErrorCode::SessionMoved) };
    bring_answer(&mut c, &mut host, moved);
    step(&mut host, &mut c, 6, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 5)]);
    assert_eq!(c.fate(), Fate::CloseWhenSent);
}

#[test]
fn answers_for_another_connection_are_not_taken() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    c.receive(&mut host, &set(1));
    let own = host.writes[0].origin.unwrap();
    let stale = Origin { conn: ConnId { generation: 0, ..own.conn }, ..own };
    bring_answer(&mut c, &mut host, WriteAnswer { origin: stale, zxid: Zxid(4), result: Ok(WriteResult::Done) });
    assert!(c.output().is_empty());
    let beyond = Origin { seq: own.seq + 1, ..own };
    bring_answer(&mut c, &mut host, WriteAnswer { origin: beyond, zxid: Zxid(4), result: Ok(WriteResult::Done) });
    assert!(c.output().is_empty());
}
