//! ACLs and credentials.

use crate::on_one_and_four_shards;
use crate::support::record::{self, OPEN, err, mode, op, record};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::Session;
use crate::support::{is_reference, only_ringkeeper};

on_one_and_four_shards!(
    failed_auth_answers_and_closes,
    digest_credentials,
    credentials_count_for_what_follows_them,
    the_super_user,
    bad_acls_are_refused,
    acl_fix_up,
    permissions_are_kept_as_sent,
    exists_needs_read,
    get_acl_needs_read_or_admin_and_hides_hashes,
    create_and_delete_look_at_the_parent,
    ip_entries,
    mapped_addresses_are_ipv4,
    who_am_i,
    enforced_authentication_refuses_even_pings,
    sasl_alone_counts_where_it_is_required,
    a_scheme_that_is_off_is_not_there,
);

const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

fn acl_of(session: &mut Session, path: &str) -> Vec<(i32, String, String)> {
    session.call(op::GET_ACL, &record::path(path)).acl()
}

fn owned(entries: &[record::Entry<'_>]) -> Vec<(i32, String, String)> {
    entries.iter().map(|(perms, scheme, id)| (*perms, (*scheme).to_owned(), (*id).to_owned())).collect()
}

fn failed_auth_answers_and_closes(shards: usize) {
    let server = Server::start(shards);
    let null_credential = record(|out| {
        out.int(0);
        out.string("digest");
        out.buffer(None);
    });
    for body in [
        record::auth("nope", b"x"),
        record::auth("world", b"anyone"),
        record::auth("sasl", b"x"),
        record::auth("super", b"super:test"),
        record::auth("", b"x"),
        null_credential,
    ] {
        let mut session = Session::open(server.address());
        session.send_as(-4, op::AUTH, &body);
        let reply = session.reply();
        assert_eq!((reply.xid, reply.zxid, reply.err, reply.body.len()), (-4, 0, err::AUTH_FAILED, 0));
        session.expect_close();
    }
}

fn digest_credentials(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for credential in [&b"bob:pw"[..], b"nocolon", b":", b"", b"a:b:c"] {
        let reply = session.auth("digest", credential);
        assert_eq!((reply.xid, reply.zxid, reply.err, reply.body.len()), (-4, 0, 0, 0));
    }
    session.call(op::CREATE, &record::create("/mine", None, &[(31, "auth", "")], 0)).ok();
    let ids: Vec<String> = acl_of(&mut session, "/mine").into_iter().map(|(_, _, id)| id).collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.contains(&BOB.to_owned()), "{ids:?}");
    assert!(ids.iter().any(|id| id.starts_with("nocolon:")), "{ids:?}");
    assert!(ids.iter().any(|id| id.starts_with("a:")), "{ids:?}");
}

fn credentials_count_for_what_follows_them(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.call(op::CREATE, &record::create("/s", Some(b"x"), &[(31, "digest", BOB)], 0)).ok();
    for _ in 0..20 {
        session.send(op::SET_DATA, &record::set_data("/s", b"", -1));
    }
    session.send_as(-4, op::AUTH, &record::auth("digest", b"bob:pw"));
    for _ in 0..20 {
        session.send(op::SET_DATA, &record::set_data("/s", b"", -1));
    }
    let mut replies: Vec<_> = (0..41).map(|_| session.reply()).collect();
    let place = replies.iter().position(|reply| reply.xid == -4).unwrap();
    assert!(place == 20 || is_reference());
    replies.remove(place);
    let errors: Vec<i32> = replies.iter().map(|reply| reply.err).collect();
    assert_eq!(errors, [vec![err::NO_AUTH; 20], vec![0; 20]].concat());
}

