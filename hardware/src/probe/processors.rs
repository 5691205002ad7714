//! Processors: cores, threads, packages, NUMA nodes, caches, and how their frequency is governed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::roots::{Roots, list, size};

/// The processors of the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Processors {
    /// Name of the model, where the kernel tells it.
    pub model: Option<String>,
    /// Numbers of the processors that are online.
    pub online: Vec<usize>,
    /// Those of them that the affinity mask of this process allows.
    pub usable: Vec<usize>,
    /// Physical cores online.
    pub cores: usize,
    /// Packages (sockets).
    pub packages: usize,
    /// Whether some core runs more than one of the processors online (SMT, hyper-threading).
    pub smt: bool,
    /// The processors that share a core, for each core with more than one.
    pub siblings: Vec<Vec<usize>>,
    /// NUMA nodes; one or none on small machines.
    pub nodes: Vec<NumaNode>,
    /// Caches by level and kind.
    pub caches: Vec<Cache>,
    /// Names of the frequency governors in use; empty where the kernel does not govern the frequency, as in most virtual
    /// machines.
    pub governors: Vec<String>,
    /// Name of the frequency driver.
    pub frequency_driver: Option<String>,
    /// Whether the processor says that a hypervisor runs this kernel.
    pub hypervisor: bool,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaNode {
    /// Its number.
    pub node: usize,
    /// Its processors.
    pub processors: Vec<usize>,
    /// Its memory, bytes.
    pub memory_bytes: Option<u64>,
}

/// Caches of one level and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1 to 4.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// Bytes of one of them.
    pub bytes: u64,
    /// How many of them there are among the processors online.
    pub count: usize,
    /// Processors that share one.
    pub shared_by: usize,
}

impl Processors {
    /// A usable processor on another core than `first`, or else any other usable one.
    pub(super) fn beside(&self, first: usize) -> Option<usize> {
        let core = self.siblings.iter().find(|core| core.contains(&first));
        let others = || self.usable.iter().copied().filter(|cpu| *cpu != first);
        others().find(|cpu| core.is_none_or(|core| !core.contains(cpu))).or_else(|| others().next())
    }

    /// Reads them; `usable` is the affinity mask of this process.
    pub fn read(roots: &Roots, usable: Vec<usize>) -> Processors {
        let online = roots.sys_text("devices/system/cpu/online").map_or_else(Vec::new, |text| list(&text));
        let online = if online.is_empty() { usable.clone() } else { online };
        let info = roots.proc_text("cpuinfo").unwrap_or_default();
        let cpu_text = |cpu: usize, file: &str| roots.sys_text(&format!("devices/system/cpu/cpu{cpu}/{file}"));
        let mut cores = BTreeSet::new();
        let mut packages = BTreeSet::new();
        let mut governors = BTreeSet::new();
        for &cpu in &online {
            let siblings = cpu_text(cpu, "topology/thread_siblings_list").map_or_else(Vec::new, |text| list(&text));
            let siblings: Vec<usize> = siblings.into_iter().filter(|sibling| online.contains(sibling)).collect();
            cores.insert(if siblings.is_empty() { vec![cpu] } else { siblings });
            packages.insert(cpu_text(cpu, "topology/physical_package_id").unwrap_or_default());
            governors.extend(cpu_text(cpu, "cpufreq/scaling_governor"));
        }
        let driver = online.iter().find_map(|cpu| cpu_text(*cpu, "cpufreq/scaling_driver"));
        let siblings: Vec<Vec<usize>> = cores.iter().filter(|core| core.len() > 1).cloned().collect();
        Processors {
            model: info_line(&info, "model name").or_else(|| info_line(&info, "Model")),
            cores: cores.len(),
            packages: packages.len(),
            smt: !siblings.is_empty(),
            siblings,
            nodes: numa_nodes(roots),
            caches: caches(roots, &online),
            governors: governors.into_iter().collect(),
            frequency_driver: driver,
            hypervisor: info_line(&info, "flags")
                .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
            online,
            usable,
        }
    }
}

