//! config, reconfig, version.

use super::super::line::{Flag, Options, flag, valued};
use super::super::watches::Kind;
use super::{CliError, Command, Context, about, usage};
use tuning::config::Member;
use tuning::zoo_cfg;
use zookeeper_client::EnsembleUpdate;

/// A command about the ensemble.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Ensemble {
    Config { for_clients: bool, watch: bool, with_stat: bool },
    Reconfig { change: Change, version: Option<i64>, with_stat: bool },
    Version,
}

/// How the membership is to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) enum Change {
    Incremental { joining: Option<String>, leaving: Option<String> },
    Members(String),
    MembersFrom(String),
}

pub(super) const RECONFIG_USAGE: &str = "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | [-add \
     serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]";

const CONFIG_NODE: &str = "/zookeeper/config";

pub(super) fn parse_config(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("s"), flag("w"), flag("c")];
    let options = Options::parse(words, FLAGS)?;
    let (for_clients, watch, with_stat) = (options.has("c"), options.has("w"), options.has("s"));
    Ok(Command::Ensemble(Ensemble::Config { for_clients, watch, with_stat }))
}

pub(super) fn parse_reconfig(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] =
        &[flag("s"), valued("v"), valued("file"), valued("members"), valued("add"), valued("remove")];
    let options = Options::parse(words, FLAGS)?;
    let is_whole = options.has("file") || options.has("members");
    let is_incremental = options.has("add") || options.has("remove");
    if !is_whole && !is_incremental {
        return Err(usage("reconfig"));
    }
    let version = options.value("v").map(|text| i64::from_str_radix(text, 16)).transpose();
    let version = version.map_err(|_| CliError::new("-v must be followed by a long (configuration version)"))?;
    if is_whole && is_incremental {
        return Err(CliError::new(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes \
             is not allowed)",
        ));
    }
    let lower = |name: &str| options.value(name).map(str::to_lowercase);
    let change = match (options.value("file"), lower("members")) {
        (Some(_), Some(_)) => {
            return Err(CliError::new("Can't use -file and -members together (conflicting non-incremental modes)"));
        }
        (Some(file), None) => Change::MembersFrom(file.to_owned()),
        (None, Some(members)) => Change::Members(members),
        (None, None) => Change::Incremental { joining: lower("add"), leaving: lower("remove") },
    };
    Ok(Command::Ensemble(Ensemble::Reconfig { change, version, with_stat: options.has("s") }))
}

pub(super) fn parse_version(words: &[String]) -> Result<Command, CliError> {
    if words.len() > 1 { Err(usage("version")) } else { Ok(Command::Ensemble(Ensemble::Version)) }
}

impl Ensemble {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Ensemble::Config { for_clients, watch, with_stat } => {
                config(context, *for_clients, *watch, *with_stat).await
            }
            Ensemble::Reconfig { change, version, with_stat } => reconfig(context, change, *version, *with_stat).await,
            Ensemble::Version => {
                // The release whose commands these are, then our own.
                let own = env!("CARGO_PKG_VERSION");
                context.console.out(&format!("ZooKeeper CLI version: 3.9.4-ringkeeper-{own}"));
                Ok(())
            }
        }
    }
}

async fn config(context: &Context<'_>, for_clients: bool, watch: bool, with_stat: bool) -> Result<(), CliError> {
    let client = context.client(CONFIG_NODE).await?;
    let (data, stat) = if watch {
        let (data, stat, watcher) = client.get_and_watch_config().await.map_err(about(CONFIG_NODE))?;
        context.connection.watches().add_oneshot(CONFIG_NODE, Kind::Data, watcher);
        (data, stat)
    } else {
        client.get_config().await.map_err(about(CONFIG_NODE))?
    };
    if for_clients {
        context.console.out(&connect_string(&data));
    } else {
        context.console.out_bytes(&data);
    }
    if with_stat {
        context.stat(&stat);
    }
    Ok(())
}

/// The version, then where clients connect (`ConfigUtils.getClientConfigStr`).
fn connect_string(config: &[u8]) -> String {
    let entries = zoo_cfg::parse(config).entries;
    let version = entries.iter().rfind(|entry| entry.key == "version").map_or("", |entry| entry.value.trim());
    let addresses: Vec<String> = entries
        .iter()
        .filter(|entry| entry.key.starts_with("server."))
        .filter_map(|entry| Member::parse(-1, entry.value.trim()).ok()?.client)
        .map(|(host, port)| format!("{host}:{port}"))
        .collect();
    format!("{version} {}", addresses.join(","))
}

