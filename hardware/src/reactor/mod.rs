//! One ring per core: sockets and files for the state machines that the core hosts.
//!
//! Owned buffers go in, completions come out as [`Event`]s. Nothing is called back: [`Reactor::turn`] submits what was
//! queued since the last turn, waits if there is nothing to do, copies completions out, and only then turns them into
//! events, at most [`TURN_COMPLETIONS_MAX`] per turn. All methods but `turn` return at once.
//!
//! A buffer in flight belongs to the reactor until its event hands it back, also when the socket is closed or the
//! reactor dropped meanwhile, so the kernel never touches memory that somebody else owns.
//!
//! | file | idea |
//! |---|---|
//! | `ring` | set-up, submission, completions |
//! | `turn` | the order of work within a turn; sleeping and waking |
//! | `spin` | whether to poll before sleeping |
//! | `wake` | ending the sleep from another thread |
//! | `accept` | listeners |
//! | `buffers`, `receive` | provided buffers; receiving into them |
//! | `stamp` | when bytes arrived |
//! | `send` | queued sends |
//! | `socket` | the life of a socket from adoption to release |
//! | `files` | reads, writes and flushes |

mod accept;
mod buffers;
mod files;
mod receive;
mod ring;
mod send;
mod socket;
mod spin;
mod stamp;
mod tag;
mod turn;
mod wake;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aligned::AlignedBuf;
use crate::slots::Slots;

pub use self::buffers::RecvBuf;
pub use self::spin::SpinPolicy;
pub use self::turn::{GATHER_MAX, TURN_COMPLETIONS_MAX};
pub use self::wake::CoreWaker;

/// Completions the kernel can post before it has to fall back to its overflow list.
const CQ_ENTRIES: u32 = 32_768;

/// Sizes and habits of a [`Reactor`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactorConfig {
    /// Operations submitted with one system call; more are submitted in several. Rounded up to a power of two.
    pub sq_entries: u32,
    /// Receive buffers of the core, shared by all its sockets; a power of two up to 32768. When all are in use, receiving
    /// stops until one is dropped; nothing is lost.
    pub recv_buffers: u16,
    /// Bytes per receive buffer; no [`Event::Received`] is longer. The memory is `recv_buffers` times this.
    pub recv_buffer_bytes: u32,
    /// How long to poll for completions before sleeping, while that pays (the reactor watches whether it does). Costs that
    /// much processor time per sleep at most and saves a sleep and a wake-up per short round trip. Zero: never.
    pub spin: Duration,
}

impl Default for ReactorConfig {
    fn default() -> ReactorConfig {
        ReactorConfig { sq_entries: 4096, recv_buffers: 1024, recv_buffer_bytes: 4096, spin: Duration::from_micros(20) }
    }
}

/// A socket of one reactor. Never reused: a later socket in the same slot has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    slot: u32,
    generation: u32,
}

impl SocketId {
    /// Index into dense tables kept per socket; reused after [`Event::Released`].
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// A listener of one reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId {
    slot: u32,
    generation: u32,
}

/// How [`Reactor::close`] treats what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseHow {
    /// Send what is queued, then end the stream and wait (one second at most) for the peer to end its side, so that
    /// unread input cannot make the kernel reset the connection and destroy the last bytes on their way. How long the
    /// sending itself may take is not bounded here; the host may follow with [`CloseHow::Now`].
    AfterSends,
    /// Drop what is queued and close.
    Now,
    /// Drop what is queued and reset the connection (SO_LINGER of zero), leaving no TIME_WAIT behind.
    Reset,
}

/// What happened. Buffers handed in come back here.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted; [`Reactor::adopt`] it, hand it to another core, or drop it to close it.
    Accepted {
        /// Where it arrived.
        listener: ListenerId,
        /// The connected socket.
        fd: OwnedFd,
        /// The other end.
        peer: SocketAddr,
    },
    /// Accepting failed (out of file descriptors or memory, mostly). The reactor tries again after a pause by itself.
    AcceptFailed {
        /// Which listener.
        listener: ListenerId,
        /// Why.
        error: io::Error,
    },
    /// Bytes from the peer.
    Received {
        /// From which socket.
        socket: SocketId,
        /// The bytes, never empty. Drop it soon.
        data: RecvBuf,
    },
    /// The peer ended its stream (`None`) or the connection failed. Comes once; the host then calls [`Reactor::close`].
    /// After an orderly end sending still works.
    Closed {
        /// Which socket.
        socket: SocketId,
        /// Why, unless the peer ended in order.
        error: Option<io::Error>,
    },
    /// All bytes of one buffer were handed to the kernel.
    Sent {
        /// On which socket.
        socket: SocketId,
        /// The buffer, emptied, with its capacity, for reuse.
        buf: Vec<u8>,
        /// Bytes still queued behind it.
        queued: usize,
    },
    /// The last event of a socket, after [`Reactor::close`]: it is closed and its id is dead.
    Released {
        /// Which socket.
        socket: SocketId,
    },
    /// A [`Reactor::write`] ended.
    Written {
        /// The host's token.
        token: u64,
        /// Bytes written (all of them), or the first error.
        result: io::Result<usize>,
        /// The buffer, unchanged.
        buf: AlignedBuf,
    },
    /// A [`Reactor::write_bytes`] ended.
    WrittenBytes {
        /// The host's token.
        token: u64,
        /// Bytes written (all of them), or the first error.
        result: io::Result<usize>,
        /// The buffer, unchanged.
        buf: Vec<u8>,
    },
    /// A [`Reactor::read`] ended.
    Read {
        /// The host's token.
        token: u64,
        /// Bytes read, fewer than asked only at the end of the file; or the first error.
        result: io::Result<usize>,
        /// The buffer, of the length it had.
        buf: Vec<u8>,
    },
    /// A [`Reactor::sync`] ended.
    Synced {
        /// The host's token.
        token: u64,
        /// Whether everything written before is on stable storage.
        result: io::Result<()>,
    },
}

