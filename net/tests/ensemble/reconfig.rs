//! Ensembles that change their members at run time.

use crate::cluster::{Cluster, Kind, PATIENCE, lasting, open};
use crate::history::{self, Load};
use crate::support::record::{self, err, op};
use crate::support::server::{four_letter_within, ringkeeper_binary};
use crate::support::session::{CHANGED, Session, Stat};
use crate::support::tools::has_java;
use crate::support::wait_for;
use crate::tree::assert_equal;
use Kind::{Java, Ringkeeper};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

const CONFIG: &str = "/zookeeper/config";
/// The password is `test`.
const SUPER: &str = "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// Servers whose members may change; those of `later` are not known to the others yet.
fn changeable(kinds: &[Kind], later: &[usize]) -> Cluster {
    let mut cluster = Cluster::of(kinds, 0);
    cluster.define(SUPER);
    // A leader that was named may be behind its voters: it gives up after initLimit, and the votes that an election then
    // needs go out again after at most this long instead of a minute.
    cluster.define("zookeeper.fastleader.maxNotificationInterval=2000");
    for sid in cluster.all() {
        cluster.set(sid, "reconfigEnabled", "true");
    }
    for sid in later {
        cluster.join_later(*sid);
    }
    for sid in cluster.others(later) {
        cluster.start(sid);
    }
    let first = cluster.others(later);
    cluster.await_serving(&first);
    cluster
}

/// A session of the super user on one of these. Servers that change their role let their clients go.
fn admin(cluster: &Cluster, sids: &[usize]) -> Session {
    let addresses: Vec<_> = sids.iter().map(|sid| cluster.address(*sid)).collect();
    wait_for("a super user's session", PATIENCE, || {
        let mut session = open(&addresses, &lasting());
        session.send_as(-4, op::AUTH, &record::auth("digest", b"super:test"));
        let reply = session.try_reply()?;
        assert_eq!(reply.err, err::OK);
        Some(session)
    })
}

/// The configuration as this server shows it: its lines in order, its version, the Stat.
fn config(cluster: &Cluster, sid: usize) -> (Vec<String>, i64, Stat) {
    wait_for(&format!("server {sid} to show its configuration"), PATIENCE, || {
        let mut session = open(&[cluster.address(sid)], &lasting());
        let synced = session.try_call(op::SYNC, &record::path("/"))?;
        let (data, stat) = session.try_call(op::GET_DATA, &record::read(CONFIG, false))?.data();
        session.try_call(op::CLOSE_SESSION, b"");
        assert_eq!(synced.err, err::OK);
        let (lines, version) = parsed(&data.unwrap());
        Some((lines, version, stat))
    })
}

/// Waits until these servers have taken something from a leader of a later epoch than this version's: nobody is about to
/// leave the leader before any more. Somebody must be writing.
fn await_next_epoch(cluster: &Cluster, sids: &[usize], version: i64) {
    for sid in sids {
        wait_for(&format!("server {sid} to follow the next leader"), PATIENCE, || {
            let mut session = open(&[cluster.address(*sid)], &lasting());
            let reply = session.try_call(op::EXISTS, &record::read("/", false))?;
            session.try_call(op::CLOSE_SESSION, b"");
            (reply.zxid >> 32 > version >> 32).then_some(())
        });
    }
}

fn parsed(text: &[u8]) -> (Vec<String>, i64) {
    let mut lines: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
    let version = lines.pop().unwrap();
    let version = version.strip_prefix("version=").unwrap_or_else(|| panic!("{version}"));
    lines.sort();
    (lines, i64::from_str_radix(version, 16).unwrap())
}

