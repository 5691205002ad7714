//! The system state of a checkpoint: what the role must find again besides the znodes.
//!
//! ```text
//! int      format, 1
//! long     zxid
//! long     next session id
//! int      next ACL number
//! int      n, then n x { long session, int timeout_ms }
//! int      n, then n x { int number, vector<ACL> }
//! ```
//! All in jute. The manifest around it carries the checksum.

use engine::acl::{Acl, AclId, AclList};
use engine::ids::SessionId;
use engine::jute::{DecodeError, Reader, Writer};
use engine::txn::encode_acl;
use engine::zxid::Zxid;

/// Sessions, ACL table and counters as of one zxid.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SystemState {
    /// The last transaction in it.
    pub zxid: Zxid,
    /// Committed sessions and the timeouts of their creation in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
    /// No session id of this server from here on has been used.
    pub next_session: i64,
    /// Interned ACLs of clients.
    pub acls: Vec<(AclId, AclList)>,
    /// No ACL number from here on has been used.
    pub next_acl: u32,
}

/// Why bytes are not a system state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SystemStateError {
    /// Written by another version.
    #[error("system state of format {0}, and this version reads format {FORMAT}: use the version that wrote it")]
    Format(i32),
    /// Not readable although its checksum was right.
    #[error("damaged system state ({0}): restore the data directory from a backup or another member")]
    Damaged(#[from] DecodeError),
}

const FORMAT: i32 = 1;

impl SystemState {
    /// The bytes for a manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + 12 * self.sessions.len() + 64 * self.acls.len());
        let mut out = Writer::new(&mut bytes);
        out.int(FORMAT);
        out.long(self.zxid.to_wire());
        out.long(self.next_session);
        out.int(self.next_acl as i32);
        out.count(Some(self.sessions.len()));
        for (session, timeout_ms) in &self.sessions {
            out.long(session.0);
            out.int(*timeout_ms);
        }
        out.count(Some(self.acls.len()));
        for (id, list) in &self.acls {
            out.int(id.0 as i32);
            encode_acl(&mut out, list);
        }
        bytes
    }

    /// Reads the bytes of a manifest. Total: whatever the bytes, it returns.
    pub fn decode(bytes: &[u8]) -> Result<SystemState, SystemStateError> {
        let mut r = Reader::new(bytes);
        match r.int()? {
            FORMAT => {}
            other => return Err(SystemStateError::Format(other)),
        }
        let zxid = Zxid::from_wire(r.long()?);
        let next_session = r.long()?;
        let next_acl = r.int()? as u32;
        let sessions = r.vector(|r| Ok((SessionId(r.long()?), r.int()?)))?.unwrap_or_default();
        let acls = r.vector(|r| Ok((AclId(r.int()? as u32), decode_list(r)?)))?.unwrap_or_default();
        if !r.rest().is_empty() {
            return Err(DecodeError::Value("bytes behind the end").into());
        }
        Ok(SystemState { zxid, sessions, next_session, acls, next_acl })
    }
}

fn decode_list(r: &mut Reader<'_>) -> Result<AclList, DecodeError> {
    let null = DecodeError::Value("null in an ACL");
    let entries = r.vector(|r| {
        let perms = r.int()?;
        let (scheme, id) = (r.string()?.ok_or(null)?, r.string()?.ok_or(null)?);
        Ok(Acl::new(perms, &scheme, &id))
    })?;
    Ok(entries.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sample() -> SystemState {
        SystemState {
            zxid: Zxid::new(3, 9),
            sessions: vec![(SessionId(1), 4000), (SessionId(-5), 40_000)],
            next_session: 77,
            acls: vec![(AclId(3), [Acl::new(31, "digest", "a:b"), Acl::world(1)].into()), (AclId(9), [].into())],
            next_acl: 10,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for state in [sample(), SystemState::default()] {
            assert_eq!(SystemState::decode(&state.encode()), Ok(state));
        }
    }

    #[test]
    fn cut_short_or_too_long_is_damage() {
        let bytes = sample().encode();
        for length in 4..bytes.len() {
            assert!(matches!(SystemState::decode(&bytes[..length]), Err(SystemStateError::Damaged(_))), "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(SystemState::decode(&longer), Err(SystemStateError::Damaged(_))));
        assert_eq!(SystemState::decode(&[0, 0, 0, 2]), Err(SystemStateError::Format(2)));
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..120), flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
            let _ = SystemState::decode(&bytes);
            let mut damaged = sample().encode();
            for (at, with) in flips {
                let at = at.index(damaged.len());
                damaged[at] ^= with;
            }
            if let Ok(state) = SystemState::decode(&damaged) {
                prop_assert_eq!(SystemState::decode(&state.encode()), Ok(state));
            }
        }
    }
}
