//! Resident memory of a process, as `/proc/<pid>/status` tells it.

use std::io;
use std::path::Path;

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessMemory {
    /// All of it (VmRSS).
    pub resident: u64,
    /// Anonymous: heap and stacks (RssAnon).
    pub anonymous: u64,
    /// Pages of mapped files, which the kernel can drop (RssFile).
    pub file: u64,
    /// Shared memory and tmpfs (RssShmem).
    pub shared: u64,
}

/// Reads the memory of `pid` (`None`: this process) under `proc_root`, which is `/proc` but for tests.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when there is no such process; [`io::ErrorKind::InvalidData`] when the file lacks a line.
pub fn process_memory(proc_root: &Path, pid: Option<u32>) -> io::Result<ProcessMemory> {
    let process = pid.map_or_else(|| "self".to_string(), |pid| pid.to_string());
    let path = proc_root.join(process).join("status");
    let text = std::fs::read_to_string(&path)?;
    parse(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} lacks VmRSS, RssAnon or RssFile", path.display()))
    })
}

fn parse(text: &str) -> Option<ProcessMemory> {
    Some(ProcessMemory {
        resident: field(text, "VmRSS:")?,
        anonymous: field(text, "RssAnon:")?,
        file: field(text, "RssFile:")?,
        shared: field(text, "RssShmem:").unwrap_or(0),
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_a_captured_file() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("42")).unwrap();
        let status = place.path().join("42/status");
        std::fs::write(
            &status,
            "Name:\tcat\nVmRSS:\t    1748 kB\nRssAnon:\t     112 kB\nRssFile:\t    1636 kB\nRssShmem:\t       1 kB\n",
        )
        .unwrap();
        let memory = process_memory(place.path(), Some(42)).unwrap();
        let expected = ProcessMemory { resident: 1748 << 10, anonymous: 112 << 10, file: 1636 << 10, shared: 1 << 10 };
        assert_eq!(memory, expected);
        std::fs::write(&status, "Name:\tkthread\n").unwrap();
        assert_eq!(process_memory(place.path(), Some(42)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(process_memory(place.path(), Some(43)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn reads_this_process() {
        let memory = process_memory(Path::new("/proc"), None).unwrap();
        assert!(memory.anonymous > 0 && memory.resident >= memory.anonymous);
    }
}
