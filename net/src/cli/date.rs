//! Dates as Java's `Date.toString` writes them, in the zone of the machine.
//!
//! The zone comes from `TZ` or `/etc/localtime` (TZif, RFC 9636): its transitions, and for later times the POSIX rule at
//! the end of the file. What cannot be read counts as UTC.

mod posix_rule;

use posix_rule::PosixRule;
use std::path::PathBuf;

/// A time zone's past and, by rule, its future.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TimeZone {
    /// From when (seconds since the epoch) which offset holds; in order.
    transitions: Vec<(i64, Offset)>,
    before: Offset,
    rule: Option<PosixRule>,
}

/// Seconds east of Greenwich, and what that is called.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Offset {
    seconds: i64,
    name: String,
}

impl TimeZone {
    /// Greenwich without summer time, as a Java runtime names it.
    pub(super) fn utc() -> TimeZone {
        let before = Offset { seconds: 0, name: "UTC".to_owned() };
        TimeZone { transitions: Vec::new(), before, rule: None }
    }

    /// The zone of this machine, as `TZ` (given as `tz`) or else `/etc/localtime` has it.
    pub(super) fn of_machine(tz: Option<&str>) -> TimeZone {
        let tz = tz.map(|tz| tz.trim_start_matches(':')).filter(|tz| !tz.is_empty());
        let file = match tz {
            Some(path) if path.starts_with('/') => PathBuf::from(path),
            Some(name) => PathBuf::from("/usr/share/zoneinfo").join(name),
            None => PathBuf::from("/etc/localtime"),
        };
        let from_file = || TimeZone::parse(&std::fs::read(file).ok()?);
        let from_rule = || {
            let rule = PosixRule::parse(tz?)?;
            Some(TimeZone { rule: Some(rule), ..TimeZone::utc() })
        };
        from_file().or_else(from_rule).unwrap_or_else(TimeZone::utc)
    }

    /// Reads TZif; `None` if that is not what `bytes` are.
    fn parse(bytes: &[u8]) -> Option<TimeZone> {
        let first = Header::parse(bytes)?;
        // The first block has 32-bit times; from version 2 on, a second one with 64-bit times follows.
        let (header, body, width) = if bytes.get(4)? >= &b'2' {
            let second = bytes.get(44 + first.block_bytes(4)?..)?;
            (Header::parse(second)?, second.get(44..)?, 8)
        } else {
            (first, bytes.get(44..)?, 4)
        };
        let (times, rest) = body.split_at_checked(header.times.checked_mul(width)?)?;
        let (kinds, rest) = rest.split_at_checked(header.times)?;
        let (types, rest) = rest.split_at_checked(header.types.checked_mul(6)?)?;
        let (names, _) = rest.split_at_checked(header.name_bytes)?;
        let offset = |kind: u8| {
            let entry = types.get(usize::from(kind) * 6..)?.first_chunk::<6>()?;
            let name = names.get(usize::from(entry[5])..)?.split(|byte| *byte == 0).next()?;
            let seconds = i64::from(i32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]));
            Some(Offset { seconds, name: String::from_utf8_lossy(name).into_owned() })
        };
        let time = |bytes: &[u8]| match bytes.len() {
            8 => bytes.first_chunk().map(|bytes| i64::from_be_bytes(*bytes)),
            _ => bytes.first_chunk().map(|bytes| i64::from(i32::from_be_bytes(*bytes))),
        };
        let transitions: Option<Vec<(i64, Offset)>> =
            times.chunks(width).zip(kinds).map(|(at, kind)| Some((time(at)?, offset(*kind)?))).collect();
        let footer = body.get(header.block_bytes(width)?..).filter(|_| width == 8).unwrap_or_default();
        let rule = std::str::from_utf8(footer).ok().and_then(|text| PosixRule::parse(text.trim_matches('\n')));
        Some(TimeZone { transitions: transitions?, before: offset(0)?, rule })
    }

    /// `millis` since the epoch as `EEE MMM dd HH:mm:ss zzz yyyy`.
    pub(super) fn format(&self, millis: i64) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let seconds = millis.div_euclid(1000);
        let offset = self.offset_at(seconds);
        let local = seconds.saturating_add(offset.seconds);
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        format!(
            "{} {} {day:02} {:02}:{:02}:{:02} {} {year:04}",
            DAYS[days.rem_euclid(7) as usize],
            MONTHS[month as usize - 1],
            second / 3600,
            second / 60 % 60,
            second % 60,
            offset.name,
        )
    }

    fn offset_at(&self, seconds: i64) -> Offset {
        let passed = self.transitions.partition_point(|(at, _)| *at <= seconds);
        match (passed, &self.rule) {
            // Behind the last transition, which for a zone without any is always, the rule holds.
            (passed, Some(rule)) if passed == self.transitions.len() => rule.offset_at(seconds),
            (0, _) => self.before.clone(),
            (passed, _) => self.transitions[passed - 1].1.clone(),
        }
    }
}

