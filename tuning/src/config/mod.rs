//! The configuration once all settings are known: what the members of an ensemble must share, and what each may choose.

pub mod member;
mod membership;
pub(crate) mod reader;
pub(crate) mod resolve;
pub mod values;

pub use member::{Member, Role};
pub use values::{DigestAlgorithm, FourLetterWhitelist, LogFormat, LogLevel};

use crate::core_plan::Pinning;
use std::path::PathBuf;

/// A validated configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// What all members of an ensemble must agree on.
    pub ensemble: EnsembleConfig,
    /// What this server may choose for itself.
    pub local: LocalConfig,
}

/// Settings that only work when every member has the same.
#[derive(Clone, PartialEq, Debug)]
pub struct EnsembleConfig {
    /// `tickTime`, milliseconds: width of a session bucket and unit of the limits below. 3000 with a `zoo.cfg` that does
    /// not set it, 2000 (as in ZooKeeper's sample file) when the server runs without one.
    pub tick_time_ms: u32,
    /// `initLimit`, ticks that a follower may take to connect and synchronise. 0 when not set.
    pub init_limit_ticks: u32,
    /// `syncLimit`, ticks that a follower may lag behind. 0 when not set.
    pub sync_limit_ticks: u32,
    /// `connectToLearnerMasterLimit`, ticks; 0 means `init_limit_ticks`.
    pub connect_to_learner_master_limit_ticks: u32,
    /// The members; empty for a lone server without `server.N`.
    pub members: Vec<Member>,
    /// The lines `server.N`, `group.N` and `weight.N` as they stand, keys and values.
    pub lines: Vec<(String, String)>,
    /// Version of the members' configuration: the hexadecimal end of the dynamic file's name, 0 without one.
    pub version: i64,
    /// Whether `dynamicConfigFile` names the file that the lines stand in.
    pub has_dynamic_file: bool,
    /// The `zoo.cfg` that was read: changes of the members go into it and into files beside it.
    pub config_file: Option<PathBuf>,
    /// `standaloneEnabled`: false makes a single server an ensemble of one member.
    pub standalone_enabled: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `zookeeper.forceSnapshotSync`: learners always get a snapshot.
    pub force_snapshot_sync: bool,
    /// `zookeeper.snapshotSizeFactor`: a learner that lags gets the log as long as that is at most this share of a
    /// snapshot; 0 means always, less than 0 never.
    pub snapshot_size_factor: f64,
    /// `quorumListenOnAllIPs`: both ports on every address of this machine.
    pub listen_on_all_addresses: bool,
    /// `zookeeper.tcpKeepAlive`: the kernel probes idle connections between members.
    pub tcp_keep_alive: bool,
    /// `zookeeper.electionPortBindRetry`: tries to open the election port, a second apart; 0 for any number.
    pub election_port_bind_tries: u32,
    /// `zookeeper.cnxTimeout`, milliseconds: how long a connection to another election port may take.
    pub connect_timeout_ms: u32,
    /// `zookeeper.fastleader.minNotificationInterval` and `...maxNotificationInterval`, milliseconds.
    pub notification_interval_ms: (u32, u32),
}

impl EnsembleConfig {
    /// Whether this server is one of several, or takes part in elections although it is alone
    /// (`QuorumPeerConfig.isDistributed`).
    pub fn is_distributed(&self) -> bool {
        self.members.len() > 1 || (self.members.len() == 1 && !self.standalone_enabled)
    }
}

/// Settings of this server alone.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalConfig {
    /// This server's number (`myid`), if it has one.
    pub server_id: Option<i64>,
    /// What it is in its ensemble.
    pub role: Role,
    /// Directories, log and durability.
    pub storage: StorageConfig,
    /// The client port and what may connect to it.
    pub client: ClientConfig,
    /// Session timeouts and local sessions.
    pub session: SessionConfig,
    /// Sizes of frames and large requests.
    pub frame: FrameConfig,
    /// Flow control.
    pub throttle: ThrottleConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Node types, quotas and reaping.
    pub nodes: NodesConfig,
    /// Four-letter words and the HTTP server.
    pub admin: AdminConfig,
    /// Cores, partitions and logging.
    pub host: HostConfig,
}

