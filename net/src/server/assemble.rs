//! The wiring: which parts a server has, on which threads, and who can send to whom. Nothing else starts a thread or
//! makes a mailbox.
//!
//! ```text
//! main thread      signals, the end of cores
//! core 0..n        reactor + connections + shard n (+ the replication role, on a small machine)
//! core n           reactor + the replication role, from four processors on
//! storage          segments, flushes, manifests, removals; streams of bulk reads
//! storage-direct   the streams' direct transfers, on glommio
//! admin            operators' questions over HTTP
//! scrub            reads everything again from time to time
//! ```

use super::admin_thread::AdminPort;
use super::admission::{Admission, AdmissionLimits};
use super::client_port::ClientPlace;
use super::clock::Clock;
use super::context::Context;
use super::core_loop::{Core, CoreFailure, CoreParts};
use super::data_dir::{DataDir, DataDirError};
use super::mail::Mail;
use super::marks::Marks;
use super::post::{Post, deliver};
use super::restore::{self, RestoreError, Restored};
use super::scrub::Scrubber;
use super::topology::Topology;
use engine::ids::CoreId;
use hardware::cpu::{available_cpus, give_way, pin_current_thread};
use hardware::kernel::KernelError;
use hardware::mailbox::{MailReceiver, MailSender, mailbox};
use hardware::reactor::{CoreWaker, Reactor, ReactorConfig, ReactorError};
use hardware::storage::{Shutdown, StorageConfig, StorageExecutor};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{info, warn};
use tuning::{Config, CorePlan, Limits};

/// Why a server did not start, or did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel lacks or forbids something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// What it holds cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The client port cannot be opened.
    #[error("cannot listen on {address}: {source}; choose another with --client-port, or stop the program that has it")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A core's ring could not be built.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A core ended when nobody had asked it to.
    #[error("the server stopped: {0}")]
    Core(String),
}

/// How a core ended.
type CoreEnd = Result<(), CoreFailure>;

/// What a core needs to know of the others before it can run.
struct Wiring {
    peers: Vec<MailSender<Mail>>,
    inbox: MailReceiver<Mail>,
}

/// Runs a server until SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`], each naming the remedy.
pub fn run(config: Config) -> Result<(), StartError> {
    hardware::kernel::require()?;
    if let Err(problem) = hardware::limits::raise_open_files() {
        warn!("the limit on open files stays as it is: {problem}");
    }
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(|source| system("catch signals", source))?;
    let storage_config = &config.local.storage;
    let data = DataDir::open(
        &storage_config.data_dir,
        Some(&storage_config.data_log_dir),
        config.local.host.partitions,
        storage_config.data_dir_autocreate,
    )?;
    let cpus = available_cpus().map_err(|source| system("list processors", source))?;
    let partitions = data.identity().partitions;
    let plan = CorePlan::new(&cpus, config.local.host.shard_cores, partitions, config.local.host.pin_cores);
    let topology = Arc::new(Topology::new(
        Arc::new(data.identity().key.clone()),
        partitions,
        plan.shards(),
        CoreId(plan.replication_thread() as u16),
    ));
    let storage = StorageExecutor::start(StorageConfig::default())
        .map_err(|source| system("start the storage executor", source))?;
    let context = Arc::new(Context::new(&config, &data, &topology, storage.handle()));
    let restored = restore_giving_way(&context)?;
    let listeners = listen(&config, plan.shards())?;
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port());
    context.port.store(port, Ordering::Relaxed);
    let spin = if plan.shares_cores(cpus.len()) { 0 } else { config.local.host.spin_us };
    let limits = Limits::of(&config, usize::from(plan.shards()));
    let reactor_config = ReactorConfig {
        recv_buffers: u16::try_from(limits.receive_buffers_per_core).unwrap_or(u16::MAX),
        spin: Duration::from_micros(u64::from(spin)),
        ..ReactorConfig::default()
    };
    let scrubber = Scrubber::start(&context).map_err(|source| system("start scrubbing", source))?;
    let admin = AdminPort::open(&context);
    let cores = start_cores(&plan, &context, restored, listeners, reactor_config, limits.mailbox_slots)?;
    info!(
        port,
        shards = plan.shards(),
        partitions,
        data_dir = %data.root().display(),
        "serving ZooKeeper clients on port {port}"
    );
    let admin = admin.and_then(|admin| admin.serve(&context, cores.senders.clone()));
    let ended = cores.wait(signals);
    if let Some(admin) = admin {
        admin.stop();
    }
    if let Some(scrubber) = scrubber {
        scrubber.stop();
    }
    storage.shutdown(Shutdown::Drain);
    ended
}

fn system(action: &'static str, source: io::Error) -> StartError {
    StartError::System { action, source }
}

/// One listener per shard's core on the client port.
fn listen(config: &Config, shards: u16) -> Result<Vec<TcpListener>, StartError> {
    let client = &config.local.client;
    let place = ClientPlace::of(client);
    place.listen(client, shards).map_err(|source| StartError::Listen { address: place.to_string(), source })
}

/// The running cores.
struct Cores {
    senders: Vec<MailSender<Mail>>,
    threads: Vec<JoinHandle<()>>,
    ends: mpsc::Receiver<CoreEnd>,
}

