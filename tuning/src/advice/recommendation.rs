//! A configuration for a host, with the reason beside each value, as a `zoo.cfg`.

use super::Wishes;
use crate::core_plan::{CorePlan, Pinning};
use crate::limits::{LimitInputs, Limits, RECEIVE_BUFFER_BYTES};
use hardware::probe::{AppendMethod, Processors, Report};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Accepted connections of a storm that may wait, at most; more hardly fit the kernel's other queues.
const BACKLOG_MAX: u64 = 16_384;
const BACKLOG_MIN: u64 = 1024;
const PARTITIONS_MIN: u32 = 64;
const PARTITIONS_MAX: u32 = 4096;
/// Segments of the log that suit all but the quickest disks, and the quickest.
const SEGMENT_BYTES: u64 = 16 << 20;
const SEGMENT_BYTES_FAST: u64 = 64 << 20;
/// From this many durable appends of 64 KiB in a second a small segment is full in well below a second.
const FAST_APPENDS: f64 = 1000.0;
/// The default bound of a request frame (`jute.maxbuffer`), bytes.
const FRAME_BYTES: u64 = 0xF_FFFF;
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// Shard cores that a configuration may have at most (`shardCores`).
const SHARDS_MAX: usize = 256;
/// Connections from one address that are allowed unless more sessions are wished for (`maxClientCnxns`).
const PER_ADDRESS: usize = 60;
/// Requests in process that the configuration allows at least.
const OUTSTANDING_MIN: u64 = 1000;
const OUTSTANDING_MAX: u64 = 100_000;

/// One line of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value {
    /// The key as `zoo.cfg` spells it.
    pub key: &'static str,
    /// What to set it to.
    pub value: String,
    /// Why.
    pub reason: String,
}

/// A configuration, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recommendation {
    /// The lines of the file.
    pub values: Vec<Value>,
    /// What cannot be set in the file: arguments of the program.
    pub arguments: Vec<Value>,
    /// What follows from the values above and has no key of its own: who runs where, and the sizes of buffers.
    pub derived: Vec<Value>,
    /// Processors that host shards; empty if threads are not pinned.
    pub shard_processors: Vec<usize>,
    /// The processor that hosts the replication role.
    pub replication_processor: Option<usize>,
    /// Whether that one hosts nothing else.
    pub replication_alone: bool,
    /// Memory of receive buffers, mailboxes and batches, allocated at start, bytes.
    pub buffer_bytes: u64,
    /// Disk space of the log's segments, bytes.
    pub log_bytes: u64,
    /// Connections that should be able to wait for being accepted.
    pub accept_backlog: u64,
    /// Partitions, each with a log of its own.
    pub partitions: u32,
}

