//! Making a checkpoint durable: flush the partition logs, then replace the manifest.

use super::context::Context;
use super::mail::Mail;
use super::post::deliver;
use super::role_host::CutAll;
use super::segments::submit;
use engine::partition::Manifest;
use hardware::mailbox::MailSender;
use hardware::storage::{Pace, StorageHandle, StorageJob, StorageOutcome, StorageResult};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How a checkpoint is flushed while the log's own flushes go on, each of which somebody waits for: most of these find no
/// piece in front of them, and none more than one. Longer pauses would not make those shorter, and until a checkpoint has
/// ended, what compaction has emptied stays; so there are none while the logs are crowded ([`super::log_space`]).
const PACE: Pace = Pace { times: 2, all_at_most: Duration::from_secs(1) };
/// The pauses of a checkpoint and the one behind it are together so many times what its work took, however many
/// transactions come: it must not take all of a disk that is fast.
const PAUSE_TIMES: i64 = 9;
/// The longest pause between two checkpoints, in milliseconds, or starting again would take long.
const PAUSE_MAX_MS: i64 = 5_000;
/// The shortest one while the logs take too much space, in milliseconds: more cannot be gained by more checkpoints.
const CROWDED_PAUSE_MIN_MS: i64 = 100;

/// How long no checkpoint begins after one that took `took_ms` milliseconds, `paused` among them. Where logs are
/// `is_crowded` ([`super::log_space`]), every other moment is one of a checkpoint.
pub fn pause_after_ms(took_ms: i64, paused: Duration, is_crowded: bool) -> i64 {
    let paused_ms = i64::try_from(paused.as_millis()).unwrap_or(i64::MAX);
    let worked_ms = took_ms.saturating_sub(paused_ms).max(0);
    if is_crowded {
        return worked_ms.clamp(CROWDED_PAUSE_MIN_MS, PAUSE_MAX_MS);
    }
    worked_ms.saturating_mul(PAUSE_TIMES).saturating_sub(paused_ms).clamp(0, PAUSE_MAX_MS)
}

/// Flushes what the shards have written, writes the manifest, and reports [`Mail::ManifestWritten`] to `reply`.
///
/// # Errors
/// The storage executor takes no more work.
pub fn write(context: &Context, all: CutAll, reply: MailSender<Mail>) -> io::Result<()> {
    let CutAll { zxid, system, is_installed, cuts } = all;
    let (mut partitions, mut files) = (Vec::new(), Vec::new());
    for mut cut in cuts {
        partitions.append(&mut cut.partitions);
        files.append(&mut cut.files);
    }
    partitions.sort_by_key(|cut| cut.partition);
    let manifest = Manifest {
        server: server_id(context),
        hash_key: Manifest::fingerprint(context.topology.key()),
        zxid,
        is_installed,
        partitions,
        system,
    };
    let (path, bytes, storage) = (context.manifest.clone(), manifest.encode(), context.storage.clone());
    let pace = if is_installed { Pace::AT_ONCE } else { PACE };
    let report = move |result: io::Result<Duration>| deliver(&reply, Mail::ManifestWritten { zxid, result });
    let flushed = move |result: StorageResult| match result {
        Ok(outcome) => {
            let paused = if let StorageOutcome::Synced { paused } = outcome { paused } else { Duration::ZERO };
            replace(&storage, path, bytes, move |result| report(result.map(|_| paused)));
        }
        Err(problem) => report(Err(problem)),
    };
    let space = Arc::clone(&context.log_space);
    let hurry = Box::new(move || space.is_crowded());
    submit(&context.storage, StorageJob::SyncFiles { files, pace, hurry }, Box::new(flushed))
}

/// The server's id as files name it: myid, or 0 for a server that has none.
pub fn server_id(context: &Context) -> u64 {
    context.config.local.server_id.and_then(|id| u64::try_from(id).ok()).unwrap_or(0)
}

fn replace(
    storage: &StorageHandle,
    path: std::path::PathBuf,
    bytes: Vec<u8>,
    report: impl FnOnce(StorageResult) + Clone + Send + 'static,
) {
    let refused = report.clone();
    if let Err(problem) = submit(storage, StorageJob::ReplaceFile { path, bytes }, Box::new(report)) {
        refused(Err(problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_taken_meanwhile_are_not_taken_again() {
        let cases =
            [(100, 0, 900), (1_000, 900, 0), (1_000, 800, 1_000), (1_000, 999, 0), (1_000, 0, 5_000), (5, 9, 0)];
        for (took_ms, paused_ms, expected) in cases {
            let pause = pause_after_ms(took_ms, Duration::from_millis(paused_ms), false);
            assert_eq!(pause, expected, "{took_ms}, {paused_ms}");
        }
    }

    #[test]
    fn crowded_logs_have_half_of_the_time() {
        for (took_ms, paused_ms, expected) in [(700, 200, 500), (5, 0, CROWDED_PAUSE_MIN_MS), (60_000, 0, PAUSE_MAX_MS)]
        {
            let pause = pause_after_ms(took_ms, Duration::from_millis(paused_ms), true);
            assert_eq!(pause, expected, "{took_ms}, {paused_ms}");
        }
    }
}
