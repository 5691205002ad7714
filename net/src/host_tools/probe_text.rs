//! A report of the probe as a table for people.

use hardware::limits::Limit;
use hardware::probe::{Append, AppendMethod, Device, Durability, Host, Loopback, LoopbackCores, Place, Report};
use std::fmt::Write;

/// The whole report.
pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    host(&mut out, &report.host);
    place(&mut out, if report.log.is_some() { "data" } else { "data, log" }, &report.data);
    if let Some(log) = &report.log {
        place(&mut out, "log", log);
    }
    appends(&mut out, &report.appends);
    if let Some(stream) = &report.stream {
        let (write, read) = (rate(stream.write_bytes_per_second), rate(stream.read_bytes_per_second));
        let how = if stream.direct { "past the page cache" } else { "through the page cache: the speed of memory" };
        line(&mut out, "sequential", &format!("write {write}, read {read}, {} file, {how}", bytes(stream.file_bytes)));
    }
    for loopback in &report.loopback {
        line(&mut out, "loopback", &loopback_text(loopback));
    }
    for failure in &report.failures {
        line(&mut out, "failed", failure);
    }
    let _ = writeln!(out);
    let verdict = match report.verdict.durability {
        Durability::Plausible => "durable writes look durable",
        Durability::Doubtful => "DOUBTFUL: durable writes may not be durable here",
        Durability::NotDurable => "NOT DURABLE: what is written here does not outlive a loss of power",
        Durability::Unknown => "durability is unknown",
    };
    line(&mut out, "verdict", verdict);
    for reason in &report.verdict.reasons {
        line(&mut out, "", reason);
    }
    if report.interrupted {
        line(&mut out, "", "interrupted: this is what was measured until then");
    }
    out
}

fn host(out: &mut String, host: &Host) {
    let kernel = &host.kernel;
    let ring = match &kernel.io_uring_refusal {
        None => "io_uring works".to_owned(),
        Some(refusal) => format!("io_uring does not work: {refusal}"),
    };
    let seccomp = if kernel.seccomp { ", seccomp filter" } else { "" };
    line(out, "kernel", &format!("Linux {} {}, {ring}{seccomp}", kernel.release, kernel.architecture));
    if let Some(machine) = &host.machine {
        line(out, "machine", machine);
    }
    let processors = &host.processors;
    let model = processors.model.as_deref().unwrap_or("unknown model");
    let (online, usable) = (processors.online.len(), processors.usable.len());
    let smt = if processors.smt { "SMT" } else { "no SMT" };
    let hypervisor = if processors.hypervisor { ", under a hypervisor" } else { "" };
    let container = if host.container { ", in a container" } else { "" };
    let (cores, packages) = (counted(processors.cores, "core"), counted(processors.packages, "package"));
    line(
        out,
        "processors",
        &format!("{model}: {online} online, {usable} usable, {cores}, {packages}, {smt}{hypervisor}{container}"),
    );
    for node in &processors.nodes {
        let memory = node.memory_bytes.map_or_else(String::new, |memory| format!(", {}", bytes(memory)));
        line(out, "", &format!("NUMA node {}: processors {}{memory}", node.node, ranges(&node.processors)));
    }
    let caches: Vec<String> = processors
        .caches
        .iter()
        .map(|cache| {
            let kind = cache
                .kind
                .chars()
                .next()
                .filter(|_| cache.kind != "Unified")
                .map_or(String::new(), |kind| kind.to_lowercase().collect());
            format!("L{}{kind} {} x {} (shared by {})", cache.level, cache.count, bytes(cache.bytes), cache.shared_by)
        })
        .collect();
    if !caches.is_empty() {
        line(out, "caches", &caches.join(", "));
    }
    let governors =
        if processors.governors.is_empty() { "none visible".to_owned() } else { processors.governors.join(", ") };
    line(out, "governor", &governors);
    let memory = &host.memory;
    let pages = memory.huge_pages.as_deref().unwrap_or("not there");
    line(
        out,
        "memory",
        &format!(
            "{} in all, {} available; swap {} ({} used), swappiness {}; transparent huge pages {pages}",
            bytes(memory.total_bytes),
            bytes(memory.available_bytes),
            bytes(memory.swap_bytes),
            bytes(memory.swap_used_bytes),
            memory.swappiness.map_or("unknown".to_owned(), |value| value.to_string()),
        ),
    );
    let group = &host.control_group;
    let quota = group.processor_quota.map_or("no".to_owned(), |quota| format!("{quota:.2} processors"));
    let limit = group.memory_bytes_max.map_or("no".to_owned(), bytes);
    line(out, "cgroup", &format!("processor quota: {quota}; memory limit: {limit}"));
    let files = limit_text(host.limits.open_files, |files| files.to_string());
    let locked = limit_text(host.limits.locked_memory_bytes, bytes);
    line(out, "limits", &format!("open files {files}; locked memory {locked}"));
    if let Some(load) = host.load.filter(|_| host.is_busy()) {
        let processors = counted(host.processors.online.len(), "processor");
        line(out, "busy", &format!("load average {load} on {processors}: times below are longer than on a quiet host"));
    }
    let network = &host.network;
    let number = |value: Option<u64>| value.map_or("unknown".to_owned(), |value| value.to_string());
    line(
        out,
        "network",
        &format!(
            "somaxconn {}, tcp_max_syn_backlog {}, netdev_max_backlog {}",
            number(network.accept_backlog_max),
            number(network.half_open_max),
            number(network.device_backlog_max)
        ),
    );
}

