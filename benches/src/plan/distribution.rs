//! A distribution as measured: some of its quantiles, straight lines between them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Quantiles that are kept. More of them near the end, where a p99 comes from.
const KEPT: [f64; 15] = [0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.85, 0.9, 0.95, 0.975, 0.99, 0.997, 0.999, 1.0];
/// The slowest of many is an accident; the last kept quantile is this one.
const LAST: f64 = 0.9995;
/// Beyond this quantile is the tail.
const USUAL: f64 = 0.9;

/// Pairs of a quantile, 0 to 1, and its value in microseconds, both rising.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f64, f64)>", into = "Vec<(f64, f64)>")]
pub struct Quantiles(Vec<(f64, f64)>);

impl Quantiles {
    /// Always the same value.
    pub fn constant(us: f64) -> Quantiles {
        Quantiles(vec![(0.0, us), (1.0, us)])
    }

    /// Those of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Quantiles {
        let at = |kept: f64| (kept, histogram.value_at_quantile(kept.min(LAST)) as f64 / 1e3);
        Quantiles(KEPT.into_iter().map(at).collect())
    }

    /// These up to the usual, and of the rest the slower of these and `tail`: where single runs are too short for what is rare,
    /// `tail` is that of all of them together.
    #[must_use]
    pub fn with_tail(&self, tail: &Quantiles) -> Quantiles {
        let slower =
            |(quantile, us): &(f64, f64)| (*quantile, if *quantile > USUAL { us.max(tail.at(*quantile)) } else { *us });
        Quantiles(self.0.iter().map(slower).collect())
    }

    /// From a median and a 99th percentile alone, in microseconds: what is faster than the median is nearly as slow, what
    /// is slower rises to the 99th percentile by equal factors.
    pub fn from_two(p50_us: f64, p99_us: f64) -> Quantiles {
        let growth = (p99_us / p50_us).max(1.0);
        let factor = |kept: f64| match kept {
            kept if kept <= 0.5 => 0.8 + 0.4 * kept,
            // From half of all beyond the value to one in a hundred.
            kept => growth.powf((((0.5 / (1.0 - kept.min(LAST))).ln()) / 50.0_f64.ln()).min(1.5)),
        };
        Quantiles(KEPT.into_iter().map(|kept| (kept, p50_us * factor(kept))).collect())
    }

    /// The value at a quantile, microseconds.
    pub fn at(&self, quantile: f64) -> f64 {
        let after = self.0.partition_point(|(known, _)| *known < quantile);
        match (after.checked_sub(1).and_then(|before| self.0.get(before)), self.0.get(after)) {
            (Some((low, from)), Some((high, to))) => from + (to - from) * (quantile - low) / (high - low),
            (Some((_, only)), None) | (None, Some((_, only))) => *only,
            (None, None) => 0.0,
        }
    }

    /// The mean, microseconds.
    pub fn mean(&self) -> f64 {
        self.0.windows(2).map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1)).sum()
    }

    /// Another value, which must rise, at each kept quantile; none falls below 0.
    #[must_use]
    pub fn over(&self, value: impl Fn(f64) -> f64) -> Quantiles {
        Quantiles(self.0.iter().map(|(quantile, _)| (*quantile, value(*quantile).max(0.0))).collect())
    }

    /// Every value passed through a rising function; none falls below 0.
    #[must_use]
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Quantiles {
        Quantiles(self.0.iter().map(|(quantile, us)| (*quantile, change(*us).max(0.0))).collect())
    }
}

impl TryFrom<Vec<(f64, f64)>> for Quantiles {
    type Error = anyhow::Error;

    fn try_from(pairs: Vec<(f64, f64)>) -> anyhow::Result<Quantiles> {
        let bounded = |(quantile, us): &(f64, f64)| (0.0..=1.0).contains(quantile) && us.is_finite() && *us >= 0.0;
        let rising = pairs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        anyhow::ensure!(
            !pairs.is_empty() && rising && pairs.iter().all(bounded),
            "a distribution is pairs of a quantile between 0 and 1 and microseconds, both rising"
        );
        Ok(Quantiles(pairs))
    }
}

impl From<Quantiles> for Vec<(f64, f64)> {
    fn from(quantiles: Quantiles) -> Vec<(f64, f64)> {
        quantiles.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_histogram_is_kept_by_its_quantiles() {
        let mut histogram = crate::driver::latencies();
        (1..=10_000_u64).for_each(|us| histogram.record(us * 1000).unwrap());
        let kept = Quantiles::of(&histogram);
        for quantile in [0.05, 0.5, 0.9, 0.99] {
            assert!((kept.at(quantile) - quantile * 10_000.0).abs() < 30.0, "{quantile}: {}", kept.at(quantile));
        }
        assert!((kept.mean() - 5_000.0).abs() < 50.0);
        let pairs: Vec<(f64, f64)> = kept.clone().into();
        assert_eq!(Quantiles::try_from(pairs).unwrap(), kept);
    }

    #[test]
    fn a_tail_of_all_runs_lengthens_what_is_beyond_the_usual() {
        let (usual, all) = (Quantiles::from_two(100.0, 200.0), Quantiles::from_two(90.0, 900.0));
        let both = usual.with_tail(&all);
        assert!((both.at(0.5) - 100.0).abs() < 1.0 && (both.at(0.99) - 900.0).abs() < 1.0, "{both:?}");
        assert!((all.with_tail(&usual).at(0.99) - 900.0).abs() < 1.0);
        assert!(Quantiles::try_from(Vec::from(both)).is_ok());
    }

    #[test]
    fn two_figures_make_a_distribution_that_has_them() {
        let made = Quantiles::from_two(200.0, 900.0);
        assert!((made.at(0.5) - 200.0).abs() < 1.0 && (made.at(0.99) - 900.0).abs() < 1.0, "{made:?}");
        assert!(Quantiles::try_from(Vec::from(made)).is_ok());
        let flat = Quantiles::from_two(200.0, 100.0);
        assert!((flat.at(0.99) - 200.0).abs() < 1.0);
    }

    #[test]
    fn impossible_distributions_are_refused() {
        for pairs in [vec![], vec![(0.0, 5.0), (1.0, 4.0)], vec![(0.5, f64::NAN)], vec![(2.0, 1.0)], vec![(0.5, -1.0)]]
        {
            assert!(Quantiles::try_from(pairs).is_err());
        }
    }
}
