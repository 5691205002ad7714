//! Values that are neither numbers nor text.

use std::collections::BTreeSet;
use std::str::FromStr;

/// Hash of the digest scheme (`DigestAuthenticationProvider.digestAlg`), by the names of Java's `MessageDigest`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DigestAlgorithm {
    /// SHA-1, ZooKeeper's default.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512Of224,
    /// SHA-512/256.
    Sha512Of256,
    /// SHA3-224.
    Sha3Of224,
    /// SHA3-256.
    Sha3Of256,
    /// SHA3-384.
    Sha3Of384,
    /// SHA3-512.
    Sha3Of512,
}

impl DigestAlgorithm {
    /// The names accepted, canonical spelling.
    pub const NAMES: &str = "SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256, SHA3-224, SHA3-256, \
                             SHA3-384 or SHA3-512";
}

impl FromStr for DigestAlgorithm {
    type Err = ();

    /// Without regard to case, as in Java.
    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" | "SHA" => Self::Sha1,
            "SHA-224" => Self::Sha224,
            "SHA-256" => Self::Sha256,
            "SHA-384" => Self::Sha384,
            "SHA-512" => Self::Sha512,
            "SHA-512/224" => Self::Sha512Of224,
            "SHA-512/256" => Self::Sha512Of256,
            "SHA3-224" => Self::Sha3Of224,
            "SHA3-256" => Self::Sha3Of256,
            "SHA3-384" => Self::Sha3Of384,
            "SHA3-512" => Self::Sha3Of512,
            _ => return Err(()),
        })
    }
}

/// Which four-letter words are answered (`FourLetterCommands.isEnabled`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FourLetterWhitelist {
    all: bool,
    words: BTreeSet<String>,
}

impl FourLetterWhitelist {
    /// A comma-separated list, or `*` anywhere in it for all. `srvr` is always allowed, since `zkServer.sh status` needs
    /// it, and `isro` with read-only mode, since clients probe with it.
    pub fn parse(list: &str, read_only_mode_enabled: bool) -> FourLetterWhitelist {
        let mut words: BTreeSet<String> =
            list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let all = words.remove("*");
        words.insert("srvr".to_owned());
        if read_only_mode_enabled {
            words.insert("isro".to_owned());
        }
        FourLetterWhitelist { all, words }
    }

    /// Whether `word` is answered.
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.contains(word)
    }

    /// Whether every word is allowed.
    pub fn allows_all(&self) -> bool {
        self.all
    }

    /// The words named, in order, with those that are always there.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // The words are those of `tracing`.
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The word that `tracing` filters by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err(()),
        })
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whitelist_follows_zookeeper() {
        let default = FourLetterWhitelist::parse("srvr", false);
        assert!(default.allows("srvr") && !default.allows("ruok") && !default.allows("isro"));
        let some = FourLetterWhitelist::parse(" stat, ruok ,,", true);
        assert!(some.allows("stat") && some.allows("ruok") && some.allows("srvr") && some.allows("isro"));
        assert!(!some.allows_all());
        assert!(FourLetterWhitelist::parse("stat, *", false).allows("wchp"));
        assert!(FourLetterWhitelist::parse("", false).allows("srvr"));
    }

    #[test]
    fn digest_names_are_javas() {
        assert_eq!("sha-1".parse(), Ok(DigestAlgorithm::Sha1));
        assert_eq!("SHA3-256".parse(), Ok(DigestAlgorithm::Sha3Of256));
        assert_eq!("SHA-512/256".parse(), Ok(DigestAlgorithm::Sha512Of256));
        assert_eq!("SHA256".parse::<DigestAlgorithm>(), Err(()));
    }
}