/// Restores what the data directory holds. A member does so beside others, perhaps on the same machine, that serve
/// meanwhile: it gives way to them.
fn restore_giving_way(context: &Context) -> Result<Restored, RestoreError> {
    if !context.config.ensemble.is_distributed() {
        return restore::restore_or_repair(context);
    }
    let work = || {
        give_way();
        restore::restore_or_repair(context)
    };
    std::thread::scope(|scope| match std::thread::Builder::new().name("restore".into()).spawn_scoped(scope, work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_) => restore::restore_or_repair(context),
    })
}

fn start_cores(
    plan: &CorePlan,
    context: &Arc<Context>,
    restored: Restored,
    listeners: Vec<TcpListener>,
    reactor_config: ReactorConfig,
    mailbox_slots: usize,
) -> Result<Cores, StartError> {
    let marks = Arc::new(Marks::new(context.topology.shards(), context.topology.cores(), restored.zxid));
    let local = &context.config.local;
    let limits = AdmissionLimits {
        per_address_max: local.client.max_client_cnxns,
        all_max: local.client.max_cnxns,
        large_bytes_max: local.frame.large_request_max_bytes as usize,
        requests_max: local.throttle.request_max as usize,
        sessions_are_local: local.session.local_enabled && context.config.ensemble.is_distributed(),
    };
    let admission = Arc::new(Admission::new(limits, &local.throttle.connection));
    let clock = Clock::start();
    let (mut listeners, mut shards) = (listeners.into_iter(), restored.shards.into_iter());
    let mut role = Some((restored.seat, restored.wal));
    let (end_sender, ends) = mpsc::channel();
    let mut threads = Vec::new();
    let mut wakers: Vec<Arc<CoreWaker>> = Vec::new();
    let mut wirings: Vec<mpsc::Sender<Wiring>> = Vec::new();
    for (number, thread) in plan.threads().iter().enumerate() {
        let parts = CoreParts {
            id: CoreId(number as u16),
            context: Arc::clone(context),
            marks: Arc::clone(&marks),
            admission: Arc::clone(&admission),
            clock,
            listener: if thread.shard.is_some() { listeners.next() } else { None },
            shard: if thread.shard.is_some() { shards.next() } else { None },
            role: if thread.replication { role.take() } else { None },
            acls: restored.acls.clone(),
        };
        let (waker_sender, waker) = mpsc::channel();
        let (wiring_sender, wiring) = mpsc::channel::<Wiring>();
        let (end, cpu, reactor_config) = (end_sender.clone(), thread.cpu, reactor_config.clone());
        let spawned = std::thread::Builder::new().name(format!("core-{number}")).spawn(move || {
            if let Some(cpu) = cpu
                && let Err(problem) = pin_current_thread(cpu)
            {
                warn!(cpu, "a core's thread cannot be pinned: {problem}");
            }
            let reactor = match Reactor::new(reactor_config) {
                Ok(reactor) => reactor,
                Err(problem) => {
                    let _ = waker_sender.send(Err(problem));
                    return;
                }
            };
            let _ = waker_sender.send(Ok(reactor.waker()));
            let Ok(Wiring { peers, inbox }) = wiring.recv() else { return };
            let core = Core::new(parts, reactor, Post::new(CoreId(number as u16), peers), inbox);
            let _ = end.send(core.run());
        });
        threads.push(spawned.map_err(|source| system("start a core's thread", source))?);
        let waker = waker.recv().map_err(|_| StartError::Core("a core's thread died at its start".into()))?;
        wakers.push(waker?);
        wirings.push(wiring_sender);
    }
    let (senders, inboxes): (Vec<_>, Vec<_>) = wakers.into_iter().map(|waker| mailbox(mailbox_slots, waker)).unzip();
    for (wiring, inbox) in wirings.into_iter().zip(inboxes) {
        let _ = wiring.send(Wiring { peers: senders.clone(), inbox });
    }
    Ok(Cores { senders, threads, ends })
}

impl Cores {
    /// Waits until a signal asks the server to stop, or a core ends by itself.
    fn wait(self, mut signals: Signals) -> Result<(), StartError> {
        let handle = signals.handle();
        let senders = self.senders.clone();
        let watching = std::thread::spawn(move || {
            for signal in &mut signals {
                info!(signal, "stopping: finishing what is under way");
                for sender in &senders {
                    deliver(sender, Mail::Shutdown);
                }
            }
        });
        let mut failure = None;
        for _ in 0..self.threads.len() {
            match self.ends.recv() {
                Ok(Ok(())) => {}
                // Whoever was deserted may say so before the one that failed says why.
                Ok(Err(CoreFailure::Deserted)) => failure = Some(CoreFailure::Deserted.to_string()),
                // One core alone can serve nobody: the others end as well, without waiting for it.
                Ok(Err(CoreFailure::Own(why))) => {
                    failure = Some(why);
                    break;
                }
                Err(_) => {
                    failure = Some("a core's thread has died".into());
                    break;
                }
            }
        }
        handle.close();
        let _ = watching.join();
        match failure {
            Some(why) => Err(StartError::Core(why)),
            None => {
                for thread in self.threads {
                    let _ = thread.join();
                }
                Ok(())
            }
        }
    }
}
