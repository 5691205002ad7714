//! The host as a whole: kernel, memory, limits, network settings, and the parts that have files of their own.

use serde::{Deserialize, Serialize};

use super::control_group::ControlGroup;
use super::interrupts::{self, Interrupt};
use super::mounts::Mount;
use super::processors::Processors;
use super::roots::{Roots, chosen};
use crate::limits::Limit;
use crate::{cpu, kernel, limits};

/// Facts about a host, as far as its kernel tells them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Host {
    /// The kernel and its rings.
    pub kernel: Kernel,
    /// Processors, caches, governors.
    pub processors: Processors,
    /// Memory and how it is managed.
    pub memory: Memory,
    /// Limits of this process and of the system.
    pub limits: ProcessLimits,
    /// Limits of the control groups.
    pub control_group: ControlGroup,
    /// Settings of the network stack.
    pub network: Network,
    /// Interrupts of devices, the most frequent first.
    pub interrupts: Vec<Interrupt>,
    /// Maker and product of the machine as its firmware tells them.
    pub machine: Option<String>,
    /// Whether this process runs in a container, as far as that can be told.
    pub container: bool,
    /// Load average of the last minute before anything was measured: programs that compete for processors.
    pub load: Option<f64>,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kernel {
    /// What `uname -r` prints.
    pub release: String,
    /// The processor architecture that this program was built for.
    pub architecture: String,
    /// Whether everything that the server needs of io_uring is there and works.
    pub io_uring: bool,
    /// Otherwise what is missing, and the remedy.
    pub io_uring_refusal: Option<String>,
    /// kernel.io_uring_disabled, where there is such a setting: 0, 1 (unprivileged processes), 2 (everybody).
    pub io_uring_disabled: Option<u64>,
    /// Whether a seccomp filter watches this process.
    pub seccomp: bool,
}

/// Memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// All of the machine's.
    pub total_bytes: u64,
    /// What could be used without swapping.
    pub available_bytes: u64,
    /// Swap space; 0 without.
    pub swap_bytes: u64,
    /// Swap space in use.
    pub swap_used_bytes: u64,
    /// vm.swappiness.
    pub swappiness: Option<u64>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// vm.max_map_count: how many mappings a process may have.
    pub maps_max: Option<u64>,
    /// vm.dirty_background_ratio: per cent of memory from which the kernel writes dirty pages back.
    pub dirty_background_percent: Option<u64>,
    /// vm.dirty_ratio: per cent of memory from which writers are made to wait.
    pub dirty_percent: Option<u64>,
}

/// Limits of this process, and those of the system above them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Open files (RLIMIT_NOFILE).
    pub open_files: Limit,
    /// Bytes of locked memory (RLIMIT_MEMLOCK).
    pub locked_memory_bytes: Limit,
    /// fs.nr_open: as far as RLIMIT_NOFILE can be raised at all.
    pub open_files_per_process_max: Option<u64>,
    /// fs.file-max: open files of all processes.
    pub open_files_system_max: Option<u64>,
}

/// Settings of the network stack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// net.core.somaxconn: connections that may wait to be accepted.
    pub accept_backlog_max: Option<u64>,
    /// net.ipv4.tcp_max_syn_backlog: connections that may be half open.
    pub half_open_max: Option<u64>,
    /// net.core.netdev_max_backlog: packets that may wait for a processor.
    pub device_backlog_max: Option<u64>,
    /// net.ipv4.ip_local_port_range, first and last: bounds the connections from one address to one server.
    pub local_ports: Option<(u64, u64)>,
}

impl Host {
    /// Whether other programs keep so many processors busy that times are longer than on a quiet host.
    pub fn is_busy(&self) -> bool {
        const SHARE: f64 = 0.5;
        self.load.is_some_and(|load| load > SHARE * self.processors.online.len() as f64)
    }

    /// The running host. Tries a ring out, which takes a moment.
    pub fn of_this_machine(mounts: &[Mount]) -> Host {
        let mut host = Host::read(&Roots::system(), mounts, cpu::available_cpus().unwrap_or_default());
        let refusal = kernel::require().err();
        host.kernel.io_uring = refusal.is_none();
        host.kernel.io_uring_refusal = refusal.map(|error| error.to_string());
        host.limits.open_files = limits::open_files();
        host.limits.locked_memory_bytes = limits::locked_memory();
        host
    }

    /// What the two trees tell; `usable` is the affinity mask of this process.
    pub(super) fn read(roots: &Roots, mounts: &[Mount], usable: Vec<usize>) -> Host {
        Host {
            kernel: kernel_facts(roots),
            processors: Processors::read(roots, usable),
            memory: memory(roots),
            limits: ProcessLimits {
                open_files_per_process_max: roots.proc_number("sys/fs/nr_open"),
                open_files_system_max: roots.proc_number("sys/fs/file-max"),
                ..ProcessLimits::default()
            },
            control_group: ControlGroup::read(roots, mounts),
            network: network(roots),
            interrupts: interrupts::read(roots),
            machine: machine(roots),
            container: is_container(roots, mounts),
            load: roots.proc_text("loadavg").and_then(|text| text.split_whitespace().next()?.parse().ok()),
        }
    }
}

fn kernel_facts(roots: &Roots) -> Kernel {
    let status = roots.proc_text("self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    Kernel {
        release: roots.proc_text("sys/kernel/osrelease").unwrap_or_default(),
        architecture: std::env::consts::ARCH.to_owned(),
        io_uring_disabled: roots.proc_number("sys/kernel/io_uring_disabled"),
        seccomp: mode.and_then(|mode| mode.trim().parse::<u32>().ok()).is_some_and(|mode| mode > 0),
        ..Kernel::default()
    }
}

