//! The connections of the election port (`QuorumCnxManager`): one per pair of servers, opened by the larger number.
//!
//! ```text
//!   we are larger:   dial -> first message -> up
//!   we are smaller:  dial -> first message -> close; the other one calls -> its first message -> up
//! ```
//!
//! * A new connection replaces the old one to the same server.
//! * To each server one message waits at most, the newest; one more may be under way. When a connection comes up and
//!   nothing waits, the last message is sent again, so that nothing is lost with a connection.
//! * One dial at a time goes to each server; failures make the next ones wait, from 100 ms doubling to 1 s, as long as a
//!   message waits. Dials to different servers never wait for each other. A server that calls is dialled without delay.
//! * Servers that no configuration lists are welcome (they may be about to join), up to [`STRANGERS_MAX`] of them. At
//!   most [`HELLOS_MAX`] connections may owe their first message.
//!
//! The host resolves names before each dial, tries the addresses of one [`LinkAction::Connect`] in whatever order it
//! likes, gives up after `zookeeper.cnxTimeout`, and sets TCP_NODELAY.

mod frames;
mod peers;
#[cfg(test)]
mod tests;

use super::ensemble::{HostPort, ServerId, Views};
use super::wire::initial::Initial;
use bytes::Bytes;
use frames::FrameBuffer;
use peers::Peer;
use std::collections::BTreeMap;

/// Servers outside of the configurations that are kept connected or called back.
pub const STRANGERS_MAX: usize = 32;
/// Accepted connections that have not said who they are; beyond this the oldest is closed.
pub const HELLOS_MAX: usize = 64;
/// Notifications that one step hands on; of more the oldest are dropped (`QuorumCnxManager.RECV_CAPACITY`).
pub const RECEIVED_MAX: usize = 100;
/// Bytes of a notification at most (`QuorumCnxManager.PACKETMAXSIZE`).
pub const PAYLOAD_BYTES_MAX: usize = 524_288;

/// A connection, named by the host and never named so again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// Settings of the election port.
#[derive(Clone, Debug)]
pub struct LinksConfig {
    /// This server's number.
    pub own: ServerId,
    /// Where others can call it: its election addresses as configured.
    pub own_addresses: Vec<HostPort>,
    /// `multiAddress.enabled`: all of them are told, in the form that servers before 3.6 do not know.
    pub multi_address: bool,
    /// How long a caller may take for its first message, in ms (`zookeeper.quorumCnxnTimeoutMs`, by default syncLimit x
    /// tickTime).
    pub hello_timeout_ms: i64,
}

/// What happens at the election port.
#[derive(Clone, Debug)]
pub enum LinkInput<'a> {
    /// Somebody called.
    Accepted {
        /// The new connection.
        link: LinkId,
    },
    /// A dial succeeded.
    Connected {
        /// The new connection.
        link: LinkId,
        /// Who was dialled.
        sid: ServerId,
    },
    /// A dial failed at every address.
    ConnectFailed {
        /// Who was dialled.
        sid: ServerId,
    },
    /// Bytes arrived.
    Bytes {
        /// Where.
        link: LinkId,
        /// Cut wherever the network cut them.
        bytes: &'a [u8],
    },
    /// The last [`LinkAction::Write`] of this connection is in the kernel's hands.
    Written {
        /// Which connection.
        link: LinkId,
    },
    /// A connection ended, or failed.
    Closed {
        /// Which one.
        link: LinkId,
    },
    /// A notification for a server.
    Send {
        /// For whom; those that are neither configured nor connected get none.
        sid: ServerId,
        /// The encoded notification, without a length.
        payload: Bytes,
    },
    /// Dial everybody that was ever written to and is not connected.
    ConnectAll,
    /// Time has passed; to be given when [`Links::next_deadline`] is due.
    Tick,
}

/// What the election port asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkAction {
    /// Dial a server: answered by Connected or ConnectFailed.
    Connect {
        /// Whom.
        sid: ServerId,
        /// Where; at least one.
        addresses: Vec<HostPort>,
    },
    /// Write these bytes with one call: answered by Written or Closed. There is never a second one before that.
    Write {
        /// Where.
        link: LinkId,
        /// What.
        bytes: Bytes,
    },
    /// Close a connection. Nothing more is said about it.
    Close {
        /// Which one.
        link: LinkId,
    },
    /// A notification arrived.
    Received {
        /// From whom.
        from: ServerId,
        /// The encoded notification, without its length.
        payload: Bytes,
    },
}

