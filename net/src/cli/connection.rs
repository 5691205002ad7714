//! The session behind the prompt: connecting, its state in zkCli's words, its watches, and its end.

use super::console::Console;
use super::watches::Watches;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zookeeper_client::{Client, Error, SessionState, WatchedEvent};

/// How a session is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ConnectOptions {
    /// `host:port[,host:port...][/chroot]`.
    pub(super) server: String,
    /// The session timeout to ask for, and how long to wait for a connection where waiting is asked for.
    pub(super) timeout: Duration,
    /// Whether a read-only server will do.
    pub(super) read_only: bool,
}

/// One session, from the first attempt to connect until it is closed.
pub(super) struct Connection {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    watches: Arc<Watches>,
    console: Arc<Console>,
}

struct Shared {
    phase: Mutex<Phase>,
    changed: Notify,
}

enum Phase {
    Connecting { failures: u32, last: Option<Error> },
    Up(Client),
    Down(SessionState, Error),
}

/// Between two rounds of attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A close is acknowledged by the server, or else the session expires by itself.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

impl Connection {
    /// Begins to connect and returns at once. Must run within a Tokio runtime.
    pub(super) fn open(options: ConnectOptions, console: Arc<Console>) -> Connection {
        let phase = Mutex::new(Phase::Connecting { failures: 0, last: None });
        let shared = Arc::new(Shared { phase, changed: Notify::new() });
        let task = tokio::spawn(keep_connected(options, shared.clone(), console.clone()));
        Connection { shared, task, watches: Arc::new(Watches::new(console.clone())), console }
    }

    /// The client once it is connected.
    ///
    /// # Errors
    /// Connection loss when the attempt under way fails (all servers were tried once), or why the session is over.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let mut failures_before = None;
        loop {
            let changed = self.shared.changed.notified();
            match &*self.shared.lock() {
                Phase::Up(client) => return Ok(client.clone()),
                Phase::Down(_, error) => return Err(error.clone()),
                Phase::Connecting { failures, last } => {
                    if failures_before.get_or_insert(*failures) != failures {
                        return Err(last.clone().unwrap_or(Error::ConnectionLoss));
                    }
                }
            }
            changed.await;
        }
    }

    /// Waits until the session is up, over as many attempts as it takes.
    ///
    /// # Errors
    /// As [`Connection::client`] once `timeout` has passed, or at once when the session is over.
    pub(super) async fn wait(&self, timeout: Duration) -> Result<(), Error> {
        let up = async {
            loop {
                match self.client().await {
                    Ok(_) => return Ok(()),
                    Err(error) if !self.is_alive() => return Err(error),
                    Err(_) => {}
                }
            }
        };
        tokio::time::timeout(timeout, up).await.unwrap_or(Err(Error::ConnectionLoss))
    }

    /// The state as the prompt shows it (`ZooKeeper.States`).
    pub(super) fn state(&self) -> &'static str {
        let state = match &*self.shared.lock() {
            Phase::Connecting { .. } => return "CONNECTING",
            Phase::Up(client) => client.state(),
            Phase::Down(state, _) => *state,
        };
        match state {
            SessionState::SyncConnected => "CONNECTED",
            SessionState::ConnectedReadOnly => "CONNECTEDREADONLY",
            SessionState::Disconnected => "CONNECTING",
            SessionState::AuthFailed => "AUTH_FAILED",
            SessionState::Expired | SessionState::Closed => "CLOSED",
        }
    }

    /// Whether the session can still be used.
    pub(super) fn is_alive(&self) -> bool {
        match &*self.shared.lock() {
            Phase::Connecting { .. } => true,
            Phase::Up(client) => !client.state().is_terminated(),
            Phase::Down(..) => false,
        }
    }

    /// The watches of this session.
    pub(super) fn watches(&self) -> Arc<Watches> {
        self.watches.clone()
    }

    /// Closes the session and waits until the server has been told.
    pub(super) async fn close(&self) {
        self.task.abort();
        self.watches.forget_all();
        let over = Phase::Down(SessionState::Closed, Error::ClientClosed);
        let before = match &mut *self.shared.lock() {
            Phase::Down(..) => return,
            phase => std::mem::replace(phase, over),
        };
        self.shared.changed.notify_waiters();
        if let Phase::Up(client) = before {
            let mut states = client.state_watcher();
            drop(client);
            let closed = async { while !states.changed().await.is_terminated() {} };
            // Without an answer the session expires by itself.
            let _ = tokio::time::timeout(CLOSE_WAIT, closed).await;
        }
        self.console.event(&session_event(SessionState::Closed));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
        self.watches.forget_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn set(&self, phase: Phase) {
        *self.lock() = phase;
        self.changed.notify_waiters();
    }
}

/// Tries until a session is up, then tells of every change of its state until it is over.
async fn keep_connected(options: ConnectOptions, shared: Arc<Shared>, console: Arc<Console>) {
    let mut failures = 0;
    let client = loop {
        let connector = Client::connector()
            .with_session_timeout(options.timeout)
            .with_readonly(options.read_only)
            .with_fail_eagerly();
        match connector.connect(&options.server).await {
            Ok(client) => break client,
            Err(error @ Error::BadArguments(_)) => return shared.set(Phase::Down(SessionState::Closed, error)),
            Err(error) => {
                failures += 1;
                shared.set(Phase::Connecting { failures, last: Some(error) });
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    };
    let mut states = client.state_watcher();
    console.event(&session_event(client.state()));
    shared.set(Phase::Up(client));
    loop {
        let state = states.changed().await;
        console.event(&session_event(state));
        if state.is_terminated() {
            let error = if state == SessionState::AuthFailed { Error::AuthFailed } else { Error::SessionExpired };
            return shared.set(Phase::Down(state, error));
        }
    }
}

/// A change of the session as Java's `WatchedEvent.toString` has it.
fn session_event(state: SessionState) -> String {
    format!("WatchedEvent state:{state} type:None path:null zxid: {}", WatchedEvent::NO_ZXID)
}
