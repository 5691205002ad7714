//! The search for the highest rate that holds.
//!
//! First up in steps until a rate fails (down until one holds); what is measured there is only roughly right, as a try near the
//! answer holds or fails by chance. Then a staircase (the up-and-down method of Dixon and Mood): one rung up after a try that
//! held, one down after a try that failed, rungs ever closer until they are as far apart as the wanted precision; so most tries
//! are where they tell most, and a single bad second moves the search by one rung, from which it comes back. The answer is
//! what fits all tries best ([`super::fit`]), those of the way up among them.

use super::fit::{Fit, fit};

/// Which rate to try next. Steps are ratios, so that they mean the same at any rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search {
    /// The highest rate that held in the first part, and the lowest that did not.
    held: Option<f64>,
    failed: Option<f64>,
    /// The rate to try.
    pub(super) next: f64,
    /// No rate below this is tried: what fails there does not fail for the load.
    pub(super) floor: f64,
    precision: f64,
    stairs: Option<Stairs>,
    /// Every try: its rate, and whether it held.
    tried: Vec<(f64, bool)>,
}

/// The second part.
#[derive(Clone, Debug, PartialEq)]
struct Stairs {
    /// The rate of rung 0, and the ratio of two rungs.
    base: f64,
    ratio: f64,
    rung: i32,
    last: Option<bool>,
    tries: usize,
    /// Tries since both a higher and a lower rung was tried: before, the staircase is only on its way.
    counted: usize,
}

impl Search {
    /// No rate below this is tried.
    pub(super) const RATE_MIN: f64 = 1.0;
    const GROWTH: f64 = 1.3;
    const FALL: f64 = 2.0;
    /// Rungs between the rates with which the staircase begins.
    const RUNGS: f64 = 4.0;
    /// A staircase that does not come to its turn has so many times the tries that count at the most.
    const PATIENCE: usize = 2;

    /// To five digits, so that a rate that is tried again is the same in figures and plots.
    fn rounded(rate: f64) -> f64 {
        let unit = 10_f64.powf(rate.log10().floor() - 4.0);
        (rate / unit).round() * unit
    }

    /// A search that begins at `first`, goes down to `floor` at the lowest, and has rungs `precision`, a share of a rate, apart
    /// in the end.
    pub(super) fn new(first: f64, floor: f64, precision: f64) -> Search {
        Search {
            held: None,
            failed: None,
            next: Search::rounded(first).max(floor),
            floor,
            precision,
            stairs: None,
            tried: Vec::new(),
        }
    }

    /// Notes one try of `next`, of which there may be several before it is [booked](Self::book).
    pub(super) fn note(&mut self, held: bool) {
        self.tried.push((self.next, held));
    }

    /// Books what became of `next`; `false` when the second part has had `tries` that count, or nothing holds.
    pub(super) fn book(&mut self, held: bool, tries: usize) -> bool {
        let finest = 1.0 + self.precision;
        if let Some(stairs) = &mut self.stairs {
            stairs.book(held, finest);
            self.next = Search::rounded(stairs.rate()).max(self.floor);
            return stairs.counted < tries && stairs.tries < Search::PATIENCE * tries;
        }
        if held {
            self.held = Some(self.next);
        } else {
            self.failed = Some(self.next);
        }
        match (self.held, self.failed) {
            (Some(held), None) => self.next = Search::rounded(held * Search::GROWTH),
            (None, Some(failed)) if failed <= self.floor => return false,
            (None, Some(failed)) => self.next = Search::rounded(failed / Search::FALL).max(self.floor),
            (Some(held), Some(failed)) => {
                let ratio = (failed / held).powf(1.0 / Search::RUNGS).max(finest);
                self.next = Search::rounded((held * failed).sqrt());
                self.stairs = Some(Stairs::new(self.next, ratio));
            }
            (None, None) => {}
        }
        true
    }

    /// Whether the first part is over: what is measured now decides, and may take longer.
    pub(super) fn close(&self) -> bool {
        self.stairs.is_some()
    }

    /// Tries of the second part that count.
    pub(super) fn close_tries(&self) -> usize {
        self.stairs.as_ref().map_or(0, |stairs| stairs.counted)
    }

