//! Validation: which error wins, and what a request that passes becomes (`PrepRequestProcessor`).
//!
//! Every function checks top to bottom and changes the overlay only once nothing can fail any more.

use super::Ledger;
use super::fix_acl;
use super::nodes::NodeState;
use super::quota::is_root_quota;
use crate::request::{AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, SetDataOp, WriteOp};
use bytes::Bytes;
use engine::acl::{AclId, AclList, Identity, permits, perms};
use engine::error_code::ErrorCode;
use engine::node_owner::{NodeKind, NodeOwner};
use engine::path::{self, CONFIG_NODE, PathHash, RESERVED};
use engine::piece::HashedPath;
use engine::txn::{Txn, TxnHeader};
use std::sync::Arc;

/// Bytes of paths that a closeSession names. A Java peer reads no record above 2,097,150 bytes (`jute.maxbuffer` and its
/// extra size) from the wire or from disk, ever.
const CLOSING_BYTES_MAX: usize = 1 << 20;

/// The data version of /zookeeper/config, however often it is written.
pub(super) const CONFIG_VERSION: i32 = -1;

/// Who asks, when, and with what rights.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Session, xid, zxid and time of the transaction to be.
    pub header: &'a TxnHeader,
    /// Credentials.
    pub identity: &'a Identity,
    /// Whether the session exists and is not closing.
    pub alive: bool,
    /// Whether the session is known to one server only, and so can own nothing.
    pub is_local: bool,
}

impl Asker<'_> {
    fn check_session(&self) -> Result<(), ErrorCode> {
        if self.alive { Ok(()) } else { Err(ErrorCode::SessionExpired) }
    }

    /// The same for what needs a session of the whole ensemble (`SessionTracker.checkGlobalSession`).
    fn check_global_session(&self) -> Result<(), ErrorCode> {
        if self.is_local { Err(ErrorCode::SessionExpired) } else { self.check_session() }
    }
}

impl Ledger {
    /// Validates a request. The transaction is an error where it may not be; either way it takes the header's place.
    /// Its effects stand in the overlay from here on.
    pub fn propose(&mut self, asker: Asker<'_>, op: WriteOp) -> Txn {
        let outcome = match op {
            WriteOp::Create(op) => self.create(asker, op),
            WriteOp::Delete(op) => self.delete(asker, op),
            WriteOp::SetData(op) => self.set_data(asker, op),
            WriteOp::SetAcl { path, acl, version } => self.set_acl(asker, &path, &acl, version),
            WriteOp::Multi(ops) => self.multi(asker, ops),
            // An ensemble of one has nothing to reconfigure.
            WriteOp::Reconfig(_) => self.reconfig(asker, || Err(ErrorCode::Unimplemented)),
            WriteOp::CloseSession => Ok(self.close_session(asker)),
            WriteOp::Refused(code) => Err(code),
        };
        outcome.unwrap_or_else(error)
    }

    /// Validates a reconfig of an ensemble. `next` gives the text of the new configuration, whose version is the
    /// header's zxid, or says what the members of the ensemble have against it.
    pub fn propose_reconfig(&mut self, asker: Asker<'_>, next: impl FnOnce() -> Result<Bytes, ErrorCode>) -> Txn {
        self.reconfig(asker, next).unwrap_or_else(error)
    }

    /// deleteContainer, of the server's own: the container or TTL node goes if it still has no children.
    pub fn propose_reap(&mut self, header: &TxnHeader, path: &Arc<str>) -> Txn {
        self.reap(header, path).unwrap_or_else(error)
    }

    /// What the ACLs of the committed nodes have against a request, and whether its own list is wrong
    /// (`ZooKeeperServer.authWriteRequest`). Everything else, also that there is no such node, is for validation to find.
    pub fn forbids_early(&self, identity: &Identity, op: &WriteOp) -> Option<ErrorCode> {
        let parent = |path| parent_of(path).filter(|_| !RESERVED.contains(&path));
        let (path, perm, acl) = match op {
            WriteOp::Create(CreateOp { kind: CreateKind::Create | CreateKind::Create2, path, acl, .. }) => {
                (parent(path)?, perms::CREATE, Some(acl))
            }
            WriteOp::Delete(op) => (parent(&op.path)?, perms::DELETE, None),
            WriteOp::SetData(op) => (&*op.path, perms::WRITE, None),
            WriteOp::SetAcl { path, acl, .. } => (&**path, perms::ADMIN, Some(acl)),
            _ => return None,
        };
        if acl.is_some_and(|acl| self.fix_acl(acl, identity) == Err(ErrorCode::InvalidAcl)) {
            return Some(ErrorCode::InvalidAcl);
        }
        let node = self.committed_node(path)?;
        self.check_acl(node.acl, perm, identity).err()
    }

