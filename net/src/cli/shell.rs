//! One run of the program: the session, the history, and the few commands that are about the shell itself
//! (`ZooKeeperMain.processZKCmd`).

use super::commands::{self, Command, Context, Spec};
use super::connection::{ConnectOptions, Connection};
use super::console::Console;
use super::date::TimeZone;
use super::error::{CliError, keeper_message};
use super::line;
use super::options::ProgramOptions;
use std::sync::Arc;
use std::time::Duration;

/// Exit codes of zkCli: a command that failed, and one that does not exist.
const FAILED: u8 = 1;
const NOT_FOUND: u8 = 127;

/// How many commands `history` lists besides itself.
const HISTORY_SHOWN: usize = 10;
/// Commands kept for `redo`. Older ones are forgotten.
const HISTORY_KEPT: usize = 10_000;

/// The commands that are about the shell, with their usage.
const BUILT_IN: &[(&str, &str)] = &[
    ("close", ""),
    ("connect", "host:port"),
    ("exit", ""),
    ("history", ""),
    ("printwatches", "on|off"),
    ("quit", ""),
    ("redo", "cmdno"),
];

/// Whether to go on after a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// More may follow.
    Continue,
    /// The user is done.
    Quit,
}

/// The state of one run.
pub(super) struct Shell {
    console: Arc<Console>,
    connection: Connection,
    connect: ConnectOptions,
    wait: bool,
    zone: TimeZone,
    history: History,
    exit_code: u8,
}

/// What the words of one command ask for.
#[derive(PartialEq, Debug)]
enum Call {
    Close,
    Connect(Option<String>),
    History,
    PrintWatches(Option<bool>),
    Quit,
    Redo(Option<usize>),
    Of(Command),
}

impl Shell {
    /// Begins to connect. Must run within a Tokio runtime.
    pub(super) fn open(options: &ProgramOptions, zone: TimeZone, console: Arc<Console>) -> Shell {
        let connect =
            ConnectOptions { server: options.server.clone(), timeout: options.timeout, read_only: options.read_only };
        console.out(&format!("Connecting to {}", connect.server));
        let connection = Connection::open(connect.clone(), console.clone());
        let history = History::default();
        Shell { console, connection, connect, wait: options.wait, zone, history, exit_code: 0 }
    }

    /// With `-waitforconnection`: returns once connected.
    ///
    /// # Errors
    /// When the timeout has passed without.
    pub(super) async fn wait_if_asked(&self) -> Result<(), CliError> {
        if !self.wait {
            return Ok(());
        }
        let waited = self.connection.wait(self.connect.timeout).await;
        waited.map_err(|error| CliError::new(keeper_message(&error, "")))
    }

    /// `[zk: host:port(STATE) N] `.
    pub(super) fn prompt(&self) -> String {
        format!("[zk: {}({}) {}] ", self.connect.server, self.connection.state(), self.history.next)
    }

    /// Runs a line of input.
    pub(super) async fn execute_line(&mut self, line: &str) -> Next {
        let words = line::words(line);
        if words.is_empty() {
            return Next::Continue;
        }
        self.history.put(line);
        let next = self.execute(&words).await;
        self.history.next += 1;
        next
    }

    /// Runs a command, tells what went wrong, and keeps the exit code.
    pub(super) async fn execute(&mut self, words: &[String]) -> Next {
        let name = words.first().map_or("", String::as_str);
        if !is_command(name) {
            self.usage();
            // Twice, as zkCli does.
            self.console.err(&format!("Command not found: Command not found {name}"));
            self.exit_code = NOT_FOUND;
            return Next::Continue;
        }
        let outcome = match parse(words, &self.history) {
            Ok(Call::Redo(Some(number))) => {
                let again = line::words(&self.history.take_again(number));
                return Box::pin(self.execute(&again)).await;
            }
            Ok(call) => self.call(call).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(next) => {
                self.exit_code = 0;
                next
            }
            Err(error) => {
                self.console.err(&error.to_string());
                self.exit_code = FAILED;
                Next::Continue
            }
        }
    }

    /// The code of the last command.
    pub(super) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Closes the session.
    pub(super) async fn close(&self) {
        self.connection.close().await;
    }

