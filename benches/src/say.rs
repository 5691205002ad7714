//! Words for people: results on standard output, everything else on standard error. A reader that goes away (`| head`)
//! ends the words, not the work.

use std::io::{self, Write};

/// Prints to standard output, with a line end.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    // A closed pipe, or a full disk behind a redirection: the report's files are what counts.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Prints a remark to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a warning to standard error.
pub fn warn(text: &str) {
    note(&format!("warning: {text}"));
}
