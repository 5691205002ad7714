//! A server made ready for runs of one workload, and left as it was found.

use super::bulk::Bulk;
use super::making::{NURSERIES, folder};
use super::tidy::{ROOT, remove_tree};
use crate::stop::Stop;
use crate::wire::reply::error_name;
use crate::wire::{request, resp, session};
use crate::workload::{Dice, Protocol, Servers, Tree, Workload};
use anyhow::{Context, bail};
use engine::error_code::ErrorCode;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

/// The keys of a workload, on the servers. Removes them when dropped, if [`clean`](Self::clean) was not called.
#[derive(Debug)]
pub struct Stage {
    servers: Servers,
    protocol: Protocol,
    tree: Tree,
    runs: AtomicU32,
    cleaned: bool,
}

impl Stage {
    /// Chooses the servers that the workload's target means, and makes its keys there.
    ///
    /// # Errors
    /// No server can be reached, or one refuses; what was made until then is removed.
    pub fn prepare(workload: &Workload, stop: &Stop) -> anyhow::Result<Stage> {
        let servers = session::choose(&workload.servers, workload.target)?;
        let since = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        let run = since ^ (u64::from(std::process::id()) << 40);
        let root = format!("{}{ROOT}/{run:016x}", servers.chroot());
        let tree = Tree::new(root, workload.tree, workload.keys);
        let stage = Stage { servers, protocol: workload.protocol, tree, runs: AtomicU32::new(0), cleaned: false };
        match workload.protocol {
            Protocol::Zookeeper => stage.make_keys(workload, stop).context("making keys")?,
            Protocol::Redis => stage.make_redis_keys(workload)?,
        }
        Ok(stage)
    }

    /// The chosen servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The paths.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Leaves servers out that do not serve any more; none where no server does, so that cleaning up says what is wrong.
    pub(crate) fn keep_to(&mut self, serves: impl Fn(std::net::SocketAddr) -> bool) {
        let left: Vec<_> = self.servers.addresses().iter().copied().filter(|server| serves(*server)).collect();
        if !left.is_empty() {
            self.servers = self.servers.with_addresses(left);
        }
    }

    fn make_keys(&self, workload: &Workload, stop: &Stop) -> anyhow::Result<()> {
        let mut bulk = Bulk::usual(&self.servers, stop)?;
        make_folders(&mut bulk, &self.servers, &self.tree)?;
        let mut dice = Dice::new(workload.seed, u64::MAX - 1);
        let value = vec![b'v'; workload.values.longest() as usize];
        let mut path = Vec::new();
        let encode = |key: u64, xid: i32, out: &mut Vec<u8>| {
            self.tree.key(key, &mut path);
            request::create(out, xid, &path, &value[..workload.values.draw(&mut dice)], request::PERSISTENT);
        };
        bulk.all(workload.keys, encode, |answer| expect_made(answer.error))?;
        bulk.close()
    }

    fn make_redis_keys(&self, workload: &Workload) -> anyhow::Result<()> {
        let value = vec![b'v'; workload.values.longest() as usize];
        let mut dice = Dice::new(workload.seed, u64::MAX - 1);
        for server in self.servers.addresses() {
            let mut stream = session::connect(*server, None)?;
            for key in 0..workload.keys {
                let mut out = Vec::new();
                resp::set(&mut out, key as u32, &value[..workload.values.draw(&mut dice)]);
                stream.write_all(&out)?;
                stream.read_exact(&mut [0; 5])?;
            }
        }
        Ok(())
    }

    /// Folders for what the next run creates.
    pub(super) fn nursery(&self, workload: &Workload, stop: &Stop) -> anyhow::Result<String> {
        let nursery = self.tree.nursery(self.runs.fetch_add(1, Ordering::Relaxed));
        if workload.protocol == Protocol::Zookeeper && workload.mix.ops().any(crate::workload::Op::creates) {
            let mut bulk = Bulk::open(&self.servers, 1, 64, stop)?;
            let folders = (0..NURSERIES).map(|number| folder(&nursery, number));
            let folders: Vec<String> = std::iter::once(nursery.clone()).chain(folders).collect();
            let encode = |number: u64, xid: i32, out: &mut Vec<u8>| {
                request::create(out, xid, folders[number as usize].as_bytes(), b"", request::PERSISTENT);
            };
            bulk.all(folders.len() as u64, encode, |answer| expect_made(answer.error)).context("making folders")?;
            bulk.close()?;
        }
        Ok(nursery)
    }

    /// Removes what a run created.
    pub(super) fn remove(&self, nursery: &str) -> anyhow::Result<u64> {
        if self.protocol != Protocol::Zookeeper {
            return Ok(0);
        }
        let mut bulk = Bulk::usual(&self.servers, &Stop::default())?;
        let removed = remove_tree(&mut bulk, nursery).with_context(|| self.leftover())?;
        bulk.close()?;
        Ok(removed)
    }

    /// Removes everything. Returns the number of nodes.
    ///
    /// # Errors
    /// The servers cannot be reached; the message says how to remove it later.
    pub fn clean(mut self) -> anyhow::Result<u64> {
        self.cleaned = true;
        self.clean_up()
    }

    fn clean_up(&self) -> anyhow::Result<u64> {
        if self.protocol != Protocol::Zookeeper {
            return Ok(0);
        }
        let work = || -> anyhow::Result<u64> {
            let mut bulk = Bulk::usual(&self.servers, &Stop::default())?;
            let removed = remove_tree(&mut bulk, self.tree.root())?;
            // Gone with the last run that uses it.
            let parent = format!("{}{ROOT}", self.servers.chroot());
            bulk.all(1, |_, xid, out| request::delete(out, xid, parent.as_bytes()), |_| Ok(()))?;
            bulk.close()?;
            Ok(removed)
        };
        work().with_context(|| self.leftover())
    }

    fn leftover(&self) -> String {
        let (root, servers) = (self.tree.root(), &self.servers);
        format!("{root} was left on the server; `ringkeeper-load clean --servers {servers}` removes it")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.cleaned
            && let Err(error) = self.clean_up()
        {
            crate::say::warn(&format!("{error:#}"));
        }
    }
}

/// Makes every node that is not a key, level by level, as a child's request may overtake its parent's on another
/// connection.
pub(crate) fn make_folders(bulk: &mut Bulk, servers: &Servers, tree: &Tree) -> anyhow::Result<()> {
    let depth = |path: &str| path.bytes().filter(|byte| *byte == b'/').count();
    let above = format!("{}{ROOT}", servers.chroot());
    let folders: Vec<&str> = std::iter::once(above.as_str()).chain(tree.folders()).collect();
    for level in folders.chunk_by(|one, other| depth(one) == depth(other)) {
        let encode = |number: u64, xid: i32, out: &mut Vec<u8>| {
            request::create(out, xid, level[number as usize].as_bytes(), b"", request::PERSISTENT);
        };
        bulk.all(level.len() as u64, encode, |answer| expect_made(answer.error))
            .with_context(|| format!("making {} (does the chroot exist?)", level[0]))?;
    }
    Ok(())
}

/// Whether a node is there after a create was answered with this.
pub(crate) fn expect_made(error: i32) -> anyhow::Result<()> {
    match error {
        0 => Ok(()),
        error if error == ErrorCode::NodeExists.code() => Ok(()),
        error => bail!("the server answers {}", error_name(error)),
    }
}
