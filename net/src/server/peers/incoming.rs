//! A snapshot from the leader on its way to become the state: a thread of its own takes the stream apart, fills fresh
//! partitions beside those in use, and puts a manifest for them beside that of the last checkpoint.
//!
//! That manifest counts as soon as the log has begun anew behind its zxid, which one write does together with everything
//! that the leader has proposed since ([`replication::peer::learner`] says why). It takes the place of the old one
//! then ([`NextManifest::take_over`]): at once, or at the next start, if the server stops in between. Until then nothing of
//! the snapshot is in effect: to give up before it is [sealed](Incoming::seal), drop the [`Incoming`]; the thread removes
//! its files, and what it leaves the next start removes.

use crate::server::checkpoint::server_id;
use crate::server::context::Context;
use crate::server::mail::Mail;
use crate::server::next_manifest::NextManifest;
use crate::server::post::deliver;
use crate::server::restore::{LoadedState, staged_state};
use crate::server::transfer::LogFolder;
use bytes::Bytes;
use engine::partition::Manifest;
use engine::zxid::Zxid;
use hardware::cpu::give_way;
use hardware::mailbox::MailSender;
use replication::peer::snapshot::reader::{Event, SnapshotReader};
use replication::peer::snapshot::stage::Stage;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::info;

/// Bytes that may wait for the thread before the leader is read from no further.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Bytes of nodes that are held in memory before they are written out.
const HELD_BYTES: usize = 4 << 20;
/// The generation of a snapshot's files lies so far beyond those in use, which compaction may go on counting.
const GENERATIONS_APART: u32 = 1024;

/// What the thread has to say.
pub enum IncomingEvent {
    /// The stream is complete; these bytes came behind it.
    Parsed(Bytes),
    /// The snapshot lies ready, durably, and this is its state.
    Ready(Box<LoadedState>),
    /// It cannot become the state.
    Failed(String),
    /// There is room for more bytes.
    Room,
}

enum Command {
    Bytes(Bytes),
    Seal,
}

/// The sending side.
pub struct Incoming {
    /// Tells the thread's mail from that of an earlier one.
    pub number: u64,
    commands: Sender<Command>,
    /// Bytes that the thread has not taken apart yet.
    waiting: Arc<AtomicUsize>,
    /// The chunks that hold those bytes, and how many bytes they are.
    handed: VecDeque<Bytes>,
    handed_bytes: usize,
}

impl Incoming {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn begin(
        context: &Arc<Context>,
        number: u64,
        zxid: Zxid,
        reply: MailSender<Mail>,
    ) -> std::io::Result<Incoming> {
        let (commands, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (context, count) = (Arc::clone(context), Arc::clone(&waiting));
        std::thread::Builder::new().name("snapshot-in".into()).spawn(move || {
            // Others, perhaps on this machine, serve meanwhile.
            give_way();
            let tell = |event| deliver(&reply, Mail::Incoming { number, event });
            let mut logs = LogFolder::beside_others(context.partitions.clone(), Arc::clone(&context.residency));
            match take(&context, zxid, &mut logs, &receiver, &count, &tell) {
                Ok(Some(state)) => tell(IncomingEvent::Ready(Box::new(state))),
                // Given up: the files are of no use to anybody.
                Ok(None) => {
                    let _ = logs.clear();
                }
                Err(why) => {
                    let _ = logs.clear();
                    tell(IncomingEvent::Failed(why));
                }
            }
        })?;
        Ok(Incoming { number, commands, waiting, handed: VecDeque::new(), handed_bytes: 0 })
    }

    /// The next bytes of the stream, and perhaps of what comes behind it.
    pub fn bytes(&mut self, bytes: Bytes) {
        self.forget(self.waiting.fetch_add(bytes.len(), Ordering::Relaxed));
        self.handed_bytes += bytes.len();
        self.handed.push_back(bytes.clone());
        // A thread that has ended has said why.
        let _ = self.commands.send(Command::Bytes(bytes));
    }

    /// All that came behind the stream: `rest` came with its end, and more may have come before that was noticed.
    pub fn behind(&mut self, rest: Bytes) -> Bytes {
        self.forget(self.waiting.load(Ordering::Relaxed));
        let mut behind = Vec::from(rest);
        self.handed.drain(..).for_each(|bytes| behind.extend_from_slice(&bytes));
        behind.into()
    }

    /// Lets go of the chunks that the thread is done with.
    fn forget(&mut self, waiting: usize) {
        while self.handed_bytes > waiting
            && let Some(bytes) = self.handed.pop_front()
        {
            self.handed_bytes -= bytes.len();
        }
    }

    /// Make it ready to become the state. There is no way back then but [`IncomingEvent::Failed`].
    pub fn seal(&self) {
        let _ = self.commands.send(Command::Seal);
    }

    /// Whether the leader may be read from.
    pub fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < WAITING_BYTES_MAX
    }
}

