//! Wire error codes (`KeeperException.Code`), and only those that a server may send.

/// An error as it stands in a reply header. The Java client throws on codes that it does not know, so the list is
/// closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum ErrorCode {
    /// Result of the ops behind the failing one of a multi.
    RuntimeInconsistency = -2,
    /// The request record could not be decoded.
    MarshallingError = -5,
    /// Unknown opcode (the connection is closed behind it), or a type that is switched off.
    Unimplemented = -6,
    /// Bad path, flags, TTL, or a reserved node.
    BadArguments = -8,
    /// reconfig: the new configuration has no connected, synced quorum.
    NewConfigNoQuorum = -13,
    /// reconfig: another one is pending.
    ReconfigInProgress = -14,
    /// The node (or the parent of one to create) does not exist.
    NoNode = -101,
    /// The ACL does not allow it.
    NoAuth = -102,
    /// The version given is not the current one.
    BadVersion = -103,
    /// Ephemerals have no children.
    NoChildrenForEphemerals = -108,
    /// The node exists.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session is closing or has expired.
    SessionExpired = -112,
    /// The ACL given is not valid.
    InvalidAcl = -114,
    /// Authentication failed (the connection is closed behind it).
    AuthFailed = -115,
    /// Another server or connection owns the session. Never sent: the connection is closed instead.
    SessionMoved = -118,
    /// A write on a read-only server.
    NotReadOnly = -119,
    /// An ephemeral on a local session that may not be upgraded.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// `reconfigEnabled` is false.
    ReconfigDisabled = -123,
    /// Authentication is enforced and missing (the connection is closed behind it).
    SessionClosedRequireSaslAuth = -124,
    /// A hard quota would be exceeded.
    QuotaExceeded = -125,
    /// The request waited longer than the throttle allows.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The code with this number, if the server may send it.
    pub fn from_code(code: i32) -> Option<ErrorCode> {
        use ErrorCode::*;
        const ALL: [ErrorCode; 23] = [
            RuntimeInconsistency,
            MarshallingError,
            Unimplemented,
            BadArguments,
            NewConfigNoQuorum,
            ReconfigInProgress,
            NoNode,
            NoAuth,
            BadVersion,
            NoChildrenForEphemerals,
            NodeExists,
            NotEmpty,
            SessionExpired,
            InvalidAcl,
            AuthFailed,
            SessionMoved,
            NotReadOnly,
            EphemeralOnLocalSession,
            NoWatcher,
            ReconfigDisabled,
            SessionClosedRequireSaslAuth,
            QuotaExceeded,
            ThrottledOp,
        ];
        ALL.into_iter().find(|known| known.code() == code)
    }
}
