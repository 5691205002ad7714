//! A tree with something of everything, and all that clients can see of it.

use crate::support::record::{self, mode, op};
use crate::support::session::{Session, Stat};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Long enough that no session ends during a test.
pub const TIMEOUT_MS: i32 = 600_000;

/// Everything that clients can see of a node.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    pub data: Option<Vec<u8>>,
    pub stat: Stat,
    pub acl: Vec<(i32, String, String)>,
}

/// A session with the rights that the tree asks for.
pub fn open(address: SocketAddr) -> Session {
    let mut session = Session::open_for(address, TIMEOUT_MS);
    session.auth("digest", b"keeper:secret");
    session
}

/// Every node, by its path.
pub fn read(address: SocketAddr) -> BTreeMap<String, Seen> {
    let mut session = open(address);
    session.call(op::SYNC, &record::path("/")).ok();
    let mut seen = BTreeMap::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        let (data, stat) = session.get(&path);
        let acl = session.call(op::GET_ACL, &record::path(&path)).acl();
        for name in session.children(&path) {
            paths.push(format!("{}/{name}", if path == "/" { "" } else { &path }));
        }
        seen.insert(path, Seen { data, stat, acl });
    }
    session.close();
    seen
}

/// Makes something of everything below `root`. Returns a session whose ephemerals stay.
pub fn fill(address: SocketAddr, root: &str, wide: usize) -> Session {
    let mut session = open(address);
    let at = |name: &str| format!("{root}/{name}");
    session.create(root, b"root of it");
    session.call(op::CREATE, &record::create(&at("null"), None, record::OPEN, mode::PERSISTENT)).ok();
    session.create(&at("empty"), b"");
    session.create(&at("b\u{e9}\u{4e2d}"), "z\u{fc}rich".as_bytes());
    session.create(&at("large"), &vec![7; 300_000]);
    for number in 0..5 {
        session.create_as(&at("sequence-"), mode::SEQUENTIAL);
        session.set(&at("empty"), format!("{number}").as_bytes());
    }
    let lists: [&[(i32, &str, &str)]; 3] = [
        &[(31, "auth", "")],
        &[(1, "world", "anyone"), (31, "auth", "")],
        &[(31, "ip", "127.0.0.1"), (31, "auth", "")],
    ];
    for (number, list) in lists.iter().enumerate() {
        let path = at(&format!("closed{number}"));
        session.call(op::CREATE, &record::create(&path, Some(b"x"), list, mode::PERSISTENT)).ok();
    }
    session.call(op::SET_ACL, &record::set_acl(&at("null"), lists[1], -1)).ok();
    session.call(op::SET_ACL, &record::set_acl(&at("null"), lists[0], -1)).ok();
    session
        .call(op::CREATE_CONTAINER, &record::create(&at("container"), Some(b"c"), record::OPEN, mode::CONTAINER))
        .ok();
    session.create(&at("container/child"), b"");
    session.call(op::CREATE_TTL, &record::create_ttl(&at("ttl"), mode::TTL, 1_000_000_000)).ok();
    let ops = [
        (op::CREATE, record::plain(&at("multi"), b"1")),
        (op::SET_DATA, record::set_data(&at("multi"), b"2", 0)),
        (op::CHECK, record::path_int(&at("multi"), 1)),
        (op::CREATE, record::plain(&at("multi/gone"), b"")),
        (op::DELETE, record::path_int(&at("multi/gone"), -1)),
    ];
    session.call(op::MULTI, &record::multi(&ops)).ok();
    // Failed requests take a place in the order too.
    session.err(op::CREATE, &record::plain(&at("no/parent"), b""));
    session.err(op::MULTI, &record::multi(&[(op::DELETE, record::path_int(&at("nothing"), -1))]));
    let mut deep = at("deep");
    session.create(&deep, b"");
    for _ in 0..40 {
        deep.push_str("/d");
        session.create(&deep, b"level");
    }
    session.create(&at("wide"), b"");
    for number in 0..wide {
        session.create(&at(&format!("wide/n{number}")), format!("value {number}").as_bytes());
        if number % 3 == 0 {
            session.delete(&at(&format!("wide/n{number}")));
        }
    }
    let quota = format!("/zookeeper/quota{root}");
    session.create(&quota, b"");
    session.create(&format!("{quota}/zookeeper_limits"), b"count=100000,bytes=-1");
    session.create(&format!("{quota}/zookeeper_stats"), b"count=0,bytes=0");
    let mut ended = Session::open_for(address, TIMEOUT_MS);
    ended.create_as(&at("ephemeral-of-one-that-ended"), mode::EPHEMERAL);
    ended.close();
    session.create_as(&at("ephemeral"), mode::EPHEMERAL);
    session.create_as(&at("ephemeral-"), mode::EPHEMERAL_SEQUENTIAL);
    session
}
