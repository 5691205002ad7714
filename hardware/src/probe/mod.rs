//! What an operator wants to know of a host: what its kernel tells, and how fast it writes, reads and answers.
//!
//! [`probe`] takes a directory and a time and yields a [`Report`]. Facts come from files below `/proc` and `/sys`, read
//! under given roots, so that captured trees are tests. Measurements run within bounds of time and space and leave
//! nothing behind.
//!
//! | file | idea |
//! |---|---|
//! | `roots` | reading the kernel's text files |
//! | `host`, `processors`, `control_group`, `interrupts` | facts about the host |
//! | `mounts`, `place`, `device` | facts about a directory: mount, file system, device |
//! | `timing`, `scratch` | percentiles; files that go away |
//! | `append`, `stream`, `loopback` | the measurements |
//! | `verdict` | whether a durable write can be believed |
#![doc = include_str!("schema.md")]

pub mod append;
mod control_group;
mod device;
mod host;
mod interrupts;
pub mod loopback;
mod mounts;
mod place;
mod processors;
mod roots;
mod scratch;
mod stream;
mod timing;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use self::append::{Append, AppendMethod};
pub use self::control_group::ControlGroup;
pub use self::device::{Device, DeviceKind};
pub use self::host::{Host, Kernel, Memory, Network, ProcessLimits};
pub use self::interrupts::Interrupt;
pub use self::loopback::{Loopback, LoopbackCores};
pub use self::place::{FileSystem, Place};
pub use self::processors::{Cache, NumaNode, Processors};
pub use self::scratch::SCRATCH_DIR;
use self::scratch::{Name, Scratch};
pub use self::stream::Stream;
pub use self::timing::Timing;
pub use self::verdict::{Durability, Verdict};

/// Name and version of the report's form. It changes when a field goes or means something else; fields may be added.
pub const SCHEMA: &str = "ringkeeper-probe/1";
/// The description of that form.
pub const SCHEMA_TEXT: &str = include_str!("schema.md");

/// Sizes of the appends that are measured, bytes. The first has twice the time of the others.
pub const APPEND_BYTES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
/// Bytes of the files that appends go to.
const APPEND_FILE_BYTES: u64 = 8 << 20;
/// Bytes of the file that is read and written in sequence, at most.
const STREAM_FILE_BYTES: u64 = 256 << 20;
/// Bytes of a question and an answer over loopback: about a small request.
const LOOPBACK_BYTES: usize = 100;
/// Free bytes without which nothing is measured: a file of appends, and some more for everybody else.
pub const FREE_BYTES_MIN: u64 = 4 * APPEND_FILE_BYTES;

/// What to probe.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where data lies, or will.
    pub data_dir: PathBuf,
    /// Where the transaction log lies, if elsewhere. Appends are measured there.
    pub log_dir: Option<PathBuf>,
    /// Time of all measurements together. Preparing files may add a third to it on a slow disk.
    pub time: Duration,
}

/// A host and a directory, read and measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of this program.
    pub version: String,
    /// When, seconds since 1970.
    pub taken_unix_s: u64,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Whether it was stopped before all was measured.
    pub interrupted: bool,
    /// The host.
    pub host: Host,
    /// Where data lies.
    pub data: Place,
    /// Where the transaction log lies, if elsewhere.
    pub log: Option<Place>,
    /// Appends in the log's directory.
    pub appends: Vec<Append>,
    /// Sequential work in the log's directory.
    pub stream: Option<Stream>,
    /// TCP over loopback.
    pub loopback: Vec<Loopback>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    /// Whether durable writes in the log's directory can be believed.
    pub verdict: Verdict,
}

impl Report {
    /// Where the transaction log lies.
    pub fn log_place(&self) -> &Place {
        self.log.as_ref().unwrap_or(&self.data)
    }

    /// The appends of one method and size.
    pub fn append(&self, method: AppendMethod, bytes: u64) -> Option<&Append> {
        self.appends.iter().find(|append| append.method == method && append.bytes == bytes && append.error.is_none())
    }
}

/// Why nothing could be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The directory cannot be reached.
    #[error("cannot probe {dir}: {source}; name a directory that exists and that this user may enter")]
    Dir {
        /// Which one.
        dir: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Too little space.
    #[error(
        "{dir} has {free_bytes} bytes free; at least {FREE_BYTES_MIN} are needed to measure there: make room first"
    )]
    Space {
        /// Which one.
        dir: PathBuf,
        /// What is free.
        free_bytes: u64,
    },
    /// Another probe is at work.
    #[error("{dir} is being probed by {holder}: wait until that has ended, or both measure each other")]
    Busy {
        /// Which one.
        dir: PathBuf,
        /// Who.
        holder: String,
    },
    /// The probe's own directory cannot be used.
    #[error("cannot use {path} for measuring: {source}; the probe writes there and needs leave to")]
    Scratch {
        /// The probe's directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Reads and measures. When `stop` is set it ends soon and the report says so.
///
/// # Errors
/// [`ProbeError`]; whatever fails later is named in the report.
pub fn probe(options: &Options, stop: &AtomicBool) -> Result<Report, ProbeError> {
    let started = Instant::now();
    let mounts = mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let place =
        |dir: &Path| Place::of(dir, &mounts).map_err(|source| ProbeError::Dir { dir: dir.to_path_buf(), source });
    let data = place(&options.data_dir)?;
    let log = options.log_dir.as_deref().map(place).transpose()?;
    let measured_place = log.as_ref().unwrap_or(&data);
    let dir = &measured_place.dir;
    if measured_place.file_system.free_bytes < FREE_BYTES_MIN {
        let free_bytes = measured_place.file_system.free_bytes;
        return Err(ProbeError::Space { dir: dir.clone(), free_bytes });
    }
    let scratch = Scratch::create(dir)?;
    let host = Host::of_this_machine(&mounts);
    let mut measuring = Measuring { scratch: &scratch, stop, failures: Vec::new() };
    let appends = measuring.appends(options.time.mul_f64(0.6));
    let stream = measuring.stream(dir, options.time.mul_f64(0.2));
    let loopback = measuring.loopback(&host.processors, options.time.mul_f64(0.2));
    let failures = measuring.failures;
    drop(scratch);
    let verdict = Verdict::of(measured_place, &appends);
    Ok(Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        seconds: started.elapsed().as_millis() as f64 / 1e3,
        interrupted: stop.load(Ordering::Relaxed),
        host,
        data,
        log,
        appends,
        stream,
        loopback,
        failures,
        verdict,
    })
}

