//! Random requests, sensible and not, on a few paths that meet each other.
//!
//! Left out, because it stops the reference or makes it skip its own rules (the tests of `wire` have the answers to it):
//! createSession and deleteContainer from a client, createTTL with plain flags and a negative time to live, quotas of text
//! that is none and on the root, addWatch of a null; a null in an ACL behind an entry of the same permissions, over which
//! it trips while it looks for what is twice there.
//!
//! Left out, because 3.8 goes another way than 3.9 from there on: check outside a multi; in a multi, flags of TTL nodes
//! without createTTL, flags that are none, null ACLs, createContainer with the flags of another kind; two kinds of watches
//! of one connection on one path; removeWatches of the types that came with 3.9.

use crate::step::{Body, Path, Request};
use crate::support::Dice;
use crate::support::record::{mode, op, record};
use engine::jute::Writer;

/// The password of `bob:pw` as an ACL id.
const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

/// Permissions, scheme, id; `None` is a null.
type Entry = (i32, Option<&'static str>, Option<&'static str>);

/// Kinds of watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Standard,
    Persistent,
    Recursive,
}

/// Makes requests below one prefix.
#[derive(Debug)]
pub struct Script {
    dice: Dice,
    seed: u64,
    /// The connection that the request at hand is for.
    slot: usize,
    /// Whether there may be quotas. They are held against what has been applied, so that of requests in one go it is not
    /// determined which of them count.
    quotas: bool,
    /// The node below which most of it happens.
    pub prefix: String,
    xid: i32,
}

