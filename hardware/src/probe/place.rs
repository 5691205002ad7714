//! A directory: the file system under it, its mount, and the device under that.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::mounts::{self, Mount};
use super::roots::Roots;

/// Overlays upon overlays that are followed.
const OVERLAYS_MAX: usize = 4;

/// A directory and what lies under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The directory, absolute, without symbolic links.
    pub dir: PathBuf,
    /// Its file system.
    pub file_system: FileSystem,
    /// The device that it lies on.
    pub device: Option<Device>,
    /// Why no device is known, where none is.
    pub device_unknown: Option<String>,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileSystem {
    /// Its type, such as `ext4`.
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What is mounted there.
    pub source: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
    /// Bytes of it.
    pub total_bytes: u64,
    /// Bytes that an unprivileged process may still write.
    pub free_bytes: u64,
}

impl FileSystem {
    /// Whether it keeps files in memory alone, so that nothing outlives the system.
    pub fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs" | "hugetlbfs")
    }

    /// Whether another machine keeps the files.
    pub fn is_remote(&self) -> bool {
        let kinds = ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "lustre", "afs"];
        kinds.contains(&self.kind.as_str()) || self.kind.starts_with("fuse.")
    }

    /// Whether an option is set.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|held| held == option)
    }
}

impl Place {
    /// What lies under `dir`, which must exist.
    ///
    /// # Errors
    /// The directory cannot be reached.
    pub fn of(dir: &Path, mounts: &[Mount]) -> io::Result<Place> {
        let dir = dir.canonicalize()?;
        let found = std::fs::metadata(&dir)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let number = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
        let mut place = under(&Roots::system(), mounts, &dir, mount_id(&dir), Some(number));
        let space = rustix::fs::statvfs(&dir)?;
        place.file_system.total_bytes = space.f_blocks.saturating_mul(space.f_frsize);
        place.file_system.free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        Ok(place)
    }

    /// Whether both lie on the same disk, as far as their devices are known.
    pub fn shares_disk_with(&self, other: &Place) -> bool {
        let names = |place: &Place| -> Vec<String> {
            let bottom = place.device.as_ref().map_or_else(Vec::new, Device::bottom);
            bottom.iter().map(|device| device.name.clone()).collect()
        };
        let (ours, theirs) = (names(self), names(other));
        ours.iter().any(|name| theirs.contains(name))
            || (ours.is_empty() && theirs.is_empty() && self.file_system.mount_point == other.file_system.mount_point)
    }
}

/// The mount's number, which tells apart mounts that hide each other; kernels before 5.8 do not tell.
fn mount_id(dir: &Path) -> Option<u64> {
    let wanted = StatxFlags::MNT_ID;
    let found = rustix::fs::statx(rustix::fs::CWD, dir, AtFlags::empty(), wanted).ok()?;
    (found.stx_mask & wanted.bits() != 0).then_some(found.stx_mnt_id)
}

fn under(roots: &Roots, mounts: &[Mount], dir: &Path, id: Option<u64>, number: Option<(u32, u32)>) -> Place {
    let mount = mounts::find(mounts, dir, id);
    let by_number = number.or_else(|| mount.map(|mount| mount.device));
    let device = by_number.and_then(|number| Device::by_number(roots, number));
    let (device, device_unknown) = match (device, mount) {
        (Some(device), _) => (Some(device), None),
        (None, Some(mount)) => match behind(roots, mounts, mount, OVERLAYS_MAX) {
            Ok(device) => (Some(device), None),
            Err(reason) => (None, Some(reason)),
        },
        (None, None) => (None, Some("no mount of this directory is listed".to_owned())),
    };
    let file_system = mount.map_or_else(FileSystem::default, |mount| {
        let mut options = mount.options.clone();
        options.extend(mount.super_options.iter().filter(|option| !mount.options.contains(option)).cloned());
        FileSystem {
            kind: mount.kind.clone(),
            mount_point: mount.point.clone(),
            source: mount.source.clone(),
            options,
            ..FileSystem::default()
        }
    });
    Place { dir: dir.to_path_buf(), file_system, device, device_unknown }
}

