//! Durations as people write them.

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration: `250ms`, `10s`, `2m`, `1h`, or a plain number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "SpanText", into = "f64")]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Span> {
        let text = text.trim();
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let wrong = || format!("{text:?} is not a duration such as 250ms, 10s or 2m");
        let number: f64 = number.trim().parse().with_context(wrong)?;
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" | "" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => anyhow::bail!(wrong()),
        };
        Span::try_from(SpanText::Seconds(number * seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            0.0 => f.write_str("0s"),
            _ if seconds < 1e-3 => write!(f, "{}us", seconds * 1e6),
            _ if seconds < 1.0 => write!(f, "{}ms", seconds * 1e3),
            _ => write!(f, "{seconds}s"),
        }
    }
}

impl From<Span> for f64 {
    fn from(span: Span) -> f64 {
        span.0.as_secs_f64()
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a duration such as \"250ms\", \"10s\" or \"2m\", or a number of seconds")]
enum SpanText {
    Seconds(f64),
    Text(String),
}

impl TryFrom<SpanText> for Span {
    type Error = anyhow::Error;

    fn try_from(text: SpanText) -> anyhow::Result<Span> {
        match text {
            SpanText::Text(text) => text.parse(),
            SpanText::Seconds(seconds) => {
                ensure!((0.0..=31_536_000.0).contains(&seconds), "{seconds} s is not between 0 and a year");
                Ok(Span(Duration::from_secs_f64(seconds)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1.5", 1_500), ("1h", 3_600_000)] {
            assert_eq!(text.parse::<Span>().unwrap().0, Duration::from_millis(millis), "{text}");
        }
        assert_eq!("0.25".parse::<Span>().unwrap().to_string(), "250ms");
        for text in ["", "x", "10 parsecs", "-1s", "1e99s", "NaN"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
