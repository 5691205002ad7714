//! The disks under log and data, and what flushes take there.

use super::{Finding, Rule, Situation, gib, quoted};
use crate::advice::Impact;
use hardware::probe::{Append, AppendMethod, Device, DeviceKind, Durability, Place};

pub(super) const RULES: &[Rule] =
    &[not_durable, space, slow_flush, uneven_flush, no_direct, shared_disk, turning, no_fua, virtual_disk, scheduler];

/// A flush from which on the disk is what limits a client that waits for each write.
const SLOW_FLUSH_US: f64 = 2000.0;
/// A slowest flush of a hundred that a client with a goal of a few milliseconds feels.
const SLOW_P99_US: f64 = 10_000.0;
/// How far the slowest of a hundred may be from the median.
const UNEVEN_FACTOR: f64 = 10.0;
const APPEND_BYTES: u64 = 4 << 10;

fn log<'a>(situation: &Situation<'a>) -> &'a Place {
    situation.report.log_place()
}

/// How the server itself writes its log, or the nearest to that which was measured.
fn flush<'a>(situation: &Situation<'a>) -> Option<&'a Append> {
    let report = situation.report;
    let of = |method| report.append(method, APPEND_BYTES).filter(|append| append.timing.count > 0);
    of(AppendMethod::IoUringDsync).or_else(|| of(AppendMethod::Pwritev2Dsync))
}

/// Devices whose queues are worth looking at, of log and data.
fn disks<'a>(situation: &Situation<'a>) -> Vec<&'a Device> {
    let report = situation.report;
    let places = [report.log.as_ref(), Some(&report.data)];
    let mut disks: Vec<&Device> = Vec::new();
    for device in places.into_iter().flatten().filter_map(|place| place.device.as_ref()).flat_map(Device::bottom) {
        if disks.iter().all(|known| known.name != device.name) {
            disks.push(device);
        }
    }
    disks
}

fn not_durable(situation: &Situation<'_>) -> Option<Finding> {
    let verdict = &situation.report.verdict;
    let (impact, what) = match verdict.durability {
        Durability::NotDurable => (Impact::Critical, "what is written durably is not durable"),
        Durability::Doubtful => (Impact::High, "durable writes may not be durable"),
        Durability::Plausible | Durability::Unknown => return None,
    };
    Some(Finding {
        id: "not-durable",
        impact,
        what: format!("{what}: {}", verdict.reasons.join("; ")),
        why: "the server acknowledges a write when the disk says that it has it; if that is not so, a loss of power loses \
              acknowledged writes and may part a member from its ensemble",
        effect: "acknowledged writes outlive a loss of power; they may take longer than was measured".to_owned(),
        advice: Some(
            "put the log on a disk whose flushes reach a medium: no memory file system, no cache of a host or controller without \
             a battery (QEMU: cache=none or directsync, not unsafe)"
                .to_owned(),
        ),
        commands: Vec::new(),
    })
}

fn space(situation: &Situation<'_>) -> Option<Finding> {
    let (needed, free) = (situation.demand.disk_bytes, situation.report.data.file_system.free_bytes);
    if needed <= free {
        return None;
    }
    Some(Finding {
        id: "disk-space",
        impact: Impact::High,
        what: format!(
            "{} are free on {}, and logs of such a tree may take {} before they are compacted",
            gib(free),
            situation.report.data.file_system.mount_point.display(),
            gib(needed)
        ),
        why: "a server that cannot write ends, rather than to acknowledge what it cannot keep",
        effect: "the tree fits".to_owned(),
        advice: Some("make room, or use a larger disk".to_owned()),
        commands: Vec::new(),
    })
}

fn slow_flush(situation: &Situation<'_>) -> Option<Finding> {
    let append = flush(situation)?;
    let (p50, p99) = (append.timing.p50_us, append.timing.p99_us);
    if p50 < SLOW_FLUSH_US {
        return None;
    }
    Some(Finding {
        id: "slow-flush",
        impact: Impact::High,
        what: format!(
            "a durable write of 4 KiB takes {:.1} ms here (median; {:.1} ms for one of a hundred)",
            p50 / 1e3,
            p99 / 1e3
        ),
        why: "every write waits for one flush at least; many writes share one, but a client that waits for each feels it whole",
        effect: "a disk with power-loss protection flushes in 20 to 100 us".to_owned(),
        advice: Some("put the log (dataLogDir) on such a disk".to_owned()),
        commands: Vec::new(),
    })
}

fn uneven_flush(situation: &Situation<'_>) -> Option<Finding> {
    let append = flush(situation).filter(|append| append.timing.p50_us < SLOW_FLUSH_US)?;
    let (p50, p99) = (append.timing.p50_us, append.timing.p99_us);
    if p99 < SLOW_P99_US && p99 < p50 * UNEVEN_FACTOR {
        return None;
    }
    Some(Finding {
        id: "uneven-flush",
        impact: Impact::Medium,
        what: format!("one of a hundred durable writes of 4 KiB takes {:.1} ms, the median {:.2} ms", p99 / 1e3, p50 / 1e3),
        why: "writes that arrive meanwhile wait for it, so that far more than one write of a hundred feels it",
        effect: "the slowest writes come near the median".to_owned(),
        advice: Some("look for other writers on this disk, for background trimming, and for limits that a cloud puts on a volume".to_owned()),
        commands: Vec::new(),
    })
}

