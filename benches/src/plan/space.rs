//! Memory and disk: sums of what nodes, values, sessions, watches and writes take.

use super::calibration::{Calibration, DiskCosts, MemoryCosts};
use super::deployment::Deployment;
use super::predict::real_shares;
use crate::workload::{Op, Workload};
use serde::{Deserialize, Serialize};

const MIB: f64 = 1024.0 * 1024.0;
/// What the log keeps for followers that lag, and two segments, bytes (the server's defaults).
const LOG_KEPT: f64 = 288.0 * MIB;
/// A partition's log is written anew when half of it is out of date.
const OUT_OF_DATE: f64 = 2.0;
/// Bytes of a request and its reply beside the value, with the headers of TCP.
const REQUEST_BYTES: f64 = 250.0;

/// What one server takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// The server's own memory, MiB.
    pub memory_mib: f64,
    /// Mapped from files in addition, MiB: the kernel drops of it what does not fit, and values are then read from the disk.
    pub mapped_mib: f64,
    /// Sessions over all servers for which there is memory, everything else as described.
    pub sessions_fit: u64,
    /// Watches over all servers for which there is memory, everything else as described.
    pub watches_fit: u64,
    /// Nodes for which there is memory, everything else as described.
    pub znodes_fit: u64,
    /// Data directory at most, MiB.
    pub disk_mib: f64,
}

/// Memory and disk of one server of a deployment.
pub fn space(calibration: &Calibration, deployment: &Deployment) -> Space {
    let (memory, disk) = (&calibration.memory, &calibration.disk);
    let (content, members) = (&deployment.content, f64::from(deployment.ensemble.size));
    let value = content.value_bytes.unwrap_or_else(|| deployment.workload.values.mean());
    let sessions = content.sessions.unwrap_or(u64::from(deployment.workload.connections)) as f64;
    let (znodes, watches) = (content.znodes as f64, content.watches as f64);
    let used = own_memory(memory, znodes, value, sessions / members, watches / members);
    let left = deployment.machine.memory_mib * MIB - used;
    // What is left, and what the present ones take, in units of one more.
    let fit = |present: f64, each: f64, spread: f64| ((present + left / each.max(1.0) * spread).max(0.0)) as u64;
    Space {
        memory_mib: used / MIB,
        mapped_mib: znodes * (memory.mapped_znode + value * memory.mapped_value_byte) / MIB,
        sessions_fit: fit(sessions, memory.session, members),
        watches_fit: fit(watches, memory.watch, members),
        znodes_fit: fit(znodes, memory.znode + value * memory.value_byte, 1.0),
        disk_mib: (disk.empty + LOG_KEPT + OUT_OF_DATE * znodes * (disk.znode + value)) / MIB,
    }
}

/// `empty + nodes * (node + value * value_byte) + sessions * session + watches * watch`, bytes.
fn own_memory(costs: &MemoryCosts, znodes: f64, value: f64, sessions: f64, watches: f64) -> f64 {
    costs.empty + znodes * (costs.znode + value * costs.value_byte) + sessions * costs.session + watches * costs.watch
}

/// Bytes that one request of a workload puts on the disk of every server, on average.
pub fn disk_bytes_per_request(costs: &DiskCosts, workload: &Workload) -> f64 {
    let value = workload.values.mean();
    let of = |(op, share): (Op, f64)| {
        let (writes, values) = match op {
            Op::Multi => (4.0, 4.0),
            Op::Delete => (1.0, 0.0),
            op if op.writes() => (1.0, 1.0),
            _ => (0.0, 0.0),
        };
        share * (writes * costs.write + values * value * costs.value_byte)
    };
    real_shares(&workload.mix).into_iter().map(of).sum()
}

/// Bytes that one request moves over the network of the busiest server, the larger direction.
pub fn network_bytes_per_request(workload: &Workload, members: u32) -> f64 {
    let value = workload.values.mean();
    let writes: f64 = real_shares(&workload.mix).iter().filter(|(op, _)| op.writes()).map(|(_, share)| share).sum();
    // The leader sends every write to every follower.
    (REQUEST_BYTES + value) / f64::from(members) + writes * f64::from(members - 1) * (REQUEST_BYTES + value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::answer::tests::calibration;

    fn deployment(content: &str) -> Deployment {
        let machine = "[machine]\ncores = 2\nmemory_mib = 1000\ndisk_mib = 9000\n";
        Deployment::parse(&format!("{machine}[content]\n{content}\n[workload]\nconnections = 10\n")).unwrap()
    }

    #[test]
    fn what_fits_fills_the_memory() {
        let calibration = calibration();
        let found = space(&calibration, &deployment("znodes = 1000\nwatches = 50"));
        for content in [
            format!("znodes = 1000\nwatches = {}", found.watches_fit),
            format!("znodes = {}\nwatches = 50", found.znodes_fit),
            format!("znodes = 1000\nwatches = 50\nsessions = {}", found.sessions_fit),
        ] {
            let full = space(&calibration, &deployment(&content));
            assert!((full.memory_mib - 1000.0).abs() < 1.0, "{content}: {full:?}");
        }
    }

    #[test]
    fn memory_that_is_too_small_holds_nothing_more() {
        let found = space(&calibration(), &deployment("znodes = 900000000"));
        assert!(found.memory_mib > 1000.0 && found.watches_fit == 0 && found.znodes_fit < 900_000_000);
        assert!(found.disk_mib > 9000.0);
    }

    #[test]
    fn reads_write_nothing() {
        let calibration = calibration();
        let read = Workload { mix: "get".parse().unwrap(), ..Workload::default() };
        let write = Workload { mix: "half".parse().unwrap(), ..Workload::default() };
        assert_eq!(disk_bytes_per_request(&calibration.disk, &read), 0.0);
        assert!(disk_bytes_per_request(&calibration.disk, &write) > 50.0);
        assert!(network_bytes_per_request(&write, 3) > network_bytes_per_request(&write, 1));
    }
}
