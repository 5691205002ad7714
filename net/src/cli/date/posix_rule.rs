//! The rule that a zone follows from its last transition on (POSIX `TZ`, as in the footer of TZif).

use super::{Offset, civil, day_number};

/// `std offset [dst [offset] [,start[/time],end[/time]]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PosixRule {
    standard: Offset,
    summer: Option<(Offset, Change, Change)>,
}

/// When in a year summer time begins or ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change {
    day: Day,
    /// Seconds of local time, which may lie outside the day.
    time: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Day {
    /// `Jn`: 1 to 365, never 29 February.
    Julian(i64),
    /// `n`: 0 to 365.
    Ordinal(i64),
    /// `Mm.w.d`: month, week (5 is the last), day of the week (0 is Sunday).
    Weekday(i64, i64, i64),
}

impl PosixRule {
    /// Reads a rule; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<PosixRule> {
        let mut rest = text;
        let name = take_name(&mut rest)?;
        let standard = Offset { seconds: -take_time(&mut rest)?, name };
        if rest.is_empty() {
            return Some(PosixRule { standard, summer: None });
        }
        let name = take_name(&mut rest)?;
        let has_offset = !rest.is_empty() && !rest.starts_with(',');
        let seconds = if has_offset { -take_time(&mut rest)? } else { standard.seconds + 3600 };
        let (mut begin, mut end) =
            (Change { day: Day::Weekday(3, 2, 0), time: 7200 }, Change { day: Day::Weekday(11, 1, 0), time: 7200 });
        if !rest.is_empty() {
            begin = take_change(&mut rest)?;
            end = take_change(&mut rest)?;
        }
        rest.is_empty().then_some(PosixRule { standard, summer: Some((Offset { seconds, name }, begin, end)) })
    }

    /// The offset that holds at `seconds` since the epoch.
    pub(super) fn offset_at(&self, seconds: i64) -> Offset {
        let Some((summer, begin, end)) = &self.summer else { return self.standard.clone() };
        let (year, _, _) = civil(seconds.saturating_add(self.standard.seconds).div_euclid(86_400));
        let begins = begin.at(year) - self.standard.seconds;
        let ends = end.at(year) - summer.seconds;
        let is_summer = if begins <= ends {
            (begins..ends).contains(&seconds)
        } else {
            // South of the equator summer runs over the new year.
            !(ends..begins).contains(&seconds)
        };
        if is_summer { summer.clone() } else { self.standard.clone() }
    }
}

impl Change {
    /// Seconds since the epoch in local time.
    fn at(self, year: i64) -> i64 {
        let new_year = day_number(year, 1, 1);
        let day = match self.day {
            Day::Ordinal(day) => new_year + day,
            Day::Julian(day) => {
                let is_leap = day_number(year, 3, 1) - new_year == 60;
                new_year + day - 1 + i64::from(is_leap && day >= 60)
            }
            Day::Weekday(month, week, weekday) => {
                let first = day_number(year, month, 1);
                // The epoch was a Thursday.
                let first_such = first + (weekday - (first + 4)).rem_euclid(7);
                let next_month = if month == 12 { day_number(year + 1, 1, 1) } else { day_number(year, month + 1, 1) };
                let wanted = first_such + (week - 1) * 7;
                if wanted >= next_month { wanted - 7 } else { wanted }
            }
        };
        day * 86_400 + self.time
    }
}

/// Letters, or anything between `<` and `>`.
fn take_name(rest: &mut &str) -> Option<String> {
    let (name, behind) = match rest.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => rest.split_at(rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len())),
    };
    *rest = behind;
    (name.len() >= 3).then(|| name.to_owned())
}

/// `[+-]h[h][h][:mm[:ss]]` as seconds.
fn take_time(rest: &mut &str) -> Option<i64> {
    let negative = rest.starts_with('-');
    *rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let mut seconds = take_number(rest)? * 3600;
    for unit in [60, 1] {
        if let Some(behind) = rest.strip_prefix(':') {
            *rest = behind;
            seconds += take_number(rest)? * unit;
        }
    }
    Some(if negative { -seconds } else { seconds })
}

fn take_change(rest: &mut &str) -> Option<Change> {
    *rest = rest.strip_prefix(',')?;
    let day = if let Some(behind) = rest.strip_prefix('J') {
        *rest = behind;
        Day::Julian(take_number(rest).filter(|day| (1..=365).contains(day))?)
    } else if let Some(behind) = rest.strip_prefix('M') {
        *rest = behind;
        let month = take_number(rest).filter(|month| (1..=12).contains(month))?;
        *rest = rest.strip_prefix('.')?;
        let week = take_number(rest).filter(|week| (1..=5).contains(week))?;
        *rest = rest.strip_prefix('.')?;
        Day::Weekday(month, week, take_number(rest).filter(|day| (0..=6).contains(day))?)
    } else {
        Day::Ordinal(take_number(rest).filter(|day| (0..=365).contains(day))?)
    };
    let mut time = 7200;
    if let Some(behind) = rest.strip_prefix('/') {
        *rest = behind;
        time = take_time(rest)?;
    }
    Some(Change { day, time })
}

/// Up to three digits.
fn take_number(rest: &mut &str) -> Option<i64> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, behind) = rest.split_at(end);
    *rest = behind;
    digits.parse().ok().filter(|_| digits.len() <= 3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn name_at(rule: &str, seconds: i64) -> (String, i64) {
        let offset = PosixRule::parse(rule).unwrap().offset_at(seconds);
        (offset.name, offset.seconds)
    }

    #[test]
    fn rules_of_both_hemispheres() {
        assert_eq!(name_at("UTC0", 0), ("UTC".to_owned(), 0));
        assert_eq!(name_at("<+0530>-5:30", 0), ("+0530".to_owned(), 19_800));
        let new_york = "EST5EDT,M3.2.0,M11.1.0";
        assert_eq!(name_at(new_york, 1_772_953_199).0, "EST");
        assert_eq!(name_at(new_york, 1_772_953_200).0, "EDT");
        assert_eq!(name_at(new_york, 1_793_512_799).0, "EDT");
        assert_eq!(name_at(new_york, 1_793_512_800).0, "EST");
        assert_eq!(name_at("EST5EDT", 1_772_953_200).0, "EDT");
        let sydney = "AEST-10AEDT,M10.1.0,M4.1.0/3";
        assert_eq!(name_at(sydney, 1_767_225_600).0, "AEDT");
        assert_eq!(name_at(sydney, 1_782_864_000).0, "AEST");
        assert_eq!(name_at("AAA0BBB,J60/0,J61/0", 1_709_251_200).0, "BBB");
        assert_eq!(name_at("AAA0BBB,59/0,60/0", 1_709_164_800).0, "BBB");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "UT0", "UTC", "EST5EDT,M13.1.0,M1.1.0", "EST5EDT,M3.2.0", "EST5EDT,M3.2.0,M11.1.0x", "<AB"] {
            assert_eq!(PosixRule::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-C<>]{0,4}[-+0-9:,JM./]{0,20}", seconds: i64) {
            if let Some(rule) = PosixRule::parse(&text) {
                let _ = rule.offset_at(seconds);
            }
        }
    }
}
