//! Hosts with ports, as they stand in configurations and in the first message on the election port.

use std::fmt;
use std::net::IpAddr;

/// A host name or address literal, with a port. Names stay as configured: the host resolves them before each attempt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostPort {
    /// Without brackets, also for IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl HostPort {
    /// Puts one together.
    pub fn new(host: impl Into<String>, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    /// Reads `host:port`, an IPv6 literal in brackets.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<HostPort, String> {
        match split_host(text)?.as_slice() {
            [host, port] => Ok(HostPort::new(*host, parse_port(port)?)),
            _ => Err(format!("'{text}' is not host:port")),
        }
    }

    /// Whether the host means "every address of this machine" (`0.0.0.0`, `::`): nothing to call.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
    }

    /// Whether the host is this machine itself, as far as its text says.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", BracketedHost(&self.host), self.port)
    }
}

/// A host as it is written before a colon: IPv6 literals in brackets.
pub(super) struct BracketedHost<'a>(pub &'a str);

impl fmt::Display for BracketedHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// Splits at colons, keeping a bracketed IPv6 literal whole (`ConfigUtils.getHostAndPort`).
pub(super) fn split_host(text: &str) -> Result<Vec<&str>, String> {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('[') else { return Ok(text.split(':').collect()) };
    let Some((host, rest)) = inner.split_once(']') else {
        return Err(format!("'{text}' has a '[' without a ']'"));
    };
    match rest.strip_prefix(':') {
        Some(rest) if !rest.is_empty() => Ok(std::iter::once(host).chain(rest.split(':')).collect()),
        _ => Err(format!("'{text}' lacks a ':' and a port behind the ']'")),
    }
}

pub(super) fn parse_port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is not a port (0 to 65535)"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ipv6_stands_in_brackets() {
        let address = HostPort::parse("[2001:db8::1]:3888").unwrap();
        assert_eq!(address, HostPort::new("2001:db8::1", 3888));
        assert_eq!(address.to_string(), "[2001:db8::1]:3888");
        assert_eq!(HostPort::parse("zoo1:3888").unwrap().to_string(), "zoo1:3888");
    }

    #[test]
    fn wrong_forms_are_refused() {
        for text in
            ["", "zoo1", "zoo1:", "zoo1:x", "zoo1:65536", "zoo1:-1", "a:1:2", "[::1", "[::1]", "[::1]:", "::1:1"]
        {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_are_recognised() {
        assert!(HostPort::new("0.0.0.0", 1).is_wildcard() && HostPort::new("::", 1).is_wildcard());
        assert!(HostPort::new("0:0:0:0:0:0:0:0", 1).is_wildcard());
        assert!(!HostPort::new("zoo1", 1).is_wildcard());
        assert!(HostPort::new("127.0.0.9", 1).is_loopback() && HostPort::new("::1", 1).is_loopback());
        assert!(!HostPort::new("10.0.0.1", 1).is_loopback());
    }
}
