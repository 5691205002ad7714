//! Replies: a length, a `ReplyHeader`, and the record that the request calls for.

use super::multi;
use super::opcode::OpCode;
use crate::frame::LENGTH_BYTES;
use engine::error_code::ErrorCode;
use engine::jute::Writer;
use engine::stat::Stat;
use engine::zxid::Zxid;
use replication::request::codec::opcode::CHECK;
use replication::request::{MultiResult, WriteResult};
use std::sync::Arc;

/// Length of a reply without body, frame length included: length, xid, zxid, err.
pub const HEADER_BYTES: usize = LENGTH_BYTES + 16;

/// Xids with a meaning of their own.
pub mod xid {
    /// Ping: what its reply always carries.
    pub const PING: i32 = -2;
}

/// Header zxids with a meaning of their own.
pub mod header_zxid {
    /// auth, sasl, and refusals for want of authentication.
    pub const NONE: i64 = 0;
    /// An unknown opcode.
    pub const UNKNOWN_OPCODE: i64 = -1;
}

/// Begins a reply, whose zxid and err [`finish`] fills in once the body is there. Returns where it begins.
pub fn begin(out: &mut Vec<u8>, xid: i32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
    start
}

/// Completes the reply that begins at `start` and reaches to the end of `out`.
pub fn finish(out: &mut [u8], start: usize, zxid: i64, err: i32) {
    let length = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    stamp(out, start, zxid);
    out[start + 16..start + 20].copy_from_slice(&err.to_be_bytes());
}

/// Sets the zxid of the reply that begins at `start`.
pub fn stamp(out: &mut [u8], start: usize, zxid: i64) {
    out[start + 8..start + 16].copy_from_slice(&zxid.to_be_bytes());
}

/// Drops a body that had been begun, and makes the reply at `start` say `err` instead.
pub fn fail(out: &mut Vec<u8>, start: usize, zxid: i64, err: ErrorCode) {
    out.truncate(start + HEADER_BYTES);
    finish(out, start, zxid, err.code());
}

/// Appends a reply without body.
pub fn encode_header_only(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) {
    let start = begin(out, xid);
    finish(out, start, zxid, err);
}

/// How many Stats a successful write's reply needs.
pub fn stats_wanted(result: &WriteResult) -> usize {
    match result {
        WriteResult::Created { stat, .. } => usize::from(*stat),
        WriteResult::Done => 0,
        WriteResult::Stat | WriteResult::Config { .. } => 1,
        WriteResult::Multi(results) => results
            .iter()
            .filter(|result| matches!(result, MultiResult::CreatedWithStat(_) | MultiResult::SetData))
            .count(),
    }
}

/// Appends the reply to a write. `stats` holds [`stats_wanted`] Stats under the index of their op.
pub fn encode_write(
    out: &mut Vec<u8>,
    xid: i32,
    zxid: Zxid,
    result: &Result<WriteResult, ErrorCode>,
    stats: &[(u32, Stat)],
) {
    let start = begin(out, xid);
    let err = match result {
        Ok(result) => {
            encode_write_result(&mut Writer::new(out), result, stats);
            0
        }
        Err(code) => code.code(),
    };
    finish(out, start, zxid.to_wire(), err);
}

/// Appends the reply to a sync, which echoes the path whatever it was.
pub fn encode_sync(out: &mut Vec<u8>, xid: i32, zxid: Zxid, path: Option<&str>) {
    let start = begin(out, xid);
    Writer::new(out).buffer(path.map(str::as_bytes));
    finish(out, start, zxid.to_wire(), 0);
}

/// Appends the reply to a getEphemerals.
pub fn encode_ephemerals(out: &mut Vec<u8>, xid: i32, zxid: Zxid, paths: &[Arc<str>]) {
    let start = begin(out, xid);
    let mut w = Writer::new(out);
    w.count(Some(paths.len()));
    paths.iter().for_each(|path| w.string(path));
    finish(out, start, zxid.to_wire(), 0);
}

