//! A session on a raw connection: requests as the test builds them, replies and events as they come.

use super::raw::Raw;
use super::record::{self, err, op, record};
use engine::jute::Reader;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A reply: its header, and the bytes behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl Reply {
    fn decode(frame: &[u8]) -> Reply {
        let mut reader = Reader::new(frame);
        let (xid, zxid, err) = (reader.int().unwrap(), reader.long().unwrap(), reader.int().unwrap());
        Reply { xid, zxid, err, body: reader.rest().to_vec() }
    }

    /// A reader of the body of a reply that is not an error.
    pub fn ok(&self) -> Reader<'_> {
        assert_eq!(self.err, err::OK, "the request failed");
        Reader::new(&self.body)
    }

    /// The path in front of the body.
    pub fn path(&self) -> String {
        text(&mut self.ok())
    }

    /// The body is a Stat.
    pub fn stat(&self) -> Stat {
        Stat::decode(&mut self.ok())
    }

    /// The body is a path and a Stat (Create2Response).
    pub fn path_and_stat(&self) -> (String, Stat) {
        let mut reader = self.ok();
        (text(&mut reader), Stat::decode(&mut reader))
    }

    /// The body is data and a Stat (GetDataResponse).
    pub fn data(&self) -> (Option<Vec<u8>>, Stat) {
        let mut reader = self.ok();
        (reader.buffer().unwrap().map(<[u8]>::to_vec), Stat::decode(&mut reader))
    }

    /// The body begins with a list of strings; sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.ok().vector(|r| Ok(r.string()?.unwrap().into_owned())).unwrap().unwrap();
        names.sort();
        names
    }

    /// The body is a list of names, given sorted, and a Stat (GetChildren2Response).
    pub fn names_and_stat(&self) -> (Vec<String>, Stat) {
        let mut reader = self.ok();
        let mut names = reader.vector(|r| Ok(text(r))).unwrap().unwrap();
        names.sort();
        (names, Stat::decode(&mut reader))
    }

    /// The body begins with an ACL.
    pub fn acl(&self) -> Vec<(i32, String, String)> {
        self.ok().vector(|r| Ok((r.int()?, text(r), text(r)))).unwrap().unwrap()
    }

    /// The body is an int.
    pub fn int(&self) -> i32 {
        self.ok().int().unwrap()
    }

    /// The results of a multi: type, error in the header, and what each type carries.
    pub fn results(&self) -> Vec<OpResult> {
        let mut reader = self.ok();
        let mut results = Vec::new();
        loop {
            let (kind, done, err) = (reader.int().unwrap(), reader.boolean().unwrap(), reader.int().unwrap());
            if done {
                assert_eq!((kind, err), (-1, -1), "the terminator");
                assert!(reader.rest().is_empty(), "bytes behind the terminator");
                return results;
            }
            let mut result = OpResult { kind, err, ..OpResult::default() };
            match kind {
                op::CREATE => result.path = Some(text(&mut reader)),
                op::CREATE2 => {
                    result.path = Some(text(&mut reader));
                    result.stat = Some(Stat::decode(&mut reader));
                }
                op::SET_DATA => result.stat = Some(Stat::decode(&mut reader)),
                op::GET_DATA => {
                    result.data = reader.buffer().unwrap().map(<[u8]>::to_vec);
                    result.stat = Some(Stat::decode(&mut reader));
                }
                op::GET_CHILDREN => result.names = reader.vector(|r| Ok(text(r))).unwrap(),
                -1 => assert_eq!(reader.int(), Ok(err), "both places of the error"),
                op::DELETE | op::CHECK => {}
                other => panic!("result of type {other}"),
            }
            results.push(result);
        }
    }
}

/// One result of a multi.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OpResult {
    pub kind: i32,
    pub err: i32,
    pub path: Option<String>,
    pub stat: Option<Stat>,
    pub data: Option<Vec<u8>>,
    pub names: Option<Vec<String>>,
}

