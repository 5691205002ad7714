//! Which error wins (client contract 2.8): each case breaks a rule and everything behind it.

use super::*;

const BAD_ARGUMENTS: i32 = -8;
const UNIMPLEMENTED: i32 = -6;
const MARSHALLING: i32 = -5;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN: i32 = -108;
const EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const EXPIRED: i32 = -112;
const INVALID_ACL: i32 = -114;
const QUOTA: i32 = -125;
const RECONFIG_DISABLED: i32 = -123;

const NULL_LIST: AclSpec = AclSpec::List(None);

#[test]
fn create_checks_top_to_bottom() {
    let mut world = World::with(LedgerConfig { extended_types: false, ..config() });
    world.alive = false;
    let create =
        |kind, path: &str, flags, acl| WriteOp::Create(CreateOp { kind, path: path.into(), data: None, acl, flags });
    use CreateKind::{Container, Create, Create2, Ttl};
    assert_eq!(world.run(create(Create, "x", 7, NULL_LIST)), BAD_ARGUMENTS, "flags");
    assert_eq!(world.run(create(Create, "x", -1, NULL_LIST)), BAD_ARGUMENTS, "flags");
    assert_eq!(world.run(create(Ttl { ttl_ms: 0 }, "x", 5, NULL_LIST)), UNIMPLEMENTED, "extended types are off");
    assert_eq!(world.run(create(Create, "x", 6, NULL_LIST)), UNIMPLEMENTED, "extended types are off");
    assert_eq!(world.run(create(Create, "x", 1, NULL_LIST)), EXPIRED);

    let mut world = World::new();
    world.alive = false;
    for ttl_ms in [0, -1, 1 << 40] {
        assert_eq!(world.run(create(Ttl { ttl_ms }, "x", 5, NULL_LIST)), BAD_ARGUMENTS, "ttl {ttl_ms}");
    }
    for ttl_ms in [-1, 0, 5] {
        assert_eq!(world.run(create(Ttl { ttl_ms }, "/x", 0, AclSpec::Open)), BAD_ARGUMENTS, "ttl without its flags");
    }
    assert_eq!(world.run(create(Create2, "x", 5, NULL_LIST)), BAD_ARGUMENTS, "TTL flags without a ttl");
    assert_eq!(world.run(create(Container, "x", 6, NULL_LIST)), BAD_ARGUMENTS);
    assert_eq!(world.run(create(Ttl { ttl_ms: (1 << 40) - 1 }, "x", 6, NULL_LIST)), EXPIRED);
    world.alive = true;
    for path in ["", "foo", "/a\0"] {
        assert_eq!(world.run(create(Create, path, 0, NULL_LIST)), BAD_ARGUMENTS, "{path:?}");
    }
    assert_eq!(world.run(create(Create, "/no/x", 0, NULL_LIST)), INVALID_ACL, "the list before the parent");
    let null_id = AclSpec::List(Some(vec![AclEntry { perms: 31, scheme: Some("digest".into()), id: None }]));
    assert_eq!(world.run(create(Create, "/no/x", 0, null_id)), MARSHALLING);
    assert_eq!(world.run(create(Create, "/nope//x", 0, AclSpec::Open)), NO_NODE, "the parent before the syntax");
    assert_eq!(world.run(create(Create, "foo/x", 0, AclSpec::Open)), NO_NODE);

    world.run(create_acl("/ro", &[(1, "world", "anyone")]));
    world.run(create(Create, "/e", 1, AclSpec::Open));
    assert_eq!(world.run(create(Create, "/ro/\u{1}", 0, AclSpec::Open)), NO_AUTH, "CREATE before the syntax");
    assert_eq!(world.run(create(Create, "/e/", 0, AclSpec::Open)), BAD_ARGUMENTS, "the syntax before the ephemeral");
    assert_eq!(world.run(create(Create, "/", 0, AclSpec::Open)), EXISTS);
    assert_eq!(world.run(create(Create, "/e", 0, AclSpec::Open)), EXISTS);
    assert_eq!(world.run(create(Create, "/e/x", 0, AclSpec::Open)), NO_CHILDREN);
    for quota in ["/zookeeper/quota/zookeeper_limits", "/zookeeper/quota/zookeeper_stats"] {
        assert_eq!(world.run(create(Create, quota, 0, AclSpec::Open)), BAD_ARGUMENTS, "a quota on the root");
    }
}

