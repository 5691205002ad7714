//! Queues in front of the server's listeners, and ports.

use super::{Finding, Rule, Situation, sysctl};
use crate::advice::Impact;

pub(super) const RULES: &[Rule] = &[accept_backlog, half_open, ports];

fn accept_backlog(situation: &Situation<'_>) -> Option<Finding> {
    let max = situation.report.host.network.accept_backlog_max?;
    let wanted = situation.recommendation.accept_backlog;
    if max >= wanted {
        return None;
    }
    Some(Finding {
        id: "accept-backlog",
        impact: Impact::Medium,
        what: format!("{max} connections may wait to be accepted (net.core.somaxconn), {wanted} may come at once"),
        why: "after a restart all clients come back together; those that find no place try again after a second or more",
        effect: "sessions are back sooner after a restart, and fewer of them expire".to_owned(),
        advice: None,
        commands: sysctl("accept", &[("net.core.somaxconn", wanted)]),
    })
}

fn half_open(situation: &Situation<'_>) -> Option<Finding> {
    let max = situation.report.host.network.half_open_max?;
    let wanted = situation.recommendation.accept_backlog;
    if max >= wanted {
        return None;
    }
    Some(Finding {
        id: "half-open",
        impact: Impact::Low,
        what: format!("{max} connections may be half open (net.ipv4.tcp_max_syn_backlog), {wanted} may come at once"),
        why: "beyond it the kernel drops requests to connect, or falls back to cookies that lose options of TCP",
        effect: "sessions are back sooner after a restart".to_owned(),
        advice: None,
        commands: sysctl("half-open", &[("net.ipv4.tcp_max_syn_backlog", wanted)]),
    })
}

fn ports(situation: &Situation<'_>) -> Option<Finding> {
    let (first, last) = situation.report.host.network.local_ports?;
    if !(first..=last).contains(&2181) {
        return None;
    }
    Some(Finding {
        id: "local-ports",
        impact: Impact::Low,
        what: format!("ports from {first} to {last} are given to outgoing connections, 2181 among them"),
        why: "a program that happens to hold the client port keeps the server from starting",
        effect: "the server always finds its port".to_owned(),
        advice: None,
        commands: vec![
            r"printf '%s\n' 'net.ipv4.ip_local_reserved_ports = 2181,2888,3888' > /etc/sysctl.d/90-ringkeeper-ports.conf && \
sysctl -p /etc/sysctl.d/90-ringkeeper-ports.conf"
                .to_owned(),
        ],
    })
}
