//! The connections that have watches, under dense numbers of the table's own.

use super::path_set::PathSet;
use crate::ids::{ConnId, CoreId};

/// What firing reads of a connection; kept apart from [`PathSet`]s so that a pass over many watchers stays in cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) core: CoreId,
    pub(super) id: ConnId,
    /// The last firing that reached the connection.
    pub(super) stamp: u32,
    /// Its entries in the data table, those of [`foreign`](super::WatchTable::add) paths left out.
    pub(super) data_entries: u32,
}

/// No connection.
const NONE: u32 = u32::MAX;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) heads: Vec<Head>,
    pub(super) paths: Vec<PathSet>,
    vacant: Vec<u32>,
    /// By core and slot.
    numbers: Vec<Vec<u32>>,
}

impl Connections {
    /// The number of a connection that has been given one.
    pub(super) fn number(&self, core: CoreId, id: ConnId) -> Option<u32> {
        let number = self.in_slot(core, id)?;
        (self.heads[number as usize].id == id).then_some(number)
    }

    /// The number of whatever connection was last known in this slot.
    pub(super) fn in_slot(&self, core: CoreId, id: ConnId) -> Option<u32> {
        let number = *self.numbers.get(usize::from(core.0))?.get(id.slot as usize)?;
        (number != NONE).then_some(number)
    }

    /// Gives a number to a connection that has none; its slot must be free. Slots are dense: a table by slot is kept per core.
    pub(super) fn insert(&mut self, core: CoreId, id: ConnId) -> u32 {
        let head = Head { core, id, stamp: 0, data_entries: 0 };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.heads[number as usize] = head;
                number
            }
            None => {
                self.heads.push(head);
                self.paths.push(PathSet::default());
                (self.heads.len() - 1) as u32
            }
        };
        let core = usize::from(core.0);
        if self.numbers.len() <= core {
            self.numbers.resize_with(core + 1, Vec::new);
        }
        let slots = &mut self.numbers[core];
        if slots.len() <= id.slot as usize {
            slots.resize(id.slot as usize + 1, NONE);
        }
        slots[id.slot as usize] = number;
        number
    }

    /// Takes a connection's number back and returns its paths.
    pub(super) fn remove(&mut self, number: u32) -> PathSet {
        let head = self.heads[number as usize];
        self.numbers[usize::from(head.core.0)][head.id.slot as usize] = NONE;
        self.vacant.push(number);
        std::mem::take(&mut self.paths[number as usize])
    }

    /// Bytes on the heap, but for what the path sets own.
    pub(super) fn heap_bytes(&self) -> usize {
        let numbers: usize = self.numbers.iter().map(|slots| slots.capacity() * size_of::<u32>()).sum();
        numbers
            + self.heads.capacity() * size_of::<Head>()
            + self.paths.capacity() * size_of::<PathSet>()
            + self.vacant.capacity() * size_of::<u32>()
    }
}