    /// What a word under the cursor may become: commands, or the paths of nodes if it begins with a slash.
    pub(super) async fn complete(&self, word: &str) -> Vec<String> {
        if !word.starts_with('/') {
            return command_names().filter(|name| name.starts_with(word)).map(str::to_owned).collect();
        }
        let Some((parent, start)) = word.rsplit_once('/') else { return Vec::new() };
        let parent = if parent.is_empty() { "/" } else { parent };
        if !self.connection.is_alive() {
            return Vec::new();
        }
        let children = async {
            let client = self.connection.client().await?;
            client.list_children(parent).await
        };
        // Somebody is waiting at the keyboard.
        let Ok(Ok(mut children)) = tokio::time::timeout(Duration::from_secs(2), children).await else {
            return Vec::new();
        };
        children.retain(|child| child.starts_with(start));
        children.sort();
        children.iter().map(|child| super::path::join(parent, child)).collect()
    }

    async fn call(&mut self, call: Call) -> Result<Next, CliError> {
        match call {
            Call::Quit => {
                self.connection.close().await;
                return Ok(Next::Quit);
            }
            Call::Connect(server) => {
                self.connection.close().await;
                if let Some(server) = server {
                    self.connect.server = server;
                }
                self.connection = Connection::open(self.connect.clone(), self.console.clone());
                self.wait_if_asked().await?;
            }
            Call::History => self.history.lines().iter().for_each(|line| self.console.out(line)),
            Call::PrintWatches(None) => {
                let state = if self.console.watches_shown() { "on" } else { "off" };
                self.console.out(&format!("printwatches is {state}"));
            }
            Call::PrintWatches(Some(shown)) => self.console.show_watches(shown),
            Call::Close if self.connection.is_alive() => {
                self.connection.close().await;
                return Ok(Next::Continue);
            }
            Call::Of(command) if self.connection.is_alive() => {
                let context = Context { connection: &self.connection, console: &self.console, zone: &self.zone };
                command.run(&context).await?;
            }
            Call::Close | Call::Redo(_) | Call::Of(_) => {}
        }
        if !self.connection.is_alive() {
            self.console.out("Not connected");
        }
        Ok(Next::Continue)
    }

    fn usage(&self) {
        self.console.err("ZooKeeper -server host:port -client-configuration properties-file cmd args");
        let mut lines: Vec<(&str, &str)> = BUILT_IN.to_vec();
        lines.extend(commands::TABLE.iter().map(|spec| (spec.name, spec.usage)));
        lines.sort_unstable();
        lines.iter().for_each(|(name, usage)| self.console.err(&format!("\t{name} {usage}")));
    }
}

fn is_command(name: &str) -> bool {
    command_names().any(|known| known == name)
}

fn command_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).chain(commands::TABLE.iter().map(|spec| spec.name))
}

fn parse(words: &[String], history: &History) -> Result<Call, CliError> {
    let second = words.get(1);
    Ok(match words.first().map_or("", String::as_str) {
        "close" => Call::Close,
        "connect" => Call::Connect(second.cloned()),
        "exit" | "quit" => Call::Quit,
        "history" => Call::History,
        "printwatches" => Call::PrintWatches(second.map(|word| word == "on")),
        "redo" => Call::Redo(second.map(|word| history.number(word)).transpose()?),
        name => Call::Of(
            commands::find(name)
                .map(|spec: &Spec| spec.parse(words))
                .unwrap_or_else(|| Err(CliError::new(format!("Command not found: Command not found {name}"))))?,
        ),
    })
}

/// Numbered commands, the oldest forgotten.
#[derive(Default)]
struct History {
    kept: std::collections::VecDeque<(usize, String)>,
    /// The number of the next command, or of the one that runs.
    next: usize,
}

impl History {
    /// Keeps `line` as the command that runs.
    fn put(&mut self, line: &str) {
        if self.kept.back().is_some_and(|(number, _)| *number == self.next) {
            self.kept.pop_back();
        } else if self.kept.len() == HISTORY_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((self.next, line.to_owned()));
    }

    /// The last commands, the one that runs included.
    fn lines(&self) -> Vec<String> {
        let first = self.next.saturating_sub(HISTORY_SHOWN);
        self.kept
            .iter()
            .filter(|(number, _)| *number >= first)
            .map(|(number, line)| format!("{number} - {line}"))
            .collect()
    }

