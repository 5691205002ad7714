//! What every core of a server knows from its start.

use super::data_dir::DataDir;
use super::log_space::LogSpace;
use super::residency::ResidencyClock;
use super::scrub::ScrubCounters;
use super::status::Status;
use super::topology::Topology;
use crate::connection::{AuthPolicy, ConnectionLimits, RequestThrottle};
use hardware::storage::StorageHandle;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16};
use tuning::Config;

/// ZooKeeper's trace mask at start (`ZooTrace`).
const DEFAULT_TRACE_MASK: i64 = 306;

/// Configuration and places, fixed from start to stop.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// Who lives where.
    pub topology: Arc<Topology>,
    /// Bounds and policy of connections.
    pub connection_limits: Arc<ConnectionLimits>,
    /// The storage executor.
    pub storage: StorageHandle,
    /// The clock by which it is remembered which pages are in memory.
    pub residency: Arc<ResidencyClock>,
    /// How many bytes the partition logs take.
    pub log_space: Arc<LogSpace>,
    /// Folder of the partition logs.
    pub partitions: PathBuf,
    /// Folder of the write-ahead log.
    pub wal: PathBuf,
    /// The checkpoint manifest.
    pub manifest: PathBuf,
    /// Random number of the data directory.
    pub directory_id: u64,
    /// What scrubbing has done.
    pub scrub: ScrubCounters,
    /// The port that clients find, once it is open.
    pub port: AtomicU16,
    /// What this server is in its ensemble.
    pub status: Arc<Status>,
    /// `stmk`'s mask: kept and shown, and without effect.
    pub trace_mask: AtomicI64,
}

impl Context {
    /// Gathers it.
    pub fn new(config: &Config, data: &DataDir, topology: &Arc<Topology>, storage: StorageHandle) -> Context {
        Context {
            connection_limits: Arc::new(connection_limits(config)),
            config: config.clone(),
            topology: Arc::clone(topology),
            storage,
            residency: Arc::default(),
            log_space: Arc::new(LogSpace::new(topology.shards(), topology.partitions())),
            partitions: data.partitions(),
            wal: data.wal().to_path_buf(),
            manifest: data.manifest(),
            directory_id: data.identity().directory_id,
            scrub: ScrubCounters::default(),
            port: AtomicU16::new(config.local.client.port),
            status: Arc::default(),
            trace_mask: AtomicI64::new(DEFAULT_TRACE_MASK),
        }
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let (frame, session, auth) = (&config.local.frame, &config.local.session, &config.local.auth);
    let throttle = &config.local.throttle;
    let millis = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
    // Where SASL is required no other scheme will do (`AuthenticationHelper`).
    let enforced =
        if auth.session_require_client_sasl_auth { vec!["sasl".to_owned()] } else { auth.enforce_schemes.clone() };
    ConnectionLimits {
        frame_bytes_max: frame.jute_max_buffer as usize,
        field_bytes_max: frame.field_bytes_max(),
        session_timeout_min_ms: millis(session.timeout_min_ms),
        session_timeout_max_ms: millis(session.timeout_max_ms),
        input_bytes_max: ConnectionLimits::default()
            .input_bytes_max
            .max(2 * frame.jute_max_buffer as usize + (8 << 20)),
        large_request_threshold: frame.large_request_threshold.map(|bytes| bytes as usize),
        throttle: (throttle.request_max > 0).then_some(RequestThrottle {
            wait_max_ms: (throttle.throttled_op_wait_time_ms > 0).then_some(throttle.throttled_op_wait_time_ms.into()),
            notices_stale: throttle.stale_latency_check,
            drops_stale: throttle.drop_stale,
        }),
        auth: AuthPolicy {
            skip_acl: auth.skip_acl,
            digest: auth.digest_enabled.then_some(auth.digest_algorithm),
            super_digest: auth.super_digest.as_deref().map(Into::into),
            enforced_schemes: enforced.into_iter().map(Into::into).collect(),
        },
        ..ConnectionLimits::default()
    }
}
