//! Whether a write that the system calls durable can be believed to be.
//!
//! A flush costs what the medium costs. Where it is quicker than any medium of its kind, or as quick as a write without a
//! flush in front of a volatile cache, something on the way answers for a disk that it has not asked.

use serde::{Deserialize, Serialize};

use super::append::{Append, AppendMethod};
use super::device::DeviceKind;
use super::place::Place;

/// Below this no block device has answered: a request, its transfer and its interrupt take longer on any bus.
const ANY_DEVICE_US: f64 = 5.0;
/// Flash without a capacitor takes longer than this to flush; a virtual disk also has its host to pass.
const VIRTUAL_DISK_US: f64 = 40.0;
/// A turning disk has to wait for its platter, unless a controller with a battery answers for it.
const TURNING_DISK_US: f64 = 1000.0;
/// A flush that adds less than this factor to a bare write in front of a volatile cache has done nothing.
const FLUSH_FACTOR: f64 = 1.15;
/// Fewer times prove nothing.
const COUNT_MIN: u64 = 5;

/// How much a durable write can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing speaks against it.
    Plausible,
    /// Latency or device give reason to ask.
    Doubtful,
    /// What is written here does not outlive a loss of power.
    NotDurable,
    /// Nothing was measured.
    Unknown,
}

/// The judgement, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub durability: Durability,
    /// In sentences.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Judges a place by what it is and by the appends that were measured there.
    pub fn of(place: &Place, appends: &[Append]) -> Verdict {
        let mut reasons = Vec::new();
        if let Some(reason) = keeps_nothing(place) {
            reasons.push(reason);
            return Verdict { durability: Durability::NotDurable, reasons };
        }
        let durable = |append: &&Append| append.method.is_durable() && append.timing.count >= COUNT_MIN;
        let quickest = appends.iter().filter(durable).min_by(|a, b| a.timing.p50_us.total_cmp(&b.timing.p50_us));
        let Some(quickest) = quickest else {
            reasons.push("too few appends were measured to judge".to_owned());
            return Verdict { durability: Durability::Unknown, reasons };
        };
        let (bytes, median_us) = (quickest.bytes, quickest.timing.p50_us);
        let what = format!("a durable write of {bytes} bytes takes {median_us:.1} us here (median)");
        if median_us < ANY_DEVICE_US {
            reasons.push(format!("{what}: no disk answers that quickly, so the flush does not reach one"));
            return Verdict { durability: Durability::NotDurable, reasons };
        }
        reasons.extend(doubts(place, appends, median_us, &what));
        if place.file_system.has("nobarrier") || place.file_system.has("barrier=0") {
            reasons
                .push("the file system is mounted without barriers: it does not flush the device's cache".to_owned());
        }
        if place.file_system.is_remote() {
            reasons.push(format!("{} keeps the files on another machine, which decides", place.file_system.kind));
        }
        let durability = if reasons.is_empty() { Durability::Plausible } else { Durability::Doubtful };
        if reasons.is_empty() {
            reasons.push(what);
        }
        Verdict { durability, reasons }
    }
}

fn keeps_nothing(place: &Place) -> Option<String> {
    if place.file_system.is_memory() {
        let (dir, kind) = (place.dir.display(), &place.file_system.kind);
        return Some(format!("{dir} lies on {kind}, in memory: nothing outlives a restart of the system"));
    }
    let bottom = place.device.as_ref()?.bottom();
    let device = bottom.iter().find(|device| device.kind == DeviceKind::Memory)?;
    Some(format!("{} is a disk in memory: nothing outlives a restart of the system", device.name))
}

fn doubts(place: &Place, appends: &[Append], median_us: f64, what: &str) -> Vec<String> {
    let mut doubts = Vec::new();
    let Some(device) = &place.device else { return doubts };
    let name = &device.name;
    if device.has_volatile_cache()
        && let Some((bytes, synced_us, bare_us)) = flush_against_bare(appends)
        && synced_us < bare_us * FLUSH_FACTOR
    {
        doubts.push(format!(
            "{name} has a volatile cache, but a flushed direct write of {bytes} bytes takes {synced_us:.1} us and one without \
             flush {bare_us:.1} us: the flush costs nothing, so it probably does nothing"
        ));
    }
    if device.is_virtual() && median_us < VIRTUAL_DISK_US {
        doubts.push(format!(
            "{what}, on a virtual disk ({name}): its host probably answers from memory; ask whoever runs it whether a flush \
             reaches a disk"
        ));
    }
    let turning = !device.is_virtual() && device.bottom().iter().all(|device| device.rotational);
    if turning && median_us < TURNING_DISK_US {
        doubts.push(format!(
            "{what}, but {name} says that it turns: only a controller with a battery or capacitor may answer so quickly; \
             check that it has one"
        ));
    }
    doubts
}

