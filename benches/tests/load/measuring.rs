//! What is measured is what happened.

use super::support::{Fixture, Signal, signal};
use benches::driver::{Stage, measure, run};
use benches::report::RunFigures;
use benches::stop::Stop;
use benches::workload::{Arrivals, Load, Protocol, Schedule, Servers, Span, Workload};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

fn workload(servers: Servers, mix: &str) -> Workload {
    Workload {
        servers,
        mix: mix.parse().unwrap(),
        connections: 8,
        outstanding: 1000,
        keys: 200,
        warm_up: Span(Duration::from_millis(200)),
        measure: Span::seconds(1),
        ..Workload::default()
    }
}

/// Coordinated omission: a server that stands still must not be spared the requests that were meant meanwhile.
#[test]
fn a_stopped_server_shows_in_the_latencies_of_an_open_loop() {
    const RATE: u64 = 200;
    let fixture = Fixture::new();
    let (pid, stop) = (fixture.server.pid(), Stop::default());
    let load = Load::Open { schedule: Schedule::fixed(RATE as f64).unwrap(), poisson: false };
    let workload = Workload { load, measure: Span::seconds(8), ..workload(fixture.servers(), "get") };
    let stage = Stage::prepare(&workload, &stop).unwrap();
    let mut pause = None;
    let outcome = run(&stage, &workload, &[pid], &stop, &mut |progress| {
        if pause.is_none() && progress.elapsed > workload.warm_up.0 + Duration::from_secs(1) {
            signal(pid, Signal::STOP);
            pause = Some(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(2));
                signal(pid, Signal::CONT);
            }));
        }
    });
    pause.expect("the run was long enough").join().unwrap();
    let outcome = outcome.unwrap();
    stage.clean().unwrap();
    // Those meant in the first of the two seconds waited for the other one at least.
    let slow = outcome.latency_ns.count_between(1_000_000_000, u64::MAX);
    assert!(slow >= RATE * 3 / 4, "{slow} requests took a second or more");
    assert!(outcome.max_us() >= 1_900_000.0, "the slowest took {} us", outcome.max_us());
    // Every request that was meant for the time is among the latencies, answered or not.
    assert_eq!(outcome.latency_ns.len(), RATE * 8);
    assert_eq!((outcome.errors, outcome.ended_early), (0, None));
}

/// The asked rate is what is sent, however many threads share the schedule: not one request of the measured time is left out.
#[test]
fn an_open_loop_sends_as_many_as_its_schedule_says() {
    const RATE: u64 = 200;
    let fixture = Fixture::new();
    let load = Load::Open { schedule: Schedule::fixed(RATE as f64).unwrap(), poisson: false };
    let workload = Workload { load, threads: 2, measure: Span::seconds(3), ..workload(fixture.servers(), "half") };
    let outcome = measure(&workload, &[fixture.server.pid()], &Stop::default()).unwrap();
    assert_eq!((outcome.errors, outcome.ended_early), (0, None));
    assert_eq!(outcome.latency_ns.len(), RATE * 3);
    assert!((outcome.asked_rate.unwrap() / RATE as f64 - 1.0).abs() < 1e-6);
}

/// A server of which is known how long it takes: whether arrivals are told by the kernel or by the program, no latency is shorter
/// than that, and both tell the same of the typical request. A machine that stands still may spoil a try, so one has to agree.
#[test]
fn both_ways_to_tell_arrivals_agree_on_a_server_of_known_delay() {
    const DELAY: Duration = Duration::from_millis(20);
    let server = slow_server(DELAY);
    let begin = Instant::now();
    loop {
        let medians = [Arrivals::Kernel, Arrivals::Program].map(|arrivals| {
            let load = Load::Open { schedule: Schedule::fixed(1500.0).unwrap(), poisson: false };
            let (connections, keys, protocol) = (64, 1, Protocol::Redis);
            let servers = Servers::one(server);
            let workload = Workload { load, arrivals, connections, keys, protocol, ..workload(servers, "get") };
            let outcome = measure(&workload, &[], &Stop::default()).unwrap();
            assert_eq!((outcome.errors, outcome.ended_early.as_deref()), (0, None));
            // The histogram keeps three digits, and a step of a clock by less than a millisecond is not noticed.
            assert!(outcome.latency_ns.min() >= 18_500_000, "{arrivals:?}: {} ns", outcome.latency_ns.min());
            outcome.quantile_us(0.5)
        });
        if (medians[0] - medians[1]).abs() < 2_000.0 {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(180), "half of the requests took {medians:?} us at most");
    }
}

/// A server of Redis's protocol that answers a GET after so long, and anything else at once.
fn slow_server(delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
                // *2, $3, GET, $1, 0: a word is the line after its length.
                while let Some(words) = lines.next().and_then(|count| count.strip_prefix('*')?.parse::<usize>().ok()) {
                    let request: Vec<String> = lines.by_ref().take(2 * words).collect();
                    let reply: &[u8] = match request.get(1).map(String::as_str) {
                        Some("GET") => {
                            std::thread::sleep(delay);
                            b"$1\r\nv\r\n"
                        }
                        _ => b"+OK\r\n",
                    };
                    if writer.write_all(reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn every_operation_is_answered_without_error() {
    let fixture = Fixture::new();
    let all =
        "get=5,set=5,create=5,create_ephemeral=5,create_sequential=5,delete=10,exists=5,children=5,multi=5,sync=5";
    let workload = Workload { outstanding: 4, threads: 2, ..workload(fixture.servers(), all) };
    let outcome = measure(&workload, &[fixture.server.pid()], &Stop::default()).unwrap();
    assert_eq!(outcome.record.errors, Default::default());
    assert_eq!(outcome.by_op().count(), 10);
    assert!(outcome.rate > 0.0 && outcome.server.is_some());
    assert!(!fixture.holds_something());
}

#[test]
fn watches_fire_and_sessions_are_replaced_during_a_run() {
    let fixture = Fixture::new();
    let mut workload = Workload { outstanding: 2, churn_per_second: 50.0, ..workload(fixture.servers(), "half") };
    workload.watches.per_session = 5;
    let outcome = measure(&workload, &[], &Stop::default()).unwrap();
    assert!(outcome.record.events > 0, "no watch fired");
    assert!(!outcome.record.churned_ns.is_empty(), "no session was replaced");
    assert_eq!((outcome.errors, outcome.record.lost_connections), (0, 0));
}

#[test]
fn figures_survive_their_json() {
    let fixture = Fixture::new();
    let workload = Workload { outstanding: 2, ..workload(fixture.servers(), "mixed") };
    let outcome = measure(&workload, &[], &Stop::default()).unwrap();
    let figures = serde_json::to_value(RunFigures::of(&outcome, &workload)).unwrap();
    let again: RunFigures = serde_json::from_str(&figures.to_string()).unwrap();
    let twice = serde_json::to_value(&again).unwrap();
    assert!(alike(&figures, &twice), "{figures} became {twice}");
    assert_eq!(again.answered, outcome.answered);
    assert_eq!(again.operations.iter().map(|op| op.answered).sum::<u64>(), outcome.answered);
    assert!(again.over_time.iter().map(|moment| moment.rate).sum::<f64>() > 0.0);
}

/// Whether two values are the same, but for the last digit of a number that went through text.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-9 * one.abs()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let found = |name| other.get(name).is_some_and(|value| alike(&one[name], value));
            one.len() == other.len() && one.keys().all(found)
        }
        _ => one == other,
    }
}
