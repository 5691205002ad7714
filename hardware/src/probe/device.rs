//! Block devices as `/sys` shows them: partitions, stacked devices (device-mapper, RAID) and what lies beneath.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::roots::{Roots, choices, chosen, number, text};

/// Devices stacked upon each other that are followed; deeper stacks are cut off.
const DEPTH_MAX: usize = 8;
const SECTOR_BYTES: u64 = 512;

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, such as `nvme0n1`; of the disk, not of the partition.
    pub name: String,
    /// The partition that the file system lies on, if it is one.
    pub partition: Option<String>,
    /// What kind it is.
    pub kind: DeviceKind,
    /// Maker and model, or the name of a mapped device.
    pub model: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// Whether it says that it has turning platters. Virtual disks may say anything.
    pub rotational: bool,
    /// The scheduler of its queue; `None` where there is no choice to make (stacked devices).
    pub scheduler: Option<String>,
    /// Schedulers that could be chosen.
    pub schedulers: Vec<String>,
    /// Requests that its queue holds.
    pub queue_requests: Option<u64>,
    /// Queues in hardware.
    pub hardware_queues: usize,
    /// Smallest unit that it writes by itself, bytes.
    pub physical_block_bytes: Option<u64>,
    /// Whether it has a volatile cache (`write back`): what it has acknowledged is durable only after a flush.
    pub write_back: bool,
    /// Whether it can write past that cache (FUA), which spares the flush.
    pub fua: bool,
    /// Whether it takes discards.
    pub discard: bool,
    /// Devices that it is made of.
    pub beneath: Vec<Device>,
}

/// Kinds of block device, by what they mean for durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// An NVMe drive, or a virtual one.
    Nvme,
    /// A disk behind SCSI, SATA or SAS.
    Scsi,
    /// A paravirtual disk (virtio, Xen).
    Virtual,
    /// Device-mapper: LVM, encryption, multipath.
    Mapper,
    /// Software RAID (md).
    Raid,
    /// A file as a disk.
    Loop,
    /// Memory as a disk: nothing outlives a loss of power.
    Memory,
    /// A disk across the network (nbd, rbd, drbd).
    Network,
    /// Flash card or embedded flash.
    Flash,
    /// Something else.
    Other,
}

impl Device {
    /// The device with this major and minor number; `None` where `/sys` knows none (file systems without a device).
    pub(super) fn by_number(roots: &Roots, (major, minor): (u32, u32)) -> Option<Device> {
        let dir = roots.sys.join(format!("dev/block/{major}:{minor}")).canonicalize().ok()?;
        read(&dir, DEPTH_MAX)
    }

    /// The device of this name (`sda1`, `dm-0`), or the mapped device of this name.
    pub(super) fn by_name(roots: &Roots, name: &str) -> Option<Device> {
        let class = roots.sys.join("class/block");
        let direct = class.join(name).canonicalize().ok().filter(|dir| dir.is_dir());
        let mapped = || {
            let entries = std::fs::read_dir(&class).ok()?;
            let mut dirs = entries.filter_map(|entry| entry.ok()?.path().canonicalize().ok());
            dirs.find(|dir| text(&dir.join("dm/name")).as_deref() == Some(name))
        };
        read(&direct.or_else(mapped)?, DEPTH_MAX)
    }

    /// The devices at the bottom of the stack.
    pub fn bottom(&self) -> Vec<&Device> {
        if self.beneath.is_empty() {
            return vec![self];
        }
        self.beneath.iter().flat_map(Device::bottom).collect()
    }

    /// Whether some device at the bottom has a volatile cache that only a flush empties.
    pub fn has_volatile_cache(&self) -> bool {
        self.bottom().iter().any(|device| device.write_back)
    }

    /// Whether a host that this system does not see decides what a flush means.
    pub fn is_virtual(&self) -> bool {
        const MODELS: [&str; 7] =
            ["qemu", "virtual", "vmware", "msft", "amazon elastic block", "persistentdisk", "google"];
        self.bottom().iter().any(|device| {
            let model = device.model.as_deref().unwrap_or_default().to_ascii_lowercase();
            device.kind == DeviceKind::Virtual || MODELS.iter().any(|name| model.contains(name))
        })
    }
}