    /// The answer, as far as it is known: what it is at least, what fits best, what it is at most. Before the second part, the
    /// highest rate that held.
    pub(super) fn answer(&self) -> Option<(f64, f64, f64)> {
        let found = self.stairs.as_ref().and_then(|_| fit(&self.tried));
        let found = found.map(|Fit { middle, low, high }| (low, middle, high));
        let (low, middle, high) = found.or(self.held.map(|held| (held, held, held)))?;
        Some((Search::rounded(low), Search::rounded(middle), Search::rounded(high)))
    }
}

impl Stairs {
    fn new(base: f64, ratio: f64) -> Stairs {
        Stairs { base, ratio, rung: 0, last: None, tries: 0, counted: 0 }
    }

    fn rate(&self) -> f64 {
        self.base * self.ratio.powi(self.rung)
    }

    fn book(&mut self, held: bool, finest: f64) {
        self.tries += 1;
        let turned = self.last.replace(held).is_some_and(|last| last != held);
        if turned || self.counted > 0 {
            self.counted += 1;
        }
        if turned && self.ratio > finest {
            (self.base, self.rung) = (self.rate(), 0);
            self.ratio = self.ratio.sqrt().max(finest);
        }
        self.rung += if held { 1 } else { -1 };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::workload::Dice;

    const TRIES: usize = 20;

    /// The rates tried until the end.
    fn tried(search: &mut Search, mut holds: impl FnMut(usize, f64) -> bool) -> Vec<f64> {
        let mut rates = Vec::new();
        loop {
            rates.push(search.next);
            assert!(rates.len() < 60, "{search:?}");
            let held = holds(rates.len() - 1, search.next);
            search.note(held);
            if !search.book(held, TRIES) {
                return rates;
            }
        }
    }

    #[test]
    fn the_search_comes_close_to_any_knee_in_few_steps() {
        for knee in [30.0, 950.0, 1_000.0, 1_001.0, 40_000.0] {
            let mut search = Search::new(1_000.0, 16.0, 0.03);
            let rates = tried(&mut search, |_, rate| rate <= knee);
            let (low, median, high) = search.answer().unwrap();
            assert!((0.96..=1.0).contains(&(median / knee)), "{median} of {knee}");
            assert!(low <= knee && high > knee && high < low * 1.1, "{low} {high}");
            assert!(rates.len() < TRIES + 25 && search.close(), "{} tries", rates.len());
        }
    }

    #[test]
    fn one_bad_try_anywhere_does_not_decide() {
        for bad in 0..30 {
            let mut search = Search::new(1_000.0, 2.0, 0.03);
            tried(&mut search, |at, rate| rate <= 5_000.0 && at != bad);
            let (_, median, _) = search.answer().unwrap();
            assert!((4_700.0..=5_150.0).contains(&median), "{median} where try {bad} failed");
        }
    }

    /// Tries that hold or fail by chance, the more likely the further from the knee: the answers of many searches are close to
    /// each other and to the rate at which half of the tries hold.
    #[test]
    fn answers_are_alike_where_chance_has_a_part() {
        let mut dice = Dice::new(7, 0);
        let mut answers: Vec<f64> = (0..200)
            .map(|_| {
                let mut search = Search::new(1_000.0, 16.0, 0.03);
                // A tenth above the knee one try in eight holds.
                tried(&mut search, |_, rate| {
                    let odds = (-((rate / 3_000.0).ln()) * 20.0).exp();
                    dice.below(1_000_000) as f64 / 1e6 < odds / (1.0 + odds)
                });
                search.answer().unwrap().1
            })
            .collect();
        answers.sort_by(f64::total_cmp);
        assert!((2_900.0..3_100.0).contains(&answers[100]), "{}", answers[100]);
        let (low, high) = (answers[10], answers[189]);
        assert!(high / low < 1.12, "nine of ten answers between {low} and {high}");
    }

    #[test]
    fn the_search_ends_at_its_floor_where_nothing_holds() {
        let mut nothing = Search::new(1_000.0, 20.0, 0.03);
        let rates = tried(&mut nothing, |_, _| false);
        assert!(!nothing.close() && nothing.answer().is_none() && rates.len() < 9, "{rates:?}");
        assert!((rates.last().unwrap() - 20.0).abs() < 1e-9, "{rates:?}");
    }

    #[test]
    fn a_staircase_whose_ground_gives_way_ends_nevertheless() {
        let mut search = Search::new(1_000.0, 16.0, 0.03);
        let rates = tried(&mut search, |at, rate| rate <= 3_000.0 && at < 8);
        assert!(rates.len() < 60 && search.answer().is_some());
    }
}
