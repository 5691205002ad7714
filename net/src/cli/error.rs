//! What a command can end with, in zkCli's words (`CliWrapperException.getMessage`, `KeeperException.getMessage`).

use std::fmt;
use zookeeper_client::Error;

/// A message for stderr; the program's exit code is then 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CliError(String);

impl CliError {
    /// An error with this text.
    pub(super) fn new(message: impl Into<String>) -> CliError {
        CliError(message.into())
    }

    /// What `error` is called when it concerns `path`.
    pub(super) fn of(error: &Error, path: &str) -> CliError {
        let about = |what: &str| CliError(format!("{what}{path}"));
        match code_of(error) {
            Some(-101) => about("Node does not exist: "),
            Some(-102) => about("Insufficient permission : "),
            Some(-103) => about("version No is not valid : "),
            Some(-108) => about("Ephemerals cannot have children: "),
            Some(-110) => about("Node already exists: "),
            Some(-111) => about("Node not empty: "),
            Some(-114) => about("Acl is not valid : "),
            Some(-119) => about("Not a read-only call: "),
            Some(-8) => about("Arguments are not valid : "),
            Some(-125) => about("Quota has exceeded : "),
            Some(-14) => {
                CliError::new("Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)")
            }
            Some(-13) => CliError::new(
                "No quorum of new config is connected and up-to-date with the leader of last committed config - try \
                 invoking reconfiguration after new servers are connected and synced",
            ),
            _ => CliError(keeper_message(error, path)),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CliError {}

/// `KeeperErrorCode = <name> for <path>`, or the library's own text where there is no code.
pub(super) fn keeper_message(error: &Error, path: &str) -> String {
    match code_of(error) {
        Some(code) if path.is_empty() => format!("KeeperErrorCode = {}", code_name(code)),
        Some(code) => format!("KeeperErrorCode = {} for {path}", code_name(code)),
        None => error.to_string(),
    }
}

/// The code on the wire that `error` stands for, `None` if it does not come from a server.
pub(super) fn code_of(error: &Error) -> Option<i32> {
    Some(match error {
        Error::RuntimeInconsistent => -2,
        Error::ConnectionLoss | Error::Timeout | Error::NoHosts => -4,
        Error::MarshallingError => -5,
        Error::Unimplemented => -6,
        Error::BadArguments(_) => -8,
        Error::NoNode => -101,
        Error::NoAuth => -102,
        Error::BadVersion => -103,
        Error::NoChildrenForEphemerals => -108,
        Error::NodeExists => -110,
        Error::NotEmpty => -111,
        Error::SessionExpired | Error::ClientClosed => -112,
        Error::InvalidAcl => -114,
        Error::AuthFailed => -115,
        Error::SessionMoved => -118,
        Error::NotReadOnly => -119,
        Error::NoWatcher => -121,
        Error::ReconfigDisabled => -123,
        Error::QuotaExceeded => -125,
        Error::Throttled => -127,
        Error::UnexpectedErrorCode(code) => *code,
        _ => return None,
    })
}

fn code_name(code: i32) -> String {
    let name = match code {
        -1 => "SystemError",
        -2 => "RuntimeInconsistency",
        -3 => "DataInconsistency",
        -4 => "ConnectionLoss",
        -5 => "MarshallingError",
        -6 => "Unimplemented",
        -7 => "OperationTimeout",
        -8 => "BadArguments",
        -13 => "NewConfigNoQuorum",
        -14 => "ReconfigInProgress",
        -100 => "APIError",
        -101 => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        -108 => "NoChildrenForEphemerals",
        -110 => "NodeExists",
        -111 => "Directory not empty",
        -112 => "Session expired",
        -114 => "InvalidACL",
        -115 => "AuthFailed",
        -118 => "Session moved",
        -119 => "Not a read-only call",
        -120 => "Ephemeral node on local session",
        -121 => "No such watcher",
        -123 => "Reconfig is disabled",
        -124 => "Session closed because client failed to authenticate",
        -125 => "Quota has exceeded",
        -127 => "Op throttled due to high load",
        other => return format!("Unknown error {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_zkclis() {
        for (error, message) in [
            (Error::NoNode, "Node does not exist: /x"),
            (Error::NodeExists, "Node already exists: /x"),
            (Error::NotEmpty, "Node not empty: /x"),
            (Error::BadVersion, "version No is not valid : /x"),
            (Error::NoAuth, "Insufficient permission : /x"),
            (Error::InvalidAcl, "Acl is not valid : /x"),
            (Error::UnexpectedErrorCode(-8), "Arguments are not valid : /x"),
            (Error::NoChildrenForEphemerals, "Ephemerals cannot have children: /x"),
            (Error::NotReadOnly, "Not a read-only call: /x"),
            (Error::QuotaExceeded, "Quota has exceeded : /x"),
            (Error::NoWatcher, "KeeperErrorCode = No such watcher for /x"),
            (Error::ConnectionLoss, "KeeperErrorCode = ConnectionLoss for /x"),
            (Error::UnexpectedErrorCode(-42), "KeeperErrorCode = Unknown error -42 for /x"),
        ] {
            assert_eq!(CliError::of(&error, "/x").to_string(), message);
        }
        assert_eq!(CliError::of(&Error::ReconfigDisabled, "").to_string(), "KeeperErrorCode = Reconfig is disabled");
    }
}
