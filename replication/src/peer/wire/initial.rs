//! The first message on a connection to an election port (`QuorumCnxManager.InitialMessage`).
//!
//! ```text
//! long protocolVersion (-65536, or -65535 with several addresses) | long sid | int n, 1..2048 | n bytes address
//! ```
//!
//! The address is `host:port`, several joined by `|`. Java takes the address with one read, so that this message must
//! leave in one write.

use crate::peer::ensemble::{HostPort, ServerId};
use bytes::Bytes;
use engine::jute::Writer;

const ONE_ADDRESS: i64 = -65536;
const MANY_ADDRESSES: i64 = -65535;
const HEADER_BYTES: usize = 20;
const ADDRESS_BYTES_MAX: usize = 2048;

/// No initial message is longer, in bytes.
pub const INITIAL_BYTES_MAX: usize = HEADER_BYTES + ADDRESS_BYTES_MAX;

/// Who called, and where it can be called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Initial {
    /// The caller's number: 0 or above.
    pub sid: ServerId,
    /// Its election addresses without those that name no host; empty where it gave none (the ancient form).
    pub addresses: Vec<HostPort>,
}

/// Why a connection is closed at its first message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitialError {
    /// Neither a server's number nor a version that exists.
    #[error("protocol version {0} is not known")]
    Version(i64),
    /// A number that no server can have.
    #[error("server number {0} is not possible")]
    Sid(i64),
    /// Not 1 to 2048.
    #[error("the address has {0} bytes, and may have 1 to 2048")]
    Length(i32),
    /// An address that cannot be read.
    #[error("address: {0}")]
    Address(String),
}

