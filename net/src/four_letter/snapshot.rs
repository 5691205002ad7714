//! What the host gathers about a server before a question is answered.

use crate::connection::{ConnectionInfo, Serving};
use crate::metrics::CoreMetrics;
use engine::acl::AclList;
use engine::ids::{ConnId, CoreId, SessionId};
use engine::zxid::Zxid;
use std::sync::Arc;

/// The release of Apache ZooKeeper whose client plane this server has.
const BASELINE: &str = "3.9.4";

/// The version as every command shows it: `3.9.4-ringkeeper-0.1.0, built on 2026-11-21 09:00 UTC`. Tools split it at
/// the first dash and read three numbers.
pub fn version_text(built_on: &str) -> String {
    format!("{BASELINE}-ringkeeper-{}, built on {built_on}", env!("CARGO_PKG_VERSION"))
}

/// What the server is in its ensemble (`ServerStats.getServerState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ServerState {
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl ServerState {
    /// As `srvr` and `mntr` show it.
    pub const fn name(self) -> &'static str {
        match self {
            ServerState::Standalone => "standalone",
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Observer => "observer",
            ServerState::ReadOnly => "read-only",
        }
    }
}

/// The state of a server at one moment. What is not [needed](super::Word::needs) may be left empty.
#[derive(Clone, Debug)]
pub struct ServerSnapshot {
    /// [`version_text`].
    pub version: String,
    /// Whether clients are served.
    pub serving: Serving,
    /// What the server is.
    pub state: ServerState,
    /// In an ensemble, what it is doing: `following - broadcast`.
    pub peer_state: Option<String>,
    /// Milliseconds since the epoch.
    pub now_wall_ms: i64,
    /// The same moment on the cores' monotonic clock.
    pub now_mono_ms: i64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// The last zxid processed.
    pub last_zxid: Zxid,
    /// Connections, those that ask included.
    pub connection_count: u64,
    /// Requests that are not answered.
    pub outstanding: u64,
    /// Znodes as ZooKeeper counts them: the root twice.
    pub node_count: u64,
    /// Watches in both tables.
    pub watch_count: u64,
    /// Ephemeral nodes.
    pub ephemeral_count: u64,
    /// Bytes of paths and data.
    pub approximate_data_bytes: u64,
    /// Sessions that the whole ensemble knows.
    pub global_sessions: u64,
    /// Sessions that only this server knows.
    pub local_sessions: u64,
    /// Open files of the process.
    pub open_files: u64,
    /// The most that it may open.
    pub open_files_max: u64,
    /// Figures of ensembles.
    pub ensemble: Option<EnsembleGauges>,
    /// Figures of quotas.
    pub quotas: Vec<QuotaFigures>,
    /// The cores' metrics, merged.
    pub metrics: CoreMetrics,
    /// Sizes of the directories.
    pub directory_sizes: DirectorySizes,
    /// Configuration.
    pub conf: ConfFacts,
    /// [`EnvironmentFacts::pairs`].
    pub environment: Vec<(String, String)>,
    /// Connections, in no particular order.
    pub connections: Vec<ConnectionInfo>,
    /// Sessions and when they expire.
    pub sessions: Vec<SessionDeadline>,
    /// Ephemerals by session; sessions without any do not appear.
    pub ephemerals: Vec<(SessionId, Vec<Arc<str>>)>,
    /// The data table of watches.
    pub watches: Vec<WatchedPath>,
    /// Digests of the tree at the zxids where they were taken.
    pub digests: Vec<(Zxid, u64)>,
    /// The ACL of "/".
    pub root_acl: AclList,
    /// The trace mask, which changes nothing and is kept for those who set it.
    pub trace_mask: i64,
}

impl ServerSnapshot {
    /// A moment of the cores' monotonic clock in milliseconds since the epoch.
    pub fn wall_ms(&self, mono_ms: i64) -> i64 {
        self.now_wall_ms + (mono_ms - self.now_mono_ms)
    }
}

/// What `envi` can say of the process and its machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentFacts {
    /// The machine's name.
    pub host_name: String,
    /// Release of the kernel.
    pub os_version: String,
    /// Who runs the process.
    pub user_name: String,
    /// Their home directory.
    pub user_home: String,
    /// The working directory.
    pub user_dir: String,
    /// Bytes of memory that are free, that may be used, and that are used.
    pub memory_free_max_total: [u64; 3],
}

