//! What is done to every server alike, and its bytes.

use crate::side::Side;
use crate::support::record::{err, op, record};
use engine::jute::{Reader, Writer};
use std::fmt;

/// A path, or a null; not always UTF-8.
pub type Path = Option<Vec<u8>>;

/// One thing that is done to all servers.
#[derive(Clone, Debug)]
pub enum Step {
    /// A connection in this slot, and a ConnectRequest.
    Open { slot: usize, greeting: Greeting },
    /// Requests in one go.
    Requests { slot: usize, requests: Vec<Request> },
    /// Bytes that make a server end the connection.
    Garbage { slot: usize, bytes: Vec<u8> },
    /// The client ends the connection; the session stays.
    Drop { slot: usize },
}

impl Step {
    /// The slot that it is about.
    pub fn slot(&self) -> usize {
        match self {
            Step::Open { slot, .. }
            | Step::Requests { slot, .. }
            | Step::Garbage { slot, .. }
            | Step::Drop { slot } => *slot,
        }
    }

    /// Whether the server may end the connection over it.
    pub fn may_end(&self) -> bool {
        matches!(self, Step::Requests { requests, .. } if requests.last().is_some_and(Request::may_end))
    }

    /// Whether the connection stays, after this answer to a request that may end it.
    pub fn goes_on(&self, code: i32) -> bool {
        code == err::OK && !self.closes_session()
    }

    /// Whether it ends a session, whose ephemerals go in an order that nobody promises.
    pub fn closes_session(&self) -> bool {
        matches!(self, Step::Requests { requests, .. } if requests.iter().any(|one| one.code == op::CLOSE_SESSION))
    }
}

/// A request but for what each server calls by a number of its own.
#[derive(Clone)]
pub struct Request {
    pub xid: i32,
    pub code: i32,
    pub body: Body,
    /// The path that it is about, for those who judge differences.
    pub path: Path,
}

impl Request {
    /// Whether the server may end the connection over it.
    pub fn may_end(&self) -> bool {
        matches!(self.code, op::CLOSE_SESSION | op::AUTH) || !KNOWN.contains(&self.code)
    }
}

/// The opcodes of clients' requests.
const KNOWN: [i32; 26] = [
    op::CREATE,
    op::DELETE,
    op::EXISTS,
    op::GET_DATA,
    op::SET_DATA,
    op::GET_ACL,
    op::SET_ACL,
    op::GET_CHILDREN,
    op::SYNC,
    op::PING,
    op::GET_CHILDREN2,
    op::MULTI,
    op::CREATE2,
    op::RECONFIG,
    op::CHECK_WATCHES,
    op::REMOVE_WATCHES,
    op::CREATE_CONTAINER,
    op::CREATE_TTL,
    op::MULTI_READ,
    op::SET_WATCHES,
    op::SASL,
    op::GET_EPHEMERALS,
    op::GET_ALL_CHILDREN_NUMBER,
    op::SET_WATCHES2,
    op::ADD_WATCH,
    op::WHO_AM_I,
];

impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of type {}", self.xid, self.code)?;
        match &self.body {
            Body::Bytes(bytes) => {
                let shown = &bytes[..bytes.len().min(600)];
                let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(out, ", {} bytes {digits} {:?}", bytes.len(), String::from_utf8_lossy(shown))
            }
            Body::Watches { behind, lists } => {
                let lists: Vec<Vec<_>> =
                    lists.iter().map(|list| list.iter().map(|path| String::from_utf8_lossy(path)).collect()).collect();
                write!(out, ", {behind} behind, {lists:?}")
            }
        }
    }
}

/// A body.
#[derive(Clone, Debug)]
pub enum Body {
    /// The same everywhere.
    Bytes(Vec<u8>),
    /// SetWatches or SetWatches2 with a zxid that is counted from the newest one.
    Watches { behind: i64, lists: Vec<Vec<Vec<u8>>> },
}

impl Body {
    /// Whether it begins with a null.
    pub fn is_null(&self) -> bool {
        matches!(self, Body::Bytes(bytes) if bytes.starts_with(&[0xff; 4]))
    }

    /// Whether it begins with an empty text.
    pub fn is_empty_text(&self) -> bool {
        matches!(self, Body::Bytes(bytes) if bytes.starts_with(&[0; 4]))
    }

    /// Whether it is a path and a wish to watch it.
    pub fn watches(&self) -> bool {
        let Body::Bytes(bytes) = self else { return false };
        let mut reader = Reader::new(bytes);
        reader.buffer().is_ok() && reader.boolean() == Ok(true)
    }

    /// The bytes for this server.
    pub fn bytes(&self, side: &Side) -> Vec<u8> {
        match self {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Watches { behind, lists } => record(|out| {
                out.long(side.zxid_behind(*behind));
                for list in lists {
                    out.count(Some(list.len()));
                    for path in list {
                        out.buffer(Some(path));
                    }
                }
            }),
        }
    }
}

/// ConnectRequest.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Which of the sessions of this run; `None`: a new one.
    pub session: Option<usize>,
    /// `None`: that of the session.
    pub password: Option<Option<Vec<u8>>>,
    /// The zxid that the client has seen, counted back from the newest; `None`: 0.
    pub seen_behind: Option<i64>,
    pub timeout: i32,
    /// `None`: the form without it.
    pub read_only: Option<bool>,
}

impl Greeting {
    /// A client that wants a new session.
    pub fn new() -> Greeting {
        Greeting { session: None, password: None, seen_behind: None, timeout: 300_000, read_only: Some(false) }
    }

    /// Its record for this server.
    pub fn bytes(&self, side: &Side) -> Vec<u8> {
        let (id, password) = self.session.map_or((0, vec![0; 16]), |index| side.sessions[index].clone());
        let password = self.password.clone().unwrap_or(Some(password));
        let mut bytes = record(|out| {
            out.int(0);
            out.long(self.seen_behind.map_or(0, |behind| side.zxid_behind(behind)));
            out.int(self.timeout);
            out.long(id);
            out.buffer(password.as_deref());
        });
        if let Some(read_only) = self.read_only {
            Writer::new(&mut bytes).boolean(read_only);
        }
        bytes
    }
}
