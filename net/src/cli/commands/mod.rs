//! The commands, one file per family: a table, and for each command how its words are read and what it then does.
//!
//! Reading is apart from doing: `parse` turns words into a value that says what is wanted, and only `run` talks to a
//! server.

mod access;
mod ensemble;
mod quota;
mod reading;
mod watching;
mod writing;

use super::connection::Connection;
use super::console::Console;
use super::date::TimeZone;
use super::error::CliError;
use zookeeper_client::{Client, Error};

/// One command of the table.
pub(super) struct Spec {
    /// The word that calls it; case matters.
    pub(super) name: &'static str,
    /// Its options and arguments, as the usage text has them.
    pub(super) usage: &'static str,
    /// What its options mean, told with a wrong call.
    details: &'static str,
    parse: fn(&[String]) -> Result<Command, CliError>,
}

/// A command whose words made sense.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Command {
    Writing(writing::Writing),
    Reading(reading::Reading),
    Access(access::Access),
    Quota(quota::Quota),
    Watching(watching::Watching),
    Ensemble(ensemble::Ensemble),
}

/// What a command works with.
pub(super) struct Context<'a> {
    /// The session.
    pub(super) connection: &'a Connection,
    /// Where its output goes.
    pub(super) console: &'a Console,
    /// The zone in which dates are shown.
    pub(super) zone: &'a TimeZone,
}

/// All commands that need a session, in the order of the usage text.
pub(super) const TABLE: &[Spec] = &[
    spec("addWatch", watching::ADD_WATCH_USAGE, watching::parse_add_watch),
    spec("addauth", "scheme auth", access::parse_addauth),
    spec("config", "[-c] [-w] [-s]", ensemble::parse_config),
    spec("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", writing::parse_create),
    spec("delete", "[-v version] path", writing::parse_delete),
    spec("deleteall", "path [-b batch size]", writing::parse_deleteall),
    spec("delquota", "[-n|-b|-N|-B] path", quota::parse_delquota),
    Spec { details: reading::GET_DETAILS, ..spec("get", "[-s] [-w] [-b] [-x] path", reading::parse_get) },
    spec("getAcl", "[-s] path", access::parse_get_acl),
    spec("getAllChildrenNumber", "path", reading::parse_get_all_children_number),
    spec("getEphemerals", "path", reading::parse_get_ephemerals),
    spec("listquota", "path", quota::parse_listquota),
    spec("ls", "[-s] [-w] [-R] path", reading::parse_ls),
    spec("reconfig", ensemble::RECONFIG_USAGE, ensemble::parse_reconfig),
    spec("removewatches", "path [-c|-d|-a] [-l]", watching::parse_removewatches),
    Spec { details: writing::SET_DETAILS, ..spec("set", "path data [-s] [-v version] [-b]", writing::parse_set) },
    spec("setAcl", "[-s] [-v version] [-R] path acl", access::parse_set_acl),
    spec("setquota", "-n|-b|-N|-B val path", quota::parse_setquota),
    spec("stat", "[-w] path", reading::parse_stat),
    spec("sync", "path", reading::parse_sync),
    spec("version", "", ensemble::parse_version),
    spec("whoami", "", access::parse_whoami),
];

/// The entry of `name`.
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.name == name)
}

impl Spec {
    /// Reads the words of a call, the command itself first.
    pub(super) fn parse(&self, words: &[String]) -> Result<Command, CliError> {
        (self.parse)(words)
    }
}

impl Command {
    /// Does what is wanted.
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Command::Writing(command) => command.run(context).await,
            Command::Reading(command) => command.run(context).await,
            Command::Access(command) => command.run(context).await,
            Command::Quota(command) => command.run(context).await,
            Command::Watching(command) => command.run(context).await,
            Command::Ensemble(command) => command.run(context).await,
        }
    }
}

impl Context<'_> {
    /// The connected client; `path` is what an error is about.
    async fn client(&self, path: &str) -> Result<Client, CliError> {
        self.connection.client().await.map_err(|error| CliError::of(&error, path))
    }

    fn stat(&self, stat: &zookeeper_client::Stat) {
        self.console.out(&super::stat_text::stat_block(stat, self.zone));
    }
}

const fn spec(name: &'static str, usage: &'static str, parse: fn(&[String]) -> Result<Command, CliError>) -> Spec {
    Spec { name, usage, details: "", parse }
}

/// The error of a call with too few words.
fn usage(name: &str) -> CliError {
    let spec = find(name);
    let (usage, details) = spec.map_or(("", ""), |spec| (spec.usage, spec.details));
    let separator = if details.is_empty() { "" } else { "\n" };
    CliError::new(format!("{name} {usage}{separator}{details}"))
}

/// Turns an error of the library into one about `path`.
fn about(path: &str) -> impl Fn(Error) -> CliError + '_ {
    move |error| CliError::of(&error, path)
}

#[cfg(test)]
pub(super) mod testing {
    //! What the tests of every family need.
    use super::*;

    /// Parses a line.
    pub(in super::super) fn parse(line: &str) -> Result<Command, CliError> {
        let words = super::super::line::words(line);
        find(&words[0]).expect("a known command").parse(&words)
    }

    /// The text of the error that a line leads to.
    pub(in super::super) fn error(line: &str) -> String {
        parse(line).err().map_or_else(|| format!("{line} is accepted"), |error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_as_java_sorts() {
        assert!(TABLE.is_sorted_by_key(|spec| spec.name));
    }

    #[test]
    fn too_few_words_end_with_the_usage() {
        for (line, expected) in [
            ("create", "create [-s] [-e] [-c] [-t ttl] path [data] [acl]"),
            ("delete", "delete [-v version] path"),
            ("deleteall", "deleteall path [-b batch size]"),
            ("stat", "stat [-w] path"),
            ("ls", "ls [-s] [-w] [-R] path"),
            ("sync", "sync path"),
            ("setAcl /a", "setAcl [-s] [-v version] [-R] path acl"),
            ("listquota", "listquota path"),
            ("addauth", "addauth scheme auth"),
            ("version x", "version "),
            ("getAllChildrenNumber", "getAllChildrenNumber path"),
            ("removewatches", "removewatches path [-c|-d|-a] [-l]"),
        ] {
            assert_eq!(testing::error(line), expected);
        }
        assert!(testing::error("get").starts_with("get [-s] [-w] [-b] [-x] path\n -b   Output"));
        assert!(testing::error("set /a").starts_with("set path data [-s] [-v version] [-b]\n -b         Supply"));
    }
}