    fn create(&mut self, asker: Asker<'_>, op: CreateOp) -> Result<Txn, ErrorCode> {
        let mode = CreateMode::from_flags(op.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.ttl && !self.config.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl_is_valid = match op.kind {
            CreateKind::Ttl { ttl_ms } => mode.ttl && (1..=NodeOwner::TTL_MAX_MS).contains(&ttl_ms),
            // createTTL with the flags of another kind and a negative ttl passes ZooKeeper's validation and then stops
            // the server for good; it is refused with all others.
            _ => !mode.ttl,
        };
        if !ttl_is_valid {
            return Err(ErrorCode::BadArguments);
        }
        if mode.ephemeral { asker.check_global_session() } else { asker.check_session() }?;
        let parent = parent_of(&op.path).ok_or(ErrorCode::BadArguments)?;
        let acl = self.fix_acl(&op.acl, asker.identity)?;
        let parent_hash = self.hash(parent);
        let mut parent = self.node(parent_hash).ok_or(ErrorCode::NoNode)?;
        self.check_acl(parent.acl, perms::CREATE, asker.identity)?;
        let path: Arc<str> =
            if mode.sequential { format!("{}{:010}", op.path, parent.cversion).into() } else { op.path.into() };
        if !path::is_valid(&path) || is_root_quota(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let hash = self.hash(&path);
        if self.node(hash).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.owner.kind(self.config.extended_types), NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let data_length = op.data.as_ref().map_or(0, |data| data.len());
        self.check_quota(&path, 1, data_length as i64)?;

        // A counter that has run out stays where it is: the parent is exhausted, and the next sequential name collides.
        parent.cversion = parent.cversion.saturating_add(1);
        parent.children = parent.children.saturating_add(1);
        let zxid = asker.header.zxid;
        self.overlay.set(parent_hash, zxid, Some(parent));
        let ephemeral = mode.ephemeral && matches!(op.kind, CreateKind::Create | CreateKind::Create2);
        let owner = match op.kind {
            CreateKind::Container => NodeOwner::CONTAINER,
            CreateKind::Ttl { ttl_ms } => NodeOwner::ttl(ttl_ms),
            _ if ephemeral => NodeOwner::session(asker.header.client),
            _ => NodeOwner::PERSISTENT,
        };
        let acl_id = self.acls.intern(&acl, zxid);
        let node = NodeState { acl: acl_id, owner, data_length: data_length as u32, ..NodeState::default() };
        self.overlay.set(hash, zxid, Some(node));
        if ephemeral {
            self.overlay.creates_ephemeral(zxid, asker.header.client, HashedPath { path: path.clone(), hash });
        }
        let (data, parent_cversion) = (op.data, parent.cversion);
        Ok(match op.kind {
            CreateKind::Container => Txn::CreateContainer { path, data, acl, parent_cversion },
            CreateKind::Ttl { ttl_ms } => Txn::CreateTtl { path, data, acl, parent_cversion, ttl_ms },
            CreateKind::Create | CreateKind::Create2 => {
                let create2 = op.kind == CreateKind::Create2;
                Txn::Create { path, data, acl, ephemeral, parent_cversion, create2 }
            }
        })
    }

    fn delete(&mut self, asker: Asker<'_>, op: DeleteOp) -> Result<Txn, ErrorCode> {
        asker.check_session()?;
        let parent = parent_of(&op.path).filter(|_| !RESERVED.contains(&&*op.path)).ok_or(ErrorCode::BadArguments)?;
        let parent_hash = self.hash(parent);
        let parent = self.node(parent_hash).ok_or(ErrorCode::NoNode)?;
        self.check_acl(parent.acl, perms::DELETE, asker.identity)?;
        let hash = self.hash(&op.path);
        let node = self.node(hash).ok_or(ErrorCode::NoNode)?;
        next_version(node.version, op.version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.overlay_delete(asker.header, hash, parent_hash);
        Ok(Txn::Delete { path: op.path.into(), reaped: false })
    }

    fn set_data(&mut self, asker: Asker<'_>, op: SetDataOp) -> Result<Txn, ErrorCode> {
        asker.check_session()?;
        let (hash, mut node) = self.existing(&op.path)?;
        self.check_acl(node.acl, perms::WRITE, asker.identity)?;
        let data_length = op.data.as_ref().map_or(0, |data| data.len());
        self.check_quota(&op.path, 0, data_length as i64 - i64::from(node.data_length))?;
        let version = next_version(node.version, op.version)?;
        node.version = version;
        node.data_length = data_length as u32;
        self.overlay.set(hash, asker.header.zxid, Some(node));
        Ok(Txn::SetData { path: op.path.into(), data: op.data, version, reconfig: false })
    }

    fn set_acl(&mut self, asker: Asker<'_>, path: &str, acl: &AclSpec, version: i32) -> Result<Txn, ErrorCode> {
        asker.check_session()?;
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = self.fix_acl(acl, asker.identity)?;
        let (hash, mut node) = self.existing(path)?;
        self.check_acl(node.acl, perms::ADMIN, asker.identity)?;
        let version = next_version(node.aversion, version)?;
        node.aversion = version;
        node.acl = self.acls.intern(&acl, asker.header.zxid);
        self.overlay.set(hash, asker.header.zxid, Some(node));
        Ok(Txn::SetAcl { path: path.into(), acl, version })
    }

    fn check(&self, asker: Asker<'_>, path: &str, version: i32) -> Result<Txn, ErrorCode> {
        asker.check_session()?;
        let (_, node) = self.existing(path)?;
        self.check_acl(node.acl, perms::READ, asker.identity)?;
        Ok(Txn::Check { path: path.into(), version: next_version(node.version, version)? })
    }

    /// The ACL comes last.
    fn reconfig(
        &mut self,
        asker: Asker<'_>,
        next: impl FnOnce() -> Result<Bytes, ErrorCode>,
    ) -> Result<Txn, ErrorCode> {
        if !self.config.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        asker.check_session()?;
        let text = next()?;
        let (hash, mut node) = self.existing(CONFIG_NODE)?;
        self.check_acl(node.acl, perms::WRITE, asker.identity)?;
        (node.version, node.data_length) = (CONFIG_VERSION, text.len() as u32);
        self.overlay.set(hash, asker.header.zxid, Some(node));
        Ok(Txn::SetData { path: CONFIG_NODE.into(), data: Some(text), version: CONFIG_VERSION, reconfig: true })
    }

    /// All or nothing. The first op that fails ends it; what earlier ones put into the overlay is taken back.
    fn multi(&mut self, asker: Asker<'_>, ops: Vec<MultiOp>) -> Result<Txn, ErrorCode> {
        if ops.iter().any(is_malformed) {
            return Err(ErrorCode::MarshallingError);
        }
        let mut entries = Vec::with_capacity(ops.len());
        let mut failed = false;
        self.overlay.begin();
        for op in ops {
            if failed {
                entries.push(error(ErrorCode::RuntimeInconsistency));
                continue;
            }
            match self.multi_op(asker, op) {
                Ok(entry) => entries.push(entry),
                Err(code) => {
                    self.overlay.roll_back();
                    // Not an error of the op but of the request: it could not be understood.
                    if code == ErrorCode::MarshallingError {
                        return Err(code);
                    }
                    entries.push(error(code));
                    failed = true;
                }
            }
        }
        self.overlay.keep();
        Ok(Txn::Multi { entries })
    }

    fn multi_op(&mut self, asker: Asker<'_>, op: MultiOp) -> Result<Txn, ErrorCode> {
        match op {
            MultiOp::Create(op) => self.create(asker, in_multi(op)),
            MultiOp::Delete(op) => self.delete(asker, op),
            MultiOp::SetData(op) => self.set_data(asker, op),
            MultiOp::Check { path, version } => self.check(asker, &path, version),
        }
    }

    /// Collects the session's ephemerals: committed and outstanding ones, without those that are being deleted. All of
    /// them go, also those beyond what one record can name: every server deletes what it knows of the session besides.
    fn close_session(&mut self, asker: Asker<'_>) -> Txn {
        let nodes = self.pending_ephemerals(asker.header.client);
        for node in &nodes {
            if let Some(parent) = parent_of(&node.path) {
                self.overlay_delete(asker.header, node.hash, self.hash(parent));
            }
        }
        let mut bytes = 0;
        let fits = |path: &Arc<str>| {
            bytes += path.len() + 4;
            bytes <= CLOSING_BYTES_MAX
        };
        let paths = nodes.into_iter().map(|node| node.path).take_while(fits).collect();
        Txn::CloseSession { paths: Some(paths) }
    }

    fn reap(&mut self, header: &TxnHeader, path: &Arc<str>) -> Result<Txn, ErrorCode> {
        let parent = parent_of(path).filter(|_| !RESERVED.contains(&&**path)).ok_or(ErrorCode::BadArguments)?;
        let (hash, parent_hash) = (self.hash(path), self.hash(parent));
        let node = self.node(hash).ok_or(ErrorCode::NoNode)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        match node.owner.kind(self.config.extended_types) {
            NodeKind::Container | NodeKind::Ttl(_) => {}
            NodeKind::Ephemeral(_) | NodeKind::Persistent => return Err(ErrorCode::BadVersion),
        }
        self.node(parent_hash).ok_or(ErrorCode::NoNode)?;
        self.overlay_delete(header, hash, parent_hash);
        Ok(Txn::Delete { path: path.clone(), reaped: true })
    }

    pub(super) fn overlay_delete(&mut self, header: &TxnHeader, hash: PathHash, parent_hash: PathHash) {
        if let Some(mut parent) = self.node(parent_hash) {
            parent.children = parent.children.saturating_sub(1);
            self.overlay.set(parent_hash, header.zxid, Some(parent));
        }
        self.overlay.set(hash, header.zxid, None);
    }

    fn existing(&self, path: &str) -> Result<(PathHash, NodeState), ErrorCode> {
        if !path::is_valid(path) {
            return Err(ErrorCode::BadArguments);
        }
        let hash = self.hash(path);
        Ok((hash, self.node(hash).ok_or(ErrorCode::NoNode)?))
    }

    fn fix_acl(&self, acl: &AclSpec, identity: &Identity) -> Result<AclList, ErrorCode> {
        match acl {
            AclSpec::Open => Ok(self.acls.open().clone()),
            AclSpec::List(list) => fix_acl::fix(list.as_deref(), identity, self.config.schemes),
        }
    }

    fn check_acl(&self, id: AclId, perm: i32, identity: &Identity) -> Result<(), ErrorCode> {
        let allowed = match id {
            AclId::OPEN | AclId::NONE => true,
            _ => match self.acls.list(id) {
                Some(list) => permits(list, perm, identity),
                None => identity.bypasses(),
            },
        };
        if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    /// Usage is what the committed stats node says: neither writes in flight nor earlier ops of a multi count, and
    /// nobody is exempt.
    fn check_quota(&mut self, path: &str, count: i64, bytes: i64) -> Result<(), ErrorCode> {
        if self.config.enforce_quota && self.quotas.forbids(path, count, bytes) {
            let namespace = path.split('/').nth(1).unwrap_or_default();
            *self.quota_refusals.entry(namespace.into()).or_default() += 1;
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }
}

fn error(code: ErrorCode) -> Txn {
    Txn::Error { code: code.code() }
}

/// The parent by which create and delete look up: what stands before the last slash, and for "/" the root itself.
/// `None` without a slash or with a NUL.
fn parent_of(path: &str) -> Option<&str> {
    let slash = path.rfind('/').filter(|_| !path.contains('\0'))?;
    Some(if slash == 0 { "/" } else { &path[..slash] })
}

fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected == -1 || expected == current { Ok(current.wrapping_add(1)) } else { Err(ErrorCode::BadVersion) }
}

/// `CreateMode`: an enumeration, not a bit mask.
#[derive(Clone, Copy, Debug)]
struct CreateMode {
    ephemeral: bool,
    sequential: bool,
    container: bool,
    ttl: bool,
}

impl CreateMode {
    fn from_flags(flags: i32) -> Option<CreateMode> {
        (0..=6).contains(&flags).then_some(CreateMode {
            ephemeral: matches!(flags, 1 | 3),
            sequential: matches!(flags, 2 | 3 | 6),
            container: flags == 4,
            ttl: matches!(flags, 5 | 6),
        })
    }
}

/// Ops that ZooKeeper cannot decode (`MultiOperationRecord.deserialize`): the whole multi fails.
fn is_malformed(op: &MultiOp) -> bool {
    match op {
        MultiOp::Create(CreateOp { kind: CreateKind::Ttl { .. }, .. }) => false,
        MultiOp::Create(op) => {
            op.acl == AclSpec::List(None) || CreateMode::from_flags(op.flags).is_none_or(|mode| mode.ttl)
        }
        _ => false,
    }
}

/// What a creation inside a multi turns into before it is validated (`Op.Create`): container flags make a container,
/// and createTTL without TTL flags a plain create whose ttl is dropped.
fn in_multi(mut op: CreateOp) -> CreateOp {
    let mode = CreateMode::from_flags(op.flags);
    op.kind = match (op.kind, mode) {
        (kind @ CreateKind::Ttl { .. }, Some(CreateMode { ttl: true, .. })) => kind,
        (_, Some(CreateMode { container: true, .. })) => CreateKind::Container,
        (CreateKind::Ttl { .. }, _) => CreateKind::Create,
        (kind, _) => kind,
    };
    op
}
