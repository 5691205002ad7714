//! Who may connect, and how much may be under way: limits that hold for the whole server, looked at when a connection or
//! a handshake arrives and never for an ordinary request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tuning::config::ConnectionThrottleConfig;

/// Limits of one server, shared by its cores.
#[derive(Debug)]
pub struct Admission {
    per_address_max: u32,
    all_max: u32,
    connections: Mutex<Connections>,
    large_max: usize,
    large: AtomicUsize,
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
    /// `per_address_max` is `maxClientCnxns` and `all_max` is `maxCnxns`, 0 for no limit; `large_max` is
    /// `largeRequestMaxBytes`.
    pub fn new(per_address_max: u32, all_max: u32, large_max: usize, throttle: &ConnectionThrottleConfig) -> Admission {
        let bucket = (throttle.tokens > 0).then(|| Mutex::new(TokenBucket::new(throttle)));
        Admission {
            per_address_max,
            all_max,
            connections: Mutex::default(),
            large_max,
            large: AtomicUsize::new(0),
            bucket,
        }
    }

    /// A place for a connection from `address`, if there is one left.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut connections = lock(&self.connections);
        if self.all_max > 0 && connections.all >= self.all_max {
            return None;
        }
        let from_here = connections.by_address.entry(address).or_default();
        if self.per_address_max > 0 && *from_here >= self.per_address_max {
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
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.large_max);
        self.large.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Gives them back.
    pub fn release_large(&self, bytes: usize) {
        self.large.fetch_sub(bytes, Ordering::Relaxed);
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
    tokens: u32,
    filled_at_ms: Option<i64>,
    frozen_until_ms: i64,
    drop_chance: f64,
}

impl TokenBucket {
    fn new(config: &ConnectionThrottleConfig) -> TokenBucket {
        TokenBucket {
            config: config.clone(),
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
            (true, false) => self.config.global_session_weight,
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
        let admission = Admission::new(2, 3, 0, &throttle(0));
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
        let admission = Admission::new(0, 0, 100, &throttle(0));
        assert!(admission.reserve_large(60));
        assert!(!admission.reserve_large(41));
        admission.release_large(60);
        assert!(admission.reserve_large(100));
    }

    #[test]
    fn the_bucket_fills_with_time() {
        let admission = Admission::new(0, 0, 0, &throttle(1));
        assert!(admission.admit_handshake(false, 0, 1.0));
        assert!(!admission.admit_handshake(false, 5, 1.0));
        assert!(admission.admit_handshake(false, 10, 1.0));
    }

    #[test]
    fn weights_and_chance() {
        let config = ConnectionThrottleConfig { weight_enabled: true, freeze_time_ms: Some(0), ..throttle(3) };
        let mut bucket = TokenBucket::new(&config);
        assert!(bucket.take(false, 0, 1.0), "a new session costs all three");
        assert!(!bucket.take(true, 1, 1.0));
        assert!(bucket.drop_chance > 0.0, "an empty bucket begins to drop by chance");
    }
}
