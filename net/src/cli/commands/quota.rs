//! setquota, listquota, delquota: quotas are ordinary nodes below `/zookeeper/quota` (`Quotas`).

use super::super::line::{Flag, Options, flag, valued};
use super::super::path;
use super::super::stats_track::{Limit, StatsTrack};
use super::{CliError, Command, Context, about, reading, usage};
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// A command about quotas.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) enum Quota {
    Set {
        path: String,
        limit: Limit,
        value: String,
    },
    List {
        path: String,
    },
    /// Without limits named, the whole quota goes.
    Delete {
        path: String,
        limit: Option<Limit>,
    },
}

const QUOTA_ROOT: &str = "/zookeeper/quota";
const LIMITS_NODE: &str = "zookeeper_limits";
const STATS_NODE: &str = "zookeeper_stats";
const GROUP: [&str; 4] = ["n", "b", "N", "B"];

pub(super) fn parse_setquota(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[valued("n"), valued("b"), valued("N"), valued("B")];
    let options = Options::parse(words, FLAGS)?;
    options.at_most_one_of(&GROUP)?;
    let given = Limit::ALL.into_iter().find_map(|limit| Some((limit, options.value(limit.option())?)));
    let Some((limit, value)) = given else {
        return Err(CliError::new(
            "Missing required option: [-n num soft quota, -b bytes soft quota, -N num hard quota, -B bytes hard \
             quota]",
        ));
    };
    let [_, path, ..] = options.arguments.as_slice() else { return Err(usage("setquota")) };
    path::validate(path)?;
    Ok(Command::Quota(Quota::Set { path: path.clone(), limit, value: value.to_owned() }))
}

pub(super) fn parse_listquota(words: &[String]) -> Result<Command, CliError> {
    let options = Options::parse(words, &[])?;
    let [_, path, ..] = options.arguments.as_slice() else { return Err(usage("listquota")) };
    path::validate(path)?;
    Ok(Command::Quota(Quota::List { path: path.clone() }))
}

pub(super) fn parse_delquota(words: &[String]) -> Result<Command, CliError> {
    const FLAGS: &[Flag] = &[flag("n"), flag("b"), flag("N"), flag("B")];
    let options = Options::parse(words, FLAGS)?;
    options.at_most_one_of(&GROUP)?;
    let [_, path, ..] = options.arguments.as_slice() else { return Err(usage("delquota")) };
    path::validate(path)?;
    let limit = Limit::ALL.into_iter().find(|limit| options.has(limit.option()));
    Ok(Command::Quota(Quota::Delete { path: path.clone(), limit }))
}

impl Quota {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), CliError> {
        match self {
            Quota::Set { path, limit, value } => {
                if path.starts_with(QUOTA_ROOT) {
                    context.console.err(&format!("cannot set a quota under the path: {QUOTA_ROOT}"));
                    return Ok(());
                }
                match limit_value(*limit, value) {
                    Ok(value) => set(context, path, *limit, value).await,
                    Err(message) => {
                        context.console.err(message);
                        Ok(())
                    }
                }
            }
            Quota::List { path } => list(context, path).await,
            Quota::Delete { path, limit } => delete(context, path, *limit).await,
        }
    }
}

/// A count of at least 1 that fits an int, or bytes of at least 0 that fit a long.
fn limit_value(limit: Limit, text: &str) -> Result<i64, &'static str> {
    const NO_NUMBER: &str = "NumberFormatException happens when parsing the option value";
    match limit {
        Limit::Count | Limit::CountHard => match text.parse::<i32>() {
            Ok(count) if count > 0 => Ok(i64::from(count)),
            Ok(_) => Err("the num quota must be greater than zero"),
            Err(_) => Err(NO_NUMBER),
        },
        Limit::Bytes | Limit::BytesHard => match text.parse::<i64>() {
            Ok(bytes) if bytes >= 0 => Ok(bytes),
            Ok(_) => Err("the bytes quota must be greater than or equal to zero"),
            Err(_) => Err(NO_NUMBER),
        },
    }
}

fn quota_path(path: &str) -> String {
    // The root's quota would be the quota root itself.
    if path == "/" { QUOTA_ROOT.to_owned() } else { format!("{QUOTA_ROOT}{path}") }
}

fn limits_path(path: &str) -> String {
    format!("{}/{LIMITS_NODE}", quota_path(path))
}

fn stats_path(path: &str) -> String {
    format!("{}/{STATS_NODE}", quota_path(path))
}

