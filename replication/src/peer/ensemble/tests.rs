#![allow(clippy::unwrap_used)]

use super::*;
use engine::error_code::ErrorCode;
use engine::zxid::Zxid;
use proptest::prelude::*;

/// As Apache ZooKeeper 3.9.4 sent it.
const CAPTURED: &str = "server.1=127.0.0.1:31101:31201:participant\nserver.2=127.0.0.1:31102:31202:participant\n\
                        server.3=127.0.0.1:31103:31203:participant\nserver.4=127.0.0.1:31104:31204:observer\nversion=0";

fn ids(numbers: &[i64]) -> Vec<ServerId> {
    numbers.iter().map(|number| ServerId(*number)).collect()
}

fn majority(voters: i64, version: i64) -> Ensemble {
    let member = |sid: i64| Member::parse(&format!("zoo{sid}:2888:3888;2181")).unwrap();
    Ensemble::majority((1..=voters).map(|sid| (ServerId(sid), member(sid))).collect(), version)
}

#[test]
fn captured_text_is_read_and_written_alike() {
    let ensemble = Ensemble::parse(CAPTURED).unwrap();
    assert_eq!(CAPTURED.len(), 178, "the length in the captured notification");
    assert_eq!(ensemble.version(), 0);
    assert_eq!(ensemble.voters().collect::<Vec<_>>(), ids(&[1, 2, 3]));
    assert_eq!(ensemble.observers().collect::<Vec<_>>(), ids(&[4]));
    assert_eq!(&**ensemble.with_version(0).text(), CAPTURED);
    assert!(ensemble.with_version(0x2_0000_0000).text().ends_with("\nversion=200000000"));
}

#[test]
fn text_is_kept_as_received() {
    let odd = "# a comment\nversion = 1f\r\nserver.2 : b:1:2:observer\n\n server.1 a:1:2";
    let ensemble = Ensemble::parse(odd).unwrap();
    assert_eq!(&**ensemble.text(), odd);
    assert_eq!(ensemble.version(), 0x1f);
    let written = ensemble.with_version(0x20);
    assert_eq!(&**written.text(), "server.1=a:1:2:participant\nserver.2=b:1:2:observer\nversion=20");
    assert!(written.same_membership(&ensemble));
}

#[test]
fn pairs_of_the_static_file_are_the_same_thing() {
    let pairs =
        [("server.1", "a:1:2"), ("server.2", "b:1:2"), ("server.2", "c:1:2"), ("weight.1", "2"), ("group.1", "1:2")];
    let ensemble = Ensemble::from_pairs(pairs).unwrap();
    assert_eq!(ensemble.member(ServerId(2)).unwrap().addresses[0].host, "c", "the last of a repeated key holds");
    assert_eq!(
        &**ensemble.text(),
        "server.1=a:1:2:participant\nserver.2=c:1:2:participant\ngroup.1=1:2\nweight.1=2\nweight.2=1\nversion=0"
    );
    assert!(["server.1", "group.-3", "weight.9"].iter().all(|key| Ensemble::is_membership_key(key)));
    assert!(["server.principal", "server.", "tickTime"].iter().all(|key| !Ensemble::is_membership_key(key)));
}

