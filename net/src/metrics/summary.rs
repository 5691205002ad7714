//! Summaries: what is kept of many values.

use hdrhistogram::Histogram;

/// Largest value that quantiles tell apart: an hour in milliseconds, or as many of whatever else is counted.
const QUANTILE_VALUE_MAX: u64 = 3_600_000;
/// Significant decimal digits of quantiles.
const QUANTILE_DIGITS: u8 = 2;

/// Count, sum, smallest and largest (`AvgMinMaxCounter`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Basic {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Basic {
    /// Takes a value in.
    pub fn add(&mut self, value: u64) {
        self.merge(&Basic { count: 1, sum: value, min: value, max: value });
    }

    /// Takes in what another one has seen.
    pub fn merge(&mut self, other: &Basic) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest; 0 if there was none.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest; 0 if there was none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, to four decimals as ZooKeeper rounds it; 0 if there was no value.
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.sum as f64 / self.count as f64 * 10_000.0).round() / 10_000.0
    }
}

/// A [`Basic`] with quantiles (`AvgMinMaxPercentileCounter`), to two significant digits.
#[derive(Clone, Debug)]
pub struct Advanced {
    basic: Basic,
    /// Made with the first value: most summaries of a server never see one.
    values: Option<Box<Histogram<u32>>>,
}

impl Default for Advanced {
    fn default() -> Self {
        Advanced::new()
    }
}

impl Advanced {
    /// A summary of nothing.
    pub const fn new() -> Advanced {
        Advanced { basic: Basic { count: 0, sum: 0, min: 0, max: 0 }, values: None }
    }

    /// Takes a value in.
    pub fn add(&mut self, value: u64) {
        self.basic.add(value);
        self.histogram().saturating_record(value);
    }

    /// Takes in what another one has seen.
    pub fn merge(&mut self, other: &Advanced) {
        self.basic.merge(&other.basic);
        if let Some(values) = &other.values {
            // Both have the same bounds, so that no value is out of range.
            let merged = self.histogram().add(&**values);
            debug_assert!(merged.is_ok());
        }
    }

    /// Count, sum, smallest and largest.
    pub fn basic(&self) -> &Basic {
        &self.basic
    }

    /// The value that a share `quantile` (0 to 1) of all values does not exceed; 0 if there was none.
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.values.as_ref().map_or(0, |values| values.value_at_quantile(quantile).min(self.basic.max))
    }

    fn histogram(&mut self) -> &mut Histogram<u32> {
        self.values.get_or_insert_with(|| {
            let histogram = Histogram::new_with_bounds(1, QUANTILE_VALUE_MAX, QUANTILE_DIGITS);
            Box::new(histogram.expect("the bounds are constants that the histogram accepts"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_summary_shows_zeros() {
        let summary = Advanced::new();
        assert_eq!((summary.basic().mean(), summary.basic().min(), summary.quantile(0.99)), (0.0, 0, 0));
    }

    #[test]
    fn the_mean_has_four_decimals() {
        let mut basic = Basic::default();
        for value in [1, 1, 2] {
            basic.add(value);
        }
        assert_eq!(basic.mean(), 1.3333);
    }

    proptest! {
        #[test]
        fn merging_is_like_having_seen_everything(
            a in proptest::collection::vec(0_u64..5_000_000, 0..40),
            b in proptest::collection::vec(0_u64..5_000_000, 0..40),
        ) {
            let (mut left, mut right, mut all) = (Advanced::new(), Advanced::new(), Advanced::new());
            a.iter().for_each(|value| { left.add(*value); all.add(*value); });
            b.iter().for_each(|value| { right.add(*value); all.add(*value); });
            left.merge(&right);
            prop_assert_eq!(left.basic(), all.basic());
            for quantile in [0.5, 0.95, 0.99, 0.999] {
                prop_assert_eq!(left.quantile(quantile), all.quantile(quantile));
                prop_assert!(all.quantile(quantile) <= all.basic().max());
            }
        }
    }
}
