//! Who belongs to the ensemble, and what this server is in it.

use super::EnsembleConfig;
use super::member::{Member, Role, parse_role};
use super::reader::Reader;
use crate::problem::{ConfigError, WarningKind};
use crate::raw::Setting;

/// The members, from `server.N` in the file or from the file that `dynamicConfigFile` names, and all the lines that
/// make up the configuration, as they stand.
pub(super) fn read(reader: &mut Reader<'_>) -> (Vec<Member>, Vec<(String, String)>) {
    let raw = reader.raw;
    let dynamic_name = reader.text("dynamicConfigFile");
    let mut found = Found::default();
    for (key, setting) in raw.iter().filter(|(key, _)| is_membership(key)) {
        if dynamic_name.is_some() {
            let message = "must stand in the file that dynamicConfigFile names, and only there".to_owned();
            push(reader, key, setting, message);
        } else {
            read_line(reader, key, setting, &mut found);
        }
    }
    match (raw.dynamic(), dynamic_name) {
        (Some(dynamic), _) => {
            for (key, setting) in dynamic {
                if is_membership(key) {
                    read_line(reader, key, setting, &mut found);
                } else {
                    let message = "does not belong here: a dynamic configuration file holds server.N, group.N and \
                                   weight.N alone";
                    push(reader, key, setting, message.to_owned());
                }
            }
        }
        (None, Some(_)) => reader.wrong("dynamicConfigFile", "names a file that cannot be read".to_owned()),
        (None, None) => {}
    }
    found.members.sort_by_key(|member: &Member| member.id);
    (found.members, found.lines)
}

/// The version that the name of a dynamic file ends with, 0 if it ends with none
/// (`QuorumPeerConfig.getVersionFromFilename`).
pub(super) fn version_of(name: &str) -> i64 {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    i64::from_str_radix(end, 16).unwrap_or(0)
}

#[derive(Default)]
struct Found {
    members: Vec<Member>,
    lines: Vec<(String, String)>,
}

/// `myid`, from a setting or from the file in the data directory.
pub(super) fn server_id(reader: &mut Reader<'_>, ensemble: &EnsembleConfig) -> Option<i64> {
    if let Some(id) = reader.optional_number("myid", 0..=i64::MAX) {
        return Some(id);
    }
    if let Some((name, text)) = reader.raw.myid_text() {
        let line = text.lines().next().unwrap_or_default().trim();
        if let Ok(id) = line.parse() {
            return Some(id);
        }
        let message = format!("{name} holds '{line}', which is not a number: write this server's number there");
        reader.errors.push(ConfigError { key: "myid".to_owned(), value: None, origin: None, message });
        return None;
    }
    // A lone server needs no number, but has the one of its only line.
    match ensemble.members.as_slice() {
        [only] if ensemble.standalone_enabled => Some(only.id),
        _ => None,
    }
}

