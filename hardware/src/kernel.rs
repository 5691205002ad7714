//! What this kernel offers, asked once at start, so that a server that cannot run says why and what to do.
//!
//! Facts are gathered first and judged after, by a function without side effects. The last fact is a byte that went
//! through a ring of the very kind that the cores use.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe, opcode};

use crate::limits;
use crate::reactor::{Event, Reactor, ReactorConfig, ReactorError};

/// The oldest kernel with everything that the reactor uses: multishot receive (6.0) and deferred task work (6.1).
pub const OLDEST_RELEASE: KernelRelease = KernelRelease { major: 6, minor: 1 };

/// Every operation that the reactor submits.
const OPERATIONS: [(u8, &str); 9] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// Version of a kernel, without patch level and suffixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelRelease {
    /// 6 in 6.1.
    pub major: u32,
    /// 1 in 6.1.
    pub minor: u32,
}

impl KernelRelease {
    /// Reads the start of what `uname -r` prints, whatever a distribution appended.
    pub fn parse(text: &str) -> Option<KernelRelease> {
        let (major, rest) = text.trim_start().split_once('.')?;
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        Some(KernelRelease { major: major.parse().ok()?, minor: rest[..end].parse().ok()? })
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A kernel that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFacts {
    /// What `uname -r` prints.
    pub release: String,
    /// kernel.io_uring_disabled, where there is such a setting.
    pub io_uring_disabled: Option<u32>,
    /// Whether a seccomp filter watches this process.
    pub seccomp: bool,
    /// Soft limit on locked memory in bytes (`None`: unlimited).
    pub locked_memory: Option<u64>,
}

/// What is missing, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The release cannot be read.
    #[error("kernel release {text:?} is not understood; Linux {OLDEST_RELEASE} or newer is needed")]
    UnknownRelease {
        /// What stands there.
        text: String,
    },
    /// Too old.
    #[error(
        "Linux {release} is too old: {OLDEST_RELEASE} or newer is needed (io_uring with multishot receive and deferred task work)"
    )]
    TooOld {
        /// What runs.
        release: String,
    },
    /// Switched off by sysctl.
    #[error(
        "io_uring is switched off by sysctl kernel.io_uring_disabled={value}; set it to 0 (sysctl -w kernel.io_uring_disabled=0){}",
        if *value == 1 { ", or add the server's group to kernel.io_uring_group" } else { "" }
    )]
    Sysctl {
        /// 1: unprivileged processes only; 2: everybody.
        value: u32,
    },
    /// Switched off by a seccomp filter.
    #[error(
        "a seccomp filter forbids io_uring (error {errno}), as container runtimes do by default; allow io_uring_setup, \
         io_uring_enter and io_uring_register (docker and podman: --security-opt seccomp=<profile that allows them>, or \
         --security-opt seccomp=unconfined; kubernetes: securityContext.seccompProfile)"
    )]
    Seccomp {
        /// What the filter answers.
        errno: i32,
    },
    /// Built without.
    #[error("this kernel was built without io_uring (CONFIG_IO_URING); use one that has it")]
    NotBuilt,
    /// Refused by a security module or for another reason of permission.
    #[error(
        "the kernel refuses io_uring (error {errno}), though neither kernel.io_uring_disabled nor a seccomp filter does; look \
         for a denial by SELinux or AppArmor in the audit log"
    )]
    Refused {
        /// EPERM or EACCES.
        errno: i32,
    },
    /// Not enough memory or locked memory.
    #[error(
        "no memory for io_uring; locked memory is limited to {limit}: raise it (ulimit -l, LimitMEMLOCK= of systemd, docker \
         --ulimit memlock=-1) or free memory of the control group"
    )]
    Memory {
        /// The limit, in words.
        limit: String,
    },
    /// Out of descriptors.
    #[error("no file descriptor for io_uring; raise the limit on open files (ulimit -n, LimitNOFILE= of systemd)")]
    Descriptors,
    /// The ring's kind is not supported.
    #[error("Linux {release} refuses the ring (error {errno}); single issuer and deferred task work are needed")]
    Setup {
        /// What runs.
        release: String,
        /// The kernel's answer.
        errno: i32,
    },
    /// Operations are missing.
    #[error(
        "io_uring of Linux {release} lacks {operations}; a patched or restricted kernel: use a stock one from {OLDEST_RELEASE} on"
    )]
    Operations {
        /// What runs.
        release: String,
        /// Their names.
        operations: String,
    },
    /// A ring could be set up but does not work.
    #[error("io_uring of Linux {release} does not work: {reason}")]
    Trial {
        /// What runs.
        release: String,
        /// What failed.
        reason: String,
    },
}

