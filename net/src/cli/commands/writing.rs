//! create, delete, deleteall, set.

use super::super::line::{Flag, Options, flag, valued};
use super::super::{acl_text, error, path};
use super::{CliError, Command, Context, about, usage};
use base64::Engine;
use std::collections::VecDeque;
use std::time::Duration;
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// A command that changes nodes.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Writing {
    Create { path: String, data: Option<String>, acl: Option<String>, mode: CreateMode, ttl: Option<Duration> },
    Delete { path: String, version: Option<i32>, is_deprecated: bool },
    DeleteAll { path: String, batch: usize },
    Set { path: String, data: Vec<u8>, version: Option<i32>, with_stat: bool },
}

/// The options of set, told with a wrong call.
pub(super) const SET_DETAILS: &str = " -b         Supply data in base64 format\n -s         Print znode stats \
                                      additionally\n -v <arg>   Set with an expected version";

/// Multis in flight while a tree is deleted.
const BATCHES_IN_FLIGHT: usize = 10;
/// The longest time to live, milliseconds: five bytes hold it (`EphemeralType.TTL`).
const TTL_MS_MAX: i64 = (1 << 40) - 1;

pub(super) fn parse_create(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("e"), flag("s"), flag("c"), valued("t")];
    let options = Options::parse(words, FLAGS)?;
    let [_, path, rest @ ..] = options.arguments.as_slice() else { return Err(usage("create")) };
    let (ephemeral, sequential, container) = (options.has("e"), options.has("s"), options.has("c"));
    if container && (ephemeral || sequential) {
        return Err(CliError::new(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    let ttl: Option<i64> = options.number("t", "-t argument must be a long value")?;
    if ttl.is_some() && ephemeral {
        return Err(CliError::new("TTLs cannot be used with Ephemeral znodes"));
    }
    if ttl.is_some() && container {
        return Err(CliError::new("TTLs cannot be used with Container znodes"));
    }
    if ttl.is_some_and(|ttl| !(1..=TTL_MS_MAX).contains(&ttl)) {
        return Err(CliError::new(format!("ttl must be positive and cannot be larger than: {TTL_MS_MAX}")));
    }
    let mode = match (ephemeral, sequential) {
        (true, true) => CreateMode::EphemeralSequential,
        (true, false) => CreateMode::Ephemeral,
        (false, true) => CreateMode::PersistentSequential,
        (false, false) if container => CreateMode::Container,
        (false, false) => CreateMode::Persistent,
    };
    path::validate(&if sequential { format!("{path}1") } else { path.clone() })?;
    Ok(Command::Writing(Writing::Create {
        path: path.clone(),
        data: rest.first().cloned(),
        acl: rest.get(1).cloned(),
        mode,
        ttl: ttl.map(|ttl| Duration::from_millis(ttl.unsigned_abs())),
    }))
}

pub(super) fn parse_delete(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[valued("v")])?;
    let [_, path, rest @ ..] = options.arguments.as_slice() else { return Err(usage("delete")) };
    path::validate(path)?;
    let version = options.number("v", "-v argument must be an int value")?;
    Ok(Command::Writing(Writing::Delete { path: path.clone(), version, is_deprecated: !rest.is_empty() }))
}

pub(super) fn parse_deleteall(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[valued("b")])?;
    let [_, path, ..] = options.arguments.as_slice() else { return Err(usage("deleteall")) };
    let batch: i32 = options.number("b", "-b argument must be an int value")?.unwrap_or(1000);
    path::validate(path)?;
    Ok(Command::Writing(Writing::DeleteAll { path: path.clone(), batch: usize::try_from(batch).unwrap_or(0) }))
}

pub(super) fn parse_set(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("s"), valued("v"), flag("b")];
    let options = Options::parse(words, FLAGS)?;
    let [_, path, data, ..] = options.arguments.as_slice() else { return Err(usage("set")) };
    let data = if options.has("b") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(data);
        decoded.map_err(|error| CliError::new(format!("data is not base64: {error}")))?
    } else {
        data.clone().into_bytes()
    };
    let version = options.number("v", "-v argument must be an int value")?;
    path::validate(path)?;
    Ok(Command::Writing(Writing::Set { path: path.clone(), data, version, with_stat: options.has("s") }))
}

impl Writing {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Writing::Create { path, data, acl, mode, ttl } => {
                create(context, path, data.as_deref().unwrap_or_default(), acl.as_deref(), *mode, *ttl).await
            }
            Writing::Delete { path, version, is_deprecated } => {
                if *is_deprecated {
                    context.console.err(
                        "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.",
                    );
                }
                context.client(path).await?.delete(path, *version).await.map_err(about(path))
            }
            Writing::DeleteAll { path, batch } => delete_all(context, path, *batch).await,
            Writing::Set { path, data, version, with_stat } => {
                let stat = context.client(path).await?.set_data(path, data, *version).await.map_err(about(path))?;
                if *with_stat {
                    context.stat(&stat);
                }
                Ok(())
            }
        }
    }
}