#[test]
fn wrong_text_names_key_and_value() {
    for (text, key, value, part) in [
        ("server.1=a:1", "server.1", "a:1", "form"),
        ("server.x=a:1:2", "server.x", "a:1:2", "'x' is not a server number"),
        ("server.-1=a:1:2", "server.-1", "a:1:2", "not a server number"),
        ("server.1=a:1:2\nversion=0x1", "version", "0x1", "hexadecimal"),
        ("server.1=a:1:2\nversion=ffffffffffffffff", "version", "ffffffffffffffff", "hexadecimal"),
        ("server.1=a:1:2\ntickTime=5", "tickTime", "5", "unrecognised"),
        ("server.1=a:1:2:observer", "server.1", "a:1:2:observer", "no server is a participant"),
        ("", "server.N", "", "no server is a participant"),
        ("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1", "server.2", "b:1:2", "in no group"),
        ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "group.2", "1", "disjoint"),
        ("server.1=a:1:2\ngroup.1=1:1", "group.1", "1:1", "disjoint"),
        ("server.1=a:1:2\ngroup.1=1:", "group.1", "1:", "not a server number"),
        ("server.1=a:1:2\ngroup.1=1:2", "server.2", "", "neither a participant"),
        ("server.1=a:1:2\ngroup.1=1\nweight.1=-1", "weight.1", "-1", "a weight is a number"),
        ("server.1=\\u0061:1:2", "server.1", "\\u0061:1:2", "escapes"),
    ] {
        let error = Ensemble::parse(text).unwrap_err();
        assert_eq!((error.key.as_str(), error.value.as_str()), (key, value), "{text}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn equality_is_by_version_then_members() {
    let (three, five) = (majority(3, 7), majority(5, 7));
    assert_eq!(three, five, "equal versions are not looked into");
    assert!(!three.same_membership(&five));
    assert_ne!(three, five.with_version(8));
    assert_eq!(three, three.with_version(8));
}

#[test]
fn majorities_count_voters_once() {
    let ensemble = Ensemble::parse(CAPTURED).unwrap();
    assert!(!ensemble.has_quorum(&ids(&[1])));
    assert!(!ensemble.has_quorum(&ids(&[1, 1, 4, 9])), "twice, an observer, a stranger");
    assert!(ensemble.has_quorum(&ids(&[1, 3])));
    assert!(!majority(4, 0).has_quorum(&ids(&[1, 2])), "half is not more than half");
    assert_eq!((ensemble.weight(ServerId(4)), ensemble.weight(ServerId(9))), (1, 1));
}

#[test]
fn hierarchies_count_groups_by_weight() {
    let mut text: String = (1..=9).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
    text.push_str("group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\nversion=0");
    let ensemble = Ensemble::parse(&text).unwrap();
    assert!(ensemble.has_quorum(&ids(&[1, 2, 4, 5])), "two of three groups with two of three each");
    assert!(!ensemble.has_quorum(&ids(&[1, 2, 3, 4, 7])), "more than half of the servers, one group");
    // The third group loses its weight: two groups remain, and both are needed.
    let weightless = format!("{text}\nweight.7=0\nweight.8=0\nweight.9=0");
    let ensemble = Ensemble::parse(&weightless).unwrap();
    assert!(ensemble.has_quorum(&ids(&[1, 2, 4, 5])));
    assert!(!ensemble.has_quorum(&ids(&[1, 2, 7, 8, 9])));
    assert_eq!((ensemble.weight(ServerId(7)), ensemble.weight(ServerId(1)), ensemble.weight(ServerId(99))), (0, 1, 0));
    // A heavy server is a group's majority by itself.
    let heavy = Ensemble::parse(&format!("{text}\nweight.1=3\nweight.4=3")).unwrap();
    assert!(heavy.has_quorum(&ids(&[1, 4])) && !heavy.has_quorum(&ids(&[1, 5, 6])));
}

#[test]
fn both_views_must_have_a_quorum_while_changing() {
    let mut views = Views::settled(majority(3, 1).into());
    let set = |numbers: &[i64]| ids(numbers).into_iter().collect::<BTreeSet<_>>();
    assert!(views.has_quorum(&set(&[1, 2])) && !views.is_voter(ServerId(5)));
    assert!(views.see(majority(5, 2).into()) && views.is_changing());
    assert!(!views.has_quorum(&set(&[1, 2])) && !views.has_quorum(&set(&[3, 4, 5])));
    assert!(views.has_quorum(&set(&[1, 2, 5])) && views.is_voter(ServerId(5)));
    assert_eq!(views.may_reconfigure(-1).unwrap_err().code, ErrorCode::ReconfigInProgress);
    assert!(!views.see(majority(3, 2).into()), "not newer");
    assert!(views.commit(majority(5, 2).into()) && !views.is_changing());
    assert!(!views.commit(majority(3, 2).into()) && views.committed().voters().count() == 5);
    assert!(views.may_reconfigure(2).is_ok() && views.may_reconfigure(-1).is_ok());
    assert_eq!(views.may_reconfigure(1).unwrap_err().code, ErrorCode::BadVersion);
    assert!(views.commit(majority(3, 9).into()) && views.last_seen().version() == 9, "the last seen is never older");
}

/// What a leader knows nothing of was never committed.
#[test]
fn a_leader_says_what_was_proposed_last() {
    let mut views = Views::settled(majority(3, 1).into());
    assert!(views.see(majority(5, 9).into()));
    assert!(views.follow(majority(4, 5).into()), "older, and the leader's");
    assert_eq!((views.last_seen().version(), views.is_changing()), (5, true));
    assert!(!views.follow(majority(4, 5).into()));
    assert!(!views.follow(majority(3, 0).into()) && views.is_changing(), "history");
    assert!(views.follow(majority(3, 1).into()) && !views.is_changing());
}

fn steps<'a>(joining: Option<&'a str>, leaving: Option<&'a str>) -> Change<'a> {
    Change::Steps { joining, leaving }
}

#[test]
fn servers_leave_join_and_change_step_by_step() {
    let ensemble = majority(3, 1);
    let joining = "4=zoo4:2888:3888:observer;2181, server.3 = zoo3:2889:3889;2181";
    let next = ensemble.changed(steps(Some(joining), Some("1, 7")), 0x20, true).unwrap();
    assert_eq!(
        &**next.text(),
        "server.2=zoo2:2888:3888:participant;0.0.0.0:2181\nserver.3=zoo3:2889:3889:participant;0.0.0.0:2181\n\
         server.4=zoo4:2888:3888:observer;0.0.0.0:2181\nversion=20"
    );
    assert!(ensemble.changed(steps(None, None), 2, true).unwrap().same_membership(&ensemble));
    // A server takes over the address of one that leaves in the same request.
    assert!(ensemble.changed(steps(Some("server.9=zoo1:2888:3888;2181"), Some("1")), 2, true).is_ok());
}

#[test]
fn what_a_reconfiguration_refuses() {
    let ensemble = majority(3, 1);
    for (joining, leaving, part) in [
        (Some("server.4=zoo4:2888:3888"), None, "three ports"),
        (Some("server.4"), None, "form"),
        (Some("four=zoo4:1:2;3"), None, "'four' is not a server number"),
        (Some("server.x=zoo4:1:2;3"), None, "not a server number"),
        (Some("server.4=zoo4:1:1;3"), None, "must differ"),
        (None, Some("x"), "leavingServers: 'x'"),
        (Some("server.4=zoo1:2888:9;3"), None, "quorum address zoo1:2888 is the quorum address of server.1"),
        (Some("server.4=zoo1:9:2888;3"), None, "election address zoo1:2888 is the quorum address of server.1"),
        (Some("server.4=zoo4:1:2;zoo1:3888"), None, "client address zoo1:3888 is the election address of server.1"),
        (None, Some("1,2"), "has 1 participants, and needs at least 2"),
    ] {
        let error = ensemble.changed(steps(joining, leaving), 2, true).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadArguments);
        assert!(error.message.contains(part), "{joining:?} {leaving:?}: {error}");
    }
    assert!(ensemble.changed(steps(None, Some("1,2")), 2, false).is_ok(), "standaloneEnabled=false");
    assert!(ensemble.changed(steps(None, Some("1,2,3")), 2, false).is_err());
    // Loopback and wildcard hosts clash with nobody.
    let local = Ensemble::parse("server.1=127.0.0.1:1:2;0.0.0.0:3\nserver.2=localhost:1:2;3").unwrap();
    assert!(local.changed(steps(Some("server.3=127.0.0.1:1:2;3"), None), 2, true).is_ok());
}

