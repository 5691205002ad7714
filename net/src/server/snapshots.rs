//! The state of all shards as of one zxid, as streams that the replication role's core hands on to learners.
//!
//! The mail that begins a stream goes to the shards in the order of commits, so each pins the very state that the
//! transactions routed before make. From then on a shard works a few hundred nodes per turn of its core, and only while
//! the stream has room: a learner that does not read costs the old versions of what changes meanwhile, and nothing else.

use super::mail::{Mail, ShardMail, SnapshotPart};
use super::post::Post;
use super::topology::Topology;
use engine::ids::ShardId;
use engine::zxid::Zxid;
use replication::peer::snapshot::stream::{Ask, SnapshotStream};
use replication::peer::snapshot::writer::HeadWriter;
use replication::role::SystemState;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a stream has for its learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotBytes {
    /// The next bytes.
    Chunk(Vec<u8>),
    /// None yet: ask again after the next [`SnapshotPart`].
    Waiting,
    /// The stream has been taken to its end.
    Done,
    /// A shard cannot show the state any more: begin anew.
    Lost,
}

/// The streams under way.
pub struct Snapshots {
    topology: Arc<Topology>,
    streams: BTreeMap<u64, Stream>,
    last: u64,
    asks: Vec<Ask>,
}

struct Stream {
    stream: SnapshotStream,
    is_lost: bool,
}

impl Snapshots {
    /// None yet.
    pub fn new(topology: Arc<Topology>) -> Snapshots {
        Snapshots { topology, streams: BTreeMap::new(), last: 0, asks: Vec::new() }
    }

    /// Begins a stream of the state as of `system`, which must be the role's at this moment: everything committed has
    /// been routed to the shards, and nothing else. Returns the stream's number.
    pub fn begin(&mut self, system: SystemState, post: &mut Post) -> u64 {
        self.last += 1;
        let (number, zxid): (u64, Zxid) = (self.last, system.zxid);
        let head = HeadWriter::new(system.sessions, system.acls);
        let stream = SnapshotStream::new(head, self.topology.shards(), true);
        self.streams.insert(number, Stream { stream, is_lost: false });
        self.tell_all(post, || ShardMail::SnapshotBegin { stream: number, zxid });
        self.ask(number, post);
        number
    }

    /// A shard has answered.
    pub fn part(&mut self, part: SnapshotPart, post: &mut Post) {
        let Some(stream) = self.streams.get_mut(&part.stream) else { return };
        match part.chunk {
            Some(chunk) => stream.stream.chunk(part.shard, chunk),
            None => stream.is_lost = true,
        }
        self.ask(part.stream, post);
    }

    /// The next bytes of a stream, to be asked for when its learner has room.
    pub fn next_chunk(&mut self, number: u64, post: &mut Post) -> SnapshotBytes {
        let Some(Stream { stream, is_lost: false }) = self.streams.get_mut(&number) else { return SnapshotBytes::Lost };
        let Some(bytes) = stream.next_chunk() else {
            return if stream.is_done() { SnapshotBytes::Done } else { SnapshotBytes::Waiting };
        };
        self.ask(number, post);
        SnapshotBytes::Chunk(bytes)
    }

    /// Ends a stream, taken to its end or not: the shards let go of its state.
    pub fn end(&mut self, number: u64, post: &mut Post) {
        if self.streams.remove(&number).is_some() {
            self.tell_all(post, || ShardMail::SnapshotEnd { stream: number });
        }
    }

    fn ask(&mut self, number: u64, post: &mut Post) {
        let Some(Stream { stream, is_lost: false }) = self.streams.get_mut(&number) else { return };
        stream.poll(&mut self.asks);
        for Ask { shard, depth } in self.asks.drain(..) {
            post.send(self.topology.home(shard), Mail::Shard(ShardMail::SnapshotAsk { stream: number, depth }));
        }
    }

