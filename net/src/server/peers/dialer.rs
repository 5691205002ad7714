//! Connections to peers: resolving a name and connecting both block, so each attempt has a short-lived thread of its own.
//!
//! Names are resolved afresh at every attempt: a peer may have moved (ZOOKEEPER-2982).

use crate::server::mail::Mail;
use crate::server::post::deliver;
use hardware::listen::{set_keepalive, set_nodelay};
use hardware::mailbox::MailSender;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Attempts that may be under way at a time: two per member of the largest sensible ensemble.
const DIALS_MAX: usize = 64;

/// Who is to be called.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Comes back with the outcome.
    pub token: u64,
    /// `host:port`, in the order in which they are tried; a literal of IPv6 stands in brackets.
    pub addresses: Vec<String>,
    /// For everything together.
    pub timeout: Duration,
    /// Whether the kernel is to probe an idle connection (`zookeeper.tcpKeepAlive`).
    pub keep_alive: bool,
}

/// Makes connections and mails them to one core.
#[derive(Debug, Default)]
pub struct Dialer {
    under_way: usize,
}

impl Dialer {
    /// Starts an attempt; its outcome is [`Mail::Dialed`], and the caller then says [`Self::ended`].
    ///
    /// # Errors
    /// When too many are under way, or the system has no thread left.
    pub fn dial(&mut self, dial: Dial, reply: MailSender<Mail>) -> io::Result<()> {
        if self.under_way >= DIALS_MAX {
            return Err(io::Error::other("too many connections to peers are being made"));
        }
        std::thread::Builder::new().name("dial".into()).spawn(move || {
            let result = connect(&dial);
            deliver(&reply, Mail::Dialed { token: dial.token, result });
        })?;
        self.under_way += 1;
        Ok(())
    }

    /// An attempt has come back.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

fn connect(dial: &Dial) -> io::Result<OwnedFd> {
    let give_up = Instant::now() + dial.timeout;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the peer has no address");
    for name in &dial.addresses {
        let addresses: Vec<SocketAddr> = match name.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(problem) => {
                failure = named(name, &problem);
                continue;
            }
        };
        for address in addresses {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failure);
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) if is_self(&stream) => {
                    // A free port of the ephemeral range can connect to itself while its server is down.
                    failure = named(name, &io::Error::from(io::ErrorKind::ConnectionRefused));
                }
                Ok(stream) => {
                    set_nodelay(&stream)?;
                    if dial.keep_alive {
                        set_keepalive(&stream)?;
                    }
                    return Ok(stream.into());
                }
                Err(problem) => failure = named(name, &problem),
            }
        }
    }
    Err(failure)
}

fn is_self(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

fn named(name: &str, problem: &io::Error) -> io::Error {
    io::Error::new(problem.kind(), format!("{name}: {problem}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    fn dial(addresses: &[&str]) -> io::Result<OwnedFd> {
        connect(&Dial {
            token: 1,
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            timeout: Duration::from_secs(5),
            keep_alive: true,
        })
    }

    #[test]
    fn the_first_address_that_answers_wins_and_a_failure_names_it() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = open.local_addr().unwrap().to_string();
        // Nobody serves tcpmux, and no ephemeral port is this low.
        let closed = "127.0.0.1:1";
        dial(&[closed, "no.such.host.invalid:1", &name]).unwrap();
        open.accept().unwrap();
        let problem = dial(&[closed]).unwrap_err();
        assert!(problem.to_string().contains(closed), "{problem}");
        assert_eq!(dial(&[]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
