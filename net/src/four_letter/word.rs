//! The command table.

/// A command that a server knows (`FourLetterCommands`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Word {
    /// Are you there.
    Ruok,
    /// Read-only or read-write.
    Isro,
    /// The server's facts.
    Srvr,
    /// The server's facts and its clients.
    Stat,
    /// Metrics.
    Mntr,
    /// Configuration.
    Conf,
    /// Connections in full.
    Cons,
    /// Resets the connections' statistics.
    Crst,
    /// Resets the server's statistics.
    Srst,
    /// Sessions, ephemerals, connections.
    Dump,
    /// Environment.
    Envi,
    /// Sizes of the directories.
    Dirs,
    /// Watches, summed up.
    Wchs,
    /// Watches by connection.
    Wchc,
    /// Watches by path.
    Wchp,
    /// Digests of the tree.
    Hash,
    /// Reads the trace mask.
    Gtmk,
    /// Sets the trace mask; eight bytes follow.
    Stmk,
}

impl Word {
    /// What telnet sends on an interrupt: a reason to close and nothing else.
    pub const TELNET_INTERRUPT: [u8; 4] = [0xFF, 0xF4, 0xFF, 0xFD];

    /// Bytes of the argument of [`Word::Stmk`].
    pub const STMK_ARGUMENT_BYTES: usize = 8;

    const TABLE: [(Word, &'static str); 18] = [
        (Word::Ruok, "ruok"),
        (Word::Isro, "isro"),
        (Word::Srvr, "srvr"),
        (Word::Stat, "stat"),
        (Word::Mntr, "mntr"),
        (Word::Conf, "conf"),
        (Word::Cons, "cons"),
        (Word::Crst, "crst"),
        (Word::Srst, "srst"),
        (Word::Dump, "dump"),
        (Word::Envi, "envi"),
        (Word::Dirs, "dirs"),
        (Word::Wchs, "wchs"),
        (Word::Wchc, "wchc"),
        (Word::Wchp, "wchp"),
        (Word::Hash, "hash"),
        (Word::Gtmk, "gtmk"),
        (Word::Stmk, "stmk"),
    ];

    /// The word that these four bytes are, if they are one.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Word> {
        Self::TABLE.iter().find(|(_, name)| name.as_bytes() == bytes).map(|(word, _)| *word)
    }

    /// The word as it is sent, and as the whitelist names it.
    pub const fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    /// Whether a server that does not serve answers it all the same.
    pub const fn is_answered_always(self) -> bool {
        matches!(self, Word::Ruok | Word::Isro | Word::Envi | Word::Gtmk | Word::Stmk)
    }

    /// Those parts of a snapshot that take time to gather and that this word shows.
    pub const fn needs(self) -> Needs {
        Needs {
            connections: matches!(self, Word::Stat | Word::Cons | Word::Dump),
            sessions: matches!(self, Word::Dump),
            ephemerals: matches!(self, Word::Dump),
            watches: matches!(self, Word::Wchs | Word::Wchc | Word::Wchp),
            digests: matches!(self, Word::Hash),
            directory_sizes: matches!(self, Word::Dirs | Word::Conf),
            metrics: matches!(self, Word::Mntr | Word::Srvr | Word::Stat),
            open_files: matches!(self, Word::Mntr),
            root_acl: false,
        }
    }
}

/// What must be gathered for a word, from all cores or from disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// `ServerSnapshot::connections`.
    pub connections: bool,
    /// `ServerSnapshot::sessions`.
    pub sessions: bool,
    /// `ServerSnapshot::ephemerals`.
    pub ephemerals: bool,
    /// `ServerSnapshot::watches`.
    pub watches: bool,
    /// `ServerSnapshot::digests`.
    pub digests: bool,
    /// `ServerSnapshot::directory_sizes`.
    pub directory_sizes: bool,
    /// `ServerSnapshot::metrics`.
    pub metrics: bool,
    /// `ServerSnapshot::open_files`.
    pub open_files: bool,
    /// `ServerSnapshot::root_acl`.
    pub root_acl: bool,
}

impl Needs {
    /// Only what is always there.
    pub const NOTHING: Needs = Word::Ruok.needs();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_by_its_name() {
        for (word, name) in Word::TABLE {
            assert_eq!(word.name(), name);
            let bytes: [u8; 4] = std::array::from_fn(|at| name.as_bytes()[at]);
            assert_eq!(Word::from_bytes(bytes), Some(word));
        }
        assert_eq!(Word::from_bytes(*b"nope"), None);
    }
}