#[test]
fn delete_checks_top_to_bottom() {
    let mut world = World::new();
    world.run(create("/a", 0));
    world.run(create("/a/b", 0));
    world.run(create_acl("/keep", &[(31 - 8, "world", "anyone")]));
    world.run(create("/keep/x", 0));
    world.alive = false;
    assert_eq!(world.run(delete("/", 5)), EXPIRED);
    world.alive = true;
    for path in ["", "a", "/\0", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(world.run(delete(path, 5)), BAD_ARGUMENTS, "{path:?}");
    }
    assert_eq!(world.run(delete("/no/x", 5)), NO_NODE);
    assert_eq!(world.run(delete("/keep/none", 5)), NO_AUTH, "DELETE on the parent before the node");
    assert_eq!(world.run(delete("/a/", 5)), NO_NODE, "no syntax check");
    assert_eq!(world.run(delete("/a", 5)), BAD_VERSION, "the version before the children");
    assert_eq!(world.run(delete("/a", -2)), BAD_VERSION);
    assert_eq!(world.run(delete("/a", 0)), NOT_EMPTY);
    assert_eq!(world.run(delete("/a/b", -1)), 0);
}

#[test]
fn set_data_checks_top_to_bottom() {
    let mut world = World::new();
    world.run(create_acl("/ro", &[(1, "world", "anyone")]));
    world.run(create("/q", 0));
    world.run(create("/zookeeper/quota/q", 0));
    world.run(create_data("/zookeeper/quota/q/zookeeper_limits", "byteHardLimit=3"));
    world.run(create("/zookeeper/quota/q/zookeeper_stats", 0));
    world.alive = false;
    assert_eq!(world.run(set_data("bad", "", 5)), EXPIRED);
    world.alive = true;
    for path in ["", "a", "/a/", "//", "/.", "/\u{E000}"] {
        assert_eq!(world.run(set_data(path, "", 5)), BAD_ARGUMENTS, "{path:?}");
    }
    assert_eq!(world.run(set_data("/no", "", 5)), NO_NODE);
    assert_eq!(world.run(set_data("/ro", "", 5)), NO_AUTH);
    assert_eq!(world.run(set_data("/q", "four", 5)), QUOTA, "the quota before the version");
    assert_eq!(world.run(set_data("/q", "3", 5)), BAD_VERSION);
    assert_eq!(world.run(set_data("/q", "3", 0)), 0);
    assert_eq!(world.run(set_data("/", "x", -1)), 0, "reserved nodes can be written");
    assert_eq!(world.run(set_data("/zookeeper/config", "x", -1)), NO_AUTH);
}

#[test]
fn set_acl_checks_top_to_bottom() {
    let mut world = World::new();
    world.run(create_acl("/ro", &[(15, "world", "anyone")]));
    world.run(create("/a", 0));
    world.alive = false;
    assert_eq!(world.run(set_acl("bad", NULL_LIST, 5)), EXPIRED);
    world.alive = true;
    assert_eq!(world.run(set_acl("/a/", NULL_LIST, 5)), BAD_ARGUMENTS);
    assert_eq!(world.run(set_acl("/no", NULL_LIST, 5)), INVALID_ACL);
    assert_eq!(world.run(set_acl("/no", AclSpec::Open, 5)), NO_NODE);
    assert_eq!(world.run(set_acl("/ro", AclSpec::Open, 5)), NO_AUTH);
    assert_eq!(world.run(set_acl("/a", AclSpec::Open, 5)), BAD_VERSION);
    assert_eq!(world.run(set_acl("/a", acl(&[(1, "world", "anyone")]), 0)), 0);
    assert_eq!(world.node("/a").aversion, 1);
}

