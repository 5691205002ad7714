//! Who may connect, and how much may be under way: limits that hold for the whole server, looked at when a connection or
//! a handshake arrives, and for ordinary requests only under a request throttle.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tuning::config::ConnectionThrottleConfig;

/// How much there may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmissionLimits {
    /// `maxClientCnxns`: connections from one address; 0 for no limit.
    pub per_address_max: u32,
    /// `maxCnxns`: connections in all; 0 for no limit.
    pub all_max: u32,
    /// `largeRequestMaxBytes`.
    pub large_bytes_max: usize,
    /// `request_throttle_max_requests`: requests in process.
    pub requests_max: usize,
    /// Whether new sessions are local, which weigh less in the connection throttle.
    pub sessions_are_local: bool,
}

/// Limits of one server, shared by its cores.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    connections: Mutex<Connections>,
    large: AtomicUsize,
    requests: AtomicUsize,
    bucket: Option<Mutex<TokenBucket>>,
}

#[derive(Debug, Default)]
struct Connections {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// A place for one connection, given back with [`Admission::leave`].
#[derive(Debug)]
#[must_use = "a place that is not given back is lost to its address"]
pub struct Place(IpAddr);

impl Admission {
    /// Nobody is here yet, and nothing under way.
    pub fn new(limits: AdmissionLimits, throttle: &ConnectionThrottleConfig) -> Admission {
        let new_weight =
            if limits.sessions_are_local { throttle.local_session_weight } else { throttle.global_session_weight };
        Admission {
            limits,
            connections: Mutex::default(),
            large: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            bucket: (throttle.tokens > 0).then(|| Mutex::new(TokenBucket::new(throttle, new_weight))),
        }
    }

    /// A place for a connection from `address`, if there is one left.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut connections = lock(&self.connections);
        if self.limits.all_max > 0 && connections.all >= self.limits.all_max {
            return None;
        }
        let from_here = connections.by_address.entry(address).or_default();
        if self.limits.per_address_max > 0 && *from_here >= self.limits.per_address_max {
            return None;
        }
        *from_here += 1;
        connections.all += 1;
        Some(Place(address))
    }

    /// Gives a place back.
    pub fn leave(&self, place: Place) {
        let mut connections = lock(&self.connections);
        connections.all = connections.all.saturating_sub(1);
        if let Some(from_here) = connections.by_address.get_mut(&place.0) {
            *from_here -= 1;
            if *from_here == 0 {
                connections.by_address.remove(&place.0);
            }
        }
    }

    /// Connections of the whole server.
    pub fn connections(&self) -> u32 {
        lock(&self.connections).all
    }