fn memory(roots: &Roots) -> Memory {
    let info = roots.proc_text("meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes: Option<u64> = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        kibibytes.unwrap_or(0).saturating_mul(1024)
    };
    let swap_bytes = bytes("SwapTotal");
    Memory {
        total_bytes: bytes("MemTotal"),
        available_bytes: bytes("MemAvailable"),
        swap_bytes,
        swap_used_bytes: swap_bytes.saturating_sub(bytes("SwapFree")),
        swappiness: roots.proc_number("sys/vm/swappiness"),
        huge_pages: roots.sys_text("kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
        maps_max: roots.proc_number("sys/vm/max_map_count"),
        dirty_background_percent: roots.proc_number("sys/vm/dirty_background_ratio"),
        dirty_percent: roots.proc_number("sys/vm/dirty_ratio"),
    }
}

fn network(roots: &Roots) -> Network {
    let ports = roots.proc_text("sys/net/ipv4/ip_local_port_range").and_then(|text| {
        let mut words = text.split_whitespace().map(str::parse);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    });
    Network {
        accept_backlog_max: roots.proc_number("sys/net/core/somaxconn"),
        half_open_max: roots.proc_number("sys/net/ipv4/tcp_max_syn_backlog"),
        device_backlog_max: roots.proc_number("sys/net/core/netdev_max_backlog"),
        local_ports: ports,
    }
}

fn machine(roots: &Roots) -> Option<String> {
    let part = |name: &str| roots.sys_text(&format!("class/dmi/id/{name}")).filter(|text| !text.is_empty());
    let parts: Vec<String> = [part("sys_vendor"), part("product_name")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Runtimes mount an overlay as the root directory, or leave their name in the path of the control group.
fn is_container(roots: &Roots, mounts: &[Mount]) -> bool {
    let overlay = super::mounts::find(mounts, "/".as_ref(), None).is_some_and(|root| root.kind == "overlay");
    let groups = roots.proc_text("self/cgroup").unwrap_or_default();
    overlay || ["docker", "kubepods", "libpod", "containerd", "lxc"].iter().any(|name| groups.contains(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mounts::parse;
    use super::super::roots::fixture::Fixture;
    use super::*;

    fn captured() -> Fixture {
        let host = Fixture::new();
        host.file("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
        host.file("proc/sys/kernel/io_uring_disabled", "1\n");
        host.file("proc/self/status", "Name:\tx\nSeccomp:\t2\n");
        host.file("proc/self/cgroup", "0::/system.slice\n");
        host.file(
            "proc/meminfo",
            "MemTotal:  2048 kB\nMemAvailable:  1024 kB\nSwapTotal:  512 kB\nSwapFree:  500 kB\nHugePages_Total: 0\n",
        );
        host.file("proc/sys/vm/swappiness", "60\n").file("proc/sys/vm/max_map_count", "65530\n");
        host.file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        host.file("proc/sys/fs/nr_open", "1048576\n").file("proc/loadavg", "0.60 0.25 0.10 1/200 4711\n");
        host.file("proc/sys/net/core/somaxconn", "4096\n");
        host.file("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
        host.file("sys/class/dmi/id/sys_vendor", "QEMU\n");
        host.file("sys/class/dmi/id/product_name", "Standard PC\n");
        host
    }

    #[test]
    fn a_captured_host() {
        let host = Host::read(&captured().roots, &parse("1 0 8:1 / / rw - ext4 /dev/sda1 rw"), vec![0]);
        assert_eq!(host.kernel.release, "6.1.0-13-amd64");
        assert_eq!(host.kernel.io_uring_disabled, Some(1));
        assert!(host.kernel.seccomp && !host.kernel.io_uring);
        assert_eq!((host.memory.total_bytes, host.memory.available_bytes), (2 << 20, 1 << 20));
        assert_eq!((host.memory.swap_bytes, host.memory.swap_used_bytes), (512 << 10, 12 << 10));
        assert_eq!(host.memory.huge_pages.as_deref(), Some("madvise"));
        assert_eq!(host.limits.open_files_per_process_max, Some(1 << 20));
        assert_eq!(host.network.accept_backlog_max, Some(4096));
        assert_eq!(host.network.local_ports, Some((32_768, 60_999)));
        assert_eq!(host.machine.as_deref(), Some("QEMU Standard PC"));
        assert!(!host.container);
        assert_eq!(host.load, Some(0.6));
        assert!(host.is_busy(), "more than half of the one processor");
        assert!(!Host { load: Some(0.5), ..host }.is_busy());
    }

    #[test]
    fn containers_are_known_by_their_root_or_their_group() {
        let overlay = parse("1 0 0:50 / / rw - overlay overlay rw,upperdir=/x");
        assert!(Host::read(&captured().roots, &overlay, vec![0]).container);
        let grouped = captured();
        grouped.file("proc/self/cgroup", "0::/kubepods/pod1/abc\n");
        assert!(Host::read(&grouped.roots, &[], vec![0]).container);
    }

    #[test]
    fn a_host_that_tells_nothing() {
        let host = Host::read(&Fixture::new().roots, &[], vec![3]);
        assert_eq!(host.processors.usable, [3]);
        assert_eq!(host.memory, Memory::default());
        assert_eq!(host.machine, None);
    }
}