/// Asks until it is answered: a server that changes its leader lets its clients go, and the change may have happened.
/// Returns the version of the new configuration.
fn reconfigure(cluster: &Cluster, through: &[usize], joining: Option<&str>, leaving: Option<&str>) -> i64 {
    let before = config(cluster, through[0]).1;
    let version = wait_for("a reconfiguration", PATIENCE, || {
        let mut session = admin(cluster, through);
        match session.try_call(op::RECONFIG, &record::reconfig(joining, leaving, None, before)) {
            Some(reply) if reply.err == err::OK => {
                let (data, stat) = reply.data();
                let (_, version) = parsed(&data.unwrap());
                assert_eq!((stat.mzxid, stat.version), (version, -1), "the Stat of the reply");
                Some(version)
            }
            // The joiner may not be in step yet, and a leader may be about to begin or to end.
            Some(reply) if [err::NEW_CONFIG_NO_QUORUM, err::RECONFIG_IN_PROGRESS].contains(&reply.err) => None,
            // It has happened, and nobody was left to say so.
            Some(reply) if reply.err == err::BAD_VERSION => Some(config(cluster, through[0]).1),
            Some(reply) => panic!("reconfig {joining:?} {leaving:?}: {}", reply.err),
            None => None,
        }
    });
    assert!(version > before, "version {version:x} after {before:x}");
    version
}

/// Waits until these servers show this version, and the same members.
fn await_version(cluster: &Cluster, sids: &[usize], version: i64) -> Vec<String> {
    let mut expected: Option<Vec<String>> = None;
    for sid in sids {
        let lines = wait_for(&format!("version {version:x} on server {sid}"), PATIENCE, || {
            let (lines, shown, _) = config(cluster, *sid);
            (shown == version).then_some(lines)
        });
        assert_eq!(*expected.get_or_insert_with(|| lines.clone()), lines, "on server {sid}");
    }
    expected.unwrap()
}

fn lines(cluster: &Cluster, sids: &[usize]) -> Vec<String> {
    sids.iter().map(|sid| cluster.line(*sid, "participant")).collect()
}

#[test]
fn every_server_shows_the_configuration_and_errors_are_those_of_zookeeper() {
    let cluster = changeable(&[Ringkeeper; 3], &[]);
    let all = cluster.all();
    let mut version = 0;
    for sid in &all {
        let (members, shown, stat) = config(&cluster, *sid);
        assert_eq!(members, lines(&cluster, &all));
        let conf = four_letter_within(cluster.address(*sid), b"conf", PATIENCE).unwrap();
        let (settings, membership) = conf.split_once("\nmembership: \n").unwrap();
        assert_eq!(parsed(membership.as_bytes()), (members, shown), "what conf shows ends with the configuration");
        let own = cluster.member(*sid);
        for line in [
            "initLimit=60".to_owned(),
            "electionAlg=3".to_owned(),
            format!("electionPort={}", own.election_port),
            format!("quorumPort={}", own.quorum_port),
            "peerType=0".to_owned(),
        ] {
            assert!(settings.lines().any(|seen| seen == line), "{line} in\n{conf}");
        }
        assert!(shown > 0 && shown & 0xFFFF_FFFF == 0, "the first leader's: {shown:x}");
        assert_eq!((stat.version, stat.aversion, stat.mzxid, stat.czxid), (-1, -1, shown, 0));
        version = shown;
    }
    let leader = cluster.await_leader(&all);
    for sid in [leader, cluster.others(&[leader])[0]] {
        let mut session = open(&[cluster.address(sid)], &lasting());
        let mut refused = |joining: Option<&str>, leaving: Option<&str>, members: Option<&str>, version: i64| {
            session.err(op::RECONFIG, &record::reconfig(joining, leaving, members, version))
        };
        assert_eq!(refused(None, None, None, version + 1), err::BAD_VERSION);
        assert_eq!(refused(Some("server.9=127.0.0.1:1"), None, None, version), err::BAD_ARGUMENTS);
        assert_eq!(refused(None, Some("x"), None, -1), err::BAD_ARGUMENTS);
        assert_eq!(refused(None, Some("1,2"), None, -1), err::BAD_ARGUMENTS, "two must be left");
        let strangers: Vec<String> = (7..10).map(|sid| format!("server.{sid}=127.0.0.1:{sid}:1{sid};{sid}")).collect();
        assert_eq!(refused(None, None, Some(&strangers.join(",")), -1), err::NEW_CONFIG_NO_QUORUM);
        assert_eq!(refused(None, None, None, version), err::NO_AUTH, "the ACL comes last");
        session.close();
    }

    // A watch on one server sees what is asked of another.
    let mut watching = open(&[cluster.address(2)], &lasting());
    assert_eq!(watching.call(op::GET_DATA, &record::read(CONFIG, true)).err, err::OK);
    let next = reconfigure(&cluster, &[1], None, None);
    let event = watching.event();
    assert_eq!((event.kind, event.path.as_str()), (CHANGED, CONFIG));
    assert_eq!(
        await_version(&cluster, &all, next),
        lines(&cluster, &all),
        "nothing asked for, a new version all the same"
    );
}

