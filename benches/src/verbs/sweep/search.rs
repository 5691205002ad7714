//! The search for the highest rate that holds.

/// Which rate to try next: up in steps until one fails, then between the last that held and the first that failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Search {
    /// The highest rate that held.
    pub(super) held: Option<f64>,
    /// The lowest rate above that which did not.
    pub(super) failed: Option<f64>,
    /// The rate to try.
    pub(super) next: f64,
    /// The rate that failed and was asked again at the end.
    doubted: Option<f64>,
}

impl Search {
    const GROWTH: f64 = 1.4;
    /// No rate below this is tried.
    pub(super) const RATE_MIN: f64 = 1.0;

    /// A search that begins at this rate.
    pub(super) fn new(first: f64) -> Search {
        Search { held: None, failed: None, next: first, doubted: None }
    }

    /// Books what became of `next`; `false` when the answer is known to `precision`, a share of itself.
    pub(super) fn book(&mut self, held: bool, precision: f64) -> bool {
        if held {
            self.held = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        self.next = match (self.held, self.failed) {
            (Some(held), None) => held * Search::GROWTH,
            (None, Some(failed)) => failed / 2.0,
            (Some(held), Some(failed)) => f64::midpoint(held, failed),
            (None, None) => self.next,
        };
        match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed - held > precision * held || self.doubt(failed),
            _ => self.next >= Search::RATE_MIN,
        }
    }

    /// Whether the answer is between rates that were tried: chance may let a rate hold there as well as fail.
    pub(super) fn near(&self) -> bool {
        self.failed.is_some() || self.doubted.is_some()
    }

    /// Asks for the lowest rate that failed once more before it is the answer: a passing trouble of the machine may have
    /// failed it. If it holds now the search goes on upwards.
    fn doubt(&mut self, failed: f64) -> bool {
        if self.doubted.is_some_and(|doubted| failed <= doubted) {
            return false;
        }
        (self.doubted, self.failed, self.next) = (Some(failed), None, failed);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_search_comes_close_to_any_knee_in_few_steps() {
        for knee in [3.0, 950.0, 1_000.0, 1_001.0, 40_000.0] {
            let (mut search, mut steps) = (Search::new(1_000.0), 1);
            while search.book(search.next <= knee, 0.04) {
                steps += 1;
                assert!(steps < 40, "{search:?}");
            }
            let held = search.held.unwrap();
            assert!(held <= knee && held > knee * 0.95, "{held} of {knee}");
        }
    }

    #[test]
    fn a_passing_trouble_does_not_decide() {
        let (mut search, mut tries) = (Search::new(100.0), 0);
        while search.book(search.next <= 5_000.0 && !(5..10).contains(&tries), 0.04) {
            tries += 1;
            assert!(tries < 60, "{search:?}");
        }
        let held = search.held.unwrap();
        assert!((4_750.0..=5_000.0).contains(&held), "{held}");
    }

    #[test]
    fn the_search_ends_where_nothing_holds() {
        let (mut nothing, mut steps) = (Search::new(1_000.0), 0);
        assert!(!nothing.near());
        while nothing.book(false, 0.04) {
            steps += 1;
        }
        assert!(nothing.held.is_none() && steps < 12 && nothing.near());
    }
}
