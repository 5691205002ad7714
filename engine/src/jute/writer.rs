//! Writing jute into a buffer that the caller owns.

/// Appends jute values to a byte vector.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.out.push(value);
    }

    /// A boolean, 0 or 1.
    pub fn boolean(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// An int32.
    pub fn int(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// An int64.
    pub fn long(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// A buffer; `None` is null.
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.int(bytes.len() as i32);
                self.out.extend_from_slice(bytes);
            }
        }
    }

    /// A string that is not null, as standard UTF-8.
    pub fn string(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// The count in front of a vector; `None` is null.
    pub fn count(&mut self, count: Option<usize>) {
        self.int(count.map_or(-1, |count| count as i32));
    }

    /// Bytes that are jute already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            a: i32, b: i64, c: bool, text in ".{0,20}", data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9))
        ) {
            let mut bytes = Vec::new();
            let mut out = Writer::new(&mut bytes);
            out.int(a);
            out.long(b);
            out.boolean(c);
            out.string(&text);
            out.buffer(data.as_deref());
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.int(), Ok(a));
            prop_assert_eq!(reader.long(), Ok(b));
            prop_assert_eq!(reader.boolean(), Ok(c));
            let read = reader.string();
            prop_assert_eq!(read, Ok(Some(std::borrow::Cow::Borrowed(text.as_str()))));
            prop_assert_eq!(reader.buffer(), Ok(data.as_deref()));
            prop_assert!(reader.rest().is_empty());
        }
    }
}