impl Script {
    /// A script of this seed.
    pub fn new(seed: u64, prefix: String) -> Script {
        Script { dice: Dice::new(seed), seed, slot: 0, quotas: false, prefix, xid: 0 }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.dice.below(bound)
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.dice.below(list.len() as u64) as usize].clone()
    }

    /// The watches that this connection may have on a path. 3.8 knows one at a time, and forgets the one for the other.
    fn kind(&self, path: &[u8]) -> Kind {
        let mut sum = self.seed ^ (self.slot as u64) << 32;
        for byte in path {
            sum = Dice::new(sum ^ u64::from(*byte)).roll();
        }
        match sum % 5 {
            0 => Kind::Persistent,
            1 => Kind::Recursive,
            _ => Kind::Standard,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }

    fn xid(&mut self) -> i32 {
        self.xid += 1;
        if self.chance(3) { self.pick(&[0, -3, -4, -8, i32::MIN, self.xid - 1]) } else { self.xid }
    }

    /// A request with this body.
    pub fn request(&mut self, code: i32, body: Vec<u8>, path: Path) -> Request {
        Request { xid: self.xid(), code, body: Body::Bytes(body), path }
    }

    /// A path below the prefix, or one at an edge.
    pub fn path(&mut self) -> Path {
        if self.chance(88) {
            return Some(self.usual_path().into_bytes());
        }
        let p = self.prefix.clone();
        let list: Vec<Path> = [
            "",
            "/",
            "//",
            "/zookeeper",
            "/zookeeper/quota",
            "/zookeeper/config",
            "/zookeeper/x",
            "foo",
            "/nope/x",
            "/nope//x",
        ]
        .iter()
        .map(|text| Some(text.as_bytes().to_vec()))
        .chain(
            [
                "/",
                "/a/",
                "//a",
                "/./a",
                "/a/..",
                "/a/.",
                "/...",
                "/a\0b",
                "/\u{1}",
                "/\u{1f}a",
                "/\u{7f}",
                "/\u{9f}",
                "/\u{a0}",
                "/\u{e000}",
                "/\u{f8ff}",
                "/\u{fff0}",
                "/\u{ffff}",
                "/\u{ffef}",
                "/\u{d7ff}",
                "/é",
                "/\u{1F600}",
                "/zookeeper_limits",
                "/a b",
            ]
            .iter()
            .map(|text| Some(format!("{p}{text}").into_bytes())),
        )
        .chain([Some([p.as_bytes(), b"/\xff\xfe"].concat()), Some([p.as_bytes(), b"/\xed\xa0\x80"].concat()), None])
        .collect();
        self.pick(&list)
    }

    fn usual_path(&mut self) -> String {
        let p = self.prefix.clone();
        let tail = self.pick(&[
            "",
            "",
            "/a",
            "/a",
            "/a",
            "/a/b",
            "/a/b",
            "/a/b/c",
            "/b",
            "/b",
            "/b/a",
            "/c",
            "/c/a",
            "/e",
            "/e/a",
            "/q-",
            "/ab",
            "/a/b/q",
            "/q-0000000000",
            "/q-0000000001",
            "/q-0000000002",
        ]);
        if self.chance(4) {
            let tail = self.pick(&["", "/a", "/zookeeper_stats", "/zookeeper_limits", "/a/zookeeper_stats"]);
            self.quotas = true;
            return format!("/zookeeper/quota{p}{tail}");
        }
        format!("{p}{tail}")
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.below(10) {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(vec![b'x'; 300]),
            3 => Some(vec![0xff; 3]),
            4 if self.chance(10) => Some((0..200_000_u32).map(|n| (n % 251) as u8).collect()),
            _ => Some(b"0123456789"[..self.below(10) as usize].to_vec()),
        }
    }

    fn version(&mut self) -> i32 {
        if self.chance(55) { -1 } else { self.pick(&[0, 0, 1, 1, 2, 3, 5, -2, i32::MIN, i32::MAX]) }
    }

    fn flags(&mut self) -> i32 {
        match self.below(20) {
            0..=7 => mode::PERSISTENT,
            8..=10 => mode::EPHEMERAL,
            11..=13 => mode::SEQUENTIAL,
            14 => mode::EPHEMERAL_SEQUENTIAL,
            15 => mode::CONTAINER,
            16 => mode::TTL,
            17 => mode::TTL_SEQUENTIAL,
            _ => self.pick(&[7, -1, 8, 100, i32::MIN]),
        }
    }

    /// The bytes of an ACL.
    fn acl(&mut self, out: &mut Vec<u8>, in_multi: bool) {
        const OPEN: Entry = (31, Some("world"), Some("anyone"));
        let mut w = Writer::new(out);
        let mut entries: Vec<Entry> = Vec::new();
        if self.chance(70) {
            entries.push(OPEN);
        } else {
            if !in_multi && self.chance(6) {
                return w.count(None);
            }
            for _ in 0..self.below(4) {
                let perms = self.pick(&[31, 1, 2, 4, 8, 16, 3, 5, 30, 0, -1, 1000]);
                let (scheme, id) = self.pick(&[
                    (Some("world"), Some("anyone")),
                    (Some("world"), Some("anyone")),
                    (Some("auth"), Some("")),
                    (Some("auth"), None),
                    (Some("digest"), Some(BOB)),
                    (Some("digest"), Some(BOB)),
                    (Some("digest"), Some("joe:other")),
                    (Some("ip"), Some("127.0.0.1")),
                    (Some("ip"), Some("127.9.9.9/8")),
                    (Some("ip"), Some("10.0.0.0/8")),
                ]);
                let (scheme, id) = if self.chance(90) {
                    (scheme, id)
                } else {
                    self.pick(&[
                        (Some("world"), Some("nobody")),
                        (Some("world"), None),
                        (Some("digest"), Some("plain")),
                        (Some("digest"), Some("a:")),
                        (Some("digest"), Some("a:b:c")),
                        (Some("digest"), Some("")),
                        (Some("digest"), None),
                        (Some("ip"), Some("localhost")),
                        (Some("ip"), Some("127.0.0.1/33")),
                        (Some("ip"), Some("127.0.0.1/")),
                        (Some("ip"), Some("127.0.0")),
                        (Some("ip"), Some("256.0.0.1")),
                        (Some("ip"), None),
                        (Some("super"), Some("")),
                        (Some("sasl"), Some("x")),
                        (Some("nothing"), Some("x")),
                        (Some(""), Some("")),
                        (None, Some("x")),
                    ])
                };
                let is_null = scheme.is_none() || id.is_none();
                if is_null && entries.iter().any(|(known, ..)| *known == perms) {
                    continue;
                }
                entries.push((perms, scheme, id));
                if !is_null && self.chance(10) {
                    entries.push((perms, scheme, id));
                }
            }
        }
        w.count(Some(entries.len()));
        for (perms, scheme, id) in entries {
            w.int(perms);
            w.buffer(scheme.map(str::as_bytes));
            w.buffer(id.map(str::as_bytes));
        }
    }

    fn create(&mut self, code: i32, path: &Path) -> Vec<u8> {
        self.create_in(code, path, false)
    }

    /// The body of a create; in a multi, without what 3.8 looks at only later than 3.9.
    fn create_in(&mut self, code: i32, path: &Path, in_multi: bool) -> Vec<u8> {
        let mut body = record(|out| out.buffer(path.as_deref()));
        let data = match path {
            // A text that is none would stop the reference for good.
            Some(bytes) if is_quota(bytes) => Some(self.quota_text()),
            _ => self.data(),
        };
        Writer::new(&mut body).buffer(data.as_deref());
        self.acl(&mut body, in_multi);
        let flags = match code {
            op::CREATE_CONTAINER if in_multi => mode::CONTAINER,
            op::CREATE | op::CREATE2 if in_multi => self.below(5) as i32,
            op::CREATE_CONTAINER if self.chance(80) => mode::CONTAINER,
            op::CREATE_TTL if self.chance(80) => self.pick(&[mode::TTL, mode::TTL_SEQUENTIAL]),
            _ => self.flags(),
        };
        let mut w = Writer::new(&mut body);
        w.int(flags);
        if code == op::CREATE_TTL {
            // No other flags with a negative one: that would stop the reference for good.
            let has_ttl = flags == mode::TTL || flags == mode::TTL_SEQUENTIAL;
            let hour = 3_600_000;
            w.long(match has_ttl {
                true => self.pick(&[hour, hour, hour, (1 << 40) - 1, 1 << 40, 0, -1, i64::MIN, i64::MAX]),
                false => self.pick(&[0, 1, hour]),
            });
        }
        body
    }

    fn quota_text(&mut self) -> Vec<u8> {
        self.pick(&[
            "count=3,bytes=-1",
            "count=-1,bytes=20",
            "count=2,bytes=10=;byteHardLimit=30;countHardLimit=4",
            "count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=-1",
            "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3",
            "count=100,bytes=1000",
        ])
        .as_bytes()
        .to_vec()
    }

    fn create_code(&mut self) -> i32 {
        self.pick(&[op::CREATE, op::CREATE, op::CREATE2, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL])
    }

    /// One op of a multi.
    fn part(&mut self) -> (i32, Vec<u8>) {
        let path = self.path();
        match self.below(10) {
            0..=3 => {
                let code = self.create_code();
                (code, self.create_in(code, &path, true))
            }
            4..=5 => (op::DELETE, self.path_int(&path)),
            6..=7 => (op::SET_DATA, self.set_data(&path)),
            8 => (op::CHECK, self.path_int(&path)),
            _ if self.chance(20) => match self.below(5) {
                0 => (op::SET_ACL, self.set_acl(&path)),
                1 => (op::GET_DATA, self.read(&path)),
                2 => (op::MULTI, ending(Vec::new())),
                3 => (op::SYNC, path_body(&path)),
                _ => (99, Vec::new()),
            },
            _ => (op::CHECK, self.path_int(&path)),
        }
    }

    fn multi(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..self.below(6) {
            let (code, part) = self.part();
            header(&mut body, code, false);
            body.extend(part);
        }
        if self.chance(97) { ending(body) } else { body }
    }

    fn multi_read(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..self.below(5) {
            let path = self.path();
            let code = self.pick(&[op::GET_DATA, op::GET_CHILDREN]);
            let code = if self.chance(3) { self.pick(&[op::EXISTS, op::DELETE, op::GET_CHILDREN2]) } else { code };
            header(&mut body, code, false);
            match code {
                op::DELETE => body.extend(self.path_int(&path)),
                _ => body.extend(self.read(&path)),
            }
        }
        ending(body)
    }

    fn path_int(&mut self, path: &Path) -> Vec<u8> {
        let version = self.version();
        record(|out| {
            out.buffer(path.as_deref());
            out.int(version);
        })
    }

    fn read(&mut self, path: &Path) -> Vec<u8> {
        let is_standard = self.kind(path.as_deref().unwrap_or_default()) == Kind::Standard;
        let watch = if is_standard { self.pick(&[0, 1, 1, 1, 0xff]) } else { 0 };
        record(|out| {
            out.buffer(path.as_deref());
            out.byte(watch);
        })
    }

    fn set_data(&mut self, path: &Path) -> Vec<u8> {
        let data = match path {
            Some(bytes) if is_quota(bytes) => Some(self.quota_text()),
            _ => self.data(),
        };
        let version = self.version();
        record(|out| {
            out.buffer(path.as_deref());
            out.buffer(data.as_deref());
            out.int(version);
        })
    }

    fn set_acl(&mut self, path: &Path) -> Vec<u8> {
        let mut body = path_body(path);
        self.acl(&mut body, false);
        let version = self.version();
        Writer::new(&mut body).int(version);
        body
    }

    fn watches(&mut self, count: u64) -> Body {
        let mut lists = Vec::new();
        for n in 0..count {
            let kind = [Kind::Standard, Kind::Standard, Kind::Standard, Kind::Persistent, Kind::Recursive][n as usize];
            let mut list = Vec::new();
            for _ in 0..self.below(3) {
                let path = self.path().unwrap_or_default();
                if self.kind(&path) == kind {
                    list.push(path);
                }
            }
            lists.push(list);
        }
        Body::Watches { behind: self.pick(&[0, 0, 1, 2, 5, 10, 30, 1 << 40, -1, -1000]), lists }
    }

    /// An auth packet.
    pub fn auth(&mut self) -> Request {
        let (scheme, secret) = if self.chance(85) {
            self.pick(&[
                (Some("digest"), Some(&b"bob:pw"[..])),
                (Some("digest"), Some(b"bob:pw")),
                (Some("digest"), Some(b"ann:x")),
            ])
        } else {
            self.pick(&[
                (Some("digest"), Some(&b"nocolon"[..])),
                (Some("digest"), Some(b"")),
                (Some("digest"), Some(b":")),
                (Some("digest"), None),
                (Some("ip"), Some(b"1.2.3.4")),
                (Some("ip"), None),
                (Some("world"), Some(b"anyone")),
                (Some("super"), Some(b"super:test")),
                (Some("sasl"), Some(b"x")),
                (Some("nothing"), Some(b"x")),
                (Some(""), Some(b"x")),
                (None, Some(b"x")),
            ])
        };
        let body = record(|out| {
            out.int(0);
            out.buffer(scheme.map(str::as_bytes));
            out.buffer(secret);
        });
        let xid = self.pick(&[-4, -4, -4, 77]);
        Request { xid, code: op::AUTH, body: Body::Bytes(body), path: None }
    }

    /// The nodes of a quota on a path of this script.
    pub fn quota(&mut self) -> Vec<Request> {
        let p = self.prefix.clone();
        self.quotas = true;
        let below = self.pick(&["", "/a", "/b"]);
        let mut paths = vec![format!("/zookeeper/quota{p}")];
        if !below.is_empty() {
            paths.push(format!("/zookeeper/quota{p}{below}"));
        }
        let last = paths[paths.len() - 1].clone();
        paths.push(format!("{last}/zookeeper_limits"));
        paths.push(format!("{last}/zookeeper_stats"));
        paths
            .into_iter()
            .map(|path| {
                let data = if path.contains("_stats") { b"count=0,bytes=0".to_vec() } else { self.quota_text() };
                let body = record(|out| out.buffer(Some(path.as_bytes())));
                let body = [
                    body,
                    record(|out| {
                        out.buffer(Some(&data));
                        out.count(Some(1));
                        out.int(31);
                        out.string("world");
                        out.string("anyone");
                        out.int(0);
                    }),
                ]
                .concat();
                self.request(op::CREATE, body, Some(path.into_bytes()))
            })
            .collect()
    }

    /// Requests of some kind in one go. Those that need nobody to be answered end it: which later writes their zxid
    /// knows of is not determined.
    pub fn some(&mut self, slot: usize, count: u64) -> Vec<Request> {
        self.slot = slot;
        let mut requests = Vec::new();
        let mut ended = false;
        while !ended && (requests.len() as u64) < count {
            let (request, is_last) = self.any();
            ended = is_last || self.quotas;
            requests.push(request);
        }
        requests
    }

    /// A request of some kind, and whether none may follow it at once.
    fn any(&mut self) -> (Request, bool) {
        let path = self.path();
        let (code, body) = match self.below(100) {
            0..=20 => {
                let code = self.create_code();
                (code, self.create(code, &path))
            }
            21..=28 => (op::DELETE, self.path_int(&path)),
            29..=34 => (op::EXISTS, self.read(&path)),
            35..=40 => (op::GET_DATA, self.read(&path)),
            41..=49 => (op::SET_DATA, self.set_data(&path)),
            50..=53 => (op::GET_ACL, path_body(&path)),
            54..=57 => (op::SET_ACL, self.set_acl(&path)),
            58..=60 => (op::GET_CHILDREN, self.read(&path)),
            61..=64 => (op::GET_CHILDREN2, self.read(&path)),
            65 => (op::SYNC, path_body(&path)),
            66..=75 => (op::MULTI, self.multi()),
            76..=78 => (op::MULTI_READ, self.multi_read()),
            79..=80 => {
                let body = self.watches(3);
                return (Request { xid: -8, code: op::SET_WATCHES, body, path: None }, false);
            }
            81..=82 => {
                let body = self.watches(5);
                return (Request { xid: -8, code: op::SET_WATCHES2, body, path: None }, false);
            }
            83..=87 => {
                let mode = match self.kind(path.as_deref().unwrap_or_default()) {
                    Kind::Persistent => 0,
                    Kind::Recursive => 1,
                    Kind::Standard => self.pick(&[2, -1]),
                };
                let path = Some(path.unwrap_or_default());
                let body = with_int(&path, mode);
                return (self.request(op::ADD_WATCH, body, path), true);
            }
            88..=89 => {
                let is_standard = self.kind(path.as_deref().unwrap_or_default()) == Kind::Standard;
                let kind = if is_standard { self.pick(&[1, 2, 3, 3, 0, 6, -1]) } else { 3 };
                (op::REMOVE_WATCHES, with_int(&path, kind))
            }
            90 => {
                let is_standard = self.kind(path.as_deref().unwrap_or_default()) == Kind::Standard;
                let kind = if is_standard { self.pick(&[1, 2, 3, 4, 5, 0, 6, -1]) } else { 3 };
                (op::CHECK_WATCHES, with_int(&path, kind))
            }
            91..=92 => {
                let blank = self.pick(&[path.clone(), Some(b"  ".to_vec()), Some(b"/".to_vec()), None]);
                (op::GET_EPHEMERALS, path_body(&blank))
            }
            93..=94 => (op::GET_ALL_CHILDREN_NUMBER, path_body(&path)),
            95 => (op::WHO_AM_I, Vec::new()),
            96 => (op::PING, Vec::new()),
            97 => {
                let text = self.pick(&[None, Some("server.2=127.0.0.1:1:2"), Some("x")]);
                let version = self.pick(&[-1, 0, 7]);
                (op::RECONFIG, crate::support::record::reconfig(text, None, None, version))
            }
            _ => {
                let code = self.create_code();
                (code, self.create(code, &path))
            }
        };
        let damaged = self.perhaps_damaged(code, body.clone());
        let is_last = damaged != body
            || matches!(
                code,
                op::WHO_AM_I | op::PING | op::SYNC | op::GET_EPHEMERALS | op::CHECK_WATCHES | op::REMOVE_WATCHES
            );
        (self.request(code, damaged, path), is_last)
    }

    /// Sometimes cut short, sometimes with a tail, sometimes with a wrong byte.
    fn perhaps_damaged(&mut self, code: i32, mut body: Vec<u8>) -> Vec<u8> {
        if body.is_empty() || !self.chance(5) {
            return body;
        }
        match self.below(3) {
            0 => body.truncate(self.below(body.len() as u64) as usize),
            1 => body.extend(b"tail"),
            // A wrong length, where it cannot turn into something that stops the reference.
            _ if !matches!(code, op::CREATE_TTL | op::MULTI | op::ADD_WATCH) && body.len() >= 4 => {
                let length = self.pick(&[-2, -1, i32::MIN, i32::MAX, 5_000_000, 1_000]);
                body[..4].copy_from_slice(&length.to_be_bytes());
            }
            _ => {}
        }
        body
    }

    /// A request that the server ends the connection over.
    pub fn fatal(&mut self) -> Request {
        let code = self.pick(&[0, -1, 10, 23, 99, 108, 1000, i32::MIN, i32::MAX]);
        let path = self.path();
        let body = path_body(&path);
        self.request(code, body, path)
    }
}

/// Whether the reference reads this node's data as limits or usage.
fn is_quota(path: &[u8]) -> bool {
    path.ends_with(b"zookeeper_limits") || path.ends_with(b"zookeeper_stats")
}

fn path_body(path: &Path) -> Vec<u8> {
    record(|out| out.buffer(path.as_deref()))
}

fn with_int(path: &Path, number: i32) -> Vec<u8> {
    record(|out| {
        out.buffer(path.as_deref());
        out.int(number);
    })
}

fn header(body: &mut Vec<u8>, code: i32, done: bool) {
    let mut w = Writer::new(body);
    w.int(code);
    w.boolean(done);
    w.int(-1);
}

fn ending(mut body: Vec<u8>) -> Vec<u8> {
    header(&mut body, -1, true);
    body
}
