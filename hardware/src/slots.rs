//! A table of values addressed by slot and generation, so that an id of a removed value never finds its successor.

pub(crate) struct Slots<T> {
    entries: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots { entries: Vec::new(), free: Vec::new() }
    }

    /// Stores what `make` builds from its own slot and generation.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            entry.value = Some(value);
            (slot, entry.generation)
        } else {
            let slot =
                u32::try_from(self.entries.len()).expect("fewer slots than file descriptors, which fit in 31 bits");
            self.entries.push(Slot { generation: 0, value: Some(value) });
            (slot, 0)
        }
    }

    pub(crate) fn get(&self, slot: u32, generation: u32) -> Option<&T> {
        let entry = self.entries.get(slot as usize)?;
        if entry.generation == generation { entry.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot as usize)?;
        if entry.generation == generation { entry.value.as_mut() } else { None }
    }

    /// The value and its generation, for a completion whose slot cannot have been reused because it was in flight.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<(u32, &mut T)> {
        let entry = self.entries.get_mut(slot as usize)?;
        let generation = entry.generation;
        entry.value.as_mut().map(|value| (generation, value))
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.entries.get_mut(slot as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_reused_slot_does_not_answer_to_the_old_generation() {
        let mut slots = Slots::new();
        let (slot, generation) = slots.insert("first");
        assert_eq!(slots.remove(slot), Some("first"));
        assert_eq!(slots.remove(slot), None);
        let (again, newer) = slots.insert("second");
        assert_eq!(again, slot);
        assert_ne!(newer, generation);
        assert_eq!(slots.get(slot, generation), None);
        assert_eq!(slots.get_mut(slot, generation), None);
        assert_eq!(slots.get(slot, newer), Some(&"second"));
        assert_eq!(slots.at_mut(slot), Some((newer, &mut "second")));
        assert_eq!(slots.len(), 1);
    }
}
