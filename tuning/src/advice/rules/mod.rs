//! The rules, one file per family. Each looks at the situation and yields a finding or nothing.

mod kernel;
mod memory;
mod mounts;
mod network;
mod processors;
mod storage;

use super::{Finding, Situation};

/// Findings of all rules, in the order of the rules.
pub(super) fn findings(situation: &Situation<'_>) -> Vec<Finding> {
    let families = [kernel::RULES, processors::RULES, memory::RULES, storage::RULES, mounts::RULES, network::RULES];
    families.into_iter().flatten().filter_map(|rule| rule(situation)).collect()
}

type Rule = fn(&Situation<'_>) -> Option<Finding>;

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Sets kernel parameters now and at every start.
fn sysctl(name: &str, settings: &[(&str, u64)]) -> Vec<String> {
    let lines: Vec<String> = settings.iter().map(|(key, value)| format!("'{key} = {value}'")).collect();
    let file = format!("/etc/sysctl.d/90-ringkeeper-{name}.conf");
    vec![format!(r"printf '%s\n' {} > {file} && sysctl -p {file}", lines.join(" "))]
}

/// Writes a value to a file below /sys, now and at every start; the path may hold a pattern.
fn sysfs(name: &str, path: &str, value: &str) -> Vec<String> {
    vec![
        format!(r#"for file in {path}; do echo {value} > "$file"; done"#),
        format!(r"printf '%s\n' 'w {path} - - - - {value}' > /etc/tmpfiles.d/ringkeeper-{name}.conf"),
    ]
}

fn gib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < 1 << 30 {
        format!("{} MiB", bytes.div_ceil(MIB))
    } else {
        format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_stay_one_word() {
        assert_eq!(quoted("/data/x-1"), "/data/x-1");
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("a'$(b)"), r"'a'\''$(b)'");
        assert_eq!(quoted("/x;reboot\n"), "'/x;reboot\n'");
        assert_eq!(quoted(""), "''");
    }
}
