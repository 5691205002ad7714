//! A snapshot from the leader on its way to become the state: threads of their own take the stream apart, fill fresh
//! partitions beside those in use, and put a manifest for them beside that of the last checkpoint. Each of the threads reads
//! the whole stream and fills its share of the partitions: nobody has to wait for another, and nothing is handed around.
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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use tracing::info;

/// Bytes that may wait for the thread before the leader is read from no further.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Bytes of nodes that are held in memory before they are written out.
const HELD_BYTES: usize = 4 << 20;
/// Threads that take a stream apart, each all of it, and fill the partitions that are its own.
const FILLERS_MAX: usize = 4;
/// Chunks by which one of them may be behind the first.
const HELPER_CHUNKS: usize = 64;
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
            match take(&context, zxid, &receiver, &count, &tell) {
                Ok(Some(state)) => tell(IncomingEvent::Ready(Box::new(state))),
                Ok(None) => {}
                Err(why) => tell(IncomingEvent::Failed(why)),
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

/// Takes the stream, and installs it when told to. `None` if nobody wants it any more; no files are left then, nor after a
/// failure.
fn take(
    context: &Arc<Context>,
    zxid: Zxid,
    commands: &Receiver<Command>,
    waiting: &AtomicUsize,
    tell: &dyn Fn(IncomingEvent),
) -> Result<Option<LoadedState>, String> {
    let generation = newest_generation(&context.partitions).saturating_add(GENERATIONS_APART);
    let fillers = hardware::cpu::core_count().clamp(1, FILLERS_MAX);
    let filler = |number| Filler::new(context, generation, zxid, number, fillers);
    let mut own = filler(0);
    let helpers: std::io::Result<Vec<Helper>> = (1..fillers).map(|number| Helper::start(filler(number))).collect();
    let helpers = helpers.map_err(|problem| format!("no thread to take it apart: {problem}"))?;
    let taken = take_apart(&mut own, &helpers, commands, waiting, tell);
    let all = own.join(helpers);
    match (taken, all) {
        (Ok(true), Ok((stage, mut logs))) => match make_ready(context, zxid, &mut logs, stage) {
            Ok(state) => Ok(Some(state)),
            Err(why) => {
                let _ = logs.clear();
                Err(why)
            }
        },
        // Given up: the files are of no use to anybody.
        (Ok(false), Ok((_, mut logs))) => {
            let _ = logs.clear();
            Ok(None)
        }
        (Ok(_), Err(why)) => Err(why),
        (Err(why), all) => {
            if let Ok((_, mut logs)) = all {
                let _ = logs.clear();
            }
            Err(why)
        }
    }
}

/// Hands the stream to all fillers until it is to be sealed; false if it is not wanted any more.
fn take_apart(
    own: &mut Filler,
    helpers: &[Helper],
    commands: &Receiver<Command>,
    waiting: &AtomicUsize,
    tell: &dyn Fn(IncomingEvent),
) -> Result<bool, String> {
    loop {
        match commands.recv() {
            Err(_) => return Ok(false),
            Ok(Command::Bytes(bytes)) => {
                if own.reader.is_none() {
                    // Behind the end: the other side still has them.
                    continue;
                }
                for helper in helpers {
                    // One that has ended says why when it is joined.
                    if helper.chunks.send(bytes.clone()).is_err() {
                        return Ok(false);
                    }
                }
                let rest = own.take(&bytes)?;
                let before = waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if let Some(rest) = rest {
                    tell(IncomingEvent::Parsed(rest.into()));
                } else if before >= WAITING_BYTES_MAX && before - bytes.len() < WAITING_BYTES_MAX {
                    tell(IncomingEvent::Room);
                }
            }
            Ok(Command::Seal) => return Ok(true),
        }
    }
}

/// Fills its share of the partitions from the stream, all of which it is given.
struct Filler {
    stage: Stage,
    logs: LogFolder,
    /// Until the end of the stream.
    reader: Option<SnapshotReader>,
    /// Bytes of nodes since the last visit to the files.
    held: usize,
}

impl Filler {
    fn new(context: &Context, generation: u32, zxid: Zxid, number: usize, of: usize) -> Filler {
        let key = context.topology.key().as_ref().clone();
        let stage = Stage::new(key, context.topology.partitions(), generation, zxid).with_share(number, of);
        let logs = LogFolder::beside_others(context.partitions.clone(), Arc::clone(&context.residency));
        let reader = Some(SnapshotReader::new(context.config.local.frame.field_bytes_max()));
        Filler { stage, logs, reader, held: 0 }
    }

    /// Takes the next bytes; returns those behind the end of the stream when that has come.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let text = |problem: &dyn std::fmt::Display| problem.to_string();
        let Some(mut parser) = self.reader.take() else { return Ok(None) };
        parser.feed(bytes);
        while let Some(event) = parser.next_event().map_err(|problem| text(&problem))? {
            if let Event::Node(node) = &event {
                self.held += node.path.len() + node.data.map_or(0, <[u8]>::len);
            }
            self.stage.take(event).map_err(|problem| text(&problem))?;
            if self.held >= HELD_BYTES {
                self.held = 0;
                self.logs.work(&mut self.stage).map_err(|problem| text(&problem))?;
            }
        }
        if parser.is_done() {
            return Ok(Some(parser.into_rest()));
        }
        self.reader = Some(parser);
        Ok(None)
    }

    /// With the shares of all others.
    fn join(self, helpers: Vec<Helper>) -> Result<(Stage, LogFolder), String> {
        let Filler { stage, mut logs, .. } = self;
        let (mut stages, mut failure) = (Vec::new(), None);
        for helper in helpers {
            match helper.end() {
                Ok(filler) => {
                    stages.push(filler.stage);
                    logs.join(filler.logs);
                }
                Err(why) => failure = Some(why),
            }
        }
        match failure {
            None => Ok((stage.join(stages), logs)),
            Some(why) => {
                let _ = logs.clear();
                Err(why)
            }
        }
    }
}

/// A filler on a thread of its own.
struct Helper {
    chunks: SyncSender<Bytes>,
    thread: JoinHandle<Result<Filler, String>>,
}

impl Helper {
    fn start(mut filler: Filler) -> std::io::Result<Helper> {
        let (chunks, receiver) = sync_channel::<Bytes>(HELPER_CHUNKS);
        let work = move || match receiver.into_iter().try_for_each(|bytes| filler.take(&bytes).map(|_| ())) {
            Ok(()) => Ok(filler),
            Err(why) => {
                let _ = filler.logs.clear();
                Err(why)
            }
        };
        let thread = std::thread::Builder::new().name("snapshot-in".into()).spawn(work)?;
        Ok(Helper { chunks, thread })
    }

    fn end(self) -> Result<Filler, String> {
        drop(self.chunks);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
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
