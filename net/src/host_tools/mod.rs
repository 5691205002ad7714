//! `ringkeeper probe` and `ringkeeper tune`: what a host can do, and what would make it do better. Neither talks to a
//! server, and neither changes anything.

mod probe;
mod probe_text;
mod tune;
mod tune_text;

pub use probe::{ProbeArgs, probe};
pub use tune::{TuneArgs, tune};

/// A command line that makes no sense, or a file that holds something else: the exit code of bad invocations.
const BAD_INVOCATION: u8 = 2;
/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