/// Takes the stream, and installs it when told to. `None` if nobody wants it any more.
fn take(
    context: &Context,
    zxid: Zxid,
    logs: &mut LogFolder,
    commands: &Receiver<Command>,
    waiting: &AtomicUsize,
    tell: &dyn Fn(IncomingEvent),
) -> Result<Option<LoadedState>, String> {
    let text = |problem: &dyn std::fmt::Display| problem.to_string();
    let generation = newest_generation(&context.partitions).saturating_add(GENERATIONS_APART);
    let key = context.topology.key().as_ref().clone();
    let mut stage = Stage::new(key, context.topology.partitions(), generation, zxid);
    let mut reader = Some(SnapshotReader::new(context.config.local.frame.field_bytes_max()));
    let mut held = 0;
    loop {
        match commands.recv() {
            Err(_) => return Ok(None),
            Ok(Command::Bytes(bytes)) => {
                // Behind the end: the other side still has them.
                let Some(mut parser) = reader.take() else { continue };
                parser.feed(&bytes);
                while let Some(event) = parser.next_event().map_err(|problem| text(&problem))? {
                    if let Event::Node(node) = &event {
                        held += node.path.len() + node.data.map_or(0, <[u8]>::len);
                    }
                    if event == Event::End {
                        stage.end();
                        logs.work(&mut stage).map_err(|problem| text(&problem))?;
                        logs.begin_flush();
                        make_parts(&mut stage);
                        stage.complete().map_err(|problem| text(&problem))?;
                        break;
                    }
                    stage.take(event).map_err(|problem| text(&problem))?;
                    if held >= HELD_BYTES {
                        held = 0;
                        logs.work(&mut stage).map_err(|problem| text(&problem))?;
                    }
                }
                let before = waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if parser.is_done() {
                    tell(IncomingEvent::Parsed(parser.into_rest().into()));
                } else {
                    reader = Some(parser);
                    if before >= WAITING_BYTES_MAX && before - bytes.len() < WAITING_BYTES_MAX {
                        tell(IncomingEvent::Room);
                    }
                }
            }
            Ok(Command::Seal) => return make_ready(context, zxid, logs, stage).map(Some),
        }
    }
}

/// Makes the parts on all processors: the leader has nothing more to do for this server.
fn make_parts(stage: &mut Stage) {
    let parts = stage.parts();
    let others = hardware::cpu::core_count().min(parts.len()).saturating_sub(1);
    let parts = Mutex::new(parts.iter_mut());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(part) = next() {
            part.make();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..others {
            // Where the system has no thread left, there are fewer of them.
            let _ = std::thread::Builder::new().name("snapshot-in".into()).spawn_scoped(scope, work);
        }
        work();
    });
}

fn make_ready(context: &Context, zxid: Zxid, logs: &mut LogFolder, mut stage: Stage) -> Result<LoadedState, String> {
    let text = |problem: &dyn std::fmt::Display| problem.to_string();
    let begun = Instant::now();
    logs.work(&mut stage).map_err(|problem| text(&problem))?;
    stage.seal();
    logs.work(&mut stage).map_err(|problem| text(&problem))?;
    let Some(cuts) = stage.cuts() else { return Err("the snapshot's partitions are not written out".into()) };
    logs.flush().map_err(|problem| text(&problem))?;
    let manifest = Manifest {
        server: server_id(context),
        hash_key: Manifest::fingerprint(context.topology.key()),
        zxid,
        // The log begins anew behind it.
        is_installed: true,
        partitions: cuts.to_vec(),
        system: stage.system().encode(),
    };
    let flushed = begun.elapsed();
    let nodes = stage.nodes();
    let state = staged_state(context, &manifest, stage, logs.segments()).map_err(|problem| text(&problem))?;
    let next = NextManifest::of(context);
    if let Err(problem) = next.put(&manifest) {
        let _ = next.discard();
        return Err(format!("the manifest of a leader's snapshot cannot be written: {problem}"));
    }
    info!(
        znodes = nodes,
        %zxid,
        flush_ms = flushed.as_millis() as u64,
        load_ms = (begun.elapsed() - flushed).as_millis() as u64,
        "the leader's snapshot is ready to become the state"
    );
    Ok(state)
}

/// The highest generation of any partition's files.
fn newest_generation(folder: &Path) -> u32 {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let generation = |name: std::ffi::OsString| name.to_str()?.split('-').nth(1)?.strip_prefix('g')?.parse().ok();
    names.filter_map(generation).max().unwrap_or(0)
}
