//! Frequency, quota of the control group, and where interrupts are served.

use super::{Finding, Rule, Situation, sysfs};
use crate::advice::Impact;
use hardware::probe::Interrupt;

pub(super) const RULES: &[Rule] = &[busy, governor, quota, interrupts];

/// Interrupts below this share of all are not worth moving.
const SHARE_MIN: f64 = 0.05;
/// Before so many have come the busiest processor is chance.
const COUNT_MIN: u64 = 10_000;

fn busy(situation: &Situation<'_>) -> Option<Finding> {
    let host = &situation.report.host;
    let load = host.load.filter(|_| host.is_busy())?;
    Some(Finding {
        id: "busy-host",
        impact: Impact::Medium,
        what: format!("other programs kept processors busy before the probe (load average {load})"),
        why: "each core's thread has to run the moment that something arrives; others on its processor make it wait for \
              milliseconds",
        effect: "a probe of the quiet host shows shorter times, and so does the server there".to_owned(),
        advice: Some(
            "stop or move the other programs, and probe again before believing any latency of this report".to_owned(),
        ),
        commands: Vec::new(),
    })
}

fn governor(situation: &Situation<'_>) -> Option<Finding> {
    let processors = &situation.report.host.processors;
    let slow: Vec<&str> =
        processors.governors.iter().map(String::as_str).filter(|name| *name != "performance").collect();
    if slow.is_empty() {
        return None;
    }
    Some(Finding {
        id: "governor",
        impact: Impact::Medium,
        what: format!("the frequency of processors is governed by {}", slow.join(" and ")),
        why: "work comes in short bursts between sleeps, during which such a governor lowers the frequency",
        effect: "requests at light load take tens of microseconds less; the host draws more power".to_owned(),
        advice: None,
        commands: sysfs("governor", "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", "performance"),
    })
}

fn quota(situation: &Situation<'_>) -> Option<Finding> {
    let host = &situation.report.host;
    let quota = host.control_group.processor_quota?;
    let usable = host.processors.usable.len().max(1);
    let whole = (quota.floor() as usize).clamp(1, usable);
    let set: Vec<String> = host.processors.usable.iter().take(whole).map(usize::to_string).collect();
    Some(Finding {
        id: "processor-quota",
        impact: Impact::High,
        what: format!("the control group grants {quota:.2} of {usable} processors as a quota"),
        why: "when a quota is used up all threads stand still until the next period begins, up to a tenth of a second later",
        effect: "the slowest requests lose stalls of up to 100 ms; sessions no longer run out in them".to_owned(),
        advice: Some(format!(
            "give whole processors instead of a quota: docker --cpuset-cpus={} without --cpus; Kubernetes: whole numbers for \
             requests and limits with the static CPU manager; systemd: AllowedCPUs= without CPUQuota=",
            set.join(",")
        )),
        commands: Vec::new(),
    })
}

fn interrupts(situation: &Situation<'_>) -> Option<Finding> {
    let core = situation.recommendation.replication_processor.filter(|_| situation.recommendation.replication_alone)?;
    let all = &situation.report.host.interrupts;
    let total: u64 = all.iter().map(|interrupt| interrupt.count).fold(0, u64::saturating_add);
    let here = |interrupt: &&Interrupt| {
        interrupt.busiest == core
            && interrupt.count >= COUNT_MIN
            && interrupt.count as f64 >= total as f64 * SHARE_MIN
            && interrupt.affinity.iter().any(|cpu| *cpu != core)
    };
    let moved: Vec<&Interrupt> = all.iter().filter(here).collect();
    if moved.is_empty() {
        return None;
    }
    let online = &situation.report.host.processors.online;
    let others: Vec<String> = online.iter().filter(|cpu| **cpu != core).map(usize::to_string).collect();
    let others = others.join(",");
    let names: Vec<&str> = moved.iter().map(|interrupt| interrupt.name.as_str()).collect();
    Some(Finding {
        id: "interrupts",
        impact: Impact::Low,
        what: format!(
            "processor {core}, which is to host the replication role alone, serves interrupts of {}",
            names.join(", ")
        ),
        why: "every write passes the replication role, and an interrupt takes its processor away for a while",
        effect: "a few microseconds less for the slowest writes under load".to_owned(),
        advice: Some(format!(
            "irqbalance undoes this unless IRQBALANCE_BANNED_CPULIST={core} stands in its configuration; queues of NVMe drives \
             refuse to be moved"
        )),
        commands: moved
            .iter()
            .map(|interrupt| format!("echo {others} > /proc/irq/{}/smp_affinity_list", interrupt.number))
            .collect(),
    })
}
