//! The few words of Redis's protocol that a comparison needs.

/// Appends `GET key`.
pub(crate) fn get(out: &mut Vec<u8>, key: u32) {
    let key = format!("k{key:08}");
    out.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes());
}

/// Appends `SET key value`.
pub(crate) fn set(out: &mut Vec<u8>, key: u32, value: &[u8]) {
    let key = format!("k{key:08}");
    out.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len()).as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Length of the first whole reply in `bytes` and whether it is an error; `None` if it is not whole yet. Simple
/// strings, errors and bulk strings only.
pub(crate) fn reply(bytes: &[u8]) -> Option<(usize, bool)> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let after = line_end + 2;
    match bytes[0] {
        b'$' => {
            let length: i64 = std::str::from_utf8(&bytes[1..line_end]).ok()?.parse().ok()?;
            let whole = after + usize::try_from(length).map_or(0, |length| length + 2);
            (bytes.len() >= whole).then_some((whole, length < 0))
        }
        kind => Some((after, kind == b'-')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_measured() {
        assert_eq!(reply(b"+OK\r\n+OK"), Some((5, false)));
        assert_eq!(reply(b"-ERR x\r\n"), Some((8, true)));
        assert_eq!(reply(b"$3\r\nabc\r\nrest"), Some((9, false)));
        assert_eq!(reply(b"$3\r\nab"), None);
        assert_eq!(reply(b"$-1\r\n"), Some((5, true)));
        assert_eq!(reply(b"$"), None);
    }
}
