//! `ringkeeper cli`: zkCli's commands, options, output and exit codes, on a Rust client library that is not ours.
//!
//! A line becomes words and options (`line`), those become a `commands::Command`, and that talks to a server over
//! the `connection`. The `shell` keeps session, history and exit code; `prompt` is the line editor, with
//! completion of commands and of paths. The session runs on the main thread, in a single-threaded Tokio runtime, so
//! that it keeps itself alive while the editor, on a thread of its own, waits for the next line.
//!
//! Where zkCli and this differ: a node created without data holds empty data, not null, and null data is shown as an
//! empty line, since the client library knows no null; option errors do not name Java classes; a one-shot command closes
//! its session instead of leaving it to expire.

mod acl_text;
mod commands;
mod connection;
mod console;
mod date;
mod error;
mod line;
mod options;
mod path;
mod prompt;
mod shell;
mod stat_text;
mod stats_track;
mod watches;

use console::Console;
use date::TimeZone;
use options::ProgramOptions;
use prompt::{Input, Prompt};
use shell::{Next, Shell};
use std::process::ExitCode;
use std::sync::Arc;

/// `ringkeeper cli`: talks to a server, by a prompt or with one command.
#[derive(clap::Args, Clone, Default, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct CliArgs {
    /// Options of the client, then a command to run; without a command there is a prompt
    #[arg(value_name = "OPTION | COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

const AFTER_HELP: &str = "Options, with one dash or two:
  -server HOST:PORT[,HOST:PORT...][/CHROOT]  where to connect [localhost:2181]
  -timeout MS                                session timeout to ask for [30000]
  -r                                         a read-only server will do
  -waitforconnection                         connect before the first command

Commands are those of zkCli: ls, get, set, create, delete, stat, addWatch, ...
An unknown command such as help lists them all.

Exit codes: 0, 1 when the command failed, 2 for wrong options, 127 for an unknown command.";

const BAD_INVOCATION: u8 = 2;

/// Runs the client and gives the exit code of its last command.
pub fn main(args: CliArgs) -> ExitCode {
    let console = Arc::new(Console::process());
    let options = match options::parse(&args.words) {
        Ok(options) => options,
        Err(error) => {
            console.err(&error.to_string());
            return ExitCode::from(BAD_INVOCATION);
        }
    };
    match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(run(options, console))),
        Err(error) => {
            console.err(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: ProgramOptions, console: Arc<Console>) -> u8 {
    let zone = TimeZone::of_machine(std::env::var("TZ").ok().as_deref());
    let mut shell = Shell::open(&options, zone, console.clone());
    if let Err(error) = shell.wait_if_asked().await {
        console.err(&error.to_string());
        return 1;
    }
    if options.command.is_empty() {
        converse(&mut shell, &console).await;
    } else if shell.execute(&options.command).await == Next::Continue {
        // What a close would print belongs to a prompt.
        console.show_watches(false);
    }
    shell.close().await;
    shell.exit_code()
}

/// Line after line, until there is no more.
async fn converse(shell: &mut Shell, console: &Arc<Console>) {
    console.out("Welcome to ZooKeeper!");
    let path_in = |name: &str| std::env::var_os(name).map(Into::into);
    let history = prompt::history_path(path_in("XDG_STATE_HOME"), path_in("HOME"));
    let mut prompt = match Prompt::start(console.clone(), history) {
        Ok(prompt) => prompt,
        Err(error) => return console.err(&format!("no line can be read: {error}")),
    };
    loop {
        prompt.ask(shell.prompt());
        let line = loop {
            match prompt.next().await {
                Input::Line(line) => break line,
                Input::Complete(word, reply) => {
                    // If the editor gave up waiting, nobody listens any more.
                    let _ = reply.try_send(shell.complete(&word).await);
                }
                Input::End => return,
            }
        };
        if shell.execute_line(&line).await == Next::Quit {
            return;
        }
    }
}