/// Where data lies and how it is made durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageConfig {
    /// `dataDir`. `./ringkeeper-data` when the server runs without a `zoo.cfg`.
    pub data_dir: PathBuf,
    /// `dataLogDir`: where the transaction log lies; `data_dir` unless set. A disk of its own keeps checkpoints out of
    /// the way of flushes.
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: whether missing directories are made at start.
    pub data_dir_autocreate: bool,
    /// `snapCount`: transactions between two checkpoints.
    pub snap_count: u32,
    /// `preAllocSize` in bytes, kept for display; segments are sized by `wal_segment_bytes`.
    pub pre_alloc_bytes: u64,
    /// `walSegmentBytes`: size of one segment of the transaction log, a multiple of 4096. One segment is written and one
    /// stands prepared, so twice this is allocated on an idle server.
    pub wal_segment_bytes: u64,
    /// `scrubRate`: how fast files are read again in search of decay, in bytes per second; 0 is never.
    pub scrub_rate: u64,
    /// `scrubIntervalMs`: time from one beginning of that to the next, in milliseconds; also from the start to the first.
    pub scrub_interval_ms: u64,
    /// `forceSync`: false acknowledges before the disk has it. A crash then loses acknowledged writes.
    pub force_sync: bool,
    /// `fsync.warningthresholdms`: a flush slower than this is named in the log.
    pub fsync_warning_threshold_ms: u64,
    /// `autopurge.snapRetainCount`, at least 3: a member keeps as many times `snap_count` transactions in its log for
    /// followers that lag.
    pub autopurge_snap_retain_count: u32,
    /// `autopurge.purgeInterval` in milliseconds; 0 is off.
    pub autopurge_purge_interval_ms: u64,
}

/// The client port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// `clientPort`. 0 lets the system choose one.
    pub port: u16,
    /// `clientPortAddress`: an address literal or a host name, which whoever binds resolves; `None` means every address
    /// (also for `0.0.0.0` and `::`, as in Java).
    pub address: Option<String>,
    /// `clientPortListenBacklog`; `None` leaves it to the server (-1 in the file).
    pub listen_backlog: Option<u32>,
    /// `maxClientCnxns`: connections from one address; 0 means no limit.
    pub max_client_cnxns: u32,
    /// `maxCnxns`: connections in all; 0 means no limit.
    pub max_cnxns: u32,
    /// `nio.sessionlessCnxnTimeout`: how long a connection may stay without a session.
    pub sessionless_timeout_ms: u32,
    /// `clientTcpKeepAlive`.
    pub tcp_keep_alive: bool,
}

/// Sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionConfig {
    /// `minSessionTimeout`; two ticks unless set.
    pub timeout_min_ms: u32,
    /// `maxSessionTimeout`; twenty ticks unless set.
    pub timeout_max_ms: u32,
    /// `localSessionsEnabled`.
    pub local_enabled: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_upgrading_enabled: bool,
    /// `readonlymode.enabled`.
    pub read_only_mode_enabled: bool,
    /// `closeSessionTxn.enabled`.
    pub close_session_txn_enabled: bool,
}

/// Sizes that a client's frames must keep to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameConfig {
    /// `jute.maxbuffer`: longest request frame, bytes. Each connection may make the server buffer this much.
    pub jute_max_buffer: u32,
    /// `jute.maxbuffer.extrasize`: added to the above for strings and buffers within a record, bytes.
    pub jute_max_buffer_extra: u32,
    /// `largeRequestThreshold`: a request longer than this counts as large, bytes; `None` is off.
    pub large_request_threshold: Option<u32>,
    /// `largeRequestMaxBytes`: sum of large requests in flight, bytes.
    pub large_request_max_bytes: u32,
}

impl FrameConfig {
    /// Longest string or buffer within a record, bytes; capped at 2^31-1 as in ZooKeeper.
    pub fn field_bytes_max(&self) -> usize {
        (self.jute_max_buffer as usize + self.jute_max_buffer_extra as usize).min(i32::MAX as usize)
    }
}

/// Flow control of requests and of new connections.
#[derive(Clone, PartialEq, Debug)]
pub struct ThrottleConfig {
    /// `globalOutstandingLimit`: requests queued or in process beyond which connections are not read on.
    pub global_outstanding_limit: u32,
    /// `request_throttle_max_requests`: cap of requests in process; 0 is off.
    pub request_max: u32,
    /// `request_throttle_stall_time`: how long a throttled request waits before another look.
    pub stall_time_ms: u32,
    /// `request_throttle_drop_stale`.
    pub drop_stale: bool,
    /// `request_stale_connection_check`: a request of a closed connection is stale.
    pub stale_connection_check: bool,
    /// `request_stale_latency_check`: a request older than its session timeout is stale.
    pub stale_latency_check: bool,
    /// `throttled_op_wait_time`: waiting longer ends with THROTTLEDOP; 0 is off.
    pub throttled_op_wait_time_ms: u32,
    /// `request_throttler.shutdownTimeout`: how long shutdown waits for requests in process.
    pub shutdown_timeout_ms: u32,
    /// The token bucket on new sessions.
    pub connection: ConnectionThrottleConfig,
}

