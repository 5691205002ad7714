//! CPU and memory of a process, from /proc; and which process listens on a port.

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a signal may take to show.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(1);

/// What a process has used so far.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// User and system time of all threads, also those that have ended. Resolution: one clock tick, 10 ms.
    pub cpu: Duration,
    /// Time on a processor of each living thread.
    threads: HashMap<u32, Duration>,
    /// Resident memory.
    pub memory: Resident,
}

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resident {
    /// `RssAnon`: what the process itself allocated.
    pub anon_kib: u64,
    /// `RssFile`: mapped files, which the kernel may drop.
    pub file_kib: u64,
    /// `VmRSS`: all of it.
    pub all_kib: u64,
}

impl std::ops::Add for Resident {
    type Output = Resident;

    fn add(self, other: Resident) -> Resident {
        Resident {
            anon_kib: self.anon_kib + other.anon_kib,
            file_kib: self.file_kib + other.file_kib,
            all_kib: self.all_kib + other.all_kib,
        }
    }
}

impl Usage {
    /// Reads it.
    ///
    /// # Errors
    /// The process is gone, or belongs to somebody who does not show it.
    pub fn of(pid: u32) -> io::Result<Usage> {
        Ok(Usage { cpu: cpu_time(pid)?, threads: thread_times(pid), memory: resident(pid)? })
    }

    /// What several processes have used together; `None` of none, and where one of them cannot be read.
    pub fn of_all(pids: &[u32]) -> Option<Usage> {
        let usages = pids.iter().map(|pid| Usage::of(*pid).ok());
        usages.reduce(|all, one| {
            let (mut all, one) = (all?, one?);
            all.cpu += one.cpu;
            // The numbers of threads are unique on a machine.
            all.threads.extend(one.threads);
            all.memory = all.memory + one.memory;
            Some(all)
        })?
    }

    /// Processor time used since `before`. Exact where no thread has ended meanwhile, else to a clock tick.
    pub fn cpu_since(&self, before: &Usage) -> Duration {
        if !self.threads.is_empty() && before.threads.keys().all(|thread| self.threads.contains_key(thread)) {
            self.threads_since(before).sum()
        } else {
            self.cpu.saturating_sub(before.cpu)
        }
    }

    /// The time that the busiest thread spent on a processor since `before`.
    pub fn busiest_since(&self, before: &Usage) -> Duration {
        self.threads_since(before).max().unwrap_or_default()
    }

    fn threads_since(&self, before: &Usage) -> impl Iterator<Item = Duration> {
        self.threads
            .iter()
            .map(|(thread, time)| time.saturating_sub(before.threads.get(thread).copied().unwrap_or_default()))
    }
}

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

/// Resident memory of a process.
///
/// # Errors
/// The process is gone.
pub fn resident(pid: u32) -> io::Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    Ok(Resident { anon_kib: field("RssAnon"), file_kib: field("RssFile"), all_kib: field("VmRSS") })
}

/// Resident memory of several processes together; `None` of none, and where one of them cannot be read.
pub fn resident_of_all(pids: &[u32]) -> Option<Resident> {
    pids.iter().map(|pid| resident(*pid).ok()).reduce(|all, one| Some(all? + one?))?
}

/// The process that listens on this address on this machine. `None` where there is none, or it may not be looked at.
pub fn listener(address: SocketAddr) -> Option<u32> {
    // Only an address of this machine can be bound.
    if !address.ip().is_loopback() && std::net::UdpSocket::bind((address.ip(), 0)).is_err() {
        return None;
    }
    let inodes: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listening(table, address.port())).collect();
    let numbers = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.into_iter().find(|pid: &u32| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).any(|link| {
            let name = link.to_string_lossy();
            inodes
                .iter()
                .any(|inode| name.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) == Some(inode))
        })
    })
}

/// The processes behind these addresses, as far as [`listener`] finds them, each once.
pub fn listeners(addresses: &[SocketAddr]) -> Vec<u32> {
    let mut processes: Vec<u32> = addresses.iter().filter_map(|address| listener(*address)).collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

/// The same number, if there is such a process.
///
/// # Errors
/// There is no such process.
pub fn existing(pid: u32) -> anyhow::Result<u32> {
    cpu_time(pid).with_context(|| format!("there is no process {pid}"))?;
    Ok(pid)
}

/// Sends a signal, and waits (one second at most) until it shows: until a killed process is gone, a stopped one stands still.
///
/// # Errors
/// There is no such process, or it belongs to somebody else.
pub fn signal_and_see(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("{pid} is no process"))?;
    kill_process(process, signal).with_context(|| format!("process {pid} cannot be sent {signal:?}"))?;
    let wanted: &[char] = match signal {
        Signal::KILL => &['Z', 'X'],
        Signal::STOP => &['T'],
        _ => return Ok(()),
    };
    let until = Instant::now() + SIGNAL_PATIENCE;
    while state(pid).is_some_and(|state| !wanted.contains(&state)) && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The state of a process as /proc has it; `None` where it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Inodes of sockets that listen on a port, by one of the kernel's tables.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local_port, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
        here.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    };
    text.lines().skip(1).filter_map(inode).collect()
}

fn thread_times(pid: u32) -> HashMap<u32, Duration> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return HashMap::new() };
    let time = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let thread = entry.file_name().to_str()?.parse().ok()?;
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        Some((thread, Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?)))
    };
    tasks.filter_map(time).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        assert!(before.memory.anon_kib > 0 && before.memory.all_kib >= before.memory.anon_kib);
        assert!(Usage::of(pid).unwrap().cpu >= before.cpu);
        let mut sum = 0_u64;
        while Usage::of(pid).unwrap().cpu_since(&before).is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_time(u32::MAX).is_err());
        assert!(existing(u32::MAX).is_err());
    }

    #[test]
    fn signals_show() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        signal_and_see(child.id(), Signal::STOP).unwrap();
        assert_eq!(state(child.id()), Some('T'));
        signal_and_see(child.id(), Signal::KILL).unwrap();
        assert!(child.wait().is_ok() && state(child.id()).is_none());
        assert!(signal_and_see(u32::MAX, Signal::STOP).is_err());
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener_here = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener_here.local_addr().unwrap();
        assert_eq!(listener(address), Some(std::process::id()));
        drop(listener_here);
        assert_eq!(listener(address), None);
    }
}