fn read(dir: &Path, depth: usize) -> Option<Device> {
    let name = dir.file_name()?.to_str()?.to_owned();
    if dir.join("partition").exists() {
        // A partition's directory lies in its disk's.
        let disk = read(dir.parent()?, depth)?;
        return Some(Device { partition: Some(name), ..disk });
    }
    let queue = |file: &str| text(&dir.join("queue").join(file));
    let queue_number = |file: &str| number(&dir.join("queue").join(file));
    let beneath = if depth == 0 { Vec::new() } else { beneath(dir, depth - 1) };
    let scheduler = queue("scheduler");
    Some(Device {
        partition: None,
        kind: kind(&name),
        model: model(dir),
        bytes: number(&dir.join("size")).unwrap_or(0).saturating_mul(SECTOR_BYTES),
        rotational: queue_number("rotational") == Some(1),
        schedulers: scheduler.as_deref().map_or_else(Vec::new, choices),
        scheduler: scheduler.as_deref().and_then(chosen),
        queue_requests: queue_number("nr_requests"),
        hardware_queues: std::fs::read_dir(dir.join("mq")).map_or(0, |entries| entries.flatten().count()),
        physical_block_bytes: queue_number("physical_block_size"),
        write_back: queue("write_cache").as_deref() == Some("write back"),
        fua: queue_number("fua") == Some(1),
        discard: queue_number("discard_max_bytes").is_some_and(|bytes| bytes > 0),
        beneath,
        name,
    })
}

fn beneath(dir: &Path, depth: usize) -> Vec<Device> {
    let entries = std::fs::read_dir(dir.join("slaves"));
    let mut dirs: Vec<PathBuf> = entries
        .map(|entries| entries.flatten().filter_map(|entry| entry.path().canonicalize().ok()).collect())
        .unwrap_or_default();
    dirs.sort();
    dirs.iter().filter_map(|dir| read(dir, depth)).collect()
}

fn kind(name: &str) -> DeviceKind {
    const KINDS: [(&str, DeviceKind); 16] = [
        ("nvme", DeviceKind::Nvme),
        ("sd", DeviceKind::Scsi),
        ("sr", DeviceKind::Scsi),
        ("vd", DeviceKind::Virtual),
        ("xvd", DeviceKind::Virtual),
        ("dm-", DeviceKind::Mapper),
        ("md", DeviceKind::Raid),
        ("loop", DeviceKind::Loop),
        ("zram", DeviceKind::Memory),
        ("ram", DeviceKind::Memory),
        ("pmem", DeviceKind::Other),
        ("nbd", DeviceKind::Network),
        ("rbd", DeviceKind::Network),
        ("drbd", DeviceKind::Network),
        ("mmcblk", DeviceKind::Flash),
        ("bcache", DeviceKind::Mapper),
    ];
    KINDS.iter().find(|(start, _)| name.starts_with(start)).map_or(DeviceKind::Other, |(_, kind)| *kind)
}

