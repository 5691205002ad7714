//! The client protocol's records: requests from bytes to what is asked, replies from results to bytes.
//!
//! One file per family of requests; those of writes, which servers forward to each other, are in
//! [`replication::request::codec`]. A record that cannot be decoded is a [`engine::jute::DecodeError`] and answered with
//! MARSHALLINGERROR.

pub mod auth;
pub mod handshake;
pub mod multi;
pub mod opcode;
pub mod read;
pub mod reply;
pub mod watch;

pub use opcode::OpCode;

#[cfg(test)]
mod tests {
    use super::{OpCode, read, watch};
    use engine::jute::Reader;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(number in -12..110, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(op) = OpCode::from_wire(number) {
                let _ = read::decode(op, &mut Reader::new(&bytes));
                let _ = watch::decode(op, &mut Reader::new(&bytes));
            }
        }
    }
}
