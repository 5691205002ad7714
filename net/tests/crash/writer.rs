//! A client that writes in a pipeline until its server dies, and afterwards knows what must be there.

use crate::model::{Answer, Node, Tree, Write};
use crate::support::Dice;
use crate::support::record::{self, op};
use crate::support::session::{Hello, Message, Reply, Session, Stat};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that a writer has under way at most.
const WINDOW: usize = 48;

/// Where all writers create sequential nodes.
pub const SHARED: &str = "/shared";
/// What all writers set.
pub const COUNTER: &str = "/counter";

#[derive(Clone, Debug)]
enum Sent {
    Own(Write),
    /// A sequential node under `SHARED` whose data names writer and serial.
    Shared(u64),
    Counter,
}

/// A client with a session, a subtree, and requests that were never answered.
#[derive(Debug)]
pub struct Writer {
    pub name: usize,
    pub root: String,
    hello: Hello,
    session: Option<Session>,
    /// The subtree after everything that was answered.
    acknowledged: Tree,
    /// The subtree after everything that was sent.
    predicted: Tree,
    in_flight: VecDeque<Sent>,
    serial: u64,
    /// Names of answered nodes under `SHARED`, by serial.
    pub shared: BTreeMap<u64, String>,
    /// Versions of the counter that were answered.
    pub counter: Vec<i32>,
    /// zxids of answered writes of this life of the server.
    pub zxids: Vec<i64>,
    pub last_zxid: i64,
}

impl Writer {
    /// Opens a session and makes the root of the subtree.
    pub fn new(name: usize, address: SocketAddr) -> Writer {
        let mut session = Session::open(address);
        let root = format!("/w{name}");
        let zxid = session.create(&root, b"").zxid;
        let tree = Tree::new(&root, zxid);
        Writer {
            name,
            root,
            hello: session.hello(),
            session: Some(session),
            acknowledged: tree.clone(),
            predicted: tree,
            in_flight: VecDeque::new(),
            serial: 0,
            shared: BTreeMap::new(),
            counter: Vec::new(),
            zxids: vec![zxid],
            last_zxid: zxid,
        }
    }

