//! Order of actions, syncs, quotas at start, reaping, checkpoints, draining.

use super::*;
use crate::request::AclEntry;
use engine::acl::AclId;
use engine::stat::{Stat, wire_cversion};

#[test]
fn nothing_is_said_before_it_is_durable_and_one_publication_covers_a_batch() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    let entry = AclEntry { perms: 31, scheme: Some("digest".into()), id: Some("a:b".into()) };
    let locked = |path: &str| match create(path, 0) {
        WriteOp::Create(op) => WriteOp::Create(CreateOp { acl: AclSpec::List(Some(vec![entry.clone()])), ..op }),
        other => other,
    };
    let identity = Arc::new(Identity::anonymous());
    let (_, out) = host.write(session, &identity, locked("/a"));
    assert!(matches!(&out[..], [Action::Append { zxid: Zxid(2), .. }]));
    host.ask(session, locked("/b"));
    host.ask(session, create("/a", 0));
    let out = host.flush(9);
    let kinds: Vec<_> = out
        .iter()
        .map(|action| match action {
            Action::DefineAcl { .. } => "define".to_owned(),
            Action::Route { txn, .. } => format!("route {}", txn.zxid.0),
            Action::Publish { commit } => format!("publish {}", commit.0),
            Action::Answer(answer) => format!("answer {} {}", answer.zxid.0, answer.result.is_ok()),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = ["define", "route 2", "route 3", "publish 4", "answer 2 true", "answer 3 true", "answer 4 false"];
    assert_eq!(kinds, expected);
    assert!(host.flush(9).is_empty(), "the same mark again says nothing");
}

#[test]
fn pieces_of_one_transaction_go_to_the_shards_that_they_touch() {
    let mut host = Host::new(config(4));
    let session = host.connect(1, 4000);
    for at in 0..20 {
        host.ask(session, create(&format!("/n{at}"), 0));
        let out = host.flush(1);
        let routes: Vec<_> = out
            .iter()
            .filter_map(|action| match action {
                Action::Route { shard, txn } => Some((*shard, txn.pieces.iter().map(|piece| piece.order).collect())),
                _ => None,
            })
            .collect();
        let (node, root) = (key().hash(&format!("/n{at}")), key().hash("/"));
        let shards = [host.role.shard_of(node), host.role.shard_of(root)];
        let expected: Vec<(ShardId, Vec<u32>)> = if shards[0] == shards[1] {
            vec![(shards[0], vec![0, 1])]
        } else {
            vec![(shards[0], vec![0]), (shards[1], vec![1])]
        };
        assert_eq!(routes, expected);
    }
}

#[test]
fn a_sync_waits_for_what_was_outstanding() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    let origin = Origin { seq: 77, ..Origin::default() };
    host.step(Input::Sync { origin, session });
    assert_eq!(host.said.pop(), Some(Action::SyncDone { origin, at: Zxid(1) }), "nothing outstanding: at once");
    host.ask(session, create("/a", 0));
    host.ask(session, create("/b", 0));
    host.step(Input::Sync { origin, session });
    host.ask(session, create("/c", 0));
    host.flush(1);
    assert_eq!(host.said, []);
    host.flush(1);
    assert_eq!(host.said, [Action::SyncDone { origin, at: Zxid(3) }]);
}

#[test]
fn commits_stand_still_while_a_quota_is_measured() {
    let mut host = Host::new(config(2));
    let session = host.connect(1, 4000);
    for path in ["/q", "/q/a", "/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits"] {
        host.ask(session, create(path, 0));
    }
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    host.ask(session, create(stats, 0));
    host.ask(session, create("/q/b", 0));
    host.flush(9);
    assert_eq!(host.measures, ["/q".into()]);
    assert!(host.role.is_measuring());
    assert_eq!((host.role.committed(), host.role.proposed()), (Zxid(5), Zxid(7)));
    host.ask(session, create("/q/c", 0));
    host.flush(9);
    assert_eq!(host.role.committed(), Zxid(5), "also for what is durable later");
    host.step(Input::Measured { path: "/elsewhere".into(), usage: Default::default() });
    assert!(host.role.is_measuring());
    host.measure();
    assert_eq!(host.role.committed(), Zxid(8));
    assert_eq!(host.replica.nodes[stats].data.as_deref(), Some(&b"count=4,bytes=0"[..]));
}

