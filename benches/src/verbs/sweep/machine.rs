//! How steady the machine is: the same measurement repeated while a sweep goes on.

use crate::driver::Outcome;
use crate::report::figures::spread;
use serde::{Deserialize, Serialize};

/// Two sweeps on a steady machine find the same answer within this share of it.
const TOLERANCE: f64 = 0.1;

/// The same closed loop at the begin, in the middle and at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Requests per second.
    pub(super) rates: Vec<f64>,
    /// Processor time per request, microseconds; empty where the server's is not known.
    pub(super) server_us: Vec<f64>,
    pub(super) generator_us: Vec<f64>,
}

impl Machine {
    pub(super) fn add(&mut self, run: &Outcome) {
        self.rates.push(run.rate);
        self.server_us.extend(run.server.map(|server| server.cpu_us_per_op));
        self.generator_us.push(run.generator.cpu_us_per_op);
    }

    /// How far answers of sweeps may be apart though nothing but the machine has changed: twice its own spread, and no less
    /// than a tenth. `None` where too little was measured to say.
    pub(super) fn tolerance(&self) -> Option<f64> {
        spread(&self.rates).map(|spread| TOLERANCE.max(2.0 * spread))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unsteady_machine_widens_the_tolerance() {
        let machine = |rates: &[f64]| Machine { rates: rates.to_vec(), ..Machine::default() };
        assert_eq!(machine(&[100.0]).tolerance(), None);
        assert_eq!(machine(&[100.0, 102.0, 99.0]).tolerance(), Some(0.1));
        assert!((machine(&[100.0, 120.0, 95.0]).tolerance().unwrap() - 0.5).abs() < 1e-9);
    }
}
