//! The search for the highest rate that holds.

/// Which rate to try next: up in steps until one fails (down until one holds), then between the last that held and the first
/// that failed. Steps and halves are ratios, so that they mean the same at any rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Search {
    /// The highest rate that held.
    pub(super) held: Option<f64>,
    /// The lowest rate above that which did not.
    pub(super) failed: Option<f64>,
    /// The rate to try.
    pub(super) next: f64,
    /// No rate below this is tried: what fails there does not fail for the load.
    pub(super) floor: f64,
    /// The rate that failed and was asked again at the end.
    doubted: Option<f64>,
}

impl Search {
    /// No rate below this is tried.
    pub(super) const RATE_MIN: f64 = 1.0;
    const GROWTH: f64 = 1.3;
    const FALL: f64 = 2.0;
    /// Rates that held and failed, this close to each other, have the answer between them.
    const CLOSE: f64 = 1.35;

    /// A search that begins at `first` and goes down to `floor` at the lowest.
    pub(super) fn new(first: f64, floor: f64) -> Search {
        Search { held: None, failed: None, next: first.max(floor), floor, doubted: None }
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
            (None, Some(failed)) => (failed / Search::FALL).max(self.floor),
            (Some(held), Some(failed)) => (held * failed).sqrt(),
            (None, None) => self.next,
        };
        match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed > held * (1.0 + precision) || self.doubt(failed),
            (None, Some(failed)) => failed > self.floor,
            _ => true,
        }
    }

    /// Whether the answer is known roughly: what is measured now decides, and may take longer.
    pub(super) fn close(&self) -> bool {
        self.doubted.is_some()
            || self.held.zip(self.failed).is_some_and(|(held, failed)| failed <= Search::CLOSE * held)
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
        for knee in [30.0, 950.0, 1_000.0, 1_001.0, 40_000.0] {
            let (mut search, mut steps) = (Search::new(1_000.0, 16.0), 1);
            while search.book(search.next <= knee, 0.03) {
                steps += 1;
                assert!(steps < 40, "{search:?}");
            }
            let held = search.held.unwrap();
            assert!(held <= knee && held > knee * 0.96, "{held} of {knee}");
            assert!(search.close());
        }
    }

    #[test]
    fn a_passing_trouble_does_not_decide() {
        let (mut search, mut tries) = (Search::new(100.0, 2.0), 0);
        while search.book(search.next <= 5_000.0 && !(5..10).contains(&tries), 0.03) {
            tries += 1;
            assert!(tries < 60, "{search:?}");
        }
        let held = search.held.unwrap();
        assert!((4_800.0..=5_000.0).contains(&held), "{held}");
    }

    #[test]
    fn the_search_ends_at_its_floor_where_nothing_holds() {
        let (mut nothing, mut lowest, mut steps) = (Search::new(1_000.0, 20.0), f64::MAX, 0);
        assert!(!nothing.near() && !nothing.close());
        loop {
            (lowest, steps) = (nothing.next.min(lowest), steps + 1);
            if !nothing.book(false, 0.03) {
                break;
            }
        }
        assert!(
            nothing.held.is_none() && nothing.near() && (lowest - 20.0).abs() < 1e-9 && steps < 9,
            "{lowest}, {steps}"
        );
    }
}
