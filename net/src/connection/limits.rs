//! What a connection may hold and is held to.

use super::RequestThrottle;
use tuning::config::DigestAlgorithm;

/// Bounds and policy, shared by all connections of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// Longest frame in bytes (`jute.maxbuffer`).
    pub frame_bytes_max: usize,
    /// Longest string or buffer in bytes (`jute.maxbuffer` + `zookeeper.jute.maxbuffer.extrasize`).
    pub field_bytes_max: usize,
    /// Shortest session timeout in milliseconds (`minSessionTimeout`).
    pub session_timeout_min_ms: i32,
    /// Longest session timeout in milliseconds (`maxSessionTimeout`).
    pub session_timeout_max_ms: i32,
    /// Unanswered requests of one connection at which no further one is decoded; at least 1.
    pub outstanding_max: usize,
    /// Bytes of unanswered requests at which no further one is decoded.
    pub outstanding_bytes_max: usize,
    /// Bytes of unsent output (replies that wait for earlier ones included) at which no further request is decoded.
    pub unsent_bytes_max: usize,
    /// Bytes of unsent events at which the connection is given up.
    pub event_backlog_bytes: usize,
    /// Bytes received and not decoded at which the host is asked to receive no more.
    pub input_pause_bytes: usize,
    /// Bytes received and not decoded at which the connection is given up; more than a frame and what the host may
    /// still deliver after it was asked to pause.
    pub input_bytes_max: usize,
    /// Bytes of all results of one multiRead, above which it fails with MARSHALLINGERROR: a frame of a megabyte can
    /// name some 70,000 large nodes.
    pub multi_read_bytes_max: usize,
    /// Requests longer than this count as large (`zookeeper.largeRequestThreshold`); `None` is off.
    pub large_request_threshold: Option<usize>,
    /// How requests wait for their turn (`zookeeper.request_throttle_max_requests`); `None` is off.
    pub throttle: Option<RequestThrottle>,
    /// How clients prove who they are.
    pub auth: AuthPolicy,
}

impl Default for ConnectionLimits {
    /// ZooKeeper's defaults where it has them.
    fn default() -> Self {
        ConnectionLimits {
            frame_bytes_max: 0xF_FFFF,
            field_bytes_max: 2 * 0xF_FFFF,
            session_timeout_min_ms: 4_000,
            session_timeout_max_ms: 40_000,
            outstanding_max: 1_000,
            outstanding_bytes_max: 4 << 20,
            unsent_bytes_max: 1 << 20,
            event_backlog_bytes: 16 << 20,
            input_pause_bytes: 64 << 10,
            input_bytes_max: 32 << 20,
            multi_read_bytes_max: 256 << 20,
            large_request_threshold: None,
            throttle: None,
            auth: AuthPolicy::default(),
        }
    }
}

/// How clients prove who they are, and what follows if they do not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthPolicy {
    /// `zookeeper.skipACL=yes`: every check lets everybody pass.
    pub skip_acl: bool,
    /// Hash of the digest scheme; `None` where the scheme is switched off.
    pub digest: Option<DigestAlgorithm>,
    /// `user:base64(hash)` of the super user, if there is one.
    pub super_digest: Option<Box<str>>,
    /// Schemes of which a connection must have a credential before anything but auth and sasl is answered; empty where
    /// authentication is not enforced.
    pub enforced_schemes: Vec<Box<str>>,
}

impl Default for AuthPolicy {
    fn default() -> Self {
        AuthPolicy {
            skip_acl: false,
            digest: Some(DigestAlgorithm::default()),
            super_digest: None,
            enforced_schemes: Vec::new(),
        }
    }
}