fn the_super_user(shards: usize) {
    let server = ServerConfig::new(shards)
        .set("DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
        .start();
    let mut session = Session::open(server.address());
    session.call(op::CREATE, &record::create("/s", Some(b"x"), &[(31, "digest", BOB)], 0)).ok();
    session.call(op::CREATE, &record::create("/nobody", Some(b"x"), &[(0, "world", "anyone")], 0)).ok();
    let mut root = Session::open(server.address());
    assert_eq!(root.err(op::GET_DATA, &record::read("/s", false)), err::NO_AUTH);
    root.auth("digest", b"super:wrong");
    assert_eq!(root.err(op::GET_DATA, &record::read("/s", false)), err::NO_AUTH);
    root.auth("digest", b"super:test");
    for path in ["/s", "/nobody"] {
        assert_eq!(root.get(path).0.as_deref(), Some(&b"x"[..]));
        root.set(path, b"y");
        root.create(&format!("{path}/child"), b"");
    }
    assert_eq!(acl_of(&mut root, "/s"), owned(&[(31, "digest", BOB)]));
    root.set("/zookeeper/config", b"only the super user may");
    assert_eq!(root.err(op::DELETE, &record::path_int("/zookeeper/config", -1)), err::BAD_ARGUMENTS);
    // The credential itself counts as a digest for `auth`.
    root.call(op::CREATE, &record::create("/auth", None, &[(31, "auth", "")], 0)).ok();
    let schemes: Vec<String> = acl_of(&mut root, "/auth").into_iter().map(|(_, scheme, _)| scheme).collect();
    assert_eq!(schemes, ["digest", "digest"]);
}

fn bad_acls_are_refused(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let bad: &[&[record::Entry<'_>]] = &[
        &[],
        &[(31, "world", "somebody")],
        &[(31, "auth", "")],
        &[(31, "nope", "x")],
        &[(31, "super", "x")],
        &[(31, "sasl", "bob")],
        &[(31, "", "x")],
        &[(31, "digest", "abc")],
        &[(31, "digest", "a:")],
        &[(31, "digest", "a:b:c")],
        &[(31, "ip", "localhost")],
        &[(31, "ip", "127.0.0.1/33")],
        &[(31, "ip", "127.0.0.1/-1")],
        &[(31, "ip", "::1/129")],
        &[(31, "ip", "127.0.0")],
        &[(31, "world", "anyone"), (31, "digest", "abc")],
    ];
    for entries in bad {
        let create = record::create("/bad", Some(b""), entries, 0);
        assert_eq!(session.err(op::CREATE, &create), err::INVALID_ACL, "{entries:?}");
        assert_eq!(session.err(op::CREATE2, &create), err::INVALID_ACL, "{entries:?}");
        assert_eq!(session.err(op::SET_ACL, &record::set_acl("/", entries, -1)), err::INVALID_ACL, "{entries:?}");
    }
    let with_nulls = |scheme: Option<&[u8]>, id: Option<&[u8]>| {
        record(|out| {
            out.string("/bad");
            out.buffer(Some(b""));
            out.count(Some(1));
            out.int(31);
            out.buffer(scheme);
            out.buffer(id);
            out.int(0);
        })
    };
    let null_list = record(|out| {
        out.string("/bad");
        out.buffer(Some(b""));
        out.count(None);
        out.int(0);
    });
    assert_eq!(session.err(op::CREATE, &null_list), err::INVALID_ACL);
    assert_eq!(session.err(op::CREATE, &with_nulls(None, Some(b"anyone"))), err::INVALID_ACL);
    assert_eq!(session.err(op::CREATE, &with_nulls(Some(b"world"), None)), err::MARSHALLING);
    assert_eq!(session.err(op::CREATE, &with_nulls(Some(b"digest"), None)), err::MARSHALLING);
    session.auth("digest", b"bob:pw");
    // Only `auth` needs no id.
    assert_eq!(session.call(op::CREATE, &with_nulls(Some(b"auth"), None)).path(), "/bad");
    assert_eq!(acl_of(&mut session, "/bad"), owned(&[(31, "digest", BOB)]));
}

fn acl_fix_up(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.auth("digest", b"bob:pw");
    // Exact duplicates go, other permissions for the same id stay, the order is kept.
    let entries = [
        (1, "world", "anyone"),
        (31, "ip", "10.0.0.1"),
        (1, "world", "anyone"),
        (2, "world", "anyone"),
        (31, "digest", BOB),
        (31, "ip", "10.0.0.1"),
    ];
    session.call(op::CREATE, &record::create("/dup", None, &entries, 0)).ok();
    assert_eq!(
        acl_of(&mut session, "/dup"),
        owned(&[(1, "world", "anyone"), (31, "ip", "10.0.0.1"), (2, "world", "anyone"), (31, "digest", BOB)])
    );
    // `auth` expands after that, and is not compared with what is there.
    let entries = [(31, "digest", BOB), (31, "auth", "ignored"), (1, "auth", "")];
    session.call(op::CREATE, &record::create("/auth", None, &entries, 0)).ok();
    assert_eq!(acl_of(&mut session, "/auth"), owned(&[(31, "digest", BOB), (31, "digest", BOB), (1, "digest", BOB)]));
    // The same by setACL, and inside a multi.
    session.create("/set", b"");
    session.call(op::SET_ACL, &record::set_acl("/set", &[(31, "auth", "")], -1)).stat();
    assert_eq!(acl_of(&mut session, "/set"), owned(&[(31, "digest", BOB)]));
    let ops = [(op::CREATE, record::create("/multi", None, &[(31, "auth", "")], 0))];
    session.call(op::MULTI, &record::multi(&ops)).results();
    assert_eq!(acl_of(&mut session, "/multi"), owned(&[(31, "digest", BOB)]));
}

fn permissions_are_kept_as_sent(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.auth("digest", b"bob:pw");
    for (n, perms) in [0, -1, 1000, 32, i32::MAX, i32::MIN].into_iter().enumerate() {
        let path = format!("/p{n}");
        let entries = [(perms, "world", "anyone"), (31, "digest", BOB)];
        session.call(op::CREATE, &record::create(&path, None, &entries, 0)).ok();
        assert_eq!(acl_of(&mut session, &path), owned(&entries));
    }
}

fn exists_needs_read(shards: usize) {
    if only_ringkeeper("3.8 does not check exists") {
        return;
    }
    let server = Server::start(shards);
    let mut owner = Session::open(server.address());
    owner.auth("digest", b"bob:pw");
    owner.call(op::CREATE, &record::create("/s", None, &[(31, "digest", BOB)], 0)).ok();
    let mut stranger = Session::open(server.address());
    assert_eq!(stranger.err(op::EXISTS, &record::read("/s", true)), err::NO_AUTH);
    // No watch was set: were it, the deletion would still be filtered, but the check would find it.
    assert_eq!(stranger.err(op::CHECK_WATCHES, &record::path_int("/s", 2)), err::NO_WATCHER);
    // A missing node may be watched by anyone.
    assert_eq!(stranger.err(op::EXISTS, &record::read("/none", true)), err::NO_NODE);
    assert_eq!(stranger.err(op::CHECK_WATCHES, &record::path_int("/none", 2)), err::OK);
}

fn get_acl_needs_read_or_admin_and_hides_hashes(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for (path, perms) in [("/r", 1), ("/a", 16), ("/w", 2 | 4 | 8)] {
        let entries = [(perms, "world", "anyone"), (31, "digest", BOB), (1, "ip", "10.0.0.1")];
        session.call(op::CREATE, &record::create(path, None, &entries, 0)).ok();
    }
    let hidden = owned(&[(1, "world", "anyone"), (31, "digest", "bob:x"), (1, "ip", "10.0.0.1")]);
    assert_eq!(acl_of(&mut session, "/r"), hidden);
    assert_eq!(acl_of(&mut session, "/a")[1].2, BOB);
    assert_eq!(session.err(op::GET_ACL, &record::path("/w")), err::NO_AUTH);
    session.auth("digest", b"bob:pw");
    assert_eq!(acl_of(&mut session, "/r")[1].2, BOB);
    assert_eq!(acl_of(&mut session, "/w")[1].2, BOB);
}

fn create_and_delete_look_at_the_parent(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.auth("digest", b"bob:pw");
    session.create("/open", b"");
    session.call(op::CREATE, &record::create("/open/sealed", None, &[(31, "digest", BOB)], 0)).ok();
    session.call(op::CREATE, &record::create("/no-create", None, &[(27, "world", "anyone")], 0)).ok();
    session.call(op::CREATE, &record::create("/only-create", None, &[(4, "world", "anyone")], 0)).ok();
    let mut stranger = Session::open(server.address());
    assert_eq!(stranger.err(op::CREATE, &record::plain("/open/sealed/x", b"")), err::NO_AUTH);
    assert_eq!(stranger.err(op::CREATE, &record::plain("/no-create/x", b"")), err::NO_AUTH);
    stranger.create("/only-create/x", b"");
    assert_eq!(stranger.err(op::DELETE, &record::path_int("/only-create/x", -1)), err::NO_AUTH);
    // NoAuth hides whether the node is there.
    assert_eq!(stranger.err(op::DELETE, &record::path_int("/only-create/none", -1)), err::NO_AUTH);
    stranger.delete("/open/sealed");
    assert_eq!(stranger.err(op::SET_DATA, &record::set_data("/only-create", b"", 9)), err::NO_AUTH);
    assert_eq!(stranger.err(op::SET_ACL, &record::set_acl("/only-create", OPEN, 9)), err::NO_AUTH);
    assert_eq!(stranger.err(op::GET_CHILDREN, &record::read("/only-create", false)), err::NO_AUTH);
    assert_eq!(stranger.err(op::GET_ALL_CHILDREN_NUMBER, &record::path("/only-create")), err::NO_AUTH);
    // Ephemerals leave without asking anyone.
    let mut ephemeral = Session::open(server.address());
    ephemeral.create_as("/only-create/e", mode::EPHEMERAL);
    ephemeral.close();
    assert_eq!(stranger.err(op::CREATE, &record::plain("/only-create/e", b"")), err::OK);
}

fn ip_entries(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for (n, (id, allowed)) in [
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("127.0.0.2/8", true),
        ("127.0.0.2/31", false),
        ("0.0.0.0/0", true),
        ("::1", false),
        ("0:0:0:0:0:0:0:0/0", false),
    ]
    .into_iter()
    .enumerate()
    {
        if is_reference() && id.contains(':') {
            continue; // IPv6 entries came with 3.9.4
        }
        let path = format!("/ip{n}");
        session.call(op::CREATE, &record::create(&path, None, &[(1, "ip", id)], 0)).ok();
        let expected = if allowed { err::OK } else { err::NO_AUTH };
        let reply = session.call(op::GET_DATA, &record::read(&path, false));
        assert_eq!(reply.err, expected, "{id}");
    }
}

fn who_am_i(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let list = |session: &mut Session| {
        let reply = session.call(op::WHO_AM_I, b"");
        let mut seen = reply
            .ok()
            .vector(|r| Ok((r.string()?.unwrap().into_owned(), r.string()?.unwrap().into_owned())))
            .unwrap()
            .unwrap();
        seen.sort();
        seen
    };
    let ip = ("ip".to_owned(), "127.0.0.1".to_owned());
    assert_eq!(list(&mut session), std::slice::from_ref(&ip));
    session.auth("digest", b"bob:pw");
    session.auth("digest", b"bob:pw");
    session.auth("digest", b"joe:pw");
    let digest = |user: &str| ("digest".to_owned(), user.to_owned());
    assert_eq!(list(&mut session), [digest("bob"), digest("joe"), ip]);
}

fn mapped_addresses_are_ipv4(shards: usize) {
    // Every address, which is a socket of both families where the machine has IPv6.
    let server = ServerConfig::new(shards).set("clientPortAddress", "0.0.0.0").start();
    let mut session = Session::open(server.address());
    let own = session.call(op::WHO_AM_I, b"");
    let own = own.ok().vector(|r| Ok((r.string()?.unwrap().into_owned(), r.string()?.unwrap().into_owned())));
    assert_eq!(own.unwrap().unwrap(), [("ip".to_owned(), "127.0.0.1".to_owned())]);
    session.call(op::CREATE, &record::create("/mine", None, &[(31, "ip", "127.0.0.1")], 0)).ok();
    assert_eq!(session.err(op::GET_DATA, &record::read("/mine", false)), err::OK);
}

/// What anybody may ask gets one answer, the last one.
fn expect_refusal(session: &mut Session, xid: i32, code: i32, body: &[u8]) {
    session.send_as(xid, code, body);
    let reply = session.reply();
    let refusal = (xid, 0, err::REQUIRES_AUTH, 0);
    assert_eq!((reply.xid, reply.zxid, reply.err, reply.body.len()), refusal, "opcode {code}");
    session.expect_close();
}

fn enforced_authentication_refuses_even_pings(shards: usize) {
    let server =
        ServerConfig::new(shards).set("enforce.auth.enabled", "true").set("enforce.auth.schemes", "digest").start();
    for (xid, code, body) in [
        (-2, op::PING, Vec::new()),
        (7, op::CLOSE_SESSION, Vec::new()),
        (8, op::GET_DATA, record::read("/", false)),
        (9, op::CREATE, record::plain("/n", b"")),
        (-8, op::SET_WATCHES, record::set_watches(0, &[&[], &[], &[]])),
    ] {
        expect_refusal(&mut Session::open(server.address()), xid, code, &body);
    }
    let mut known = Session::open(server.address());
    assert_eq!(known.auth("digest", b"bob:pw").err, err::OK);
    known.create("/n", b"");
    known.close();
}

fn sasl_alone_counts_where_it_is_required(shards: usize) {
    if only_ringkeeper("it does not start without a login configuration") {
        return;
    }
    let server = ServerConfig::new(shards)
        .set("sessionRequireClientSASLAuth", "true")
        .set("enforce.auth.enabled", "true")
        .set("enforce.auth.schemes", "digest")
        .start();
    let mut session = Session::open(server.address());
    assert_eq!(session.auth("digest", b"bob:pw").err, err::OK);
    expect_refusal(&mut session, 1, op::GET_DATA, &record::read("/", false));
}

fn a_scheme_that_is_off_is_not_there(shards: usize) {
    let server = ServerConfig::new(shards).set("DigestAuthenticationProvider.enabled", "false").start();
    let mut session = Session::open(server.address());
    let sealed = record::create("/n", None, &[(31, "digest", BOB)], 0);
    assert_eq!(session.err(op::CREATE, &sealed), err::INVALID_ACL);
    session.send_as(-4, op::AUTH, &record::auth("digest", b"bob:pw"));
    let reply = session.reply();
    assert_eq!((reply.xid, reply.zxid, reply.err), (-4, 0, err::AUTH_FAILED));
    session.expect_close();
}
