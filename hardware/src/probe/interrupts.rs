//! Which processors serve the interrupts of disks and network cards.

use serde::{Deserialize, Serialize};

use super::roots::{Roots, list};

/// Interrupts told of, those that came most often.
const INTERRUPTS_MAX: usize = 32;

/// A numbered interrupt of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// What the driver calls it.
    pub name: String,
    /// Times since start.
    pub count: u64,
    /// Processors that may serve it.
    pub affinity: Vec<usize>,
    /// The processor that served it most often.
    pub busiest: usize,
    /// How often that one did.
    pub busiest_count: u64,
}

/// Reads them, the most frequent first; those that never came are left out.
pub(super) fn read(roots: &Roots) -> Vec<Interrupt> {
    let table = roots.proc_text("interrupts").unwrap_or_default();
    let mut lines = table.lines();
    let processors: Vec<usize> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("CPU")?.parse().ok())
        .collect();
    let mut all: Vec<Interrupt> = lines.filter_map(|line| interrupt(roots, line, &processors)).collect();
    all.sort_by_key(|interrupt| (std::cmp::Reverse(interrupt.count), interrupt.number));
    all.truncate(INTERRUPTS_MAX);
    all
}

fn interrupt(roots: &Roots, line: &str, processors: &[usize]) -> Option<Interrupt> {
    let mut words = line.split_whitespace();
    let number: u32 = words.next()?.strip_suffix(':')?.parse().ok()?;
    let counts: Vec<u64> = words.by_ref().take(processors.len()).map_while(|word| word.parse().ok()).collect();
    let count = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    let (busiest, busiest_count) =
        processors.iter().copied().zip(counts).max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 0)?;
    let affinity = roots.proc_text(&format!("irq/{number}/smp_affinity_list"));
    Some(Interrupt {
        number,
        name: words.last()?.to_owned(),
        count,
        affinity: affinity.map_or_else(Vec::new, |text| list(&text)),
        busiest,
        busiest_count,
    })
}

#[cfg(test)]
mod tests {
    use super::super::roots::fixture::Fixture;
    use super::*;

    #[test]
    fn the_most_frequent_come_first_and_silent_ones_are_left_out() {
        let host = Fixture::new();
        host.file(
            "proc/interrupts",
            "            CPU0       CPU2\n  \
             1:          0          0   IO-APIC   1-edge      i8042\n \
             24:         5       1000   PCI-MSI 1-edge      virtio0-req.0\n \
             25:         7          0   PCI-MSI 2-edge      eth0-rx-0\n\
             NMI:        3          3   Non-maskable interrupts\n\
             ERR:        0\n",
        );
        host.file("proc/irq/24/smp_affinity_list", "0-2\n");
        let all = read(&host.roots);
        let names: Vec<&str> = all.iter().map(|interrupt| interrupt.name.as_str()).collect();
        assert_eq!(names, ["virtio0-req.0", "eth0-rx-0"]);
        assert_eq!((all[0].count, all[0].busiest, all[0].busiest_count), (1005, 2, 1000));
        assert_eq!(all[0].affinity, [0, 1, 2]);
        assert!(all[1].affinity.is_empty());
        assert!(read(&Fixture::new().roots).is_empty());
    }
}
