//! Configurations from text, and from the same keys of `zoo.cfg` (`QuorumPeerConfig.parseDynamicConfig`).

use super::member::{Member, MemberRole};
use super::quorum::{Hierarchy, QuorumSystem};
use super::{Ensemble, ServerId};
use std::collections::BTreeMap;

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}={value}: {message}")]
pub struct EnsembleError {
    /// The key at fault.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What is wrong, for the operator.
    pub message: String,
}

impl EnsembleError {
    pub(super) fn new(key: &str, value: &str, message: impl Into<String>) -> EnsembleError {
        EnsembleError { key: key.to_owned(), value: value.to_owned(), message: message.into() }
    }
}

impl Ensemble {
    /// Reads the text of `/zookeeper/config`, of a notification, or of a dynamic file, and keeps it as it is.
    ///
    /// Lines are those of Java properties. A backslash is refused: no host, port or number needs an escape.
    ///
    /// # Errors
    /// The first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Ensemble, EnsembleError> {
        let mut pairs = Vec::new();
        for line in text.split(['\n', '\r']).map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = split(line);
            if line.contains('\\') {
                return Err(EnsembleError::new(key, value, "escapes have no meaning in a configuration of servers"));
            }
            pairs.push((key, value));
        }
        let ensemble = Ensemble::from_pairs(pairs)?;
        Ok(Ensemble { text: text.into(), ..ensemble })
    }

    /// Reads `server.N`, `group.N`, `weight.N` and `version` (hexadecimal); of a repeated key the last one holds.
    ///
    /// # Errors
    /// The first key that is none of these or has a value that it cannot have; no participant at all.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Ensemble, EnsembleError> {
        let last: BTreeMap<&str, &str> = pairs.into_iter().map(|(key, value)| (key.trim(), value.trim())).collect();
        let mut builder = Builder::default();
        for (key, value) in &last {
            builder.take(key, value).map_err(|message| EnsembleError::new(key, value, message))?;
        }
        builder.finish(&last)
    }

    /// Whether a key of `zoo.cfg` belongs to [`Self::from_pairs`].
    pub fn is_membership_key(key: &str) -> bool {
        ["server.", "group.", "weight."].iter().any(|start| {
            key.strip_prefix(start).is_some_and(|number| number.trim_start_matches('-').parse::<u64>().is_ok())
        })
    }
}

/// Cuts at the first `=`, `:` or blank; blanks around one separator belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let Some(end) = line.find(['=', ':', ' ', '\t', '\x0C']) else { return (line, "") };
    let behind = line[end..].trim_start();
    (&line[..end], behind.strip_prefix(['=', ':']).unwrap_or(behind).trim_start())
}

#[derive(Default)]
struct Builder {
    members: BTreeMap<ServerId, Member>,
    group_of: BTreeMap<ServerId, i64>,
    weights: BTreeMap<ServerId, u64>,
    hierarchical: bool,
    version: i64,
}

impl Builder {
    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(sid) = key.strip_prefix("server.") {
            self.members.insert(server_id(sid)?, Member::parse(value)?);
        } else if let Some(group) = key.strip_prefix("group.") {
            self.hierarchical = true;
            let group = group.parse().map_err(|_| format!("'{group}' is not a group number"))?;
            for sid in value.split(':') {
                if let Some(other) = self.group_of.insert(server_id(sid)?, group) {
                    return Err(format!("server {} is in group {other} too, and groups must be disjoint", sid.trim()));
                }
            }
        } else if let Some(sid) = key.strip_prefix("weight.") {
            self.hierarchical = true;
            let sid = server_id(sid)?;
            // Java's weights are signed; a sum beyond their range has no meaning there either.
            let weight = value.parse::<u32>().map_err(|_| "a weight is a number from 0 to 4294967295".to_owned())?;
            self.weights.insert(sid, u64::from(weight));
        } else if key == "version" {
            let wrong = |_| "the version is a hexadecimal number without 0x".to_owned();
            self.version = i64::from_str_radix(value, 16).map_err(wrong)?;
        } else {
            return Err("unrecognised key: server.N, group.N, weight.N and version are known".to_owned());
        }
        Ok(())
    }

    fn finish(self, pairs: &BTreeMap<&str, &str>) -> Result<Ensemble, EnsembleError> {
        let voters = || {
            let voting = self.members.iter().filter(|(_, member)| member.role == MemberRole::Participant);
            voting.map(|(sid, _)| *sid)
        };
        if voters().next().is_none() {
            let (key, value) = pairs.iter().next().map_or(("server.N", ""), |(key, value)| (*key, *value));
            return Err(EnsembleError::new(key, value, "no server is a participant: at least one must vote"));
        }
        let system = if self.hierarchical {
            let hierarchy = Hierarchy::new(self.group_of, self.weights, voters()).map_err(|(sid, message)| {
                let key = format!("server.{sid}");
                EnsembleError::new(&key, pairs.get(key.as_str()).copied().unwrap_or_default(), message)
            })?;
            QuorumSystem::Hierarchical(hierarchy)
        } else {
            QuorumSystem::Majority
        };
        Ok(Ensemble::new(self.members, system, self.version))
    }
}

pub(super) fn server_id(text: &str) -> Result<ServerId, String> {
    match text.trim().parse() {
        Ok(number) if (0..i64::MAX).contains(&number) => Ok(ServerId(number)),
        _ => Err(format!("'{}' is not a server number (0 to {})", text.trim(), i64::MAX - 1)),
    }
}