    /// The number that `word` names, if that command can be run again.
    fn number(&self, word: &str) -> Result<usize, CliError> {
        let number = word.parse().map_err(|_| CliError::new(format!("'{word}' is not a command number")))?;
        let line = self.get(number).filter(|_| number < self.next);
        let line = line.ok_or_else(|| CliError::new("Command index out of range"))?;
        if line::words(line).first().is_some_and(|name| name == "redo") {
            return Err(CliError::new("No redoing redos"));
        }
        Ok(number)
    }

    /// The line of a command that can be run again, which becomes the one that runs.
    fn take_again(&mut self, number: usize) -> String {
        let line = self.get(number).unwrap_or_default().to_owned();
        self.put(&line);
        line
    }

    fn get(&self, number: usize) -> Option<&str> {
        self.kept.iter().find(|(kept, _)| *kept == number).map(|(_, line)| line.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        for line in lines {
            history.put(line);
            history.next += 1;
        }
        history
    }

    fn call(line: &str, history: &History) -> Result<Call, String> {
        parse(&line::words(line), history).map_err(|error| error.to_string())
    }

    #[test]
    fn history_lists_the_last_and_itself() {
        let mut history = history(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
        history.put("history");
        let lines = history.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[10].as_str()), (11, "2 - c", "12 - history"));
    }

    #[test]
    fn redo_names_an_earlier_command_that_is_no_redo() {
        let mut history = history(&["ls /", "redo 0"]);
        history.put("redo 9");
        assert_eq!(call("redo 0", &history), Ok(Call::Redo(Some(0))));
        assert_eq!(call("redo 1", &history), Err("No redoing redos".to_owned()));
        assert_eq!(call("redo 2", &history), Err("Command index out of range".to_owned()));
        assert_eq!(call("redo -1", &history), Err("'-1' is not a command number".to_owned()));
        assert_eq!(call("redo", &history), Ok(Call::Redo(None)));
        assert_eq!(history.take_again(0), "ls /");
        assert_eq!(history.lines().last().unwrap(), "2 - ls /");
    }

    #[test]
    fn the_shells_own_commands() {
        let history = History::default();
        assert_eq!(call("quit", &history), Ok(Call::Quit));
        assert_eq!(call("exit now", &history), Ok(Call::Quit));
        assert_eq!(call("printwatches", &history), Ok(Call::PrintWatches(None)));
        assert_eq!(call("printwatches off", &history), Ok(Call::PrintWatches(Some(false))));
        assert_eq!(call("connect h:1", &history), Ok(Call::Connect(Some("h:1".to_owned()))));
        assert_eq!(call("close", &history), Ok(Call::Close));
    }

    fn unconnected() -> (Shell, Arc<Console>) {
        let console = Arc::new(Console::captured());
        let options = super::super::options::parse(&["-server".to_owned(), "a b:::".to_owned()]).unwrap();
        (Shell::open(&options, TimeZone::utc(), console.clone()), console)
    }

    #[tokio::test]
    async fn unknown_commands_list_the_known_ones() {
        let (mut shell, console) = unconnected();
        assert_eq!(shell.execute_line("help me").await, Next::Continue);
        assert_eq!(shell.exit_code(), 127);
        let told = console.taken_err();
        assert!(
            told.starts_with("ZooKeeper -server host:port -client-configuration properties-file cmd args\n\taddWatch ")
        );
        assert!(told.contains("\n\tclose \n\tconfig [-c] [-w] [-s]\n\tconnect host:port\n"), "{told}");
        assert!(told.ends_with("Command not found: Command not found help\n"));
        assert!(shell.complete("get").await.contains(&"getAcl".to_owned()));
    }

    #[tokio::test]
    async fn without_a_session_commands_say_so() {
        let (mut shell, console) = unconnected();
        shell.close().await;
        console.taken_out();
        assert_eq!(shell.execute_line("ls /").await, Next::Continue);
        assert_eq!(shell.execute_line("history").await, Next::Continue);
        assert_eq!(
            (shell.exit_code(), console.taken_out().as_str()),
            (0, "Not connected\n0 - ls /\n1 - history\nNot connected\n")
        );
        assert_eq!(shell.execute_line("ls").await, Next::Continue);
        assert_eq!((shell.exit_code(), console.taken_err().as_str()), (1, "ls [-s] [-w] [-R] path\n"));
        assert!(shell.prompt().ends_with("(CLOSED) 3] "), "{}", shell.prompt());
        assert_eq!(shell.execute_line("quit").await, Next::Quit);
        assert!(shell.complete("/").await.is_empty());
    }
}