impl Recommendation {
    /// For this host and these wishes.
    pub fn of(report: &Report, wishes: &Wishes) -> Recommendation {
        let processors = &report.host.processors;
        let quota = report.host.control_group.processor_quota;
        let (cores, why_cores) = cores(processors, quota);
        let pin = quota.is_none();
        let partitions = partitions(cores.len());
        let plan = CorePlan::new(&cores, None, partitions, if pin { Pinning::Always } else { Pinning::Never });
        let shards = usize::from(plan.shards());
        let replication = plan.threads().get(plan.replication_thread());
        let replication_alone = replication.is_some_and(|thread| thread.shard.is_none());
        let spin_us = if cores.len() == 1 || quota.is_some() { 0 } else { 20 };
        let segment = segment_bytes(report);
        let backlog = wishes.sessions.clamp(BACKLOG_MIN, BACKLOG_MAX).next_power_of_two();
        let outstanding = wishes.sessions.saturating_mul(4).clamp(OUTSTANDING_MIN, OUTSTANDING_MAX);
        let frame = wishes.value_bytes.saturating_mul(2).clamp(FRAME_BYTES, FRAME_BYTES_MAX);
        let per_address = if wishes.sessions > PER_ADDRESS as u64 { 0 } else { PER_ADDRESS };
        let limits = Limits::derive(LimitInputs {
            connections_max: per_address,
            outstanding_max: outstanding as usize,
            frame_bytes_max: frame as usize,
            shard_cores: shards,
        });
        let value = |key, value: String, reason: String| Value { key, value, reason };
        let mut values = vec![
            value("clientPort", "2181".into(), "the port that clients expect".into()),
            value("dataDir", report.data.dir.display().to_string(), "the directory that was probed".into()),
        ];
        if let Some(log) = &report.log {
            let why = if log.shares_disk_with(&report.data) {
                "as probed; it lies on the same disk as the data, which spares nothing"
            } else {
                "a disk of its own, so that checkpoints do not delay flushes"
            };
            values.push(value("dataLogDir", log.dir.display().to_string(), why.into()));
        }
        values.extend([
            value("tickTime", "2000".into(), "sessions of 4 to 40 seconds; a smaller tick only adds pings".into()),
            value("shardCores", shards.to_string(), why_cores + &why_replication(replication_alone)),
            value(
                "partitions",
                partitions.to_string(),
                format!(
                    "{} for each of {shards} shards, and fixed once the directory is made",
                    partitions as usize / shards
                ),
            ),
            value("pinCores", pin.to_string(), why_pin(pin)),
            value("spinMicros", spin_us.to_string(), why_spin(spin_us)),
            value("walSegmentBytes", segment.to_string(), why_segment(report, segment)),
            value(
                "maxClientCnxns",
                per_address.to_string(),
                format!("{} sessions may come from one address, through a proxy for instance", wishes.sessions),
            ),
            value(
                "globalOutstandingLimit",
                outstanding.to_string(),
                "four requests of every session may be under way before connections are not read on".into(),
            ),
            value(
                "clientPortListenBacklog",
                backlog.to_string(),
                "all sessions may come back at once after a restart".into(),
            ),
            value("fsync.warningthresholdms", warning_ms(report).to_string(), why_warning(report)),
        ]);
        let mut arguments = Vec::new();
        if frame > FRAME_BYTES {
            let why = format!("values of {} bytes need longer frames than the default allows", wishes.value_bytes);
            arguments.push(value("jute.maxbuffer", frame.to_string(), why));
        }
        Recommendation {
            values,
            arguments,
            derived: derived(&plan, &limits),
            shard_processors: plan
                .threads()
                .iter()
                .filter(|thread| thread.shard.is_some())
                .filter_map(|t| t.cpu)
                .collect(),
            replication_processor: replication.and_then(|thread| thread.cpu),
            replication_alone,
            buffer_bytes: limits.resident_bytes(shards, plan.threads().len()) as u64,
            log_bytes: 4 * segment,
            accept_backlog: backlog,
            partitions,
        }
    }

    /// The file, with each reason as a comment above its value.
    pub fn zoo_cfg(&self) -> String {
        let mut text =
            "# Written by ringkeeper tune for the host that was probed. Each value has its reason above it.\n"
                .to_owned();
        text.push_str("#\n# What follows from the values below, as the server does it by itself:\n");
        for Value { key, value, reason } in &self.derived {
            let _ = writeln!(text, "#   {key}: {value}; {reason}");
        }
        for Value { key, value, reason } in &self.values {
            let _ = write!(text, "\n# {reason}\n{key}={}\n", escaped(value));
        }
        for Value { key, value, reason } in &self.arguments {
            let _ = write!(text, "\n# {reason}; not a key of this file: start the server with\n#   -D{key}={value}\n");
        }
        text
    }
}

/// A value as the file's syntax wants it: a backslash or a line break in a path must not become something else.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('\n', r"\n").replace('\r', r"\r")
}

fn derived(plan: &CorePlan, limits: &Limits) -> Vec<Value> {
    let cpu = |cpu: Option<usize>| cpu.map_or_else(|| "any processor".to_owned(), |cpu| format!("processor {cpu}"));
    let replication = plan.threads().get(plan.replication_thread());
    let alone = replication.is_some_and(|thread| thread.shard.is_none());
    let value = |key, value: String, reason: &str| Value { key, value, reason: reason.to_owned() };
    vec![
        value(
            "replication core",
            cpu(replication.and_then(|thread| thread.cpu)),
            if alone {
                "alone, so that the order of writes never waits for a shard"
            } else {
                "shared with a shard, for want of cores"
            },
        ),
        value(
            "receive buffers",
            format!("{} of {RECEIVE_BUFFER_BYTES} bytes per core", limits.receive_buffers_per_core),
            "a quarter of a core's connections may have a request waiting in the same turn",
        ),
        value(
            "mailboxes",
            format!("{} messages from each core to each other", limits.mailbox_slots),
            "all requests in process may be on their way to one core",
        ),
        value(
            "log batch",
            format!("up to {} bytes", limits.wal_batch_bytes_max),
            "the longest transaction fits; what arrives during a flush goes out with the next one",
        ),
    ]
}

