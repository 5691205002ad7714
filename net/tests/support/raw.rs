//! A connection of bare frames.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before the server counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A TCP connection that sends and receives frames.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    read: VecDeque<u8>,
    may_break: bool,
    may_stall: bool,
    has_stalled: bool,
}

impl Raw {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        // A server that has ended the connection already is noticed when reading.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Raw { stream, read: VecDeque::new(), may_break: false, may_stall: false, has_stalled: false }
    }

    /// Connects to a server that may be down.
    pub fn try_connect(address: SocketAddr, patience: Duration) -> Option<Raw> {
        let stream = TcpStream::connect_timeout(&address, patience).ok()?;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(patience));
        let mut raw = Raw { stream, read: VecDeque::new(), may_break: false, may_stall: false, has_stalled: false };
        raw.expect_to_stall(patience);
        Some(raw)
    }

    /// From now on the connection may end inside a frame, because the server is going to be killed.
    pub fn expect_to_break(&mut self) {
        self.may_break = true;
    }

    /// The same, and an answer that does not come within this time counts as an end too.
    pub fn expect_to_stall(&mut self, patience: Duration) {
        self.may_break = true;
        self.may_stall = true;
        let _ = self.stream.set_read_timeout(Some(patience));
    }

    /// Whether the last read ended because nothing came in time, and not with the connection.
    pub fn has_stalled(&self) -> bool {
        self.has_stalled
    }

    /// A second handle on the socket, for a thread that only writes.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Sends bytes as they are. A connection that the server has ended already is noticed when reading.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(error) if is_end(error.kind()) => {}
            Err(error) if self.may_stall && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("cannot write: {error}"),
        }
    }

    /// Sends a frame.
    pub fn send_frame(&mut self, payload: &[u8]) {
        self.send_bytes(&frame(payload));
    }

    /// The next frame; `None` when the server has closed the connection.
    pub fn read_frame(&mut self) -> Option<Vec<u8>> {
        while self.read.len() < 4 || self.read.len() < 4 + self.frame_length() {
            if !self.fill() {
                assert!(self.read.is_empty() || self.may_break, "the connection ends inside a frame");
                return None;
            }
        }
        let length = self.frame_length();
        self.read.drain(..4);
        Some(self.read.drain(..length).collect())
    }

    /// The next frame, of a connection that must be open.
    pub fn frame(&mut self) -> Vec<u8> {
        self.read_frame().expect("the server closed the connection")
    }

    /// Everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        self.read.drain(..).collect()
    }

    /// The server closes the connection without another frame.
    pub fn expect_close(&mut self) {
        if let Some(frame) = self.read_frame() {
            panic!("expected the connection to be closed, got a frame of {} bytes: {frame:02x?}", frame.len());
        }
    }

    /// Ends the sending side alone.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn frame_length(&self) -> usize {
        let bytes: Vec<u8> = self.read.iter().take(4).copied().collect();
        let length = i32::from_be_bytes(bytes.try_into().unwrap());
        usize::try_from(length).expect("the server sent a negative frame length")
    }

    /// Reads once; false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        self.has_stalled = false;
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend(&buffer[..count]);
                true
            }
            Err(error) if is_end(error.kind()) => false,
            Err(error) if self.may_stall && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.has_stalled = true;
                false
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// A payload behind its length.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Bytes written as hexadecimal digits; spaces and line ends are for the reader.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of digits");
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
