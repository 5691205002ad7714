//! Files that a host needs beside the program, as they are shipped.

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// A hardened systemd unit.
    Systemd,
    /// A seccomp profile for containers (OCI runtimes, as docker and podman take it) that allows io_uring.
    Seccomp,
    /// Kernel parameters, for `/etc/sysctl.d`.
    Sysctl,
    /// Limits of logins, for `/etc/security/limits.d`.
    Limits,
}

impl Shipped {
    /// The file's content.
    pub fn text(self) -> &'static str {
        match self {
            Shipped::Systemd => include_str!("../dist/ringkeeper.service"),
            Shipped::Seccomp => include_str!("../dist/ringkeeper-seccomp.json"),
            Shipped::Sysctl => include_str!("../dist/90-ringkeeper-sysctl.conf"),
            Shipped::Limits => include_str!("../dist/90-ringkeeper-limits.conf"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;

    fn settings(text: &str) -> Vec<(String, String)> {
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
    }

    #[test]
    fn the_profile_is_one_that_a_runtime_takes_and_allows_io_uring() {
        let profile: serde_json::Value = serde_json::from_str(Shipped::Seccomp.text()).unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let mut actions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for rule in profile["syscalls"].as_array().unwrap() {
            let action = rule["action"].as_str().unwrap();
            assert!(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"].contains(&action), "{action}");
            for name in rule["names"].as_array().unwrap() {
                let name = name.as_str().unwrap().to_owned();
                assert!(actions.entry(action.to_owned()).or_default().insert(name.clone()), "{name} stands twice");
            }
        }
        let allowed = &actions["SCMP_ACT_ALLOW"];
        for name in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
            assert!(allowed.contains(name), "{name}");
        }
        for name in
            ["execve", "mmap", "pwritev2", "futex", "sched_setaffinity", "eventfd2", "statx", "fallocate", "flock"]
        {
            assert!(allowed.contains(name), "the server needs {name}");
        }
        for name in ["mount", "ptrace", "bpf", "init_module", "reboot", "setns", "keyctl", "userfaultfd"] {
            assert!(!allowed.contains(name), "{name} is dangerous");
        }
    }

    #[test]
    fn the_unit_writes_to_its_data_directory_alone_and_keeps_io_uring() {
        let unit = settings(Shipped::Systemd.text());
        let values = |key: &str| -> Vec<&str> {
            unit.iter().filter(|(held, _)| held == key).map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values("ProtectSystem"), ["strict"]);
        assert_eq!(values("StateDirectory"), ["ringkeeper"]);
        assert_eq!(values("WorkingDirectory"), ["/var/lib/ringkeeper"]);
        assert!(values("ReadWritePaths").is_empty());
        assert_eq!(values("CapabilityBoundingSet"), [""]);
        let filters = values("SystemCallFilter");
        assert!(filters.iter().any(|filter| filter.contains("io_uring_setup io_uring_enter io_uring_register")));
        assert!(filters.iter().filter(|filter| filter.starts_with('~')).all(|filter| !filter.contains("@aio")));
        // It has to read /proc/sys/kernel at start.
        assert!(values("ProcSubset").is_empty());
    }

    /// Where systemd is installed it has the last word. The program is not, so another takes its place.
    #[test]
    fn systemd_finds_nothing_wrong_with_the_unit() {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            eprintln!("skipped: there is no systemd-analyze");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ringkeeper.service");
        let program = std::env::current_exe().unwrap();
        let text = Shipped::Systemd.text().replace("/usr/bin/ringkeeper", program.to_str().unwrap());
        std::fs::write(&path, text).unwrap();
        let output = Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It speaks of the host's other units, too.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("ringkeeper.service")).collect();
        assert!(ours.is_empty(), "{said}");
    }

    #[test]
    fn kernel_parameters_and_limits_have_the_form_of_their_files() {
        let parameters = settings(Shipped::Sysctl.text());
        assert!(parameters.len() >= 8);
        for (key, value) in parameters {
            assert!(
                key.trim_start_matches('-')
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c)),
                "{key}"
            );
            assert!(value.split(',').all(|number| number.parse::<u64>().is_ok()), "{key}={value}");
        }
        let limits = Shipped::Limits.text().lines().filter(|line| !line.starts_with('#'));
        for line in limits {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words.len(), 4, "{line}");
            assert!(["soft", "hard"].contains(&words[1]) && ["nofile", "memlock"].contains(&words[2]), "{line}");
        }
    }
}
