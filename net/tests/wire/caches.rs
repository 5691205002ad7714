//! Caches of a changing tree, as recipes keep them, end equal to it: every change after a read that set a watch is told,
//! or seen by the next read.

use crate::on_one_and_four_shards;
use crate::support::record::{self, err, op};
use crate::support::server::Server;
use crate::support::session::{CHANGED, CHILD, DELETED, Event, Message, Reply, Session, Stat};
use crate::support::{Dice, seed_from};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

on_one_and_four_shards!(caches_of_a_changing_tree_end_equal_to_it);

const BASE: &str = "/cached";
/// Its creation tells the caches that all is written.
const END: &str = "/written";
const WRITERS: usize = 3;
const CACHES: usize = 4;
/// Requests that a writer has under way.
const WINDOW: usize = 8;

/// A node of a cache, under a number that no other node and no former one has.
#[derive(Default)]
struct Node {
    token: u64,
    stat: Option<Stat>,
}

/// A tree kept by watches that fire once.
struct Cache {
    session: Session,
    nodes: BTreeMap<String, Node>,
    /// What the replies to come belong to; `None` is a sync.
    asked: VecDeque<Option<(i32, String, u64)>>,
    tokens: u64,
    ended: bool,
}

impl Cache {
    fn new(address: SocketAddr) -> Cache {
        let mut session = Session::open(address);
        session.call(op::SYNC, &record::path("/")).ok();
        assert_eq!(session.err(op::EXISTS, &record::read(END, true)), err::NO_NODE);
        let mut cache = Cache { session, nodes: BTreeMap::new(), asked: VecDeque::new(), tokens: 0, ended: false };
        cache.add(BASE.to_owned());
        cache
    }

    /// Follows the tree until all is written and told.
    fn run(mut self) -> BTreeMap<String, Stat> {
        while !self.ended {
            self.step();
        }
        let mut quiet = false;
        while !quiet {
            self.session.send(op::SYNC, &record::path("/"));
            self.asked.push_back(None);
            quiet = self.asked.len() == 1;
            while !self.asked.is_empty() {
                quiet &= self.step();
            }
        }
        self.nodes.into_iter().map(|(path, node)| (path, node.stat.unwrap_or_default())).collect()
    }

    /// Takes one frame; false if it was an event.
    fn step(&mut self) -> bool {
        match self.session.receive() {
            Message::Event(event) => self.told(&event),
            Message::Reply(reply) => {
                if let Some((code, path, token)) = self.asked.pop_front().expect("a reply to nothing") {
                    self.answered(code, &path, token, &reply);
                }
                return true;
            }
        }
        false
    }

    fn add(&mut self, path: String) {
        self.tokens += 1;
        self.nodes.insert(path.clone(), Node { token: self.tokens, stat: None });
        self.ask(op::GET_DATA, &path);
        self.ask(op::GET_CHILDREN, &path);
    }

    fn ask(&mut self, code: i32, path: &str) {
        let Some(node) = self.nodes.get(path) else { return };
        self.asked.push_back(Some((code, path.to_owned(), node.token)));
        self.session.send(code, &record::read(path, true));
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|known, _| known != path && !known.starts_with(&below));
    }

    fn told(&mut self, event: &Event) {
        match event.kind {
            _ if event.path == END => self.ended = true,
            CHANGED => self.ask(op::GET_DATA, &event.path),
            CHILD => self.ask(op::GET_CHILDREN, &event.path),
            DELETED => self.remove(&event.path),
            kind => panic!("event {kind} of {}", event.path),
        }
    }

    fn answered(&mut self, code: i32, path: &str, token: u64, reply: &Reply) {
        let Some(node) = self.nodes.get_mut(path).filter(|node| node.token == token) else { return };
        if reply.err == err::NO_NODE {
            return self.remove(path);
        }
        if code == op::GET_DATA {
            node.stat = Some(reply.data().1);
            return;
        }
        for name in reply.names() {
            let child = format!("{path}/{name}");
            if !self.nodes.contains_key(&child) {
                self.add(child);
            }
        }
    }
}

/// Creates, sets and deletes at random.
fn write(address: SocketAddr, seed: u64, count: usize) {
    let mut session = Session::open(address);
    let mut dice = Dice::new(seed);
    let mut under_way = 0;
    for _ in 0..count {
        let mut path = format!("{BASE}/{}", dice.below(8));
        if dice.below(2) == 0 {
            path.push_str(&format!("/{}", dice.below(3)));
        }
        match dice.below(4) {
            0 | 1 => session.send(op::CREATE, &record::plain(&path, b"")),
            2 => session.send(op::SET_DATA, &record::set_data(&path, b"new", -1)),
            _ => session.send(op::DELETE, &record::path_int(&path, -1)),
        };
        under_way += 1;
        if under_way == WINDOW || dice.below(10) == 0 {
            (0..under_way).for_each(|_| drop(session.reply()));
            under_way = 0;
        }
    }
    (0..under_way).for_each(|_| drop(session.reply()));
}

fn tree(session: &mut Session, path: &str, found: &mut BTreeMap<String, Stat>) {
    found.insert(path.to_owned(), session.get(path).1);
    for name in session.children(path) {
        tree(session, &format!("{path}/{name}"), found);
    }
}

/// Data alone tells a cache of changes, so that what children change in a Stat may be out of date.
fn told_of(nodes: BTreeMap<String, Stat>) -> Vec<(String, i64, i64, i32)> {
    nodes.into_iter().map(|(path, stat)| (path, stat.czxid, stat.mzxid, stat.version)).collect()
}

fn caches_of_a_changing_tree_end_equal_to_it(shards: usize) {
    let seed = seed_from("RINGKEEPER_CACHE_SEED");
    let number = |name: &str, usual: usize| std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap());
    let (rounds, writes) = (number("RINGKEEPER_CACHE_ROUNDS", 2), number("RINGKEEPER_CACHE_WRITES", 700));
    println!("RINGKEEPER_CACHE_SEED={seed}");
    let server = Server::start(shards);
    let address = server.address();
    let mut session = Session::open(address);
    for round in 0..rounds as u64 {
        session.create(BASE, b"");
        let caches: Vec<_> = (0..CACHES).map(|_| Cache::new(address)).collect();
        let caches: Vec<_> = caches.into_iter().map(|cache| std::thread::spawn(move || cache.run())).collect();
        let writers: Vec<_> = (0..WRITERS as u64)
            .map(|n| std::thread::spawn(move || write(address, seed ^ (round * 16 + n), writes)))
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        session.create(END, b"");
        let mut found = BTreeMap::new();
        tree(&mut session, BASE, &mut found);
        let found = told_of(found);
        for cache in caches {
            assert_eq!(told_of(cache.join().unwrap()), found, "round {round}");
        }
        for (path, ..) in found.iter().rev() {
            session.delete(path);
        }
        session.delete(END);
    }
}