/// The processors to use, and why: one of each core, and no more than the quota lets run.
fn cores(processors: &Processors, quota: Option<f64>) -> (Vec<usize>, String) {
    let usable = &processors.usable;
    let second: BTreeSet<usize> = processors
        .siblings
        .iter()
        .flat_map(|core| core.iter().copied().filter(|cpu| usable.contains(cpu)).skip(1))
        .collect();
    let mut cores: Vec<usize> = usable.iter().copied().filter(|cpu| !second.contains(cpu)).collect();
    let mut why = format!("{} processors may be used", usable.len());
    if cores.len() < usable.len() {
        why = format!("{why}, which are {} cores: a second thread on a core polls against the first", cores.len());
    }
    if let Some(quota) = quota {
        let whole = (quota.floor() as usize).max(1);
        if whole < cores.len() {
            cores.truncate(whole);
            why = format!(
                "the control group grants {quota:.2} processors, and a thread that is throttled stops everybody"
            );
        }
    }
    if cores.len() > SHARDS_MAX {
        cores.truncate(SHARDS_MAX);
        why = format!("{why}, of which the server can use {SHARDS_MAX}");
    }
    if cores.is_empty() {
        cores.push(0);
    }
    (cores, why)
}

fn why_replication(alone: bool) -> String {
    if alone {
        "; one more is for the replication role alone, which orders all writes".into()
    } else {
        "; too few to spare one for the replication role, which shares the first".into()
    }
}

/// At least two per core, so that work can be spread evenly, and never fewer than the default.
fn partitions(cores: usize) -> u32 {
    u32::try_from(2 * cores).unwrap_or(PARTITIONS_MAX).clamp(PARTITIONS_MIN, PARTITIONS_MAX).next_power_of_two()
}

fn why_pin(pin: bool) -> String {
    if pin {
        "a thread that stays on its core keeps its caches".into()
    } else {
        "under a quota the scheduler knows better where there is time left".into()
    }
}

fn why_spin(spin_us: u32) -> String {
    if spin_us == 0 {
        "polling would take time from the only core, or use up the quota".into()
    } else {
        "polling this long before a sleep spares a wake-up per flush; it costs processor time only while that pays"
            .into()
    }
}

fn segment_bytes(report: &Report) -> u64 {
    let fast =
        report.append(AppendMethod::IoUringDsync, 64 << 10).is_some_and(|append| append.per_second > FAST_APPENDS);
    if fast { SEGMENT_BYTES_FAST } else { SEGMENT_BYTES }
}

fn why_segment(report: &Report, segment: u64) -> String {
    match report.append(AppendMethod::IoUringDsync, 64 << 10) {
        Some(append) => format!(
            "at {:.0} appends of 64 KiB a second a segment of {} MiB lasts {:.1} s at least; one more stands ready",
            append.per_second,
            segment >> 20,
            segment as f64 / (append.per_second * 65_536.0).max(1.0)
        ),
        None => "the default; nothing was measured".into(),
    }
}

/// Ten times the slowest flush of a thousand that was seen, so that only what is out of the ordinary is told.
fn warning_ms(report: &Report) -> u64 {
    let slow_us = report.append(AppendMethod::IoUringDsync, 4 << 10).map_or(0.0, |append| append.timing.p999_us);
    ((slow_us / 100.0) as u64).clamp(20, 1000)
}

fn why_warning(report: &Report) -> String {
    match report.append(AppendMethod::IoUringDsync, 4 << 10) {
        Some(append) => {
            format!(
                "of 1,000 flushes 999 took up to {:.1} ms; one far slower is worth a line",
                append.timing.p999_us / 1e3
            )
        }
        None => "the default of ZooKeeper; nothing was measured".into(),
    }
}
