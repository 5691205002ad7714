//! Reading jute from bytes that somebody else wrote.

use std::borrow::Cow;

/// Why a record could not be decoded. ZooKeeper answers all of them with MARSHALLINGERROR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside the record.
    #[error("the record is cut short")]
    CutShort,
    /// A string or buffer length below -1 or above the ceiling.
    #[error("unreasonable length {0}")]
    Length(i32),
    /// A field holds a value that this record does not allow.
    #[error("{0}")]
    Value(&'static str),
}

/// A cursor over one record's bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length_max: usize,
}

impl<'a> Reader<'a> {
    /// A reader whose strings and buffers may be as long as the bytes at hand.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, length_max: i32::MAX as usize }
    }

    /// A reader that refuses strings and buffers longer than `length_max` bytes (`jute.maxbuffer` + extrasize).
    pub fn with_length_max(bytes: &'a [u8], length_max: usize) -> Reader<'a> {
        Reader { rest: bytes, length_max }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(DecodeError::CutShort)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::CutShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// A boolean: any non-zero byte is true.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        Ok(self.byte()? != 0)
    }

    /// An int32.
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// An int64.
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer, borrowed; `None` is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = self.int()?;
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.length_max => self.take(bytes).map(Some),
            Err(_) if length == -1 => Ok(None),
            _ => Err(DecodeError::Length(length)),
        }
    }

    /// A string; `None` is null. Malformed UTF-8 decodes to U+FFFD, and surrogate pairs as Java's writer emits them
    /// (CESU-8) to the character that they mean.
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.buffer()?.map(decode_text))
    }

    /// The count in front of a vector: `None` is null, other negative counts read as an empty one. The elements follow;
    /// reserve nothing by it.
    pub fn count(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.int()? {
            -1 => Ok(None),
            count => Ok(Some(usize::try_from(count).unwrap_or(0))),
        }
    }

    /// A vector, element by element; `None` is null. A count beyond the bytes that follow ends as cut short.
    pub fn vector<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.count()? else { return Ok(None) };
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }
}

fn decode_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(decode_cesu(bytes)),
    }
}

/// Joins surrogate pairs of three bytes each; whatever else is malformed becomes U+FFFD, a lone surrogate a single one.
fn decode_cesu(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut from = 0;
    while let Some(at) = rest.iter().skip(from).position(|byte| *byte == 0xED).map(|at| from + at) {
        match surrogates(&rest[at..]) {
            Some((meant, length)) => {
                text.push_str(&String::from_utf8_lossy(&rest[..at]));
                text.push(meant);
                (rest, from) = (&rest[at + length..], 0);
            }
            None => from = at + 1,
        }
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// What the surrogates in front stand for, and their length in bytes.
fn surrogates(bytes: &[u8]) -> Option<(char, usize)> {
    let [0xED, first @ 0xA0..=0xBF, first_low @ 0x80..=0xBF, behind @ ..] = bytes else { return None };
    let pair = match behind {
        [0xED, low @ 0xB0..=0xBF, low_low @ 0x80..=0xBF, ..] if *first < 0xB0 => {
            let high = u32::from(first & 0x0F) << 6 | u32::from(first_low & 0x3F);
            let low = u32::from(low & 0x0F) << 6 | u32::from(low_low & 0x3F);
            char::from_u32(0x10000 + (high << 10 | low))
        }
        _ => None,
    };
    Some(pair.map_or((char::REPLACEMENT_CHARACTER, 3), |meant| (meant, 6)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn null_and_empty_stay_apart() {
        let mut reader = Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&[][..])));
        assert_eq!(reader.int(), Err(DecodeError::CutShort));
    }

    #[test]
    fn lengths_are_held_to_the_ceiling() {
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFE]).buffer(), Err(DecodeError::Length(-2)));
        let bytes = [0, 0, 0, 3, 1, 2, 3];
        assert_eq!(Reader::with_length_max(&bytes, 2).buffer(), Err(DecodeError::Length(3)));
        assert_eq!(Reader::with_length_max(&bytes, 3).buffer(), Ok(Some(&[1, 2, 3][..])));
    }

    #[test]
    fn an_absurd_count_allocates_nothing() {
        let mut reader = Reader::new(&[0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1]);
        assert_eq!(reader.vector(Reader::int), Err(DecodeError::CutShort));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xF0]).vector(Reader::int), Ok(Some(vec![])));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF]).vector(Reader::int), Ok(None));
    }

    #[test]
    fn text_is_forgiving() {
        assert_eq!(decode_text(b"a\xFFb"), "a\u{FFFD}b");
        assert_eq!(decode_text("\u{1F600}".as_bytes()), "\u{1F600}");
        assert_eq!(decode_text(b"x\xED\xA0\xBD\xED\xB8\x80y"), "x\u{1F600}y");
        assert_eq!(decode_text(b"x\xED\xA0\xBDy\xED\xB8\x80\xED"), "x\u{FFFD}y\u{FFFD}\u{FFFD}");
        assert_eq!(decode_text(b"\xED\x95\x9C\xFF\xED\xA0\x80"), "\u{D55C}\u{FFFD}\u{FFFD}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            while reader.string().is_ok() && !reader.rest().is_empty() {}
            let _ = Reader::new(&bytes).vector(|r| r.string().map(|s| s.map(Cow::into_owned)));
        }
    }
}
