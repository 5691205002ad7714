//! The threads that hold the watching sessions, and how they are spoken to.

use super::FanoutArgs;
use crate::driver::Bulk;
use crate::driver::herd::{self, Order, Word};
use crate::stop::Stop;
use crate::verbs::progress::Line;
use crate::wire::open_many;
use crate::wire::session::{Ask, asks};
use anyhow::{bail, ensure};
use hardware::reactor::CoreWaker;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long setting all watches may take.
const READY_LIMIT: Duration = Duration::from_secs(180);
const PING_PAUSE: Duration = Duration::from_secs(1);
const SESSION_TIMEOUT: Duration = Duration::from_secs(120);

/// The herds, and how they are spoken to.
pub(super) struct Herds {
    pub(super) orders: Vec<Sender<Order>>,
    pub(super) words: Receiver<Word>,
    pub(super) wakers: Vec<Arc<CoreWaker>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Herds {
    pub(super) fn gather(args: &FanoutArgs, stop: &Stop, line: &Line) -> anyhow::Result<Herds> {
        let all: Vec<Ask> = asks(&args.servers, args.connections, SESSION_TIMEOUT, None)?;
        let mut sessions = open_many(&all, |open| {
            line.count(open as u64, all.len() as u64, "sessions");
            stop.check()
        })?;
        let (words_to, words) = channel();
        let (mut orders, mut threads) = (Vec::new(), Vec::new());
        let share = sessions.len().div_ceil(args.threads as usize);
        while !sessions.is_empty() {
            let rest = sessions.split_off(share.min(sessions.len()));
            let (own, words_to) = (std::mem::replace(&mut sessions, rest), words_to.clone());
            let (to, from) = channel();
            orders.push(to);
            let serve = move || herd::serve(own, &from, &words_to);
            threads.push(std::thread::Builder::new().name(format!("herd-{}", threads.len())).spawn(serve)?);
        }
        let mut herds = Herds { orders, words, wakers: Vec::new(), threads };
        for _ in 0..herds.orders.len() {
            if let Word::Waker(waker) = herds.hear(Duration::from_secs(10))? {
                herds.wakers.push(waker);
            }
        }
        Ok(herds)
    }

    pub(super) fn tell(&self, order: impl Fn() -> Order) -> anyhow::Result<()> {
        self.orders
            .iter()
            .try_for_each(|orders| orders.send(order()))
            .map_err(|_| anyhow::anyhow!("a thread has ended"))
    }

    pub(super) fn hear(&self, limit: Duration) -> anyhow::Result<Word> {
        match self.words.recv_timeout(limit) {
            Ok(Word::Failed(error)) => Err(error),
            Ok(word) => Ok(word),
            Err(RecvTimeoutError::Timeout) => bail!("the sessions' threads do not answer"),
            Err(RecvTimeoutError::Disconnected) => bail!("the sessions' threads have ended"),
        }
    }

    /// Waits until all have done what they were told, and keeps the session of `writer` alive meanwhile.
    pub(super) fn all_ready(&self, writer: &mut Bulk) -> anyhow::Result<()> {
        let until = Instant::now() + READY_LIMIT;
        let mut ready = 0;
        while ready < self.orders.len() {
            match self.words.recv_timeout(PING_PAUSE) {
                Ok(Word::Failed(error)) => return Err(error),
                Ok(_) => ready += 1,
                Err(RecvTimeoutError::Disconnected) => bail!("the sessions' threads have ended"),
                Err(RecvTimeoutError::Timeout) => writer.ping()?,
            }
            ensure!(Instant::now() < until, "the sessions' threads do not answer");
        }
        Ok(())
    }

    pub(super) fn end(self) {
        drop(self.orders);
        for thread in self.threads {
            // What it had to say it has said.
            let _ = thread.join();
        }
    }
}