async fn reconfig(
    context: &Context<'_>,
    change: &Change,
    version: Option<i64>,
    with_stat: bool,
) -> Result<(), CliError> {
    let members = match change {
        Change::Members(members) => Some(members.clone()),
        Change::MembersFrom(file) => Some(members_of(file)?),
        Change::Incremental { .. } => None,
    };
    let update = match (change, &members) {
        (_, Some(members)) => EnsembleUpdate::New { ensemble: Some(members.as_str()).into_iter() },
        (Change::Incremental { joining, leaving }, None) => EnsembleUpdate::Incremental {
            joinings: joining.as_deref().into_iter(),
            leavings: leaving.as_deref().into_iter(),
        },
        (_, None) => return Err(usage("reconfig")),
    };
    let client = context.client("").await?;
    let (config, stat) = client.update_ensemble(update, version).await.map_err(about(""))?;
    context.console.out("Committed new configuration:");
    context.console.out_bytes(&config);
    if with_stat {
        context.stat(&stat);
    }
    Ok(())
}

/// The members that a dynamic configuration file lists, joined by commas.
fn members_of(file: &str) -> Result<String, CliError> {
    let wrong = |what: String| CliError::new(format!("Error processing {file}: {what}"));
    let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let parsed = zoo_cfg::parse(&bytes);
    if let Some(error) = parsed.errors.first() {
        return Err(wrong(format!("line {}: {error}", error.line)));
    }
    let mut members = Vec::new();
    for entry in &parsed.entries {
        match entry.key.strip_prefix("server.").map(|id| id.parse::<i64>()) {
            Some(Ok(id)) => {
                let value = entry.value.trim();
                Member::parse(id, value).map_err(|error| wrong(format!("line {}: {error}", entry.line)))?;
                members.push(format!("server.{id}={value}"));
            }
            None if ["version", "group", "weight"].iter().any(|known| entry.key.starts_with(known)) => {}
            _ => return Err(wrong(format!("line {}: Unrecognised parameter: {}", entry.line, entry.key))),
        }
    }
    if members.is_empty() { Err(wrong("there is no server in it".to_owned())) } else { Ok(members.join(",")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{error, parse};
    use super::*;
    use std::io::Write;

    #[test]
    fn reconfig_is_whole_or_incremental() {
        let change = Change::Incremental { joining: Some("4=h:1:2;3".into()), leaving: Some("1,2".into()) };
        let expected = Ensemble::Reconfig { change, version: Some(0x1F), with_stat: true };
        assert_eq!(parse("reconfig -s -v 1f -add 4=H:1:2;3 -remove 1,2").unwrap(), Command::Ensemble(expected));
        assert_eq!(
            error("reconfig -add 1=x -members y"),
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes is \
             not allowed)"
        );
        assert_eq!(error("reconfig -v zz -remove 3"), "-v must be followed by a long (configuration version)");
        assert!(error("reconfig").starts_with("reconfig [-s] [-v version] [[-file path] | [-members serverID="));
        assert!(error("reconfig -file a -members b").starts_with("Can't use -file and -members together"));
    }

    #[test]
    fn the_connect_string_lists_client_addresses() {
        let text =
            b"server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:participant;h:2182\nserver.3=c:\
                     2888:3888\nversion=100000000";
        assert_eq!(connect_string(text), "100000000 0.0.0.0:2181,h:2182");
        assert_eq!(connect_string(b""), " ");
    }

    #[test]
    fn a_file_s_members_are_checked() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "server.1=a:1:2;3\nserver.2=b:1:2;3\nversion=5\n").unwrap();
        let name = file.path().to_str().unwrap().to_owned();
        assert_eq!(members_of(&name).unwrap(), "server.1=a:1:2;3,server.2=b:1:2;3");
        writeln!(file, "tickTime=5").unwrap();
        assert!(members_of(&name).unwrap_err().to_string().ends_with("line 4: Unrecognised parameter: tickTime"));
        assert!(members_of("/does/not/exist").unwrap_err().to_string().starts_with("Error processing /does/not/exist"));
    }
}