/// What `QuorumPeerConfig.checkValidity` demands of an ensemble, and what this build demands beyond it. Returns whether
/// this server observes.
pub(super) fn check(reader: &mut Reader<'_>, ensemble: &EnsembleConfig, server_id: Option<i64>) -> Role {
    let wished = reader
        .setting("peerType")
        .is_some()
        .then(|| reader.word("peerType", "participant or observer", Role::Participant, |word| parse_role(word).ok()));
    refuse_what_is_missing(reader, ensemble);
    let members = &ensemble.members;
    let participants = members.iter().filter(|member| member.role == Role::Participant).count();
    if members.is_empty() {
        if !ensemble.standalone_enabled && reader.raw.has_file_defaults() {
            let message = "=false needs at least one participant: add server.N, or let it be true".to_owned();
            reader.wrong("standaloneEnabled", message);
        }
        if wished == Some(Role::Observer) {
            reader.wrong("peerType", "an observer needs an ensemble to observe: add its server.N lines".to_owned());
        }
        return Role::Participant;
    }
    if participants == 0 || (participants == 1 && members.len() > 1 && ensemble.standalone_enabled) {
        let message = format!(
            "{} servers are configured, {participants} of them as participant: observers need at least two participants \
             (one, with standaloneEnabled=false)",
            members.len()
        );
        complain(reader, members, message);
        return Role::Participant;
    }
    if !ensemble.is_distributed() {
        return Role::Participant;
    }
    for (key, ticks) in [("initLimit", ensemble.init_limit_ticks), ("syncLimit", ensemble.sync_limit_ticks)] {
        if ticks == 0 {
            reader.wrong(key, "is not set, and an ensemble needs it (ZooKeeper's sample has 10 and 5)".to_owned());
        }
    }
    let Some(id) = server_id else {
        if reader.raw.myid_text().is_none() && reader.raw.get("myid").is_none() {
            let message = "myid file is missing: write this server's number into the file myid in dataDir".to_owned();
            reader.errors.push(ConfigError { key: "myid".to_owned(), value: None, origin: None, message });
        }
        return Role::Participant;
    };
    if !(1..=255).contains(&id) {
        let message = format!("this server's number is {id}: choose one from 1 to 255, which fits into session ids");
        reader.errors.push(ConfigError { key: "myid".to_owned(), value: None, origin: None, message });
    }
    let Some(own) = members.iter().find(|member| member.id == id) else {
        let message = format!("this server's number is {id}, and there is no line server.{id}");
        reader.errors.push(ConfigError { key: "myid".to_owned(), value: None, origin: None, message });
        return Role::Participant;
    };
    if wished.is_some_and(|wished| wished != own.role) {
        // The member's line decides (`QuorumPeerConfig.setupPeerType`).
        let message = format!("differs from the role in the line server.{id}, which decides");
        reader.warn(WarningKind::Adjusted, "peerType", message);
    }
    own.role
}

/// What an ensemble must not go without in silence.
fn refuse_what_is_missing(reader: &mut Reader<'_>, ensemble: &EnsembleConfig) {
    let (tls, oracle) = (reader.boolean("sslQuorum", false), reader.setting("oraclePath").is_some());
    if !ensemble.is_distributed() {
        return;
    }
    if tls {
        let message = "=true asks for TLS between servers, which is not there yet: remove it, and keep the ports of the \
                       ensemble in a network of their own";
        reader.wrong("sslQuorum", message.to_owned());
    }
    if oracle {
        reader.wrong("oraclePath", "asks for an oracle for two servers, which is not there: remove it".to_owned());
    }
    if ensemble.reconfig_enabled && ensemble.config_file.is_none() {
        let message = "=true lets an ensemble change its members at run time, and a server writes them into its \
                       configuration file: start it with one";
        reader.wrong("reconfigEnabled", message.to_owned());
    }
}

fn is_membership(key: &str) -> bool {
    ["server.", "group.", "weight."].iter().any(|start| key.starts_with(start))
        && !key.ends_with('.')
        && key != "server.principal"
        && key != "server.realm"
}

fn read_line(reader: &mut Reader<'_>, key: &str, setting: &Setting, found: &mut Found) {
    found.lines.push((key.to_owned(), setting.value.clone()));
    // Groups and weights are judged together with the members, by whoever builds the quorum from these lines.
    let Some(number) = key.strip_prefix("server.") else { return };
    match number.parse() {
        Ok(id) => match Member::parse(id, &setting.value) {
            Ok(member) => found.members.push(member),
            Err(message) => push(reader, key, setting, message),
        },
        Err(_) => push(reader, key, setting, format!("'{number}' is not a server number")),
    }
}

fn complain(reader: &mut Reader<'_>, members: &[Member], message: String) {
    let last = members.last().map(|member| format!("server.{}", member.id)).unwrap_or_default();
    let setting = reader.raw.get(&last).or_else(|| reader.raw.dynamic()?.get(&last)).cloned();
    match setting {
        Some(setting) => push(reader, &last, &setting, message),
        None => reader.wrong(&last, message),
    }
}

fn push(reader: &mut Reader<'_>, key: &str, setting: &Setting, message: String) {
    reader.errors.push(ConfigError {
        key: key.to_owned(),
        value: Some(setting.value.clone()),
        origin: Some(setting.origin.clone()),
        message,
    });
}
