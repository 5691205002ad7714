//! Checkpoints: the role's own state at one zxid.

use super::{Action, Role, SystemState};

impl Role {
    /// The state as committed. Shards that are flushed at this point of the sequence of actions hold the same zxid.
    pub(super) fn checkpoint(&mut self, out: &mut Vec<Action>) {
        self.ledger.drop_unused_acls(self.committed);
        out.push(Action::Checkpoint { zxid: self.committed, system: self.system_state().encode() });
    }

    /// What a checkpoint at this moment would hold.
    pub fn system_state(&self) -> SystemState {
        SystemState {
            zxid: self.committed,
            sessions: self.sessions.committed(),
            next_session: self.ids.next(),
            acls: self.ledger.acls().map(|(id, list)| (id, list.clone())).collect(),
            next_acl: self.ledger.next_acl(),
        }
    }
}