fn model(dir: &Path) -> Option<String> {
    let part = |file: &str| text(&dir.join(file)).filter(|text| !text.is_empty());
    let parts: Vec<String> = [part("device/vendor"), part("device/model")].into_iter().flatten().collect();
    // The vendor of a virtual device is a number, which says nothing to anybody.
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.starts_with("0x")).collect();
    let joined = (!parts.is_empty()).then(|| parts.join(" "));
    joined.or_else(|| part("dm/name")).or_else(|| part("md/level"))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::roots::fixture::Fixture;
    use super::*;

    /// A disk `nvme0n1` with a partition, and `dm-0` ("vg-data") upon it and upon `sda`.
    pub(in super::super) fn disks() -> Fixture {
        let host = Fixture::new();
        let nvme = "sys/devices/pci/nvme0n1";
        host.file(&format!("{nvme}/size"), "2048\n");
        host.file(&format!("{nvme}/device/model"), "Quick 9000   \n");
        host.file(&format!("{nvme}/queue/scheduler"), "[none] mq-deadline\n");
        host.file(&format!("{nvme}/queue/write_cache"), "write back\n");
        host.file(&format!("{nvme}/queue/fua"), "1\n").file(&format!("{nvme}/queue/rotational"), "0\n");
        host.file(&format!("{nvme}/queue/nr_requests"), "1023\n");
        host.file(&format!("{nvme}/queue/discard_max_bytes"), "2199023255040\n");
        host.file(&format!("{nvme}/mq/0/nr_tags"), "1").file(&format!("{nvme}/mq/1/nr_tags"), "1");
        host.file(&format!("{nvme}/nvme0n1p1/partition"), "1\n");
        host.link("sys/dev/block/259:1", &format!("{nvme}/nvme0n1p1"));
        host.link("sys/class/block/nvme0n1p1", &format!("{nvme}/nvme0n1p1"));
        let sda = "sys/devices/ata/sda";
        host.file(&format!("{sda}/size"), "4096\n");
        host.file(&format!("{sda}/device/vendor"), "ATA\n").file(&format!("{sda}/device/model"), "Turning\n");
        host.file(&format!("{sda}/queue/scheduler"), "none mq-deadline [bfq]\n");
        host.file(&format!("{sda}/queue/write_cache"), "write through\n");
        host.file(&format!("{sda}/queue/rotational"), "1\n");
        host.link("sys/dev/block/8:0", sda);
        let mapped = "sys/devices/virtual/block/dm-0";
        host.file(&format!("{mapped}/dm/name"), "vg-data\n").file(&format!("{mapped}/size"), "1024\n");
        host.link(&format!("{mapped}/slaves/nvme0n1p1"), &format!("{nvme}/nvme0n1p1"));
        host.link(&format!("{mapped}/slaves/sda"), sda);
        host.link("sys/dev/block/253:0", mapped);
        host.link("sys/class/block/dm-0", mapped);
        host
    }

    #[test]
    fn a_partition_shows_its_disk() {
        let device = Device::by_number(&disks().roots, (259, 1)).unwrap();
        assert_eq!((device.name.as_str(), device.partition.as_deref()), ("nvme0n1", Some("nvme0n1p1")));
        assert_eq!((device.kind, device.model.as_deref()), (DeviceKind::Nvme, Some("Quick 9000")));
        assert_eq!((device.bytes, device.rotational, device.hardware_queues), (1 << 20, false, 2));
        assert_eq!(device.scheduler.as_deref(), Some("none"));
        assert_eq!(device.schedulers, ["none", "mq-deadline"]);
        assert!(device.write_back && device.fua && device.discard && !device.is_virtual());
        assert_eq!(device.queue_requests, Some(1023));
    }

    #[test]
    fn a_mapped_device_shows_what_lies_beneath() {
        let host = disks();
        let device = Device::by_number(&host.roots, (253, 0)).unwrap();
        assert_eq!((device.kind, device.model.as_deref()), (DeviceKind::Mapper, Some("vg-data")));
        assert_eq!(device.scheduler, None);
        let bottom: Vec<&str> = device.bottom().iter().map(|device| device.name.as_str()).collect();
        assert_eq!(bottom, ["sda", "nvme0n1"]);
        assert_eq!(device.bottom()[0].model.as_deref(), Some("ATA Turning"));
        assert!(device.has_volatile_cache());
        assert_eq!(Device::by_name(&host.roots, "vg-data").unwrap(), device);
        assert_eq!(Device::by_name(&host.roots, "nvme0n1p1").unwrap().name, "nvme0n1");
        assert_eq!(Device::by_name(&host.roots, "sdz"), None);
    }

    #[test]
    fn an_unknown_number_is_no_device() {
        assert_eq!(Device::by_number(&disks().roots, (0, 42)), None);
    }

    #[test]
    fn a_stack_that_bites_its_tail_ends() {
        let host = Fixture::new();
        host.file("sys/devices/virtual/block/dm-1/size", "8\n");
        host.link("sys/devices/virtual/block/dm-1/slaves/dm-1", "sys/devices/virtual/block/dm-1");
        host.link("sys/dev/block/253:1", "sys/devices/virtual/block/dm-1");
        assert_eq!(Device::by_number(&host.roots, (253, 1)).unwrap().bottom().len(), 1);
    }

    #[test]
    fn virtual_disks_are_known_by_driver_or_model() {
        let host = Fixture::new();
        host.file("sys/devices/vda/size", "8\n").file("sys/devices/vda/device/vendor", "0x1af4\n");
        host.link("sys/dev/block/254:0", "sys/devices/vda");
        let disk = Device::by_number(&host.roots, (254, 0)).unwrap();
        assert!(disk.is_virtual());
        assert_eq!(disk.model, None);
        let cloud = Device { kind: DeviceKind::Nvme, model: Some("Amazon Elastic Block Store".to_owned()), ..disk };
        assert!(cloud.is_virtual());
    }
}
