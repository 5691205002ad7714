//! One reading of the clocks per turn of a core's loop.

use replication::role::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The origin of this process's monotonic milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now. It does not start at 0, so that no deadline lies before its origin.
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono_ms: self.mono_ms(), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }

    /// Milliseconds of the monotonic clock.
    pub fn mono_ms(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The instant at which the monotonic clock shows `mono_ms`.
    pub fn instant(&self, mono_ms: i64) -> Instant {
        self.origin + Duration::from_millis(u64::try_from(mono_ms).unwrap_or(0))
    }
}
