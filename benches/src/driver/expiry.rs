//! Sessions left behind: when do their ephemeral nodes disappear?

use super::bulk::Bulk;
use super::stage::expect_made;
use super::tidy::ROOT;
use crate::stop::Stop;
use crate::wire::reply::{EVENT, Event, NODE_DELETED, PING};
use crate::wire::session::{Ask, asks};
use crate::wire::{Frames, open_many, open_session, request};
use crate::workload::{Servers, WatchKind};
use anyhow::{Context, ensure};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// How long after its timeout a session may still be there.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// What became of the sessions.
pub(crate) struct Expiry {
    /// How long after its timeout each one's node disappeared.
    pub(crate) late: Vec<Duration>,
    /// Sessions that expired before their timeout.
    pub(crate) early: u64,
    /// Sessions that were still there at the end of the wait.
    pub(crate) missing: u64,
}

/// Opens sessions with an ephemeral node each, cuts their connections, and watches the nodes.
///
/// # Errors
/// The servers cannot be reached.
pub(crate) fn expire(servers: &Servers, count: u32, timeout: Duration, stop: &Stop) -> anyhow::Result<Expiry> {
    let above = format!("{}{ROOT}", servers.chroot());
    let root = format!("{above}/expiry-{:x}", std::process::id());
    let mut bulk = Bulk::open(servers, 1, 1, stop)?;
    for path in [&above, &root] {
        let encode = |_, xid, out: &mut Vec<u8>| request::create(out, xid, path.as_bytes(), b"", request::PERSISTENT);
        bulk.all(1, encode, |answer| expect_made(answer.error))?;
    }
    bulk.close()?;
    let server = servers.addresses()[0];
    let mut watcher = open_session(&Ask::new(server, Duration::from_secs(60)))?.stream;
    let mut out = Vec::new();
    request::watch(&mut out, 1, WatchKind::PersistentRecursive, root.as_bytes());
    watcher.write_all(&out)?;
    let mut left_behind = open_many(&asks(servers, count, timeout, None)?, |_| stop.check())?;
    let mut granted = timeout;
    for (number, session) in left_behind.iter_mut().enumerate() {
        granted = granted.max(Duration::from_millis(u64::try_from(session.timeout_ms).unwrap_or(0)));
        let mut out = Vec::new();
        request::create(&mut out, 1, format!("{root}/e{number:08}").as_bytes(), b"", request::EPHEMERAL);
        session.stream.write_all(&out)?;
    }
    for session in &mut left_behind {
        // Once the reply is there, so is the node; and the server has heard of the session for the last time.
        loop {
            let mut length = [0; 4];
            session.stream.read_exact(&mut length).context("an ephemeral node was not made")?;
            let mut body = vec![0; (u32::from_be_bytes(length) as usize).min(1 << 16)];
            session.stream.read_exact(&mut body)?;
            if !body.starts_with(&PING.to_be_bytes()) {
                break;
            }
        }
    }
    let cut = Instant::now();
    drop(left_behind);
    watcher.set_read_timeout(Some(LOOK))?;
    let (mut frames, mut chunk, mut expiry) =
        (Frames::default(), vec![0; 65_536], Expiry { late: Vec::new(), early: 0, missing: count.into() });
    while expiry.missing > 0 && cut.elapsed() < granted + PATIENCE && !stop.is_set() {
        let read = match watcher.read(&mut chunk) {
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                continue;
            }
            Err(error) => return Err(error).context("the watching session"),
        };
        ensure!(read > 0, "the server closed the watching session");
        let passed = cut.elapsed();
        frames.replies(&chunk[..read], |reply| {
            let deleted = reply.xid == EVENT && Event::read(reply.body).is_some_and(|event| event.kind == NODE_DELETED);
            if deleted && expiry.missing > 0 {
                expiry.missing -= 1;
                match passed.checked_sub(granted) {
                    Some(late) => expiry.late.push(late),
                    None => expiry.early += 1,
                }
            }
        });
    }
    Ok(expiry)
}
