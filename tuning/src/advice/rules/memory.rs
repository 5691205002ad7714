//! Memory against the expected tree, huge pages, swap, and write-back of dirty pages.

use super::{Finding, Rule, Situation, gib, sysctl, sysfs};
use crate::advice::Impact;

pub(super) const RULES: &[Rule] = &[too_little, cache_too_small, mappings, huge_pages, swap, write_back];

/// Of the memory there is, what the server's own may take before nothing is left for files and the system.
const ANONYMOUS_SHARE: f64 = 0.8;
const SWAPPINESS_MAX: u64 = 10;
/// More dirty pages than this at once make one flush long.
const DIRTY_BYTES_MAX: u64 = 1 << 30;
const DIRTY_BACKGROUND_BYTES: u64 = 128 << 20;
const DIRTY_BYTES: u64 = 512 << 20;
/// Segments of a partition's log double in size up to 64 MiB; so many are smaller, in the old and the new log together.
const SMALL_SEGMENTS: u64 = 24;
const LARGE_SEGMENT_BYTES: u64 = 32 << 20;
/// Mappings of everything else, stacks and libraries among them.
const OTHER_MAPPINGS: u64 = 2048;

/// Bytes that there are for the server, and whether the control group says so.
fn room(situation: &Situation<'_>) -> Option<(u64, bool)> {
    let host = &situation.report.host;
    let total = Some(host.memory.total_bytes).filter(|bytes| *bytes > 0);
    match (total, host.control_group.memory_bytes_max) {
        (Some(total), Some(limit)) if limit < total => Some((limit, true)),
        (Some(total), _) => Some((total, false)),
        (None, limit) => limit.map(|limit| (limit, true)),
    }
}

fn whose(grouped: bool) -> &'static str {
    if grouped { "the control group allows" } else { "the host has" }
}

fn too_little(situation: &Situation<'_>) -> Option<Finding> {
    let (room, grouped) = room(situation)?;
    let needed = situation.demand.anonymous_bytes;
    let usable = (room as f64 * ANONYMOUS_SHARE) as u64;
    if needed <= usable {
        return None;
    }
    Some(Finding {
        id: "memory",
        impact: Impact::Critical,
        what: format!(
            "{} znodes, {} sessions and {} watches take {} of memory that cannot be given back, and {} {}",
            situation.wishes.znodes,
            situation.wishes.sessions,
            situation.wishes.watches,
            gib(needed),
            whose(grouped),
            gib(room)
        ),
        why: "the index of the tree is held in memory; when none is left the system ends the server",
        effect: "the tree fits".to_owned(),
        advice: Some(format!("give it at least {}", gib((needed as f64 / ANONYMOUS_SHARE) as u64))),
        commands: Vec::new(),
    })
}

fn cache_too_small(situation: &Situation<'_>) -> Option<Finding> {
    let (room, grouped) = room(situation)?;
    let demand = situation.demand;
    let usable = (room as f64 * ANONYMOUS_SHARE) as u64;
    let wanted = demand.anonymous_bytes.saturating_add(demand.cached_bytes);
    if demand.anonymous_bytes > usable || wanted <= room {
        return None;
    }
    let left = room.saturating_sub(demand.anonymous_bytes);
    Some(Finding {
        id: "page-cache",
        impact: Impact::Medium,
        what: format!(
            "the records of all znodes take {}, and of the {} that {} {} are left for them",
            gib(demand.cached_bytes),
            gib(room),
            whose(grouped),
            gib(left)
        ),
        why: "data of znodes lies in mapped files; what is not in the page cache is read from the disk first",
        effect: "reads of znodes that are seldom asked for no longer wait for the disk".to_owned(),
        advice: Some(format!("with {} everything stays in memory", gib(wanted))),
        commands: Vec::new(),
    })
}

fn mappings(situation: &Situation<'_>) -> Option<Finding> {
    let max = situation.report.host.memory.maps_max?;
    let small = u64::from(situation.recommendation.partitions) * SMALL_SEGMENTS;
    let needed = situation.demand.disk_bytes / LARGE_SEGMENT_BYTES + small + OTHER_MAPPINGS;
    if needed <= max {
        return None;
    }
    Some(Finding {
        id: "mappings",
        impact: Impact::High,
        what: format!("a process may have {max} mappings, and the logs of such a tree may come to {needed}"),
        why: "every segment of a partition's log is mapped",
        effect: "the logs can grow as far as the tree needs".to_owned(),
        advice: None,
        commands: sysctl("mappings", &[("vm.max_map_count", needed.checked_next_power_of_two().unwrap_or(needed))]),
    })
}

fn huge_pages(situation: &Situation<'_>) -> Option<Finding> {
    let pages = situation.report.host.memory.huge_pages.as_deref()?;
    if pages != "always" {
        return None;
    }
    Some(Finding {
        id: "huge-pages",
        impact: Impact::Medium,
        what: "transparent huge pages are given to everybody (always)".to_owned(),
        why: "a page of 2 MiB that is touched once is taken whole, and the kernel stops threads to gather such pages",
        effect: "less memory for the same tree, and no pauses for gathering pages".to_owned(),
        advice: None,
        commands: sysfs("huge-pages", "/sys/kernel/mm/transparent_hugepage/enabled", "madvise"),
    })
}

fn swap(situation: &Situation<'_>) -> Option<Finding> {
    let memory = &situation.report.host.memory;
    let swappiness = memory.swappiness.unwrap_or(60);
    if memory.swap_bytes == 0 || (swappiness <= SWAPPINESS_MAX && memory.swap_used_bytes == 0) {
        return None;
    }
    let impact = if memory.swap_used_bytes > 0 { Impact::High } else { Impact::Medium };
    Some(Finding {
        id: "swap",
        impact,
        what: format!(
            "there are {} of swap, {} in use, and vm.swappiness is {swappiness}",
            gib(memory.swap_bytes),
            gib(memory.swap_used_bytes)
        ),
        why: "a core whose memory lies on the disk waits for it, and every session of that core with it",
        effect: "no requests of many milliseconds after a while of little use".to_owned(),
        advice: Some(
            "MemorySwapMax=0 in the systemd unit keeps this server out of swap whatever the rest of the host does"
                .to_owned(),
        ),
        commands: sysctl("swap", &[("vm.swappiness", 1)]),
    })
}

fn write_back(situation: &Situation<'_>) -> Option<Finding> {
    let memory = &situation.report.host.memory;
    let percent = memory.dirty_background_percent?;
    let bytes = memory.total_bytes / 100 * percent;
    if bytes <= DIRTY_BYTES_MAX {
        return None;
    }
    Some(Finding {
        id: "write-back",
        impact: Impact::Low,
        what: format!(
            "the kernel lets {} of written pages gather before it writes them (vm.dirty_background_ratio {percent})",
            gib(bytes)
        ),
        why: "other programs' pages and those of partition logs are then written at once, in front of flushes of the log",
        effect: "fewer slow flushes while much is written".to_owned(),
        advice: None,
        commands: sysctl(
            "write-back",
            &[("vm.dirty_background_bytes", DIRTY_BACKGROUND_BYTES), ("vm.dirty_bytes", DIRTY_BYTES)],
        ),
    })
}
