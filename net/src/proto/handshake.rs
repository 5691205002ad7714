//! `ConnectRequest` and `ConnectResponse`: the first frame each way, without headers.

use crate::frame::LENGTH_BYTES;
use engine::ids::SessionId;
use engine::jute::{DecodeError, Reader, Writer};
use engine::zxid::Zxid;

/// Bytes of a session password.
pub const PASSWORD_BYTES: usize = 16;

/// What a client says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectRequest {
    /// The last zxid that the client has seen anywhere; anything below 1 is none.
    pub last_zxid_seen: Zxid,
    /// Session timeout wished for, in milliseconds, unchecked.
    pub timeout_ms: i32,
    /// Session to renew, or [`SessionId::NONE`].
    pub session: SessionId,
    /// Its password, if it has the length of one.
    pub password: Option<[u8; PASSWORD_BYTES]>,
    /// Whether a read-only server will do; `None` from clients of 3.3 and older, which do not send the byte and do not
    /// expect it back.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Reads the record. What is cut short before the password ends closes the connection.
    pub fn decode(r: &mut Reader<'_>) -> Result<ConnectRequest, DecodeError> {
        let _protocol_version = r.int()?;
        let last_zxid_seen = r.long()?;
        let timeout_ms = r.int()?;
        let session = SessionId(r.long()?);
        let password = r.buffer()?.and_then(|bytes| bytes.try_into().ok());
        let read_only = if r.rest().is_empty() { None } else { Some(r.boolean()?) };
        Ok(ConnectRequest {
            last_zxid_seen: Zxid::from_wire(last_zxid_seen.max(0)),
            timeout_ms,
            session,
            password,
            read_only,
        })
    }
}

/// What the server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Negotiated timeout in milliseconds; 0 tells the client that its session is gone.
    pub timeout_ms: i32,
    /// The session.
    pub session: SessionId,
    /// Its password.
    pub password: [u8; PASSWORD_BYTES],
    /// Whether this is a read-only server; `None` if the request lacked the byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a renewal that failed. Expired, unknown and wrong password look alike.
    pub fn refusal(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse { timeout_ms: 0, session: SessionId::NONE, password: [0; PASSWORD_BYTES], read_only }
    }

    /// Appends the whole frame: 36 bytes behind the length, or 37 with the read-only byte.
    pub fn encode_frame(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut w = Writer::new(out);
        w.int(0);
        w.int(0);
        w.int(self.timeout_ms);
        w.long(self.session.0);
        w.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            w.boolean(read_only);
        }
        let length = (out.len() - start - LENGTH_BYTES) as i32;
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(password: &[u8], read_only: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut w = Writer::new(&mut bytes);
        w.int(99);
        w.long(-5);
        w.int(30_000);
        w.long(7);
        w.buffer(Some(password));
        w.raw(read_only);
        bytes
    }

    #[test]
    fn the_last_byte_may_be_missing_and_more_may_follow() {
        let bytes = request(&[1; 16], &[]);
        assert_eq!(bytes.len(), 44);
        let old = ConnectRequest::decode(&mut Reader::new(&bytes)).map(|request| request.read_only);
        assert_eq!(old, Ok(None));
        let new = ConnectRequest::decode(&mut Reader::new(&request(&[1; 16], &[2, 9, 9])));
        let expected = ConnectRequest {
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session: SessionId(7),
            password: Some([1; 16]),
            read_only: Some(true),
        };
        assert_eq!(new, Ok(expected));
        let odd = ConnectRequest::decode(&mut Reader::new(&request(&[1; 3], &[0]))).map(|request| request.password);
        assert_eq!(odd, Ok(None));
        assert!(ConnectRequest::decode(&mut Reader::new(&bytes[..43])).is_err());
    }

    #[test]
    fn responses_have_36_or_37_bytes() {
        for (read_only, bytes) in [(None, 36), (Some(false), 37), (Some(true), 37)] {
            let mut out = Vec::new();
            ConnectResponse::refusal(read_only).encode_frame(&mut out);
            assert_eq!(out.len(), 4 + bytes);
            assert_eq!(out[..4], (bytes as u32).to_be_bytes());
        }
    }
}