fn text(reader: &mut Reader<'_>) -> String {
    reader.string().unwrap().unwrap().into_owned()
}

/// Stat, field by field.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub owner: i64,
    pub data_length: i32,
    pub children: i32,
    pub pzxid: i64,
}

impl Stat {
    fn decode(reader: &mut Reader<'_>) -> Stat {
        Stat {
            czxid: reader.long().unwrap(),
            mzxid: reader.long().unwrap(),
            ctime: reader.long().unwrap(),
            mtime: reader.long().unwrap(),
            version: reader.int().unwrap(),
            cversion: reader.int().unwrap(),
            aversion: reader.int().unwrap(),
            owner: reader.long().unwrap(),
            data_length: reader.int().unwrap(),
            children: reader.int().unwrap(),
            pzxid: reader.long().unwrap(),
        }
    }
}

/// A watch event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub zxid: i64,
    pub kind: i32,
    pub path: String,
}

/// Types of event.
pub const CREATED: i32 = 1;
pub const DELETED: i32 = 2;
pub const CHANGED: i32 = 3;
pub const CHILD: i32 = 4;

/// A frame that is not part of the handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Event(Event),
    Reply(Reply),
}

/// ConnectRequest.
#[derive(Clone, Debug)]
pub struct Hello {
    pub last_zxid: i64,
    pub timeout: i32,
    pub id: i64,
    pub password: Vec<u8>,
    pub read_only: bool,
}

impl Default for Hello {
    fn default() -> Hello {
        Hello { last_zxid: 0, timeout: 20_000, id: 0, password: vec![0; 16], read_only: false }
    }
}

impl Hello {
    /// The record with the read-only byte.
    pub fn bytes(&self) -> Vec<u8> {
        record(|out| {
            out.int(0);
            out.long(self.last_zxid);
            out.int(self.timeout);
            out.long(self.id);
            out.buffer(Some(&self.password));
            out.boolean(self.read_only);
        })
    }
}

/// What a server makes of a ConnectRequest.
#[derive(Debug)]
pub enum Knock {
    /// The session is on this connection.
    Open(Box<Session>),
    /// The session has expired.
    Expired,
    /// The server is down or does not serve now.
    Closed,
}

/// A session and the connection that it is on.
#[derive(Debug)]
pub struct Session {
    pub raw: Raw,
    pub id: i64,
    pub password: Vec<u8>,
    pub timeout: i32,
    /// Whether the server said that it only reads.
    pub read_only: bool,
    pub events: VecDeque<Event>,
    xid: i32,
    /// How many pings may be sent for one answer, and those whose own answers are still to come.
    patience: u32,
    pings: u32,
}

/// The xid of pings.
const PING_XID: i32 = -2;

/// How long a session that lasts waits for an answer before it pings.
const PING_AFTER: Duration = Duration::from_secs(2);

impl Session {
    /// A new session of 20 seconds.
    pub fn open(address: SocketAddr) -> Session {
        Session::connect(address, &Hello::default()).expect("the server refused a new session")
    }

    /// A new session with another timeout.
    pub fn open_for(address: SocketAddr, timeout: i32) -> Session {
        Session::connect(address, &Hello { timeout, ..Hello::default() }).expect("the server refused a new session")
    }

    /// Asks for a session; `None` when it is refused with the answer that means "expired", which a close must follow.
    pub fn connect(address: SocketAddr, hello: &Hello) -> Option<Session> {
        let mut raw = Raw::connect(address);
        raw.send_frame(&hello.bytes());
        Session::accept(raw)
    }

    /// Asks a server that may be down, or without a leader.
    pub fn knock(address: SocketAddr, hello: &Hello, patience: Duration) -> Knock {
        let Some(mut raw) = Raw::try_connect(address, patience) else { return Knock::Closed };
        raw.send_frame(&hello.bytes());
        let Some(answer) = raw.read_frame() else { return Knock::Closed };
        Session::answered(raw, &answer).map_or(Knock::Expired, |session| Knock::Open(Box::new(session)))
    }