#[test]
fn groups_change_in_bulk_only() {
    let text = "server.1=a:1:2;3\nserver.2=b:1:2;3\ngroup.1=1:2";
    let ensemble = Ensemble::parse(text).unwrap();
    assert_eq!(ensemble.changed(steps(None, Some("1")), 2, false).unwrap_err().code, ErrorCode::BadArguments);
    let bulk = "server.1=a:1:2;3,server.2=b:1:2;3\nserver.3=c:1:2;3,version=5";
    let next = ensemble.changed(Change::Members(bulk), 0x30, true).unwrap();
    assert_eq!((next.version(), next.voters().count(), next.system()), (0x30, 3, &QuorumSystem::Majority));
    assert!(ensemble.changed(Change::Members("server.1=a:1:2;3"), 2, true).is_err());
    assert!(ensemble.changed(Change::Members("nonsense"), 2, true).is_err());
}

#[test]
fn the_leader_stays_or_names_the_most_advanced_voter() {
    let old = majority(3, 1);
    let (one, two, three) = (ServerId(1), ServerId(2), ServerId(3));
    let acked = [(one, Zxid(30)), (two, Zxid(20)), (three, Zxid(20)), (ServerId(4), Zxid(40))];
    assert_eq!(designated_leader(one, &old, &old.with_version(2), acked), Some(one));
    assert!(!loses_leader(one, &old, &old.with_version(2)));
    let without = old.changed(steps(None, Some("1")), 2, true).unwrap();
    assert_eq!(designated_leader(one, &old, &without, acked), Some(two), "not the leaver, not a stranger");
    assert_eq!(designated_leader(one, &old, &without, [(three, Zxid(21)), (two, Zxid(20))]), Some(three));
    assert_eq!(designated_leader(one, &old, &without, []), None);
    assert!(loses_leader(one, &old, &without));
    let moved = old.changed(steps(Some("server.1=zoo1:2999:3888;2181"), None), 2, true).unwrap();
    assert_eq!(designated_leader(one, &old, &moved, acked), Some(two), "its quorum port changed");
    let elsewhere = old.changed(steps(Some("server.1=zoo1:2888:3999;2181"), None), 2, true).unwrap();
    assert_eq!(designated_leader(one, &old, &elsewhere, acked), Some(one), "the election port does not matter");
    let observes = old.changed(steps(Some("server.1=zoo1:2888:3888:observer;2181"), None), 2, true).unwrap();
    assert_eq!(designated_leader(one, &old, &observes, acked), Some(two));
    assert!(loses_leader(one, &observes, &old.with_version(9)), "no voter before");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_means_the_same_when_written(
        lines in proptest::collection::vec("(server|group|weight)\\.[0-3]=[a-b0-9:;|]{1,12}|version=[0-9a-f]{1,4}|.{0,9}", 0..8)
    ) {
        if let Ok(ensemble) = Ensemble::parse(&lines.join("\n")) {
            let again = Ensemble::parse(ensemble.with_version(ensemble.version()).text()).unwrap();
            prop_assert!(again.same_membership(&ensemble));
            prop_assert_eq!(again.version(), ensemble.version());
        }
    }

    /// Two quorums always share a voter, whatever the weights.
    #[test]
    fn quorums_intersect(
        weights in proptest::collection::vec((0_u32..4, 1_i64..4), 1..8),
        left in proptest::collection::vec(any::<bool>(), 8)
    ) {
        let mut text = String::new();
        for (sid, (weight, _)) in weights.iter().enumerate() {
            text.push_str(&format!("server.{sid}=h:1:2\nweight.{sid}={weight}\n"));
        }
        for group in 1..4 {
            let inside = weights.iter().enumerate().filter(|(_, (_, of))| *of == group);
            let sids: Vec<String> = inside.map(|(sid, _)| sid.to_string()).collect();
            if !sids.is_empty() {
                text.push_str(&format!("group.{group}={}\n", sids.join(":")));
            }
        }
        let ensemble = Ensemble::parse(&text).unwrap();
        let (these, those): (Vec<ServerId>, Vec<ServerId>) =
            ensemble.voters().partition(|sid| left[usize::try_from(sid.0).unwrap()]);
        prop_assert!(!(ensemble.has_quorum(&these) && ensemble.has_quorum(&those)));
    }
}
