//! Sending mail: to this core by a queue of its own, to others by their mailboxes.
//!
//! A full mailbox must not block its sender, or two cores could wait for each other for ever. What does not fit is kept
//! here, in order, and handed over in later turns. What may pile up is bounded by what clients have outstanding: while
//! anything is kept, [`Post::is_congested`] tells the core to read from no client.

use super::mail::Mail;
use engine::ids::CoreId;
use hardware::mailbox::{MailError, MailSender};
use std::collections::VecDeque;

/// The sending side of one core.
pub struct Post {
    me: CoreId,
    peers: Vec<MailSender<Mail>>,
    kept: Vec<VecDeque<Mail>>,
    own: VecDeque<Mail>,
    closed: bool,
}

impl Post {
    /// The post of core `me`; `peers` has every core's mailbox, its own included, by number.
    pub fn new(me: CoreId, peers: Vec<MailSender<Mail>>) -> Post {
        let kept = peers.iter().map(|_| VecDeque::new()).collect();
        Post { me, peers, kept, own: VecDeque::new(), closed: false }
    }

    /// Sends one message. It is never lost while its receiver lives.
    pub fn send(&mut self, to: CoreId, mail: Mail) {
        if to == self.me {
            self.own.push_back(mail);
            return;
        }
        let to = usize::from(to.0);
        if self.kept[to].is_empty() {
            match self.peers[to].try_send(mail) {
                Ok(()) => {}
                Err(MailError::Full(mail)) => self.kept[to].push_back(mail),
                Err(MailError::Closed(_)) => self.closed = true,
            }
        } else {
            self.kept[to].push_back(mail);
        }
    }

    /// The next message of this core to itself.
    pub fn next_own(&mut self) -> Option<Mail> {
        self.own.pop_front()
    }

    /// Whether this core has mail for itself.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Tries again to hand over what did not fit.
    pub fn flush(&mut self) {
        for (kept, peer) in self.kept.iter_mut().zip(&self.peers) {
            while let Some(mail) = kept.pop_front() {
                match peer.try_send(mail) {
                    Ok(()) => {}
                    Err(MailError::Full(mail)) => {
                        kept.push_front(mail);
                        break;
                    }
                    Err(MailError::Closed(_)) => self.closed = true,
                }
            }
        }
    }

    /// Whether mail is kept because a mailbox is full.
    pub fn is_congested(&self) -> bool {
        self.kept.iter().any(|kept| !kept.is_empty())
    }

    /// Whether another core is gone: this server cannot go on.
    pub fn has_lost_a_core(&self) -> bool {
        self.closed
    }

    /// A sender of this core's own mailbox, for answers from other threads.
    pub fn return_address(&self) -> MailSender<Mail> {
        self.peers[usize::from(self.me.0)].clone()
    }

    /// Every core but this one.
    pub fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let me = self.me;
        (0..self.peers.len() as u16).map(CoreId).filter(move |core| *core != me)
    }
}

/// Delivers one message from a thread that is no core and may wait: the core drains its mailbox every turn. A core that
/// is gone needs no mail.
pub fn deliver(to: &MailSender<Mail>, mut mail: Mail) {
    while let Err(MailError::Full(back)) = to.try_send(mail) {
        mail = back;
        std::thread::yield_now();
    }
}
