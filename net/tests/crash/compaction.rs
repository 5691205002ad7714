//! Compaction in the running server: logs that are mostly dead are written anew, and nobody notices, whenever it is killed.

use crate::on_one_and_four_shards;
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::Session;
use crate::support::{Dice, only_ringkeeper, seed_from};
use crate::writer::read_subtree;
use std::collections::{BTreeMap, HashMap};

on_one_and_four_shards!(compaction_gives_space_back_and_loses_nothing);

const ROOT: &str = "/c";
const NODES: u64 = 80;
const NODE_BYTES: usize = 4000;
const PARTITIONS: usize = 4;
/// Far more than should be needed: checkpoints, with which files go, come the sooner the more space the logs take.
const ROUNDS_MAX: u64 = 2_000;

/// How often the server is killed in the midst of the load, and the most rounds before each time.
const KILLS: u64 = 6;
const ROUNDS_BETWEEN: u64 = 30;

type Nodes = BTreeMap<String, Vec<u8>>;

/// A node gets other data, goes, or comes back.
struct Change {
    path: String,
    data: Option<Vec<u8>>,
}

impl Change {
    fn send(&self, session: &mut Session, is_there: bool) {
        match &self.data {
            None => session.send(op::DELETE, &record::path_int(&self.path, -1)),
            Some(data) if is_there => session.send(op::SET_DATA, &record::set_data(&self.path, data, -1)),
            Some(data) => session.send(op::CREATE, &record::plain(&self.path, data)),
        };
    }

    fn apply(self, nodes: &mut Nodes) {
        match self.data {
            Some(data) => drop(nodes.insert(self.path, data)),
            None => drop(nodes.remove(&self.path)),
        }
    }
}

/// What the nodes should hold, and how much has been written to get there.
struct Load {
    dice: Dice,
    nodes: Nodes,
    written: u64,
    round: u64,
}

impl Load {
    /// Sends a change for every node: most get other data, some go or come back.
    fn send_round(&mut self, session: &mut Session) -> Vec<Change> {
        self.round += 1;
        assert!(self.round < ROUNDS_MAX, "no compaction after {} bytes", self.written);
        let mut changes = Vec::new();
        for n in 0..NODES {
            let path = format!("{ROOT}/n{n}");
            let is_there = self.nodes.contains_key(&path);
            let data = vec![self.dice.roll() as u8; NODE_BYTES];
            let goes = is_there && self.dice.below(8) == 0;
            let change = Change { path, data: (!goes).then_some(data) };
            change.send(session, is_there);
            self.written += change.data.as_ref().map_or(0, Vec::len) as u64;
            changes.push(change);
        }
        changes
    }

    fn round(&mut self, session: &mut Session) {
        for change in self.send_round(session) {
            assert_eq!(session.reply().err, 0);
            change.apply(&mut self.nodes);
        }
    }

    /// Kills the server in the midst of a round. Afterwards a beginning of the round must have happened: all that was
    /// answered, at least.
    fn round_killed(&mut self, server: &mut Server) {
        let mut session = Session::open(server.address());
        let changes = self.send_round(&mut session);
        let answered = self.dice.below(NODES);
        for _ in 0..answered {
            assert_eq!(session.reply().err, 0);
        }
        kill(server);
        server.restart();
        let seen = seen(server);
        let mut is_found = false;
        for (done, change) in changes.into_iter().enumerate() {
            is_found |= done as u64 >= answered && seen == self.nodes;
            if is_found {
                return;
            }
            change.apply(&mut self.nodes);
        }
        assert!(seen == self.nodes, "{answered} changes were answered, and no beginning of the round is there");
    }

    fn verify(&self, server: &Server) {
        let seen = seen(server);
        assert!(seen.keys().eq(self.nodes.keys()), "{:?} and not {:?}", seen.keys(), self.nodes.keys());
        for (path, data) in &self.nodes {
            assert!(seen[path] == *data, "{path} has other data");
        }
    }
}

fn seen(server: &Server) -> Nodes {
    let mut session = Session::open(server.address());
    let mut seen = read_subtree(&mut session, ROOT);
    seen.remove(ROOT);
    seen.into_iter().map(|(path, (data, _))| (path, data)).collect()
}

fn kill(server: &mut Server) {
    let log = server.process().log();
    assert!(!log.contains("scrubbing found damage"), "{log}");
    server.kill();
}

/// The oldest generation of each partition's files, and the bytes of all of them.
fn logs(server: &Server) -> (HashMap<String, u32>, u64) {
    let (mut oldest, mut bytes) = (HashMap::new(), 0);
    for entry in std::fs::read_dir(server.data().join("partitions")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // A file may go at any time.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += meta.len();
        let mut parts = name.split('-');
        let (partition, generation) = (parts.next().unwrap().to_owned(), parts.next().unwrap());
        let generation: u32 = generation.strip_prefix('g').unwrap().parse().unwrap();
        let known = oldest.entry(partition).or_insert(generation);
        *known = generation.min(*known);
    }
    (oldest, bytes)
}

/// Loads the server until the files of every log have been replaced, and take far less than was written meanwhile.
fn until_compacted(server: &Server, load: &mut Load) {
    let mut session = Session::open(server.address());
    load.round(&mut session);
    let (before, _) = logs(server);
    assert_eq!(before.len(), PARTITIONS, "every partition has a log");
    let begun = load.written;
    loop {
        load.round(&mut session);
        let (now, bytes) = logs(server);
        let replaced = before.iter().all(|(partition, oldest)| now.get(partition).is_some_and(|now| now > oldest));
        if replaced && bytes < (load.written - begun) / 2 {
            println!("{} rounds, {} bytes written, {bytes} bytes of logs", load.round, load.written);
            return;
        }
    }
}

fn compaction_gives_space_back_and_loses_nothing(shards: usize) {
    if only_ringkeeper("compaction of partition logs") {
        return;
    }
    let seed = seed_from("RINGKEEPER_CRASH_SEED");
    println!("RINGKEEPER_CRASH_SEED={seed}");
    let config = ServerConfig::new(shards).set("partitions", &PARTITIONS.to_string()).set("snapCount", "300");
    // Scrubbing meets files that come and go.
    let mut server = config.set("scrubRate", "1000000000").set("scrubIntervalMs", "20").start();
    let mut load = Load { dice: Dice::new(seed), nodes: BTreeMap::new(), written: 0, round: 0 };
    Session::open(server.address()).create(ROOT, b"");
    for _ in 0..2 {
        until_compacted(&server, &mut load);
        load.verify(&server);
        kill(&mut server);
        server.restart();
        load.verify(&server);
    }
    for _ in 0..KILLS {
        let mut session = Session::open(server.address());
        for _ in 0..load.dice.below(ROUNDS_BETWEEN) {
            load.round(&mut session);
        }
        load.round_killed(&mut server);
    }
    assert_eq!(server.stop().code(), Some(0));
    server.restart();
    load.verify(&server);
}
