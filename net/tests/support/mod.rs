//! What the external tests share: the server as a process of its own, a raw client, the foreign tools.
//!
//! Environment:
//!
//! - `RINGKEEPER_TEST_SERVER=java` starts Apache ZooKeeper (Debian's `zookeeper` and its jars) in the place of
//!   Ringkeeper, so that every test can be held against the reference. Only the few tests that are about Ringkeeper
//!   alone (its command line, its exit codes, behaviour of the reference that must not be copied) say so and return.
//! - `RINGKEEPER_TEST_JARS` is a folder with the jars of another ZooKeeper release under the names that Debian gives them
//!   (`zookeeper.jar`, `zookeeper-jute.jar`, ... as in /usr/share/java): servers and clients in Java run on those.
//! - `RINGKEEPER_TEST_BINARY` names another `ringkeeper` program than the one of this build.
//! - `RINGKEEPER_TEST_DIR` is where data directories are made (the system's temporary directory unless set).
//! - `CI=true` turns a skipped test (no Python, no Java, no network) into a failed one.
#![allow(dead_code, clippy::unwrap_used)]

pub mod disk;
pub mod http;
pub mod raw;
pub mod record;
pub mod server;
pub mod session;
pub mod tools;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Whether the tests run against Apache ZooKeeper.
pub fn is_reference() -> bool {
    std::env::var("RINGKEEPER_TEST_SERVER").is_ok_and(|value| value == "java")
}

/// Whether the tests run against an Apache ZooKeeper older than 3.9, which answered some things in another way.
pub fn is_before_3_9() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| is_reference() && tools::reference_release() < (3, 9))
}

/// Says that a test is about Ringkeeper alone, when the reference is under test. True: return.
pub fn only_ringkeeper(what: &str) -> bool {
    if is_reference() {
        println!("not asked of the reference server: {what}");
    }
    is_reference()
}

/// Says that a test cannot run here and why; fails where a skip is not accepted.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true accepts no skipped test: {why}");
}

/// Polls until `condition` yields a value; the failure after `limit` names `what`.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    try_wait_for(limit, &mut condition).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Polls until `condition` yields a value or `limit` is over.
pub fn try_wait_for<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= until {
            return None;
        }
        pause(Duration::from_millis(10));
    }
}

/// The pause between two looks at a condition.
pub fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// A small seeded generator (splitmix64), so that a printed seed replays a run's choices.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

/// A seed that differs between runs, unless the named variable gives one.
pub fn seed_from(variable: &str) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")),
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64,
    }
}

/// Makes a `#[test]` of each function for one shard core and for four. The functions take the number of shards.
/// The reference has no shards: there the second run would be the first again, and is left out.
#[macro_export]
macro_rules! on_one_and_four_shards {
    ($($name:ident),* $(,)?) => {
        mod one_shard {
            $(#[test] fn $name() { super::$name(1); })*
        }
        mod four_shards {
            $(#[test] fn $name() {
                if !$crate::support::is_reference() {
                    super::$name(4);
                }
            })*
        }
    };
}