#[test]
fn members_join_and_leave_under_load_and_the_leader_too() {
    let mut cluster = changeable(&[Ringkeeper; 4], &[4]);
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    load.await_progress(100);
    cluster.start(4);
    cluster.await_mode(4, "follower");

    let version = reconfigure(&cluster, &[1], Some(&cluster.line(4, "observer")), None);
    cluster.await_mode(4, "observer");
    await_version(&cluster, &all, version);
    load.await_progress(100);
    let version = reconfigure(&cluster, &[1], Some(&cluster.line(4, "participant")), None);
    cluster.await_mode(4, "follower");
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &all));
    load.await_progress(100);

    // One that is removed goes on as a follower without a vote; its end means nothing.
    let leader = cluster.await_leader(&all);
    let removed = cluster.others(&[leader])[0];
    let version = reconfigure(&cluster, &[leader], None, Some(&removed.to_string()));
    let left = cluster.others(&[removed]);
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &left));
    assert_eq!(cluster.figure(leader, "zk_quorum_size"), Some(3));
    load.await_progress(100);

    // The leader goes, and names another: no election.
    let version = reconfigure(&cluster, &left, None, Some(&leader.to_string()));
    let voters = cluster.others(&[removed, leader]);
    await_next_epoch(&cluster, &all, version);
    let successor = cluster.await_leader(&voters);
    cluster.await_log(successor, "a reconfiguration has named the leader");
    cluster.await_mode(leader, "follower");
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &voters));
    load.await_progress(100);
    let written = load.finish();
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);

    // What they are is in their files: the two that are left make a quorum, the other two do not count.
    for sid in &all {
        let text = fs::read_to_string(cluster.config_file(*sid)).unwrap();
        let dynamic = format!("zoo-{sid}.cfg.dynamic.{version:x}");
        assert!(text.contains(&format!("{dynamic}\n")) && !text.contains("server."), "{text}");
        let mut members = lines(&cluster, &voters);
        members.sort();
        let dynamic = cluster.config_file(*sid).with_file_name(dynamic);
        assert_eq!(fs::read_to_string(dynamic).unwrap(), members.join("\n"));
    }
    cluster.check_health();
    for sid in &all {
        cluster.kill(*sid);
    }
    for sid in &voters {
        cluster.start(*sid);
    }
    cluster.await_serving(&voters);
    assert_eq!(await_version(&cluster, &voters, version), lines(&cluster, &voters));
    history::check(&cluster, &voters, &written);
}

#[test]
fn a_leader_moves_to_other_ports() {
    let mut cluster = changeable(&[Ringkeeper; 3], &[]);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    cluster.move_member(leader);
    let load = Load::start(&cluster, 2);
    let others = cluster.others(&[leader]);
    let version = reconfigure(&cluster, &others, Some(&cluster.line(leader, "participant")), None);
    await_next_epoch(&cluster, &all, version);
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &all));
    load.await_progress(100);

    // It is found by the others where it is now: with one of them it makes a quorum. It may even lead again, if it had
    // logged more than any other when it named its successor.
    let leads = cluster.await_leader(&all);
    let gone = if leads == leader { others[0] } else { leads };
    cluster.kill(gone);
    load.await_progress(100);
    cluster.start(gone);
    cluster.await_serving(&all);
    history::conclude(&mut cluster, &all, load);
}

