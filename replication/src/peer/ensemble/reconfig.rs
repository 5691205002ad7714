//! What a reconfig request makes of a configuration (`PrepRequestProcessor`, case `reconfig`).
//!
//! Sessions, the ACL, `reconfigEnabled`, and whether the new quorum follows are for those to check who know them.

use super::member::Member;
use super::parse::server_id;
use super::quorum::QuorumSystem;
use super::{Ensemble, ServerId};
use engine::error_code::ErrorCode;
use std::collections::BTreeMap;

/// A change as a client asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// The whole new configuration, its lines separated by commas or line feeds.
    Members(&'a str),
    /// One after the other: some leave, then some join or change.
    Steps {
        /// `server.N=...;...` separated by commas.
        joining: Option<&'a str>,
        /// Numbers separated by commas.
        leaving: Option<&'a str>,
    },
}

/// Why a change is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReconfigError {
    /// What the client gets.
    pub code: ErrorCode,
    /// What is wrong, for the log.
    pub message: String,
}

fn bad(message: impl Into<String>) -> ReconfigError {
    ReconfigError { code: ErrorCode::BadArguments, message: message.into() }
}

impl Ensemble {
    /// The configuration that follows from this one, the last seen, by `change`, with the zxid of the transaction as
    /// `version`. `standalone_enabled` as in the configuration: if it is, two must vote.
    ///
    /// # Errors
    /// [`ErrorCode::BadArguments`]: a text that does not parse, an address or port that another server has, too few
    /// voters, steps where groups and weights decide.
    pub fn changed(
        &self,
        change: Change<'_>,
        version: i64,
        standalone_enabled: bool,
    ) -> Result<Ensemble, ReconfigError> {
        let next = match change {
            Change::Members(text) => {
                let next = Ensemble::parse(&text.replace(',', "\n")).map_err(|error| bad(error.to_string()))?;
                next.with_version(version)
            }
            Change::Steps { joining, leaving } => {
                if self.system != QuorumSystem::Majority {
                    return Err(bad("a configuration with groups and weights changes by newMembers only"));
                }
                Ensemble::majority(self.stepped(joining, leaving)?, version)
            }
        };
        let (voters, least) = (next.voters().count(), if standalone_enabled { 2 } else { 1 });
        if voters < least {
            return Err(bad(format!("the new configuration has {voters} participants, and needs at least {least}")));
        }
        Ok(next)
    }

    fn stepped(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
    ) -> Result<BTreeMap<ServerId, Member>, ReconfigError> {
        let mut members = self.members.clone();
        for sid in items(leaving) {
            members.remove(&server_id(sid).map_err(|message| bad(format!("leavingServers: {message}")))?);
        }
        for item in items(joining) {
            let (sid, member) = joiner(item).map_err(|message| bad(format!("joiningServers: {item}: {message}")))?;
            for (other, there) in members.iter().filter(|(other, _)| **other != sid) {
                if let Some(clash) = clash(&member, there) {
                    return Err(bad(format!("joiningServers: {item}: {clash} of server.{other}")));
                }
            }
            members.insert(sid, member);
        }
        Ok(members)
    }
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// `server.N=spec`, or `N=spec` as the command line has it, with all three ports.
fn joiner(item: &str) -> Result<(ServerId, Member), String> {
    let (key, spec) = item.split_once('=').ok_or("must have the form server.N=address;clientAddress")?;
    // What stands before the dot has no meaning to ZooKeeper.
    let number = key.rsplit_once('.').map_or(key, |(_, number)| number);
    let member = Member::parse(spec)?;
    if member.client.is_none() {
        return Err("all three ports must be given, the client's behind a ';'".to_owned());
    }
    Ok((server_id(number)?, member))
}

/// What of `joining` the member `there` has already. Loopback and wildcard hosts mean another machine each time
/// (`QuorumServer.checkAddressDuplicate`).
fn clash(joining: &Member, there: &Member) -> Option<String> {
    let taken: Vec<_> = there.claims().filter(|(_, at)| !at.is_loopback() && !at.is_wildcard()).collect();
    joining.claims().find_map(|(what, at)| {
        let (other, _) = taken.iter().find(|(_, claimed)| *claimed == at)?;
        Some(format!("its {what} {at} is the {other}"))
    })
}
