//! Reading a snapshot from bytes that come in any portions.

use super::record::{self, NodeOrEnd, SnapshotAcl, SnapshotNode};
use super::writer::SIGNATURE;
use engine::acl::{Acl, AclList};
use engine::ids::SessionId;
use engine::jute::{DecodeError, Reader};
use engine::path;

/// Why bytes are not a snapshot. The stage made of them is to be thrown away.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A length out of bounds, or a field that must be there is not.
    #[error("{0} in the {1} of the snapshot")]
    Malformed(DecodeError, &'static str),
    /// A list longer than any request could have brought.
    #[error("an ACL of the snapshot takes more than {0} bytes")]
    AclTooLong(usize),
    /// A path that no node can have.
    #[error("the snapshot has a znode {0:?}, which is no path")]
    Path(Box<str>),
    /// A node whose parent did not come.
    #[error("the snapshot has znode {0} without its parent")]
    Orphan(Box<str>),
    /// The same node twice.
    #[error("the snapshot has znode {0} twice")]
    Twice(Box<str>),
    /// The stream does not end as it should: the two sides do not agree where it ends.
    #[error("the snapshot stream does not end with {SIGNATURE}")]
    Signature,
}

/// What a snapshot tells, in this order: sessions, lists, nodes (a parent before its children), end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A session and its timeout in milliseconds.
    Session(SessionId, i32),
    /// A list has a number. A node may name one that was not told: the transactions behind a snapshot taken from a
    /// changing tree repair that (ZOOKEEPER-3306).
    Acl(SnapshotAcl, AclList),
    /// A node. Its path is valid; whether its parent was there is not looked at here.
    Node(SnapshotNode<'a>),
    /// There is no more; the signature, where one is due, was right.
    End,
}

/// One step of a [`Decoder`].
#[derive(Debug)]
pub struct Step<'a> {
    /// Bytes that are done with.
    pub consumed: usize,
    /// What they say; `None` if more bytes are needed.
    pub event: Option<Event<'a>>,
}

/// The format, as a machine over a buffer that the caller keeps.
#[derive(Clone, Debug)]
pub struct Decoder {
    next: Section,
    length_max: usize,
    has_signature: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    SessionCount,
    Sessions(u32),
    AclCount,
    Acls(u32),
    Nodes,
    Signature,
    Done,
}

impl Section {
    const fn name(self) -> &'static str {
        match self {
            Section::SessionCount | Section::Sessions(_) => "sessions",
            Section::AclCount | Section::Acls(_) => "ACL table",
            Section::Nodes | Section::Done => "znodes",
            Section::Signature => "end",
        }
    }
}

impl Decoder {
    /// A decoder that takes no string or buffer longer than `length_max` bytes (`jute.maxbuffer` with its extra size).
    /// `has_signature` tells a SNAP stream from the body of a file.
    pub fn new(length_max: usize, has_signature: bool) -> Decoder {
        Decoder { next: Section::SessionCount, length_max, has_signature }
    }

    /// Reads the next event from `bytes`, which begin where the last step's `consumed` ended.
    ///
    /// # Errors
    /// [`SnapshotError`]: the snapshot is of no use.
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, SnapshotError> {
        let mut r = Reader::with_length_max(bytes, self.length_max);
        loop {
            let before = r.rest().len();
            match self.read(&mut r) {
                Ok(Some(event)) => return Ok(Step { consumed: bytes.len() - r.rest().len(), event: Some(event) }),
                Ok(None) if self.next != Section::Done => {}
                Ok(None) => return Ok(Step { consumed: bytes.len() - r.rest().len(), event: None }),
                Err(Failure::CutShort) => return Ok(Step { consumed: bytes.len() - before, event: None }),
                Err(Failure::Snapshot(error)) => return Err(error),
            }
        }
    }

    /// Whether the end has been read.
    pub fn is_done(&self) -> bool {
        self.next == Section::Done
    }