/// Bytes and medians of the smallest direct writes with a flush in the same call and without any.
fn flush_against_bare(appends: &[Append]) -> Option<(u64, f64, f64)> {
    let of = |method: AppendMethod| {
        let measured = |append: &&Append| append.method == method && append.direct && append.timing.count >= COUNT_MIN;
        appends.iter().filter(measured).min_by_key(|append| append.bytes)
    };
    let (synced, bare) = (of(AppendMethod::Pwritev2Dsync)?, of(AppendMethod::Unsynced)?);
    (synced.bytes == bare.bytes).then_some((synced.bytes, synced.timing.p50_us, bare.timing.p50_us))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::device::Device;
    use super::super::place::FileSystem;
    use super::super::timing::Timing;
    use super::*;

    fn device(kind: DeviceKind) -> Device {
        Device {
            name: "disk0".to_owned(),
            partition: None,
            kind,
            model: None,
            bytes: 1 << 40,
            rotational: false,
            scheduler: None,
            schedulers: Vec::new(),
            queue_requests: None,
            hardware_queues: 1,
            physical_block_bytes: None,
            write_back: false,
            fua: false,
            discard: false,
            beneath: Vec::new(),
        }
    }

    fn place(kind: &str, device: Option<Device>) -> Place {
        let file_system = FileSystem { kind: kind.to_owned(), ..FileSystem::default() };
        Place { dir: "/d".into(), file_system, device, device_unknown: None }
    }

    fn append(method: AppendMethod, p50_us: f64) -> Append {
        let timing = Timing { count: 1000, p50_us, ..Timing::default() };
        Append { method, bytes: 4096, direct: true, fell_back: false, timing, per_second: 0.0, error: None }
    }

    fn judge(place: &Place, synced_us: f64, bare_us: f64) -> (Durability, String) {
        let appends = [append(AppendMethod::Pwritev2Dsync, synced_us), append(AppendMethod::Unsynced, bare_us)];
        let verdict = Verdict::of(place, &appends);
        (verdict.durability, verdict.reasons.join("; "))
    }

    #[test]
    fn memory_keeps_nothing_however_slow_it_is() {
        let (durability, reason) = judge(&place("tmpfs", None), 5000.0, 100.0);
        assert_eq!(durability, Durability::NotDurable);
        assert!(reason.contains("tmpfs"), "{reason}");
        let zram = place("ext4", Some(device(DeviceKind::Memory)));
        assert_eq!(judge(&zram, 5000.0, 100.0).0, Durability::NotDurable);
        let upon = Device { beneath: vec![device(DeviceKind::Memory)], ..device(DeviceKind::Mapper) };
        assert_eq!(judge(&place("ext4", Some(upon)), 5000.0, 100.0).0, Durability::NotDurable);
    }

    #[test]
    fn quicker_than_any_device_is_not_durable() {
        let drive = place("xfs", Some(device(DeviceKind::Nvme)));
        let (durability, reason) = judge(&drive, 2.0, 1.5);
        assert_eq!(durability, Durability::NotDurable);
        assert!(reason.contains("no disk answers that quickly"), "{reason}");
        assert_eq!(judge(&drive, 12.0, 10.0).0, Durability::Plausible);
    }

    #[test]
    fn a_flush_that_costs_nothing_before_a_volatile_cache_is_doubted() {
        let cached = Device { write_back: true, ..device(DeviceKind::Nvme) };
        let cached = place("xfs", Some(cached));
        assert_eq!(judge(&cached, 21.0, 20.0).0, Durability::Doubtful);
        assert_eq!(judge(&cached, 400.0, 20.0).0, Durability::Plausible);
        let through = place("xfs", Some(device(DeviceKind::Nvme)));
        assert_eq!(judge(&through, 21.0, 20.0).0, Durability::Plausible, "nothing to flush");
    }

    #[test]
    fn virtual_and_turning_disks_have_limits_of_their_own() {
        let virtual_disk = place("ext4", Some(device(DeviceKind::Virtual)));
        assert_eq!(judge(&virtual_disk, 30.0, 20.0).0, Durability::Doubtful);
        assert_eq!(judge(&virtual_disk, 300.0, 20.0).0, Durability::Plausible);
        let turning = Device { rotational: true, ..device(DeviceKind::Scsi) };
        assert_eq!(judge(&place("ext4", Some(turning.clone())), 200.0, 20.0).0, Durability::Doubtful);
        assert_eq!(judge(&place("ext4", Some(turning)), 4000.0, 20.0).0, Durability::Plausible);
    }

    #[test]
    fn mounts_without_barriers_and_remote_ones_are_doubted() {
        let mut place = place("ext4", Some(device(DeviceKind::Nvme)));
        place.file_system.options = vec!["nobarrier".to_owned()];
        assert!(judge(&place, 400.0, 20.0).1.contains("barriers"));
        place.file_system = FileSystem { kind: "nfs4".to_owned(), ..FileSystem::default() };
        assert_eq!(judge(&place, 400.0, 20.0).0, Durability::Doubtful);
    }

    #[test]
    fn without_measurements_nothing_is_known() {
        let place = place("ext4", Some(device(DeviceKind::Nvme)));
        assert_eq!(Verdict::of(&place, &[]).durability, Durability::Unknown);
        let only_bare = [append(AppendMethod::Unsynced, 3.0)];
        assert_eq!(Verdict::of(&place, &only_bare).durability, Durability::Unknown);
    }
}
