//! Everything that a server shows of its tree, to compare with another's.

use crate::cluster::{Cluster, PATIENCE, call_all};
use crate::support::record::{self, err, op};
use crate::support::session::{Session, Stat};
use crate::support::wait_for;
use std::collections::BTreeMap;

/// What clients see of one znode.
#[derive(PartialEq, Eq, Debug)]
pub struct Node {
    data: Option<Vec<u8>>,
    pub stat: Stat,
    acl: Vec<(i32, String, String)>,
    children: Vec<String>,
}

/// Who may read the nodes that not everybody may.
pub const READER: &[u8] = b"reader:secret";

/// The tree as this server has it after a sync. `/zookeeper/config`, which each Apache ZooKeeper server writes for itself,
/// is left out.
pub fn walk(cluster: &Cluster, sid: usize) -> BTreeMap<String, Node> {
    let mut session = cluster.session(sid);
    session.auth("digest", READER);
    assert_eq!(session.call(op::SYNC, &record::path("/")).err, err::OK);
    let mut tree = BTreeMap::new();
    let mut level = vec!["/".to_owned()];
    while !level.is_empty() {
        let requests: Vec<(i32, Vec<u8>)> = level
            .iter()
            .flat_map(|path| {
                let read = record::read(path, false);
                [(op::GET_DATA, read.clone()), (op::GET_ACL, record::path(path)), (op::GET_CHILDREN, read)]
            })
            .collect();
        let replies = call_all(&mut session, &requests);
        let mut below = Vec::new();
        for (path, replies) in level.into_iter().zip(replies.chunks(3)) {
            let (data, stat) = replies[0].data();
            let (acl, children) = (replies[1].acl(), replies[2].names());
            let prefix = if path == "/" { "" } else { &path };
            below.extend(children.iter().map(|name| format!("{prefix}/{name}")));
            tree.insert(path, Node { data, stat, acl, children });
        }
        below.retain(|path| path != "/zookeeper/config");
        level = below;
    }
    session.close();
    tree
}

/// All these servers show the same: data, Stat, ACL and children of every node.
pub fn assert_equal(cluster: &Cluster, sids: &[usize]) -> BTreeMap<String, Node> {
    let mut trees = sids.iter().map(|sid| (*sid, walk(cluster, *sid)));
    let (first, expected) = trees.next().unwrap();
    for (sid, tree) in trees {
        for (path, node) in &expected {
            assert_eq!(tree.get(path), Some(node), "{path} on server {sid}, and on server {first}");
        }
        let more: Vec<&String> = tree.keys().filter(|path| !expected.contains_key(*path)).collect();
        assert!(more.is_empty(), "server {sid} has more than server {first}: {more:?}");
    }
    expected
}

/// Waits until a node is gone, as this session sees it.
pub fn await_gone(session: &mut Session, path: &str) {
    wait_for(&format!("{path} to vanish"), PATIENCE, || session.stat(path).is_none().then_some(()));
}