/// The device of a mount whose own number names none.
fn behind(roots: &Roots, mounts: &[Mount], mount: &Mount, depth: usize) -> Result<Device, String> {
    if mount.kind == "overlay" {
        let upper = mount.super_options.iter().find_map(|option| option.strip_prefix("upperdir="));
        let Some(upper) = upper else {
            return Err("an overlay without an upper directory: it cannot be written".to_owned());
        };
        let beneath = mounts::find(mounts, Path::new(upper), None).filter(|found| found.id != mount.id && depth > 0);
        let Some(beneath) = beneath else {
            return Err(format!("an overlay upon {upper}, which lies outside this container"));
        };
        let direct = Device::by_number(roots, beneath.device);
        return direct.map_or_else(|| behind(roots, mounts, beneath, depth - 1), Ok);
    }
    let named = mount.source.strip_prefix("/dev/").and_then(|rest| {
        let name = rest.strip_prefix("mapper/").unwrap_or(rest);
        Device::by_name(roots, name)
    });
    named.ok_or_else(|| format!("{} has no block device", mount.kind))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::device::tests::disks;
    use super::*;

    const TABLE: &str = "\
1 0 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw,data=ordered
2 1 253:0 / /data rw,noatime - xfs /dev/mapper/vg-data rw,noatime
3 1 0:40 / /pool rw - btrfs /dev/mapper/vg-data rw
4 1 0:41 / /box rw - overlay overlay rw,lowerdir=/l,upperdir=/data/upper,workdir=/w
5 1 0:42 / /shm rw - tmpfs tmpfs rw
6 1 0:43 / /far rw - nfs4 host:/x rw
7 1 0:44 / /still ro - overlay overlay ro,lowerdir=/l
8 1 0:45 / /inner rw - overlay overlay rw,upperdir=/inner/x
";

    fn place(dir: &str) -> Place {
        under(&disks().roots, &mounts::parse(TABLE), Path::new(dir), None, None)
    }

    fn name(dir: &str) -> Option<String> {
        place(dir).device.map(|device| device.name)
    }

    #[test]
    fn devices_are_found_by_number_by_source_and_through_overlays() {
        assert_eq!(name("/home/x").as_deref(), Some("nvme0n1"));
        assert_eq!(name("/data/y").as_deref(), Some("dm-0"));
        assert_eq!(name("/pool").as_deref(), Some("dm-0"));
        assert_eq!(name("/box/z").as_deref(), Some("dm-0"));
    }

    #[test]
    fn where_there_is_none_the_reason_is_told() {
        for (dir, reason) in [
            ("/shm", "tmpfs has no block device"),
            ("/far", "nfs4 has no block device"),
            ("/still", "cannot be written"),
            ("/inner/y", "outside this container"),
        ] {
            let place = place(dir);
            assert_eq!(place.device, None);
            assert!(place.device_unknown.as_deref().unwrap().contains(reason), "{place:?}");
        }
        assert!(place("/shm").file_system.is_memory());
        assert!(place("/far").file_system.is_remote());
    }

    #[test]
    fn options_of_mount_and_file_system_stand_together_once() {
        let system = place("/data").file_system;
        assert_eq!(system.options, ["rw", "noatime"]);
        assert!(place("/").file_system.has("data=ordered"));
    }

    #[test]
    fn two_places_share_a_disk_at_the_bottom_of_a_stack() {
        assert!(place("/data").shares_disk_with(&place("/pool")));
        assert!(place("/data").shares_disk_with(&place("/")), "dm-0 lies upon the disk of the root");
        assert!(!place("/shm").shares_disk_with(&place("/")));
        assert!(place("/shm/a").shares_disk_with(&place("/shm/b")));
        assert!(!place("/shm").shares_disk_with(&place("/far")));
    }

    #[test]
    fn this_machine_has_a_file_system_under_a_temporary_directory() {
        let dir = tempfile::tempdir().unwrap();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = Place::of(dir.path(), &mounts::parse(&table)).unwrap();
        assert!(!place.file_system.kind.is_empty() && place.file_system.total_bytes > 0);
        assert!(place.device.is_some() != place.device_unknown.is_some());
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(Place::of(&dir.path().join("file"), &[]).is_err());
        assert!(Place::of(&dir.path().join("missing"), &[]).is_err());
    }
}
