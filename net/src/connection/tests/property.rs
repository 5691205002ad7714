//! Random conversations against a checker that knows nothing of slots and frontiers.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What happens next.
#[derive(Clone, Debug)]
enum Move {
    /// The client sends a request.
    Send(Kind),
    /// The role orders the oldest submitted write.
    Order,
    /// Somebody else writes; whether this connection watches.
    Foreign(bool),
    /// Somebody changes the node on the other core.
    Change,
    /// The role answers the oldest sync.
    Sync,
    /// A shard answers one of the reads that wait.
    Shard(usize),
    /// The core's view moves so far.
    View(u64),
    /// So many bytes go out.
    Sent(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    ReadHere,
    ReadElsewhere,
    Write,
    Sync,
    Ping,
}

/// The world around the connection.
struct World {
    host: Host,
    c: Connection,
    kinds: Vec<Kind>,
    committed: u64,
    /// Zxids by xid of own writes.
    own: BTreeMap<i32, u64>,
    /// Answers that are on their way.
    answers: Vec<WriteAnswer>,
    events: Vec<ViewEvent>,
    all_events: Vec<u64>,
    /// Reads on their way to the other core.
    waiting: Vec<SeenRead>,
    /// Changes of the node there.
    changes: Vec<u64>,
    /// Whether a watch waits for the next one.
    watched: bool,
    flight: usize,
    output: Vec<u8>,
}

impl World {
    fn new(limits: ConnectionLimits) -> World {
        let mut host = Host { exists_is_elsewhere: true, ..Host::at(1) };
        let c = established_with(&mut host, limits);
        World {
            host,
            c,
            kinds: Vec::new(),
            committed: 1,
            own: BTreeMap::new(),
            answers: Vec::new(),
            events: Vec::new(),
            all_events: Vec::new(),
            waiting: Vec::new(),
            changes: Vec::new(),
            watched: false,
            flight: 0,
            output: Vec::new(),
        }
    }

    fn make(&mut self, step: &Move, late_answers: bool) {
        match step {
            Move::Send(kind) => {
                self.kinds.push(*kind);
                let xid = self.kinds.len() as i32;
                let frame = match kind {
                    Kind::ReadHere => get(xid),
                    Kind::ReadElsewhere => request(xid, OpCode::Exists as i32, |w| {
                        w.string("/elsewhere");
                        w.boolean(true);
                    }),
                    Kind::Write => set(xid),
                    Kind::Sync => sync(xid),
                    Kind::Ping => ping(),
                };
                self.c.receive(&mut self.host, &frame);
            }
            Move::Order => {
                // The role takes a connection's requests in order.
                if let (Some(sync), Some(write)) = (self.host.syncs.front(), self.host.writes.front())
                    && write.origin.is_some_and(|origin| sync.seq < origin.seq)
                {
                    return self.make(&Move::Sync, late_answers);
                }
                if let Some(write) = self.host.writes.pop_front() {
                    self.committed += 1;
                    let origin = write.origin.unwrap();
                    self.own.insert(write.cxid, self.committed);
                    self.add_event(true);
                    let answer = WriteAnswer { origin, zxid: Zxid(self.committed), result: Ok(WriteResult::Done) };
                    self.answers.push(answer);
                }
            }
            Move::Foreign(watched) => {
                self.committed += 1;
                self.add_event(*watched);
            }
            Move::Change => {
                self.committed += 1;
                self.changes.push(self.committed);
                let fires = std::mem::take(&mut self.watched);
                self.add_event(fires);
            }
            Move::Sync => {
                if let Some(origin) = self.host.syncs.pop_front() {
                    let at = Zxid(self.committed);
                    self.c.sync_done(&mut self.host, origin, at);
                }
            }
            Move::Shard(which) => {
                self.waiting.extend(self.host.reads.drain(..).filter(|read| matches!(read.op, ReadOp::Exists { .. })));
                if !self.waiting.is_empty() {
                    let read = self.waiting.remove(which % self.waiting.len());
                    self.register(read.view);
                    let body = read.view.to_wire().to_be_bytes().to_vec();
                    let reply = ReadReply { origin: read.origin, part: 0, result: Ok(ReadBody::Record(body)) };
                    self.c.read_reply(&mut self.host, reply);
                }
            }
            Move::View(by) => {
                let view = (self.host.view.0 + by).min(self.committed);
                if !late_answers {
                    self.deliver_answers(view);
                }
                self.host.view = Zxid(view);
                let due = self.events.iter().take_while(|event| event.zxid <= self.host.view).count();
                let due: Vec<ViewEvent> = self.events.drain(..due).collect();
                if !due.is_empty() || self.c.next_view().is_some_and(|at| at.0 <= view) {
                    self.c.step_view(&mut self.host, &due);
                }
                if late_answers {
                    self.deliver_answers(view);
                }
            }
            Move::Sent(bytes) => {
                if self.flight == 0 {
                    let output = self.c.take_output(Vec::new());
                    self.flight = output.len();
                    self.output.extend(output);
                }
                let sent = self.flight.min(*bytes);
                self.flight -= sent;
                self.c.output_sent(&mut self.host, sent);
            }
        }
    }

