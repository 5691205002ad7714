//! A network of the tests' own, in which packets are lost at will: each server in a network namespace, and between them a
//! router where the test is.
//!
//! The test program runs itself once more inside the router's namespace, so nothing of the host's network is touched, and
//! all of it is gone when the last process in it has ended.

use crate::cluster::Cluster;
use crate::support::skip;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

/// Set inside the router's namespace.
const INSIDE: &str = "RINGKEEPER_TEST_NETWORK";
/// What makes such a namespace: as root, or as anybody where user namespaces are permitted.
const WAYS: [&[&str]; 2] = [&["--net"], &["--map-root-user", "--net"]];
/// Tries whether all that a network takes is permitted and there.
const TRIAL: &str = "echo 1 > /proc/sys/net/ipv4/ip_forward && unshare --net true && ip link set lo up \
    && ip link add trial type veth peer name trial-peer && ip rule add from 10.77.1.2 to 10.77.2.2 blackhole";

/// Runs the body of the test of this name where networks can be made. Where they cannot it is skipped.
pub fn in_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let mut complaints = String::new();
    for way in WAYS {
        let trial = Command::new("unshare").args(way).args(["sh", "-c", TRIAL]).output();
        match trial {
            Ok(output) if output.status.success() => return run_inside(test, way),
            Ok(output) => complaints += &String::from_utf8_lossy(&output.stderr),
            Err(error) => complaints += &format!("unshare: {error}\n"),
        }
    }
    skip(&format!("no network namespaces, or no iproute2: {complaints}"));
}

fn run_inside(test: &str, way: &[&str]) {
    let mut command = Command::new("unshare");
    command.args(way).arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("--- {test} in a network of its own\n{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}", output.status);
}

/// A router, and a namespace for each server of a cluster.
pub struct Network {
    hosts: Vec<Child>,
}

impl Network {
    /// Places the servers of the cluster, none of which has been started.
    pub fn of(cluster: &mut Cluster) -> Network {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        run("ip link set lo up");
        let mut hosts = Vec::new();
        for sid in cluster.all() {
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-c", "echo ready && exec cat >/dev/null"]);
            let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            let pid = holder.id();
            run(&format!("ip link add host{sid} type veth peer name eth0 netns {pid}"));
            run(&format!("ip addr add {}/24 dev host{sid}", Ipv4Addr::new(10, 77, sid as u8, 1)));
            run(&format!("ip link set host{sid} up"));
            let inside = format!("nsenter -t {pid} -n");
            run(&format!("{inside} ip link set lo up"));
            run(&format!("{inside} ip addr add {}/24 dev eth0", address(sid)));
            run(&format!("{inside} ip link set eth0 up"));
            run(&format!("{inside} ip route add default via {}", Ipv4Addr::new(10, 77, sid as u8, 1)));
            cluster.place(sid, address(sid), inside.split(' ').map(str::to_owned).collect());
            hosts.push(holder);
        }
        Network { hosts }
    }

    /// From now on everything from one server to the other is lost, without a word to the sender.
    pub fn lose(&self, from: usize, to: usize) {
        run(&format!("ip rule add from {} to {} blackhole", address(from), address(to)));
    }

    /// Nothing is lost any more from one server to the other.
    pub fn heal(&self, from: usize, to: usize) {
        run(&format!("ip rule del from {} to {} blackhole", address(from), address(to)));
    }

    /// A server and these others hear nothing more of each other; clients reach all of them.
    pub fn part(&self, one: usize, others: &[usize]) {
        for other in others {
            self.lose(one, *other);
            self.lose(*other, one);
        }
    }

    /// They hear each other again.
    pub fn join(&self, one: usize, others: &[usize]) {
        for other in others {
            self.heal(one, *other);
            self.heal(*other, one);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in &mut self.hosts {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
    }
}

fn address(sid: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, sid as u8, 2)
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
