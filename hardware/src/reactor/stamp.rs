//! When bytes arrived, as the kernel tells: it stamps packets as they come in (SO_TIMESTAMPNS), by the clock of the day, and
//! here that becomes an [`Instant`].
//!
//! A stamped socket is received from with a multishot recvmsg. In front of the bytes the kernel then writes a header and the
//! control message with the stamp.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use io_uring::types::RecvMsgOut;

/// The control message: its header (`cmsghdr`) and a `timespec`, both of 16 bytes.
const CONTROL_BYTES: usize = 32;
/// What stands in front of the bytes of a stamped receive: 16 bytes of header, and the control message.
pub(super) const STAMP_BYTES: u32 = 16 + CONTROL_BYTES as u32;
/// Clocks that moved further apart than this between two readings (and a thousandth of the time between them, as a clock is
/// also set right little by little) were set.
const STEP: Duration = Duration::from_millis(1);

/// What a stamped receive asks for. Boxed: the kernel reads it where it is.
pub(super) struct StampHeader(Box<libc::msghdr>);

impl StampHeader {
    pub(super) fn new() -> StampHeader {
        // SAFETY: an all-zero msghdr is valid: no name, no vectors, no control data.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_controllen = CONTROL_BYTES as _;
        StampHeader(Box::new(header))
    }

    pub(super) fn as_ptr(&self) -> *const libc::msghdr {
        &raw const *self.0
    }

    /// Where the bytes begin in what a stamped receive filled, and the stamp, if there is one. `None` if the kernel broke its
    /// word.
    pub(super) fn split(&self, filled: &[u8]) -> Option<(usize, Option<Duration>)> {
        let out = RecvMsgOut::parse(filled, &self.0).ok()?;
        Some((filled.len() - out.payload_data().len(), stamp_in(out.control_data())))
    }
}

/// Asks the kernel to stamp what comes.
pub(super) fn stamp_arrivals(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes an int, which outlives the call, and its size is given.
    let answer = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), bytes)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The stamp in control data of one message at the most, as time since 1970.
fn stamp_in(control: &[u8]) -> Option<Duration> {
    let int = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(i64::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let is_stamp = int(8)? == libc::SOL_SOCKET && int(12)? == libc::SCM_TIMESTAMPNS;
    let (seconds, nanos) = (u64::try_from(long(16)?).ok()?, u32::try_from(long(24)?).ok()?);
    (is_stamp && nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// The clock of the day beside that of [`Instant`], read anew where stamps have to be turned.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    last: Option<(Duration, Instant)>,
    /// Whether the clock of the day was set between the last reading and the one before, as far as is known.
    set: bool,
}

impl Clocks {
    /// Reads both. Where the thread is interrupted between, arrivals seem later than they were, never earlier.
    pub(super) fn read(&mut self) {
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.book(day, Instant::now());
    }

    fn book(&mut self, day: Duration, now: Instant) {
        self.set = self.last.replace((day, now)).is_none_or(|(last_day, last_now)| {
            let passed = now.saturating_duration_since(last_now);
            day.checked_sub(last_day).is_none_or(|by_day| by_day.abs_diff(passed) > STEP + passed / 1000)
        });
    }

    /// When something was stamped, never later than the last reading; `None` if the clock of the day was set meanwhile, or may
    /// have been.
    pub(super) fn instant_of(&self, stamp: Duration) -> Option<Instant> {
        let (day, now) = self.last.filter(|_| !self.set)?;
        now.checked_sub(day.saturating_sub(stamp))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(1_700_000_000);

    fn control(level: i32, kind: i32, seconds: i64, nanos: i64) -> Vec<u8> {
        let mut bytes = (CONTROL_BYTES as u64).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()));
        bytes.extend(seconds.to_ne_bytes().into_iter().chain(nanos.to_ne_bytes()));
        bytes
    }

    #[test]
    fn only_a_whole_stamp_is_one() {
        let good = control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, 5, 7);
        assert_eq!(stamp_in(&good), Some(Duration::new(5, 7)));
        for cut in 0..good.len() {
            assert_eq!(stamp_in(&good[..cut]), None, "{cut}");
        }
        assert_eq!(stamp_in(&control(libc::SOL_SOCKET, libc::SCM_RIGHTS, 5, 7)), None);
        assert_eq!(stamp_in(&control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, -5, 7)), None);
        assert_eq!(stamp_in(&control(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, 5, 1_000_000_000)), None);
    }

    #[test]
    fn clocks_of_which_one_was_set_tell_nothing_until_the_next_reading() {
        let (mut clocks, begin) = (Clocks::default(), Instant::now());
        let at = |ms: u64| Duration::from_millis(ms);
        clocks.book(DAY, begin);
        assert_eq!(clocks.instant_of(DAY), None, "one reading tells nothing of what was before");
        clocks.book(DAY + at(100), begin + at(100));
        assert_eq!(clocks.instant_of(DAY + at(40)), Some(begin + at(40)));
        for (day, ms) in [(DAY + at(200) + at(3_600_000), 200), (DAY, 300)] {
            clocks.book(day, begin + at(ms));
            assert_eq!(clocks.instant_of(day), None, "the clock was set");
            clocks.book(day + at(50), begin + at(ms + 50));
            assert_eq!(clocks.instant_of(day + at(50)), Some(begin + at(ms + 50)));
        }
    }

    proptest! {
        /// Whatever the stamp, an arrival is never later than the reading, and as long before it as the stamp says.
        #[test]
        fn arrivals_are_as_old_as_their_stamps(
            age_us in -10_000_000_i64..10_000_000,
            passed_us in 0_u64..10_000_000,
            drift_us in -900_i64..900,
        ) {
            let (mut clocks, begin) = (Clocks::default(), Instant::now() + Duration::from_secs(100));
            clocks.book(DAY, begin);
            let now = begin + Duration::from_micros(passed_us);
            let day = DAY + Duration::from_micros(passed_us.saturating_add_signed(drift_us));
            clocks.book(day, now);
            let stamp = Duration::from_micros((day.as_micros() as u64).saturating_add_signed(-age_us));
            let arrived = clocks.instant_of(stamp);
            let old = Duration::from_micros(age_us.max(0).unsigned_abs());
            if day >= DAY {
                prop_assert_eq!(arrived, Some(now - old));
            } else {
                prop_assert_eq!(arrived, None);
            }
        }
    }
}
