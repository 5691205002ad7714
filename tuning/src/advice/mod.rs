//! From a probe of a host, and from what it shall carry, to what should change there and to a configuration.
//!
//! Everything here is a pure function of a [`Report`] and of [`Wishes`]; nothing is read and nothing is changed. A
//! [`Finding`] says what is wrong, why it matters and how much, and names the commands; [`script`] gathers those for a
//! person to read and run. [`Recommendation`] gives a reason beside each value.

mod demand;
mod finding;
mod recommendation;
mod rules;
mod script;

use hardware::probe::Report;
use serde::Serialize;

pub use demand::Demand;
pub use finding::{Finding, Impact};
pub use recommendation::{Recommendation, Value};
pub use script::script;

/// Name and version of the form of [`Advice`] as JSON.
pub const SCHEMA: &str = "ringkeeper-advice/1";

/// What the server shall carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wishes {
    /// Znodes in all.
    pub znodes: u64,
    /// Bytes of data of each, on average.
    pub value_bytes: u64,
    /// Sessions at once, each with a connection.
    pub sessions: u64,
    /// Watches at once.
    pub watches: u64,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes { znodes: 1_000_000, value_bytes: 100, sessions: 1000, watches: 10_000 }
    }
}

/// All that there is to say about a host.
#[derive(Debug, Clone, Serialize)]
pub struct Advice {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was asked for.
    pub wishes: Wishes,
    /// What that takes.
    pub demand: Demand,
    /// What should change, what matters most first.
    pub findings: Vec<Finding>,
    /// A configuration for this host.
    pub recommendation: Recommendation,
}

/// Judges a host.
pub fn advise(report: &Report, wishes: &Wishes) -> Advice {
    let recommendation = Recommendation::of(report, wishes);
    let demand = Demand::of(wishes, &recommendation);
    let situation = Situation { report, wishes, demand: &demand, recommendation: &recommendation };
    let mut findings = rules::findings(&situation);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.impact));
    Advice { schema: SCHEMA, wishes: wishes.clone(), demand, findings, recommendation }
}

/// What a rule may look at.
struct Situation<'a> {
    report: &'a Report,
    wishes: &'a Wishes,
    demand: &'a Demand,
    recommendation: &'a Recommendation,
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
