//! What can be seen of a server from outside.

use super::{PARTITIONS, Server};
use bytes::Bytes;
use engine::acl::AclList;
use engine::ids::{PartitionId, SessionId};
use engine::stat::Stat;
use engine::zxid::Zxid;
use std::collections::BTreeMap;

/// A znode as every replica must have it.
pub type Znode = (Option<Vec<u8>>, Stat, AclList);

/// The whole state as of a zxid.
#[derive(PartialEq, Debug)]
pub struct State {
    pub nodes: BTreeMap<String, Znode>,
    pub sessions: Vec<(SessionId, i32)>,
}

impl Server {
    /// The end of what the log does not reach back to.
    pub fn log_base(&self) -> Zxid {
        self.log_base
    }

    /// The records that the log has been given.
    pub fn log(&self) -> &BTreeMap<Zxid, Bytes> {
        &self.log
    }

    /// Everything that can be read here now.
    pub fn state(&mut self) -> Result<State, String> {
        let mut nodes = BTreeMap::new();
        for shard in &mut self.shards {
            let Some(pin) = shard.pin(self.published) else { return Err("the present cannot be pinned".to_owned()) };
            for id in 0..PARTITIONS as u16 {
                let (partition, mut from) = (PartitionId(id), None);
                loop {
                    let mut entries = Vec::new();
                    from = shard.scan(&pin, partition, from, 16, &mut |entry| entries.push(*entry));
                    for entry in entries {
                        let Some(view) = shard.node(partition, &entry) else { continue };
                        let view = view.map_err(|damage| damage.to_string())?;
                        // Each server writes it for itself, when it is in step, and with its own time.
                        if view.path == engine::path::CONFIG_NODE {
                            continue;
                        }
                        let Some(list) = self.acls.get(entry.acl) else {
                            return Err(format!("nobody knows the ACL of {}", view.path));
                        };
                        let data = view.data.map(<[u8]>::to_vec);
                        let znode = (data, view.stat(&entry, true), list.clone());
                        nodes.insert(view.path.to_owned(), znode);
                    }
                    if from.is_none() {
                        break;
                    }
                }
            }
            shard.unpin(pin);
        }
        Ok(State { nodes, sessions: self.node.role().sessions().committed() })
    }
}
