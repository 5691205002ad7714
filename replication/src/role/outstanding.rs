//! Transactions between proposal and commit, in zxid order.

use crate::session::Connection;
use bytes::Bytes;
use engine::ids::Origin;
use engine::txn::{self, Txn, TxnHeader};
use engine::zxid::Zxid;
use std::collections::VecDeque;

/// A transaction on its way from proposal to commit.
#[derive(Debug)]
pub struct Proposal {
    pub header: TxnHeader,
    pub txn: Txn,
    pub waiter: Waiter,
    /// Length of the record.
    pub bytes: usize,
    /// The record, where others may ask for it; empty in an ensemble of one.
    pub record: Bytes,
}

/// Who gets the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiter {
    /// Nobody here: requests of the server's own, of other servers' clients, and transactions of the log.
    Nobody,
    /// A write.
    Write(Origin),
    /// A handshake that made a session.
    Handshake(Connection),
}

/// Transactions that are kept taken apart. A server that catches up has hundreds of thousands outstanding, which would
/// cost three times the memory; of those behind these only the records are kept until their turn comes.
const DECODED_MAX: usize = if cfg!(test) { 8 } else { 4096 };
/// So many are taken apart when none is left that is.
const DECODED_STEP: usize = if cfg!(test) { 3 } else { 64 };

/// The queue.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// Never empty while `later` is not.
    queue: VecDeque<Proposal>,
    /// What is behind `queue`.
    later: VecDeque<Later>,
    bytes: usize,
}

/// A transaction that will be taken apart once more.
#[derive(Debug)]
struct Later {
    zxid: Zxid,
    waiter: Waiter,
    record: Bytes,
}

impl Outstanding {
    pub fn push(&mut self, proposal: Proposal) {
        self.bytes += proposal.bytes;
        let Proposal { header: TxnHeader { zxid, .. }, waiter, bytes, ref record, .. } = proposal;
        let is_far = self.queue.len() >= DECODED_MAX || !self.later.is_empty();
        if is_far && record.len() == bytes {
            self.later.push_back(Later { zxid, waiter, record: record.clone() });
        } else {
            self.decode_all();
            self.queue.push_back(proposal);
        }
    }

    pub fn front(&self) -> Option<&Proposal> {
        self.queue.front()
    }

    pub fn pop(&mut self) -> Option<Proposal> {
        let proposal = self.queue.pop_front()?;
        self.bytes -= proposal.bytes;
        self.refill();
        Some(proposal)
    }

    /// Drops everything behind `to`.
    pub fn truncate(&mut self, to: Zxid) {
        while let Some(later) = self.later.pop_back_if(|later| later.zxid > to) {
            self.bytes -= later.record.len();
        }
        while let Some(proposal) = self.queue.pop_back_if(|proposal| proposal.header.zxid > to) {
            self.bytes -= proposal.bytes;
        }
    }

    /// Nobody waits any more.
    pub fn drop_waiters(&mut self) {
        let later = self.later.iter_mut().map(|later| &mut later.waiter);
        self.queue
            .iter_mut()
            .map(|proposal| &mut proposal.waiter)
            .chain(later)
            .for_each(|waiter| *waiter = Waiter::Nobody);
    }

    /// Whether anybody does.
    pub fn has_waiter(&self) -> bool {
        let later = self.later.iter().map(|later| later.waiter);
        self.queue.iter().map(|proposal| proposal.waiter).chain(later).any(|waiter| waiter != Waiter::Nobody)
    }

    /// All of them, taken apart.
    pub fn decoded(&mut self) -> impl Iterator<Item = &Proposal> {
        self.decode_all();
        self.queue.iter()
    }

    /// All of them, as logged.
    pub fn records(&self) -> impl Iterator<Item = (Zxid, &Bytes)> {
        let later = self.later.iter().map(|later| (later.zxid, &later.record));
        self.queue.iter().map(|proposal| (proposal.header.zxid, &proposal.record)).chain(later)
    }

