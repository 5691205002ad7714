//! The syntax of `zoo.cfg`: Java properties (`java.util.Properties.load`), with line numbers kept.
//!
//! Bytes that are valid UTF-8 are read as such, others as Latin-1; Java reads everything as Latin-1, which makes no
//! difference to plain ASCII.

/// One `key=value` of a properties file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Text before the separator, unescaped.
    pub key: String,
    /// Text behind it, unescaped; blanks at its end are kept.
    pub value: String,
    /// Line on which the entry begins, from 1.
    pub line: u32,
}

/// A `\u` that is not followed by four hexadecimal digits, the only thing that the syntax refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\\u must be followed by four hexadecimal digits (write \\\\ for a backslash)")]
pub struct SyntaxError {
    /// Line on which the entry begins, from 1.
    pub line: u32,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Parsed {
    /// The entries in the order of the file, duplicates included (the last one holds in Java).
    pub entries: Vec<Entry>,
    /// Every entry with a malformed escape; Java refuses the whole file for one.
    pub errors: Vec<SyntaxError>,
}

/// Reads a properties file.
pub fn parse(bytes: &[u8]) -> Parsed {
    let text = text_of(bytes);
    let mut parsed = Parsed::default();
    for logical in logical_lines(&text) {
        let (key, value) = split(&logical.text);
        match (unescape(key), unescape(value)) {
            (Some(key), Some(value)) => parsed.entries.push(Entry { key, value, line: logical.line }),
            _ => parsed.errors.push(SyntaxError { line: logical.line }),
        }
    }
    parsed
}

/// The bytes of a properties file as text.
pub fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{FEFF}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// The text of a properties file without the entries whose key `is_dropped` says yes to. Everything else, comments
/// included, stays as it stands.
pub fn without(text: &str, is_dropped: impl Fn(&str) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    // The natural lines of the entry at hand, and the entry as it is joined from them.
    let (mut natural, mut joined) = (String::new(), String::new());
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let inner = line.trim_end_matches(['\n', '\r']).trim_start_matches(is_blank);
        if natural.is_empty() && (inner.is_empty() || inner.starts_with(['#', '!'])) {
            kept.push_str(line);
            continue;
        }
        natural.push_str(line);
        let backslashes = inner.chars().rev().take_while(|c| *c == '\\').count();
        if backslashes % 2 == 1 {
            joined.push_str(&inner[..inner.len() - 1]);
            if lines.peek().is_some() {
                continue;
            }
        } else {
            joined.push_str(inner);
        }
        let key = unescape(split(&joined).0);
        if !key.is_some_and(|key| is_dropped(key.trim())) {
            kept.push_str(&natural);
        }
        natural.clear();
        joined.clear();
    }
    kept
}

struct LogicalLine {
    text: String,
    line: u32,
}

/// Joins continued lines, drops comments and blank lines, and leaves escapes alone.
fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut logical = Vec::new();
    let mut open: Option<LogicalLine> = None;
    for (number, natural) in natural_lines(text).enumerate() {
        let natural = natural.trim_start_matches(is_blank);
        if open.is_none() && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let line = u32::try_from(number + 1).unwrap_or(u32::MAX);
        let mut current = open.take().unwrap_or(LogicalLine { text: String::new(), line });
        let backslashes = natural.chars().rev().take_while(|c| *c == '\\').count();
        if backslashes % 2 == 1 {
            current.text.push_str(&natural[..natural.len() - 1]);
            open = Some(current);
        } else {
            current.text.push_str(natural);
            logical.push(current);
        }
    }
    logical.extend(open);
    // What is left of a lone backslash is no entry in Java either.
    logical.retain(|line| !line.text.is_empty());
    logical
}

/// Splits at LF, CR and CR LF.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let Some(end) = current.find(['\n', '\r']) else {
            rest = None;
            return Some(current);
        };
        let behind = &current[end..];
        rest = Some(behind.strip_prefix("\r\n").unwrap_or(&behind[1..]));
        Some(&current[..end])
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0C')
}

