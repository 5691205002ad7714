//! The client port, and how it moves when a reconfiguration gives this server another one.

use super::context::Context;
use super::mail::Mail;
use super::post::Post;
use engine::ids::ShardId;
use hardware::listen::bind_listener;
use replication::peer::ensemble::HostPort;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::Ordering;
use tracing::{info, warn};
use tuning::config::ClientConfig;

/// Where clients are served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientPlace {
    /// `None` is every address of this machine.
    host: Option<String>,
    port: u16,
}

impl ClientPlace {
    /// As configured.
    pub fn of(client: &ClientConfig) -> ClientPlace {
        ClientPlace { host: client.address.clone(), port: client.port }
    }

    /// One listener per shard's core on the same port; the kernel spreads connections over them.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self, client: &ClientConfig, shards: u16) -> io::Result<Vec<TcpListener>> {
        let mut address = match &self.host {
            None => SocketAddr::from((IpAddr::V6(Ipv6Addr::UNSPECIFIED), self.port)),
            Some(host) => (host.as_str(), self.port)
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?,
        };
        let backlog = client.listen_backlog.and_then(|backlog| i32::try_from(backlog).ok()).unwrap_or(4096);
        // The first one alone: a port that somebody else has must not be shared with them.
        drop(bind_or_ipv4(&mut address, backlog, false)?);
        let mut listeners = Vec::new();
        for _ in 0..shards {
            let listener = bind_or_ipv4(&mut address, backlog, true)?;
            address.set_port(listener.local_addr()?.port());
            listeners.push(listener);
        }
        Ok(listeners)
    }

    /// Follows a configuration that is in force: new connections are taken at the new place, those that there are stay
    /// (`ServerCnxnFactory.reconfigure`).
    pub fn move_to(&mut self, client: &HostPort, context: &Context, post: &mut Post) {
        let host = (!client.is_wildcard()).then(|| client.host.clone());
        if self.port == client.port {
            let is_everywhere = |host: &Option<String>| match host {
                None => true,
                Some(host) => HostPort::new(host.as_str(), 0).is_wildcard(),
            };
            if self.host != host && !(is_everywhere(&self.host) && host.is_none()) {
                warn!("the new configuration has clients served at {client}: this takes effect at the next start");
            }
            return;
        }
        let place = ClientPlace { host, port: client.port };
        let shards = context.topology.shards();
        match place.listen(&context.config.local.client, shards) {
            Ok(listeners) => {
                info!("clients are served on port {} from now on", place.port);
                for (shard, listener) in (0..shards).zip(listeners) {
                    post.send(context.topology.home(ShardId(shard)), Mail::Listen(listener));
                }
                context.port.store(place.port, Ordering::Relaxed);
                *self = place;
            }
            Err(problem) => warn!("clients cannot be served where the new configuration says: {problem}"),
        }
    }
}

impl fmt::Display for ClientPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host.as_deref().unwrap_or("*"), self.port)
    }
}

/// Binds; on a machine without IPv6 the unspecified address falls back to IPv4's.
fn bind_or_ipv4(address: &mut SocketAddr, backlog: i32, share: bool) -> io::Result<TcpListener> {
    match bind_listener(*address, backlog, share) {
        Err(problem) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && no_ipv6(&problem) => {
            *address = SocketAddr::from(([0, 0, 0, 0], address.port()));
            bind_listener(*address, backlog, share)
        }
        bound => bound,
    }
}

fn no_ipv6(problem: &io::Error) -> bool {
    matches!(problem.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}