impl Initial {
    /// The whole message, to go out in one write. `many`: `multiAddress.enabled`, without which the first address alone
    /// is told.
    pub fn encode(sid: ServerId, addresses: &[HostPort], many: bool) -> Bytes {
        let told = if many { addresses } else { &addresses[..addresses.len().min(1)] };
        let text = told.iter().map(HostPort::to_string).collect::<Vec<_>>().join("|");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + text.len());
        let mut out = Writer::new(&mut bytes);
        out.long(if many { MANY_ADDRESSES } else { ONE_ADDRESS });
        out.long(sid.0);
        out.string(&text);
        bytes.into()
    }

    /// Reads the message at the start of `bytes`, and how many bytes it took; `None` while it is incomplete. A list of
    /// addresses is understood under both versions.
    ///
    /// # Errors
    /// What the connection is to be closed for.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Initial, usize)>, InitialError> {
        let Some((version, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        let version = i64::from_be_bytes(*version);
        if version >= 0 {
            return Ok(Some((Initial { sid: ServerId(version), addresses: Vec::new() }, 8)));
        }
        if version != ONE_ADDRESS && version != MANY_ADDRESSES {
            return Err(InitialError::Version(version));
        }
        let Some((sid, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let sid = i64::from_be_bytes(*sid);
        if sid < 0 {
            return Err(InitialError::Sid(sid));
        }
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let bytes_of_address = match usize::try_from(length) {
            Ok(bytes @ 1..=ADDRESS_BYTES_MAX) => bytes,
            _ => return Err(InitialError::Length(length)),
        };
        let Some(text) = rest.get(..bytes_of_address) else { return Ok(None) };
        let addresses = parse_addresses(&String::from_utf8_lossy(text)).map_err(InitialError::Address)?;
        Ok(Some((Initial { sid: ServerId(sid), addresses }, HEADER_BYTES + bytes_of_address)))
    }
}

fn parse_addresses(text: &str) -> Result<Vec<HostPort>, String> {
    let all = text.split('|').map(HostPort::parse).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|address| !address.host.is_empty() && !address.is_wildcard()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// Captured from Apache ZooKeeper 3.9.4.
    #[test]
    fn captured_bytes() {
        let bytes = hex("ffffffffffff0000 0000000000000002 0000000f 3132372e302e302e313a3331323032");
        let addresses = vec![HostPort::new("127.0.0.1", 31202)];
        assert_eq!(Initial::encode(ServerId(2), &addresses, false), bytes);
        assert_eq!(Initial::decode(&bytes), Ok(Some((Initial { sid: ServerId(2), addresses }, 35))));
    }

    #[test]
    fn several_addresses() {
        let addresses = vec![HostPort::new("h1", 1), HostPort::new("::1", 2)];
        let bytes = Initial::encode(ServerId(2), &addresses, true);
        assert_eq!(bytes[..8], hex("ffffffffffff0001"));
        assert_eq!(&bytes[20..], b"h1:1|[::1]:2");
        let read = Initial { sid: ServerId(2), addresses };
        assert_eq!(Initial::decode(&bytes), Ok(Some((read.clone(), bytes.len()))));
        let mut under_the_other = bytes.to_vec();
        under_the_other[7] = 0;
        assert_eq!(Initial::decode(&under_the_other), Ok(Some((read.clone(), bytes.len()))));
        assert_eq!(&Initial::encode(ServerId(2), &read.addresses, false)[20..], b"h1:1");
    }

    #[test]
    fn the_ancient_form_is_a_number_alone() {
        let bytes = hex("0000000000000007 ffff");
        assert_eq!(Initial::decode(&bytes), Ok(Some((Initial { sid: ServerId(7), addresses: vec![] }, 8))));
    }

    #[test]
    fn wildcards_are_dropped() {
        let bytes = Initial::encode(ServerId(2), &[HostPort::new("0.0.0.0", 1), HostPort::new("h", 2)], true);
        assert_eq!(Initial::decode(&bytes).unwrap().unwrap().0.addresses, [HostPort::new("h", 2)]);
        let bytes = Initial::encode(ServerId(2), &[HostPort::new("::", 1)], false);
        assert_eq!(Initial::decode(&bytes).unwrap().unwrap().0.addresses, []);
    }

    #[test]
    fn every_split_is_waited_for() {
        let mut bytes = Initial::encode(ServerId(2), &[HostPort::new("zoo2", 3888)], false).to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(Initial::decode(&bytes[..cut]), Ok(None), "{cut}");
        }
        let whole = bytes.len();
        bytes.extend([0, 0, 0, 1]);
        assert_eq!(Initial::decode(&bytes).unwrap().unwrap().1, whole, "what follows stays");
    }

    #[test]
    fn nonsense_is_refused() {
        let version = hex("fffffffffffefffe");
        assert_eq!(Initial::decode(&version), Err(InitialError::Version(-65538)));
        let header = |sid: i64, length: i32| {
            [(-65536_i64).to_be_bytes().as_slice(), &sid.to_be_bytes(), &length.to_be_bytes()].concat()
        };
        assert_eq!(Initial::decode(&header(-3, 1)), Err(InitialError::Sid(-3)));
        for length in [0, -1, 2049, i32::MAX, i32::MIN] {
            assert_eq!(Initial::decode(&header(1, length)), Err(InitialError::Length(length)));
        }
        for address in ["zoo2", "zoo2:", "zoo2:x", "zoo2:70000", "a:1|b", "[::1"] {
            let bytes = [header(1, address.len() as i32), address.as_bytes().to_vec()].concat();
            assert!(matches!(Initial::decode(&bytes), Err(InitialError::Address(_))), "{address}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(known in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let start = [vec![], hex("ffffffffffff0000"), hex("ffffffffffff00010000000000000001"), hex("ffffffffffff0000000000000000000100000010")];
            let bytes = [start[known].clone(), bytes].concat();
            if let Ok(Some((_, taken))) = Initial::decode(&bytes) {
                prop_assert!(taken <= bytes.len() && taken <= INITIAL_BYTES_MAX);
            }
        }
    }
}
