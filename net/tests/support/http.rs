//! A bare HTTP client for the admin server.

use super::server::Process;
use super::wait_for;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, taken to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|problem| panic!("{problem}: {self:?}"))
    }
}

/// Where the admin server of a process that was told `admin.serverPort=0` listens, on loopback.
pub fn admin_address(process: &Process) -> SocketAddr {
    const LINE: &str = "the admin server is on http://";
    wait_for("the admin server", PATIENCE, || {
        let log = process.log();
        let (_, behind) = log.split_once(LINE)?;
        behind.split_once('/')?.0.parse().ok()
    })
}

/// A connection to it.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends one request and reads until the server closes.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let answer = try_request(address, method, path, headers, body);
    answer.unwrap_or_else(|problem| panic!("{method} {path}: {problem}"))
}

/// The same, where the server may close before it has answered.
pub fn try_request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Answer> {
    let mut stream = connect(address);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}{length}\r\n{body}");
    stream.write_all(text.as_bytes())?;
    answer(stream)
}

/// Reads an answer to the end of the connection.
pub fn answer(mut stream: TcpStream) -> io::Result<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// GET, which must end with 200, as JSON.
pub fn get(address: SocketAddr, path: &str) -> Value {
    let answer = request(address, "GET", path, "", "");
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// The names of an object's members, in their order.
pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().map(String::as_str).collect()
}
