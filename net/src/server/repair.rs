//! A member's damaged files: set aside, so that it can start on what is left and take the rest from its peers.
//!
//! | damaged | set aside | the member starts |
//! |---|---|---|
//! | the log, ahead of the checkpoint only | the segments up to there | as if nothing had happened |
//! | the log elsewhere | all of it | with the checkpoint, as one that has lost something |
//! | the manifest, or what it names | that and the log | empty, as one that has lost something |
//!
//! What is set aside keeps its name with `.damaged` behind it, and is never removed. The mark `repairing` is on disk before
//! anything else happens, so that the member goes on being one that has lost something ([`replication::node`]), however
//! often it stops on the way, until a leader has made it whole.

use super::context::Context;
use super::data_dir::REPAIRING;
use super::next_manifest::NextManifest;
use super::restore::{RestoreError, WalSegment, read_manifest};
use super::wal_host::{segment_file, segment_sequence};
use engine::zxid::Zxid;
use hardware::data_dir::{dir_sync, replace_file};
use replication::wal::{Checkpoint, Damage, DirectoryId, SegmentSeq, Verdict, recover};
use std::io;
use std::path::{Path, PathBuf};
use tracing::{error, warn};

const MARK: &[u8] = b"This member has lost transactions that it may have acknowledged, and votes for nobody until a leader \
that the others elect has given it what it lacks. Removing this file makes it vote with what it has: what only it had is \
lost then.\n";

/// Where the mark is.
fn mark(context: &Context) -> PathBuf {
    root(context).join(REPAIRING)
}

fn root(context: &Context) -> &Path {
    context.manifest.parent().unwrap_or(&context.manifest)
}

/// The mark, if the member has lost something and has not been repaired.
pub fn mark_of(context: &Context) -> Option<PathBuf> {
    Some(mark(context)).filter(|mark| mark.exists())
}

/// The member is whole again.
///
/// # Errors
/// The file system's; the next start repairs it again then.
pub fn ended(context: &Context) -> io::Result<()> {
    std::fs::remove_file(mark(context))?;
    dir_sync(root(context))
}

/// Makes room for a start on what is left.
///
/// # Errors
/// When a file cannot be renamed or written; nothing is lost then, and the next start tries again.
pub fn set_aside(context: &Context, problem: &RestoreError) -> Result<(), RestoreError> {
    let mark = mark(context);
    replace_file(&mark, MARK).map_err(|source| failed(&mark, source))?;
    let mut moved = Vec::new();
    let keeps_state = matches!(problem, RestoreError::WalDamage(_));
    if !keeps_state {
        // In this order: a manifest whose files are missing is damage again, files without a manifest would be removed.
        if let Some(next) = NextManifest::of(context).path() {
            moved.push(rename(next)?);
        }
        moved.push(rename(&context.partitions)?);
        std::fs::create_dir(&context.partitions).map_err(|source| failed(&context.partitions, source))?;
        if context.manifest.exists() {
            moved.push(rename(&context.manifest)?);
        }
        dir_sync(root(context)).map_err(|source| failed(root(context), source))?;
    }
    let segments = std::fs::read_dir(&context.wal).map_err(|source| failed(&context.wal, source))?;
    for entry in segments {
        let path = entry.map_err(|source| failed(&context.wal, source))?.path();
        if segment_sequence(&path).is_some() {
            moved.push(rename(&path)?);
        }
    }
    dir_sync(&context.wal).map_err(|source| failed(&context.wal, source))?;
    if keeps_state && let Some(mut manifest) = read_manifest(context)? {
        // The log that this state was made of is gone: another one begins behind it.
        manifest.is_installed = true;
        replace_file(&context.manifest, &manifest.encode()).map_err(|source| failed(&context.manifest, source))?;
    }
    let names: Vec<String> = moved.iter().map(|path| path.display().to_string()).collect();
    error!(
        "{problem}. Set aside: {}. This member votes for nobody until a leader that the others elect has given it what it \
         lacks. Where too many are damaged for the others to elect one, restore a member from a backup; or accept that \
         what only the damaged ones had is lost, and remove {}",
        names.join(", "),
        mark.display()
    );
    Ok(())
}

/// The log without the segments up to the damage, if all that they held is in the checkpoint: their files are set aside
/// then. `None` if something else was in them.
///
/// # Errors
/// When a file cannot be renamed.
pub fn without_covered(
    context: &Context,
    segments: &mut Vec<WalSegment>,
    base: Checkpoint,
    damage: &Damage,
) -> Result<Option<Verdict>, RestoreError> {
    let (earlier, mut later): (Vec<_>, Vec<_>) =
        std::mem::take(segments).into_iter().partition(|segment| segment.sequence <= damage.segment);
    let verdict = recover(&mut later, DirectoryId(context.directory_id), base, &mut |_, _| {});
    let covered = verdict.recovered().is_some_and(|recovered| {
        let layout = recovered.layout();
        layout.segments().any(|segment| !segment.is_void()) && layout.base() <= base.zxid()
    });
    if !covered {
        segments.extend(earlier);
        segments.append(&mut later);
        return Ok(None);
    }
    // The oldest first: a log without its beginning is whole, one with a hole is not.
    let mut numbers: Vec<SegmentSeq> = earlier.iter().map(|segment| segment.sequence).collect();
    numbers.sort_unstable();
    for sequence in numbers {
        rename(&segment_file(&context.wal, sequence))?;
    }
    dir_sync(&context.wal).map_err(|source| failed(&context.wal, source))?;
    let begins = verdict.recovered().map_or(Zxid::ZERO, |recovered| recovered.layout().base());
    warn!(
        "{damage}. The checkpoint has all that was there: these segments are set aside, and the log begins behind {begins}"
    );
    *segments = later;
    Ok(Some(verdict))
}

/// Renames to the first name with `.damaged` behind it that is free, and says which.
fn rename(path: &Path) -> Result<PathBuf, RestoreError> {
    let with = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let numbered = (2..u32::MAX).map(|number| with(format!(".damaged.{number}")));
    let mut names = std::iter::once(with(".damaged".to_owned())).chain(numbered);
    let free = names.find(|name| !name.exists()).unwrap_or_else(|| with(".damaged".to_owned()));
    std::fs::rename(path, &free).map_err(|source| failed(path, source))?;
    Ok(free)
}

fn failed(path: &Path, source: io::Error) -> RestoreError {
    RestoreError::Io { path: path.to_path_buf(), source }
}