    /// The other core registers a watch as of `view`: it fires at once if the node has changed since, which may be news
    /// of a view that this core has long had.
    fn register(&mut self, view: Zxid) {
        let Some(at) = self.changes.iter().copied().find(|at| *at > view.0) else {
            self.watched = true;
            return;
        };
        self.all_events.push(at);
        self.all_events.sort();
        if at <= self.host.view.0 {
            self.c.step_view(&mut self.host, &[event(at, "/elsewhere")]);
        } else {
            let place = self.events.partition_point(|event| event.zxid.0 <= at);
            self.events.insert(place, event(at, "/elsewhere"));
        }
    }

    fn add_event(&mut self, watched: bool) {
        if watched {
            self.events.push(event(self.committed, "/a"));
            self.all_events.push(self.committed);
        }
    }

    fn deliver_answers(&mut self, up_to: u64) {
        let due = self.answers.iter().take_while(|answer| answer.zxid.0 <= up_to).count();
        for answer in self.answers.drain(..due).collect::<Vec<_>>() {
            bring_answer(&mut self.c, &mut self.host, answer);
        }
    }

    fn finish(&mut self, late_answers: bool) {
        // One pass more than requests need: a send that was cut short is finished by a pass of its own.
        for _ in 0..=2 * self.kinds.len() + 1 {
            for step in [Move::Order, Move::Sync, Move::Shard(0), Move::View(u64::MAX >> 1), Move::Sent(usize::MAX)] {
                self.make(&step, late_answers);
            }
        }
    }
}

/// The rules, held against what the client got: nothing but the requests, the zxids of its writes, and the bytes.
fn check(
    kinds: &[Kind],
    own: &BTreeMap<i32, u64>,
    events: &[u64],
    sent: &[Sent],
    late_answers: bool,
) -> Result<(), TestCaseError> {
    let got: Vec<u64> = sent.iter().filter(|sent| sent.xid == -1).map(|sent| sent.zxid as u64).collect();
    prop_assert_eq!(&got, events, "every event once, in order");
    let replies: Vec<&Sent> = sent.iter().filter(|sent| sent.xid != -1).collect();
    prop_assert_eq!(replies.len(), kinds.len(), "every request is answered");
    for (at, (reply, kind)) in replies.iter().zip(kinds).enumerate() {
        let xid = at as i32 + 1;
        prop_assert_eq!(reply.err, 0);
        prop_assert_eq!(reply.xid, if *kind == Kind::Ping { -2 } else { xid }, "in request order");
        match kind {
            Kind::Write => prop_assert_eq!(reply.zxid as u64, own[&xid]),
            Kind::ReadHere | Kind::ReadElsewhere => {
                let view = reply.zxid as u64;
                let body: [u8; 8] = reply.body[..].try_into().unwrap();
                prop_assert_eq!(u64::from_be_bytes(body), view, "the header shows the view that was read");
                for (other, zxid) in own {
                    prop_assert_eq!(*zxid <= view, *other < xid, "own earlier writes are seen, later ones are not");
                }
            }
            Kind::Sync | Kind::Ping => {}
        }
    }
    let mut last_event = 0;
    let mut last_reply = 0;
    let mut last_read = 0;
    let mut reply_at = 0;
    for frame in sent {
        let zxid = frame.zxid as u64;
        if frame.xid == -1 {
            prop_assert!(zxid > last_reply, "an event never trails a reply that promises it");
            last_event = zxid;
            continue;
        }
        let kind = kinds[reply_at];
        reply_at += 1;
        match kind {
            Kind::ReadHere | Kind::ReadElsewhere => {
                prop_assert!(zxid >= last_event, "an event never overtakes a read dispatched before it");
                prop_assert!(zxid >= last_read, "reads never go back");
                last_read = zxid;
            }
            Kind::Write if !late_answers => {
                prop_assert!(zxid >= last_event, "events and writes by zxid, the event first");
            }
            _ => {}
        }
        last_reply = last_reply.max(zxid);
    }
    Ok(())
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let kind = prop_oneof![
        3 => Just(Kind::ReadHere),
        3 => Just(Kind::ReadElsewhere),
        3 => Just(Kind::Write),
        1 => Just(Kind::Sync),
        1 => Just(Kind::Ping),
    ];
    let one = prop_oneof![
        6 => kind.prop_map(Move::Send),
        3 => Just(Move::Order),
        2 => any::<bool>().prop_map(Move::Foreign),
        2 => Just(Move::Change),
        1 => Just(Move::Sync),
        3 => any::<usize>().prop_map(Move::Shard),
        3 => (1_u64..4).prop_map(Move::View),
        1 => (1_usize..200).prop_map(Move::Sent),
    ];
    proptest::collection::vec(one, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn order_holds_under_any_interleaving(
        moves in moves(),
        late_answers: bool,
        outstanding_max in 1_usize..8,
        unsent_bytes_max in 20_usize..400,
    ) {
        let limits = ConnectionLimits { outstanding_max, unsent_bytes_max, ..ConnectionLimits::default() };
        let mut world = World::new(limits);
        for step in &moves {
            world.make(step, late_answers);
        }
        world.finish(late_answers);
        prop_assert_eq!(world.c.fate(), Fate::Open);
        check(&world.kinds, &world.own, &world.all_events, &frames(&world.output), late_answers)?;
    }
}
