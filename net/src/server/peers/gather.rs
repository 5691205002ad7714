//! Many small packets to one peer leave as one buffer.
//!
//! A turn of the core may have hundreds of proposals, acknowledgements or commits for the same socket. Each in a buffer of
//! its own would be an allocation, a copy where another peer gets the same bytes, and an entry of the kernel's vector.

use bytes::Bytes;

/// A buffer that has so much is handed on at once.
const GATHERED_BYTES: usize = 64 << 10;
/// Bytes of a packet that goes by itself: sparing its copy is worth more.
const LARGE_BYTES: usize = 16 << 10;
/// Room of a new buffer.
const ROOM_BYTES: usize = 4 << 10;

/// What has been gathered in this turn, by socket. There are few sockets: a search along the list finds one fastest.
#[derive(Debug)]
pub struct Gather<S> {
    buffers: Vec<(S, Vec<u8>)>,
}

impl<S> Default for Gather<S> {
    fn default() -> Gather<S> {
        Gather { buffers: Vec::new() }
    }
}

impl<S: Copy + Eq> Gather<S> {
    /// Adds a packet for `socket`. Gives, in order, what is to be sent now.
    pub fn add(&mut self, socket: S, bytes: Bytes) -> [Option<Vec<u8>>; 2] {
        if bytes.len() >= LARGE_BYTES {
            return [self.take(socket), Some(bytes.into())];
        }
        let at = self.buffers.iter().position(|(of, _)| *of == socket).unwrap_or_else(|| {
            self.buffers.push((socket, Vec::with_capacity(ROOM_BYTES)));
            self.buffers.len() - 1
        });
        let buffer = &mut self.buffers[at].1;
        buffer.extend_from_slice(&bytes);
        if buffer.len() < GATHERED_BYTES { [None, None] } else { [self.take(socket), None] }
    }

    /// Takes out what waits for `socket`.
    pub fn take(&mut self, socket: S) -> Option<Vec<u8>> {
        let at = self.buffers.iter().position(|(of, _)| *of == socket)?;
        Some(self.buffers.swap_remove(at).1)
    }

    /// Takes out one that waits, for whichever socket.
    pub fn pop(&mut self) -> Option<(S, Vec<u8>)> {
        self.buffers.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_socket_gets_its_bytes_in_order(
            packets in proptest::collection::vec((0u8..4, prop_oneof![0usize..200, 15_000usize..17_000]), 0..60),
            turns in proptest::collection::vec(any::<bool>(), 60)
        ) {
            let mut gather = Gather::default();
            let (mut sent, mut expected) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
            for (number, (socket, len)) in packets.into_iter().enumerate() {
                let bytes = vec![number as u8; len];
                expected[usize::from(socket)].extend_from_slice(&bytes);
                for buffer in gather.add(socket, bytes.into()).into_iter().flatten() {
                    prop_assert!(buffer.len() < GATHERED_BYTES + LARGE_BYTES);
                    sent[usize::from(socket)].extend(buffer);
                }
                while let Some((socket, buffer)) = turns[number].then(|| gather.pop()).flatten() {
                    sent[usize::from(socket)].extend(buffer);
                }
            }
            while let Some((socket, buffer)) = gather.pop() {
                sent[usize::from(socket)].extend(buffer);
            }
            prop_assert_eq!(sent, expected);
        }
    }
}
