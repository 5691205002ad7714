//! get, ls, stat, sync, getAllChildrenNumber, getEphemerals.

use super::super::line::{Flag, Options, flag};
use super::super::watches::Kind;
use super::super::{path, stat_text};
use super::{CliError, Command, Context, about, usage};
use base64::Engine;
use std::time::Duration;
use zookeeper_client::{Client, Error};

/// A command that reads nodes.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Reading {
    Get { path: String, form: Form, watch: bool, with_stat: bool, is_deprecated: bool },
    Ls { path: Option<String>, watch: bool, with_stat: bool, recurse: bool, help: bool, is_deprecated: bool },
    Stat { path: String, watch: bool, is_deprecated: bool },
    Sync { path: String },
    CountDescendants { path: String },
    Ephemerals { path: String },
}

/// How data is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Form {
    Plain,
    Base64,
    HexDump,
}

/// The options of get, told with a wrong call.
pub(super) const GET_DETAILS: &str = " -b   Output data in base64 format\n -s   Print znode stats additionally\n -w   \
                                      Watch for changes on the znode\n -x   Output data in hexdump format";

const LS_HELP: &str = "usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n -w   watch";
/// How long a sync may take.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn parse_get(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("s"), flag("w"), flag("b"), flag("x")];
    let options = Options::parse(words, FLAGS)?;
    let [_, path, rest @ ..] = options.arguments.as_slice() else { return Err(usage("get")) };
    path::validate(path)?;
    let form = match (options.has("x"), options.has("b")) {
        (true, _) => Form::HexDump,
        (false, true) => Form::Base64,
        (false, false) => Form::Plain,
    };
    let is_deprecated = !rest.is_empty();
    Ok(Command::Reading(Reading::Get {
        path: path.clone(),
        form,
        watch: options.has("w") || is_deprecated,
        with_stat: options.has("s"),
        is_deprecated,
    }))
}

pub(super) fn parse_ls(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("?"), flag("s"), flag("w"), flag("R")];
    let options = Options::parse(words, FLAGS)?;
    let path = options.arguments.get(1).cloned();
    let is_deprecated = options.arguments.len() > 2;
    match &path {
        Some(path) => path::validate(path)?,
        None if !options.has("?") => return Err(usage("ls")),
        None => {}
    }
    Ok(Command::Reading(Reading::Ls {
        path,
        watch: options.has("w") || is_deprecated,
        with_stat: options.has("s"),
        recurse: options.has("R"),
        help: options.has("?"),
        is_deprecated,
    }))
}

pub(super) fn parse_stat(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[flag("w")])?;
    let [_, path, rest @ ..] = options.arguments.as_slice() else { return Err(usage("stat")) };
    path::validate(path)?;
    let is_deprecated = !rest.is_empty();
    let watch = options.has("w") || is_deprecated;
    Ok(Command::Reading(Reading::Stat { path: path.clone(), watch, is_deprecated }))
}

pub(super) fn parse_sync(words: &[String]) -> Result<Command, CliError> {
    Ok(Command::Reading(Reading::Sync { path: only_path(words, "sync")? }))
}

pub(super) fn parse_get_all_children_number(words: &[String]) -> Result<Command, CliError> {
    Ok(Command::Reading(Reading::CountDescendants { path: only_path(words, "getAllChildrenNumber")? }))
}

pub(super) fn parse_get_ephemerals(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[])?;
    let path = options.arguments.get(1).map_or("/", String::as_str);
    path::validate(path)?;
    Ok(Command::Reading(Reading::Ephemerals { path: path.to_owned() }))
}

fn only_path(words: &[String], name: &str) -> Result<String, CliError> {
    let options = Options::parse(words, &[])?;
    let path = options.arguments.get(1).ok_or_else(|| usage(name))?;
    path::validate(path)?;
    Ok(path.clone())
}

impl Reading {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Reading::Get { path, form, watch, with_stat, is_deprecated } => {
                if *is_deprecated {
                    let message = "'get path [watch]' has been deprecated. Please use 'get [-s] [-w] path' instead.";
                    context.console.err(message);
                }
                get(context, path, *form, *watch, *with_stat).await
            }
            Reading::Ls { path, watch, with_stat, recurse, help, is_deprecated } => {
                if *help {
                    context.console.out(LS_HELP);
                }
                if *is_deprecated {
                    let message = "'ls path [watch]' has been deprecated. Please use 'ls [-w] path' instead.";
                    context.console.err(message);
                }
                let path = path.as_ref().ok_or_else(|| usage("ls"))?;
                let client = context.client(path).await?;
                if *recurse {
                    list_tree(context, &client, path, *watch).await
                } else {
                    list(context, &client, path, *watch, *with_stat).await
                }
            }
            Reading::Stat { path, watch, is_deprecated } => {
                if *is_deprecated {
                    let message = "'stat path [watch]' has been deprecated. Please use 'stat [-w] path' instead.";
                    context.console.err(message);
                }
                stat(context, path, *watch).await
            }
            Reading::Sync { path } => sync(context, path).await,
            Reading::CountDescendants { path } => {
                let client = context.client(path).await?;
                let count = client.count_descendants_number(path).await.map_err(about(path))?;
                context.console.out(&count.to_string());
                Ok(())
            }
            Reading::Ephemerals { path } => {
                let client = context.client(path).await?;
                let paths = client.list_ephemerals(path).await.map_err(about(path))?;
                context.console.out(&format!("[{}]", paths.join(", ")));
                Ok(())
            }
        }
    }
}

