//! Ending early: Ctrl-C once to stop measuring, write what was measured and clean up; twice to leave at once.

use anyhow::bail;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks everything that shares it to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that SIGINT and SIGTERM set. A second signal ends the process.
    ///
    /// # Errors
    /// The system's.
    pub fn on_signals() -> std::io::Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop.0))?;
            signal_hook::flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Asks for the end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if the end was asked for.
    ///
    /// # Errors
    /// Says so.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.is_set() { bail!("interrupted") } else { Ok(()) }
    }
}
