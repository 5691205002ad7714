//! JSON as Java's Jackson prints it (`DefaultPrettyPrinter`): members on lines of their own, two blanks deep for each
//! object, `" : "` behind a key, and the elements of a list on one line.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// The text of a value.
pub fn text(value: &Value) -> String {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, Jackson::default()))
        .expect("a Vec takes whatever is written to it");
    String::from_utf8(bytes).expect("JSON of Rust's strings is UTF-8")
}

#[derive(Default)]
struct Jackson {
    depth: usize,
    /// Whether the list or object that ends next has anything in it.
    has_value: bool,
}

impl Jackson {
    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Jackson {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"[")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        writer.write_all(b" ]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.new_line(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.new_line(writer)?;
        } else {
            writer.write_all(b" ")?;
        }
        self.has_value = true;
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values_are_laid_out_as_jackson_does() {
        let value = json!({
            "number": 0.0,
            "none": [],
            "empty": {},
            "list": [1, "two"],
            "objects": [{"a": 1}, {}, {"b": {"c": null}}],
            "a \"quoted\" key": -1,
        });
        let expected = "{\n  \"number\" : 0.0,\n  \"none\" : [ ],\n  \"empty\" : { },\n  \"list\" : [ 1, \"two\" ],\n  \
             \"objects\" : [ {\n    \"a\" : 1\n  }, { }, {\n    \"b\" : {\n      \"c\" : null\n    }\n  } ],\n  \
             \"a \\\"quoted\\\" key\" : -1\n}";
        assert_eq!(text(&value), expected);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((".*", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_value()) {
            prop_assert_eq!(serde_json::from_str::<Value>(&text(&value)).ok(), Some(value));
        }
    }
}
