//! What things cost, as measured.

use super::correction::Correction;
use super::distribution::Quantiles;
use crate::workload::Op;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All costs of time. The processor that they were measured on is in the conditions beside them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// A thread of the server.
    pub server: ThreadCosts,
    /// A thread of the generator.
    pub generator: ThreadCosts,
    /// Processor time of the server for each log write, microseconds.
    pub flush_cpu_us: f64,
    /// Of the server for each message that writes give rise to when they take effect, in addition to the message's.
    pub effect_us: f64,
    /// By operation.
    pub operations: BTreeMap<Op, OpCosts>,
    /// From a message to the begin of the turn of a thread that slept for it.
    pub wake: Quantiles,
    /// The same after a long sleep (milliseconds).
    pub deep_wake: Quantiles,
    /// Idle times between which a sleep grows from short to long, microseconds.
    pub short_idle_us: f64,
    /// The upper of them, above the other.
    pub long_idle_us: f64,
    /// How long a server's thread polls before it sleeps, where that pays; 0 for one that does not.
    pub polls_us: f64,
    /// How late a timer of the generator is that ends a short sleep, microseconds.
    pub timer_us: f64,
    /// The same after a long sleep.
    pub deep_timer_us: f64,
    /// A log write of one block until it is durable.
    pub flush: Quantiles,
    /// What every KiB of records adds to it, microseconds.
    pub flush_per_kib_us: f64,
    /// What a log write takes longer while the generator works on the same machine, microseconds.
    pub flush_busy_us: f64,
    /// What the kernel's part of a log write takes of the processor that the generator works on, on the same machine, microseconds.
    pub flush_kernel_us: f64,
    /// What keeps a thread from working.
    pub stalls: Stalls,
    /// What keeps a log write from ending, for each second of log writes.
    pub log_stalls: Stalls,
    /// What simulated medians of open loops are multiplied with.
    pub p50_correction: Correction,
    /// The same of 99th percentiles.
    pub p99_correction: Correction,
    /// Between the servers of an ensemble.
    pub peers: PeerCosts,
}

/// Times at which somebody else has a thread's processor, or the disk: the host's other guests, the kernel's work, other threads
/// of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stalls {
    /// How many, for each thread.
    pub per_second: f64,
    /// How long they last; exponentially distributed.
    pub mean_us: f64,
}

/// Processor time of a thread's turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadCosts {
    /// Of each turn, microseconds.
    pub turn_us: f64,
    /// Of each turn that a sleep came before, in addition: polling, falling asleep, waking. It delays nothing itself.
    pub sleep_us: f64,
    /// Of each message received and one sent.
    pub message_us: f64,
    /// The share of its processor that a thread gets which always has work, 0 to 1: the rest goes to the kernel's other
    /// work and, on a virtual machine, to its host.
    pub availability: f64,
}

/// Processor time of an operation beyond its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpCosts {
    /// Of the server with an empty value, microseconds.
    pub server_us: f64,
    /// For each KiB of the value.
    pub server_kib_us: f64,
    /// Of the generator.
    pub generator_us: f64,
    /// For each KiB of the value.
    pub generator_kib_us: f64,
    /// Bytes of its record in the log beside the value; 0 for a read.
    pub log_bytes: f64,
    /// How often the value is in that record.
    pub log_values: f64,
}

/// Processor time between servers, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerCosts {
    /// Of a message, on each side.
    pub message_us: f64,
    /// Of the leader for each write and follower.
    pub propose_us: f64,
    /// Of a follower for each write of whoever.
    pub follow_us: f64,
    /// Of the leader for a write that a follower hands it, in addition.
    pub forward_us: f64,
}

impl Costs {
    /// On a processor so many times as fast as the calibrated one. What the kernel and the disk make threads wait stays.
    #[must_use]
    pub fn at_speed(&self, speed: f64) -> Costs {
        let thread = |costs: ThreadCosts| ThreadCosts {
            turn_us: costs.turn_us / speed,
            sleep_us: costs.sleep_us / speed,
            message_us: costs.message_us / speed,
            ..costs
        };
        let operation = |costs: &OpCosts| OpCosts {
            server_us: costs.server_us / speed,
            server_kib_us: costs.server_kib_us / speed,
            generator_us: costs.generator_us / speed,
            generator_kib_us: costs.generator_kib_us / speed,
            ..*costs
        };
        let peers = self.peers;
        Costs {
            server: thread(self.server),
            generator: thread(self.generator),
            flush_cpu_us: self.flush_cpu_us / speed,
            effect_us: self.effect_us / speed,
            operations: self.operations.iter().map(|(op, costs)| (*op, operation(costs))).collect(),
            peers: PeerCosts {
                message_us: peers.message_us / speed,
                propose_us: peers.propose_us / speed,
                follow_us: peers.follow_us / speed,
                forward_us: peers.forward_us / speed,
            },
            ..self.clone()
        }
    }

    /// A log write of so many bytes, at quantile `u` of the distribution.
    pub(super) fn flush_us(&self, bytes: f64, u: f64) -> f64 {
        self.flush.at(u) + self.flush_per_kib_us * bytes / 1024.0
    }

    /// From a message to the begin of a turn after so long a sleep, nanoseconds. What varies is
    /// put on the server's side alone, as both together were measured.
    pub(super) fn wake_ns(&self, generator: bool, idle_ns: u64, u: f64) -> u64 {
        let u = if generator { 0.5 } else { u };
        let (short, deep) = (self.wake.at(u), self.deep_wake.at(u));
        ((short + (deep - short) * self.depth(idle_ns)) * 1e3) as u64
    }

    /// How late a timer is that was set so long ahead, nanoseconds.
    pub(super) fn timer_ns(&self, ahead_ns: u64) -> u64 {
        ((self.timer_us + (self.deep_timer_us - self.timer_us) * self.depth(ahead_ns)) * 1e3) as u64
    }

    /// From a short sleep, 0, to a long one, 1.
    fn depth(&self, idle_ns: u64) -> f64 {
        let (from, to) = (self.short_idle_us.ln(), self.long_idle_us.ln());
        (((idle_ns as f64 / 1e3).max(1e-3).ln() - from) / (to - from)).clamp(0.0, 1.0)
    }
}