/// Asks the running kernel for everything that the reactor needs.
///
/// # Errors
/// The first thing that is missing, with its remedy.
pub fn require() -> Result<KernelFacts, KernelError> {
    judge(gather(Path::new("/proc")))
}

/// What was found out, before it is judged.
#[derive(Debug, Clone, Default)]
struct Findings {
    release: String,
    io_uring_disabled: Option<u32>,
    seccomp: bool,
    locked_memory: Option<u64>,
    /// Error number of setting up a plain ring.
    plain_ring: Option<i32>,
    missing_operations: Vec<&'static str>,
    /// Error number of setting up a ring of the reactor's kind.
    reactor_ring: Option<i32>,
    /// What failed in the trial.
    trial: Option<String>,
}

fn judge(findings: Findings) -> Result<KernelFacts, KernelError> {
    let Findings { release, io_uring_disabled, seccomp, locked_memory, .. } = findings;
    match KernelRelease::parse(&release) {
        None => return Err(KernelError::UnknownRelease { text: release }),
        Some(version) if version < OLDEST_RELEASE => return Err(KernelError::TooOld { release }),
        Some(_) => {}
    }
    match findings.plain_ring {
        None => {}
        // A filter may answer with any error; these are the two in use.
        Some(errno @ libc::ENOSYS) if seccomp => return Err(KernelError::Seccomp { errno }),
        Some(libc::ENOSYS) => return Err(KernelError::NotBuilt),
        Some(errno @ (libc::EPERM | libc::EACCES)) => {
            return Err(match io_uring_disabled {
                Some(value @ 1..) => KernelError::Sysctl { value },
                _ if seccomp => KernelError::Seccomp { errno },
                _ => KernelError::Refused { errno },
            });
        }
        Some(errno) => return Err(other_setup_error(release, locked_memory, errno)),
    }
    if !findings.missing_operations.is_empty() {
        return Err(KernelError::Operations { release, operations: findings.missing_operations.join(", ") });
    }
    if let Some(errno) = findings.reactor_ring {
        return Err(other_setup_error(release, locked_memory, errno));
    }
    if let Some(reason) = findings.trial {
        return Err(KernelError::Trial { release, reason });
    }
    Ok(KernelFacts { release, io_uring_disabled, seccomp, locked_memory })
}

fn other_setup_error(release: String, locked_memory: Option<u64>, errno: i32) -> KernelError {
    match errno {
        libc::ENOMEM => KernelError::Memory {
            limit: locked_memory.map_or_else(|| "nothing".to_string(), |bytes| format!("{bytes} bytes")),
        },
        libc::EMFILE | libc::ENFILE => KernelError::Descriptors,
        errno => KernelError::Setup { release, errno },
    }
}

fn gather(proc_root: &Path) -> Findings {
    let mut findings = read_host(proc_root);
    findings.locked_memory = limits::locked_memory().soft;
    match IoUring::new(4) {
        Ok(ring) => findings.missing_operations = missing_operations(&ring),
        Err(error) => {
            findings.plain_ring = Some(error_number(&error));
            return findings;
        }
    }
    match try_reactor() {
        Ok(()) => {}
        Err(Failure::Setup(errno)) => findings.reactor_ring = Some(errno),
        Err(Failure::Trial(reason)) => findings.trial = Some(reason),
    }
    findings
}

