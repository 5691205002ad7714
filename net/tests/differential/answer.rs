//! Frames as text that is the same for servers that behave alike.

use crate::side::{Item, Side};
use crate::step::Request;
use crate::support::record::op;
use engine::jute::{DecodeError, Reader};
use std::fmt::Write;

/// The xid of a frame.
pub fn xid(frame: &[u8]) -> i32 {
    Reader::new(frame).int().unwrap_or(0)
}

/// The zxid in a frame's header.
pub fn zxid(frame: &[u8]) -> i64 {
    frame.get(4..12).map_or(0, |bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
}

/// The error in a reply's header.
pub fn err(frame: &[u8]) -> i32 {
    frame.get(12..16).map_or(0, |bytes| i32::from_be_bytes(bytes.try_into().unwrap()))
}

/// Whether anything is behind the header.
pub fn has_body(frame: &[u8]) -> bool {
    frame.len() > 16
}

/// What came, as text.
pub fn describe(side: &mut Side, item: &Item, requests: &[Request]) -> String {
    match item {
        Item::Closed => "closed".to_owned(),
        Item::Greeting(frame) => {
            greeting(side, frame).unwrap_or_else(|problem| format!("{problem:?} in the greeting {frame:02x?}"))
        }
        // Servers before 3.9 do not tell the zxid.
        Item::Event(frame) => event(frame).unwrap_or_else(|problem| format!("{problem:?} in the event {frame:02x?}")),
        Item::Reply(index, frame) => {
            let code = requests.get(*index).map_or(op::SYNC, |request| request.code);
            reply(side, code, frame)
                .unwrap_or_else(|problem| format!("{problem:?} in the reply {frame:02x?} to {code}"))
        }
    }
}

fn greeting(side: &mut Side, frame: &[u8]) -> Result<String, DecodeError> {
    let mut r = Reader::new(frame);
    let (version, timeout, id) = (r.int()?, r.int()?, r.long()?);
    let password = r.buffer()?.unwrap_or_default();
    let known = side.sessions.iter().any(|(known, secret)| *known == id && secret == password);
    let rest = r.rest();
    let name = side.session_name(id);
    Ok(format!(
        "greeting: version {version}, timeout {timeout}, {name}, password right: {known}, {} bytes, rest {rest:?}",
        password.len()
    ))
}

/// Type and path of an event.
pub fn event_of(frame: &[u8]) -> Option<(i32, String)> {
    let mut r = Reader::new(frame.get(16..)?);
    let kind = r.int().ok()?;
    r.int().ok()?;
    Some((kind, r.string().ok()??.into_owned()))
}

fn event(frame: &[u8]) -> Result<String, DecodeError> {
    let mut r = Reader::new(frame);
    let (_, _, err) = (r.int()?, r.long()?, r.int()?);
    let (kind, state, path) = (r.int()?, r.int()?, text(&mut r)?);
    Ok(format!("event {kind} state {state} err {err} {path}, rest {:?}", r.rest()))
}

fn reply(side: &mut Side, code: i32, frame: &[u8]) -> Result<String, DecodeError> {
    let mut r = Reader::new(frame);
    let (xid, zxid, err) = (r.int()?, r.long()?, r.int()?);
    let zxid = if zxid > 0 { side.header(zxid) } else { zxid };
    let mut out = format!("reply {xid} zxid {zxid} err {err}");
    if err == 0 {
        body(side, code, &mut r, &mut out)?;
    }
    if !r.rest().is_empty() {
        write!(out, " rest {:02x?}", r.rest()).unwrap();
    }
    Ok(out)
}

fn body(side: &mut Side, code: i32, r: &mut Reader<'_>, out: &mut String) -> Result<(), DecodeError> {
    match code {
        op::CREATE | op::SYNC => write!(out, " path {}", text(r)?).unwrap(),
        op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
            write!(out, " path {}", text(r)?).unwrap();
            stat(side, r, out)?;
        }
        op::EXISTS | op::SET_DATA | op::SET_ACL => stat(side, r, out)?,
        op::GET_DATA => {
            data(r, out)?;
            stat(side, r, out)?;
        }
        op::GET_CHILDREN | op::GET_EPHEMERALS => names(r, out)?,
        op::GET_CHILDREN2 => {
            names(r, out)?;
            stat(side, r, out)?;
        }
        op::GET_ACL => {
            let mut list = r.vector(|r| Ok((r.int()?, text(r)?, text(r)?)))?.unwrap_or_default();
            // Several credentials of an `auth` entry come in no order.
            list.sort();
            write!(out, " acl {list:?}").unwrap();
            stat(side, r, out)?;
        }
        op::MULTI | op::MULTI_READ => results(side, r, out)?,
        op::GET_ALL_CHILDREN_NUMBER | op::ADD_WATCH => write!(out, " number {}", r.int()?).unwrap(),
        op::WHO_AM_I => {
            let mut list = r.vector(|r| Ok((text(r)?, text(r)?)))?.unwrap_or_default();
            list.sort();
            write!(out, " who {list:?}").unwrap();
        }
        op::SASL => write!(out, " token {:?}", r.buffer()?).unwrap(),
        _ => {}
    }
    Ok(())
}

fn results(side: &mut Side, r: &mut Reader<'_>, out: &mut String) -> Result<(), DecodeError> {
    loop {
        let (kind, done, err) = (r.int()?, r.boolean()?, r.int()?);
        write!(out, " [{kind} {done} {err}").unwrap();
        if done {
            out.push(']');
            return Ok(());
        }
        match kind {
            -1 => write!(out, " {}", r.int()?).unwrap(),
            other => body(side, other, r, out)?,
        }
        out.push(']');
    }
}

fn stat(side: &mut Side, r: &mut Reader<'_>, out: &mut String) -> Result<(), DecodeError> {
    let (czxid, mzxid, ctime, mtime) = (r.long()?, r.long()?, r.long()?, r.long()?);
    let (version, cversion, aversion) = (r.int()?, r.int()?, r.int()?);
    let (owner, length, children, pzxid) = (r.long()?, r.int()?, r.int()?, r.long()?);
    let (ctime, mtime) = (side.time_name(czxid, ctime), side.time_name(mzxid, mtime));
    let [czxid, mzxid, pzxid] = [czxid, mzxid, pzxid].map(|zxid| side.canonical(zxid));
    write!(out, " stat {{c {czxid} {ctime}, m {mzxid} {mtime}, p {pzxid}, v {version} c {cversion} a {aversion}")
        .unwrap();
    write!(out, ", owner {}, length {length}, children {children}}}", side.session_name(owner)).unwrap();
    Ok(())
}

fn data(r: &mut Reader<'_>, out: &mut String) -> Result<(), DecodeError> {
    match r.buffer()? {
        None => out.push_str(" null"),
        Some(bytes) if bytes.len() > 200 => {
            let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            write!(out, " {} bytes {sum:x}", bytes.len()).unwrap();
        }
        Some(bytes) => write!(out, " {:?}", String::from_utf8_lossy(bytes)).unwrap(),
    }
    Ok(())
}

fn names(r: &mut Reader<'_>, out: &mut String) -> Result<(), DecodeError> {
    let mut list = r.vector(|r| text(r))?.unwrap_or_default();
    list.sort();
    write!(out, " names {list:?}").unwrap();
    Ok(())
}

fn text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    Ok(r.string()?.map_or_else(|| "null".to_owned(), |text| format!("{text:?}")))
}
