//! What a calibration run found, and the file that keeps it.

use super::costs::Costs;
use crate::report::Conditions;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Raised when a name changes its meaning.
pub const SCHEMA: u32 = 4;

/// Parameters of the model, and under which conditions they were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Time.
    pub costs: Costs,
    /// Space in memory.
    pub memory: MemoryCosts,
    /// Space on disk.
    pub disk: DiskCosts,
    /// What was measured to find them, and what the model makes of it.
    pub points: Vec<Point>,
    /// Machine, kernel, versions, command, date.
    pub conditions: Conditions,
}

/// Memory of the server, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryCosts {
    /// Of an empty server.
    pub empty: f64,
    /// Of a node beside its value.
    pub znode: f64,
    /// Of each byte of a value; what is mapped from files may be dropped by the kernel, and is not in here.
    pub value_byte: f64,
    /// Mapped from files, of a node beside its value.
    pub mapped_znode: f64,
    /// Mapped from files, of each byte of a value.
    pub mapped_value_byte: f64,
    /// Of a session with its connection.
    pub session: f64,
    /// Of a watch on a node of its own.
    pub watch: f64,
}

/// What writes put on the disk, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskCosts {
    /// Of each write beside its value, many at a time.
    pub write: f64,
    /// Of each byte of its value.
    pub value_byte: f64,
    /// Of a node beside its value, where a tree lies on the disk.
    pub znode: f64,
    /// Of an empty data directory with its log.
    pub empty: f64,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The workload in words.
    pub what: String,
    /// Answered per second: measured, and by the model.
    pub rate: (f64, f64),
    /// Processor time per operation of the server's busiest thread, microseconds, in the same way.
    pub server_us: (f64, f64),
    /// Of the generator.
    pub generator_us: (f64, f64),
    /// The median latency, microseconds.
    pub p50_us: (f64, f64),
    /// And the 99th percentile.
    pub p99_us: (f64, f64),
}

impl Calibration {
    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// It is not there, or not such a file; the message names it and the remedy.
    pub fn read(path: &Path) -> anyhow::Result<Calibration> {
        let remedy = || {
            format!(
                "{}: no calibration; `ringkeeper-load plan --calibrate` measures this machine and writes one",
                path.display()
            )
        };
        let text = std::fs::read_to_string(path).with_context(remedy)?;
        let calibration: Calibration = toml::from_str(&text).with_context(remedy)?;
        calibration.check().with_context(remedy)?;
        Ok(calibration)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.schema == SCHEMA, "its schema is {}, this program's is {SCHEMA}", self.schema);
        let Costs { server, generator, operations, stalls, log_stalls, .. } = &self.costs;
        for thread in [server, generator] {
            ensure!(thread.availability > 0.0 && thread.availability <= 1.0, "an availability is not between 0 and 1");
            ensure!(thread.turn_us + thread.message_us > 0.0, "turns and messages of a thread cost nothing");
        }
        let (from, to) = (self.costs.short_idle_us, self.costs.long_idle_us);
        ensure!(
            from > 0.0 && to > from && to.is_finite(),
            "sleeps are not short up to {from} us and long from {to} us"
        );
        let corrections = [self.costs.p50_correction, self.costs.p99_correction];
        for factor in corrections.into_iter().flat_map(|by| [by.reading, by.writing]) {
            ensure!(factor.is_finite() && factor > 0.0, "{factor} corrects nothing");
        }
        let memory = &self.memory;
        let times =
            [server, generator].into_iter().flat_map(|thread| [thread.turn_us, thread.sleep_us, thread.message_us]);
        let operations =
            operations.values().flat_map(|op| [op.server_us, op.server_kib_us, op.generator_us, op.log_bytes]);
        let stalls = [stalls, log_stalls].into_iter().flat_map(|stalls| [stalls.per_second, stalls.mean_us]);
        let rest = [
            self.costs.flush_cpu_us,
            self.costs.flush_per_kib_us,
            self.costs.flush_busy_us,
            self.costs.flush_kernel_us,
            self.costs.polls_us,
            self.costs.timer_us,
            self.costs.deep_timer_us,
            memory.znode,
        ];
        for figure in times.chain(operations).chain(stalls).chain(rest) {
            ensure!(figure.is_finite() && figure >= 0.0, "{figure} among the costs is not a cost");
        }
        Ok(())
    }

    /// Writes it, replacing what was there only by the whole.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = format!(
            "# Parameters of the capacity model, measured by `ringkeeper-load plan --calibrate`.\n\n{}",
            toml::to_string(self)?
        );
        let beside = path.with_extension("tmp");
        let cannot = || format!("{} cannot be written", path.display());
        std::fs::write(&beside, text).with_context(cannot)?;
        std::fs::rename(&beside, path).with_context(cannot)
    }
}