    /// Reserves bytes for a large request, if the sum allows it.
    pub fn reserve_large(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.limits.large_bytes_max);
        self.large.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Gives them back.
    pub fn release_large(&self, bytes: usize) {
        self.large.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes one more request into process, if there is room.
    pub fn begin_request(&self) -> bool {
        let fits = |count: usize| (count < self.limits.requests_max).then_some(count + 1);
        self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// So many requests are no longer in process.
    pub fn end_requests(&self, count: usize) {
        if count > 0 {
            self.requests.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// The connection throttle's word on a handshake. `weight` is what it costs; `dice` decides where the throttle
    /// drops by chance.
    pub fn admit_handshake(&self, renewal: bool, now_ms: i64, dice: f64) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| lock(bucket).take(renewal, now_ms, dice))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The books stay right even if a thread died while it held them: every change is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `BlueThrottle`: a token bucket, which may also drop by chance once it has run empty often enough.
#[derive(Debug)]
struct TokenBucket {
    config: ConnectionThrottleConfig,
    /// Tokens that a new session costs, if weights count.
    new_weight: u32,
    tokens: u32,
    filled_at_ms: Option<i64>,
    frozen_until_ms: i64,
    drop_chance: f64,
}

impl TokenBucket {
    fn new(config: &ConnectionThrottleConfig, new_weight: u32) -> TokenBucket {
        TokenBucket {
            config: config.clone(),
            new_weight,
            tokens: config.tokens,
            filled_at_ms: None,
            frozen_until_ms: 0,
            drop_chance: 0.0,
        }
    }

    fn take(&mut self, renewal: bool, now_ms: i64, dice: f64) -> bool {
        let filled_at = *self.filled_at_ms.get_or_insert(now_ms);
        let elapsed = now_ms.saturating_sub(filled_at);
        let fill_time = i64::from(self.config.fill_time_ms.max(1));
        if elapsed >= fill_time {
            let fills = u32::try_from(elapsed / fill_time).unwrap_or(u32::MAX);
            let added = fills.saturating_mul(self.config.fill_count);
            self.tokens = self.tokens.saturating_add(added).min(self.config.tokens);
            self.filled_at_ms = Some(now_ms);
        }
        self.adapt(now_ms);
        let weight = match (self.config.weight_enabled, renewal) {
            (false, _) => 1,
            (true, false) => self.new_weight,
            (true, true) => self.config.renew_session_weight,
        };
        if self.tokens < weight || dice < self.drop_chance {
            return false;
        }
        self.tokens -= weight;
        true
    }

    fn adapt(&mut self, now_ms: i64) {
        let Some(freeze) = self.config.freeze_time_ms else { return };
        if now_ms < self.frozen_until_ms {
            return;
        }
        let free = f64::from(self.tokens) / f64::from(self.config.tokens);
        if self.tokens == 0 {
            self.drop_chance = (self.drop_chance + self.config.drop_increase).min(1.0);
        } else if free >= self.config.decrease_ratio {
            self.drop_chance = (self.drop_chance - self.config.drop_decrease).max(0.0);
        } else {
            return;
        }
        self.frozen_until_ms = now_ms.saturating_add(i64::from(freeze));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn throttle(tokens: u32) -> ConnectionThrottleConfig {
        ConnectionThrottleConfig {
            tokens,
            fill_time_ms: 10,
            fill_count: 1,
            freeze_time_ms: None,
            drop_increase: 0.5,
            drop_decrease: 0.25,
            decrease_ratio: 0.5,
            weight_enabled: false,
            global_session_weight: 3,
            renew_session_weight: 2,
            local_session_weight: 1,
        }
    }

    #[test]
    fn places_are_counted_by_address() {
        let admission =
            Admission::new(AdmissionLimits { per_address_max: 2, all_max: 3, ..Default::default() }, &throttle(0));
        let (here, there): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "::ffff:10.0.0.2".parse().unwrap());
        let first = admission.enter(here).unwrap();
        let _second = admission.enter(here).unwrap();
        assert!(admission.enter(here).is_none(), "two from one address");
        let _third = admission.enter(there).unwrap();
        assert!(admission.enter("10.0.0.2".parse().unwrap()).is_none(), "three in all");
        admission.leave(first);
        assert!(admission.enter("10.0.0.2".parse().unwrap()).is_some());
    }

    #[test]
    fn large_requests_share_a_sum() {
        let admission = Admission::new(AdmissionLimits { large_bytes_max: 100, ..Default::default() }, &throttle(0));
        assert!(admission.reserve_large(60));
        assert!(!admission.reserve_large(41));
        admission.release_large(60);
        assert!(admission.reserve_large(100));
    }

    #[test]
    fn requests_in_process_are_counted() {
        let admission = Admission::new(AdmissionLimits { requests_max: 2, ..Default::default() }, &throttle(0));
        assert!(admission.begin_request() && admission.begin_request() && !admission.begin_request());
        admission.end_requests(1);
        assert!(admission.begin_request() && !admission.begin_request());
        admission.end_requests(2);
        assert!(admission.begin_request());
    }

    #[test]
    fn a_local_session_weighs_less_than_a_global_one() {
        let config = ConnectionThrottleConfig { weight_enabled: true, ..throttle(2) };
        for (sessions_are_local, expected) in [(true, true), (false, false)] {
            let admission = Admission::new(AdmissionLimits { sessions_are_local, ..Default::default() }, &config);
            assert_eq!(admission.admit_handshake(false, 0, 1.0), expected);
        }
    }

    #[test]
    fn the_bucket_fills_with_time() {
        let admission = Admission::new(AdmissionLimits::default(), &throttle(1));
        assert!(admission.admit_handshake(false, 0, 1.0));
        assert!(!admission.admit_handshake(false, 5, 1.0));
        assert!(admission.admit_handshake(false, 10, 1.0));
    }

    #[test]
    fn weights_and_chance() {
        let config = ConnectionThrottleConfig { weight_enabled: true, freeze_time_ms: Some(0), ..throttle(3) };
        let mut bucket = TokenBucket::new(&config, 3);
        assert!(bucket.take(false, 0, 1.0), "a new session costs all three");
        assert!(!bucket.take(true, 1, 1.0));
        assert!(bucket.drop_chance > 0.0, "an empty bucket begins to drop by chance");
    }
}