#[test]
fn check_checks_top_to_bottom() {
    let mut world = World::new();
    world.run(create_acl("/wo", &[(2, "world", "anyone")]));
    world.run(create("/a", 0));
    let mut run = |alive, path: &str, version| {
        world.alive = alive;
        match world.propose(WriteOp::Multi(vec![check(path, version)])) {
            Txn::Multi { entries } => code(&entries[0]),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(run(false, "bad", 5), EXPIRED, "a session error is the op's");
    assert_eq!(run(true, "/a/", 5), BAD_ARGUMENTS);
    assert_eq!(run(true, "/no", 5), NO_NODE);
    assert_eq!(run(true, "/wo", 5), NO_AUTH);
    assert_eq!(run(true, "/a", 5), BAD_VERSION);
    assert_eq!(run(true, "/a", 0), 0);
}

#[test]
fn reconfig_is_disabled_before_anything_else() {
    let mut world = World::new();
    world.alive = false;
    assert_eq!(world.run(reconfig()), RECONFIG_DISABLED);
    let mut world = World::with(LedgerConfig { reconfig_enabled: true, ..config() });
    world.alive = false;
    assert_eq!(world.run(reconfig()), EXPIRED);
    world.alive = true;
    assert_eq!(world.run(reconfig()), UNIMPLEMENTED);
}

#[test]
fn reconfig_of_an_ensemble_asks_the_members_and_then_the_acl() {
    let mut world = World::with(LedgerConfig { reconfig_enabled: true, ..config() });
    let propose = |world: &mut World, next: Result<Bytes, ErrorCode>| {
        let header = world.header();
        let asker = Asker { header: &header, identity: &world.identity, alive: world.alive, is_local: false };
        let txn = world.ledger.propose_reconfig(asker, || next);
        world.outstanding.push_back((header, txn.clone()));
        (code(&txn), world.commit_all())
    };
    let text = Bytes::from_static(b"server.1=a:1:2:participant\nversion=3");
    assert_eq!(propose(&mut world, Err(ErrorCode::NewConfigNoQuorum)).0, -13);
    assert_eq!(propose(&mut world, Ok(text.clone())).0, NO_AUTH);
    world.identity = Identity::exempt();
    for _ in 0..2 {
        let (code, pieces) = propose(&mut world, Ok(text.clone()));
        assert_eq!(code, 0);
        let expected =
            |piece: &Piece| matches!(piece, Piece::SetData { version: -1, data: Some(data), .. } if *data == text);
        assert!(matches!(&pieces[..], [piece] if expected(piece)), "{pieces:?}");
    }
    let node = world.node("/zookeeper/config");
    assert_eq!((node.version, node.data_length), (-1, text.len() as u32));

    // On a server's own account: the same node, whatever its zxid. It is written where nobody knows what is there, and once.
    assert_eq!(world.run(WriteOp::SetData(set("/zookeeper/config", "other", -1))), 0);
    let first = |ledger: &mut Ledger| ledger.write_config("version=0", Zxid::ZERO);
    assert!(first(&mut world.ledger).is_some() && first(&mut world.ledger).is_none());
    let own = world.ledger.write_config("server.2=b:1:2:participant\nversion=900000000", Zxid(0x9_0000_0000)).unwrap();
    assert!(matches!(own.piece, Piece::Rewrite { version: -1, mzxid: Zxid(0x9_0000_0000), .. }));
    assert_eq!(world.node("/zookeeper/config").data_length, 44);
    // What it holds is not written again.
    assert!(world.ledger.write_config("server.2=b:1:2:participant\nversion=900000000", Zxid(0x9_0000_0000)).is_none());
    // A reconfiguration before that one, which the log holds and only now commits, changes nothing.
    assert!(matches!(propose(&mut world, Ok(text.clone())), (0, pieces) if pieces.is_empty()));
    assert_eq!(world.node("/zookeeper/config").data_length, 44);
    world.zxid = 0x9_0000_0000;
    assert_eq!(propose(&mut world, Ok(text.clone())).1.len(), 1, "a later one counts");
    assert_eq!(world.node("/zookeeper/config").data_length, text.len() as u32);
    let in_force = Zxid(world.zxid);
    assert!(world.ledger.write_config("version=3", in_force).is_none());
    // But for what the superuser has put there.
    assert_eq!(world.run(WriteOp::SetData(set("/zookeeper/config", "other", -1))), 0);
    assert!(world.ledger.write_config("version=3", in_force).is_some());
}

#[test]
fn a_refused_request_takes_its_place() {
    let mut world = World::new();
    assert_eq!(world.run(WriteOp::Refused(ErrorCode::MarshallingError)), MARSHALLING);
    assert_eq!(world.zxid, 1);
}

#[test]
fn reap_spares_what_is_not_empty_or_not_reapable() {
    let mut world = World::new();
    world.run(of_kind(CreateKind::Container, "/c", 4));
    world.run(create("/c/x", 0));
    world.run(create("/e", 1));
    world.run(create("/p", 0));
    let mut reap = |path: &str| {
        let header = world.header();
        let txn = world.ledger.propose_reap(&header, &path.into());
        world.outstanding.push_back((header, txn.clone()));
        world.commit_all();
        code(&txn)
    };
    assert_eq!(reap("/none"), NO_NODE);
    assert_eq!(reap("/c"), NOT_EMPTY);
    assert_eq!(reap("/e"), BAD_VERSION);
    assert_eq!(reap("/p"), BAD_VERSION, "deleteContainer does not delete plain nodes here");
    assert_eq!(reap("/zookeeper"), BAD_ARGUMENTS);
    world.run(delete("/c/x", -1));
    let header = world.header();
    assert!(matches!(world.ledger.propose_reap(&header, &"/c".into()), Txn::Delete { reaped: true, .. }));
}
