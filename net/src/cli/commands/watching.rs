//! addWatch, removewatches.

use super::super::line::{Flag, Options, flag, valued};
use super::super::path;
use super::super::watches::{Kind, Selection};
use super::{CliError, Command, Context, about, usage};
use zookeeper_client::{AddWatchMode, Error};

/// A command about watches.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Watching {
    Add { path: String, mode: AddWatchMode },
    Remove { path: String, selection: Selection },
}

pub(super) const ADD_WATCH_USAGE: &str = "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - \
                                          default is PERSISTENT_RECURSIVE";

pub(super) fn parse_add_watch(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[valued("m")])?;
    let [_, path] = options.arguments.as_slice() else { return Err(usage("addWatch")) };
    let mode = match options.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        Some(_) => return Err(usage("addWatch")),
    };
    path::validate(path)?;
    Ok(Command::Watching(Watching::Add { path: path.clone(), mode }))
}

pub(super) fn parse_removewatches(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("c"), flag("d"), flag("p"), flag("r"), flag("a"), flag("l")];
    let options = Options::parse(words, FLAGS)?;
    let [_, path, ..] = options.arguments.as_slice() else { return Err(usage("removewatches")) };
    let choices = [
        ("c", Selection::Children),
        ("d", Selection::Data),
        ("p", Selection::Persistent),
        ("r", Selection::PersistentRecursive),
    ];
    let chosen = choices.into_iter().find(|(name, _)| options.has(name));
    path::validate(path)?;
    let selection = chosen.map_or(Selection::Any, |(_, selection)| selection);
    Ok(Command::Watching(Watching::Remove { path: path.clone(), selection }))
}

impl Watching {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Watching::Add { path, mode } => {
                let client = context.client(path).await?;
                let watcher = client.watch(path, *mode).await.map_err(about(path))?;
                let kind = match mode {
                    AddWatchMode::Persistent => Kind::Persistent,
                    AddWatchMode::PersistentRecursive => Kind::PersistentRecursive,
                };
                context.connection.watches().add_persistent(path, kind, watcher);
                Ok(())
            }
            // The library tells the server when a watcher is dropped, so `-l` asks for nothing more.
            Watching::Remove { path, selection } => {
                if context.connection.watches().remove(path, *selection).await {
                    Ok(())
                } else {
                    Err(CliError::of(&Error::NoWatcher, path))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{error, parse};
    use super::*;

    #[test]
    fn modes_and_selections() {
        let expected = |mode| Command::Watching(Watching::Add { path: "/a".into(), mode });
        assert_eq!(parse("addWatch /a").unwrap(), expected(AddWatchMode::PersistentRecursive));
        assert_eq!(parse("addWatch -m persistent /a").unwrap(), expected(AddWatchMode::Persistent));
        assert!(error("addWatch -m FOO /a").starts_with("addWatch [-m mode] path # optional mode"));
        assert!(error("addWatch /a /b").starts_with("addWatch [-m mode]"));
        for (line, selection) in [
            ("removewatches /a", Selection::Any),
            ("removewatches /a -a", Selection::Any),
            ("removewatches /a -c", Selection::Children),
            ("removewatches /a -d -l", Selection::Data),
            ("removewatches -p /a", Selection::Persistent),
            ("removewatches -r /a", Selection::PersistentRecursive),
        ] {
            let expected = Command::Watching(Watching::Remove { path: "/a".into(), selection });
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
    }
}
