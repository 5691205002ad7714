//! What the model leaves over: factors between simulated and measured latencies of open loops.
//!
//! How much a virtual machine's host, its disk and the kernel's scheduler take away depends on what they are asked for, more than
//! any simulation knows. What it takes under reads alone and beside a busy log is seen in the calibration's own open loops;
//! in between the logarithm of the factor changes with the share of the time that the log is busy.

use serde::{Deserialize, Serialize};

/// No factor goes further than this, nor below its inverse: what is wrong by more is no matter of correction.
const FACTOR_MAX: f64 = 3.0;

/// Factors of a latency, measured over simulated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Where the log rests.
    pub reading: f64,
    /// Where the log always has a write in flight.
    pub writing: f64,
}

impl Correction {
    /// Nothing is corrected.
    pub const NONE: Correction = Correction { reading: 1.0, writing: 1.0 };

    /// Least squares of the logarithms over `points`: busy share of the log, 0 to 1, and measured over simulated. [`NONE`](Self::NONE) of none.
    pub(super) fn of(points: &[(f64, f64)]) -> Correction {
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            points.iter().map(|(busy, ratio)| of(*busy, ratio.max(1e-6).ln())).sum::<f64>()
        };
        // By Cramer's rule; a trace of both factors being 1 keeps it solvable where all points are alike.
        const TRACE: f64 = 1e-3;
        let (rr, ww) = (TRACE + sum(&|busy, _| (1.0 - busy).powi(2)), TRACE + sum(&|busy, _| busy * busy));
        let (rw, r, w) =
            (sum(&|busy, _| (1.0 - busy) * busy), sum(&|busy, log| (1.0 - busy) * log), sum(&|busy, log| busy * log));
        let determinant = rr * ww - rw * rw;
        let factor = |log: f64| log.exp().clamp(1.0 / FACTOR_MAX, FACTOR_MAX);
        Correction {
            reading: factor((r * ww - w * rw) / determinant),
            writing: factor((w * rr - r * rw) / determinant),
        }
    }

    /// The factor where the log is busy for this share of the time.
    pub fn factor(&self, log_busy: f64) -> f64 {
        let busy = log_busy.clamp(0.0, 1.0);
        self.reading.powf(1.0 - busy) * self.writing.powf(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_behind_exact_points_are_found() {
        let truth = Correction { reading: 1.25, writing: 0.8 };
        let points = [0.0, 0.1, 0.5, 0.9].map(|busy| (busy, truth.factor(busy)));
        let found = Correction::of(&points);
        for busy in [0.0, 0.3, 1.0] {
            assert!((found.factor(busy) / truth.factor(busy) - 1.0).abs() < 0.01, "{found:?}");
        }
    }

    #[test]
    fn nothing_known_corrects_nothing_and_nonsense_has_a_bound() {
        assert_eq!(Correction::of(&[]), Correction::NONE);
        let reads = Correction::of(&[(0.0, 1.5), (0.0, 1.5)]);
        assert!((reads.reading - 1.5).abs() < 0.01 && (reads.writing - 1.0).abs() < 0.01, "{reads:?}");
        let wild = Correction::of(&[(0.0, 1e9), (1.0, 0.0)]);
        assert!(wild.factor(0.0) <= FACTOR_MAX && wild.factor(1.0) >= 1.0 / FACTOR_MAX);
    }
}
