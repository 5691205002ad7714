//! Who leads after a reconfiguration.

use super::{Ensemble, ServerId};
use engine::zxid::Zxid;

/// The leader that a committed reconfiguration names (`Leader.getDesignatedLeader`): the present one, if it votes in
/// the new configuration under the same quorum address; otherwise, of the new configuration's voters that acknowledged
/// the reconfiguration, the one that acknowledged most of what follows it, so that least is dropped.
///
/// `acked` holds, per server that acknowledged the reconfiguration, the last proposal that it acknowledged. `None` if
/// nobody qualifies: the reconfiguration had no quorum.
pub fn designated_leader(
    present: ServerId,
    old: &Ensemble,
    new: &Ensemble,
    acked: impl IntoIterator<Item = (ServerId, Zxid)>,
) -> Option<ServerId> {
    if keeps_quorum_address(present, old, new) {
        return Some(present);
    }
    let candidates = acked.into_iter().filter(|(sid, _)| *sid != present && new.is_voter(*sid));
    candidates.max_by_key(|(sid, last)| (*last, std::cmp::Reverse(*sid))).map(|(sid, _)| sid)
}

/// Whether servers must leave `leader` when `new` comes into force without a designated leader: it is not a voter of
/// both configurations, or not under the same quorum address (`QuorumPeer.processReconfig`).
pub fn loses_leader(leader: ServerId, old: &Ensemble, new: &Ensemble) -> bool {
    !old.is_voter(leader) || !keeps_quorum_address(leader, old, new)
}

fn keeps_quorum_address(sid: ServerId, old: &Ensemble, new: &Ensemble) -> bool {
    match (old.member(sid), new.member(sid)) {
        (Some(before), Some(after)) => new.is_voter(sid) && before.quorum_addresses() == after.quorum_addresses(),
        _ => false,
    }
}
