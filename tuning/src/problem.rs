//! What is wrong with a configuration, told to the operator: errors stop the start, warnings do not.

use crate::raw::Origin;
use std::fmt;

/// A setting, or the lack of one, that start-up must not get past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The key as ZooKeeper spells it in `zoo.cfg`; empty when the trouble is with a file's syntax.
    pub key: String,
    /// What was written, if anything was.
    pub value: Option<String>,
    /// Where it was written, if anywhere.
    pub origin: Option<Origin>,
    /// What is wrong, and what is allowed or to be done.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        match (&self.value, self.key.is_empty()) {
            (_, true) => f.write_str(&self.message),
            (Some(value), false) => write!(f, "{}={}: {}", self.key, shown(&self.key, value), self.message),
            (None, false) => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Something the operator should know about a configuration that works all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// What kind of trouble.
    pub kind: WarningKind,
    /// The key it is about, as it was written.
    pub key: String,
    /// Where it was written.
    pub origin: Option<Origin>,
    /// The rest of the sentence that begins with the key.
    pub message: String,
}

/// The kinds of [`Warning`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WarningKind {
    /// Known neither to ZooKeeper nor here.
    UnknownKey,
    /// ZooKeeper knows it; this server does not act on it.
    NoEffect,
    /// Set several times in one file; the last one holds.
    Duplicate,
    /// Taken with a value other than the one written.
    Adjusted,
    /// Taken as written, though probably not what anybody wants.
    Unwise,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{} {}", self.key, self.message)
    }
}

/// The value as it may stand in a log: secrets do not.
fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let secret = key.to_ascii_lowercase();
    if secret.contains("password") || secret.ends_with("superdigest") { "***" } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_origin_key_value_and_remedy() {
        let error = ConfigError {
            key: "tickTime".into(),
            value: Some("x".into()),
            origin: Some(Origin::File { name: "zoo.cfg".into(), line: 3 }),
            message: "must be a whole number".into(),
        };
        assert_eq!(error.to_string(), "zoo.cfg line 3: tickTime=x: must be a whole number");
    }

    #[test]
    fn secrets_are_not_repeated() {
        assert_eq!(shown("ssl.keyStore.password", "hunter2"), "***");
        assert_eq!(shown("DigestAuthenticationProvider.superDigest", "super:abc"), "***");
        assert_eq!(shown("digest.enabled", "maybe"), "maybe");
        assert_eq!(shown("DigestAuthenticationProvider.digestAlg", "MD4"), "MD4");
    }
}
