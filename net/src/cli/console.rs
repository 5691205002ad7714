//! Where output goes: stdout, stderr, and events that arrive while a line is being edited.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

/// The streams of one run. Shared by the commands and by the tasks that wait for events.
pub(super) struct Console {
    sink: Sink,
    edited: Mutex<Option<EditedLine>>,
    watches_shown: AtomicBool,
    broken: AtomicBool,
}

/// A line that stands on the terminal while it is edited.
struct EditedLine {
    prompt: String,
    text: String,
    /// Characters behind the cursor.
    behind: usize,
}

enum Sink {
    Process,
    #[cfg(test)]
    Captured(Mutex<(Vec<u8>, Vec<u8>)>),
}

impl Console {
    /// The process's own streams.
    pub(super) fn process() -> Console {
        Console::with(Sink::Process)
    }

    /// Streams that a test can look at.
    #[cfg(test)]
    pub(super) fn captured() -> Console {
        Console::with(Sink::Captured(Mutex::default()))
    }

    fn with(sink: Sink) -> Console {
        let (watches_shown, broken) = (AtomicBool::new(true), AtomicBool::new(false));
        Console { sink, edited: Mutex::new(None), watches_shown, broken }
    }

    /// A line on stdout.
    pub(super) fn out(&self, line: &str) {
        self.out_bytes(line.as_bytes());
    }

    /// A line of bytes on stdout.
    pub(super) fn out_bytes(&self, line: &[u8]) {
        self.write_out(&[line, b"\n"]);
    }

    fn out_raw(&self, text: &str) {
        self.write_out(&[text.as_bytes()]);
    }

    fn write_out(&self, parts: &[&[u8]]) {
        let written = match &self.sink {
            Sink::Process => {
                let mut out = std::io::stdout().lock();
                parts.iter().try_for_each(|part| out.write_all(part)).and_then(|()| out.flush())
            }
            #[cfg(test)]
            Sink::Captured(both) => with_captured(both, |both| both.0.write_all(&parts.concat())),
        };
        if written.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// A line on stderr. When even that cannot be written there is nobody left to tell.
    pub(super) fn err(&self, line: &str) {
        let _ = match &self.sink {
            Sink::Process => writeln!(std::io::stderr().lock(), "{line}"),
            #[cfg(test)]
            Sink::Captured(both) => with_captured(both, |both| writeln!(both.1, "{line}")),
        };
    }

    /// A watch event or a change of the session, between blank lines and above a line that is being edited.
    pub(super) fn event(&self, event: &str) {
        if !self.watches_shown() {
            return;
        }
        let text = format!("\nWATCHER::\n\n{event}");
        match self.edited().as_ref() {
            None => self.out(&text),
            Some(line) => {
                // Clears the line, and writes it anew below the event.
                self.out_raw(&format!("\r\x1b[K{text}\n{}{}", line.prompt, line.text));
                if line.behind > 0 {
                    self.out_raw(&format!("\x1b[{}D", line.behind));
                }
            }
        }
    }

    /// Says that the terminal now shows `prompt`, and a line behind it that is about to be edited.
    pub(super) fn begin_edit(&self, prompt: &str) {
        *self.edited() = Some(EditedLine { prompt: prompt.to_owned(), text: String::new(), behind: 0 });
    }

    /// Says what the line has become, and how many characters stand behind the cursor.
    pub(super) fn edit(&self, text: &str, behind: usize) {
        if let Some(line) = self.edited().as_mut() {
            text.clone_into(&mut line.text);
            line.behind = behind;
        }
    }

    /// Says that no line is being edited any more.
    pub(super) fn end_edit(&self) {
        *self.edited() = None;
    }

    /// Whether nobody reads stdout any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// `printwatches`.
    pub(super) fn watches_shown(&self) -> bool {
        self.watches_shown.load(Ordering::Relaxed)
    }

    /// `printwatches on|off`.
    pub(super) fn show_watches(&self, shown: bool) {
        self.watches_shown.store(shown, Ordering::Relaxed);
    }

    fn edited(&self) -> MutexGuard<'_, Option<EditedLine>> {
        self.edited.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What was written to stdout so far.
    #[cfg(test)]
    pub(super) fn taken_out(&self) -> String {
        let Sink::Captured(both) = &self.sink else { return String::new() };
        with_captured(both, |both| String::from_utf8_lossy(&std::mem::take(&mut both.0)).into_owned())
    }

    /// What was written to stderr so far.
    #[cfg(test)]
    pub(super) fn taken_err(&self) -> String {
        let Sink::Captured(both) = &self.sink else { return String::new() };
        with_captured(both, |both| String::from_utf8_lossy(&std::mem::take(&mut both.1)).into_owned())
    }
}

#[cfg(test)]
fn with_captured<T>(both: &Mutex<(Vec<u8>, Vec<u8>)>, f: impl FnOnce(&mut (Vec<u8>, Vec<u8>)) -> T) -> T {
    f(&mut both.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stand_between_blank_lines_and_can_be_muted() {
        let console = Console::captured();
        console.event("WatchedEvent x");
        console.show_watches(false);
        console.event("WatchedEvent y");
        assert_eq!(console.taken_out(), "\nWATCHER::\n\nWatchedEvent x\n");
        assert!(!console.watches_shown());
    }

    #[test]
    fn a_line_being_edited_moves_below_the_event() {
        let console = Console::captured();
        console.begin_edit("[zk] ");
        console.edit("get /a", 2);
        console.event("E");
        console.end_edit();
        console.event("F");
        assert_eq!(console.taken_out(), "\r\x1b[K\nWATCHER::\n\nE\n[zk] get /a\x1b[2D\nWATCHER::\n\nF\n");
    }
}
