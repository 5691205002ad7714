//! What is kept per server: its mailbox, its connection, and when it may be dialled.

use super::{LinkAction, LinkId, Links, PAYLOAD_BYTES_MAX, STRANGERS_MAX};
use crate::peer::ensemble::{HostPort, ServerId};
use bytes::Bytes;
use std::collections::VecDeque;

/// First and longest wait after a dial that failed, in ms.
const BACKOFF_MS: (i64, i64) = (100, 1_000);
/// How long a larger server may take to call back before it is dialled again, in ms.
const CALL_AWAITED_MS: i64 = 500;
/// Least time between two dials of the same server when it keeps asking for them, in ms.
const CALL_BACK_GAP_MS: i64 = 50;

/// A server that was written to or has called.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The newest message that no connection has taken.
    mailbox: Option<Bytes>,
    /// The last one that a connection took.
    last_sent: Option<Bytes>,
    pub(super) link: Option<LinkId>,
    /// A dial is under way; these addresses are left if it fails.
    dialling: Option<VecDeque<Vec<HostPort>>>,
    /// The server has called during the dial under way: if that fails, it has come back since.
    called: bool,
    /// When the next dial is wanted.
    due_ms: Option<i64>,
    dialled_ms: Option<i64>,
    not_before_ms: i64,
    backoff_ms: i64,
    /// Where the server asked to be called, for the next dial alone.
    call_back: Vec<HostPort>,
}

impl Peer {
    pub(super) fn due_ms(&self) -> Option<i64> {
        self.due_ms
    }

    pub(super) fn has_empty_mailbox(&self) -> bool {
        self.mailbox.is_none()
    }

    /// A dial has ended. False if none was under way.
    pub(super) fn end_dial(&mut self) -> bool {
        self.called = false;
        self.dialling.take().is_some()
    }

    /// The larger server has been told to call.
    pub(super) fn await_call(&mut self, now_ms: i64) {
        self.wait(now_ms, CALL_AWAITED_MS);
        self.due_ms = self.mailbox.is_some().then_some(self.not_before_ms);
    }

    /// A connection has come up. The one that it replaces.
    pub(super) fn come_up(&mut self, now_ms: i64, link: LinkId) -> Option<LinkId> {
        self.due_ms = None;
        self.backoff_ms = 0;
        self.not_before_ms = now_ms.saturating_add(BACKOFF_MS.0);
        if self.mailbox.is_none() {
            self.mailbox = self.last_sent.clone();
        }
        self.link.replace(link)
    }

    /// The message that goes out now.
    pub(super) fn take_message(&mut self) -> Option<Bytes> {
        let message = self.mailbox.take()?;
        self.last_sent = Some(message.clone());
        Some(message)
    }

    fn wait(&mut self, now_ms: i64, least_ms: i64) {
        self.backoff_ms = (self.backoff_ms * 2).clamp(BACKOFF_MS.0, BACKOFF_MS.1);
        self.not_before_ms = now_ms.saturating_add(self.backoff_ms.max(least_ms));
    }

    fn want_dial(&mut self, now_ms: i64) {
        if self.link.is_none() && self.dialling.is_none() && self.due_ms.is_none() {
            self.due_ms = Some(self.not_before_ms.max(now_ms));
        }
    }
}