    fn read<'a>(&mut self, r: &mut Reader<'a>) -> Result<Option<Event<'a>>, Failure> {
        let section = self.next;
        let failed = |error| Failure::of(error, section);
        let (next, event) = match section {
            Section::SessionCount => (Section::Sessions(count(r).map_err(failed)?), None),
            Section::Sessions(0) => (Section::AclCount, None),
            Section::Sessions(left) => {
                let mut session = || Ok((SessionId(r.long()?), r.int()?));
                let (id, timeout_ms) = session().map_err(failed)?;
                (Section::Sessions(left - 1), Some(Event::Session(id, timeout_ms)))
            }
            Section::AclCount => (Section::Acls(count(r).map_err(failed)?), None),
            Section::Acls(0) => (Section::Nodes, None),
            Section::Acls(left) => {
                let id = SnapshotAcl(r.long().map_err(failed)?);
                let list = self.list(r)?;
                (Section::Acls(left - 1), Some(Event::Acl(id, list)))
            }
            Section::Nodes => match record::decode(r).map_err(failed)? {
                NodeOrEnd::Node(node) if path::is_valid(&node.path) => (section, Some(Event::Node(node))),
                NodeOrEnd::Node(node) => return Err(SnapshotError::Path((&*node.path).into()).into()),
                NodeOrEnd::End if self.has_signature => (Section::Signature, None),
                NodeOrEnd::End => (Section::Done, Some(Event::End)),
            },
            Section::Signature => {
                let mut length = r.clone();
                if length.int().map_err(failed)? != SIGNATURE.len() as i32 {
                    return Err(SnapshotError::Signature.into());
                }
                match r.buffer().map_err(failed)? {
                    Some(bytes) if bytes == SIGNATURE.as_bytes() => (Section::Done, Some(Event::End)),
                    _ => return Err(SnapshotError::Signature.into()),
                }
            }
            Section::Done => (section, None),
        };
        self.next = next;
        Ok(event)
    }

    /// A list, which must not be longer than what a request can bring.
    fn list(&self, r: &mut Reader<'_>) -> Result<AclList, Failure> {
        let failed = |error| Failure::of(error, self.next);
        let before = r.rest().len();
        let entries = r.count().map_err(failed)?.ok_or(failed(DecodeError::Value("a list that is null")))?;
        let mut list = Vec::new();
        for _ in 0..entries {
            let entry = decode_acl_entry(r);
            if before - r.rest().len() > self.length_max {
                return Err(SnapshotError::AclTooLong(self.length_max).into());
            }
            list.push(entry.map_err(failed)?);
        }
        Ok(list.into())
    }
}

fn decode_acl_entry(r: &mut Reader<'_>) -> Result<Acl, DecodeError> {
    let perms = r.int()?;
    let scheme = r.string()?.ok_or(DecodeError::Value("a null scheme"))?;
    let id = r.string()?.ok_or(DecodeError::Value("a null id"))?;
    Ok(Acl::new(perms, &scheme, &id))
}

/// Java reads counts below 0 as 0.
fn count(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    Ok(u32::try_from(r.int()?).unwrap_or(0))
}

enum Failure {
    CutShort,
    Snapshot(SnapshotError),
}

impl Failure {
    fn of(error: DecodeError, section: Section) -> Failure {
        match error {
            DecodeError::CutShort => Failure::CutShort,
            error => Failure::Snapshot(SnapshotError::Malformed(error, section.name())),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Failure {
        Failure::Snapshot(error)
    }
}

/// A reader of a SNAP stream. It holds one unfinished item and what was fed last: feed a bounded portion, then take
/// events until there are none.
#[derive(Debug)]
pub struct SnapshotReader {
    decoder: Decoder,
    bytes: Vec<u8>,
    at: usize,
}

impl SnapshotReader {
    /// A reader; `length_max` as for [`Decoder::new`].
    pub fn new(length_max: usize) -> SnapshotReader {
        SnapshotReader { decoder: Decoder::new(length_max, true), bytes: Vec::new(), at: 0 }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next event; `None` if more bytes are needed, or after the end.
    ///
    /// # Errors
    /// [`SnapshotError`]: close the connection, and throw away what was made of the stream.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, SnapshotError> {
        let step = self.decoder.step(&self.bytes[self.at..])?;
        self.at += step.consumed;
        Ok(step.event)
    }

    /// Whether [`Event::End`] was handed out.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// What was fed and does not belong to the stream: the packets behind it.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.split_off(self.at)
    }
}