    /// Writes until the connection ends; counts answers.
    pub fn write_until_the_end(&mut self, dice: &mut Dice, answers: &AtomicU64) {
        let mut session = self.session.take().unwrap();
        session.raw.expect_to_break();
        loop {
            while self.in_flight.len() < WINDOW {
                self.send(&mut session, dice);
            }
            // Sometimes the pipeline runs empty first.
            let wanted = if dice.below(10) == 0 { self.in_flight.len() } else { 1 };
            for _ in 0..wanted {
                match session.try_receive() {
                    Some(Message::Reply(reply)) => self.answered(&reply),
                    Some(Message::Event(event)) => panic!("no watch was set, yet {event:?}"),
                    None => return,
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn send(&mut self, session: &mut Session, dice: &mut Dice) {
        self.serial += 1;
        let sent = match dice.below(20) {
            0 => Sent::Shared(self.serial),
            1 => Sent::Counter,
            _ => Sent::Own(self.predicted.invent(dice, self.serial)),
        };
        let (code, body) = match &sent {
            Sent::Own(write) => {
                let _ = self.predicted.apply(write, None);
                write.request()
            }
            Sent::Shared(serial) => {
                let data = format!("{}:{serial}", self.name).into_bytes();
                Write::Sequential { parent: SHARED.to_owned(), data }.request()
            }
            Sent::Counter => (op::SET_DATA, record::set_data(COUNTER, self.name.to_string().as_bytes(), -1)),
        };
        session.send(code, &body);
        self.in_flight.push_back(sent);
    }

    fn answered(&mut self, reply: &Reply) {
        let sent = self.in_flight.pop_front().expect("an answer to nothing");
        assert!(reply.zxid > self.last_zxid, "zxid {:x} after {:x}", reply.zxid, self.last_zxid);
        self.last_zxid = reply.zxid;
        self.zxids.push(reply.zxid);
        match sent {
            Sent::Own(write) => {
                let expected = self.acknowledged.apply(&write, Some(reply.zxid));
                assert_eq!(answer_of(&write, reply), expected, "{write:?}");
            }
            Sent::Shared(serial) => {
                self.shared.insert(serial, reply.path());
            }
            Sent::Counter => self.counter.push(reply.stat().version),
        }
    }

    /// How many counter writes were never answered.
    pub fn unanswered_counters(&self) -> usize {
        self.in_flight.iter().filter(|sent| matches!(sent, Sent::Counter)).count()
    }

    /// Takes the session up again: it must still be there, and the server at least as far as this client has seen.
    pub fn come_back(&mut self, address: SocketAddr) {
        let hello = Hello { last_zxid: self.last_zxid, ..self.hello.clone() };
        let session = Session::connect(address, &hello).expect("a live session is gone after the restart");
        assert_eq!(session.id, self.hello.id);
        self.session = Some(session);
    }

    /// Ends the session and begins another: its ephemerals go.
    pub fn change_session(&mut self, address: SocketAddr) {
        assert!(self.in_flight.is_empty());
        let zxid = self.session.take().unwrap().close();
        self.acknowledged.end_session(Some(zxid));
        self.predicted = self.acknowledged.clone();
        let session = Session::open(address);
        self.hello = session.hello();
        self.session = Some(session);
        self.last_zxid = zxid;
    }

    /// Compares the server's tree with what was answered and some prefix of what was not, and goes on from there.
    /// `shared` are the data of all nodes under `SHARED`, with their names.
    pub fn verify(&mut self, shared: &BTreeMap<Vec<u8>, String>) {
        let mut session = self.session.take().unwrap();
        session.call(op::SYNC, &record::path("/")).ok();
        let seen = read_subtree(&mut session, &self.root);
        let owner = session.id;
        let mut candidate = self.acknowledged.clone();
        let mut rest = self.in_flight.clone();
        let mut differences = Vec::new();
        loop {
            let unanswered = rest.iter().find_map(|sent| match sent {
                Sent::Shared(serial) => self.shared_name(shared, *serial).map(|name| format!("{name} behind the end")),
                _ => None,
            });
            let difference = unanswered.or_else(|| differs(&candidate, &seen, owner));
            let Some(difference) = difference else { break };
            differences.push(difference);
            let Some(next) = rest.pop_front() else {
                panic!(
                    "{}: no prefix of {} unanswered writes leads to what the server has: {differences:#?}",
                    self.root,
                    self.in_flight.len()
                );
            };
            match next {
                Sent::Own(write) => drop(candidate.apply(&write, None)),
                Sent::Shared(serial) => match self.shared_name(shared, serial) {
                    Some(name) => drop(self.shared.insert(serial, name)),
                    None => panic!(
                        "{}: the write before {serial} under {SHARED} took effect, it did not: {differences:#?}",
                        self.root
                    ),
                },
                Sent::Counter => {}
            }
        }
        // From now on the zxids that were not told are known.
        for (path, (_, stat)) in &seen {
            let node = candidate.nodes.get_mut(path).unwrap();
            (node.czxid, node.mzxid, node.pzxid) = (Some(stat.czxid), Some(stat.mzxid), Some(stat.pzxid));
        }
        // Shared nodes of this writer that were answered are there under the same name.
        for (serial, name) in &self.shared {
            assert_eq!(
                self.shared_name(shared, *serial).as_ref(),
                Some(name),
                "{}: an answered sequential node",
                self.root
            );
        }
        self.last_zxid = session.zxid();
        self.acknowledged = candidate.clone();
        self.predicted = candidate;
        self.in_flight.clear();
        self.session = Some(session);
    }

    fn shared_name(&self, shared: &BTreeMap<Vec<u8>, String>, serial: u64) -> Option<String> {
        shared.get(format!("{}:{serial}", self.name).as_bytes()).cloned()
    }
}

/// What the reply says, in the model's words.
fn answer_of(write: &Write, reply: &Reply) -> Result<Answer, (usize, i32)> {
    match write {
        Write::Multi(ops) => {
            let results = reply.results();
            assert_eq!(results.len(), ops.len());
            if let Some(at) = results.iter().position(|result| result.err != 0) {
                assert!(results.iter().all(|result| result.kind == -1), "a failed multi fails as a whole");
                assert!(results[at + 1..].iter().all(|result| result.err == record::err::RUNTIME_INCONSISTENCY));
                return Err((at, results[at].err));
            }
            let answers = results.iter().map(|result| match (&result.path, &result.stat) {
                (Some(path), _) => Answer::Path(path.clone()),
                (None, Some(stat)) => Answer::Version(stat.version),
                (None, None) => Answer::Nothing,
            });
            Ok(Answer::Each(answers.collect()))
        }
        _ if reply.err != 0 => Err((0, reply.err)),
        Write::Create { .. } | Write::Sequential { .. } => Ok(Answer::Path(reply.path())),
        Write::Set { .. } => Ok(Answer::Version(reply.stat().version)),
        Write::Delete { .. } | Write::Check { .. } => Ok(Answer::Nothing),
    }
}

/// Every node of a subtree: data and Stat. Parents and children must agree.
pub fn read_subtree(session: &mut Session, root: &str) -> BTreeMap<String, (Vec<u8>, Stat)> {
    let mut seen = BTreeMap::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        for path in &level {
            session.send(op::GET_DATA, &record::read(path, false));
            session.send(op::GET_CHILDREN, &record::read(path, false));
        }
        let mut next = Vec::new();
        for path in level {
            let (data, stat) = session.reply().data();
            let children = session.reply().names();
            assert_eq!(children.len(), stat.children as usize, "{path}: children listed and counted");
            next.extend(children.iter().map(|name| format!("{path}/{name}")));
            seen.insert(path, (data.unwrap_or_default(), stat));
        }
        level = next;
    }
    seen
}

/// The first difference between model and server, if there is one.
fn differs(model: &Tree, seen: &BTreeMap<String, (Vec<u8>, Stat)>, owner: i64) -> Option<String> {
    if let Some(missing) = model.nodes.keys().find(|path| !seen.contains_key(*path)) {
        return Some(format!("{missing} is missing"));
    }
    if let Some(extra) = seen.keys().find(|path| !model.nodes.contains_key(*path)) {
        return Some(format!("{extra} should not be there"));
    }
    model.nodes.iter().find_map(|(path, node)| {
        let (data, stat) = &seen[path];
        node_differs(node, data, stat, owner).map(|what| format!("{path}: {what}"))
    })
}

fn node_differs(node: &Node, data: &[u8], stat: &Stat, owner: i64) -> Option<String> {
    let told = |zxid: Option<i64>, seen: i64| zxid.unwrap_or(seen);
    let expected = Stat {
        czxid: told(node.czxid, stat.czxid),
        mzxid: told(node.mzxid, stat.mzxid),
        pzxid: told(node.pzxid, stat.pzxid),
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: node.version,
        cversion: node.cversion(),
        aversion: 0,
        owner: if node.ephemeral { owner } else { 0 },
        data_length: node.data.len() as i32,
        children: node.children,
    };
    if expected != *stat {
        return Some(format!("expected {expected:?}, found {stat:?}"));
    }
    (node.data != data).then(|| "other data".to_owned())
}
