//! Under which conditions something was measured.

use crate::wire::session::four_letter;
use crate::workload::Servers;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

/// What must be the same for figures to be comparable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// When it began, seconds since 1970.
    pub began_unix_s: u64,
    /// The same in words, UTC.
    pub began: String,
    /// The exact command.
    pub command: String,
    /// Version of this program.
    pub version: String,
    /// Whether it was built with optimisation.
    pub optimised: bool,
    /// The generator's machine: model of the processor.
    pub processor: String,
    /// Processors that the generator may use.
    pub processors: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Kernel.
    pub kernel: String,
    /// Seed of the choices.
    pub seed: u64,
    /// The servers that were measured.
    pub servers: Vec<ServerConditions>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerConditions {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it calls itself (`srvr`), if it answers.
    pub version: Option<String>,
    /// leader, follower, observer or standalone.
    pub role: Option<String>,
    /// Its configuration (`conf`), if it answers.
    pub configuration: Vec<String>,
    /// Its process on this machine, if known.
    pub process: Option<u32>,
    /// How that was started.
    pub command: Option<String>,
}

impl Conditions {
    /// Asks the machine and the servers.
    pub fn gather(servers: &Servers, seed: u64) -> Conditions {
        let now = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let cpu_info = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let memory =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        Conditions {
            began_unix_s: now,
            began: utc(now),
            command: std::env::args().map(quoted).collect::<Vec<_>>().join(" "),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            optimised: !cfg!(debug_assertions),
            processor: field(&cpu_info, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: hardware::cpu::core_count(),
            memory_mib: memory.unwrap_or(0_u64) / 1024,
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            seed,
            servers: servers.addresses().iter().map(|address| ServerConditions::gather(*address)).collect(),
        }
    }
}

impl ServerConditions {
    fn gather(address: SocketAddr) -> ServerConditions {
        let answer = four_letter(address, "srvr").unwrap_or_default();
        let line = |name: &str| answer.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let configuration = four_letter(address, "conf").unwrap_or_default();
        let process = crate::process::listener(address);
        let command = process.map(|pid| {
            read(&format!("/proc/{pid}/cmdline"))
                .split('\0')
                .filter(|word| !word.is_empty())
                .map(|word| quoted(word.to_owned()))
                .collect::<Vec<_>>()
                .join(" ")
        });
        ServerConditions {
            address,
            version: line("Zookeeper version:").or_else(|| line("Ringkeeper version:")),
            role: line("Mode:"),
            configuration: configuration.lines().filter(|line| line.contains('=')).map(str::to_owned).collect(),
            process,
            command,
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A word as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A date by the proleptic Gregorian calendar, as in `2026-01-31 12:00:00 UTC`.
pub(crate) fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days since 1 March 0000, in eras of 400 years; the year begins in March, so that the leap day is its last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(unix_s), text);
        }
    }

    #[test]
    fn commands_can_be_run_again() {
        let words = ["a", "--mix=get=1,set=2", "it's", ""].map(|word| quoted(word.to_owned()));
        assert_eq!(words.join(" "), "a --mix=get=1,set=2 'it'\\''s' ''");
    }
}