    /// Reads the answer to a ConnectRequest that was sent.
    pub fn accept(mut raw: Raw) -> Option<Session> {
        let answer = raw.frame();
        Session::answered(raw, &answer)
    }

    /// Makes sense of the answer to a ConnectRequest.
    pub fn answered(mut raw: Raw, answer: &[u8]) -> Option<Session> {
        let mut reader = Reader::new(answer);
        assert_eq!(reader.int(), Ok(0), "protocol version");
        let (timeout, id) = (reader.int().unwrap(), reader.long().unwrap());
        let password = reader.buffer().unwrap().unwrap().to_vec();
        assert_eq!(password.len(), 16);
        if timeout == 0 {
            assert_eq!((id, password), (0, vec![0; 16]), "a refusal has neither id nor password");
            raw.expect_close();
            return None;
        }
        // Who asks by the old form, without the byte, is answered by it.
        let read_only = reader.rest().first() == Some(&1);
        Some(Session { raw, id, password, timeout, read_only, events: VecDeque::new(), xid: 0, patience: 0, pings: 0 })
    }

    /// From now on an answer may take this long, and the session pings while it waits, as clients do. Some releases of
    /// Apache ZooKeeper need that: the last of many reads may lie there until something else comes.
    pub fn expect_to_wait(&mut self, patience: Duration) {
        self.raw.expect_to_stall(PING_AFTER);
        self.patience = patience.as_secs().div_ceil(PING_AFTER.as_secs()) as u32;
    }

    /// What it takes to renew this session.
    pub fn hello(&self) -> Hello {
        Hello { timeout: self.timeout, id: self.id, password: self.password.clone(), ..Hello::default() }
    }

    /// Sends a request under the next xid, which it returns.
    pub fn send(&mut self, code: i32, body: &[u8]) -> i32 {
        self.xid += 1;
        self.send_as(self.xid, code, body);
        self.xid
    }

    /// Sends a request under this xid.
    pub fn send_as(&mut self, xid: i32, code: i32, body: &[u8]) {
        self.raw.send_frame(&request(xid, code, body));
    }

    /// The next frame, whatever it is.
    pub fn receive(&mut self) -> Message {
        self.try_receive().expect("the server closed the connection")
    }

    /// The next frame, or `None` at the end of the connection.
    pub fn try_receive(&mut self) -> Option<Message> {
        let mut pings_left = self.patience;
        let reply = loop {
            match self.raw.read_frame().map(|frame| Reply::decode(&frame)) {
                Some(reply) if reply.xid == PING_XID && self.pings > 0 => self.pings -= 1,
                Some(reply) => break reply,
                None if self.raw.has_stalled() && pings_left > 0 => {
                    self.send_as(PING_XID, op::PING, b"");
                    self.pings += 1;
                    pings_left -= 1;
                }
                None => return None,
            }
        };
        if reply.xid != -1 {
            return Some(Message::Reply(reply));
        }
        let mut reader = Reader::new(&reply.body);
        let kind = reader.int().unwrap();
        assert_eq!((reply.err, reader.int()), (0, Ok(3)), "error and state of an event");
        let path = text(&mut reader);
        assert!(reader.rest().is_empty());
        Some(Message::Event(Event { zxid: reply.zxid, kind, path }))
    }

    /// The next reply; events on the way to it are kept.
    pub fn reply(&mut self) -> Reply {
        loop {
            match self.receive() {
                Message::Event(event) => self.events.push_back(event),
                Message::Reply(reply) => return reply,
            }
        }
    }

    /// Sends a request and reads its reply.
    pub fn call(&mut self, code: i32, body: &[u8]) -> Reply {
        let xid = self.send(code, body);
        let reply = self.reply();
        assert_eq!(reply.xid, xid, "replies leave in request order");
        reply
    }

