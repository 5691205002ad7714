//! Sizes of values.

use super::Dice;
use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// ZooKeeper's own bound on a request (`jute.maxbuffer`), less room for the path and the ACL.
pub const VALUE_BYTES_MAX: u32 = 0xF_FFFF - 2048;

/// How long values are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ValuesText", rename_all = "snake_case")]
pub enum ValueSizes {
    /// All of so many bytes.
    Fixed(u32),
    /// From the first to the second, all alike.
    Uniform(u32, u32),
    /// Bytes and their share.
    Histogram(Vec<(u32, u32)>),
}

impl ValueSizes {
    /// The longest that can be drawn.
    pub fn longest(&self) -> u32 {
        match self {
            ValueSizes::Fixed(bytes) | ValueSizes::Uniform(_, bytes) => *bytes,
            ValueSizes::Histogram(bars) => bars.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
        }
    }

    /// The mean, in bytes.
    pub fn mean(&self) -> f64 {
        match self {
            ValueSizes::Fixed(bytes) => f64::from(*bytes),
            ValueSizes::Uniform(low, high) => (f64::from(*low) + f64::from(*high)) / 2.0,
            ValueSizes::Histogram(bars) => {
                let weight: f64 = bars.iter().map(|(_, share)| f64::from(*share)).sum();
                bars.iter().map(|(bytes, share)| f64::from(*bytes) * f64::from(*share)).sum::<f64>() / weight
            }
        }
    }

    /// Draws a length in bytes.
    pub fn draw(&self, dice: &mut Dice) -> usize {
        let bytes = match self {
            ValueSizes::Fixed(bytes) => *bytes,
            ValueSizes::Uniform(low, high) => low + dice.below(u64::from(high - low) + 1) as u32,
            ValueSizes::Histogram(bars) => {
                let mut left = dice.below(bars.iter().map(|(_, share)| u64::from(*share)).sum());
                let found = bars.iter().find(|(_, share)| {
                    let here = left < u64::from(*share);
                    left = left.saturating_sub(u64::from(*share));
                    here
                });
                found.map_or(0, |(bytes, _)| *bytes)
            }
        };
        bytes as usize
    }

    fn checked(self) -> anyhow::Result<ValueSizes> {
        match &self {
            ValueSizes::Uniform(low, high) => ensure!(low <= high, "min ({low}) is larger than max ({high})"),
            ValueSizes::Histogram(bars) => {
                ensure!(bars.iter().any(|(_, share)| *share > 0), "a histogram needs a share above 0");
            }
            ValueSizes::Fixed(_) => {}
        }
        let longest = self.longest();
        ensure!(longest <= VALUE_BYTES_MAX, "{longest} bytes are more than a request may hold ({VALUE_BYTES_MAX})");
        Ok(self)
    }
}

/// `100`, `100..1000`, or `100:70,1024:25,65536:5`.
impl std::str::FromStr for ValueSizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<ValueSizes> {
        let number = |text: &str| {
            text.trim()
                .parse::<u32>()
                .map_err(|_| anyhow::anyhow!("{text:?} is not a whole number of bytes or a share"))
        };
        if let Some((low, high)) = text.split_once("..") {
            return ValueSizes::Uniform(number(low)?, number(high)?).checked();
        }
        if !text.contains(':') {
            return ValueSizes::Fixed(number(text)?).checked();
        }
        let bar = |bar: &str| {
            let (bytes, share) = bar.split_once(':').ok_or_else(|| anyhow::anyhow!("{bar:?} is not bytes:share"))?;
            Ok((number(bytes)?, number(share)?))
        };
        ValueSizes::Histogram(text.split(',').map(bar).collect::<anyhow::Result<_>>()?).checked()
    }
}

/// What a file may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValuesText {
    bytes: Option<u32>,
    min: Option<u32>,
    max: Option<u32>,
    histogram: Option<Vec<(u32, u32)>>,
}

impl TryFrom<ValuesText> for ValueSizes {
    type Error = anyhow::Error;

    fn try_from(text: ValuesText) -> anyhow::Result<ValueSizes> {
        let sizes = match text {
            ValuesText { bytes: Some(bytes), min: None, max: None, histogram: None } => ValueSizes::Fixed(bytes),
            ValuesText { bytes: None, min: Some(min), max: Some(max), histogram: None } => {
                ValueSizes::Uniform(min, max)
            }
            ValuesText { bytes: None, min: None, max: None, histogram: Some(bars) } => ValueSizes::Histogram(bars),
            _ => anyhow::bail!("[values] takes bytes, or min and max, or histogram = [[bytes, share], ...]"),
        };
        sizes.checked()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_keep_bounds_mean_and_shares() {
        for text in ["100", "10..30", "100:70,1024:25,65536:5"] {
            let (sizes, mut dice): (ValueSizes, _) = (text.parse().unwrap(), Dice::new(5, 0));
            let drawn: Vec<usize> = (0..100_000).map(|_| sizes.draw(&mut dice)).collect();
            assert_eq!(*drawn.iter().max().unwrap(), sizes.longest() as usize, "{text}");
            let mean = drawn.iter().sum::<usize>() as f64 / drawn.len() as f64;
            assert!((mean / sizes.mean() - 1.0).abs() < 0.05, "{text}: mean {mean} of {}", sizes.mean());
        }
        let sizes: ValueSizes = "1:1,2:3".parse().unwrap();
        let mut dice = Dice::new(5, 0);
        let ones = (0..10_000).filter(|_| sizes.draw(&mut dice) == 1).count();
        assert!((2_300..2_700).contains(&ones), "{ones}");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for text in ["x", "9..3", "1:0", "1:2,3", "2000000"] {
            assert!(text.parse::<ValueSizes>().is_err(), "{text}");
        }
    }
}