/// Why a reactor could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// The kernel refused the ring.
    #[error(
        "io_uring set-up failed: {source}; Linux 6.1 or newer is needed, and neither sysctl kernel.io_uring_disabled nor a \
         seccomp profile (container runtimes: allow io_uring_setup, io_uring_enter, io_uring_register) may forbid it"
    )]
    Setup {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The ring lacks a feature.
    #[error("this kernel's io_uring lacks {name}; Linux 6.1 or newer is needed")]
    MissingFeature {
        /// What is missing.
        name: &'static str,
    },
    /// The kernel refused the ring of provided buffers.
    #[error(
        "registering receive buffers failed: {source}; Linux 6.1 or newer is needed, and enough locked memory (ulimit -l)"
    )]
    BufferRing {
        /// The kernel's answer.
        source: io::Error,
    },
    /// No memory for receive buffers.
    #[error("no memory for {bytes} bytes of receive buffers: {source}; use fewer or smaller buffers")]
    Memory {
        /// How much was asked for.
        bytes: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// The process is out of file descriptors.
    #[error("no descriptor for waking the core: {source}; raise the limit on open files (ulimit -n)")]
    Waker {
        /// The system's answer.
        source: io::Error,
    },
    /// The configuration makes no sense.
    #[error("reactor configuration: {reason}")]
    Config {
        /// What and why.
        reason: String,
    },
}

/// Sockets and files of one core. Belongs to the thread that built it.
pub struct Reactor {
    // Dropped first: after that the kernel holds no reference to what follows.
    ring: ring::Ring,
    buffers: Rc<buffers::BufferPool>,
    stamp_header: stamp::StampHeader,
    clocks: stamp::Clocks,
    /// Both clocks were read in this turn.
    clocks_read: bool,
    waker: Arc<CoreWaker>,
    listeners: Slots<accept::Listener>,
    sockets: Slots<socket::Socket>,
    files: Slots<files::FileOp>,
    /// Sockets with bytes to send and no send in flight.
    unsent: Vec<u32>,
    /// Sockets whose receive ended for want of a buffer, oldest first.
    starved: VecDeque<u32>,
    /// Spare vectors for gathering sends; boxed, as the kernel reads them where they are.
    #[allow(clippy::vec_box)]
    gathers: Vec<Box<send::Gather>>,
    /// Events that did not come from the kernel, and those beyond the bound of a turn.
    ready: VecDeque<Event>,
    completions: Vec<ring::Completion>,
    deadlines: BinaryHeap<Reverse<(Instant, turn::Deadline)>>,
    /// A send was submitted in this turn.
    sends_started: bool,
    /// Work for files was queued since the last turn.
    files_queued: bool,
    /// Whether to poll while only peers may answer.
    socket_spin: spin::SpinPolicy,
    /// Whether to poll while the disk works, which mostly takes too long, and may need the processor to finish.
    file_spin: spin::SpinPolicy,
    /// The kernel's rule for this ring: submissions come from one thread only.
    _one_thread: PhantomData<*mut ()>,
}

impl Reactor {
    /// Builds the ring of the calling thread, which alone may use it.
    ///
    /// # Errors
    /// Names the missing feature and the remedy.
    pub fn new(config: ReactorConfig) -> Result<Reactor, ReactorError> {
        let ring = ring::Ring::new(config.sq_entries.clamp(1, 32_768), CQ_ENTRIES)?;
        let buffers = buffers::BufferPool::register(&ring, &config)?;
        let waker = CoreWaker::detached().map_err(|source| ReactorError::Waker { source })?;
        let mut reactor = Reactor {
            ring,
            buffers,
            stamp_header: stamp::StampHeader::new(),
            clocks: stamp::Clocks::default(),
            clocks_read: false,
            waker,
            listeners: Slots::new(),
            sockets: Slots::new(),
            files: Slots::new(),
            unsent: Vec::new(),
            starved: VecDeque::new(),
            gathers: Vec::new(),
            ready: VecDeque::new(),
            completions: Vec::new(),
            deadlines: BinaryHeap::new(),
            sends_started: false,
            files_queued: false,
            socket_spin: spin::SpinPolicy::new(config.spin),
            file_spin: spin::SpinPolicy::new(config.spin),
            _one_thread: PhantomData,
        };
        reactor.watch_waker();
        Ok(reactor)
    }

    /// What other threads wake this core with.
    pub fn waker(&self) -> Arc<CoreWaker> {
        Arc::clone(&self.waker)
    }

    /// Sockets adopted and not yet released.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
}
