//! Advice for people: findings, what the wishes take, the configuration.

use super::probe_text::{bytes, line};
use std::fmt::Write;
use tuning::advice::Advice;

/// All of it.
pub(super) fn text(advice: &Advice) -> String {
    let mut out = String::new();
    if advice.findings.is_empty() {
        out.push_str("Nothing was found that should change on this host.\n");
    }
    for finding in &advice.findings {
        let impact = format!("{:?}", finding.impact).to_uppercase();
        let _ = writeln!(out, "{impact:<9} {}: {}", finding.id, finding.what);
        let mut part = |name: &str, text: &str| {
            let _ = writeln!(out, "          {name:<8}{text}");
        };
        part("why", finding.why);
        part("effect", &finding.effect);
        if let Some(advice) = &finding.advice {
            part("note", advice);
        }
        for command in &finding.commands {
            part("run", command);
        }
        out.push('\n');
    }
    demand(&mut out, advice);
    out.push_str("\nRecommended configuration (--config prints it alone):\n\n");
    for row in advice.recommendation.zoo_cfg().lines() {
        let _ = writeln!(out, "{}", format!("    {row}").trim_end());
    }
    out
}

fn demand(out: &mut String, advice: &Advice) {
    let (wishes, demand, plan) = (&advice.wishes, &advice.demand, &advice.recommendation);
    let _ = writeln!(
        out,
        "For {} znodes of {} bytes, {} sessions and {} watches:",
        wishes.znodes, wishes.value_bytes, wishes.sessions, wishes.watches
    );
    let buffers = bytes(plan.buffer_bytes);
    line(out, "memory", &format!("{}, of which {buffers} for buffers at start", bytes(demand.anonymous_bytes)));
    line(out, "page cache", &format!("{} hold all znodes", bytes(demand.cached_bytes)));
    line(out, "disk", &format!("up to {}, of which {} for the log", bytes(demand.disk_bytes), bytes(plan.log_bytes)));
    line(out, "files", &format!("{} descriptors", demand.open_files));
    let shards: Vec<String> = plan.shard_processors.iter().map(usize::to_string).collect();
    if !shards.is_empty() {
        line(out, "shards", &format!("on processors {}", shards.join(", ")));
    }
    if let Some(processor) = plan.replication_processor {
        let alone = if plan.replication_alone { ", alone" } else { ", shared with the first shard" };
        line(out, "replication", &format!("on processor {processor}{alone}"));
    }
}
