//! Rules of znode paths, refused here in the words of ZooKeeper's client (`PathUtils.validatePath`).

use super::error::CliError;

/// Refuses a path that the client must not send.
pub(super) fn validate(path: &str) -> Result<(), CliError> {
    if path.is_empty() {
        return Err(CliError::new("Path length must be > 0"));
    }
    if !path.starts_with('/') {
        return Err(CliError::new("Path must start with / character"));
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(CliError::new("Path must not end with / character"));
    }
    // Positions are those of UTF-16, in which Java counts.
    let units: Vec<u16> = path.encode_utf16().collect();
    for (at, unit) in units.iter().enumerate().skip(1) {
        let reason = match unit {
            0 => "null character not allowed",
            0x2F if units[at - 1] == 0x2F => "empty node name specified",
            0x2E if is_relative(&units, at) => "relative paths not allowed",
            0x01..=0x1F | 0x7F..=0x9F | 0xD800..=0xF8FF | 0xFFF0..=0xFFFF => "invalid character",
            _ => continue,
        };
        return Err(CliError::new(format!("Invalid path string \"{path}\" caused by {reason} @{at}")));
    }
    Ok(())
}

/// `parent/child`, where the parent may be the root.
pub(super) fn join(parent: &str, child: &str) -> String {
    if parent == "/" { format!("/{child}") } else { format!("{parent}/{child}") }
}

/// Whether the dot at `at` ends a component that is `.` or `..`.
fn is_relative(units: &[u16], at: usize) -> bool {
    let component_ends = units.get(at + 1).is_none_or(|next| *next == 0x2F);
    let begins_at = if units[at - 1] == 0x2E { at.saturating_sub(2) } else { at - 1 };
    component_ends && units[begins_at] == 0x2F
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals_are_worded_as_in_java() {
        for (path, message) in [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            ("//a", "Invalid path string \"//a\" caused by empty node name specified @1"),
            ("/a//b", "Invalid path string \"/a//b\" caused by empty node name specified @3"),
            ("/.", "Invalid path string \"/.\" caused by relative paths not allowed @1"),
            ("/a/../b", "Invalid path string \"/a/../b\" caused by relative paths not allowed @4"),
            ("/a\u{1}", "Invalid path string \"/a\u{1}\" caused by invalid character @2"),
            ("/\u{1F600}", "Invalid path string \"/\u{1F600}\" caused by invalid character @1"),
        ] {
            assert_eq!(validate(path).unwrap_err().to_string(), message);
        }
        for path in ["/", "/a", "/...", "/a.b/..c/d..", "/\u{ffef}"] {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in ".{0,12}", dots in "[./a]{0,8}") {
            let _ = validate(&path);
            let _ = validate(&format!("/{dots}"));
        }
    }
}