fn no_direct(situation: &Situation<'_>) -> Option<Finding> {
    let append = flush(situation).filter(|append| !append.direct)?;
    let place = log(situation);
    if place.file_system.is_memory() {
        return None;
    }
    let refused = if append.fell_back { ", nor writes that flush themselves" } else { "" };
    Some(Finding {
        id: "no-direct",
        impact: Impact::Medium,
        what: format!(
            "{} ({}) has no direct I/O{refused}",
            place.file_system.mount_point.display(),
            place.file_system.kind
        ),
        why: "the log goes through the page cache, is copied once more, and each flush looks for dirty pages",
        effect: "some tens of microseconds of processor time less per flush".to_owned(),
        advice: Some("put the log on ext4 or xfs".to_owned()),
        commands: Vec::new(),
    })
}

fn shared_disk(situation: &Situation<'_>) -> Option<Finding> {
    let report = situation.report;
    let place = log(situation);
    if place.file_system.is_memory() || report.log.as_ref().is_some_and(|log| !log.shares_disk_with(&report.data)) {
        return None;
    }
    let device = place.device.as_ref()?;
    let turns = device.rotational && !device.is_virtual();
    let impact = match (turns, device.is_virtual()) {
        (true, _) => Impact::High,
        (false, true) => Impact::Medium,
        (false, false) => Impact::Low,
    };
    Some(Finding {
        id: "shared-disk",
        impact,
        what: format!("data and log lie on the same disk ({})", device.name),
        why: "checkpoints and compaction write in the background, and flushes of the log queue up behind them",
        effect: if turns {
            "a turning disk loses most of its time between the two places".to_owned()
        } else {
            "fewer slow writes while the background writes much".to_owned()
        },
        advice: Some("give the log a disk of its own and name it in dataLogDir; probe it with --log-dir".to_owned()),
        commands: Vec::new(),
    })
}

fn turning(situation: &Situation<'_>) -> Option<Finding> {
    let device = log(situation).device.as_ref().filter(|device| !device.is_virtual())?;
    let disk = device.bottom().into_iter().find(|disk| disk.rotational)?;
    Some(Finding {
        id: "turning-disk",
        impact: Impact::High,
        what: format!("the log lies on a turning disk ({})", disk.name),
        why: "each flush waits for the platter, several milliseconds",
        effect: "flushes in a hundredth of the time".to_owned(),
        advice: Some("put the log on flash, best with power-loss protection".to_owned()),
        commands: Vec::new(),
    })
}

fn no_fua(situation: &Situation<'_>) -> Option<Finding> {
    let device = log(situation).device.as_ref()?;
    let disk = device.bottom().into_iter().find(|disk| disk.write_back && !disk.fua)?;
    Some(Finding {
        id: "no-fua",
        impact: Impact::Medium,
        what: format!("{} has a volatile write cache and no FUA", disk.name),
        why: "a durable write takes two commands, the write and a flush of the whole cache, other programs' bytes included",
        effect: "with FUA, or without a volatile cache, one command does".to_owned(),
        advice: Some(format!(
            "use a disk with FUA or power-loss protection. Only if this one is known to have such protection: echo 'write \
             through' > /sys/block/{}/queue/write_cache spares the flush; on any other disk it loses acknowledged writes",
            disk.name
        )),
        commands: Vec::new(),
    })
}

fn virtual_disk(situation: &Situation<'_>) -> Option<Finding> {
    let device = log(situation).device.as_ref().filter(|device| device.is_virtual())?;
    Some(Finding {
        id: "virtual-disk",
        impact: Impact::Low,
        what: format!("the log lies on a virtual disk ({})", device.name),
        why: "its host decides what a flush means and how many a second it allows, and neighbours share it",
        effect: "a volume with guaranteed rates, or a local one, flushes more evenly".to_owned(),
        advice: Some(
            "ask whoever runs the host for its cache mode and its limits; probe at different times of the day"
                .to_owned(),
        ),
        commands: Vec::new(),
    })
}

fn scheduler(situation: &Situation<'_>) -> Option<Finding> {
    let wanted = |disk: &Device| if disk.rotational && !is_paravirtual(disk) { "mq-deadline" } else { "none" };
    let wrong: Vec<&Device> = disks(situation)
        .into_iter()
        .filter(|disk| {
            let wanted = wanted(disk);
            disk.scheduler.as_deref().is_some_and(|held| held != wanted)
                && disk.schedulers.iter().any(|name| name == wanted)
        })
        .collect();
    let held: Vec<String> = wrong
        .iter()
        .map(|disk| format!("{} of {}", disk.scheduler.as_deref().unwrap_or_default(), disk.name))
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let commands = wrong.iter().flat_map(|disk| {
        let (name, wanted) = (&disk.name, wanted(disk));
        let rule = format!(r#"ACTION=="add|change", KERNEL=="{name}", ATTR{{queue/scheduler}}="{wanted}""#);
        [
            format!("echo {wanted} > {}", quoted(&format!("/sys/block/{name}/queue/scheduler"))),
            format!(r"printf '%s\n' {} > /etc/udev/rules.d/60-ringkeeper-{name}.rules", quoted(&rule)),
        ]
    });
    Some(Finding {
        id: "scheduler",
        impact: Impact::Low,
        what: format!("the scheduler is {}", held.join(", ")),
        why: "one writer that waits for each flush has nothing to reorder; the host below a virtual disk schedules anyway",
        effect: "a few microseconds of processor time less per flush".to_owned(),
        advice: None,
        commands: commands.collect(),
    })
}

/// Such disks say that they turn when their host has not told them otherwise.
fn is_paravirtual(disk: &Device) -> bool {
    disk.kind == DeviceKind::Virtual
}
