//! Frames behind the first message: an int length, 1 to 524288, and as many bytes.

use super::{PAYLOAD_BYTES_MAX, RECEIVED_MAX};
use bytes::Bytes;
use std::collections::VecDeque;

/// A payload with its length in front.
pub(super) fn frame(payload: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(4 + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.into()
}

/// What has arrived of a frame: never more than one frame and what came with its end.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// Takes bytes, and gives the newest payloads that they complete. False if a length is impossible: nothing behind it
    /// can be understood.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (VecDeque<Bytes>, bool) {
        self.bytes.extend_from_slice(bytes);
        let mut payloads = VecDeque::new();
        let mut rest = self.bytes.as_slice();
        let sound = loop {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { break true };
            let length = u32::from_be_bytes(*length) as usize;
            if !(1..=PAYLOAD_BYTES_MAX).contains(&length) {
                break false;
            }
            let Some((payload, behind)) = behind.split_at_checked(length) else { break true };
            if payloads.len() == RECEIVED_MAX {
                payloads.pop_front();
            }
            payloads.push_back(Bytes::copy_from_slice(payload));
            rest = behind;
        };
        let taken = self.bytes.len() - rest.len();
        self.bytes.drain(..taken);
        // A large frame is rare; its space is not kept.
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        (payloads, sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn impossible_lengths_end_it() {
        for length in [0_u32, 524_289, u32::MAX] {
            let (payloads, sound) = FrameBuffer::default().take(&[&frame(b"a")[..], &length.to_be_bytes()].concat());
            assert!(!sound && payloads == [&b"a"[..]], "{length}");
        }
        let (_, sound) = FrameBuffer::default().take(&524_288_u32.to_be_bytes());
        assert!(sound);
    }

    #[test]
    fn a_flood_leaves_the_newest_hundred() {
        let flood: Vec<u8> = (0..250_u8).flat_map(|number| frame(&[number]).to_vec()).collect();
        let (payloads, sound) = FrameBuffer::default().take(&flood);
        assert!(sound && payloads.iter().map(|payload| payload[0]).eq(150..250));
    }

    proptest! {
        #[test]
        fn frames_survive_every_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..9),
            cuts in proptest::collection::vec(1..30_usize, 1..30)
        ) {
            let all: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload).to_vec()).collect();
            let (mut buffer, mut rest, mut seen) = (FrameBuffer::default(), all.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                let (payloads, sound) = buffer.take(now);
                prop_assert!(sound);
                seen.extend(payloads.into_iter().map(|payload| payload.to_vec()));
                rest = later;
            }
            prop_assert_eq!(seen, payloads);
        }
    }
}