/// The measurements, one after the other; what fails is noted, and the next goes on.
struct Measuring<'a> {
    scratch: &'a Scratch,
    stop: &'a AtomicBool,
    failures: Vec<String>,
}

impl Measuring<'_> {
    fn appends(&mut self, time: Duration) -> Vec<Append> {
        let shares = AppendMethod::ALL.len() * (APPEND_BYTES.len() + 1);
        let share = time / u32::try_from(shares).unwrap_or(u32::MAX);
        let mut all = Vec::new();
        for (name, is_direct) in [(Name::Direct, true), (Name::Buffered, false)] {
            let until = Instant::now() + time / 6;
            let prepared = self.scratch.file(name, APPEND_FILE_BYTES, until, self.stop);
            let Some((file, file_bytes)) = self.note("a file for appends", prepared) else { continue };
            let methods = AppendMethod::ALL.into_iter().filter(|method| method.is_direct() == is_direct);
            for (method, (place, bytes)) in
                methods.flat_map(|method| APPEND_BYTES.iter().enumerate().map(move |s| (method, s)))
            {
                let time = if place == 0 { share * 2 } else { share };
                if !self.stopped() {
                    all.push(Append::measure(method, &file, file_bytes, *bytes, time, self.stop));
                }
            }
            drop(file);
            self.scratch.remove(name);
        }
        all.sort_by_key(|append| (append.bytes, AppendMethod::ALL.iter().position(|method| *method == append.method)));
        all
    }

    fn stream(&mut self, dir: &Path, time: Duration) -> Option<Stream> {
        if self.stopped() {
            return None;
        }
        let measured = stream::affordable(dir, STREAM_FILE_BYTES)
            .and_then(|bytes| stream::measure(self.scratch, bytes, time, self.stop));
        self.note("sequential work", measured)
    }

    fn loopback(&mut self, processors: &Processors, time: Duration) -> Vec<Loopback> {
        let Some(first) = processors.usable.first().copied() else { return Vec::new() };
        let mut pairs = vec![(LoopbackCores::Same, (first, first))];
        pairs.extend(processors.beside(first).map(|second| (LoopbackCores::Across, (first, second))));
        let time = time / pairs.len() as u32;
        let mut all = Vec::new();
        for (cores, processors) in pairs {
            if !self.stopped() {
                let measured = loopback::measure(cores, processors, LOOPBACK_BYTES, time, self.stop);
                all.extend(self.note("TCP over loopback", measured));
            }
        }
        all
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.failures.push(format!("{what}: {error}"))).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn short(dir: &Path) -> Options {
        Options { data_dir: dir.to_path_buf(), log_dir: None, time: Duration::from_millis(300) }
    }

    fn report(dir: &Path) -> Report {
        probe(&short(dir), &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn a_report_holds_everything_leaves_nothing_and_survives_json() {
        let dir = tempfile::tempdir().unwrap();
        let report = report(dir.path());
        assert_eq!(report.failures, [""; 0]);
        assert_eq!(report.appends.len(), AppendMethod::ALL.len() * APPEND_BYTES.len());
        assert!(report.appends.iter().all(|append| append.error.is_none() && append.timing.count > 0));
        assert!(report.stream.is_some() && !report.loopback.is_empty() && !report.interrupted);
        assert!(report.host.kernel.io_uring && report.host.memory.total_bytes > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let json = serde_json::to_string(&report).unwrap();
        let back: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(back, report);
    }

    #[test]
    fn memory_is_called_not_durable() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let report = report(dir.path());
        assert_eq!(report.verdict.durability, Durability::NotDurable);
        assert_eq!(report.data.file_system.kind, "tmpfs");
    }

    #[test]
    fn a_stopped_probe_says_so_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { time: Duration::from_secs(600), ..short(dir.path()) };
        let report = probe(&options, &AtomicBool::new(true)).unwrap();
        assert!(report.interrupted && report.appends.is_empty());
        assert_eq!(report.verdict.durability, Durability::Unknown);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = probe(&short(&dir.path().join("nowhere")), &AtomicBool::new(false)).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    /// Every key of a report, without those of lists' places.
    fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    found.insert(key.clone());
                    keys(value, found);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_description_names_every_field() {
        let dir = tempfile::tempdir().unwrap();
        let mut found = BTreeSet::new();
        keys(&serde_json::to_value(report(dir.path())).unwrap(), &mut found);
        assert!(found.len() > 80, "{found:?}");
        for key in found {
            assert!(SCHEMA_TEXT.contains(&format!("`{key}`")), "{key} is not described");
        }
        assert!(SCHEMA_TEXT.contains(SCHEMA));
    }
}
