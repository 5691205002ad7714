//! Replies and events, taken off the wire.

use engine::error_code::ErrorCode;

/// xid of an event.
pub const EVENT: i32 = -1;
/// xid of a ping's reply.
pub const PING: i32 = -2;

/// A reply, as far as a run looks at it (`ReplyHeader`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply<'a> {
    /// Of the request, or [`EVENT`] or [`PING`].
    pub xid: i32,
    /// 0, or an error.
    pub error: i32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The first whole frame and its length; `None` while it is cut. A frame too short for a header, or with a negative length,
/// is told as error [`ErrorCode::MarshallingError`] of xid 0 and takes all bytes.
pub fn reply(bytes: &[u8]) -> Option<(usize, Reply<'_>)> {
    let word = |at: usize| Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let length = word(0)?;
    let Some(length) = usize::try_from(length).ok().filter(|length| *length >= 16) else {
        return Some((bytes.len(), Reply { xid: 0, error: ErrorCode::MarshallingError.code(), body: &[] }));
    };
    let frame = bytes.get(4..4 + length)?;
    Some((4 + length, Reply { xid: word(4)?, error: word(16)?, body: &frame[16..] }))
}

/// What a server tells of a watch (`WatcherEvent`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// `Watcher.Event.EventType`.
    pub kind: i32,
    /// The node.
    pub path: &'a [u8],
}

/// nodeDeleted among the kinds of [`Event`].
pub const NODE_DELETED: i32 = 2;

impl<'a> Event<'a> {
    /// Reads the body of a frame with xid [`EVENT`].
    pub fn read(body: &'a [u8]) -> Option<Event<'a>> {
        let word = |at: usize| Some(i32::from_be_bytes(*body.get(at..)?.first_chunk()?));
        Some(Event { kind: word(0)?, path: string(body.get(8..)?)? })
    }
}

/// The string at the begin of a body.
pub fn string(body: &[u8]) -> Option<&[u8]> {
    let length = i32::from_be_bytes(*body.first_chunk()?);
    body.get(4..)?.get(..usize::try_from(length).ok()?)
}

/// Frames out of a stream that is cut anywhere; keeps what is not whole.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Adds received bytes. `take` uses the first whole frame of what it is given and tells its length, or `None` if that is
    /// not whole yet.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8]) -> Option<usize>) {
        let mut joined = std::mem::take(&mut self.partial);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        while let Some(length) = take(rest) {
            rest = &rest[length..];
        }
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
    }

    /// As [`feed`](Self::feed), for ZooKeeper's replies.
    pub fn replies(&mut self, bytes: &[u8], mut each: impl FnMut(Reply<'_>)) {
        self.feed(bytes, |rest| {
            let (length, reply) = reply(rest)?;
            each(reply);
            Some(length)
        });
    }
}

/// An error as people know it.
pub fn error_name(code: i32) -> String {
    if code == LOST {
        return "ConnectionLoss".to_owned();
    }
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |known| format!("{known:?}"))
}

/// `KeeperException.Code.CONNECTIONLOSS`, which no server sends: the connection ended before the reply.
pub const LOST: i32 = -4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stream() -> Vec<u8> {
        let mut stream = Vec::new();
        for xid in 1..=3_i32 {
            stream.extend_from_slice(&(16 + xid as u32).to_be_bytes());
            stream.extend_from_slice(&xid.to_be_bytes());
            stream.extend_from_slice(&9_i64.to_be_bytes());
            stream.extend_from_slice(&(-100 - xid).to_be_bytes());
            stream.extend(std::iter::repeat_n(b'b', xid as usize));
        }
        stream
    }

    #[test]
    fn replies_cut_anywhere_come_out_whole() {
        let stream = stream();
        for cut in 0..stream.len() {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                frames.replies(part, |reply| seen.push((reply.xid, reply.error, reply.body.len())));
            }
            assert_eq!(seen, [(1, -101, 1), (2, -102, 2), (3, -103, 3)], "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_an_error_and_ends() {
        for bytes in [&[0xFF, 0xFF, 0xFF, 0xF0, 1][..], &[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 0]] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            frames.replies(bytes, |reply| seen.push(reply.error));
            assert_eq!(seen, [ErrorCode::MarshallingError.code()]);
        }
    }

    #[test]
    fn events_are_read_and_cut_ones_are_not() {
        let mut body = Vec::new();
        body.extend_from_slice(&3_i32.to_be_bytes());
        body.extend_from_slice(&3_i32.to_be_bytes());
        body.extend_from_slice(&2_i32.to_be_bytes());
        body.extend_from_slice(b"/a");
        assert_eq!(Event::read(&body).unwrap(), Event { kind: 3, path: b"/a" });
        for cut in 0..body.len() {
            assert_eq!(Event::read(&body[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn errors_have_names() {
        assert_eq!(error_name(-101), "NoNode");
        assert_eq!(error_name(-4), "ConnectionLoss");
        assert_eq!(error_name(-7777), "error -7777");
    }
}