async fn create(
    context: &Context<'_>,
    path: &str,
    data: &str,
    acl: Option<&str>,
    mode: CreateMode,
    ttl: Option<Duration>,
) -> Result<(), CliError> {
    if path == "/" {
        return Err(CliError::of(&Error::NodeExists, path));
    }
    let parsed = acl.map(|text| acl_text::parse(text, context.console));
    let options = mode.with_acls(parsed.as_deref().map_or(Acls::anyone_all(), Acls::new));
    let options = if let Some(ttl) = ttl { options.with_ttl(ttl) } else { options };
    let client = context.client(path).await?;
    match client.create(path, data.as_bytes(), &options).await {
        Ok((_, sequence)) if matches!(mode, CreateMode::PersistentSequential | CreateMode::EphemeralSequential) => {
            context.console.err(&format!("Created {path}{sequence}"));
            Ok(())
        }
        Ok(_) => {
            context.console.err(&format!("Created {path}"));
            Ok(())
        }
        Err(failure) => {
            match error::code_of(&failure) {
                Some(-120) => context.console.err("Unable to create ephemeral node on a local session"),
                Some(-114) => context.console.err(&error::keeper_message(&failure, path)),
                _ => {}
            }
            Err(CliError::of(&failure, path))
        }
    }
}

/// Deletes a tree from its leaves up, in multis of `batch`, or one by one if that is 0 (`ZKUtil.deleteRecursive`).
async fn delete_all(context: &Context<'_>, root: &str, batch: usize) -> Result<(), CliError> {
    let client = context.client(root).await?;
    let tree = breadth_first(&client, root).await?;
    if batch == 0 {
        for path in tree.iter().rev() {
            client.delete(path, None).await.map_err(about(path))?;
        }
        return Ok(());
    }
    let leaves_first: Vec<&String> = tree.iter().rev().collect();
    let mut in_flight = VecDeque::new();
    let mut succeeded = true;
    for paths in leaves_first.chunks(batch) {
        if in_flight.len() == BATCHES_IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            succeeded &= Box::into_pin(oldest).await;
        }
        let mut writer = client.new_multi_writer();
        // The root itself is refused here already, as the server would.
        let accepted = paths.iter().all(|path| writer.add_delete(path, None).is_ok());
        if !succeeded || !accepted {
            succeeded = false;
            break;
        }
        let reply = writer.commit();
        let outcome: Box<dyn Future<Output = bool>> = Box::new(async move { reply.await.is_ok() });
        in_flight.push_back(outcome);
    }
    while let Some(oldest) = in_flight.pop_front() {
        succeeded &= Box::into_pin(oldest).await;
    }
    if !succeeded {
        context.console.err("Failed to delete some node(s) in the subtree!");
    }
    Ok(())
}

async fn breadth_first(client: &Client, root: &str) -> Result<Vec<String>, CliError> {
    let mut tree = vec![root.to_owned()];
    let mut next = 0;
    while let Some(parent) = tree.get(next).cloned() {
        let children = client.list_children(&parent).await.map_err(about(&parent))?;
        tree.extend(children.iter().map(|child| path::join(&parent, child)));
        next += 1;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{error, parse};
    use super::*;

    fn mode_of(line: &str) -> CreateMode {
        match parse(line).unwrap() {
            Command::Writing(Writing::Create { mode, .. }) => mode,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn create_reads_modes_data_and_acl() {
        assert_eq!(mode_of("create /a"), CreateMode::Persistent);
        assert_eq!(mode_of("create -e /a x"), CreateMode::Ephemeral);
        assert_eq!(mode_of("create -es /a/ x"), CreateMode::EphemeralSequential);
        assert_eq!(mode_of("create -c /a"), CreateMode::Container);
        let expected = Writing::Create {
            path: "/a".into(),
            data: Some("two words".into()),
            acl: Some("world:anyone:r".into()),
            mode: CreateMode::PersistentSequential,
            ttl: Some(Duration::from_millis(5)),
        };
        assert_eq!(parse("create -s /a \"two words\" world:anyone:r -t 5").unwrap(), Command::Writing(expected));
    }

    #[test]
    fn create_refuses_what_does_not_go_together() {
        assert_eq!(
            error("create -c -s /a"),
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential."
        );
        assert_eq!(error("create -t x /a"), "-t argument must be a long value");
        assert_eq!(error("create -t 0 /a"), "ttl must be positive and cannot be larger than: 1099511627775");
        assert_eq!(error("create -e -t 5 /a"), "TTLs cannot be used with Ephemeral znodes");
        assert_eq!(error("create -c -t 5 /a"), "TTLs cannot be used with Container znodes");
        assert_eq!(error("create /a/"), "Path must not end with / character");
    }

    #[test]
    fn delete_and_deleteall_read_their_numbers() {
        let expected = Writing::Delete { path: "/a".into(), version: Some(7), is_deprecated: true };
        assert_eq!(parse("delete -v 7 /a 3").unwrap(), Command::Writing(expected));
        assert_eq!(error("delete -v x /a"), "-v argument must be an int value");
        let expected = Writing::DeleteAll { path: "/a".into(), batch: 1000 };
        assert_eq!(parse("deleteall /a").unwrap(), Command::Writing(expected));
        let expected = Writing::DeleteAll { path: "/a".into(), batch: 0 };
        assert_eq!(parse("deleteall /a -b -5").unwrap(), Command::Writing(expected));
        assert_eq!(error("deleteall -b x /a"), "-b argument must be an int value");
    }

    #[test]
    fn set_reads_base64() {
        let expected = Writing::Set { path: "/a".into(), data: b"hello".to_vec(), version: None, with_stat: true };
        assert_eq!(parse("set -b /a aGVsbG8= -s").unwrap(), Command::Writing(expected));
        assert!(error("set -b /a ???").starts_with("data is not base64"));
    }
}
