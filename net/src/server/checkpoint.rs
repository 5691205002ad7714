//! Making a checkpoint durable: flush the partition logs, then replace the manifest.

use super::context::Context;
use super::mail::Mail;
use super::post::deliver;
use super::role_host::CutAll;
use super::segments::submit;
use engine::partition::Manifest;
use hardware::mailbox::MailSender;
use hardware::storage::{StorageHandle, StorageJob, StorageResult};
use std::io;

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
    let report = move |result: StorageResult| {
        deliver(&reply, Mail::ManifestWritten { zxid, result: result.map(|_| ()) });
    };
    let flushed = move |result: StorageResult| match result {
        Ok(_) => replace(&storage, path, bytes, report),
        Err(problem) => report(Err(problem)),
    };
    submit(&context.storage, StorageJob::SyncFiles { files }, Box::new(flushed))
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
