//! Interned owners: four bytes in a znode's entry instead of eight.

use engine::node_owner::NodeOwner;
use std::collections::HashMap;

/// Number of an interned owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerId(u32);

const PERSISTENT: OwnerId = OwnerId(0);
const CONTAINER: OwnerId = OwnerId(1);
const FIRST_FREE: u32 = 2;

/// The owners in use, counted. Slots are used again, so the table is as large as the most owners that there ever were at
/// one time.
#[derive(Debug, Default)]
pub struct Owners {
    slots: Vec<Slot>,
    by_owner: HashMap<NodeOwner, u32>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    owner: NodeOwner,
    uses: u32,
}

impl Owners {
    /// The number of an owner, which is in use once more.
    pub fn acquire(&mut self, owner: NodeOwner) -> OwnerId {
        match owner {
            NodeOwner::PERSISTENT => return PERSISTENT,
            NodeOwner::CONTAINER => return CONTAINER,
            _ => {}
        }
        if let Some(at) = self.by_owner.get(&owner) {
            self.slots[*at as usize].uses += 1;
            return OwnerId(at + FIRST_FREE);
        }
        let slot = Slot { owner, uses: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_owner.insert(owner, at);
        OwnerId(at + FIRST_FREE)
    }

    /// One use less.
    pub fn release(&mut self, id: OwnerId) {
        let Some(at) = id.0.checked_sub(FIRST_FREE) else { return };
        let slot = &mut self.slots[at as usize];
        slot.uses -= 1;
        if slot.uses == 0 {
            self.by_owner.remove(&slot.owner);
            self.free.push(at);
        }
    }

    /// The owner behind a number.
    pub fn get(&self, id: OwnerId) -> NodeOwner {
        match id {
            PERSISTENT => NodeOwner::PERSISTENT,
            CONTAINER => NodeOwner::CONTAINER,
            OwnerId(id) => self.slots[(id - FIRST_FREE) as usize].owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_shared_and_used_again() {
        let mut owners = Owners::default();
        assert_eq!(owners.get(owners.slots.first().map_or(PERSISTENT, |_| CONTAINER)), NodeOwner::PERSISTENT);
        let first = owners.acquire(NodeOwner(7));
        assert_eq!(owners.acquire(NodeOwner(7)), first);
        let second = owners.acquire(NodeOwner::ttl(50));
        assert_eq!((owners.get(first), owners.get(second)), (NodeOwner(7), NodeOwner::ttl(50)));
        owners.release(first);
        assert_eq!(owners.get(first), NodeOwner(7));
        owners.release(first);
        assert_eq!(owners.acquire(NodeOwner(9)), first, "the slot of a forgotten owner is taken");
        let container = owners.acquire(NodeOwner::CONTAINER);
        owners.release(container);
        assert_eq!(owners.get(container), NodeOwner::CONTAINER);
    }
}
