//! Who belongs to the ensemble, and whether this build can serve it.

use super::EnsembleConfig;
use super::member::{Member, Role, parse_role};
use super::reader::Reader;
use crate::problem::ConfigError;
use crate::raw::Setting;

/// The members, from `server.N` in the file or from the file that `dynamicConfigFile` names.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Member> {
    let raw = reader.raw;
    let dynamic_name = reader.text("dynamicConfigFile");
    let mut members = Vec::new();
    for (key, setting) in raw.iter().filter(|(key, _)| is_membership(key)) {
        if dynamic_name.is_some() {
            let message = "must stand in the file that dynamicConfigFile names, and only there".to_owned();
            push(reader, key, setting, message);
        } else {
            read_line(reader, key, setting, &mut members);
        }
    }
    match (raw.dynamic(), dynamic_name) {
        (Some(dynamic), _) => {
            for (key, setting) in dynamic {
                if is_membership(key) {
                    read_line(reader, key, setting, &mut members);
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
    members.sort_by_key(|member: &Member| member.id);
    members
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

/// What QuorumPeerConfig demands of an ensemble, and what this build demands beyond it.
pub(super) fn check(reader: &mut Reader<'_>, ensemble: &EnsembleConfig, server_id: Option<i64>) {
    let observes = reader.word("peerType", "participant or observer", Role::Participant, |word| parse_role(word).ok())
        == Role::Observer;
    if observes {
        let message = "this build serves an ensemble of one, which cannot be an observer".to_owned();
        reader.wrong("peerType", message);
    }
    let members = &ensemble.members;
    let participants = members.iter().filter(|member| member.role == Role::Participant).count();
    if members.is_empty() {
        if !ensemble.standalone_enabled && reader.raw.has_file_defaults() {
            let message = "=false needs at least one participant: add server.N, or let it be true".to_owned();
            reader.wrong("standaloneEnabled", message);
        }
        return;
    }
    if members.len() > 1 || participants == 0 {
        let message = format!(
            "this build serves an ensemble of one, and {} configured, {participants} of them as participant: leave one \
             server.N line that is a participant, or none",
            if members.len() == 1 { "one server is".to_owned() } else { format!("{} servers are", members.len()) }
        );
        complain(reader, members, message);
        return;
    }
    if ensemble.standalone_enabled {
        return;
    }
    for (key, ticks) in [("initLimit", ensemble.init_limit_ticks), ("syncLimit", ensemble.sync_limit_ticks)] {
        if ticks == 0 {
            reader.wrong(key, "is not set, and an ensemble needs it (ZooKeeper's sample has 10 and 5)".to_owned());
        }
    }
    if server_id.is_none() && reader.raw.myid_text().is_none() && reader.raw.get("myid").is_none() {
        let message = "myid file is missing: write this server's number into the file myid in dataDir".to_owned();
        reader.errors.push(ConfigError { key: "myid".to_owned(), value: None, origin: None, message });
    } else if let Some(id) = server_id
        && ensemble.members.iter().all(|member| member.id != id)
    {
        let message = format!("this server's number is {id}, and there is no line server.{id}");
        reader.errors.push(ConfigError { key: "myid".to_owned(), value: None, origin: None, message });
    }
}

fn is_membership(key: &str) -> bool {
    ["server.", "group.", "weight."].iter().any(|start| key.starts_with(start))
        && !key.ends_with('.')
        && key != "server.principal"
        && key != "server.realm"
}

fn read_line(reader: &mut Reader<'_>, key: &str, setting: &Setting, members: &mut Vec<Member>) {
    let Some(number) = key.strip_prefix("server.") else {
        let message = "groups and weights need an ensemble, and this build serves an ensemble of one".to_owned();
        push(reader, key, setting, message);
        return;
    };
    match number.parse() {
        Ok(id) => match Member::parse(id, &setting.value) {
            Ok(member) => members.push(member),
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
