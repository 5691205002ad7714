//! The command table (`Commands.java`).

use crate::four_letter::{Needs, Word};

/// The method by which a command is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Post,
}

macro_rules! commands {
    ($($variant:ident: $primary:literal $(, $alias:literal)*;)*) => {
        /// A command that the admin server knows.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)]
        pub enum Command { $($variant,)* }

        impl Command {
            /// All of them, sorted by primary name.
            pub const ALL: &'static [Command] = &[$(Command::$variant,)*];

            /// The primary name first, then the aliases.
            pub const fn names(self) -> &'static [&'static str] {
                match self { $(Command::$variant => &[$primary $(, $alias)*],)* }
            }
        }
    };
}

commands! {
    Configuration: "configuration", "conf", "config";
    ConnectionStatReset: "connection_stat_reset", "crst";
    Connections: "connections", "cons";
    Dirs: "dirs";
    Dump: "dump";
    Environment: "environment", "env", "envi";
    GetTraceMask: "get_trace_mask", "gtmk";
    Hash: "hash";
    InitialConfiguration: "initial_configuration", "icfg";
    IsReadOnly: "is_read_only", "isro";
    LastSnapshot: "last_snapshot", "lsnp";
    Leader: "leader", "lead";
    Monitor: "monitor", "mntr";
    ObserverConnectionStatReset: "observer_connection_stat_reset", "orst";
    Observers: "observers", "obsr";
    Restore: "restore", "rest";
    Ruok: "ruok";
    ServerStats: "server_stats", "srvr";
    SetTraceMask: "set_trace_mask", "stmk";
    Snapshot: "snapshot", "snap";
    StatReset: "stat_reset", "srst";
    Stats: "stats", "stat";
    SystemProperties: "system_properties", "sysp";
    VotingView: "voting_view";
    WatchSummary: "watch_summary", "wchs";
    Watches: "watches", "wchc";
    WatchesByPath: "watches_by_path", "wchp";
    ZabState: "zabstate";
}

impl Command {
    /// The command of this name, primary or alias.
    pub fn named(name: &str) -> Option<Command> {
        Self::ALL.iter().copied().find(|command| command.names().contains(&name))
    }

    /// The name under which it answers.
    pub const fn name(self) -> &'static str {
        self.names()[0]
    }

    /// How it is asked for.
    pub const fn method(self) -> Method {
        if matches!(self, Command::Restore) { Method::Post } else { Method::Get }
    }

    /// Whether a server that does not serve clients answers it all the same (`Command.isServerRequired`).
    pub const fn is_answered_always(self) -> bool {
        matches!(
            self,
            Command::Environment
                | Command::GetTraceMask
                | Command::SetTraceMask
                | Command::Monitor
                | Command::SystemProperties
                | Command::ZabState
        )
    }

    /// Whether only those may ask who have every permission on "/" (`AuthRequest`).
    pub const fn is_guarded(self) -> bool {
        matches!(self, Command::Snapshot | Command::Restore)
    }

    /// What is gathered for it.
    pub const fn needs(self) -> Needs {
        match self {
            Command::Connections => Word::Cons.needs(),
            Command::Dirs => Word::Dirs.needs(),
            Command::Dump => Needs { connections: false, ..Word::Dump.needs() },
            Command::Monitor => Word::Mntr.needs(),
            Command::ServerStats => Needs { directory_sizes: true, ..Word::Srvr.needs() },
            Command::Stats => Needs { directory_sizes: true, ..Word::Stat.needs() },
            Command::WatchSummary | Command::Watches | Command::WatchesByPath => Word::Wchs.needs(),
            Command::Snapshot | Command::Restore => Needs { root_acl: true, ..Needs::NOTHING },
            _ => Needs::NOTHING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_the_list_is_sorted() {
        let mut seen = HashSet::new();
        for command in Command::ALL {
            for name in command.names() {
                assert!(seen.insert(name), "{name} twice");
                assert_eq!(Command::named(name), Some(*command));
            }
        }
        assert!(Command::ALL.is_sorted_by_key(|command| command.name()));
        assert_eq!(Command::named("nosuch"), None);
    }
}
