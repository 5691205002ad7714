//! Removing trees.

use super::bulk::Bulk;
use crate::stop::Stop;
use crate::wire::reply::error_name;
use crate::wire::request;
use crate::workload::Servers;
use anyhow::bail;
use engine::error_code::ErrorCode;
use engine::jute::Reader;
use net::proto::OpCode;

/// Below the chroot, the parent of everything that this program makes.
pub const ROOT: &str = "/ringkeeper-load";

/// Removes everything that runs have left on these servers, also runs that were killed. Returns the number of nodes.
///
/// # Errors
/// The servers cannot be reached, or a node cannot be removed.
pub fn clean(servers: &Servers, stop: &Stop) -> anyhow::Result<u64> {
    let mut bulk = Bulk::usual(servers, stop)?;
    let removed = remove_tree(&mut bulk, &format!("{}{ROOT}", servers.chroot()))?;
    bulk.close()?;
    Ok(removed)
}

/// Removes a node and everything below it; nothing where there is none. Returns the number of nodes.
///
/// # Errors
/// As [`clean`].
pub(crate) fn remove_tree(bulk: &mut Bulk, path: &str) -> anyhow::Result<u64> {
    let (mut removed, mut kept) = (0, Vec::new());
    let mut layer = vec![path.to_owned()];
    // Each layer: delete what has no children, list the rest.
    while !layer.is_empty() {
        let mut parents = Vec::new();
        delete_all(bulk, &layer, |number, error| {
            match error {
                0 => removed += 1,
                _ if is(error, ErrorCode::NotEmpty) => parents.push(layer[number].clone()),
                _ if is(error, ErrorCode::NoNode) => {}
                _ => bail!("{} cannot be removed: {}", layer[number], error_name(error)),
            }
            Ok(())
        })?;
        layer = children_of(bulk, &parents)?;
        kept.extend(parents);
    }
    // A node stands behind its parent in `kept`, so that from the end on everything is childless in its turn; layers of
    // equal depth go together.
    let depth = |path: &String| path.bytes().filter(|byte| *byte == b'/').count();
    while let Some(deepest) = kept.last().map(depth) {
        let first = kept.partition_point(|path| depth(path) < deepest);
        let layer = kept.split_off(first);
        delete_all(bulk, &layer, |number, error| {
            match error {
                0 => removed += 1,
                _ if is(error, ErrorCode::NoNode) => {}
                _ => bail!("{} cannot be removed: {} (is another run going on?)", layer[number], error_name(error)),
            }
            Ok(())
        })?;
    }
    Ok(removed)
}

fn delete_all(
    bulk: &mut Bulk,
    paths: &[String],
    mut each: impl FnMut(usize, i32) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let encode =
        |number: u64, xid: i32, out: &mut Vec<u8>| request::delete(out, xid, paths[number as usize].as_bytes());
    bulk.all(paths.len() as u64, encode, |answer| each(answer.number as usize, answer.error))
}

fn children_of(bulk: &mut Bulk, parents: &[String]) -> anyhow::Result<Vec<String>> {
    let mut children = Vec::new();
    let list = |number: u64, xid: i32, out: &mut Vec<u8>| {
        request::read(out, xid, OpCode::GetChildren, parents[number as usize].as_bytes(), false);
    };
    bulk.all(parents.len() as u64, list, |answer| {
        let parent = &parents[answer.number as usize];
        match answer.error {
            0 => {
                let names =
                    Reader::new(answer.body).vector(|reader| Ok(reader.string()?.map(|name| name.into_owned())))?;
                children.extend(names.into_iter().flatten().flatten().map(|name| format!("{parent}/{name}")));
                Ok(())
            }
            error if is(error, ErrorCode::NoNode) => Ok(()),
            error => bail!("{parent} cannot be listed: {}", error_name(error)),
        }
    })?;
    Ok(children)
}

fn is(error: i32, code: ErrorCode) -> bool {
    error == code.code()
}
