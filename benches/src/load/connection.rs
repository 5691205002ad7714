//! One connection of a run: what it has outstanding, and replies taken off the wire in order.

use super::zookeeper::Created;
use super::{Protocol, resp};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// xid of a notification.
const NOTIFICATION: i32 = -1;
/// Error of a key that a preload finds in place.
pub(super) const NODE_EXISTS: i32 = -110;

/// A reply, as far as a run looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    pub(super) xid: i32,
    pub(super) error: i32,
}

/// Opens a session with plain blocking calls and returns its connection.
pub(super) fn open_session(server: SocketAddr, timeout_ms: i32) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.write_all(&super::zookeeper::connect_frame(timeout_ms))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).min(1024)];
    stream.read_exact(&mut body)?;
    let granted = body.get(4..8).map_or(0, |bytes| i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    if granted <= 0 {
        return Err(io::Error::other("the server refused the session"));
    }
    Ok(stream)
}

/// State of one connection under load.
pub(super) struct Conn {
    protocol: Protocol,
    partial: Vec<u8>,
    pub(super) sent: VecDeque<(Instant, i32)>,
    pub(super) next_xid: i32,
    pub(super) created: Created,
}

impl Conn {
    pub(super) fn new(protocol: Protocol, created: Created) -> Conn {
        Conn { protocol, partial: Vec::new(), sent: VecDeque::new(), next_xid: 1, created }
    }

    /// Takes whole replies out of received bytes, keeping what is cut.
    pub(super) fn receive(&mut self, bytes: &[u8], mut each: impl FnMut(&mut Self, Reply)) {
        let mut joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        while let Some((length, reply)) = self.first_reply(rest) {
            rest = &rest[length..];
            if reply.xid != NOTIFICATION {
                each(self, reply);
            }
        }
        self.partial = rest.to_vec();
    }

    fn first_reply(&self, bytes: &[u8]) -> Option<(usize, Reply)> {
        match self.protocol {
            Protocol::Redis => {
                let (length, failed) = resp::reply(bytes)?;
                let xid = self.sent.front().map_or(0, |(_, xid)| *xid);
                Some((length, Reply { xid, error: i32::from(failed) }))
            }
            Protocol::Zookeeper => zookeeper_reply(bytes),
        }
    }
}

/// Length of the first whole frame, and its header.
pub(super) fn zookeeper_reply(bytes: &[u8]) -> Option<(usize, Reply)> {
    let word = |at: usize| Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let whole = 4 + usize::try_from(word(0)?).ok()?;
    if bytes.len() < whole {
        return None;
    }
    Some((whole, Reply { xid: word(4)?, error: word(16)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_cut_anywhere_come_out_whole() {
        let mut stream = Vec::new();
        for xid in 1..=3_i32 {
            stream.extend_from_slice(&16_u32.to_be_bytes());
            stream.extend_from_slice(&xid.to_be_bytes());
            stream.extend_from_slice(&9_i64.to_be_bytes());
            stream.extend_from_slice(&(-100 - xid).to_be_bytes());
        }
        for cut in 0..stream.len() {
            let mut conn = Conn::new(Protocol::Zookeeper, Created::new(0, 0));
            let mut seen = Vec::new();
            conn.receive(&stream[..cut], |_, reply| seen.push((reply.xid, reply.error)));
            conn.receive(&stream[cut..], |_, reply| seen.push((reply.xid, reply.error)));
            assert_eq!(seen, [(1, -101), (2, -102), (3, -103)], "cut at {cut}");
        }
    }
}
