//! What runs have met, so that it can be shown that they were worth something.

use std::collections::BTreeMap;

/// How often what has happened.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Met(BTreeMap<&'static str, u64>);

impl Met {
    pub fn count(&mut self, what: &'static str) {
        self.add_to(what, 1);
    }

    pub fn add_to(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub fn add(&mut self, other: &Met) {
        for (what, count) in &other.0 {
            self.add_to(what, *count);
        }
    }

    /// Those that have not happened.
    pub fn lacks<'a>(&self, wanted: &'a [&'static str]) -> Vec<&'a str> {
        wanted.iter().copied().filter(|what| self.0.get(what).is_none_or(|count| *count == 0)).collect()
    }
}

impl std::fmt::Display for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (what, count)) in self.0.iter().enumerate() {
            write!(f, "{}{what} {count}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