/// The facts that are text under `proc_root`.
fn read_host(proc_root: &Path) -> Findings {
    let read = |path: &str| std::fs::read_to_string(proc_root.join(path)).ok();
    let seccomp_mode = read("self/status").and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
        line.trim().parse::<u32>().ok()
    });
    Findings {
        release: read("sys/kernel/osrelease").map_or_else(String::new, |text| text.trim().to_string()),
        io_uring_disabled: read("sys/kernel/io_uring_disabled").and_then(|text| text.trim().parse().ok()),
        seccomp: seccomp_mode.is_some_and(|mode| mode > 0),
        ..Findings::default()
    }
}

fn missing_operations(ring: &IoUring) -> Vec<&'static str> {
    let mut probe = Probe::new();
    if ring.submitter().register_probe(&mut probe).is_err() {
        return vec!["the probe of operations (IORING_REGISTER_PROBE)"];
    }
    OPERATIONS.iter().filter(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| *name).collect()
}

enum Failure {
    Setup(i32),
    Trial(String),
}

/// Sends a byte through a socket pair with a reactor on one end, and gets it back.
fn try_reactor() -> Result<(), Failure> {
    let trial = |what: &str, error: io::Error| Failure::Trial(format!("{what}: {error}"));
    let config = ReactorConfig { sq_entries: 8, recv_buffers: 2, recv_buffer_bytes: 64, spin: Duration::ZERO };
    let mut reactor = Reactor::new(config).map_err(|error| match error {
        ReactorError::Setup { source } => Failure::Setup(error_number(&source)),
        other => Failure::Trial(other.to_string()),
    })?;
    let (near, far) = UnixStream::pair().map_err(|error| trial("socket pair", error))?;
    let socket = reactor.adopt(near.into());
    rustix::io::write(&far, &[42]).map_err(|error| trial("writing to a socket pair", error.into()))?;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut events = Vec::new();
    let mut sent_back = false;
    while Instant::now() < deadline {
        reactor.turn(&mut events, Some(deadline), || true).map_err(|error| trial("io_uring_enter", error))?;
        for event in events.drain(..) {
            match event {
                Event::Received { data, .. } => reactor.send(socket, data.to_vec()),
                Event::Sent { .. } => sent_back = true,
                Event::Closed { error: Some(error), .. } => return Err(trial("multishot receive", error)),
                _ => {}
            }
        }
        if sent_back {
            let mut byte = [0];
            return match rustix::io::read(&far, &mut byte) {
                Ok(1) if byte == [42] => Ok(()),
                _ => Err(Failure::Trial("a byte sent through a socket pair came back changed".to_string())),
            };
        }
    }
    Err(Failure::Trial("a byte sent through a socket pair did not come back".to_string()))
}

fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn good() -> Findings {
        Findings { release: "6.1.0-13-amd64".to_string(), ..Findings::default() }
    }

    #[test]
    fn releases_as_distributions_write_them() {
        let version = |major, minor| Some(KernelRelease { major, minor });
        for (text, parsed) in [
            ("6.1.0-13-amd64", version(6, 1)),
            ("6.18.44-fc-v669", version(6, 18)),
            ("5.14.0-427.el9.x86_64", version(5, 14)),
            ("6.6-rc1", version(6, 6)),
            ("7.0", version(7, 0)),
            ("10.12.3\n", version(10, 12)),
            ("6", None),
            ("", None),
            ("6.", None),
            (".1", None),
            ("six.one", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(KernelRelease::parse(text), parsed, "{text}");
        }
        assert!(version(6, 1) > version(5, 19));
        assert!(version(6, 10) > version(6, 9));
    }

    #[test]
    fn each_obstacle_is_told_from_the_others() {
        let set_up = |errno, io_uring_disabled, seccomp| {
            let findings = Findings { plain_ring: Some(errno), io_uring_disabled, seccomp, ..good() };
            judge(findings).unwrap_err()
        };
        assert_eq!(set_up(libc::ENOSYS, None, false), KernelError::NotBuilt);
        assert_eq!(set_up(libc::ENOSYS, Some(0), true), KernelError::Seccomp { errno: libc::ENOSYS });
        for errno in [libc::EPERM, libc::EACCES] {
            assert_eq!(set_up(errno, None, true), KernelError::Seccomp { errno });
            assert_eq!(set_up(errno, Some(0), true), KernelError::Seccomp { errno });
            assert_eq!(set_up(errno, Some(0), false), KernelError::Refused { errno });
            assert_eq!(set_up(errno, None, false), KernelError::Refused { errno });
            for (value, seccomp) in [(1, false), (1, true), (2, false), (2, true)] {
                assert_eq!(set_up(errno, Some(value), seccomp), KernelError::Sysctl { value });
            }
        }
        assert_eq!(set_up(libc::EMFILE, None, false), KernelError::Descriptors);
        assert_eq!(set_up(libc::ENFILE, None, false), KernelError::Descriptors);
        assert!(matches!(set_up(libc::ENOMEM, None, false), KernelError::Memory { .. }));
        assert!(matches!(set_up(libc::EINVAL, None, false), KernelError::Setup { errno: libc::EINVAL, .. }));
    }

    #[test]
    fn the_release_is_judged_before_all_else() {
        let old = Findings { release: "6.0.19".to_string(), plain_ring: Some(libc::EPERM), ..good() };
        assert!(matches!(judge(old).unwrap_err(), KernelError::TooOld { .. }));
        let odd = Findings { release: String::new(), ..good() };
        assert!(matches!(judge(odd).unwrap_err(), KernelError::UnknownRelease { .. }));
    }

    #[test]
    fn a_ring_that_lacks_something_is_named() {
        let lacking = Findings { missing_operations: vec!["RECV", "SEND"], ..good() };
        assert!(judge(lacking).unwrap_err().to_string().contains("RECV, SEND"));
        let refused = Findings { reactor_ring: Some(libc::EINVAL), ..good() };
        assert!(matches!(judge(refused).unwrap_err(), KernelError::Setup { .. }));
        let locked = Findings { reactor_ring: Some(libc::ENOMEM), locked_memory: Some(65_536), ..good() };
        assert!(judge(locked).unwrap_err().to_string().contains("65536 bytes"));
        let broken = Findings { trial: Some("silence".to_string()), ..good() };
        assert!(judge(broken).unwrap_err().to_string().contains("silence"));
    }

    #[test]
    fn texts_name_the_remedy() {
        assert!(KernelError::Sysctl { value: 2 }.to_string().contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(!KernelError::Sysctl { value: 2 }.to_string().contains("io_uring_group"));
        assert!(KernelError::Sysctl { value: 1 }.to_string().contains("io_uring_group"));
        assert!(KernelError::Seccomp { errno: 1 }.to_string().contains("--security-opt seccomp"));
    }

    #[test]
    fn facts_of_a_captured_host() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("sys/kernel")).unwrap();
        std::fs::create_dir_all(place.path().join("self")).unwrap();
        std::fs::write(place.path().join("sys/kernel/osrelease"), "6.6.1\n").unwrap();
        std::fs::write(place.path().join("sys/kernel/io_uring_disabled"), "2\n").unwrap();
        std::fs::write(place.path().join("self/status"), "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n").unwrap();
        let findings = read_host(place.path());
        assert_eq!(findings.release, "6.6.1");
        assert_eq!(findings.io_uring_disabled, Some(2));
        assert!(findings.seccomp);
        let bare = read_host(&place.path().join("missing"));
        assert!(bare.release.is_empty() && bare.io_uring_disabled.is_none() && !bare.seccomp);
    }

    #[test]
    fn this_kernel_will_do() {
        let facts = require().unwrap();
        assert!(KernelRelease::parse(&facts.release).unwrap() >= OLDEST_RELEASE);
    }
}
