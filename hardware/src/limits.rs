//! Resource limits of this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// A soft and a hard limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limit {
    /// What is enforced.
    pub soft: Option<u64>,
    /// How far the process may raise it.
    pub hard: Option<u64>,
}

/// Open files (RLIMIT_NOFILE); each connection takes one.
pub fn open_files() -> Limit {
    limit(Resource::Nofile)
}

/// Bytes of locked memory (RLIMIT_MEMLOCK), which registered ring buffers may count against.
pub fn locked_memory() -> Limit {
    limit(Resource::Memlock)
}

/// Raises the soft limit on open files to the hard one and returns what holds now.
///
/// # Errors
/// The system's.
pub fn raise_open_files() -> io::Result<Limit> {
    let Limit { soft, hard } = open_files();
    if soft != hard {
        setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    }
    Ok(open_files())
}

/// Raises the soft limit on locked memory to the hard one and returns what holds now.
///
/// # Errors
/// The system's.
pub fn raise_locked_memory() -> io::Result<Limit> {
    let Limit { soft, hard } = locked_memory();
    if soft != hard {
        setrlimit(Resource::Memlock, Rlimit { current: hard, maximum: hard })?;
    }
    Ok(locked_memory())
}

fn limit(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit { soft: limit.current, hard: limit.maximum }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one() {
        let before = open_files();
        assert_eq!(raise_open_files().unwrap(), Limit { soft: before.hard, hard: before.hard });
        let before = locked_memory();
        assert_eq!(raise_locked_memory().unwrap().soft, before.hard);
    }
}
