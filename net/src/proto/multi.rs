//! Results of multi and multiRead, and the requests of the latter (`MultiOperationRecord`): ops, each behind a
//! `MultiHeader`, up to a header that says done. [`replication::request::codec`] reads a multi.

use super::opcode::OpCode;
use engine::jute::{DecodeError, Reader, Writer};
use engine::read::ReadOp;
use replication::request::codec::opcode::ERROR;

/// A `MultiHeader` as results carry it.
pub fn encode_header(w: &mut Writer<'_>, type_code: i32, done: bool, err: i32) {
    w.int(type_code);
    w.boolean(done);
    w.int(err);
}

/// The header that ends a list of results.
pub fn encode_terminator(w: &mut Writer<'_>) {
    encode_header(w, ERROR, true, -1);
}

/// The result of an op that failed, or that another op's failure took along: `MultiHeader(-1)` and `ErrorResponse`.
pub fn encode_failure(w: &mut Writer<'_>, code: i32) {
    encode_header(w, ERROR, false, code);
    w.int(code);
}

/// Reads a multiRead. The watch flags mean nothing here.
pub fn decode_reads<'a>(r: &mut Reader<'a>) -> Result<Vec<ReadOp<'a>>, DecodeError> {
    let mut ops = Vec::new();
    while let Some(type_code) = header(r)? {
        let path = super::read::path;
        ops.push(match OpCode::from_wire(type_code) {
            Some(OpCode::GetData) => {
                let path = path(r)?;
                r.boolean()?;
                ReadOp::GetData { path, watch: false }
            }
            Some(OpCode::GetChildren) => {
                let path = path(r)?;
                r.boolean()?;
                ReadOp::GetChildren { path, watch: false, stat: false }
            }
            _ => return Err(DecodeError::Value("an op that a multiRead cannot hold")),
        });
    }
    Ok(ops)
}

/// Reads a header; `None` is the terminator.
fn header(r: &mut Reader<'_>) -> Result<Option<i32>, DecodeError> {
    let type_code = r.int()?;
    let done = r.boolean()?;
    r.int()?;
    Ok((!done).then_some(type_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(bytes: &mut Vec<u8>, type_code: i32, write: impl FnOnce(&mut Writer<'_>)) {
        let mut w = Writer::new(bytes);
        encode_header(&mut w, type_code, false, -1);
        write(&mut w);
    }

    #[test]
    fn multi_read_takes_two_ops_and_no_watch() {
        let mut bytes = Vec::new();
        for type_code in [4, 8] {
            op(&mut bytes, type_code, |w| {
                w.string("/a");
                w.boolean(true);
            });
        }
        let open = bytes.clone();
        encode_terminator(&mut Writer::new(&mut bytes));
        let expected = vec![
            ReadOp::GetData { path: "/a".into(), watch: false },
            ReadOp::GetChildren { path: "/a".into(), watch: false, stat: false },
        ];
        assert_eq!(decode_reads(&mut Reader::new(&bytes)), Ok(expected));
        assert_eq!(decode_reads(&mut Reader::new(&open)), Err(DecodeError::CutShort));
        let mut write = Vec::new();
        op(&mut write, 2, |w| w.string("/a"));
        assert!(decode_reads(&mut Reader::new(&write)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_reads(&mut Reader::new(&bytes));
        }
    }
}
