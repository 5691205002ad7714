//! One thing that should change on a host.

use serde::Serialize;

/// How much a finding is expected to matter, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Impact {
    /// A few per cent, or in rare cases.
    Low,
    /// Shows in the slowest requests, or under load.
    Medium,
    /// Shows in every request, or the host cannot carry what is asked for.
    High,
    /// Data is at risk, or the server does not start.
    Critical,
}

/// What is wrong or could be better, why, how much it matters, and what changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Short name that stays the same between versions.
    pub id: &'static str,
    /// How much it matters.
    pub impact: Impact,
    /// What was found, with its numbers.
    pub what: String,
    /// Why it matters to this server.
    pub why: &'static str,
    /// What to expect of the change.
    pub effect: String,
    /// What to do where no command can do it, or what to know before running the commands.
    pub advice: Option<String>,
    /// Commands for a root shell that change it, now and for good. Empty where none can.
    pub commands: Vec<String>,
}