    /// Sends a request and reads its reply, or `None` when the connection ends before it.
    pub fn try_call(&mut self, code: i32, body: &[u8]) -> Option<Reply> {
        let xid = self.send(code, body);
        let reply = self.try_reply()?;
        assert_eq!(reply.xid, xid, "replies leave in request order");
        Some(reply)
    }

    /// The next reply, or `None` at the end of the connection.
    pub fn try_reply(&mut self) -> Option<Reply> {
        loop {
            match self.try_receive()? {
                Message::Event(event) => self.events.push_back(event),
                Message::Reply(reply) => return Some(reply),
            }
        }
    }

    /// The error code of a request.
    pub fn err(&mut self, code: i32, body: &[u8]) -> i32 {
        let reply = self.call(code, body);
        if reply.err != 0 {
            assert_eq!(reply.body, b"", "an error has no body");
        }
        reply.err
    }

    /// Creates an open persistent node, which must work.
    pub fn create(&mut self, path: &str, data: &[u8]) -> Reply {
        let reply = self.call(op::CREATE, &record::plain(path, data));
        assert_eq!(reply.path(), path);
        reply
    }

    /// Creates an open node of this mode and returns its path.
    pub fn create_as(&mut self, path: &str, flags: i32) -> String {
        self.call(op::CREATE, &record::create(path, Some(b""), record::OPEN, flags)).path()
    }

    /// Sets data without regard to the version, which must work.
    pub fn set(&mut self, path: &str, data: &[u8]) -> Reply {
        let reply = self.call(op::SET_DATA, &record::set_data(path, data, -1));
        reply.stat();
        reply
    }

    /// Deletes, which must work.
    pub fn delete(&mut self, path: &str) -> Reply {
        let reply = self.call(op::DELETE, &record::path_int(path, -1));
        assert_eq!(reply.err, err::OK, "delete {path}");
        reply
    }

    /// The Stat, if the node exists.
    pub fn stat(&mut self, path: &str) -> Option<Stat> {
        let reply = self.call(op::EXISTS, &record::read(path, false));
        (reply.err != err::NO_NODE).then(|| reply.stat())
    }

    /// Data and Stat of a node that exists.
    pub fn get(&mut self, path: &str) -> (Option<Vec<u8>>, Stat) {
        self.call(op::GET_DATA, &record::read(path, false)).data()
    }

    /// The sorted names of the children.
    pub fn children(&mut self, path: &str) -> Vec<String> {
        self.call(op::GET_CHILDREN, &record::read(path, false)).names()
    }

    /// Sends an auth packet and reads its reply.
    pub fn auth(&mut self, scheme: &str, credential: &[u8]) -> Reply {
        self.send_as(-4, op::AUTH, &record::auth(scheme, credential));
        self.reply()
    }

    /// The server's last applied zxid, by a ping.
    pub fn zxid(&mut self) -> i64 {
        self.send_as(PING_XID, op::PING, b"");
        let reply = self.reply();
        assert_eq!((reply.xid, reply.err, reply.body.len()), (PING_XID, 0, 0));
        reply.zxid
    }

    /// Events that arrived up to now: everything caused before this moment.
    pub fn take_events(&mut self) -> Vec<(i32, String)> {
        self.zxid();
        self.events.drain(..).map(|event| (event.kind, event.path)).collect()
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.receive() {
            Message::Event(event) => event,
            Message::Reply(reply) => panic!("expected an event, got {reply:?}"),
        }
    }

    /// Ends the session and reads the answer and the close.
    pub fn close(mut self) -> i64 {
        let reply = self.call(op::CLOSE_SESSION, b"");
        assert_eq!((reply.err, reply.body.len()), (0, 0));
        self.raw.expect_close();
        reply.zxid
    }

    /// The server closes the connection without another frame.
    pub fn expect_close(&mut self) {
        self.raw.expect_close();
    }
}

/// RequestHeader and record.
pub fn request(xid: i32, code: i32, body: &[u8]) -> Vec<u8> {
    record(|out| {
        out.int(xid);
        out.int(code);
        out.raw(body);
    })
}
