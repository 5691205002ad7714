//! Typed access to raw settings that collects every error instead of stopping at the first.

use crate::problem::{ConfigError, Warning, WarningKind};
use crate::raw::{Origin, RawConfig, Setting};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Reads keys of one [`RawConfig`]. A wrong value is recorded and its default handed on, so that reading continues.
pub(crate) struct Reader<'a> {
    pub(crate) raw: &'a RawConfig,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<Warning>,
    /// Keys that were asked for, so that a test can hold the catalogue to what is read.
    #[cfg(test)]
    pub(crate) asked: std::collections::BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(raw: &'a RawConfig) -> Reader<'a> {
        Reader {
            raw,
            errors: raw.errors.clone(),
            warnings: raw.warnings.clone(),
            #[cfg(test)]
            asked: Default::default(),
        }
    }

    /// The setting of `key`, if there is one.
    pub(crate) fn setting(&mut self, key: &str) -> Option<&'a Setting> {
        #[cfg(test)]
        self.asked.insert(key.to_owned());
        debug_assert!(crate::catalog::find(key).is_some(), "{key} is not in the catalogue");
        self.raw.get(key)
    }

    /// Text; `None` when not set or empty.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'a str> {
        self.setting(key).map(|setting| setting.value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number within `range`, which is also what the error says.
    pub(crate) fn number<T>(&mut self, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// As [`Reader::number`], without a default.
    pub(crate) fn optional_number<T>(&mut self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let setting = self.setting(key)?;
        match setting.value.parse::<T>() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!("must be a whole number from {} to {}", range.start(), range.end());
                self.wrong(key, message);
                None
            }
        }
    }

    /// A whole number where -1 (or anything negative) stands for "not set".
    pub(crate) fn number_or_negative(&mut self, key: &str, default: Option<u32>) -> Option<u32> {
        match self.optional_number(key, i32::MIN..=i32::MAX) {
            Some(number) => u32::try_from(number).ok(),
            None => default,
        }
    }

    /// A probability or a ratio.
    pub(crate) fn ratio(&mut self, key: &str, default: f64) -> f64 {
        let Some(setting) = self.setting(key) else { return default };
        match setting.value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                self.wrong(key, "must be a number from 0 to 1".to_owned());
                default
            }
        }
    }

    /// `true` or `false`, without regard to case.
    pub(crate) fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.word(key, "true or false", default, |word| match word.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// `yes` or `no`: ZooKeeper compares these few keys with those words alone.
    pub(crate) fn yes_or_no(&mut self, key: &str, default: bool) -> bool {
        self.word(key, "yes or no", default, |word| match word {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        })
    }

    /// One of a few words.
    pub(crate) fn word<T>(&mut self, key: &str, allowed: &str, default: T, parse: impl Fn(&str) -> Option<T>) -> T {
        let Some(setting) = self.setting(key) else { return default };
        parse(&setting.value).unwrap_or_else(|| {
            self.wrong(key, format!("must be {allowed}"));
            default
        })
    }

    /// Records that what is written for `key` cannot be.
    pub(crate) fn wrong(&mut self, key: &str, message: String) {
        let setting = self.raw.get(key);
        self.errors.push(ConfigError {
            key: key.to_owned(),
            value: setting.map(|setting| setting.value.clone()),
            origin: setting.map(|setting| setting.origin.clone()),
            message,
        });
    }

    /// Records a warning about `key`.
    pub(crate) fn warn(&mut self, kind: WarningKind, key: &str, message: String) {
        let origin: Option<Origin> = self.raw.get(key).map(|setting| setting.origin.clone());
        self.warnings.push(Warning { kind, key: key.to_owned(), origin, message });
    }
}
