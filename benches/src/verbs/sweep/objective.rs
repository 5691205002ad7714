//! What must hold.

use crate::driver::Outcome;
use crate::report::document::{number, time};
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    pub(super) text: String,
    pub(super) bounds: Vec<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Bound {
    QuantileUs(f64, f64),
    MaxUs(f64),
    Errors(u64),
}

impl FromStr for Objective {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Objective> {
        let bound = |part: &str| -> anyhow::Result<Bound> {
            let form = || format!("{part:?} is not a bound such as p99<=5ms or errors=0");
            let (figure, limit) = part.split_once("<=").or_else(|| part.split_once('=')).with_context(form)?;
            let limit = limit.trim();
            let us = || -> anyhow::Result<f64> {
                let span: crate::workload::Span = limit.parse().with_context(form)?;
                ensure!(!span.0.is_zero(), form());
                Ok(span.0.as_secs_f64() * 1e6)
            };
            Ok(match figure.trim() {
                "p50" => Bound::QuantileUs(0.5, us()?),
                "p90" => Bound::QuantileUs(0.9, us()?),
                "p99" => Bound::QuantileUs(0.99, us()?),
                "p99.9" => Bound::QuantileUs(0.999, us()?),
                "max" => Bound::MaxUs(us()?),
                "errors" => Bound::Errors(limit.parse().with_context(form)?),
                other => bail!("{other:?} is no figure of an objective: p50, p90, p99, p99.9, max or errors"),
            })
        };
        let bounds = text.split(',').map(bound).collect::<anyhow::Result<_>>()?;
        Ok(Objective { text: text.to_owned(), bounds })
    }
}

impl Objective {
    /// What an outcome misses, if anything.
    pub(super) fn missed(&self, outcome: &Outcome) -> Option<String> {
        if outcome.latency_ns.is_empty() {
            return Some("nothing was asked in the measured time".to_owned());
        }
        if outcome.fell_short() {
            return Some(format!("only {}/s were answered", number(outcome.rate)));
        }
        self.bounds.iter().find_map(|bound| match *bound {
            Bound::QuantileUs(quantile, limit) if outcome.quantile_us(quantile) > limit => {
                Some(format!("p{} was {}", quantile * 100.0, time(outcome.quantile_us(quantile))))
            }
            Bound::MaxUs(limit) if outcome.max_us() > limit => Some(format!("max was {}", time(outcome.max_us()))),
            Bound::Errors(limit) if outcome.errors > limit => Some(format!("{} errors", outcome.errors)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn objectives_are_read() {
        let objective: Objective = "p99<=5ms, errors=0,max<=1s".parse().unwrap();
        assert_eq!(objective.bounds, [Bound::QuantileUs(0.99, 5000.0), Bound::Errors(0), Bound::MaxUs(1e6)]);
        for text in ["", "p99", "p98<=1ms", "p99<=fast", "errors=few", "p99<=0"] {
            assert!(text.parse::<Objective>().is_err(), "{text}");
        }
    }
}
