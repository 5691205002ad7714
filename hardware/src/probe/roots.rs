//! Where the kernel's text files are read: `/proc` and `/sys`, or a captured tree in a test.

use std::path::{Path, PathBuf};

/// Entries that a list such as `0-3,8` may have; the largest number of processors that Linux can be built for.
const LIST_ENTRIES_MAX: usize = 8192;

/// The two trees that facts about a host are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Roots {
    /// Those of the running system.
    pub fn system() -> Roots {
        Roots { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys") }
    }

    /// `path`, an absolute one below `/proc` or `/sys`, within these trees; any other stays as it is.
    pub(super) fn place(&self, path: &Path) -> PathBuf {
        for (prefix, root) in [("/proc", &self.proc), ("/sys", &self.sys)] {
            if let Ok(rest) = path.strip_prefix(prefix) {
                return root.join(rest);
            }
        }
        path.to_path_buf()
    }

    /// The text of a file below `/proc`, without blanks around it.
    pub(super) fn proc_text(&self, path: &str) -> Option<String> {
        text(&self.proc.join(path))
    }

    /// A number in a file below `/proc`.
    pub(super) fn proc_number(&self, path: &str) -> Option<u64> {
        number(&self.proc.join(path))
    }

    /// The text of a file below `/sys`, without blanks around it.
    pub(super) fn sys_text(&self, path: &str) -> Option<String> {
        text(&self.sys.join(path))
    }
}

/// The text of a file without blanks around it; `None` if it cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The number that a file holds.
pub(super) fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// A list of numbers as the kernel writes it, `0-3,8`, ascending. What is not understood is left out.
pub(super) fn list(text: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) else { continue };
        let room = LIST_ENTRIES_MAX.saturating_sub(numbers.len());
        numbers.extend((first..=last).take(room));
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The choice in square brackets of a line such as `always [madvise] never`; of a line without brackets its only word.
pub(super) fn chosen(text: &str) -> Option<String> {
    let bracketed = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    let mut words = text.split_whitespace();
    let only = || words.next().filter(|_| words.next().is_none());
    bracketed.or_else(only).map(str::to_owned)
}

/// All choices of such a line.
pub(super) fn choices(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_owned()).collect()
}

/// Bytes of a size such as `32K` or `2M`.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 10),
        'M' => (&text[..text.len() - 1], 20),
        'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
pub(super) mod fixture {
    //! A tree of files in a temporary directory.
    #![allow(clippy::unwrap_used)]
    use super::Roots;
    use std::path::PathBuf;

    pub struct Fixture {
        place: tempfile::TempDir,
        pub roots: Roots,
    }

    impl Fixture {
        /// An empty host.
        pub fn new() -> Fixture {
            let place = tempfile::tempdir().unwrap();
            let roots = Roots { proc: place.path().join("proc"), sys: place.path().join("sys") };
            std::fs::create_dir_all(&roots.proc).unwrap();
            std::fs::create_dir_all(&roots.sys).unwrap();
            Fixture { place, roots }
        }

        /// Writes `content` to `path`, which begins with `proc/` or `sys/`.
        pub fn file(&self, path: &str, content: &str) -> &Fixture {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
            self
        }

        /// Makes `path` a symbolic link to `target`, also within the tree.
        pub fn link(&self, path: &str, target: &str) -> &Fixture {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(self.path(target), path).unwrap();
            self
        }

        fn path(&self, path: &str) -> PathBuf {
            self.place.path().join(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_choices_and_sizes_as_the_kernel_writes_them() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list("5"), [5]);
        assert_eq!(list(""), [0; 0]);
        assert_eq!(list("x,2-1,7"), [7]);
        assert_eq!(list("0-18446744073709551615").len(), LIST_ENTRIES_MAX);
        assert_eq!(chosen("none [mq-deadline] kyber"), Some("mq-deadline".to_owned()));
        assert_eq!(chosen("none"), Some("none".to_owned()));
        assert_eq!(chosen("a b"), None);
        assert_eq!(choices("none [mq-deadline]"), ["none", "mq-deadline"]);
        assert_eq!(size("32K"), Some(32 << 10));
        assert_eq!(size("1M"), Some(1 << 20));
        assert_eq!(size("512"), Some(512));
        assert_eq!(size(""), None);
        assert_eq!(size("99999999999999999999G"), None);
    }
}