/// `connection_throttle_*`: a token bucket on ConnectRequests, with optional weights and probabilistic drop (BLUE).
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectionThrottleConfig {
    /// `connection_throttle_tokens`; 0 is off.
    pub tokens: u32,
    /// `connection_throttle_fill_time`.
    pub fill_time_ms: u32,
    /// `connection_throttle_fill_count`: tokens added per fill time.
    pub fill_count: u32,
    /// `connection_throttle_freeze_time`: between two changes of the drop probability; `None` (-1) is off.
    pub freeze_time_ms: Option<u32>,
    /// `connection_throttle_drop_increase`, a probability.
    pub drop_increase: f64,
    /// `connection_throttle_drop_decrease`, a probability.
    pub drop_decrease: f64,
    /// `connection_throttle_decrease_ratio`: share of free tokens from which the probability falls.
    pub decrease_ratio: f64,
    /// `connection_throttle_weight_enabled`.
    pub weight_enabled: bool,
    /// `connection_throttle_global_session_weight`, tokens.
    pub global_session_weight: u32,
    /// `connection_throttle_renew_session_weight`, tokens.
    pub renew_session_weight: u32,
    /// `connection_throttle_local_session_weight`, tokens.
    pub local_session_weight: u32,
}

/// Authentication and access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthConfig {
    /// `enableEagerACLCheck`: a member looks at ACLs before it forwards a write.
    pub eager_acl_check: bool,
    /// `skipACL=yes`: every access is allowed.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled`.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`, `super:<base64>`.
    pub super_digest: Option<String>,
    /// `enforce.auth.schemes` if `enforce.auth.enabled`; empty means that authentication is not enforced.
    pub enforce_schemes: Vec<String>,
    /// `sessionRequireClientSASLAuth`.
    pub session_require_client_sasl_auth: bool,
    /// `allowSaslFailedClients`.
    pub allow_sasl_failed_clients: bool,
}

/// Node types, quotas, reaping, digests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodesConfig {
    /// `extendedTypesEnabled`: allows TTL nodes.
    pub extended_types_enabled: bool,
    /// `emulate353TTLNodes`.
    pub emulate_353_ttl_nodes: bool,
    /// `enforceQuota`: hard quotas refuse writes.
    pub enforce_quota: bool,
    /// `digest.enabled`: running digest of the tree.
    pub digest_enabled: bool,
    /// `znode.container.checkIntervalMs`.
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`: deletions of containers and TTL nodes.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 keeps containers that never had a child.
    pub container_max_never_used_interval_ms: u64,
}

/// The operator's ways in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminConfig {
    /// `4lw.commands.whitelist`.
    pub four_letter_words: FourLetterWhitelist,
    /// `admin.enableServer`: whether there is an HTTP server.
    pub http_enabled: bool,
    /// `admin.serverAddress`: an address literal or a host name, which whoever binds resolves.
    pub http_address: String,
    /// `admin.serverPort`. 0 lets the system choose one.
    pub http_port: u16,
    /// `admin.idleTimeout`, milliseconds; 0 is for ever.
    pub http_idle_timeout_ms: u32,
    /// `admin.commandURL`, with a slash at its beginning and none at its end; below it are the commands.
    pub http_command_url: String,
    /// The settings that ZooKeeper holds as system properties, by the names of those, sorted, without secrets.
    pub properties: Vec<(String, String)>,
}

/// How this server uses its machine. None of these keys exists in ZooKeeper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostConfig {
    /// `shardCores`: threads that each own partitions and connections; `None` (0 or `auto`) follows the machine. More
    /// than the machine has cores share them.
    pub shard_cores: Option<u16>,
    /// `partitions`: a power of two, fixed when the data directory is made. 64 unless set.
    pub partitions: u32,
    /// `pinCores`: whether threads are bound to their cores; `auto` unless set.
    pub pin_cores: Pinning,
    /// `spinMicros`: how long a core polls before it sleeps while something is in flight. Costs CPU, saves a wake-up.
    pub spin_us: u32,
    /// `logLevel`.
    pub log_level: LogLevel,
    /// `logFormat`.
    pub log_format: LogFormat,
}
