//! `ringkeeper ensemble`: several servers on this machine, for trying things out.
//!
//! Each server is a process of its own with a folder of its own: `<dir>/<number>/` has its `zoo.cfg`, `myid`, data and
//! log. A second run with the same folder starts the same ensemble again. This program only watches over them: it says
//! when they serve, passes a signal on, and tells when one ends.

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long the servers may take until they serve before that is called a failure.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a four-letter word may take.
const WORD_PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of `ringkeeper ensemble`.
#[derive(clap::Args, Debug)]
pub struct EnsembleArgs {
    /// Number of voting servers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    size: u8,

    /// Number of observers besides them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=99))]
    observers: u8,

    /// Folder of the servers' folders; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "ringkeeper-ensemble")]
    dir: PathBuf,

    /// Client port of the first server; the others have the ports behind it
    #[arg(long, value_name = "PORT", default_value_t = 2181)]
    client_port: u16,

    /// Quorum port of the first server
    #[arg(long, value_name = "PORT", default_value_t = 2888)]
    quorum_port: u16,

    /// Election port of the first server
    #[arg(long, value_name = "PORT", default_value_t = 3888)]
    election_port: u16,

    /// Any setting for all of them, as zoo.cfg spells it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

struct Member {
    number: u16,
    client_port: u16,
    folder: PathBuf,
}

/// Runs an ensemble until SIGTERM or SIGINT, or until no server of it is left.
pub fn main(args: &EnsembleArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("ringkeeper ensemble: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &EnsembleArgs) -> Result<(), String> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGCHLD]).map_err(|problem| format!("signals cannot be caught: {problem}"))?;
    let members = lay_out(args)?;
    let program = std::env::current_exe().map_err(|problem| format!("this program has no path: {problem}"))?;
    let mut children = Vec::new();
    for member in &members {
        match start(&program, member, &args.settings) {
            Ok(child) => children.push((member.number, child)),
            Err(problem) => {
                stop(&mut children);
                return Err(problem);
            }
        }
    }
    let outcome = watch(&members, &mut children, &mut signals);
    stop(&mut children);
    outcome
}

/// Writes what each server needs to find the others.
fn lay_out(args: &EnsembleArgs) -> Result<Vec<Member>, String> {
    let count = u16::from(args.size) + u16::from(args.observers);
    let port = |first: u16, offset: u16| {
        first.checked_add(offset).ok_or_else(|| format!("{count} ports from {first} on are more than there are"))
    };
    let mut lines = String::new();
    for offset in 0..count {
        let role = if offset < u16::from(args.size) { "participant" } else { "observer" };
        let (quorum, election) = (port(args.quorum_port, offset)?, port(args.election_port, offset)?);
        let client = port(args.client_port, offset)?;
        lines += &format!("server.{}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}\n", offset + 1);
    }
    // One voter is an ensemble all the same: it can grow by reconfig.
    let alone = if args.size == 1 { "standaloneEnabled=false\n" } else { "" };
    let mut members = Vec::new();
    for offset in 0..count {
        let (number, client_port) = (offset + 1, port(args.client_port, offset)?);
        let folder = args.dir.join(number.to_string());
        let failed = |path: &Path, problem: io::Error| format!("{}: {problem}", path.display());
        fs::create_dir_all(&folder).map_err(|problem| failed(&folder, problem))?;
        let folder = fs::canonicalize(&folder).map_err(|problem| failed(&folder, problem))?;
        // Servers on one machine are not bound to its processors: all would be bound to the first ones.
        let config = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             pinCores=false\n{alone}{lines}",
            folder.display()
        );
        for (name, text) in [("zoo.cfg", config), ("myid", format!("{number}\n"))] {
            let path = folder.join(name);
            // Members that have been reconfigured stand in a file of their own, to which the server's file points.
            if fs::read_to_string(&path).is_ok_and(|before| before.contains("\ndynamicConfigFile=")) {
                continue;
            }
            fs::write(&path, text).map_err(|problem| failed(&path, problem))?;
        }
        members.push(Member { number, client_port, folder });
    }
    Ok(members)
}

fn start(program: &Path, member: &Member, settings: &[String]) -> Result<Child, String> {
    let log_path = member.folder.join("server.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|problem| format!("{}: {problem}", log_path.display()))?;
    let mut command = Command::new(program);
    command.arg("serve").arg(member.folder.join("zoo.cfg"));
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|problem| format!("server {} cannot be started: {problem}", member.number))
}

/// Says when all serve, then waits for a signal or the end of the last server.
fn watch(members: &[Member], children: &mut Vec<(u16, Child)>, signals: &mut Signals) -> Result<(), String> {
    let give_up = Instant::now() + START_PATIENCE;
    let mut modes: Vec<Option<String>> = vec![None; members.len()];
    while modes.iter().any(Option::is_none) {
        for (mode, member) in modes.iter_mut().zip(members) {
            if mode.is_none() {
                *mode = mode_of(member.client_port);
            }
        }
        for signal in signals.pending() {
            if signal != SIGCHLD {
                return Ok(());
            }
        }
        if let Some(problem) = bury(children, members) {
            return Err(problem);
        }
        if Instant::now() > give_up {
            let silent: Vec<String> =
                modes.iter().zip(members).filter(|(mode, _)| mode.is_none()).map(log_of).collect();
            return Err(format!("after {} s not all serve; see {}", START_PATIENCE.as_secs(), silent.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let connect: Vec<String> = members.iter().map(|member| format!("127.0.0.1:{}", member.client_port)).collect();
    println!("{}", connect.join(","));
    for (mode, member) in modes.iter().zip(members) {
        eprintln!(
            "server {} on port {}: {}",
            member.number,
            member.client_port,
            mode.as_deref().unwrap_or("not serving")
        );
    }
    let _ = io::stdout().flush();
    for signal in signals.forever() {
        if signal != SIGCHLD {
            return Ok(());
        }
        if let Some(problem) = bury(children, members) {
            eprintln!("{problem}");
        }
        if children.is_empty() {
            return Err("no server is left".into());
        }
    }
    Ok(())
}

fn log_of((_, member): (&Option<String>, &Member)) -> String {
    member.folder.join("server.log").display().to_string()
}

/// Takes out the servers that have ended, and says so.
fn bury(children: &mut Vec<(u16, Child)>, members: &[Member]) -> Option<String> {
    let mut words = Vec::new();
    children.retain_mut(|(number, child)| match child.try_wait() {
        Ok(Some(status)) => {
            let log = members.iter().find(|member| member.number == *number).map(|member| log_of((&None, member)));
            words.push(format!("server {number} has ended ({status}); see {}", log.unwrap_or_default()));
            false
        }
        _ => true,
    });
    (!words.is_empty()).then(|| words.join("\n"))
}

fn stop(children: &mut Vec<(u16, Child)>) {
    for (_, child) in children.iter() {
        if let Ok(pid) = i32::try_from(child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // One that has ended meanwhile needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    for (_, child) in children.iter_mut() {
        let _ = child.wait();
    }
    children.clear();
}

/// What `srvr` says of a server's mode, once it serves.
fn mode_of(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, WORD_PATIENCE).ok()?;
    stream.set_read_timeout(Some(WORD_PATIENCE)).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: EnsembleArgs,
    }

    #[test]
    fn every_server_finds_itself_and_the_others_in_its_file() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().to_str().unwrap();
        let words = ["x", "--size", "3", "--observers", "1", "--dir", dir, "--client-port", "4000"];
        let args = Words::try_parse_from(words).unwrap().args;
        let members = lay_out(&args).unwrap();
        assert_eq!(members.iter().map(|member| member.client_port).collect::<Vec<_>>(), [4000, 4001, 4002, 4003]);
        for member in &members {
            let mut raw = tuning::RawConfig::new();
            raw.add_file("zoo.cfg", &fs::read(member.folder.join("zoo.cfg")).unwrap());
            raw.add_myid_file("myid", &fs::read(member.folder.join("myid")).unwrap());
            let (config, warnings) = tuning::load(&raw).unwrap();
            assert!(config.ensemble.is_distributed() && warnings.is_empty(), "{warnings:?}");
            assert_eq!(config.local.client.port, member.client_port);
            assert_eq!(config.ensemble.members.len(), 4);
        }
        let beyond = Words::try_parse_from(["x", "--dir", dir, "--election-port", "65534"]).unwrap().args;
        assert!(lay_out(&beyond).err().unwrap().contains("65534"));
    }
}
