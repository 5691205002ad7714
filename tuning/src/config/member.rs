//! `server.N` lines (`QuorumPeer.QuorumServer.initializeWithAddressString`).

/// What a member does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Votes.
    Participant,
    /// Follows without a vote.
    Observer,
}

/// One member of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// N of `server.N`.
    pub id: i64,
    /// Where its quorum and election ports are; several with multi-address.
    pub addresses: Vec<MemberAddress>,
    /// Participant unless said otherwise.
    pub role: Role,
    /// Host and client port behind the semicolon; the host is `0.0.0.0` if only a port was given.
    pub client: Option<(String, u16)>,
    /// Host and TLS client port behind a second semicolon.
    pub secure_client: Option<(String, u16)>,
}

/// One place at which a member can be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberAddress {
    /// Host name or address literal, without brackets.
    pub host: String,
    /// Port of the quorum protocol.
    pub quorum_port: u16,
    /// Port of leader election.
    pub election_port: u16,
}

impl Member {
    /// Parses the value of `server.<id>`: `host:quorum:election[:role]`, alternatives joined by `|`, then
    /// `;[host:]clientport`, then `;[host:]secureport`.
    ///
    /// # Errors
    /// What the value lacks, for the operator.
    pub fn parse(id: i64, text: &str) -> Result<Member, String> {
        let mut parts = text.split(';');
        let mut addresses = Vec::new();
        let mut role = None;
        for address in parts.next().unwrap_or_default().split('|') {
            let fields = host_and_rest(address)?;
            if fields.len() < 3 || fields.len() > 4 {
                return Err(FORM.to_owned());
            }
            let (quorum_port, election_port) = (port(&fields[1])?, port(&fields[2])?);
            if quorum_port == election_port {
                return Err("the quorum and the election port must differ".to_owned());
            }
            addresses.push(MemberAddress { host: fields[0].clone(), quorum_port, election_port });
            if let Some(word) = fields.get(3) {
                let said = parse_role(word)?;
                if role.is_some_and(|earlier| earlier != said) {
                    return Err("the alternative addresses name different roles".to_owned());
                }
                role = Some(said);
            }
        }
        let client = client_address(parts.next())?;
        let secure_client = client_address(parts.next())?;
        if parts.next().is_some() {
            return Err(FORM.to_owned());
        }
        Ok(Member { id, addresses, role: role.unwrap_or(Role::Participant), client, secure_client })
    }
}

/// `participant` or `observer`, without regard to case.
pub(crate) fn parse_role(word: &str) -> Result<Role, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "participant" => Ok(Role::Participant),
        "observer" => Ok(Role::Observer),
        _ => Err(format!("unrecognised role '{word}': participant or observer")),
    }
}

const FORM: &str = "must have the form host:quorumPort:electionPort[:role][;[clientHost:]clientPort], alternative \
                    addresses joined by '|'";

fn client_address(part: Option<&str>) -> Result<Option<(String, u16)>, String> {
    let Some(text) = part.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    match host_and_rest(text)?.as_slice() {
        [only] => Ok(Some(("0.0.0.0".to_owned(), port(only)?))),
        [host, number] => Ok(Some((host.clone(), port(number)?))),
        _ => Err(FORM.to_owned()),
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is not a port (0 to 65535)"))
}

/// Splits at colons, keeping a bracketed IPv6 literal whole (`ConfigUtils.getHostAndPort`).
fn host_and_rest(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('[') else { return Ok(text.split(':').map(str::to_owned).collect()) };
    let Some((host, rest)) = inner.split_once(']') else {
        return Err(format!("'{text}' has a '[' without a ']'"));
    };
    let Some(rest) = rest.strip_prefix(':').filter(|rest| !rest.is_empty()) else {
        return Err(format!("'{text}' lacks a ':' and a port behind the ']'"));
    };
    Ok(std::iter::once(host.to_owned()).chain(rest.split(':').map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_the_contract() {
        let member = Member::parse(1, "zoo1:2888:3888").unwrap();
        assert_eq!((member.role, member.client), (Role::Participant, None));
        let member = Member::parse(2, "[2001:db8::1]:2888:3888:Observer;2181").unwrap();
        assert_eq!(member.addresses[0].host, "2001:db8::1");
        assert_eq!((member.role, member.client), (Role::Observer, Some(("0.0.0.0".to_owned(), 2181))));
        let member = Member::parse(3, "a:1:2|b:1:2;[::1]:2181;2281").unwrap();
        assert_eq!(member.addresses.len(), 2);
        assert_eq!(member.client, Some(("::1".to_owned(), 2181)));
        assert_eq!(member.secure_client, Some(("0.0.0.0".to_owned(), 2281)));
    }

    #[test]
    fn wrong_forms_say_what_is_wrong() {
        for (text, part) in [
            ("zoo1", "form"),
            ("zoo1:2888", "form"),
            ("zoo1:2888:x", "'x' is not a port"),
            ("zoo1:2888:2888", "must differ"),
            ("zoo1:2888:3888:boss", "unrecognised role 'boss'"),
            ("[::1:2888:3888", "without a ']'"),
            ("zoo1:2888:3888;99999", "not a port"),
            ("", "form"),
        ] {
            let error = Member::parse(1, text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-z0-9:;|\\[\\] ]{0,40}") {
            if let Ok(member) = Member::parse(1, &text) {
                prop_assert!(!member.addresses.is_empty());
            }
        }
    }
}
