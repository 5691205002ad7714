//! CPU and memory of another process, from /proc.

use std::io;
use std::time::Duration;

/// User plus system time of a process and all its threads. Resolution: one clock tick, 10 ms.
///
/// # Errors
/// The process is gone, or /proc is not what it should be.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 10)),
        _ => Err(io::Error::other(format!("/proc/{pid}/stat has an unknown form"))),
    }
}

/// Anonymous, file-backed and whole resident memory in KiB (`RssAnon`, `RssFile`, `VmRSS`).
///
/// # Errors
/// The process is gone.
pub fn resident_kib(pid: u32) -> io::Result<(u64, u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    Ok((field("RssAnon"), field("RssFile"), field("VmRSS")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_kib(pid).is_ok_and(|(anon, _, all)| anon > 0 && all >= anon));
        assert!(cpu_time(u32::MAX).is_err());
    }
}