#[test]
fn quotas_are_counted_afresh_at_the_start() {
    let mut host = Host::new(config(2));
    let session = host.connect(1, 4000);
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    for path in ["/q", "/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits", stats] {
        host.ask(session, create(path, 0));
    }
    let wrong = crate::request::SetDataOp { path: stats.into(), data: Some("count=77,bytes=-3".into()), version: -1 };
    host.ask(session, WriteOp::SetData(wrong));
    host.settle();
    let before = host.role.proposed();
    host.restart(None);
    assert_eq!(host.replica.nodes[stats].data.as_deref(), Some(&b"count=1,bytes=0"[..]));
    assert_eq!(host.role.proposed().0, before.0 + 1, "an empty transaction carried the text");
    host.restart(None);
    assert_eq!(host.role.proposed().0, before.0 + 1, "nothing differs, nothing is said");
}

#[test]
fn a_log_from_the_first_transaction_on_makes_the_same_tree() {
    let mut host = Host::new(config(2));
    let session = host.connect(1, 4000);
    let limits = "/zookeeper/quota/q/zookeeper_limits";
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    for path in ["/q", "/q/a", "/zookeeper/quota/q", limits, stats, "/q/b", "/e"] {
        host.ask(session, create(path, i32::from(path == "/e")));
    }
    host.settle();
    let (before, log) = (host.replica.clone(), host.log.clone());
    let mut again = Host::new(config(2));
    let mut out = Vec::new();
    again.role = Role::fresh(config(2), &mut out);
    again.replica = Replica::default();
    (again.log, again.durable) = (log.clone(), log.len());
    again.execute(std::mem::take(&mut out));
    for (_, bytes) in log {
        let (header, txn) = txn::decode(&bytes).unwrap();
        again.role.replay(header, txn, &mut out);
        again.execute(std::mem::take(&mut out));
    }
    assert_eq!(again.measures, [] as [Arc<str>; 0], "nothing is measured in between");
    again.role.serve(again.now, &mut out);
    again.execute(out);
    again.settle();
    assert_eq!(again.replica.nodes, before.nodes);
    assert_eq!(again.role.sessions().len(), 1);
}

fn reapables(host: &mut Host, session: SessionId) {
    for (path, kind, flags) in [
        ("/used", CreateKind::Container, 4),
        ("/unused", CreateKind::Container, 4),
        ("/busy", CreateKind::Container, 4),
        ("/short", CreateKind::Ttl { ttl_ms: 1000 }, 5),
        ("/long", CreateKind::Ttl { ttl_ms: 10_000_000 }, 5),
    ] {
        let op = CreateOp { kind, path: path.into(), data: None, acl: AclSpec::Open, flags };
        host.ask(session, WriteOp::Create(op));
    }
    for op in [create("/used/x", 0), delete("/used/x"), create("/busy/x", 0)] {
        host.ask(session, op);
    }
    host.settle();
}

fn left(host: &Host) -> String {
    let reapable = host.replica.nodes.iter().filter(|(_, node)| node.owner.0 < 0);
    reapable.map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" ")
}

/// Ticks whenever the role asks for it, until `mono_ms`.
fn run_until(host: &mut Host, session: SessionId, mono_ms: i64) {
    let pass = |host: &mut Host, until_ms: i64| {
        host.now.wall_ms += (until_ms - host.now.mono_ms).max(0);
        host.now.mono_ms = until_ms.max(host.now.mono_ms);
    };
    while let Some(deadline) = host.role.next_deadline().filter(|deadline| *deadline <= mono_ms) {
        pass(host, deadline);
        host.step(Input::Touch(vec![session]));
        host.step(Input::Tick);
        host.settle();
    }
    pass(host, mono_ms);
}

