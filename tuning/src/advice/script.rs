//! The commands of all findings as a shell script, for a person to read and run.

use super::Finding;
use std::fmt::Write;

const COLUMNS: usize = 110;

/// A script that a root shell can run; every command stands below what it is for. Findings without a command are comments.
pub fn script(findings: &[Finding]) -> String {
    let mut text = "#!/bin/sh\n\
        # Written by ringkeeper tune, which has changed nothing. Read it, take out what does not suit you, and run it as root.\n\
        # Each part stands alone; a command that fails does not stop the others.\n"
        .to_owned();
    if findings.is_empty() {
        text.push_str("\n# Nothing was found that should change.\n");
    }
    for finding in findings {
        let impact = format!("{:?}", finding.impact).to_lowercase();
        text.push('\n');
        comment(&mut text, &format!("{} ({impact}): {}.", finding.id, finding.what));
        comment(&mut text, &format!("Why: {}.", finding.why));
        comment(&mut text, &format!("Effect: {}.", finding.effect));
        if let Some(advice) = &finding.advice {
            comment(&mut text, &format!("Note: {advice}."));
        }
        for command in &finding.commands {
            let _ = writeln!(text, "{command}");
        }
    }
    text
}

/// Comment lines of a bearable width. A line break in a fact of the host must not become a command.
fn comment(text: &mut String, words: &str) {
    let mut column = COLUMNS;
    for word in words.split_whitespace() {
        if column + word.len() + 1 > COLUMNS {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push('#');
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += word.len() + 1;
    }
    text.push('\n');
}