fn place(out: &mut String, name: &str, place: &Place) {
    let system = &place.file_system;
    let (free, total) = (bytes(system.free_bytes), bytes(system.total_bytes));
    let _ = writeln!(out);
    line(out, name, &format!("{}: {} on {}, {free} of {total} free", place.dir.display(), system.kind, system.source));
    line(out, "", &format!("mounted on {} with {}", system.mount_point.display(), system.options.join(",")));
    match (&place.device, &place.device_unknown) {
        (Some(device), _) => device_lines(out, device, "disk"),
        (None, Some(reason)) => line(out, "", &format!("no disk is known: {reason}")),
        (None, None) => {}
    }
}

fn device_lines(out: &mut String, device: &Device, what: &str) {
    let model = device.model.as_deref().map_or_else(String::new, |model| format!(" ({model})"));
    let partition = device.partition.as_deref().map_or_else(String::new, |part| format!(", partition {part}"));
    let turning = if device.rotational { "says that it turns" } else { "does not turn" };
    let cache = if device.write_back { "volatile write cache" } else { "no volatile write cache" };
    let fua = if device.fua { "FUA" } else { "no FUA" };
    let scheduler = device.scheduler.as_deref().map_or("no scheduler".to_owned(), |name| format!("scheduler {name}"));
    let queue = device.queue_requests.map_or_else(String::new, |requests| {
        format!(", queue of {requests} requests, {}", counted(device.hardware_queues.max(1), "hardware queue"))
    });
    let kind = format!("{:?}", device.kind).to_lowercase();
    line(
        out,
        "",
        &format!(
            "{what} {}{model}{partition}: {kind}, {}, {turning}, {cache}, {fua}, {scheduler}{queue}",
            device.name,
            bytes(device.bytes)
        ),
    );
    for beneath in &device.beneath {
        device_lines(out, beneath, "  upon");
    }
}

fn appends(out: &mut String, appends: &[Append]) {
    if appends.is_empty() {
        return;
    }
    let _ = writeln!(out, "\ndurable appends, one after the other (us)\n");
    let _ = writeln!(
        out,
        "  {:>8}  {:<36}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>11}",
        "bytes", "method", "p50", "p90", "p99", "p99.9", "max", "per s", "rate"
    );
    let mut last = 0;
    for append in appends {
        let size = if append.bytes == last { String::new() } else { bytes(append.bytes) };
        last = append.bytes;
        let method = method(append);
        match &append.error {
            Some(error) => {
                let _ = writeln!(out, "  {size:>8}  {method:<36} {error}");
            }
            None => {
                let t = &append.timing;
                let each = [t.p50_us, t.p90_us, t.p99_us, t.p999_us, t.max_us].map(|us| format!("{us:>9.0}")).concat();
                let flow = rate(append.per_second * append.bytes as f64);
                let _ = writeln!(out, "  {size:>8}  {method:<36}{each}{:>10.0}{flow:>11}", append.per_second);
            }
        }
    }
    let _ = writeln!(out);
}

fn method(append: &Append) -> String {
    let direct = if append.direct { ", direct" } else { "" };
    let fell_back = if append.fell_back { " (refused: flush)" } else { "" };
    let name = match append.method {
        AppendMethod::Pwritev2Dsync => "pwritev2 RWF_DSYNC",
        AppendMethod::WriteFdatasync => "write, fdatasync",
        AppendMethod::IoUringDsync => "io_uring RWF_DSYNC",
        AppendMethod::IoUringFdatasync => "io_uring write, fdatasync",
        AppendMethod::MmapMsync => "mmap, msync",
        AppendMethod::Unsynced => "write (not durable)",
    };
    format!("{name}{direct}{fell_back}")
}

fn loopback_text(loopback: &Loopback) -> String {
    let (t, (near, far)) = (&loopback.timing, loopback.processors);
    let cores = match loopback.cores {
        LoopbackCores::Same => format!("same processor ({near})"),
        LoopbackCores::Across => format!("processors {near} and {far}"),
    };
    format!(
        "{cores}, {} bytes: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, {:.0} round trips a second; stream {}",
        loopback.bytes,
        t.p50_us,
        t.p99_us,
        t.p999_us,
        loopback.per_second,
        rate(loopback.stream_bytes_per_second)
    )
}

pub(super) fn line(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{name:<12}{text}");
}

fn limit_text(limit: Limit, text: impl Fn(u64) -> String) -> String {
    let one = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), &text);
    if limit.soft == limit.hard { one(limit.soft) } else { format!("{} (hard {})", one(limit.soft), one(limit.hard)) }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second as u64))
}

/// A size in the unit that suits it.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 && value.fract() > 0.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `0-3,8` of a list of numbers that ascends.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run =
        |(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ranges_for_people() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(1_600_000), "1.5 MiB");
        assert_eq!(bytes(u64::MAX), "16384 PiB");
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn a_limit_names_both_values_where_they_differ() {
        let text = |soft, hard| limit_text(Limit { soft, hard }, |value| value.to_string());
        assert_eq!(text(Some(1), Some(1)), "1");
        assert_eq!(text(Some(1), None), "1 (hard unlimited)");
        assert_eq!(text(None, None), "unlimited");
    }
}
