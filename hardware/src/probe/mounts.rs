//! The mount table, `/proc/self/mountinfo`, and which mount a path lies on.

use std::path::{Path, PathBuf};

/// One line of `mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique while it is mounted.
    pub id: u64,
    /// Major and minor number of the device, as stat(2) tells them for files on it.
    pub device: (u32, u32),
    /// Which directory of the file system is mounted; not `/` for a bind mount.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Options of this mount, such as `noatime`.
    pub options: Vec<String>,
    /// Type of the file system.
    pub kind: String,
    /// What is mounted, mostly a device's path.
    pub source: String,
    /// Options of the file system, such as `data=journal`.
    pub super_options: Vec<String>,
}

/// Reads all lines; those that are not understood are left out.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let id = left.next()?.parse().ok()?;
    let (major, minor) = left.nth(1)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let root = unescape(left.next()?).into();
    let point = unescape(left.next()?).into();
    let options = words(left.next()?);
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    let source = unescape(right.next()?);
    let super_options = words(right.next().unwrap_or(""));
    Some(Mount { id, device, root, point, options, kind, source, super_options })
}

fn words(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(unescape).collect()
}

/// Blanks and backslashes are written as three octal digits after a backslash.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The mount that `path` (absolute, without symbolic links) lies on: the one of number `id` if that is known, otherwise
/// the one with the longest mount point above the path; of several on the same point the last one hides the others.
pub(super) fn find<'a>(mounts: &'a [Mount], path: &Path, id: Option<u64>) -> Option<&'a Mount> {
    let by_id = mounts.iter().find(|mount| Some(mount.id) == id);
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    by_id.or_else(|| above.max_by_key(|mount| mount.point.as_os_str().len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TABLE: &str = "\
22 1 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,noatime - ext4 /dev/vda1 rw,discard,data=ordered
30 27 0:25 / /data\\040of\\040mine rw shared:5 master:1 - tmpfs tmpfs rw,size=4k
31 27 254:16 /sub /data rw,relatime - xfs /dev/vdb rw
32 27 254:17 / /data rw,relatime - xfs /dev/vdb1 rw
nonsense
";

    #[test]
    fn lines_are_read_with_optional_fields_and_escapes() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[1].device, (254, 1));
        assert_eq!(mounts[1].options, ["rw", "noatime"]);
        assert_eq!(mounts[1].super_options, ["rw", "discard", "data=ordered"]);
        assert_eq!(mounts[2].point, Path::new("/data of mine"));
        assert_eq!(mounts[2].kind, "tmpfs");
        assert_eq!(mounts[3].root, Path::new("/sub"));
        assert_eq!(unescape("a\\134b\\0"), "a\\b\\0");
    }

    #[test]
    fn the_longest_and_last_mount_holds_unless_the_number_is_known() {
        let mounts = parse(TABLE);
        assert_eq!(find(&mounts, Path::new("/data/x"), None).unwrap().id, 32);
        assert_eq!(find(&mounts, Path::new("/data/x"), Some(31)).unwrap().id, 31);
        assert_eq!(find(&mounts, Path::new("/database"), None).unwrap().id, 27);
        assert_eq!(find(&mounts, Path::new("/data of mine"), Some(999)).unwrap().id, 30);
        assert!(find(&mounts[..1], Path::new("/x"), None).is_none());
    }
}
