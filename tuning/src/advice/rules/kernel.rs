//! io_uring, and the limits of the process.

use super::{Finding, Rule, Situation, sysctl};
use crate::advice::Impact;

pub(super) const RULES: &[Rule] = &[io_uring, open_files, locked_memory];

/// What rings and registered buffers of one thread may count against the limit on locked memory.
const LOCKED_BYTES_PER_THREAD: u64 = 256 << 10;

fn io_uring(situation: &Situation<'_>) -> Option<Finding> {
    let kernel = &situation.report.host.kernel;
    if kernel.io_uring {
        return None;
    }
    let refusal = kernel.io_uring_refusal.clone().unwrap_or_else(|| "the reason is unknown".to_owned());
    let mut commands = Vec::new();
    if kernel.io_uring_disabled.is_some_and(|value| value > 0) {
        commands = sysctl("io-uring", &[("kernel.io_uring_disabled", 0)]);
    } else if kernel.seccomp {
        commands.push("ringkeeper tune --print seccomp > /etc/ringkeeper-seccomp.json".to_owned());
    }
    let contained = kernel.seccomp.then(|| {
        "hand the profile to the container: docker run --security-opt seccomp=/etc/ringkeeper-seccomp.json; with Kubernetes put \
         it below the kubelet's seccomp directory and name it in securityContext.seccompProfile (type Localhost)"
            .to_owned()
    });
    Some(Finding {
        id: "io-uring",
        impact: Impact::Critical,
        what: format!("io_uring does not work here: {refusal}"),
        why: "all network and disk work of the server goes through io_uring",
        effect: "without it the server does not start".to_owned(),
        advice: contained,
        commands,
    })
}

fn open_files(situation: &Situation<'_>) -> Option<Finding> {
    let limits = &situation.report.host.limits;
    let needed = situation.demand.open_files;
    let hard = limits.open_files.hard?;
    if hard >= needed {
        return None;
    }
    let wanted = needed.checked_next_power_of_two().unwrap_or(needed).max(65_536);
    let mut commands = Vec::new();
    if limits.open_files_per_process_max.is_some_and(|max| max < wanted) {
        commands.extend(sysctl("files", &[("fs.nr_open", wanted)]));
    }
    commands.push(format!(
        r"printf '%s\n' '* soft nofile {wanted}' '* hard nofile {wanted}' > /etc/security/limits.d/90-ringkeeper.conf"
    ));
    Some(Finding {
        id: "open-files",
        impact: Impact::High,
        what: format!(
            "{hard} open files are allowed, {needed} are needed for {} sessions and the server's own files",
            situation.wishes.sessions
        ),
        why: "each connection takes a descriptor; beyond the limit clients are not accepted",
        effect: "all sessions find room".to_owned(),
        advice: Some(format!(
            "limits.d holds for logins; a systemd unit needs LimitNOFILE={wanted} (ringkeeper tune --print systemd has a \
             line for it), docker --ulimit nofile={wanted}"
        )),
        commands,
    })
}

fn locked_memory(situation: &Situation<'_>) -> Option<Finding> {
    let hard = situation.report.host.limits.locked_memory_bytes.hard?;
    let threads = situation.recommendation.shard_processors.len().max(1) as u64 + 1;
    let needed = threads * LOCKED_BYTES_PER_THREAD;
    if hard >= needed {
        return None;
    }
    Some(Finding {
        id: "locked-memory",
        impact: Impact::Low,
        what: format!("{} KiB of memory may be locked, {} KiB may be counted for the rings", hard >> 10, needed >> 10),
        why: "some kernels count rings and registered buffers against this limit, and then refuse them",
        effect: "start-up cannot fail for this reason".to_owned(),
        advice: Some("a systemd unit needs LimitMEMLOCK=infinity, docker --ulimit memlock=-1".to_owned()),
        commands: vec![
            r"printf '%s\n' '* soft memlock unlimited' '* hard memlock unlimited' > /etc/security/limits.d/91-ringkeeper.conf"
                .to_owned(),
        ],
    })
}