#[derive(Debug)]
enum Link {
    /// Accepted; its first message is awaited.
    Hello { bytes: Vec<u8>, until_ms: i64 },
    /// Dialled although the other one is larger: ends when the first message is written.
    Leaving,
    /// Carries notifications.
    Up { sid: ServerId, inbox: FrameBuffer, writing: bool },
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Links {
    config: LinksConfig,
    views: Views,
    links: BTreeMap<LinkId, Link>,
    peers: BTreeMap<ServerId, Peer>,
    /// The next private number for an anonymous observer, counting down from -1.
    next_anonymous: i64,
}

impl Links {
    /// A port without connections.
    pub fn new(config: LinksConfig, views: Views) -> Links {
        Links { config, views, links: BTreeMap::new(), peers: BTreeMap::new(), next_anonymous: -1 }
    }

    /// Takes one input and appends what is to be done.
    pub fn step(&mut self, now_ms: i64, input: LinkInput<'_>, out: &mut Vec<LinkAction>) {
        match input {
            LinkInput::Accepted { link } => self.accepted(now_ms, link, out),
            LinkInput::Connected { link, sid } => self.connected(now_ms, link, sid, out),
            LinkInput::ConnectFailed { sid } => self.dial_failed(now_ms, sid, out),
            LinkInput::Bytes { link, bytes } => self.bytes(now_ms, link, bytes, out),
            LinkInput::Written { link } => self.written(link, out),
            LinkInput::Closed { link } => self.closed(now_ms, link),
            LinkInput::Send { sid, payload } => self.send(now_ms, sid, payload, out),
            LinkInput::ConnectAll => self.dial_all(now_ms, out),
            LinkInput::Tick => self.tick(now_ms, out),
        }
    }

    /// When [`LinkInput::Tick`] is due.
    pub fn next_deadline(&self) -> Option<i64> {
        self.hellos().map(|(until_ms, _)| until_ms).chain(self.peers.values().filter_map(Peer::due_ms)).min()
    }

    /// Whether something went out to somebody: the mailbox of a server that was written to is empty
    /// (`QuorumCnxManager.haveDelivered`).
    pub fn have_delivered(&self) -> bool {
        self.peers.values().any(Peer::has_empty_mailbox)
    }

