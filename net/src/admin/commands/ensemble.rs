//! What only members of an ensemble know.

use crate::admin::Facts;
use replication::peer::ensemble::{HostPort, Member, MemberRole, ServerId};
use serde_json::{Value, json};

pub(super) fn leader(facts: &Facts) -> Value {
    let Some(member) = &facts.member else { return json!({"error": "server is not initialized"}) };
    let address = member.leader.and_then(|leader| member.ensemble.member(leader));
    let hosts = |leader: &Member| leader.addresses.iter().map(|at| at.host.as_str()).collect::<Vec<_>>().join("|");
    json!({
        "is_leader": member.is_leader,
        "leader_id": member.leader.map_or(-1, |ServerId(sid)| sid),
        "leader_ip": address.map(hosts).unwrap_or_default(),
    })
}

/// The observers that this server serves. Of each its number is known.
pub(super) fn observers(facts: &Facts) -> Value {
    let sids = facts.member.as_ref().map(|member| member.observers.as_slice()).unwrap_or_default();
    let observers: Vec<Value> = sids.iter().map(|sid| json!({"sid": sid})).collect();
    json!({"synced_observers": sids.len(), "observers": observers})
}

/// The voters (`QuorumServerView`).
pub(super) fn voting_view(facts: &Facts) -> Value {
    let mut view = serde_json::Map::new();
    if let Some(member) = &facts.member {
        for sid in member.ensemble.voters() {
            let Some(voter) = member.ensemble.member(sid) else { continue };
            let role = match voter.role {
                MemberRole::Participant => "participant",
                MemberRole::Observer => "observer",
            };
            let addresses = json!({
                "server_addresses": texts(&voter.quorum_addresses()),
                "election_addresses": texts(&voter.election_addresses()),
                "client_address": voter.client.as_ref().map(HostPort::to_string).unwrap_or_default(),
                "learner_type": role,
            });
            view.insert(sid.0.to_string(), addresses);
        }
    }
    json!({"current_config": view})
}

pub(super) fn zab_state(facts: &Facts) -> Value {
    let Some(member) = &facts.member else { return json!({"voting": false, "zabstate": ""}) };
    let (snapshot, own) = (&facts.snapshot, member.ensemble.member(member.sid));
    let client = own.and_then(|own| own.client.as_ref());
    let client = client.map_or_else(|| format!("0.0.0.0:{}", snapshot.conf.client_port), HostPort::to_string);
    json!({
        "myid": member.sid.0,
        "is_leader": member.is_leader,
        "quorum_address": own.map(|own| addresses(&own.quorum_addresses())),
        "election_address": own.map(|own| addresses(&own.election_addresses())),
        "client_address": client,
        "voting": member.ensemble.is_voter(member.sid),
        "last_zxid": format!("0x{:x}", snapshot.last_zxid.0),
        "zab_epoch": snapshot.last_zxid.epoch(),
        "zab_counter": snapshot.last_zxid.counter(),
        "zabstate": member.phase.name(),
    })
}

/// `MultipleAddresses`, by the getters of that class. A server's own addresses count as reachable.
fn addresses(all: &[HostPort]) -> Value {
    let wildcards: Vec<String> = all.iter().map(|address| format!("0.0.0.0:{}", address.port)).collect();
    let mut ports: Vec<u16> = all.iter().map(|address| address.port).collect();
    let mut hosts: Vec<&str> = all.iter().map(|address| address.host.as_str()).collect();
    ports.dedup();
    hosts.dedup();
    let (first, all_texts) = (all.first().map(HostPort::to_string), texts(all));
    json!({
        "empty": all.is_empty(),
        "all_addresses": all_texts,
        "wildcard_addresses": wildcards,
        "all_ports": ports,
        "all_host_strings": hosts,
        "reachable_address": first,
        "all_reachable_addresses": all_texts,
        "all_reachable_addresses_or_all": all_texts,
        "reachable_or_one": first,
        "one": first,
    })
}

fn texts(addresses: &[HostPort]) -> Vec<String> {
    addresses.iter().map(HostPort::to_string).collect()
}