async fn set(context: &Context<'_>, path: &str, limit: Limit, value: i64) -> Result<(), CliError> {
    // A limit on the root stops Apache ZooKeeper for good, so it is not written.
    if path == "/" {
        return Err(CliError::new("cannot set a quota on the root: ZooKeeper servers do not survive it"));
    }
    let client = context.client(path).await?;
    if client.check_stat(path).await.map_err(about(path))?.is_none() {
        return Err(CliError::new(format!("{path} does not exist.")));
    }
    refuse_quota_below(context, &client, path).await?;
    refuse_quota_above(&client, path).await?;
    create_parents(&client, path).await?;
    let limits_at = limits_path(path);
    let stats_at = stats_path(path);
    if client.check_stat(&limits_at).await.map_err(about(&limits_at))?.is_none() {
        let mut limits = StatsTrack::unlimited();
        limits.set(limit, value);
        let mut stats = StatsTrack::default();
        stats.set(Limit::Count, 0);
        stats.set(Limit::Bytes, 0);
        create(&client, &limits_at, &limits.to_string()).await?;
        create(&client, &stats_at, &stats.to_string()).await?;
        // The server has replaced the stats by the real ones.
        let stats = read(&client, &stats_at).await.map_err(about(&stats_at))?;
        warn(context, &limits, &stats);
    } else {
        let mut limits = read(&client, &limits_at).await.map_err(about(&limits_at))?;
        limits.set(limit, value);
        let stats = read(&client, &stats_at).await.map_err(about(&stats_at))?;
        warn(context, &limits, &stats);
        client.set_data(&limits_at, limits.to_string().as_bytes(), None).await.map_err(about(&limits_at))?;
    }
    Ok(())
}

async fn refuse_quota_below(context: &Context<'_>, client: &Client, path: &str) -> Result<(), CliError> {
    let mut limited = None;
    let root = quota_path(path);
    let own = limits_path(path);
    reading::visit_tree(context, client, &root, false, async |node| {
        let parent = node.strip_suffix(LIMITS_NODE).and_then(|parent| parent.strip_suffix('/'));
        if let Some(parent) = parent.filter(|_| node != own) {
            limited.get_or_insert_with(|| parent.to_owned());
        }
    })
    .await?;
    match limited {
        None => Ok(()),
        Some(node) => Err(CliError::new(format!("{path} has a child {} which has a quota", &node[QUOTA_ROOT.len()..]))),
    }
}

async fn refuse_quota_above(client: &Client, path: &str) -> Result<(), CliError> {
    for (end, _) in path.match_indices('/').skip(1) {
        let ancestor = &path[..end];
        let node = quota_path(ancestor);
        let children = match client.list_children(&node).await {
            Ok(children) => children,
            Err(Error::NoNode) => return Ok(()),
            Err(error) => return Err(CliError::of(&error, &node)),
        };
        if children.iter().any(|child| child == LIMITS_NODE) {
            return Err(CliError::new(format!("{path} has a parent {ancestor} which has a quota")));
        }
    }
    Ok(())
}

async fn create_parents(client: &Client, path: &str) -> Result<(), CliError> {
    let whole = quota_path(path);
    for end in whole.match_indices('/').map(|(end, _)| end).skip(1).chain([whole.len()]) {
        create(client, &whole[..end], "").await?;
    }
    Ok(())
}

/// Creates a node unless it is there.
async fn create(client: &Client, path: &str, data: &str) -> Result<(), CliError> {
    if client.check_stat(path).await.map_err(about(path))?.is_some() {
        return Ok(());
    }
    match client.create(path, data.as_bytes(), &CreateMode::Persistent.with_acls(Acls::anyone_all())).await {
        Ok(_) | Err(Error::NodeExists) => Ok(()),
        Err(error) => Err(CliError::of(&error, path)),
    }
}

async fn read(client: &Client, path: &str) -> Result<StatsTrack, Error> {
    let (data, _) = client.get_data(path).await?;
    Ok(StatsTrack::parse(&String::from_utf8_lossy(&data)))
}

fn warn(context: &Context<'_>, limits: &StatsTrack, stats: &StatsTrack) {
    let kinds = [
        ("count", Limit::Count, Limit::CountHard, stats.get(Limit::Count)),
        ("bytes", Limit::Bytes, Limit::BytesHard, stats.get(Limit::Bytes)),
    ];
    for (name, soft, hard, used) in kinds {
        if [soft, hard].into_iter().any(|limit| (0..used).contains(&limits.get(limit))) {
            let message = format!("[Warning]: the {name} quota you create is less than the existing {name}:{used}");
            context.console.out(&message);
        }
    }
}

