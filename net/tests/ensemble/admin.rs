//! What the admin server says of an ensemble.

use crate::cluster::{Cluster, Kind};
use crate::support::http::{admin_address, get, keys};
use crate::support::wait_for;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn members_tell_of_their_ensemble() {
    // Two voters and an observer.
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 3], 1);
    for sid in cluster.all() {
        cluster.set(sid, "admin.enableServer", "true");
        cluster.set(sid, "admin.serverAddress", "127.0.0.1");
        cluster.set(sid, "admin.serverPort", "0");
        cluster.set(sid, "DigestAuthenticationProvider.superDigest", "super:hidden");
    }
    cluster.start_all();
    let leader = cluster.await_leader(&[1, 2]);
    let follower = 3 - leader;
    cluster.await_mode(follower, "follower");
    cluster.await_mode(3, "observer");
    let at: Vec<SocketAddr> = cluster.all().into_iter().map(|sid| admin_address(cluster.process(sid))).collect();
    let ask = |sid: usize, command: &str| get(at[sid - 1], &format!("/commands/{command}"));

    cluster.session(leader).create("/written", b"");
    for sid in cluster.all() {
        let answer = ask(sid, "lead");
        assert_eq!(keys(&answer), ["is_leader", "leader_id", "leader_ip", "command", "error"]);
        assert_eq!((&answer["is_leader"], &answer["leader_id"]), (&json!(sid == leader), &json!(leader)), "of {sid}");
        assert_eq!(answer["leader_ip"], "127.0.0.1");

        let view = ask(sid, "voting_view")["current_config"].clone();
        assert_eq!(keys(&view), ["1", "2"]);
        for voter in [1, 2] {
            let member = cluster.member(voter);
            let expected = json!({
                "server_addresses": [format!("127.0.0.1:{}", member.quorum_port)],
                "election_addresses": [format!("127.0.0.1:{}", member.election_port)],
                "client_address": cluster.address(voter).to_string(),
                "learner_type": "participant",
            });
            assert_eq!(view[voter.to_string()], expected);
        }

        let state = ask(sid, "zabstate");
        assert_eq!((&state["myid"], &state["is_leader"]), (&json!(sid), &json!(sid == leader)));
        assert_eq!((&state["voting"], &state["zabstate"]), (&json!(sid != 3), &json!("broadcast")));
        assert_eq!(state["quorum_address"]["one"], format!("127.0.0.1:{}", cluster.member(sid).quorum_port));
        assert_eq!(state["quorum_address"]["empty"], false);
        assert_eq!(state["election_address"]["all_ports"], json!([cluster.member(sid).election_port]));
        wait_for("a zxid of the leader's epoch", PATIENCE, || {
            let state = ask(sid, "zabstate");
            let (epoch, counter) = (state["zab_epoch"].as_u64()?, state["zab_counter"].as_u64()?);
            (epoch >= 1 && counter >= 1 && state["last_zxid"] == format!("0x{:x}", (epoch << 32) | counter))
                .then_some(())
        });

        let monitor = ask(sid, "monitor");
        assert_eq!((&monitor["quorum_size"], monitor["peer_state"].is_string()), (&json!(2), true));
        let file = ask(sid, "initial_configuration")["initial_configuration"].as_str().unwrap().to_owned();
        assert!(file.contains(&format!("server.{sid}=")) && !file.contains("hidden"), "{file}");
        assert!(!ask(sid, "sysp").to_string().contains("hidden"));
    }
    wait_for("the leader to serve its observer", PATIENCE, || {
        let answer = ask(leader, "observers");
        (answer["synced_observers"] == 1 && answer["observers"] == json!([{"sid": 3}])).then_some(())
    });
    assert_eq!(ask(follower, "obsr")["synced_observers"], 0);
    assert!(ask(leader, "srvr")["proposal_stats"].is_object());
    assert_eq!(ask(follower, "srvr")["proposal_stats"], Value::Null);

    // Without its leader and a quorum nobody serves clients, and the admin server says so.
    cluster.kill(leader);
    cluster.kill(3);
    wait_for("the follower not to serve", PATIENCE, || {
        (ask(follower, "ruok")["error"] == "This ZooKeeper instance is not currently serving requests").then_some(())
    });
    assert_eq!(ask(follower, "stmk?traceMask=1")["tracemask"], 1);
    assert_eq!(ask(follower, "zabstate")["is_leader"], false);
    assert_eq!(ask(follower, "monitor")["error"], Value::Null);
    assert!(ask(follower, "env")["os.name"].is_string());
}
