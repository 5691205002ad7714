//! The line editor. It blocks, so it lives on a thread of its own, while the session lives on the main one.

use super::console::Console;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Context, Editor, Helper, Highlighter, Validator};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc as blocking};
use std::time::Duration;
use tokio::sync::mpsc;

/// What comes from the keyboard.
pub(super) enum Input {
    /// A line.
    Line(String),
    /// The completions of a word are wanted.
    Complete(String, blocking::SyncSender<Vec<String>>),
    /// Nothing more will come.
    End,
}

/// The main thread's end of the editor.
pub(super) struct Prompt {
    prompts: blocking::SyncSender<String>,
    inputs: mpsc::Receiver<Input>,
}

/// Lines that the history file keeps.
const HISTORY_LINES_MAX: usize = 1000;
/// How long the Tab key may take.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(3);

impl Prompt {
    /// Starts the editor's thread.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub(super) fn start(console: Arc<Console>, history: Option<PathBuf>) -> std::io::Result<Prompt> {
        let (prompts, prompts_in) = blocking::sync_channel(1);
        let (inputs_out, inputs) = mpsc::channel(1);
        let run = move || edit_lines(&console, history.as_deref(), &prompts_in, &inputs_out);
        std::thread::Builder::new().name("prompt".to_owned()).spawn(run)?;
        Ok(Prompt { prompts, inputs })
    }

    /// Asks for a line; it or requests for completions follow by [`Prompt::next`].
    pub(super) fn ask(&self, prompt: String) {
        // If the editor is gone, `next` says so.
        let _ = self.prompts.send(prompt);
    }

    /// What comes next from the keyboard.
    pub(super) async fn next(&mut self) -> Input {
        self.inputs.recv().await.unwrap_or(Input::End)
    }
}

/// The history file below the user's directory of state, by the XDG convention.
pub(super) fn history_path(state_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let state = state_home.filter(|path| path.is_absolute()).or_else(|| Some(home?.join(".local/state")))?;
    Some(state.join("ringkeeper").join("cli_history"))
}

fn edit_lines(
    console: &Arc<Console>,
    history: Option<&Path>,
    prompts: &blocking::Receiver<String>,
    inputs: &mpsc::Sender<Input>,
) {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true);
    let editor = config.max_history_size(HISTORY_LINES_MAX).map(|config| config.build()).and_then(|config| {
        let mut editor: Editor<PromptHelper, DefaultHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(PromptHelper { inputs: inputs.clone(), console: console.clone() }));
        Ok(editor)
    });
    let mut editor = match editor {
        Ok(editor) => editor,
        Err(error) => {
            console.err(&format!("no line can be edited: {error}"));
            return;
        }
    };
    // Without a terminal there is no line to print above, and nothing to remember.
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let history = history.filter(|_| is_terminal);
    if let Some(file) = history {
        // A first run has no history yet.
        let _ = editor.load_history(file);
    }
    while let Ok(prompt) = prompts.recv() {
        if is_terminal {
            console.begin_edit(&prompt);
        }
        let read = editor.readline(&prompt);
        console.end_edit();
        let input = match read {
            Ok(line) => Input::Line(line),
            // An interrupted line is dropped, as a shell does.
            Err(ReadlineError::Interrupted) => Input::Line(String::new()),
            Err(ReadlineError::Eof) => Input::End,
            Err(error) => {
                console.err(&format!("no line can be read: {error}"));
                Input::End
            }
        };
        if let (Some(file), Input::Line(_)) = (history, &input) {
            keep_history(&mut editor, file);
        }
        if matches!(input, Input::End) | inputs.blocking_send(input).is_err() {
            return;
        }
    }
}

/// Written after every line, since `quit` ends the program while this thread waits. A history that cannot be kept is no
/// reason to disturb.
fn keep_history(editor: &mut Editor<PromptHelper, DefaultHistory>, file: &Path) {
    if let Some(folder) = file.parent()
        && std::fs::create_dir_all(folder).is_ok()
    {
        let _ = editor.save_history(file);
    }
}

/// Completes words by asking the main thread, and keeps the console up to date about the line, so that events can be
/// shown above it. (The editor's own printer for that makes it overlook keys that arrive in one go.)
#[derive(Helper, Highlighter, Validator)]
struct PromptHelper {
    inputs: mpsc::Sender<Input>,
    console: Arc<Console>,
}

impl Hinter for PromptHelper {
    type Hint = String;

    /// Gives no hint; called for every change of the line.
    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<String> {
        self.console.edit(line, line.get(at..).unwrap_or_default().chars().count());
        None
    }
}

impl Completer for PromptHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, word) = word_before(line, at);
        let (reply, replies) = blocking::sync_channel(1);
        let asked = self.inputs.blocking_send(Input::Complete(word.to_owned(), reply)).is_ok();
        let found = if asked { replies.recv_timeout(COMPLETION_TIMEOUT).unwrap_or_default() } else { Vec::new() };
        Ok((start, found.into_iter().map(|text| Pair { display: text.clone(), replacement: text }).collect()))
    }
}

/// The word that ends at the cursor, and where it begins. Only the first word of a line is a command.
fn word_before(line: &str, at: usize) -> (usize, &str) {
    let before = line.get(..at).unwrap_or(line);
    let start = before
        .rfind(char::is_whitespace)
        .map_or(0, |space| space + before[space..].chars().next().map_or(1, char::len_utf8));
    (start, &before[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_under_the_cursor() {
        assert_eq!(word_before("get /a", 6), (4, "/a"));
        assert_eq!(word_before("get /a", 2), (0, "ge"));
        assert_eq!(word_before("get ", 4), (4, ""));
        assert_eq!(word_before("get\u{3000}/\u{e9}", 9), (6, "/\u{e9}"));
    }

    #[test]
    fn history_lies_in_the_state_directory() {
        let path = |state: Option<&str>, home: Option<&str>| history_path(state.map(Into::into), home.map(Into::into));
        assert_eq!(path(Some("/s"), Some("/h")), Some("/s/ringkeeper/cli_history".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.local/state/ringkeeper/cli_history".into()));
        assert_eq!(path(None, None), None);
    }
}