impl Links {
    pub(super) fn send(&mut self, now_ms: i64, sid: ServerId, payload: Bytes, out: &mut Vec<LinkAction>) {
        let known = self.peers.contains_key(&sid) || self.is_configured(sid);
        if !known || sid == self.config.own || payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return;
        }
        let peer = self.peers.entry(sid).or_default();
        peer.mailbox = Some(payload);
        peer.want_dial(now_ms);
        self.flush(sid, out);
        self.dial_due(now_ms, out);
    }

    pub(super) fn dial_all(&mut self, now_ms: i64, out: &mut Vec<LinkAction>) {
        for peer in self.peers.values_mut() {
            peer.want_dial(now_ms);
        }
        self.dial_due(now_ms, out);
    }

    /// Starts the dials that are due.
    pub(super) fn dial_due(&mut self, now_ms: i64, out: &mut Vec<LinkAction>) {
        let due: Vec<ServerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.due_ms.is_some_and(|at| at <= now_ms))
            .map(|(sid, _)| *sid)
            .collect();
        for sid in due {
            let places = self.places(sid);
            let Some(peer) = self.peers.get_mut(&sid) else { continue };
            peer.due_ms = None;
            peer.dialled_ms = Some(now_ms);
            peer.call_back.clear();
            peer.dialling = Some(places);
            self.dial_next(now_ms, sid, out);
        }
    }

    /// Dials the next place of a dial under way; without one it has failed.
    fn dial_next(&mut self, now_ms: i64, sid: ServerId, out: &mut Vec<LinkAction>) {
        let configured = self.is_configured(sid);
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if let Some(addresses) = peer.dialling.as_mut().and_then(VecDeque::pop_front) {
            out.push(LinkAction::Connect { sid, addresses });
            return;
        }
        peer.dialling = None;
        peer.wait(now_ms, 0);
        if std::mem::take(&mut peer.called) {
            peer.want_dial(now_ms);
        } else if !configured {
            if peer.link.is_none() {
                self.peers.remove(&sid);
            }
        } else if peer.mailbox.is_some() {
            peer.want_dial(now_ms);
        }
    }

    pub(super) fn dial_failed(&mut self, now_ms: i64, sid: ServerId, out: &mut Vec<LinkAction>) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if peer.link.is_some() {
            peer.dialling = None;
        } else if peer.dialling.is_some() {
            self.dial_next(now_ms, sid, out);
        }
    }

    /// A smaller server asks to be called, which shows that it lives.
    pub(super) fn call_back(
        &mut self,
        now_ms: i64,
        sid: ServerId,
        addresses: Vec<HostPort>,
        out: &mut Vec<LinkAction>,
    ) {
        let peer = self.peers.entry(sid).or_default();
        peer.call_back = addresses;
        peer.backoff_ms = 0;
        peer.not_before_ms = peer.dialled_ms.map_or(now_ms, |at| at.saturating_add(CALL_BACK_GAP_MS));
        peer.due_ms = None;
        peer.called = peer.dialling.is_some();
        peer.want_dial(now_ms);
        self.dial_due(now_ms, out);
    }

    /// The connection of a server has ended.
    pub(super) fn peer_lost(&mut self, now_ms: i64, sid: ServerId, link: LinkId) {
        let configured = self.is_configured(sid);
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        if peer.link != Some(link) {
            return;
        }
        peer.link = None;
        if !configured && peer.dialling.is_none() {
            self.peers.remove(&sid);
        } else if peer.mailbox.is_some() {
            peer.want_dial(now_ms);
        }
    }

    /// Makes an entry for a caller, unless it is one stranger too many.
    pub(super) fn admit(&mut self, sid: ServerId) -> bool {
        if !self.peers.contains_key(&sid) && !self.is_configured(sid) {
            let strangers = self.peers.keys().filter(|sid| !self.is_configured(**sid)).count();
            if strangers >= STRANGERS_MAX {
                return false;
            }
        }
        self.peers.entry(sid).or_default();
        true
    }

    fn is_configured(&self, sid: ServerId) -> bool {
        self.views.committed().member(sid).is_some() || self.views.last_seen().member(sid).is_some()
    }

    /// Where to dial a server, in order: where it asked to be called, where the committed configuration has it, where the
    /// one under way has it.
    fn places(&self, sid: ServerId) -> VecDeque<Vec<HostPort>> {
        let asked = self.peers.get(&sid).map(|peer| peer.call_back.clone()).into_iter();
        let configured = [self.views.committed(), self.views.last_seen()];
        let listed =
            configured.into_iter().filter_map(|view| view.member(sid)).map(|member| member.election_addresses());
        let mut places = VecDeque::new();
        for mut addresses in asked.chain(listed) {
            addresses.retain(|address| !address.is_wildcard());
            if !addresses.is_empty() && !places.contains(&addresses) {
                places.push_back(addresses);
            }
        }
        places
    }
}