    fn tell_all(&self, post: &mut Post, mail: impl Fn() -> ShardMail) {
        for shard in 0..self.topology.shards() {
            post.send(self.topology.home(ShardId(shard)), Mail::Shard(mail()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::log_space::LogSpace;
    use super::super::mail::Mail;
    use super::super::marks::Marks;
    use super::super::segments::Segments;
    use super::super::shard_host::ShardHost;
    use super::*;
    use engine::acl::{AclId, AclTable};
    use engine::ids::{CoreId, SessionId};
    use engine::node_owner::NodeOwner;
    use engine::partition::Partition;
    use engine::path::HashKey;
    use engine::piece::{HashedPath, Piece, RoutedPiece, ShardTxn};
    use engine::shard::{Shard, ShardConfig};
    use hardware::mailbox::{MailReceiver, mailbox};
    use hardware::reactor::{CoreWaker, Reactor, ReactorConfig};
    use hardware::storage::{Shutdown, StorageBackend, StorageConfig, StorageExecutor};
    use replication::peer::snapshot::reader::{Event, SnapshotReader};
    use std::collections::{BTreeSet, HashMap};

    const PARTITIONS: u32 = 8;
    const CORES: u16 = 3;

    struct World {
        topology: Arc<Topology>,
        hosts: Vec<ShardHost>,
        posts: Vec<Post>,
        inboxes: Vec<MailReceiver<Mail>>,
        marks: Marks,
        reactor: Reactor,
        snapshots: Snapshots,
    }

    impl World {
        fn node(&self, path: &str) -> HashedPath {
            HashedPath { path: path.into(), hash: self.topology.key().hash(path) }
        }

        /// Creates a node, as the replication role would have it done.
        fn create(&mut self, zxid: Zxid, path: &str) {
            let node = self.node(path);
            let mut pieces =
                vec![Piece::Put { node: node.clone(), data: None, acl: AclId::OPEN, owner: NodeOwner::PERSISTENT }];
            if let Some(parent) = engine::path::parent(path) {
                let parent = self.node(parent).hash;
                pieces.push(Piece::Link { parent, child: node, cversion: 1, moves_pzxid: true });
            }
            for piece in pieces {
                let shard = self.topology.shard_of_hash(piece.routed_by());
                let pieces = vec![RoutedPiece { order: 0, piece, stat_for: None }];
                let txn = ShardTxn { zxid, time_ms: 1, pieces };
                self.posts[0].send(self.topology.home(shard), Mail::Shard(ShardMail::Apply(txn)));
            }
        }

        /// One turn of every core.
        fn turn(&mut self) {
            for core in 0..usize::from(CORES) {
                let mut mails = Vec::new();
                self.inboxes[core].drain_into(&mut mails, 100);
                mails.extend(std::iter::from_fn(|| self.posts[core].next_own()));
                for mail in mails {
                    match mail {
                        Mail::Snapshot(part) => self.snapshots.part(part, &mut self.posts[core]),
                        Mail::Shard(mail) => {
                            let acls = AclTable::default();
                            self.hosts[core].deliver(mail, &acls, &mut self.posts[core]).unwrap();
                        }
                        _ => {}
                    }
                }
                let (reactor, post) = (&mut self.reactor, &mut self.posts[core]);
                self.hosts[core].end_of_turn(&self.marks, reactor, post).unwrap();
            }
        }
    }

    fn world(folder: &std::path::Path, storage: &StorageExecutor) -> World {
        let key = Arc::new(HashKey::new(std::array::from_fn(|at| at as u8)));
        let topology = Arc::new(Topology::new(Arc::clone(&key), PARTITIONS, CORES, CoreId(0)));
        let space = Arc::new(LogSpace::new(CORES, PARTITIONS));
        let host = |shard: ShardId| {
            let config = ShardConfig {
                id: shard,
                shards: CORES,
                partitions: PARTITIONS,
                key: Arc::clone(&key),
                extended_types: true,
            };
            let partitions = topology.partitions_of(shard).map(|id| Partition::new(id, 0)).collect();
            let space = space.of(shard);
            let segments = Segments::new(folder.to_path_buf(), HashMap::new(), storage.handle(), space);
            ShardHost::new(shard, Shard::new(config, partitions), segments, Arc::clone(&topology), Arc::default())
        };
        let hosts = (0..CORES).map(|shard| host(ShardId(shard))).collect();
        let boxes = (0..CORES).map(|_| mailbox(1000, CoreWaker::detached().unwrap()));
        let (senders, inboxes): (Vec<_>, Vec<_>) = boxes.unzip();
        World {
            hosts,
            posts: (0..CORES).map(|core| Post::new(CoreId(core), senders.clone())).collect(),
            inboxes,
            marks: Marks::new(CORES, CORES, Zxid::ZERO),
            reactor: Reactor::new(ReactorConfig::default()).unwrap(),
            snapshots: Snapshots::new(Arc::clone(&topology)),
            topology,
        }
    }

    #[test]
    fn a_stream_shows_one_moment_of_all_shards_while_they_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig { backend: Some(StorageBackend::Threads), ..Default::default() };
        let storage = StorageExecutor::start(config).unwrap();
        let mut world = world(folder.path(), &storage);
        let mut zxid = Zxid::new(1, 0);
        let mut wanted = BTreeSet::from(["/".to_owned()]);
        world.create(Zxid::ZERO, "/");
        for number in 0..300 {
            zxid = zxid.next().unwrap();
            let path = if number % 3 == 0 { format!("/n{number}") } else { format!("/n{}/c{number}", number / 3 * 3) };
            world.create(zxid, &path);
            wanted.insert(path);
        }
        let sessions = vec![(SessionId(7), 4000)];
        let system = SystemState { zxid, sessions, ..SystemState::default() };
        let stream = world.snapshots.begin(system, &mut world.posts[0]);
        let mut reader = SnapshotReader::new(4096);
        let (mut found, mut sessions) = (BTreeSet::new(), 0);
        loop {
            // Nodes that come meanwhile are none of its concern.
            zxid = zxid.next().unwrap();
            world.create(zxid, &format!("/n0/late{zxid}"));
            world.turn();
            match world.snapshots.next_chunk(stream, &mut world.posts[0]) {
                SnapshotBytes::Chunk(bytes) => reader.feed(&bytes),
                SnapshotBytes::Waiting => continue,
                SnapshotBytes::Done => break,
                SnapshotBytes::Lost => panic!("every shard has the state"),
            }
            while let Some(event) = reader.next_event().unwrap() {
                match event {
                    Event::Node(node) => {
                        let parent = engine::path::parent(&node.path);
                        assert!(parent.is_none_or(|parent| found.contains(parent)), "{} before its parent", node.path);
                        assert!(found.insert(node.path.into_owned()));
                    }
                    Event::Session(..) => sessions += 1,
                    Event::Acl(..) | Event::End => {}
                }
            }
        }
        assert!(reader.is_done());
        assert_eq!((found, sessions), (wanted, 1));
        // What only the snapshot wanted is forgotten.
        world.snapshots.end(stream, &mut world.posts[0]);
        world.turn();
        assert_eq!(world.snapshots.next_chunk(stream, &mut world.posts[0]), SnapshotBytes::Lost);
        storage.shutdown(Shutdown::Drain);
    }
}
