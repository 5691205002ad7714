//! Jobs on plain threads, for systems where io_uring is forbidden.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::inbox::{CloseOnExit, Inbox};
use super::{Lane, StorageConfig, blocking};

/// Starts the threads into `threads`: at least one takes foreground jobs only, so that bulk work never holds them all.
pub(super) fn start(inbox: &Arc<Inbox>, config: &StorageConfig, threads: &mut Vec<JoinHandle<()>>) -> io::Result<()> {
    const FOREGROUND: &[Lane] = &[Lane::Foreground];
    const BULK: &[Lane] = &[Lane::Bulk];
    // Threads mostly wait for the disk; more than a few of them would not make it faster.
    let foreground = config.foreground_max.clamp(1, 2);
    let bulk = config.bulk_max.clamp(1, 2);
    let alive = Arc::new(AtomicUsize::new(foreground + bulk));
    for (lanes, count) in [(FOREGROUND, foreground), (BULK, bulk)] {
        for _ in 0..count {
            let (inbox, alive) = (Arc::clone(inbox), Arc::clone(&alive));
            threads.push(std::thread::Builder::new().name("storage".to_string()).spawn(move || {
                let _guard = LastOut { inbox: &inbox, alive: &alive };
                while let Some((job, done)) = inbox.wait_for(lanes) {
                    done(blocking::perform(job, &inbox));
                }
            })?);
        }
    }
    Ok(())
}

struct LastOut<'a> {
    inbox: &'a Inbox,
    alive: &'a AtomicUsize,
}

impl Drop for LastOut<'_> {
    fn drop(&mut self) {
        if self.alive.fetch_sub(1, Ordering::AcqRel) == 1 || std::thread::panicking() {
            drop(CloseOnExit(self.inbox));
        }
    }
}
