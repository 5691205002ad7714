//! Access control lists: entries, the identities that they are held against, and the table of interned lists.
//!
//! Lists are interned by the replication role, which gives each distinct one a number; znodes, records and events carry
//! the number, and every core holds the table. The decision follows `ZooKeeperServer.checkACL`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Permission bits (`ZooDefs.Perms`).
pub mod perms {
    /// Read data, Stat, children.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// One entry of a list (`org.apache.zookeeper.data.ACL`), perms verbatim as the client gave them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Acl {
    /// Bits of [`perms`].
    pub perms: i32,
    /// Scheme, such as `world` or `digest`.
    pub scheme: Box<str>,
    /// Id within the scheme.
    pub id: Box<str>,
}

impl Acl {
    /// An entry.
    pub fn new(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, scheme: scheme.into(), id: id.into() }
    }

    /// `world:anyone` with these bits.
    pub fn world(perms: i32) -> Acl {
        Acl::new(perms, "world", "anyone")
    }
}

/// A whole list, shared between cores.
pub type AclList = Arc<[Acl]>;

/// Number of an interned list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AclId(pub u32);

impl AclId {
    /// The empty list, which allows everything.
    pub const NONE: AclId = AclId(0);
    /// `world:anyone` with all permissions: what nearly every znode has.
    pub const OPEN: AclId = AclId(1);
    /// `world:anyone` with READ: /zookeeper/config.
    pub const WORLD_READ: AclId = AclId(2);
    /// The first number that is given to a list of a client's.
    pub const FIRST_FREE: AclId = AclId(3);
}

/// One credential of a connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Credential {
    /// Scheme that vouched for it.
    pub scheme: Box<str>,
    /// Id within the scheme.
    pub id: Box<str>,
}

/// Everything that a connection has proved about itself. A request carries the identity as it was when its frame
/// arrived; a later auth packet makes a new one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    credentials: Vec<Credential>,
    exempt: bool,
}

impl Identity {
    /// An identity without credentials.
    pub fn anonymous() -> Identity {
        Identity::default()
    }

    /// An identity that every check lets pass: internal requests, and everybody under `zookeeper.skipACL=yes`.
    pub fn exempt() -> Identity {
        Identity { credentials: Vec::new(), exempt: true }
    }

    /// Adds a credential; one that is there already changes nothing.
    pub fn add(&mut self, scheme: &str, id: &str) {
        let credential = Credential { scheme: scheme.into(), id: id.into() };
        if !self.credentials.contains(&credential) {
            self.credentials.push(credential);
        }
    }

    /// The credentials, in the order in which they came.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// Whether checks are bypassed (`super`, or exempt from the start).
    pub fn bypasses(&self) -> bool {
        self.exempt || self.credentials.iter().any(|credential| &*credential.scheme == "super")
    }
}

/// Whether `list` grants all of `perm` (one bit) to `identity`.
pub fn permits(list: &[Acl], perm: i32, identity: &Identity) -> bool {
    if list.is_empty() || identity.bypasses() {
        return true;
    }
    list.iter().filter(|entry| entry.perms & perm != 0).any(|entry| {
        (&*entry.scheme == "world" && &*entry.id == "anyone")
            || identity.credentials.iter().any(|credential| {
                credential.scheme == entry.scheme && matches(&entry.scheme, &credential.id, &entry.id)
            })
    })
}

fn matches(scheme: &str, credential: &str, wanted: &str) -> bool {
    match scheme {
        "ip" => ip_matches(credential, wanted),
        "sasl" => credential == wanted || credential == "super",
        _ => credential == wanted,
    }
}

/// Whether an address lies in `address[/bits]`; different families never match (`IPAuthenticationProvider`).
fn ip_matches(credential: &str, wanted: &str) -> bool {
    let Some((network, bits)) = parse_network(wanted) else { return false };
    let Ok(address) = credential.parse::<IpAddr>() else { return false };
    fn within(address: u128, network: u128, width: u32, bits: u32) -> bool {
        bits == 0 || (address ^ network) >> (width - bits) == 0
    }
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            within(u32::from(address).into(), u32::from(network).into(), 32, bits)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => within(address.into(), network.into(), 128, bits),
        _ => false,
    }
}