async fn get(context: &Context<'_>, path: &str, form: Form, watch: bool, with_stat: bool) -> Result<(), CliError> {
    let client = context.client(path).await?;
    let (data, stat) = if watch {
        let (data, stat, watcher) = client.get_and_watch_data(path).await.map_err(about(path))?;
        context.connection.watches().add_oneshot(path, Kind::Data, watcher);
        (data, stat)
    } else {
        client.get_data(path).await.map_err(about(path))?
    };
    match form {
        Form::Plain => context.console.out_bytes(&data),
        Form::Base64 => context.console.out(&base64::engine::general_purpose::STANDARD.encode(&data)),
        Form::HexDump => context.console.out(&stat_text::hex_dump(&data)),
    }
    if with_stat {
        context.stat(&stat);
    }
    Ok(())
}

async fn list(
    context: &Context<'_>,
    client: &Client,
    path: &str,
    watch: bool,
    with_stat: bool,
) -> Result<(), CliError> {
    let (mut children, stat) = if watch {
        let (children, stat, watcher) = client.get_and_watch_children(path).await.map_err(about(path))?;
        context.connection.watches().add_oneshot(path, Kind::Children, watcher);
        (children, stat)
    } else {
        client.get_children(path).await.map_err(about(path))?
    };
    children.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    context.console.out(&format!("[{}]", children.join(", ")));
    if with_stat {
        context.stat(&stat);
    }
    Ok(())
}

/// One path a line: a node's children, then each child's tree (`ZKUtil.visitSubTreeDFS`). Nodes that go away meanwhile
/// are passed over.
async fn list_tree(context: &Context<'_>, client: &Client, root: &str, watch: bool) -> Result<(), CliError> {
    if watch {
        let (_, _, watcher) = client.get_and_watch_data(root).await.map_err(about(root))?;
        context.connection.watches().add_oneshot(root, Kind::Data, watcher);
    } else {
        client.get_data(root).await.map_err(about(root))?;
    }
    context.console.out(root);
    visit_tree(context, client, root, watch, async |child| {
        context.console.out(child);
    })
    .await
}

/// Calls `visit` for every node below `root`, in the order of `ls -R`.
pub(super) async fn visit_tree(
    context: &Context<'_>,
    client: &Client,
    root: &str,
    watch: bool,
    mut visit: impl AsyncFnMut(&str),
) -> Result<(), CliError> {
    // What is still to be listed, the next one last.
    let mut waiting = vec![root.to_owned()];
    while let Some(parent) = waiting.pop() {
        if context.console.is_broken() {
            return Ok(());
        }
        let listed = if watch {
            client.list_and_watch_children(&parent).await.map(|(children, watcher)| {
                context.connection.watches().add_oneshot(&parent, Kind::Children, watcher);
                children
            })
        } else {
            client.list_children(&parent).await
        };
        let mut children = match listed {
            Ok(children) => children,
            Err(Error::NoNode) => continue,
            Err(error) => return Err(CliError::of(&error, &parent)),
        };
        children.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        let paths: Vec<String> = children.iter().map(|child| path::join(&parent, child)).collect();
        for child in &paths {
            visit(child).await;
        }
        waiting.extend(paths.into_iter().rev());
    }
    Ok(())
}

async fn stat(context: &Context<'_>, path: &str, watch: bool) -> Result<(), CliError> {
    let client = context.client(path).await?;
    let stat = if watch {
        let (stat, watcher) = client.check_and_watch_stat(path).await.map_err(about(path))?;
        context.connection.watches().add_oneshot(path, Kind::Exists, watcher);
        stat
    } else {
        client.check_stat(path).await.map_err(about(path))?
    };
    context.stat(&stat.ok_or_else(|| CliError::of(&Error::NoNode, path))?);
    Ok(())
}

async fn sync(context: &Context<'_>, path: &str) -> Result<(), CliError> {
    let client = context.client(path).await?;
    match tokio::time::timeout(SYNC_TIMEOUT, client.sync(path)).await {
        Ok(Ok(())) => context.console.out("Sync is OK"),
        Ok(Err(error)) => match super::super::error::code_of(&error) {
            Some(code) => context.console.out(&format!("Sync has failed. rc={code}")),
            None => return Err(CliError::of(&error, path)),
        },
        Err(_) => return Err(CliError::new(format!("sync of {path} took longer than {} s", SYNC_TIMEOUT.as_secs()))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{error, parse};
    use super::*;

    #[test]
    fn get_reads_its_form_and_the_old_way_to_watch() {
        let expected = Reading::Get {
            path: "/a".into(),
            form: Form::HexDump,
            watch: false,
            with_stat: true,
            is_deprecated: false,
        };
        assert_eq!(parse("get -sbx /a").unwrap(), Command::Reading(expected));
        let expected =
            Reading::Get { path: "/a".into(), form: Form::Plain, watch: true, with_stat: false, is_deprecated: true };
        assert_eq!(parse("get /a true").unwrap(), Command::Reading(expected));
        assert_eq!(error("get a"), "Path must start with / character");
    }

    #[test]
    fn ls_takes_help_without_a_path() {
        let expected = Reading::Ls {
            path: None,
            watch: false,
            with_stat: false,
            recurse: false,
            help: true,
            is_deprecated: false,
        };
        assert_eq!(parse("ls -?").unwrap(), Command::Reading(expected));
        assert_eq!(error("ls -z /"), "Unrecognized option: -z");
    }

    #[test]
    fn ephemerals_default_to_all() {
        let expected = |path: &str| Command::Reading(Reading::Ephemerals { path: path.into() });
        assert_eq!(parse("getEphemerals").unwrap(), expected("/"));
        assert_eq!(parse("getEphemerals /a").unwrap(), expected("/a"));
    }
}
