//! A pool of values with stable small ids, in pages: it grows without moving what it holds.

/// Values in a page. The first page grows up to it, so that a small pool stays small.
const PAGE: usize = 256;

/// The pool. An id is reused once its value is removed.
pub struct Slab<T> {
    pages: Vec<Vec<Slot<T>>>,
    /// Head of the list of vacant ids.
    vacant: Option<u32>,
    len: usize,
}

enum Slot<T> {
    Used(T),
    Vacant(Option<u32>),
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

impl<T> Slab<T> {
    /// An empty pool.
    pub const fn new() -> Slab<T> {
        Slab { pages: Vec::new(), vacant: None, len: 0 }
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the pool occupies, without what its values own.
    pub fn memory_bytes(&self) -> usize {
        let slots = self.pages.first().map_or(0, |first| first.capacity() + (self.pages.len() - 1) * PAGE);
        slots * size_of::<Slot<T>>() + self.pages.capacity() * size_of::<Vec<Slot<T>>>()
    }

    /// Puts a value in and returns its id. A pool holds up to 2^32 values.
    pub fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(id) = self.vacant {
            let slot = self.slot_mut(id);
            if let Slot::Vacant(next) = *slot {
                *slot = Slot::Used(value);
                self.vacant = next;
                return id;
            }
        }
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(if self.pages.is_empty() { 1 } else { PAGE }));
        }
        let page = self.pages.len() - 1;
        let slots = &mut self.pages[page];
        slots.push(Slot::Used(value));
        u32::try_from(page * PAGE + slots.len() - 1).expect("a pool holds up to 2^32 values")
    }

    /// The value with this id, which must be in use.
    pub fn get(&self, id: u32) -> &T {
        match &self.pages[id as usize / PAGE][id as usize % PAGE] {
            Slot::Used(value) => value,
            Slot::Vacant(_) => unreachable!("id {id} is not in use"),
        }
    }

    /// The value with this id, which must be in use, to be changed.
    pub fn get_mut(&mut self, id: u32) -> &mut T {
        match self.slot_mut(id) {
            Slot::Used(value) => value,
            Slot::Vacant(_) => unreachable!("id {id} is not in use"),
        }
    }

    /// Takes a value out; its id must be in use.
    pub fn remove(&mut self, id: u32) -> T {
        let next = self.vacant;
        match std::mem::replace(self.slot_mut(id), Slot::Vacant(next)) {
            Slot::Used(value) => {
                self.vacant = Some(id);
                self.len -= 1;
                value
            }
            Slot::Vacant(_) => unreachable!("id {id} is not in use"),
        }
    }

    fn slot_mut(&mut self, id: u32) -> &mut Slot<T> {
        &mut self.pages[id as usize / PAGE][id as usize % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_reused() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..1000).map(|n| slab.insert(Box::new(n))).collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(**slab.get(*id), n);
        }
        for id in ids.iter().step_by(2) {
            slab.remove(*id);
        }
        assert_eq!(slab.len(), 500);
        let memory = slab.memory_bytes();
        for n in 0..500 {
            slab.insert(Box::new(n + 5000));
        }
        assert_eq!((slab.len(), slab.memory_bytes()), (1000, memory));
        for (n, id) in ids.iter().enumerate().skip(1).step_by(2) {
            assert_eq!(**slab.get(*id), n);
        }
    }
}