/// Splits `address[/bits]`; `None` if it is not a valid `ip` ACL id. Host names are refused.
pub fn parse_network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        None => width,
    };
    Some((address, bits))
}

/// The interned lists, as each core holds them.
#[derive(Clone, Debug)]
pub struct AclTable {
    lists: HashMap<AclId, AclList>,
}

impl Default for AclTable {
    fn default() -> Self {
        let lists = [
            (AclId::NONE, AclList::from([])),
            (AclId::OPEN, AclList::from([Acl::world(perms::ALL)])),
            (AclId::WORLD_READ, AclList::from([Acl::world(perms::READ)])),
        ];
        AclTable { lists: lists.into_iter().collect() }
    }
}

impl AclTable {
    /// Learns a list; a number keeps its meaning for ever.
    pub fn define(&mut self, id: AclId, list: AclList) {
        self.lists.insert(id, list);
    }

    /// The list behind a number.
    pub fn get(&self, id: AclId) -> Option<&AclList> {
        self.lists.get(&id)
    }

    /// Whether the list grants `perm` to `identity`. An unknown number grants nothing.
    pub fn permits(&self, id: AclId, perm: i32, identity: &Identity) -> bool {
        match id {
            AclId::OPEN | AclId::NONE => true,
            AclId::WORLD_READ if perm == perms::READ => true,
            _ => match self.lists.get(&id) {
                Some(list) => permits(list, perm, identity),
                None => identity.bypasses(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any client may write any text as the id of an `ip` entry.
        #[test]
        fn arbitrary_networks_never_panic(text in "[0-9a-f:./-]{0,45}|.{0,20}", address in "[0-9.:]{0,20}") {
            let is_valid = parse_network(&text).is_some();
            prop_assert!(is_valid || !ip_matches(&address, &text));
            prop_assert!(!is_valid || text.contains(['.', ':']));
        }
    }

    fn identity(credentials: &[(&str, &str)]) -> Identity {
        let mut identity = Identity::anonymous();
        for (scheme, id) in credentials {
            identity.add(scheme, id);
        }
        identity
    }

    #[test]
    fn world_super_and_empty_lists() {
        let closed = [Acl::new(perms::ALL, "digest", "a:b")];
        assert!(permits(&[], perms::READ, &Identity::anonymous()));
        assert!(permits(&[Acl::world(perms::READ)], perms::READ, &Identity::anonymous()));
        assert!(!permits(&[Acl::world(perms::READ)], perms::WRITE, &Identity::anonymous()));
        assert!(!permits(&closed, perms::READ, &identity(&[("digest", "a:c"), ("ip", "a:b")])));
        assert!(permits(&closed, perms::READ, &identity(&[("digest", "a:b")])));
        assert!(permits(&closed, perms::READ, &identity(&[("super", "")])));
    }

    #[test]
    fn addresses_match_by_their_leading_bits() {
        assert!(ip_matches("10.1.2.3", "10.1.0.0/16"));
        assert!(!ip_matches("10.2.2.3", "10.1.0.0/16"));
        assert!(ip_matches("10.2.2.3", "0.0.0.0/0"));
        assert!(ip_matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(!ip_matches("127.0.0.1", "::/0"));
        assert!(parse_network("localhost").is_none());
        assert!(parse_network("1.2.3.4/33").is_none());
        assert!(parse_network("::1/128").is_some());
    }

    #[test]
    fn the_table_knows_its_built_in_lists() {
        let table = AclTable::default();
        let anonymous = Identity::anonymous();
        assert!(table.permits(AclId::OPEN, perms::ADMIN, &anonymous));
        assert!(table.permits(AclId::WORLD_READ, perms::READ, &anonymous));
        assert!(!table.permits(AclId::WORLD_READ, perms::WRITE, &anonymous));
        assert!(!table.permits(AclId(99), perms::READ, &anonymous));
    }
}
