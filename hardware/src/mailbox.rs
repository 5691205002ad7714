//! Bounded typed mailboxes between cores.
//!
//! A message is one slot of a bounded channel. The sender wakes the receiving core only when that core sleeps, so
//! between two busy cores a message costs no system call.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::reactor::CoreWaker;

/// A mailbox of at most `capacity` messages (one at least) for the core that `waker` wakes.
pub fn mailbox<T>(capacity: usize, waker: Arc<CoreWaker>) -> (MailSender<T>, MailReceiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity.max(1));
    (MailSender { sender, waker }, MailReceiver { receiver })
}

/// The end that puts messages in; may be cloned and sent to any thread.
pub struct MailSender<T> {
    sender: Sender<T>,
    waker: Arc<CoreWaker>,
}

/// The end that takes messages out, on the receiving core.
pub struct MailReceiver<T> {
    receiver: Receiver<T>,
}

/// Why a message was not taken; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MailError<T> {
    /// The mailbox is full: the receiving core is behind, and the sender has to hold back its own sources.
    Full(T),
    /// The receiver is gone: the core has stopped.
    Closed(T),
}

impl<T> MailSender<T> {
    /// Puts `message` in without blocking and wakes the receiving core if it sleeps.
    ///
    /// # Errors
    /// [`MailError::Full`] or [`MailError::Closed`], with the message.
    pub fn try_send(&self, message: T) -> Result<(), MailError<T>> {
        self.try_send_quietly(message)?;
        self.waker.wake();
        Ok(())
    }

    /// Like [`try_send`](Self::try_send) but wakes nobody: for a batch of messages that ends with
    /// [`wake`](Self::wake).
    ///
    /// # Errors
    /// [`MailError::Full`] or [`MailError::Closed`], with the message.
    pub fn try_send_quietly(&self, message: T) -> Result<(), MailError<T>> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) => MailError::Full(message),
            TrySendError::Disconnected(message) => MailError::Closed(message),
        })
    }

    /// Wakes the receiving core if it sleeps.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }
}

impl<T> Clone for MailSender<T> {
    fn clone(&self) -> Self {
        MailSender { sender: self.sender.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<T> MailReceiver<T> {
    /// Takes the oldest message.
    pub fn try_recv(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Appends at most `max` messages to `into`, oldest first, and returns how many.
    pub fn drain_into(&self, into: &mut Vec<T>, max: usize) -> usize {
        let before = into.len();
        into.extend(self.receiver.try_iter().take(max));
        into.len() - before
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }
}

impl<T> fmt::Debug for MailError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MailError::Full(_) => "Full",
            MailError::Closed(_) => "Closed",
        })
    }
}

impl<T> fmt::Display for MailError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MailError::Full(_) => "the mailbox is full",
            MailError::Closed(_) => "the receiving core has stopped",
        })
    }
}

impl<T> std::error::Error for MailError<T> {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_full_mailbox_hands_the_message_back_and_takes_again_when_drained() {
        let (sender, receiver) = mailbox(2, CoreWaker::detached().unwrap());
        assert!(receiver.is_empty());
        sender.try_send(1).unwrap();
        sender.clone().try_send(2).unwrap();
        assert!(sender.try_send(3) == Err(MailError::Full(3)));
        let mut taken = Vec::new();
        assert_eq!(receiver.drain_into(&mut taken, 1), 1);
        sender.try_send(3).unwrap();
        assert_eq!(receiver.drain_into(&mut taken, 10), 2);
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn a_closed_mailbox_says_so() {
        let (sender, receiver) = mailbox(1, CoreWaker::detached().unwrap());
        drop(receiver);
        assert!(sender.try_send(9) == Err(MailError::Closed(9)));
    }
}