impl EnvironmentFacts {
    /// The pairs of `envi`, in ZooKeeper's order. What only a Java process has is `<NA>`, which is what Java itself
    /// says of a property that is not there.
    pub fn pairs(&self, version: &str) -> Vec<(String, String)> {
        const NOT_AVAILABLE: &str = "<NA>";
        let [free, max, total] = self.memory_free_max_total.map(|bytes| format!("{}MB", bytes >> 20));
        let pairs = [
            ("zookeeper.version", version),
            ("host.name", &self.host_name),
            ("java.version", NOT_AVAILABLE),
            ("java.vendor", NOT_AVAILABLE),
            ("java.home", NOT_AVAILABLE),
            ("java.class.path", NOT_AVAILABLE),
            ("java.library.path", NOT_AVAILABLE),
            ("java.io.tmpdir", NOT_AVAILABLE),
            ("java.compiler", NOT_AVAILABLE),
            ("os.name", "Linux"),
            ("os.arch", std::env::consts::ARCH),
            ("os.version", &self.os_version),
            ("user.name", &self.user_name),
            ("user.home", &self.user_home),
            ("user.dir", &self.user_dir),
            ("os.memory.free", &free),
            ("os.memory.max", &max),
            ("os.memory.total", &total),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }
}

/// Bytes on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DirectorySizes {
    /// Of the data directory.
    pub data: u64,
    /// Of the log directory.
    pub log: u64,
}

/// Last, smallest and largest of a size in bytes; -1 before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct SizeRange {
    pub last: i64,
    pub min: i64,
    pub max: i64,
}

/// Gauges that only servers in an ensemble have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnsembleGauges {
    /// Voters.
    pub quorum_size: u64,
    /// Observers that follow this server.
    pub synced_observers: u64,
    /// What only a leader has.
    pub leader: Option<LeaderGauges>,
}

/// Gauges that only a leader has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderGauges {
    /// Learners connected.
    pub learners: u64,
    /// Followers in step.
    pub synced_followers: u64,
    /// Followers in step that do not vote.
    pub synced_non_voting_followers: u64,
    /// Syncs that wait.
    pub pending_syncs: u64,
    /// Milliseconds of leadership.
    pub uptime_ms: u64,
    /// Sizes of proposals.
    pub proposals: SizeRange,
}

/// Quota limits and usage of one namespace: the first component of the paths below it. -1 is no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct QuotaFigures {
    pub namespace: String,
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_usage: i64,
    pub bytes_usage: i64,
    /// Writes that were refused or warned about.
    pub exceeded: u64,
}

/// What `conf` shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfFacts {
    /// Port for clients.
    pub client_port: i32,
    /// Port for clients over TLS; -1 for none.
    pub secure_client_port: i32,
    /// Data directory, absolute.
    pub data_dir: String,
    /// Log directory, absolute.
    pub data_log_dir: String,
    /// Milliseconds of a tick.
    pub tick_time_ms: u32,
    /// Connections per address; 0 for any number.
    pub max_client_cnxns: u32,
    /// Shortest session timeout in milliseconds.
    pub session_timeout_min_ms: i32,
    /// Longest session timeout in milliseconds.
    pub session_timeout_max_ms: i32,
    /// Backlog of the listening socket; -1 for the system's own.
    pub listen_backlog: i32,
    /// `myid`; 0 for a lone server.
    pub server_id: i64,
    /// Milliseconds after which a connection without a session is closed.
    pub sessionless_timeout_ms: u32,
    /// What ensembles add.
    pub ensemble: Option<EnsembleConf>,
}

/// The part of `conf` that only servers in an ensemble show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnsembleConf {
    /// Ticks that a learner has to join.
    pub init_limit: u32,
    /// Ticks that it may lag.
    pub sync_limit: u32,
    /// Election ports, joined by `|`.
    pub election_ports: String,
    /// Quorum ports, joined by `|`.
    pub quorum_ports: String,
    /// Whether this server is an observer.
    pub is_observer: bool,
    /// The membership as the configuration node holds it.
    pub membership: String,
}

/// A session and when it expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionDeadline {
    /// The session.
    pub session: SessionId,
    /// When, in milliseconds of the cores' monotonic clock, rounded up to a tick as expiry is.
    pub expires_mono_ms: i64,
    /// Its timeout in milliseconds.
    pub timeout_ms: i32,
    /// Whether only this server knows it.
    pub is_local: bool,
}

/// A watch in the data table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WatchedPath {
    /// Core of the connection.
    pub core: CoreId,
    /// The connection, since two of them may have had the same session.
    pub conn: ConnId,
    /// Its session.
    pub session: SessionId,
    /// The path.
    pub path: Arc<str>,
}
