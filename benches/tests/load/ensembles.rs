//! The verbs that harm ensembles, and the choice of servers by their role.

use super::support::{Ensemble, text};
use benches::driver::Stage;
use benches::stop::Stop;
use benches::wire::session::role;
use benches::workload::{Target, Workload};

#[test]
fn failover_tells_when_another_leads_and_writes_go_on() {
    let ensemble = Ensemble::new();
    let words = ["failover", "--rounds", "2", "--rate", "200", "--session-timeout", "300s", "--limit", "170s"];
    let heal = ensemble.start_command();
    let (output, json) = ensemble.report(&[&words[..], &["--heal-command", &heal]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rounds = json["failover"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        let seconds = |name: &str| round[name].as_f64().unwrap_or(f64::NAN);
        assert!(round["next_leader"].is_string() && round["next_leader"] != round["leader"], "{round}");
        assert!(seconds("leader_seen_s") > 0.0 && seconds("first_write_s") > 0.0, "{round}");
        assert!(seconds("all_write_s") >= seconds("first_write_s"), "{round}");
        assert!(seconds("longest_gap_s") > 0.0 && round["lost_sessions"] == 0, "{round}");
    }
    assert!(!ensemble.holds_something());
}

#[test]
fn rejoin_tells_when_a_server_has_caught_up_and_what_writes_felt() {
    let ensemble = Ensemble::new();
    let start = ensemble.start_command();
    let words = ["rejoin", "--behind", "500", "--watch", "1s", "--rate", "100", "--limit", "170s"];
    let (output, json) = ensemble.report(&[&words[..], &["--start-command", &start]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures = &json["rejoin"];
    assert!(figures["behind"].as_u64().unwrap() >= 500, "{figures}");
    let seconds = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
    assert!(seconds("serving_s") > 0.0 && seconds("caught_up_s") >= seconds("serving_s"), "{figures}");
    assert!(figures["before"]["count"].as_u64().unwrap() > 0, "{figures}");
    assert!(!ensemble.holds_something());
    targets_are_chosen_by_role(&ensemble);
}

fn targets_are_chosen_by_role(ensemble: &Ensemble) {
    let with = |wanted: &str| -> Vec<_> {
        let addresses = ensemble.servers().addresses().to_vec();
        addresses.into_iter().filter(|server| role(*server).is_ok_and(|role| role == wanted)).collect()
    };
    for (target, wanted, count) in [(Target::Leader, "leader", 1), (Target::Followers, "follower", 2)] {
        super::support::wait_for("roles that stay", || {
            let before = with(wanted);
            let workload = Workload { servers: ensemble.servers(), target, keys: 3, ..Workload::default() };
            let stage = Stage::prepare(&workload, &Stop::default()).ok()?;
            let chosen = stage.servers().addresses().to_vec();
            stage.clean().ok()?;
            (before.len() == count && with(wanted) == before).then(|| assert_eq!(chosen, before))
        });
    }
}

#[test]
fn a_server_that_stands_alone_is_no_ensemble() {
    let fixture = super::support::Fixture::new();
    for words in [&["failover"][..], &["rejoin", "--start-command", "true"]] {
        let output = fixture.command(words).arg("--no-files").output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("stands alone"), "{}", text(&output.stderr));
    }
    assert!(!fixture.holds_something());
}
