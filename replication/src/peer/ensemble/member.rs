//! One `server.N` line (`QuorumPeer.QuorumServer`).

use super::address::{BracketedHost, HostPort, parse_port, split_host};
use std::fmt;

/// What a member does (`QuorumPeer.LearnerType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemberRole {
    /// Votes.
    Participant,
    /// Follows without a vote.
    Observer,
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemberRole::Participant => "participant",
            MemberRole::Observer => "observer",
        })
    }
}

/// One place at which a member can be reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MemberAddress {
    /// Host name or address literal, without brackets.
    pub host: String,
    /// Port of synchronisation and broadcast.
    pub quorum_port: u16,
    /// Port of leader election.
    pub election_port: u16,
}

/// A member: where it is and what it does. Its number is the key in [`super::Ensemble::members`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// At least one; sorted by host, so that equal members compare equal; several with multi-address.
    pub addresses: Vec<MemberAddress>,
    /// Participant unless said otherwise.
    pub role: MemberRole,
    /// Where it serves clients; the host is `0.0.0.0` if only a port was given. A client port that stands in the static
    /// file alone does not belong here: it would find its way into the text that others get.
    pub client: Option<HostPort>,
    /// Where it serves clients over TLS: 3.10's second part, kept for those who know it.
    pub secure_client: Option<HostPort>,
}

impl Member {
    /// Parses the value of `server.N`: `host:quorumPort:electionPort[:role]`, alternatives joined by `|`, then
    /// `;[host:]clientPort`, then `;[host:]securePort` (`QuorumServer.initializeWithAddressString`).
    ///
    /// # Errors
    /// What the value lacks, for the operator.
    pub fn parse(text: &str) -> Result<Member, String> {
        let mut parts = text.split(';');
        let mut addresses = Vec::new();
        let mut role = None;
        for alternative in parts.next().unwrap_or_default().split('|') {
            let (address, said) = parse_alternative(alternative)?;
            addresses.push(address);
            if role.is_some() && said.is_some() && role != said {
                return Err("the alternative addresses name different roles".to_owned());
            }
            role = role.or(said);
        }
        addresses.sort();
        addresses.dedup();
        let client = client_address(parts.next())?;
        let secure_client = client_address(parts.next())?;
        if parts.next().is_some() {
            return Err(FORM.to_owned());
        }
        Ok(Member { addresses, role: role.unwrap_or(MemberRole::Participant), client, secure_client })
    }

    /// Where its quorum port is.
    pub fn quorum_addresses(&self) -> Vec<HostPort> {
        self.addresses.iter().map(|at| HostPort::new(at.host.as_str(), at.quorum_port)).collect()
    }

    /// Where its election port is.
    pub fn election_addresses(&self) -> Vec<HostPort> {
        self.addresses.iter().map(|at| HostPort::new(at.host.as_str(), at.election_port)).collect()
    }

    /// Every host and port that it claims, and what for.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&'static str, HostPort)> + '_ {
        let quorum = self.quorum_addresses().into_iter().map(|at| ("quorum address", at));
        let election = self.election_addresses().into_iter().map(|at| ("election address", at));
        let client = self.client.iter().chain(&self.secure_client).map(|at| ("client address", at.clone()));
        quorum.chain(election).chain(client)
    }
}

/// The value of `server.N` as ZooKeeper writes it (`QuorumServer.toString`): the role always said.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, at) in self.addresses.iter().enumerate() {
            let joint = if index == 0 { "" } else { "|" };
            write!(f, "{joint}{}:{}:{}", BracketedHost(&at.host), at.quorum_port, at.election_port)?;
        }
        write!(f, ":{}", self.role)?;
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
        }
    }
}

const FORM: &str = "must have the form host:quorumPort:electionPort[:role][;[clientHost:]clientPort], alternative \
                    addresses joined by '|'";

fn parse_alternative(text: &str) -> Result<(MemberAddress, Option<MemberRole>), String> {
    let fields = split_host(text)?;
    let (host, quorum, election, role) = match *fields.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(parse_role(role)?)),
        _ => return Err(FORM.to_owned()),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("'{host}' is not a host"));
    }
    let (quorum_port, election_port) = (parse_port(quorum)?, parse_port(election)?);
    if quorum_port == election_port {
        return Err("the quorum and the election port must differ".to_owned());
    }
    Ok((MemberAddress { host: host.to_owned(), quorum_port, election_port }, role))
}

fn parse_role(word: &str) -> Result<MemberRole, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "participant" => Ok(MemberRole::Participant),
        "observer" => Ok(MemberRole::Observer),
        _ => Err(format!("unrecognised role '{word}': participant or observer")),
    }
}

fn client_address(part: Option<&str>) -> Result<Option<HostPort>, String> {
    let Some(text) = part.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    match split_host(text)?.as_slice() {
        [port] => Ok(Some(HostPort::new("0.0.0.0", parse_port(port)?))),
        [host, port] => Ok(Some(HostPort::new(*host, parse_port(port)?))),
        _ => Err(FORM.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_and_written_in_full() {
        for (text, written) in [
            ("zoo1:2888:3888", "zoo1:2888:3888:participant"),
            (" zoo1:2888:3888:OBSERVER ; 2181", "zoo1:2888:3888:observer;0.0.0.0:2181"),
            ("[2001:db8::1]:2888:3888;[::1]:2181", "[2001:db8::1]:2888:3888:participant;[::1]:2181"),
            ("b:1:2|a:3:4:participant;c:5", "a:3:4|b:1:2:participant;c:5"),
            ("a:1:2;3;d:4", "a:1:2:participant;0.0.0.0:3;d:4"),
            ("a:1:2;;d:4", "a:1:2:participant;;d:4"),
            ("a:1:2;", "a:1:2:participant"),
        ] {
            let member = Member::parse(text).unwrap();
            assert_eq!(member.to_string(), written);
            assert_eq!(Member::parse(written).unwrap(), member, "{text}");
        }
    }

    #[test]
    fn wrong_forms_say_what_is_wrong() {
        for (text, part) in [
            ("zoo1", "form"),
            ("zoo1:2888", "form"),
            ("zoo1:2888:x", "'x' is not a port"),
            ("zoo1:2888:2888", "must differ"),
            ("zoo1:2888:3888:boss", "unrecognised role 'boss'"),
            ("a:1:2:observer|b:1:2:participant", "different roles"),
            ("[::1:2888:3888", "without a ']'"),
            ("zoo1:2888:3888;99999", "not a port"),
            ("a:1:2;3;4;5", "form"),
            (":1:2", "not a host"),
            ("", "form"),
        ] {
            let error = Member::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back_as_written(text in "[a-z0-9:;|\\[\\] ]{0,40}") {
            if let Ok(member) = Member::parse(&text) {
                prop_assert_eq!(Member::parse(&member.to_string()).unwrap(), member);
            }
        }
    }
}
