//! From a word and a snapshot to the text that is sent.

use super::connections::{dump_connections, write_connections};
use super::sessions::{write_ephemerals, write_sessions};
use super::snapshot::{ConfFacts, DirectorySizes, ServerSnapshot, ServerState};
use super::text::java_double;
use super::watches::{write_watch_summary, write_watches_by_connection, write_watches_by_path};
use super::word::Word;
use crate::connection::Serving;
use crate::metrics::monitor;
use std::fmt::{self, Write};

/// What is sent, and what is to be done besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The text; the connection is closed behind it.
    pub text: String,
    /// What the word changes.
    pub effect: Option<Effect>,
}

/// What a word changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// `crst`: [`crate::connection::Connection::reset_counters`] on every connection.
    ResetConnections,
    /// `srst`: [`crate::metrics::CoreMetrics::reset`] on every core.
    ResetServer,
    /// `stmk`.
    SetTraceMask(i64),
}

/// What is said when clients are not served.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// What is sent for a word that the whitelist does not hold.
pub fn refusal(word: Word) -> String {
    format!("{} is not executed because it is not in the whitelist.\n", word.name())
}

/// The answer to a word; `argument` is that of `stmk`.
pub fn answer(word: Word, argument: i64, snapshot: &ServerSnapshot) -> Answer {
    if snapshot.serving == Serving::No && !word.is_answered_always() {
        let end = if word == Word::Hash { "" } else { "\n" };
        return Answer { text: format!("{NOT_SERVING}{end}"), effect: None };
    }
    let effect = match word {
        Word::Crst => Some(Effect::ResetConnections),
        Word::Srst => Some(Effect::ResetServer),
        Word::Stmk => Some(Effect::SetTraceMask(argument)),
        _ => None,
    };
    let mut text = String::new();
    write_answer(&mut text, word, argument, snapshot).expect("a String takes whatever is written to it");
    Answer { text, effect }
}

fn write_answer(out: &mut String, word: Word, argument: i64, snapshot: &ServerSnapshot) -> fmt::Result {
    match word {
        Word::Ruok => write!(out, "imok"),
        Word::Isro => write!(
            out,
            "{}",
            match snapshot.serving {
                Serving::No => "null",
                Serving::ReadOnly => "ro",
                Serving::ReadWrite => "rw",
            }
        ),
        Word::Srvr => write_server(out, snapshot, false),
        Word::Stat => write_server(out, snapshot, true),
        Word::Mntr => write_monitor(out, snapshot),
        Word::Conf => write_conf(out, &snapshot.conf, &snapshot.directory_sizes),
        Word::Cons => {
            write_connections(out, snapshot, false)?;
            writeln!(out)
        }
        Word::Crst => writeln!(out, "Connection stats reset."),
        Word::Srst => writeln!(out, "Server stats reset."),
        Word::Dump => {
            writeln!(out, "SessionTracker dump:")?;
            write_sessions(out, snapshot)?;
            writeln!(out, "ephemeral nodes dump:")?;
            write_ephemerals(out, snapshot)?;
            writeln!(out, "Connections dump:")?;
            dump_connections(out, snapshot)
        }
        Word::Envi => {
            writeln!(out, "Environment:")?;
            snapshot.environment.iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
        }
        Word::Dirs => {
            writeln!(out, "datadir_size: {}", snapshot.directory_sizes.data)?;
            writeln!(out, "logdir_size: {}", snapshot.directory_sizes.log)
        }
        Word::Wchs => write_watch_summary(out, &snapshot.watches),
        Word::Wchc => write_watches_by_connection(out, &snapshot.watches),
        Word::Wchp => write_watches_by_path(out, &snapshot.watches),
        Word::Hash => {
            snapshot.digests.iter().try_for_each(|(zxid, digest)| writeln!(out, "{:x}: {}", zxid.0, *digest as i64))
        }
        Word::Gtmk => write!(out, "{}", snapshot.trace_mask),
        Word::Stmk => write!(out, "{argument}"),
    }
}

/// `srvr`, and `stat` with the clients.
fn write_server(out: &mut String, snapshot: &ServerSnapshot, clients: bool) -> fmt::Result {
    writeln!(out, "Zookeeper version: {}", snapshot.version)?;
    if snapshot.serving == Serving::ReadOnly {
        writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
    }
    if clients {
        writeln!(out, "Clients:")?;
        write_connections(out, snapshot, true)?;
        writeln!(out)?;
    }
    let metrics = &snapshot.metrics;
    let latency = &metrics.latency;
    writeln!(out, "Latency min/avg/max: {}/{}/{}", latency.min(), java_double(latency.mean()), latency.max())?;
    writeln!(out, "Received: {}", metrics.packets_received)?;
    writeln!(out, "Sent: {}", metrics.packets_sent)?;
    writeln!(out, "Connections: {}", snapshot.connection_count)?;
    writeln!(out, "Outstanding: {}", snapshot.outstanding)?;
    writeln!(out, "Zxid: 0x{:x}", snapshot.last_zxid.0)?;
    writeln!(out, "Mode: {}", snapshot.state.name())?;
    writeln!(out, "Node count: {}", snapshot.node_count)?;
    let leader = snapshot.ensemble.as_ref().and_then(|ensemble| ensemble.leader.as_ref());
    if let (ServerState::Leader, Some(leader)) = (snapshot.state, leader) {
        let sizes = leader.proposals;
        writeln!(out, "Proposal sizes last/min/max: {}/{}/{}", sizes.last, sizes.min, sizes.max)?;
    }
    Ok(())
}

fn write_monitor(out: &mut String, snapshot: &ServerSnapshot) -> fmt::Result {
    monitor(snapshot).iter().try_for_each(|figure| writeln!(out, "zk_{}\t{}", figure.name, figure.value))
}

/// `ZooKeeperServer.dumpConf`, and `QuorumZooKeeperServer.dumpConf`, which ends without a newline.
fn write_conf(out: &mut String, conf: &ConfFacts, sizes: &DirectorySizes) -> fmt::Result {
    writeln!(out, "clientPort={}", conf.client_port)?;
    writeln!(out, "secureClientPort={}", conf.secure_client_port)?;
    writeln!(out, "dataDir={}", conf.data_dir)?;
    writeln!(out, "dataDirSize={}", sizes.data)?;
    writeln!(out, "dataLogDir={}", conf.data_log_dir)?;
    writeln!(out, "dataLogSize={}", sizes.log)?;
    writeln!(out, "tickTime={}", conf.tick_time_ms)?;
    writeln!(out, "maxClientCnxns={}", conf.max_client_cnxns)?;
    writeln!(out, "minSessionTimeout={}", conf.session_timeout_min_ms)?;
    writeln!(out, "maxSessionTimeout={}", conf.session_timeout_max_ms)?;
    writeln!(out, "clientPortListenBacklog={}", conf.listen_backlog)?;
    writeln!(out, "serverId={}", conf.server_id)?;
    let Some(ensemble) = &conf.ensemble else { return Ok(()) };
    writeln!(out, "initLimit={}", ensemble.init_limit)?;
    writeln!(out, "syncLimit={}", ensemble.sync_limit)?;
    writeln!(out, "electionAlg=3")?;
    writeln!(out, "electionPort={}", ensemble.election_ports)?;
    writeln!(out, "quorumPort={}", ensemble.quorum_ports)?;
    writeln!(out, "peerType={}", i32::from(ensemble.is_observer))?;
    writeln!(out, "membership: ")?;
    write!(out, "{}", ensemble.membership)
}