#[test]
fn used_containers_and_idle_ttl_nodes_are_reaped() {
    let mut host = Host::new(config(2));
    let session = host.connect(1, 40_000);
    reapables(&mut host, session);
    run_until(&mut host, session, 69_999);
    assert_eq!(left(&host), "/busy /long /short /unused /used", "the first sweep is a minute away");
    run_until(&mut host, session, 71_000);
    assert_eq!(left(&host), "/busy /long /unused");
    assert_eq!(host.role.counters().reaped, 2);
    host.ask(session, delete("/busy/x"));
    run_until(&mut host, session, 140_000);
    assert_eq!(left(&host), "/long /unused", "a container that never had a child lives for ever");
    let (_, last) = &host.log[host.log.len() - 1];
    let (header, txn) = txn::decode(last).unwrap();
    assert_eq!((header.client, header.cxid), (SessionId::NONE, 0));
    assert!(matches!(txn, txn::Txn::Delete { reaped: true, .. }));
}

#[test]
fn a_write_starts_the_time_to_live_again_and_a_child_suspends_it() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 40_000);
    for path in ["/written", "/parent"] {
        let kind = CreateKind::Ttl { ttl_ms: 59_000 };
        let op = CreateOp { kind, path: path.into(), data: None, acl: AclSpec::Open, flags: 5 };
        host.ask(session, WriteOp::Create(op));
    }
    host.ask(session, create("/parent/x", 0));
    run_until(&mut host, session, 60_000);
    let op = crate::request::SetDataOp { path: "/written".into(), data: None, version: -1 };
    host.ask(session, WriteOp::SetData(op));
    host.settle();
    run_until(&mut host, session, 71_000);
    assert_eq!(left(&host), "/parent /written");
    host.ask(session, delete("/parent/x"));
    host.settle();
    run_until(&mut host, session, 131_000);
    assert_eq!(left(&host), "", "both are due at the second sweep");
}

#[test]
fn containers_that_were_never_used_go_where_that_is_asked_for() {
    let mut settings = config(1);
    settings.reaper.max_never_used_ms = 90_000;
    let mut host = Host::new(settings);
    let session = host.connect(1, 40_000);
    reapables(&mut host, session);
    run_until(&mut host, session, 80_000);
    assert_eq!(left(&host), "/busy /long /unused");
    run_until(&mut host, session, 140_000);
    assert_eq!(left(&host), "/busy /long");
}

#[test]
fn reaping_keeps_its_pace() {
    let mut settings = config(1);
    settings.reaper.max_per_minute = 600;
    let mut host = Host::new(settings);
    let session = host.connect(1, 1_000_000);
    for at in 0..400 {
        let kind = CreateKind::Ttl { ttl_ms: 1 };
        let op = CreateOp { kind, path: format!("/t{at}").into(), data: None, acl: AclSpec::Open, flags: 5 };
        host.ask(session, WriteOp::Create(op));
    }
    host.settle();
    run_until(&mut host, session, 70_000 + 9950);
    assert_eq!(host.role.counters().reaped, 100, "one in 100 ms");
    run_until(&mut host, session, 70_000 + 39_950);
    assert_eq!(host.role.counters().reaped, 400);
}

#[test]
fn expiry_waits_for_room() {
    let mut settings = config(1);
    settings.outstanding_max = 3;
    let mut host = Host::new(settings);
    for slot in 0..5 {
        host.connect(slot, 4000);
    }
    host.now.mono_ms = 100_000;
    host.step(Input::Tick);
    assert_eq!(host.role.outstanding_requests(), 3);
    assert!(!host.role.has_room());
    assert_eq!(host.role.next_deadline(), None, "only the log can move anything");
    host.settle();
    assert_eq!(host.role.sessions().len(), 0);
}

#[test]
fn room_is_bounded_in_bytes_too() {
    let mut settings = config(1);
    settings.outstanding_bytes_max = 10_000;
    let mut host = Host::new(settings);
    let session = host.connect(1, 4000);
    let large =
        |path: &str| crate::request::SetDataOp { path: path.into(), data: Some(vec![0; 6000].into()), version: -1 };
    host.ask(session, WriteOp::SetData(large("/")));
    assert!(host.role.has_room());
    host.ask(session, WriteOp::SetData(large("/zookeeper")));
    assert!(!host.role.has_room());
    host.flush(1);
    assert!(host.role.has_room());
    host.flush(1);
    assert_eq!(host.role.outstanding_requests(), 0);
}