fn info_line(info: &str, name: &str) -> Option<String> {
    info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn numa_nodes(roots: &Roots) -> Vec<NumaNode> {
    let numbers = roots.sys_text("devices/system/node/online").map_or_else(Vec::new, |text| list(&text));
    let read = |node: usize| {
        let file = |name: &str| roots.sys_text(&format!("devices/system/node/node{node}/{name}"));
        let memory = file("meminfo").and_then(|text| {
            let line = text.lines().find(|line| line.contains("MemTotal:"))?;
            let kibibytes: u64 = line.split_whitespace().rev().nth(1)?.parse().ok()?;
            kibibytes.checked_mul(1024)
        });
        Some(NumaNode { node, processors: list(&file("cpulist")?), memory_bytes: memory })
    };
    numbers.into_iter().filter_map(read).collect()
}

fn caches(roots: &Roots, online: &[usize]) -> Vec<Cache> {
    const INDEXES: usize = 8;
    /// Of one level and kind: bytes, and the sets of processors that share one.
    type Kinds = BTreeMap<(u32, String), (u64, BTreeSet<Vec<usize>>)>;
    let mut kinds = Kinds::new();
    for &cpu in online {
        for index in 0..INDEXES {
            let file = |name: &str| roots.sys_text(&format!("devices/system/cpu/cpu{cpu}/cache/index{index}/{name}"));
            let (Some(level), Some(kind), Some(bytes)) =
                (file("level").and_then(|text| text.parse().ok()), file("type"), file("size").and_then(|t| size(&t)))
            else {
                continue;
            };
            let shared = file("shared_cpu_list").map_or_else(Vec::new, |text| list(&text));
            let shared = if shared.is_empty() { vec![cpu] } else { shared };
            kinds.entry((level, kind)).or_insert_with(|| (bytes, BTreeSet::new())).1.insert(shared);
        }
    }
    kinds
        .into_iter()
        .map(|((level, kind), (bytes, sets))| Cache {
            level,
            kind,
            bytes,
            count: sets.len(),
            shared_by: sets.iter().map(Vec::len).max().unwrap_or(1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::roots::fixture::Fixture;
    use super::*;

    #[test]
    fn two_packages_of_two_cores_with_two_threads_each() {
        let host = Fixture::new();
        host.file("sys/devices/system/cpu/online", "0-7\n");
        host.file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu vme\n");
        for cpu in 0..8 {
            let (core, package) = (cpu % 4, cpu % 4 / 2);
            let at = format!("sys/devices/system/cpu/cpu{cpu}");
            host.file(&format!("{at}/topology/thread_siblings_list"), &format!("{core},{}\n", core + 4));
            host.file(&format!("{at}/topology/physical_package_id"), &format!("{package}\n"));
            host.file(
                &format!("{at}/cpufreq/scaling_governor"),
                if cpu == 3 { "powersave\n" } else { "performance\n" },
            );
            host.file(&format!("{at}/cpufreq/scaling_driver"), "acpi-cpufreq\n");
            for (index, kind, bytes, shared) in
                [(0, "Data", "32K", format!("{core},{}", core + 4)), (3, "Unified", "16M", format!("{package}"))]
            {
                host.file(&format!("{at}/cache/index{index}/level"), if index == 0 { "1" } else { "3" });
                host.file(&format!("{at}/cache/index{index}/type"), kind);
                host.file(&format!("{at}/cache/index{index}/size"), bytes);
                host.file(&format!("{at}/cache/index{index}/shared_cpu_list"), &shared);
            }
        }
        host.file("sys/devices/system/node/online", "0-1\n");
        for node in 0..2 {
            let at = format!("sys/devices/system/node/node{node}");
            host.file(&format!("{at}/cpulist"), if node == 0 { "0-1,4-5\n" } else { "2-3,6-7\n" });
            host.file(&format!("{at}/meminfo"), &format!("Node {node} MemTotal:       1024 kB\n"));
        }
        let processors = Processors::read(&host.roots, vec![0, 1]);
        assert_eq!(processors.model.as_deref(), Some("Fast One"));
        assert_eq!((processors.online.len(), processors.cores, processors.packages), (8, 4, 2));
        assert_eq!(processors.usable, [0, 1]);
        assert!(processors.smt && !processors.hypervisor);
        assert_eq!(processors.siblings[0], [0, 4]);
        let beside = |usable: &[usize]| Processors { usable: usable.to_vec(), ..processors.clone() }.beside(0);
        assert_eq!((beside(&[0, 4, 5]), beside(&[0, 4]), beside(&[0])), (Some(5), Some(4), None));
        assert_eq!(processors.governors, ["performance", "powersave"]);
        assert_eq!(processors.frequency_driver.as_deref(), Some("acpi-cpufreq"));
        let second = NumaNode { node: 1, processors: vec![2, 3, 6, 7], memory_bytes: Some(1 << 20) };
        assert_eq!(processors.nodes[1], second);
        let data = Cache { level: 1, kind: "Data".to_owned(), bytes: 32 << 10, count: 4, shared_by: 2 };
        assert_eq!(processors.caches[0], data);
        assert_eq!((processors.caches[1].bytes, processors.caches[1].count), (16 << 20, 2));
    }

    #[test]
    fn an_offline_sibling_makes_no_smt() {
        let host = Fixture::new();
        host.file("sys/devices/system/cpu/online", "0");
        host.file("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,1");
        assert!(!Processors::read(&host.roots, vec![0]).smt);
    }

    #[test]
    fn a_host_that_tells_nothing_still_has_the_usable_processors() {
        let host = Fixture::new();
        let processors = Processors::read(&host.roots, vec![2, 3]);
        assert_eq!((processors.online, processors.cores), (vec![2, 3], 2));
        assert!(processors.caches.is_empty() && processors.governors.is_empty());
    }
}
