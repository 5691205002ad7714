//! What the control groups above this process leave it: processor time and memory, in both versions of cgroups.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mounts::Mount;
use super::roots::{Roots, number, text};

/// Version 1 writes "no limit" as the largest multiple of a page; nothing near it is a real one.
const NO_LIMIT_FROM: u64 = 1 << 60;

/// Limits of the control groups of this process, the tightest on the way up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ControlGroup {
    /// Processors' worth of time per time (quota by period); `None` without a quota.
    pub processor_quota: Option<f64>,
    /// Bytes of memory, page cache included; `None` without a limit.
    pub memory_bytes_max: Option<u64>,
}

impl ControlGroup {
    /// Reads them; `mounts` is the mount table.
    pub fn read(roots: &Roots, mounts: &[Mount]) -> ControlGroup {
        let membership = roots.proc_text("self/cgroup").unwrap_or_default();
        let mut found = ControlGroup::default();
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let Some(mount) = mount_of(mounts, controllers) else { continue };
            for dir in upwards(mount, Path::new(path)) {
                found.tighten(&roots.place(&dir));
            }
        }
        found
    }

    fn tighten(&mut self, dir: &Path) {
        let quotas = [quota_v2(dir), quota_v1(dir), self.processor_quota];
        self.processor_quota = quotas.into_iter().flatten().reduce(f64::min);
        let unified = number(&dir.join("memory.max"));
        let legacy = number(&dir.join("memory.limit_in_bytes")).filter(|bytes| *bytes < NO_LIMIT_FROM);
        self.memory_bytes_max = [unified, legacy, self.memory_bytes_max].into_iter().flatten().min();
    }
}

/// The hierarchy that a line of `/proc/self/cgroup` speaks of; version 2 names no controllers.
fn mount_of<'a>(mounts: &'a [Mount], controllers: &str) -> Option<&'a Mount> {
    mounts.iter().find(|mount| match controllers {
        "" => mount.kind == "cgroup2",
        _ => mount.kind == "cgroup" && controllers.split(',').all(|name| mount.super_options.iter().any(|o| o == name)),
    })
}

/// The group's directory and those above it, as far as they are mounted.
fn upwards(mount: &Mount, path: &Path) -> Vec<PathBuf> {
    // Within a container the mount shows the container's own group, or the path is told as seen from there.
    let inside = path.strip_prefix(&mount.root).or_else(|_| path.strip_prefix("/")).unwrap_or(Path::new(""));
    inside.ancestors().map(|part| mount.point.join(part)).collect()
}

/// `cpu.max`: `200000 100000`, or `max 100000`.
fn quota_v2(dir: &Path) -> Option<f64> {
    let text = text(&dir.join("cpu.max"))?;
    let mut words = text.split_whitespace();
    ratio(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
}

fn quota_v1(dir: &Path) -> Option<f64> {
    ratio(number(&dir.join("cpu.cfs_quota_us"))?, number(&dir.join("cpu.cfs_period_us"))?)
}

fn ratio(quota: u64, period: u64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::super::mounts::parse;
    use super::super::roots::fixture::Fixture;
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_way_up_holds() {
        let host = Fixture::new();
        host.file("proc/self/cgroup", "0::/system.slice/rk.service\n");
        host.file("sys/fs/cgroup/system.slice/rk.service/cpu.max", "150000 100000\n");
        host.file("sys/fs/cgroup/system.slice/rk.service/memory.max", "max\n");
        host.file("sys/fs/cgroup/system.slice/cpu.max", "400000 100000\n");
        host.file("sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
        let mounts = parse("31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let group = ControlGroup::read(&host.roots, &mounts);
        assert_eq!(group, ControlGroup { processor_quota: Some(1.5), memory_bytes_max: Some(1 << 30) });
    }

    #[test]
    fn version_1_has_a_hierarchy_per_controller() {
        let host = Fixture::new();
        host.file("proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n");
        host.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        host.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
        host.file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        let mounts = parse(
            "1 0 0:1 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             2 0 0:2 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let group = ControlGroup::read(&host.roots, &mounts);
        assert_eq!(group, ControlGroup { processor_quota: Some(0.5), memory_bytes_max: Some(512 << 20) });
    }

    #[test]
    fn no_limit_is_none() {
        let host = Fixture::new();
        host.file("proc/self/cgroup", "4:memory:/\n0::/\n");
        host.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        host.file("sys/fs/cgroup/memory/cpu.cfs_quota_us", "-1\n");
        host.file("sys/fs/cgroup/unified/cpu.max", "max 100000\n");
        let mounts = parse(
            "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             2 0 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(ControlGroup::read(&host.roots, &mounts), ControlGroup::default());
        assert_eq!(ControlGroup::read(&host.roots, &[]), ControlGroup::default());
    }
}
