//! Cutting a received byte stream into length-prefixed frames.
//!
//! A frame that lies whole in the chunk at hand is lent from there; only what a chunk leaves over is copied. The buffer
//! for left-overs grows by the bytes that have come, never by a length that somebody announced.

use crate::four_letter::Word;

/// Kept bytes above which an emptied buffer is given back to the allocator.
const RETAINED_BYTES: usize = 64 << 10;

/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;

/// What stands at the front of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peek<'a> {
    /// A whole frame, without its length.
    Frame(&'a [u8]),
    /// A four-letter word, which only the first four bytes of a connection can be.
    Word(Word),
    /// The telnet interrupt 0xFFF4FFFD as the first four bytes: close and say nothing.
    TelnetInterrupt,
    /// Nothing wrong so far, but the frame is not complete.
    NeedMore,
    /// A length below 0 or above the ceiling.
    BadLength(i32),
}

/// The decoder of one connection's stream.
///
/// Per chunk: [`peek`](Self::peek) and [`consume`](Self::consume) until the answer is not a frame or the connection
/// wants no more for now, then [`keep`](Self::keep) what is left.
#[derive(Debug)]
pub struct FrameDecoder {
    kept: Vec<u8>,
    at: usize,
    frame_bytes_max: usize,
    fresh: bool,
}

impl FrameDecoder {
    /// A decoder that refuses frames longer than `frame_bytes_max` (`jute.maxbuffer`).
    pub fn new(frame_bytes_max: usize) -> FrameDecoder {
        FrameDecoder { kept: Vec::new(), at: 0, frame_bytes_max, fresh: true }
    }

    /// Looks at the front of the stream without taking it. Bytes that complete a frame begun in an earlier chunk move
    /// out of `chunk`.
    pub fn peek<'a, 'c: 'a>(&'a mut self, chunk: &mut &'c [u8]) -> Peek<'a> {
        if self.at == self.kept.len() {
            let whole: &'c [u8] = chunk;
            return match self.measure(whole) {
                Ok(bytes) => match whole.get(LENGTH_BYTES..LENGTH_BYTES + bytes) {
                    Some(frame) => Peek::Frame(frame),
                    None => Peek::NeedMore,
                },
                Err(peek) => peek,
            };
        }
        self.complete(chunk, LENGTH_BYTES);
        let bytes = match self.measure(&self.kept[self.at..]) {
            Ok(bytes) => bytes,
            Err(peek) => return peek,
        };
        self.complete(chunk, LENGTH_BYTES + bytes);
        match self.kept.get(self.at + LENGTH_BYTES..self.at + LENGTH_BYTES + bytes) {
            Some(frame) => Peek::Frame(frame),
            None => Peek::NeedMore,
        }
    }

    /// Takes the frame that the last [`peek`](Self::peek) showed, of `bytes` bytes without its length.
    pub fn consume(&mut self, chunk: &mut &[u8], bytes: usize) {
        self.fresh = false;
        self.skip(chunk, LENGTH_BYTES + bytes);
    }

    /// Takes the next `bytes` bytes, whatever they are (a four-letter word and its argument). They must be there.
    pub fn skip(&mut self, chunk: &mut &[u8], bytes: usize) {
        if self.at == self.kept.len() {
            *chunk = chunk.get(bytes..).unwrap_or(&[]);
            return;
        }
        let kept = bytes.min(self.kept.len() - self.at);
        self.at += kept;
        *chunk = chunk.get(bytes - kept..).unwrap_or(&[]);
        if self.at == self.kept.len() {
            self.forget();
        }
    }

    /// Looks at the next `N` bytes as they are, if they have come; they move out of `chunk` only if some were kept.
    pub fn peek_raw<const N: usize>(&mut self, chunk: &mut &[u8]) -> Option<[u8; N]> {
        if self.at == self.kept.len() {
            return chunk.first_chunk::<N>().copied();
        }
        self.complete(chunk, N);
        self.kept[self.at..].first_chunk::<N>().copied()
    }

    /// Keeps what is left of a chunk for later.
    pub fn keep(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        if self.at > self.kept.len() / 2 {
            self.kept.drain(..self.at);
            self.at = 0;
        }
        self.kept.extend_from_slice(chunk);
    }

    /// Bytes received and not taken.
    pub fn kept_bytes(&self) -> usize {
        self.kept.len() - self.at
    }

    /// Bytes of memory that are held for them.
    pub fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    /// Drops whatever has been kept.
    pub fn forget(&mut self) {
        self.at = 0;
        if self.kept.capacity() > RETAINED_BYTES {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
        }
    }