    /// The last one.
    pub fn last(&self) -> Option<Zxid> {
        let last = self.later.back().map(|later| later.zxid);
        last.or_else(|| self.queue.back().map(|proposal| proposal.header.zxid))
    }

    /// Record bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.queue.len() + self.later.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn decode_all(&mut self) {
        self.queue.reserve(self.later.len());
        while self.decode_next() {}
    }

    fn refill(&mut self) {
        if self.queue.is_empty() {
            let mut left = DECODED_STEP;
            while left > 0 && self.decode_next() {
                left -= 1;
            }
        }
    }

    /// Takes the oldest of the others apart. They were when they came, so they can be again.
    fn decode_next(&mut self) -> bool {
        let Some(Later { record, .. }) = self.later.front() else { return false };
        let Ok((header, txn)) = txn::decode_shared(record) else { return false };
        let Some(Later { waiter, record, .. }) = self.later.pop_front() else { return false };
        self.queue.push_back(Proposal { header, txn, waiter, bytes: record.len(), record });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::{ConnId, CoreId};

    fn proposal(counter: u32) -> Proposal {
        let header = TxnHeader { zxid: Zxid::new(1, counter), cxid: counter as i32, ..TxnHeader::default() };
        let txn = Txn::SetData {
            path: format!("/n{counter}").into(),
            data: Some(Bytes::copy_from_slice(&counter.to_be_bytes())),
            version: 1,
            reconfig: false,
        };
        let mut record = Vec::new();
        txn::encode(&header, &txn, &mut record);
        let waiter = if counter.is_multiple_of(50) {
            Waiter::Handshake(Connection { core: CoreId(0), conn: ConnId { slot: counter, generation: 1 } })
        } else {
            Waiter::Nobody
        };
        Proposal { header, txn, waiter, bytes: record.len(), record: record.into() }
    }

    #[test]
    fn however_many_there_are_they_come_out_as_they_went_in() {
        const COUNT: u32 = 400;
        let mut queue = Outstanding::default();
        (1..=COUNT).for_each(|counter| queue.push(proposal(counter)));
        assert_eq!((queue.len(), queue.last()), (COUNT as usize, Some(Zxid::new(1, COUNT))));
        assert!(queue.queue.len() <= DECODED_MAX && queue.has_waiter());
        assert!(queue.records().map(|(zxid, _)| zxid.counter()).eq(1..=COUNT));

        queue.truncate(Zxid::new(1, COUNT - 10));
        for counter in 1..=100 {
            assert_eq!(queue.pop().map(|proposal| proposal.txn), Some(proposal(counter).txn));
        }
        // What comes now is behind all the others, wherever those are.
        queue.push(proposal(COUNT - 9));
        for counter in 101..=COUNT - 9 {
            let (found, expected) = (queue.pop(), proposal(counter));
            let found = found.map(|found| (found.header, found.txn, found.waiter, found.record));
            assert_eq!(found, Some((expected.header, expected.txn, expected.waiter, expected.record)));
            assert_eq!(queue.front().is_none(), queue.is_empty());
        }
        assert_eq!((queue.len(), queue.bytes(), queue.last()), (0, 0, None));
    }

    #[test]
    fn all_of_them_can_be_looked_at_and_dropped() {
        const COUNT: u32 = 400;
        let mut queue = Outstanding::default();
        (1..=COUNT).for_each(|counter| queue.push(proposal(counter)));
        queue.drop_waiters();
        assert!(!queue.has_waiter());
        assert!(queue.decoded().map(|proposal| proposal.header.zxid.counter()).eq(1..=COUNT));
        queue.truncate(Zxid::new(1, 7));
        assert_eq!((queue.len(), queue.last()), (7, Some(Zxid::new(1, 7))));
        queue.truncate(Zxid::ZERO);
        assert_eq!((queue.is_empty(), queue.bytes()), (true, 0));
    }
}