/// Server 1 comes and goes, and each time the leader is killed in the middle: the change happens on all or on none.
#[test]
fn a_leader_may_die_while_members_change() {
    let mut cluster = changeable(&[Ringkeeper; 4], &[1]);
    let all = cluster.all();
    cluster.start(1);
    cluster.await_mode(1, "follower");
    let load = Load::start(&cluster, 2);
    let line = cluster.line(1, "participant");
    for _ in 0..4 {
        load.await_progress(100);
        let leader = cluster.await_leader(&all);
        let votes = config(&cluster, leader).0.contains(&line);
        let (joining, leaving) = if votes { (None, Some("1")) } else { (Some(line.as_str()), None) };
        // A server that has been removed cannot start again: it is no member.
        if leader == 1 {
            let version = reconfigure(&cluster, &[2], joining, leaving);
            await_next_epoch(&cluster, &all, version);
            continue;
        }
        let mut session = admin(&cluster, &[leader]);
        session.send(op::RECONFIG, &record::reconfig(joining, leaving, None, -1));
        cluster.kill(leader);
        let others = cluster.others(&[leader]);
        cluster.await_leader(&others);
        load.await_progress(100);
        cluster.start(leader);
        cluster.await_serving(&all);
        let version = config(&cluster, leader).1;
        await_version(&cluster, &all, version);
    }
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn a_java_server_joins_ours_and_one_of_ours_leaves() {
    if !has_java() {
        return;
    }
    let mut cluster = changeable(&[Ringkeeper, Ringkeeper, Java], &[3]);
    let all = cluster.all();
    let load = Load::start(&cluster, 2);
    load.await_progress(100);
    cluster.start(3);
    cluster.await_mode(3, "follower");
    let version = reconfigure(&cluster, &[1], Some(&cluster.line(3, "participant")), None);
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &all));
    load.await_progress(100);
    let first = cluster.await_leader(&[1, 2]);
    let other = 3 - first;
    let version = reconfigure(&cluster, &[first], None, Some(&other.to_string()));
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &[first, 3]));
    load.await_progress(100);
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn our_server_joins_theirs_and_their_leader_leaves() {
    if !has_java() {
        return;
    }
    let mut cluster = changeable(&[Java, Java, Ringkeeper], &[3]);
    let all = cluster.all();
    let load = Load::start(&cluster, 2);
    load.await_progress(100);
    cluster.start(3);
    cluster.await_mode(3, "follower");
    let version = reconfigure(&cluster, &[3], Some(&cluster.line(3, "observer")), None);
    cluster.await_mode(3, "observer");
    await_version(&cluster, &all, version);
    let version = reconfigure(&cluster, &[1], Some(&cluster.line(3, "participant")), None);
    assert_eq!(await_version(&cluster, &all, version), lines(&cluster, &all));
    cluster.await_mode(3, "follower");
    load.await_progress(100);
    let first = cluster.await_leader(&[1, 2]);
    let other = 3 - first;
    let version = reconfigure(&cluster, &[other, 3], None, Some(&first.to_string()));
    await_next_epoch(&cluster, &[other, 3], version);
    assert_eq!(await_version(&cluster, &[other, 3], version), lines(&cluster, &[other, 3]));
    load.await_progress(100);
    let written = load.finish();
    history::check(&cluster, &[other, 3], &written);
    assert_equal(&cluster, &[other, 3]);
    // The one that was removed serves or not, as it likes.
    cluster.check_health_of(&[other, 3]);
}

#[test]
fn the_command_line_reconfigures() {
    let mut cluster = changeable(&[Ringkeeper; 4], &[4]);
    cluster.start(4);
    cluster.await_mode(4, "follower");
    let line = cluster.line(4, "participant");
    let script = format!("addauth digest super:test\nreconfig -add {}\nconfig\nconfig -c\n", &line["server.".len()..]);
    let mut shell = Command::new(ringkeeper_binary());
    shell.args(["cli", "-server", &cluster.address(1).to_string()]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let all = cluster.all();
    let (_, version, _) = config(&cluster, 1);
    let members = format!("{}\nversion={version:x}", lines(&cluster, &all).join("\n"));
    assert!(text.contains(&format!("Committed new configuration:\n{members}")), "{text}{output:?}");
    assert_eq!(text.matches(&members).count(), 2, "{text}");
    let addresses: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    assert!(text.contains(&format!("{version:x} {}", addresses.join(","))), "{text}");
}