    /// The length of the frame in front, or why there is none yet.
    fn measure(&self, bytes: &[u8]) -> Result<usize, Peek<'static>> {
        let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else { return Err(Peek::NeedMore) };
        if self.fresh {
            if *prefix == Word::TELNET_INTERRUPT {
                return Err(Peek::TelnetInterrupt);
            }
            if let Some(word) = Word::from_bytes(*prefix) {
                return Err(Peek::Word(word));
            }
        }
        let length = i32::from_be_bytes(*prefix);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.frame_bytes_max => Ok(bytes),
            _ => Err(Peek::BadLength(length)),
        }
    }

    /// Moves bytes over from the chunk until `wanted` are kept, if the chunk has them.
    fn complete(&mut self, chunk: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.kept_bytes()).min(chunk.len());
        if missing > 0 {
            let (now, rest) = chunk.split_at(missing);
            self.kept.extend_from_slice(now);
            *chunk = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(decoder: &mut FrameDecoder, mut chunk: &[u8]) -> Result<Vec<Vec<u8>>, i32> {
        let mut found = Vec::new();
        loop {
            let bytes = match decoder.peek(&mut chunk) {
                Peek::Frame(frame) => {
                    found.push(frame.to_vec());
                    frame.len()
                }
                Peek::BadLength(length) => return Err(length),
                Peek::NeedMore => break,
                Peek::Word(_) | Peek::TelnetInterrupt => panic!("no word was sent"),
            };
            decoder.consume(&mut chunk, bytes);
        }
        decoder.keep(chunk);
        Ok(found)
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_ceiling_and_no_longer() {
        let mut decoder = FrameDecoder::new(3);
        assert_eq!(frames(&mut decoder, &[0, 0, 0, 3, 1, 2, 3]), Ok(vec![vec![1, 2, 3]]));
        assert_eq!(frames(&mut decoder, &[0, 0, 0, 4]), Err(4));
        assert_eq!(frames(&mut FrameDecoder::new(3), &[0xFF, 0xFF, 0xFF, 0xFF]), Err(-1));
        assert_eq!(frames(&mut FrameDecoder::new(3), &[0, 0, 0, 0]), Ok(vec![vec![]]));
    }

    #[test]
    fn words_are_only_words_at_the_start() {
        let mut decoder = FrameDecoder::new(1 << 20);
        assert_eq!(decoder.peek(&mut &b"ruok"[..]), Peek::Word(Word::Ruok));
        assert_eq!(decoder.peek(&mut &b"ruo"[..]), Peek::NeedMore);
        assert_eq!(decoder.peek(&mut &b"\xFF\xF4\xFF\xFD"[..]), Peek::TelnetInterrupt);
        assert_eq!(decoder.peek(&mut &b"what"[..]), Peek::BadLength(0x7768_6174));
        assert_eq!(frames(&mut decoder, &[0, 0, 0, 0]), Ok(vec![vec![]]));
        assert_eq!(decoder.peek(&mut &b"ruok"[..]), Peek::BadLength(0x7275_6f6b));
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut decoder = FrameDecoder::new(i32::MAX as usize);
        assert_eq!(frames(&mut decoder, &[0x0F, 0xFF, 0xFF, 0xFF]), Ok(vec![]));
        for _ in 0..100 {
            assert_eq!(frames(&mut decoder, &[7]), Ok(vec![]));
        }
        assert_eq!(decoder.kept_bytes(), 104);
        assert!(decoder.capacity() <= 256);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in proptest::collection::vec(1_usize..30, 1..60),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&(body.len() as u32).to_be_bytes());
                stream.extend_from_slice(body);
            }
            let mut decoder = FrameDecoder::new(64);
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                found.extend(frames(&mut decoder, now).map_err(|l| TestCaseError::fail(l.to_string()))?);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, bodies);
            prop_assert_eq!(decoder.kept_bytes(), 0);
        }

        #[test]
        fn arbitrary_chunks_stay_within_what_came(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20)
        ) {
            let mut decoder = FrameDecoder::new(1 << 20);
            let mut came = 0;
            for chunk in &chunks {
                let mut rest = &chunk[..];
                came += rest.len();
                while let Peek::Frame(frame) = decoder.peek(&mut rest) {
                    let bytes = frame.len();
                    decoder.consume(&mut rest, bytes);
                }
                decoder.keep(rest);
                prop_assert!(decoder.kept_bytes() <= came);
                prop_assert!(decoder.capacity() <= 2 * came + 64);
            }
        }
    }
}
