//! Transactions between proposal and commit, in zxid order.

use crate::session::Connection;
use bytes::Bytes;
use engine::ids::Origin;
use engine::txn::{Txn, TxnHeader};
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

/// The queue.
#[derive(Debug, Default)]
pub struct Outstanding {
    queue: VecDeque<Proposal>,
    bytes: usize,
}

impl Outstanding {
    pub fn push(&mut self, proposal: Proposal) {
        self.bytes += proposal.bytes;
        self.queue.push_back(proposal);
    }

    pub fn front(&self) -> Option<&Proposal> {
        self.queue.front()
    }

    pub fn pop(&mut self) -> Option<Proposal> {
        let proposal = self.queue.pop_front()?;
        self.bytes -= proposal.bytes;
        Some(proposal)
    }

    /// Drops everything behind `to`.
    pub fn truncate(&mut self, to: Zxid) {
        while let Some(proposal) = self.queue.pop_back_if(|proposal| proposal.header.zxid > to) {
            self.bytes -= proposal.bytes;
        }
    }

    /// Nobody waits any more.
    pub fn drop_waiters(&mut self) {
        for proposal in &mut self.queue {
            proposal.waiter = Waiter::Nobody;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Proposal> {
        self.queue.iter()
    }

    /// The last one.
    pub fn last(&self) -> Option<Zxid> {
        self.queue.back().map(|proposal| proposal.header.zxid)
    }

    /// Record bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