#[test]
fn a_fresh_tree_has_the_stats_of_the_reference_server() {
    let host = Host::new(config(3));
    let stats: Vec<_> = host
        .replica
        .nodes
        .iter()
        .map(|(path, node)| {
            let Stat { czxid, pzxid, ctime, version, cversion, aversion, .. } = node.stat;
            assert_eq!((czxid, pzxid, ctime, version, node.data.as_deref()), (0, 0, 0, 0, Some(&b""[..])));
            (path.as_str(), wire_cversion(cversion, node.children.len() as i32), aversion, node.acl)
        })
        .collect();
    let expected = [
        ("/", -1, 0, AclId::OPEN),
        ("/zookeeper", -2, 0, AclId::OPEN),
        ("/zookeeper/config", 0, -1, AclId::WORLD_READ),
        ("/zookeeper/quota", 0, 0, AclId::OPEN),
    ];
    assert_eq!(stats, expected);
    assert_eq!((host.role.committed(), host.role.proposed()), (Zxid::ZERO, Zxid::ZERO));
}

#[test]
fn a_checkpoint_holds_what_is_committed() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    let entry = AclEntry { perms: 31, scheme: Some("digest".into()), id: Some("a:b".into()) };
    let acl = AclSpec::List(Some(vec![entry]));
    host.ask(session, WriteOp::SetAcl { path: "/".into(), acl: acl.clone(), version: -1 });
    host.flush(9);
    host.ask(session, create("/outstanding", 0));
    host.step(Input::CheckpointDue);
    let (zxid, system, _) = host.checkpoint.clone().unwrap();
    let system = SystemState::decode(&system).unwrap();
    assert_eq!((zxid, system.zxid), (Zxid(2), Zxid(2)));
    assert_eq!(system.sessions, [(session, 4000)]);
    assert_eq!(system.acls.len(), 1);
    host.settle();
    host.restart(None);
    assert_eq!(host.role.committed(), Zxid(3));
    assert_eq!(host.replica.acls.get(host.replica.nodes["/"].acl).unwrap().len(), 1, "cores are told again");
    let identity = Arc::new({
        let mut identity = Identity::anonymous();
        identity.add("digest", "a:b");
        identity
    });
    let open = WriteOp::SetAcl { path: "/".into(), acl: AclSpec::Open, version: -1 };
    host.write(session, &identity, open);
    host.settle();
    host.step(Input::CheckpointDue);
    let system = SystemState::decode(&host.checkpoint.clone().unwrap().1).unwrap();
    assert_eq!(system.acls, [], "a list that no node has is dropped");
    assert!(system.next_acl > 3, "and its number is not given again");
}

#[test]
fn shutting_down_finishes_what_is_outstanding_and_takes_no_more() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    host.ask(session, create("/a", 0));
    host.step(Input::Shutdown);
    assert_eq!(host.said, []);
    assert!(host.write(session, &Arc::new(Identity::anonymous()), create("/b", 0)).1.is_empty());
    host.flush(9);
    assert_eq!(host.said, [Action::Drained { zxid: Zxid(2) }]);
    assert_eq!(host.role.next_deadline(), None);
    assert!(host.replica.nodes.contains_key("/a"));
}

#[test]
fn counters_follow() {
    let mut host = Host::new(config(1));
    let session = host.connect(1, 4000);
    host.ask(session, create("/a", 0));
    host.ask(session, create("/a", 0));
    assert_eq!(host.role.outstanding_requests(), 2);
    host.settle();
    let counters = host.role.counters();
    assert_eq!((counters.proposals, counters.commits, counters.errors), (3, 3, 1));
    assert_eq!(counters.last_proposal_bytes, 36, "header and error code");
    assert!(counters.max_proposal_bytes > counters.min_proposal_bytes);
}
