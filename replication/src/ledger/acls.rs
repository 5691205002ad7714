//! Interning of ACLs: each distinct list has one number on this server.

use engine::acl::{Acl, AclId, AclList, perms};
use engine::zxid::Zxid;
use std::collections::{BTreeMap, HashMap};

/// The lists in use. A number keeps its meaning as long as the process runs; it is not given again.
#[derive(Debug)]
pub struct Acls {
    open: AclList,
    by_list: HashMap<AclList, AclId>,
    entries: BTreeMap<AclId, Entry>,
    next: u32,
}

#[derive(Debug)]
struct Entry {
    list: AclList,
    /// Committed znodes that have it.
    nodes: u64,
    /// The last transaction, perhaps still outstanding, that named it.
    named_by: Zxid,
    /// Whether the cores know it.
    announced: bool,
}

impl Default for Acls {
    fn default() -> Self {
        let open: AclList = [Acl::world(perms::ALL)].into();
        let mut acls =
            Acls { open: open.clone(), by_list: HashMap::new(), entries: BTreeMap::new(), next: AclId::FIRST_FREE.0 };
        for (id, list) in
            [(AclId::NONE, [].into()), (AclId::OPEN, open), (AclId::WORLD_READ, [Acl::world(perms::READ)].into())]
        {
            acls.restore(id, list);
        }
        acls
    }
}

impl Acls {
    /// `world:anyone` with all permissions, shared.
    pub fn open(&self) -> &AclList {
        &self.open
    }

    /// The number of a list that `zxid` names; new lists get a new one.
    pub fn intern(&mut self, list: &AclList, zxid: Zxid) -> AclId {
        if std::sync::Arc::ptr_eq(list, &self.open) || is_open(list) {
            return AclId::OPEN;
        }
        let id = match self.by_list.get(list) {
            Some(id) => *id,
            None => {
                let id = AclId(self.next);
                self.next += 1;
                self.by_list.insert(list.clone(), id);
                self.entries.insert(id, Entry { list: list.clone(), nodes: 0, named_by: zxid, announced: false });
                return id;
            }
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.named_by = entry.named_by.max(zxid);
        }
        id
    }

    /// Puts back a list from a checkpoint.
    pub fn restore(&mut self, id: AclId, list: AclList) {
        self.by_list.insert(list.clone(), id);
        self.entries.insert(id, Entry { list, nodes: 0, named_by: Zxid::ZERO, announced: id < AclId::FIRST_FREE });
        self.next = self.next.max(id.0.saturating_add(1));
    }

    /// Never gives out a number below this one.
    pub fn reserve_below(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    /// The next number to be given out.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The list behind a number.
    pub fn list(&self, id: AclId) -> Option<&AclList> {
        self.entries.get(&id).map(|entry| &entry.list)
    }

    /// So many more committed znodes have it.
    pub fn acquire(&mut self, id: AclId, nodes: u64) {
        if id >= AclId::FIRST_FREE
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.nodes += nodes;
        }
    }

    /// One committed znode less has it.
    pub fn release(&mut self, id: AclId) {
        if id >= AclId::FIRST_FREE
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.nodes = entry.nodes.saturating_sub(1);
        }
    }

    /// The list, if the cores have not been told of it yet; they are told now.
    pub fn announce(&mut self, id: AclId) -> Option<AclList> {
        if id < AclId::FIRST_FREE {
            return None;
        }
        let entry = self.entries.get_mut(&id)?;
        let first = !std::mem::replace(&mut entry.announced, true);
        first.then(|| entry.list.clone())
    }

    /// Forgets lists that no committed znode has and no transaction behind `committed` names.
    pub fn drop_unused(&mut self, committed: Zxid) {
        let by_list = &mut self.by_list;
        self.entries.retain(|id, entry| {
            let keep = *id < AclId::FIRST_FREE || entry.nodes > 0 || entry.named_by > committed;
            if !keep {
                by_list.remove(&entry.list);
            }
            keep
        });
    }

    /// The lists that clients made, by number.
    pub fn iter(&self) -> impl Iterator<Item = (AclId, &AclList)> {
        self.entries.range(AclId::FIRST_FREE..).map(|(id, entry)| (*id, &entry.list))
    }
}

fn is_open(list: &[Acl]) -> bool {
    matches!(list, [only] if only.perms == perms::ALL && &*only.scheme == "world" && &*only.id == "anyone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(id: &str) -> AclList {
        [Acl::new(1, "digest", id)].into()
    }

    #[test]
    fn equal_lists_share_a_number() {
        let mut acls = Acls::default();
        let a = acls.intern(&list("a:b"), Zxid(1));
        assert_eq!(a, AclId::FIRST_FREE);
        assert_eq!(acls.intern(&list("a:b"), Zxid(2)), a);
        assert_ne!(acls.intern(&list("a:c"), Zxid(2)), a);
        assert_eq!(acls.intern(&[Acl::world(31)].into(), Zxid(3)), AclId::OPEN);
        assert_eq!(acls.intern(&[Acl::world(1)].into(), Zxid(3)), AclId::WORLD_READ);
        assert_eq!(acls.intern(&[].into(), Zxid(3)), AclId::NONE);
    }

    #[test]
    fn a_list_is_announced_once() {
        let mut acls = Acls::default();
        let id = acls.intern(&list("a:b"), Zxid(1));
        assert_eq!(acls.announce(id), Some(list("a:b")));
        assert_eq!(acls.announce(id), None);
        assert_eq!(acls.announce(AclId::OPEN), None);
    }

    #[test]
    fn lists_without_nodes_go_once_nothing_outstanding_names_them() {
        let mut acls = Acls::default();
        let id = acls.intern(&list("a:b"), Zxid(5));
        acls.drop_unused(Zxid(4));
        assert!(acls.list(id).is_some());
        acls.acquire(id, 1);
        acls.drop_unused(Zxid(5));
        assert!(acls.list(id).is_some());
        acls.release(id);
        acls.drop_unused(Zxid(5));
        assert!(acls.list(id).is_none());
        assert!(acls.intern(&list("a:b"), Zxid(6)) > id, "a number is not given twice");
        assert!(acls.list(AclId::OPEN).is_some());
    }
}
