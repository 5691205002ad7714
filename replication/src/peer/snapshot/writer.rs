//! The parts of a snapshot that are not nodes, in pieces of bounded size.

use super::record::SnapshotAcl;
use engine::acl::{Acl, AclId, AclList, perms};
use engine::ids::SessionId;
use engine::jute::Writer;
use engine::txn::encode_acl;

/// What a SNAP stream ends with (`LearnerHandler`).
pub const SIGNATURE: &str = "BenWasHere";
/// What stands behind the last node, where a path would stand.
pub const END_OF_NODES: &str = "/";

/// Sessions and ACL table, written step by step.
#[derive(Debug)]
pub struct HeadWriter {
    sessions: std::vec::IntoIter<(SessionId, i32)>,
    acls: std::vec::IntoIter<(AclId, AclList)>,
    next: Section,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    SessionCount,
    Sessions,
    AclCount,
    Acls,
    Done,
}

impl HeadWriter {
    /// A writer of these sessions (with their timeouts in milliseconds) and of these lists of clients. The lists that
    /// every server knows are added, but for the open one, which has no entry.
    pub fn new(sessions: Vec<(SessionId, i32)>, acls: impl IntoIterator<Item = (AclId, AclList)>) -> HeadWriter {
        let mut table: Vec<(AclId, AclList)> =
            vec![(AclId::NONE, [].into()), (AclId::WORLD_READ, [Acl::world(perms::READ)].into())];
        table.extend(acls.into_iter().filter(|(id, _)| *id >= AclId::FIRST_FREE));
        HeadWriter { sessions: sessions.into_iter(), acls: table.into_iter(), next: Section::SessionCount }
    }

    /// Appends to `out` until it holds `limit` bytes (one list may go beyond). Returns whether there is more.
    pub fn write(&mut self, limit: usize, out: &mut Vec<u8>) -> bool {
        while out.len() < limit && self.next != Section::Done {
            let mut w = Writer::new(out);
            match self.next {
                Section::SessionCount => {
                    w.count(Some(self.sessions.len()));
                    self.next = Section::Sessions;
                }
                Section::Sessions => match self.sessions.next() {
                    Some((session, timeout_ms)) => {
                        w.long(session.0);
                        w.int(timeout_ms);
                    }
                    None => self.next = Section::AclCount,
                },
                Section::AclCount => {
                    w.count(Some(self.acls.len()));
                    self.next = Section::Acls;
                }
                Section::Acls => match self.acls.next() {
                    Some((id, list)) => {
                        w.long(SnapshotAcl::from(id).0);
                        encode_acl(&mut w, &list);
                    }
                    None => self.next = Section::Done,
                },
                Section::Done => {}
            }
        }
        self.next != Section::Done
    }
}

/// Appends the mark behind the last node.
pub fn write_end_of_nodes(out: &mut Vec<u8>) {
    Writer::new(out).string(END_OF_NODES);
}

/// Appends the end of a SNAP stream.
pub fn write_signature(out: &mut Vec<u8>) {
    Writer::new(out).string(SIGNATURE);
}
