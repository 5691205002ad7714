//! Whoever comes to the servers' own ports and is no server.

use crate::cluster::Cluster;
use crate::history::{self, Load};
use crate::support::Dice;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

#[test]
fn garbage_on_the_servers_ports_disturbs_nobody() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let load = Load::start(&cluster, 3);
    load.await_progress(100);
    let mut dice = Dice::new(4711);
    let noise: Vec<u8> = (0..4096).map(|_| dice.roll() as u8).collect();
    let mut greetings: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"ruok".to_vec(),
        vec![0; 64],
        vec![0xFF; 64],
        // The election port's greeting, of protocol versions -65536 and -65535, from numbers that are no member's.
        [&(-65_536_i64).to_be_bytes()[..], &99_i64.to_be_bytes(), &5_i32.to_be_bytes(), b"x:y:z"].concat(),
        [&(-65_535_i64).to_be_bytes()[..], &(-7_i64).to_be_bytes(), &i32::MAX.to_be_bytes()].concat(),
        [&(-65_536_i64).to_be_bytes()[..], &1_i64.to_be_bytes(), &(-1_i32).to_be_bytes()].concat(),
        // A quorum packet that is longer than all that may come, and FOLLOWERINFO of nobody.
        [&11_i32.to_be_bytes()[..], &0_i64.to_be_bytes(), &i32::MAX.to_be_bytes()].concat(),
        [&11_i32.to_be_bytes()[..], &0_i64.to_be_bytes(), &(-1_i32).to_be_bytes(), &(-1_i32).to_be_bytes()].concat(),
    ];
    greetings.extend((1..20).map(|part| noise[part * 100..part * 200].to_vec()));
    let mut held = Vec::new();
    for sid in &all {
        for port in [cluster.member(*sid).quorum_port, cluster.member(*sid).election_port] {
            for greeting in &greetings {
                // Only the leader has its quorum port open.
                let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                // A server that hangs up at once is in its right.
                let _ = stream.write_all(greeting);
                let _ = stream.read(&mut [0; 64]);
                if dice.below(2) == 0 {
                    let _ = stream.shutdown(Shutdown::Write);
                    held.push(stream);
                }
            }
        }
    }
    load.await_progress(500);
    drop(held);
    load.await_progress(200);
    assert_eq!(cluster.mode(leader).as_deref(), Some("leader"), "strangers have unseated the leader");
    for sid in cluster.others(&[leader]) {
        cluster.await_mode(sid, "follower");
    }
    history::conclude(&mut cluster, &all, load);
}