/// Year, month (1 to 12) and day of a day number since the epoch, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years counted from March make the leap day the last of its year.
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number since the epoch of a date; the inverse of [`civil`].
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The counts in front of a TZif block.
struct Header {
    is_utc: usize,
    is_standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    name_bytes: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..44).filter(|bytes| bytes.starts_with(b"TZif"))?;
        let count = |at: usize| {
            let field = bytes.get(20 + at * 4..)?.first_chunk()?;
            usize::try_from(u32::from_be_bytes(*field)).ok()
        };
        Some(Header {
            is_utc: count(0)?,
            is_standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            name_bytes: count(5)?,
        })
    }

    /// Length of the block behind the header, with times of `width` bytes.
    fn block_bytes(&self, width: usize) -> Option<usize> {
        let per_time = self.times.checked_mul(width + 1)?;
        let per_leap = self.leaps.checked_mul(width + 4)?;
        let parts = [per_time, self.types.checked_mul(6)?, self.name_bytes, per_leap, self.is_standard, self.is_utc];
        parts.into_iter().try_fold(0usize, usize::checked_add)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// A TZif file of version 2 with one transition, to CET at 2000-01-01 UTC.
    fn berlin() -> Vec<u8> {
        let block = |width: usize| {
            let mut block = b"TZif2".to_vec();
            block.extend([0; 15]);
            for count in [0u32, 0, 0, 1, 2, 8] {
                block.extend(count.to_be_bytes());
            }
            block.extend(&946_684_800i64.to_be_bytes()[8 - width..]);
            block.push(1);
            block.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x0E, 0x10, 0, 4]);
            block.extend(b"LMT\0CET\0");
            block
        };
        [block(4), block(8), b"\nCET-1CEST,M3.5.0,M10.5.0/3\n".to_vec()].concat()
    }

    #[test]
    fn dates_look_like_javas() {
        let utc = TimeZone::utc();
        assert_eq!(utc.format(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(utc.format(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(utc.format(-1), "Wed Dec 31 23:59:59 UTC 1969");
    }

    #[test]
    fn transitions_and_then_the_rule_give_the_offset() {
        let berlin = TimeZone::parse(&berlin()).unwrap();
        assert_eq!(berlin.format(0), "Thu Jan 01 00:00:00 LMT 1970");
        assert_eq!(berlin.format(946_684_800_000), "Sat Jan 01 01:00:00 CET 2000");
        assert_eq!(berlin.format(1_774_745_999_000), "Sun Mar 29 01:59:59 CET 2026");
        assert_eq!(berlin.format(1_774_746_000_000), "Sun Mar 29 03:00:00 CEST 2026");
        assert_eq!(berlin.format(1_792_889_999_000), "Sun Oct 25 02:59:59 CEST 2026");
        assert_eq!(berlin.format(1_792_890_000_000), "Sun Oct 25 02:00:00 CET 2026");
    }

    #[test]
    fn a_file_cut_short_is_no_zone() {
        let whole = berlin();
        for end in 0..whole.len() - 28 {
            assert_eq!(TimeZone::parse(&whole[..end]), None, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), at: usize, millis: i64) {
            let _ = TimeZone::parse(&bytes);
            let mut damaged = berlin();
            let at = at % damaged.len();
            damaged[at..].iter_mut().zip(&bytes).for_each(|(old, new)| *old = *new);
            if let Some(zone) = TimeZone::parse(&damaged) {
                let _ = zone.format(millis);
            }
        }

        #[test]
        fn dates_and_day_numbers_agree(days in -10_000_000i64..10_000_000) {
            let (year, month, day) = civil(days);
            prop_assert_eq!(day_number(year, month, day), days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }
    }
}