async fn list(context: &Context<'_>, path: &str) -> Result<(), CliError> {
    context.console.err(&format!("absolute path is {}", limits_path(path)));
    let client = context.client(path).await?;
    let both = async {
        let limits = read(&client, &limits_path(path)).await?;
        Ok((limits, read(&client, &stats_path(path)).await?))
    };
    match both.await {
        Ok((limits, stats)) => {
            context.console.out(&format!("Output quota for {path} {limits}"));
            context.console.out(&format!("Output stat for {path} {stats}"));
        }
        Err(Error::NoNode) => context.console.err(&format!("quota for {path} does not exist.")),
        Err(error) => return Err(CliError::of(&error, &limits_path(path))),
    }
    Ok(())
}

async fn delete(context: &Context<'_>, path: &str, limit: Option<Limit>) -> Result<(), CliError> {
    let client = context.client(path).await?;
    let limits_at = limits_path(path);
    if client.check_stat(&limits_at).await.map_err(about(&limits_at))?.is_none() {
        context.console.out(&format!("Quota does not exist for {path}"));
        return Ok(());
    }
    let done = async {
        match limit {
            Some(limit) => {
                let mut limits = read(&client, &limits_at).await?;
                limits.set(limit, -1);
                client.set_data(&limits_at, limits.to_string().as_bytes(), None).await.map(drop)
            }
            None => delete_nodes(&client, &quota_path(path)).await,
        }
    };
    match done.await {
        Err(Error::NoNode) => context.console.err(&format!("quota for {path} does not exist.")),
        Err(error) => return Err(CliError::of(&error, &limits_at)),
        Ok(()) => {}
    }
    Ok(())
}

/// Removes the nodes of a quota, and of its parents those that are left empty.
async fn delete_nodes(client: &Client, node: &str) -> Result<(), Error> {
    for child in client.list_children(node).await? {
        client.delete(&path::join(node, &child), None).await?;
    }
    let mut node = node;
    while node != QUOTA_ROOT && client.list_children(node).await?.is_empty() {
        client.delete(node, None).await?;
        node = node.rsplit_once('/').map_or(QUOTA_ROOT, |(parent, _)| parent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{error, parse};
    use super::*;

    #[test]
    fn one_limit_at_a_time() {
        let expected = Quota::Set { path: "/a".into(), limit: Limit::BytesHard, value: "5".into() };
        assert_eq!(parse("setquota -B 5 /a").unwrap(), Command::Quota(expected));
        assert_eq!(
            error("setquota -n 1 -b 3 /a"),
            "The option 'b' was specified but an option from this group has already been selected: 'n'"
        );
        assert_eq!(
            error("setquota /a"),
            "Missing required option: [-n num soft quota, -b bytes soft quota, -N num hard quota, -B bytes hard quota]"
        );
        assert_eq!(error("setquota -n 5"), "setquota -n|-b|-N|-B val path");
        let expected = Quota::Delete { path: "/a".into(), limit: Some(Limit::CountHard) };
        assert_eq!(parse("delquota -N /a").unwrap(), Command::Quota(expected));
        let expected = Quota::Delete { path: "/a".into(), limit: None };
        assert_eq!(parse("delquota /a").unwrap(), Command::Quota(expected));
    }

    #[test]
    fn limits_are_numbers_in_range() {
        assert_eq!(limit_value(Limit::Count, "5"), Ok(5));
        assert_eq!(limit_value(Limit::Bytes, "0"), Ok(0));
        assert_eq!(limit_value(Limit::CountHard, "0"), Err("the num quota must be greater than zero"));
        assert_eq!(limit_value(Limit::BytesHard, "-1"), Err("the bytes quota must be greater than or equal to zero"));
        assert!(limit_value(Limit::Count, "3000000000").is_err());
        assert!(limit_value(Limit::Bytes, "x").is_err());
    }

    #[test]
    fn nodes_lie_below_the_quota_root() {
        assert_eq!(limits_path("/cli"), "/zookeeper/quota/cli/zookeeper_limits");
        assert_eq!(stats_path("/a/b"), "/zookeeper/quota/a/b/zookeeper_stats");
        assert_eq!(limits_path("/"), "/zookeeper/quota/zookeeper_limits");
    }
}
