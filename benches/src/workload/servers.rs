//! Connect strings, as ZooKeeper's clients take them: `host:port,host:port/chroot`.

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

const DEFAULT_PORT: u16 = 2181;

/// Servers and the node under which everything happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Servers {
    text: String,
    addresses: Vec<SocketAddr>,
    chroot: String,
}

impl Servers {
    /// One server, no chroot.
    pub fn one(address: SocketAddr) -> Servers {
        Servers { text: address.to_string(), addresses: vec![address], chroot: String::new() }
    }

    /// Several servers, no chroot.
    ///
    /// # Errors
    /// There is none.
    pub fn of(addresses: Vec<SocketAddr>) -> anyhow::Result<Servers> {
        ensure!(!addresses.is_empty(), "no server was named");
        let text = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        Ok(Servers { text, addresses, chroot: String::new() })
    }

    /// Where they listen, at least one.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Empty, or an absolute path without a slash at its end.
    pub fn chroot(&self) -> &str {
        &self.chroot
    }

    /// The same with only these addresses.
    pub fn with_addresses(&self, addresses: Vec<SocketAddr>) -> Servers {
        Servers { addresses, ..self.clone() }
    }
}

impl Default for Servers {
    fn default() -> Servers {
        Servers::one(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)))
    }
}

impl FromStr for Servers {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Servers> {
        let (hosts, chroot) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        let mut addresses = Vec::new();
        for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            let has_port =
                host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']') && port.parse::<u16>().is_ok());
            let full = if has_port { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") };
            let mut found = full.to_socket_addrs().with_context(|| format!("the server {host:?} has no address"))?;
            addresses.push(found.next().with_context(|| format!("the server {host:?} has no address"))?);
        }
        ensure!(!addresses.is_empty(), "{text:?} names no server; host:port,host:port/chroot is wanted");
        Ok(Servers { text: text.to_owned(), addresses, chroot: chroot.trim_end_matches('/').to_owned() })
    }
}

impl TryFrom<String> for Servers {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Servers> {
        text.parse()
    }
}

impl From<Servers> for String {
    fn from(servers: Servers) -> String {
        servers.text
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which of the servers sessions are opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// All of them in turn.
    #[default]
    All,
    /// Only the one that leads, or stands alone.
    Leader,
    /// Only those that follow or observe.
    Followers,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn connect_strings_are_read() {
        let servers: Servers = "127.0.0.1:2182,127.0.0.2/app/x/".parse().unwrap();
        let expected: Vec<SocketAddr> = vec!["127.0.0.1:2182".parse().unwrap(), "127.0.0.2:2181".parse().unwrap()];
        assert_eq!(servers.addresses(), expected);
        assert_eq!(servers.chroot(), "/app/x");
        assert_eq!("[::1]:9".parse::<Servers>().unwrap().addresses()[0].port(), 9);
        assert_eq!("[::1]".parse::<Servers>().unwrap().addresses()[0].port(), 2181);
        assert!("/app".parse::<Servers>().is_err());
    }
}