/// Cuts at the first unescaped `=`, `:` or blank; blanks around one separator belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .find(|c| {
            if escaped {
                escaped = false;
                return false;
            }
            escaped = c == '\\';
            matches!(c, '=' | ':') || is_blank(c)
        })
        .unwrap_or(line.len());
    let behind = line[end..].trim_start_matches(is_blank);
    let value = behind.strip_prefix(['=', ':']).map_or(behind, |value| value.trim_start_matches(is_blank));
    (&line[..end], value)
}

/// Resolves escapes; `None` if a `\u` is malformed. Pairs of surrogates join, lone ones become U+FFFD.
fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0C',
                Some('u') => {
                    let mut unit = 0u16;
                    for _ in 0..4 {
                        unit = unit << 4 | u16::try_from(chars.next()?.to_digit(16)?).ok()?;
                    }
                    units.push(unit);
                    continue;
                }
                Some(other) => other,
            }
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_are_equals_colon_or_blank() {
        let text = "a=1\nb:2\nc 3\nd = 4\ne\t:\t5\nf\n=g\nh==i\nk  =  = l";
        let expected = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", "4"),
            pair("e", "5"),
            pair("f", ""),
            pair("", "g"),
            pair("h", "=i"),
            pair("k", "= l"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_counted() {
        let entries = parse(b"# one\r\n\r\n  ! two \\\n a=1\rb=2\n").entries;
        assert_eq!(entries[0], Entry { key: "a".into(), value: "1".into(), line: 4 });
        assert_eq!(entries[1], Entry { key: "b".into(), value: "2".into(), line: 5 });
    }

    #[test]
    fn lines_continue_behind_an_odd_number_of_backslashes() {
        assert_eq!(
            pairs("a=1,\\\n   2,\\\n\t# 3\nb=4\\\\\nc=5"),
            [pair("a", "1,2,# 3"), pair("b", "4\\"), pair("c", "5")]
        );
        assert_eq!(pairs("a=1\\\n\nb=2"), [pair("a", "1"), pair("b", "2")]);
        assert_eq!(pairs("a=1\\"), [pair("a", "1")]);
        assert_eq!(pairs("\\\n"), []);
    }

    #[test]
    fn escapes_as_in_java() {
        assert_eq!(pairs("a\\ b\\=c=\\u0041\\t\\q\\\\"), [pair("a b=c", "A\tq\\")]);
        assert_eq!(pairs("s=\\uD83D\\uDE00 \\uD83D"), [pair("s", "\u{1F600} \u{FFFD}")]);
        assert_eq!(parse(b"a=1\nb=\\u12G4\nc=\\u1").errors, [SyntaxError { line: 2 }, SyntaxError { line: 3 }]);
    }

    #[test]
    fn text_is_utf_8_or_else_latin_1() {
        assert_eq!(pairs("d=donn\u{e9}es"), [pair("d", "donn\u{e9}es")]);
        assert_eq!(parse(b"d=donn\xE9es").entries[0].value, "donn\u{e9}es");
    }

    /// Writes a pair so that any content survives.
    fn escape(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
    }

    #[test]
    fn entries_go_and_everything_else_stays() {
        let text = "# server.1\r\n a = 1\\\n  server.1=x\nserver.1 : y\\\n\n \nserver\\.2=z\n!b\nc 3";
        assert_eq!(without(text, |key| key.starts_with("server.")), "# server.1\r\n a = 1\\\n  server.1=x\n \n!b\nc 3");
        assert_eq!(without("a=1\\", |_| false), "a=1\\");
    }

    proptest! {
        #[test]
        fn what_stays_reads_as_before(text in "[ab\\\\u0=:# \t\n!]{0,80}") {
            let mut expected = parse(text.as_bytes()).entries;
            expected.retain(|entry| !entry.key.trim().starts_with('a'));
            let kept = parse(without(&text, |key| key.starts_with('a')).as_bytes()).entries;
            let pairs = |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.key, entry.value)).collect::<Vec<_>>();
            prop_assert_eq!(pairs(kept), pairs(expected));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_likely_text_makes_it_panic(text in "[ab\\\\u0=:# \t\n\r!]{0,80}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn what_is_escaped_reads_back(expected in proptest::collection::vec((".{1,8}", ".{0,8}"), 0..6)) {
            let text: String =
                expected.iter().map(|(key, value)| format!("{} = {}\n", escape(key), escape(value))).collect();
            prop_assert_eq!(pairs(&text), expected);
        }
    }
}
