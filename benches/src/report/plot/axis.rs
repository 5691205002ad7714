//! One axis: which values it covers, where they stand, and which of them are written.

use super::Scale;
use crate::report::document::number;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// Labels of an axis, at most about so many.
const LABELS: f64 = 8.0;

/// An axis. Positions on it are `place` of a value.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis on which all these values have their place.
    pub(super) fn covering(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        let places = values.map(|value| place(scale, value)).filter(|place| place.is_finite());
        let (low, high) = places.fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        match scale {
            Scale::Linear => Axis { scale, low: low.min(0.0), high: if high > 0.0 { high * 1.05 } else { 1.0 } },
            Scale::Log => {
                let (low, high) = (low - 0.05, high + 0.05);
                // At least half a power of ten, so that there is something to write.
                let missing = (0.5 - (high - low)).max(0.0) / 2.0;
                Axis { scale, low: low - missing, high: high + missing }
            }
            Scale::Quantile => Axis { scale, low: 0.0, high: high.max(1.0) },
        }
    }

    /// Where a value stands, from 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        (place(self.scale, value) - self.low) / (self.high - self.low)
    }

    fn linear_points(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / LABELS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        (first..).map(|at| at as f64 * step).take_while(|value| *value <= self.high).collect()
    }

    fn log_points(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|value| (self.low..=self.high).contains(&value.log10())).collect()
    }

    fn quantile_points(&self) -> Vec<f64> {
        let nines = (1..=(self.high + 1e-6).floor() as i32).map(|nines| 1.0 - 10_f64.powi(-nines));
        [0.0, 0.5].into_iter().chain(nines).collect()
    }
}

/// Where a value stands.
fn place(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Log => value.max(1e-6).log10(),
        // The slowest of all stands nowhere on such an axis.
        Scale::Quantile => {
            if value < 1.0 {
                -(1.0 - value).log10()
            } else {
                f64::NAN
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let place = place(self.scale, *value);
        let place = if place.is_finite() { place.clamp(self.low, self.high) } else { self.high };
        let share = (place - self.low) / (self.high - self.low);
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        match self.scale {
            Scale::Linear => self.linear_points(),
            Scale::Log => self.log_points(),
            Scale::Quantile => self.quantile_points(),
        }
    }

    fn range(&self) -> Range<f64> {
        match self.scale {
            Scale::Linear => self.low..self.high,
            Scale::Log => 10_f64.powf(self.low)..10_f64.powf(self.high),
            Scale::Quantile => 0.0..1.0 - 10_f64.powf(-self.high),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        number(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        match self.scale {
            Scale::Quantile => {
                let nines = (-(1.0 - value).log10()).round().max(0.0) as usize;
                format!("{:.1$} %", value * 100.0, nines.saturating_sub(2))
            }
            // 0.1 rather than 0.10.
            _ if value.abs() < 100.0 => format!("{}", (value * 1e6).round() / 1e6),
            _ => number(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis::covering(scale, values.iter().copied());
        let points = match scale {
            Scale::Linear => axis.linear_points(),
            Scale::Log => axis.log_points(),
            Scale::Quantile => axis.quantile_points(),
        };
        points.iter().map(|point| axis.format_ext(point)).collect()
    }

    #[test]
    fn labels_are_round_numbers() {
        assert_eq!(
            labels(Scale::Linear, &[0.0, 30_000.0]),
            ["0", "5,000", "10,000", "15,000", "20,000", "25,000", "30,000"]
        );
        assert_eq!(labels(Scale::Log, &[0.1, 60.0]), ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(Scale::Quantile, &[0.0, 0.9995]), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert!(labels(Scale::Log, &[1e-9, 1e9]).len() > 3);
    }
}