    /// Servers that are connected.
    pub fn connected_servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.link.is_some()).map(|(sid, _)| *sid)
    }

    /// Other configurations, by which servers are dialled from now on. Connections stay.
    pub fn set_views(&mut self, views: Views) {
        self.views = views;
    }

    /// Begins anew with other configurations: every connection is closed, every message forgotten. The host forgets the
    /// dials under way.
    pub fn restart(&mut self, own_addresses: Vec<HostPort>, views: Views, out: &mut Vec<LinkAction>) {
        out.extend(self.links.keys().map(|link| LinkAction::Close { link: *link }));
        self.links.clear();
        self.peers.clear();
        self.config.own_addresses = own_addresses;
        self.views = views;
    }

    /// Connections that owe their first message, and until when.
    fn hellos(&self) -> impl Iterator<Item = (i64, LinkId)> + '_ {
        self.links.iter().filter_map(|(link, state)| match state {
            Link::Hello { until_ms, .. } => Some((*until_ms, *link)),
            Link::Leaving | Link::Up { .. } => None,
        })
    }

    fn accepted(&mut self, now_ms: i64, link: LinkId, out: &mut Vec<LinkAction>) {
        let mut hellos: Vec<(i64, LinkId)> = self.hellos().collect();
        if hellos.len() >= HELLOS_MAX {
            hellos.sort_unstable();
            self.drop_link(hellos[0].1, out);
        }
        let until_ms = now_ms.saturating_add(self.config.hello_timeout_ms);
        self.links.insert(link, Link::Hello { bytes: Vec::new(), until_ms });
    }

    fn connected(&mut self, now_ms: i64, link: LinkId, sid: ServerId, out: &mut Vec<LinkAction>) {
        let wanted = self.peers.get_mut(&sid).is_some_and(Peer::end_dial);
        // The larger one may have called meanwhile: asking it again would make it drop that call.
        let called = !self.calls(sid) && self.peers.get(&sid).is_some_and(|peer| peer.link.is_some());
        if !wanted || called {
            out.push(LinkAction::Close { link });
            return;
        }
        let config = &self.config;
        let bytes = Initial::encode(config.own, &config.own_addresses, config.multi_address);
        out.push(LinkAction::Write { link, bytes });
        if self.calls(sid) {
            self.come_up(now_ms, link, sid, true, out);
        } else {
            self.links.insert(link, Link::Leaving);
            if let Some(peer) = self.peers.get_mut(&sid) {
                peer.await_call(now_ms);
            }
        }
    }

    /// Whether connections to `sid` are this server's to open. An anonymous observer, which is larger than everybody and
    /// has a private number here, opens its own.
    fn calls(&self, sid: ServerId) -> bool {
        (0..self.config.own.0).contains(&sid.0)
    }

    fn bytes(&mut self, now_ms: i64, link: LinkId, bytes: &[u8], out: &mut Vec<LinkAction>) {
        match self.links.get_mut(&link) {
            Some(Link::Hello { bytes: hello, .. }) => {
                hello.extend_from_slice(bytes);
                match Initial::decode(hello) {
                    Ok(None) => {}
                    Ok(Some((initial, taken))) => {
                        let rest = hello.split_off(taken);
                        if self.called(now_ms, link, initial, out) && !rest.is_empty() {
                            self.bytes(now_ms, link, &rest, out);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(?link, %error, "a connection to the election port is refused");
                        self.drop_link(link, out);
                    }
                }
            }
            Some(Link::Up { sid, inbox, .. }) => {
                let from = *sid;
                let (payloads, sound) = inbox.take(bytes);
                out.extend(payloads.into_iter().map(|payload| LinkAction::Received { from, payload }));
                if !sound {
                    tracing::debug!(?link, %from, "a frame on the election port has an impossible length");
                    self.drop_link(link, out);
                    self.peer_lost(now_ms, from, link);
                }
            }
            // What a server says that is about to call back comes on its own connection.
            Some(Link::Leaving) | None => {}
        }
    }

    /// A caller has said who it is. Whether the connection stays.
    fn called(&mut self, now_ms: i64, link: LinkId, initial: Initial, out: &mut Vec<LinkAction>) -> bool {
        let Initial { mut sid, addresses } = initial;
        if sid == ServerId::ANONYMOUS {
            sid = ServerId(self.next_anonymous);
            self.next_anonymous = self.next_anonymous.wrapping_sub(1).min(-1);
        }
        // Java leaves a connection from its own number open and unused; a stranger could pile those up.
        if sid == self.config.own || !self.admit(sid) {
            self.drop_link(link, out);
            return false;
        }
        if self.calls(sid) {
            self.drop_link(link, out);
            if let Some(old) = self.peers.get_mut(&sid).and_then(|peer| peer.link.take()) {
                self.drop_link(old, out);
            }
            self.call_back(now_ms, sid, addresses, out);
            return false;
        }
        self.come_up(now_ms, link, sid, false, out);
        true
    }

    /// The connection carries notifications from now on, in the place of an older one. `writing`: the first message is
    /// under way.
    fn come_up(&mut self, now_ms: i64, link: LinkId, sid: ServerId, writing: bool, out: &mut Vec<LinkAction>) {
        self.links.insert(link, Link::Up { sid, inbox: FrameBuffer::default(), writing });
        if let Some(old) = self.peers.entry(sid).or_default().come_up(now_ms, link) {
            self.drop_link(old, out);
        }
        self.flush(sid, out);
    }

    fn written(&mut self, link: LinkId, out: &mut Vec<LinkAction>) {
        match self.links.get_mut(&link) {
            Some(Link::Up { sid, writing, .. }) => {
                *writing = false;
                let sid = *sid;
                self.flush(sid, out);
            }
            Some(Link::Leaving) => self.drop_link(link, out),
            Some(Link::Hello { .. }) | None => {}
        }
    }

    /// Sends what waits for a server, if its connection is free.
    fn flush(&mut self, sid: ServerId, out: &mut Vec<LinkAction>) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        let Some(link) = peer.link else { return };
        if let Some(Link::Up { writing, .. }) = self.links.get_mut(&link)
            && !*writing
            && let Some(payload) = peer.take_message()
        {
            *writing = true;
            out.push(LinkAction::Write { link, bytes: frames::frame(&payload) });
        }
    }

    fn closed(&mut self, now_ms: i64, link: LinkId) {
        if let Some(Link::Up { sid, .. }) = self.links.remove(&link) {
            self.peer_lost(now_ms, sid, link);
        }
    }

    /// Closes without a word to the peer's entry.
    fn drop_link(&mut self, link: LinkId, out: &mut Vec<LinkAction>) {
        if self.links.remove(&link).is_some() {
            out.push(LinkAction::Close { link });
        }
    }

    fn tick(&mut self, now_ms: i64, out: &mut Vec<LinkAction>) {
        let silent = self.hellos().filter(|(until_ms, _)| *until_ms <= now_ms).map(|(_, link)| link);
        for link in silent.collect::<Vec<_>>() {
            self.drop_link(link, out);
        }
        self.dial_due(now_ms, out);
    }
}
