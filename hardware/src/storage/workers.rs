//! The executor's threads: some for each class, so that a long job never keeps a short one of the other class waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::direct::Direct;
use super::inbox::{CloseOnExit, Inbox};
use super::{Lane, StorageConfig, StorageJob, StorageOutcome, StorageResult, calls, cancelled, stream};

/// While more removals wait they make no pauses.
const REMOVALS_AT_LEISURE: usize = 64;

/// Starts the threads into `threads`.
pub(super) fn start(
    inbox: &Arc<Inbox>,
    config: &StorageConfig,
    direct: Option<&Direct>,
    threads: &mut Vec<JoinHandle<()>>,
) -> io::Result<()> {
    let lanes =
        [(Lane::Foreground, config.foreground_max.max(1)), (Lane::Bulk, config.bulk_max.max(1)), (Lane::Removal, 1)];
    let alive = Arc::new(AtomicUsize::new(lanes.iter().map(|(_, count)| count).sum()));
    for (lane, count) in lanes {
        for _ in 0..count {
            let (inbox, alive, direct) = (Arc::clone(inbox), Arc::clone(&alive), direct.cloned());
            threads.push(std::thread::Builder::new().name("storage".to_string()).spawn(move || {
                let _guard = LastOut { inbox: &inbox, alive: &alive };
                while let Some((job, done)) = inbox.wait_for(lane) {
                    done(perform(job, direct.as_ref(), &inbox));
                }
            })?);
        }
    }
    Ok(())
}

fn perform(job: StorageJob, direct: Option<&Direct>, inbox: &Inbox) -> StorageResult {
    match job {
        StorageJob::PrepareFile { path, bytes, zero, direct } => calls::prepare_file(&path, bytes, zero, direct),
        StorageJob::PrepareMapped { path, bytes, instead_of } => {
            calls::prepare_mapped(&path, bytes, instead_of.as_deref())
        }
        StorageJob::SyncFiles { files, pace, hurry } => {
            calls::sync_files(&files, pace, &|| inbox.is_closed() || hurry())
        }
        StorageJob::ReplaceFile { path, bytes } => calls::replace_file(&path, &bytes),
        StorageJob::Remove { paths, unread } => {
            calls::remove(&paths, unread, &|| inbox.is_closed() || inbox.waiting(Lane::Removal) > REMOVALS_AT_LEISURE)
        }
        StorageJob::ReadStream { path, from, to, chunk, mut each } => {
            stream::read_stream(&path, (from, to), chunk, &mut each, direct, inbox)
        }
        StorageJob::WriteStream { path, mut source } => stream::write_stream(&path, &mut source, direct, inbox),
        StorageJob::Compute { mut step } => {
            while !inbox.is_cancelling() {
                if !step() {
                    return Ok(StorageOutcome::Done);
                }
            }
            Err(cancelled())
        }
    }
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