fn encode_write_result(w: &mut Writer<'_>, result: &WriteResult, stats: &[(u32, Stat)]) {
    match result {
        WriteResult::Created { path, stat } => {
            w.string(path);
            if *stat {
                stat_of(stats, 0).encode(w);
            }
        }
        WriteResult::Done => {}
        WriteResult::Stat => stat_of(stats, 0).encode(w),
        WriteResult::Config { data } => {
            w.buffer(Some(data));
            stat_of(stats, 0).encode(w);
        }
        WriteResult::Multi(results) => {
            for (op, result) in results.iter().enumerate() {
                encode_multi_result(w, result, op as u32, stats);
            }
            multi::encode_terminator(w);
        }
    }
}

fn encode_multi_result(w: &mut Writer<'_>, result: &MultiResult, op: u32, stats: &[(u32, Stat)]) {
    match result {
        MultiResult::Created(path) => {
            multi::encode_header(w, OpCode::Create as i32, false, 0);
            w.string(path);
        }
        MultiResult::CreatedWithStat(path) => {
            multi::encode_header(w, OpCode::Create2 as i32, false, 0);
            w.string(path);
            stat_of(stats, op).encode(w);
        }
        MultiResult::Deleted => multi::encode_header(w, OpCode::Delete as i32, false, 0),
        MultiResult::SetData => {
            multi::encode_header(w, OpCode::SetData as i32, false, 0);
            stat_of(stats, op).encode(w);
        }
        MultiResult::Checked => multi::encode_header(w, CHECK, false, 0),
        MultiResult::Failed(code) => multi::encode_failure(w, *code),
    }
}

fn stat_of(stats: &[(u32, Stat)], op: u32) -> Stat {
    stats.iter().find(|(of, _)| *of == op).map(|(_, stat)| *stat).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_multi_matches_the_reference_server() {
        let mut out = Vec::new();
        let results = [0, -101, -2].map(MultiResult::Failed).to_vec();
        encode_write(&mut out, 7, Zxid(6), &Ok(WriteResult::Multi(results)), &[]);
        let expected = "00000040 00000007 0000000000000006 00000000 \
                        ffffffff 00 00000000 00000000 \
                        ffffffff 00 ffffff9b ffffff9b \
                        ffffffff 00 fffffffe fffffffe \
                        ffffffff 01 ffffffff";
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""));
    }

    #[test]
    fn results_of_a_multi_carry_their_types_and_their_own_stats() {
        let mut out = Vec::new();
        let results = vec![
            MultiResult::Created("/a".into()),
            MultiResult::CreatedWithStat("/b".into()),
            MultiResult::Deleted,
            MultiResult::SetData,
            MultiResult::Checked,
        ];
        let result = WriteResult::Multi(results);
        assert_eq!(stats_wanted(&result), 2);
        let stats = [3, 1].map(|op| (op, Stat { version: op as i32 * 10, ..Stat::default() }));
        encode_write(&mut out, 1, Zxid(1), &Ok(result), &stats);
        let mut r = engine::jute::Reader::new(&out[HEADER_BYTES..]);
        let mut seen = Vec::new();
        loop {
            let type_code = r.int().expect("a header");
            let done = r.boolean().expect("a header");
            assert_eq!(r.int(), Ok(if done { -1 } else { 0 }));
            if done {
                break;
            }
            if matches!(type_code, 1 | 15) {
                r.string().expect("a path");
            }
            let version = matches!(type_code, 15 | 5).then(|| {
                for _ in 0..4 {
                    r.long().expect("a Stat");
                }
                let version = r.int().expect("a Stat");
                for _ in 0..8 {
                    r.int().expect("a Stat");
                }
                version
            });
            seen.push((type_code, version));
        }
        assert!(r.rest().is_empty());
        assert_eq!(seen, [(1, None), (15, Some(10)), (2, None), (5, Some(30)), (13, None)]);
    }
}
