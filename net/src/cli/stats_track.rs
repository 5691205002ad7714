//! The text of quota nodes (`StatsTrack`).

use std::collections::BTreeMap;

const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// Limits or usage of a subtree; what is not set reads as -1.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct StatsTrack {
    values: BTreeMap<String, i64>,
}

/// The four limits, by the keys of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    /// Nodes, warned of.
    Count,
    /// Bytes, warned of.
    Bytes,
    /// Nodes, enforced.
    CountHard,
    /// Bytes, enforced.
    BytesHard,
}

impl Limit {
    fn key(self) -> &'static str {
        match self {
            Limit::Count => COUNT,
            Limit::Bytes => BYTES,
            Limit::CountHard => "countHardLimit",
            Limit::BytesHard => "byteHardLimit",
        }
    }

    /// The option of setquota and delquota.
    pub(super) fn option(self) -> &'static str {
        match self {
            Limit::Count => "n",
            Limit::Bytes => "b",
            Limit::CountHard => "N",
            Limit::BytesHard => "B",
        }
    }

    /// All four, in the order of the usage text.
    pub(super) const ALL: [Limit; 4] = [Limit::Count, Limit::Bytes, Limit::CountHard, Limit::BytesHard];
}

impl StatsTrack {
    /// Nothing but -1, as setquota starts.
    pub(super) fn unlimited() -> StatsTrack {
        let mut track = StatsTrack::default();
        Limit::ALL.into_iter().for_each(|limit| track.set(limit, -1));
        track
    }

    /// Reads the text. What cannot be read counts as no limit, where Java would give up.
    pub(super) fn parse(text: &str) -> StatsTrack {
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let key = parts.next().filter(|key| !key.is_empty())?;
            let value = parts.next().unwrap_or_default();
            Some((key.to_owned(), value.parse().unwrap_or(-1)))
        });
        StatsTrack { values: pairs.collect() }
    }

    /// The value of one limit.
    pub(super) fn get(&self, limit: Limit) -> i64 {
        self.values.get(limit.key()).copied().unwrap_or(-1)
    }

    /// Sets one limit.
    pub(super) fn set(&mut self, limit: Limit, value: i64) {
        self.values.insert(limit.key().to_owned(), value);
    }
}

impl std::fmt::Display for StatsTrack {
    /// `count` and `bytes` first, then a stray `=` that keeps parsers older than 3.7 happy, then the rest in order.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{COUNT}={},{BYTES}={}", self.get(Limit::Count), self.get(Limit::Bytes))?;
        let mut rest = self.values.iter().filter(|(key, _)| *key != COUNT && *key != BYTES).peekable();
        if rest.peek().is_some() {
            f.write_str("=")?;
        }
        rest.try_for_each(|(key, value)| write!(f, ";{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_that_of_zookeeper() {
        let mut track = StatsTrack::unlimited();
        track.set(Limit::Count, 100);
        track.set(Limit::CountHard, 200);
        let text = "count=100,bytes=-1=;byteHardLimit=-1;countHardLimit=200";
        assert_eq!(track.to_string(), text);
        assert_eq!(StatsTrack::parse(text), track);
        assert_eq!(StatsTrack::parse("count=4,bytes=7").to_string(), "count=4,bytes=7");
        assert_eq!(StatsTrack::default().to_string(), "count=-1,bytes=-1");
        assert_eq!(StatsTrack::parse("count=,bytes=x;;=3").to_string(), "count=-1,bytes=-1");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(values: [i64; 4]) {
            let mut track = StatsTrack::default();
            for (limit, value) in Limit::ALL.into_iter().zip(values) {
                track.set(limit, value);
            }
            prop_assert_eq!(StatsTrack::parse(&track.to_string()), track);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z=,;0-9-]{0,40}") {
            let _ = StatsTrack::parse(&text).to_string();
        }
    }
}
