//! From a line to words, and from words to options, as zkCli reads them.

use super::error::CliError;

/// Splits a line as zkCli does (`MyCommandOptions.parseCommand`): words between blanks; a word that begins with a quote
/// runs to the next such quote, without either. A quote that is never closed is passed over.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, behind) = if first == '"' || first == '\'' {
            let inner = &rest[1..];
            match inner.find(first) {
                Some(end) => (&inner[..end], &inner[end + 1..]),
                None => {
                    rest = inner.trim_start();
                    continue;
                }
            }
        } else {
            rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    words
}

/// One option that a command knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flag {
    /// Its name without the dash.
    pub(super) name: &'static str,
    /// Whether a value follows.
    pub(super) takes_value: bool,
}

/// An option without a value.
pub(super) const fn flag(name: &'static str) -> Flag {
    Flag { name, takes_value: false }
}

/// An option with a value.
pub(super) const fn valued(name: &'static str) -> Flag {
    Flag { name, takes_value: true }
}

/// A command's words, sorted into options and arguments.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Options {
    /// Arguments in order, the command itself first.
    pub(super) arguments: Vec<String>,
    given: Vec<(&'static str, Option<String>)>,
}

impl Options {
    /// Sorts `words` as commons-cli's `DefaultParser` does: options may stand anywhere, `-sR` is `-s -R`, a value may be
    /// attached (`-v5`, `-v=5`), `--` ends the options, and a negative number is an argument.
    ///
    /// # Errors
    /// An option that is not in `flags`, or one without its value.
    pub(super) fn parse(words: &[String], flags: &[Flag]) -> Result<Options, CliError> {
        let mut options = Options::default();
        let mut words = words.iter().peekable();
        let mut ended = false;
        while let Some(word) = words.next() {
            let is_option = !ended && word.len() > 1 && word.starts_with('-') && word.parse::<f64>().is_err();
            if word == "--" && !ended {
                ended = true;
            } else if !is_option {
                options.arguments.push(word.clone());
            } else {
                for (flag, attached) in split_option(word, flags)? {
                    let value = match (flag.takes_value, attached) {
                        (false, _) => None,
                        (true, Some(value)) => Some(value),
                        (true, None) => Some(
                            words
                                .next_if(|next| !is_known_option(next, flags))
                                .cloned()
                                .ok_or_else(|| CliError::new(format!("Missing argument for option: {}", flag.name)))?,
                        ),
                    };
                    options.given.push((flag.name, value));
                }
            }
        }
        Ok(options)
    }

    /// Whether `name` was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// The value given for `name`, the first if there are several.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| *given == name)?.1.as_deref()
    }

    /// The value given for `name` as a number, or `what_else` as the error's text.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str, what_else: &str) -> Result<Option<T>, CliError> {
        let parse = |text: &str| text.parse().map_err(|_| CliError::new(what_else));
        self.value(name).map(parse).transpose()
    }

    /// Holds the options of one group to at most one.
    pub(super) fn at_most_one_of(&self, group: &[&str]) -> Result<(), CliError> {
        let mut given = self.given.iter().map(|(name, _)| *name).filter(|name| group.contains(name));
        let Some(first) = given.next() else { return Ok(()) };
        match given.find(|name| *name != first) {
            None => Ok(()),
            Some(second) => Err(CliError::new(format!(
                "The option '{second}' was specified but an option from this group has already been selected: \
                 '{first}'"
            ))),
        }
    }
}

fn is_known_option(word: &str, flags: &[Flag]) -> bool {
    word.starts_with('-')
        && word.parse::<f64>().is_err()
        && split_option(word, flags).is_ok_and(|found| !found.is_empty())
}

/// The options within one word, with the value attached to the last of them.
fn split_option(word: &str, flags: &[Flag]) -> Result<Vec<(Flag, Option<String>)>, CliError> {
    let find = |name: &str| flags.iter().find(|flag| flag.name == name).copied();
    let unknown = || CliError::new(format!("Unrecognized option: {word}"));
    let body = word.trim_start_matches('-');
    if let Some(flag) = find(body) {
        return Ok(vec![(flag, None)]);
    }
    if let Some((name, value)) = body.split_once('=') {
        let flag = find(name).filter(|flag| flag.takes_value).ok_or_else(unknown)?;
        return Ok(vec![(flag, Some(value.to_owned()))]);
    }
    let mut found = Vec::new();
    for (at, letter) in body.char_indices() {
        let flag = find(letter.encode_utf8(&mut [0; 4])).ok_or_else(unknown)?;
        let behind = &body[at + letter.len_utf8()..];
        if flag.takes_value && !behind.is_empty() {
            found.push((flag, Some(behind.to_owned())));
            break;
        }
        found.push((flag, None));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const FLAGS: &[Flag] = &[flag("s"), flag("R"), valued("v"), valued("file")];

    fn parse(line: &str) -> Result<Options, CliError> {
        Options::parse(&words(line), FLAGS)
    }

    #[test]
    fn words_keep_what_is_quoted() {
        assert_eq!(words("  set /a \"two words\"  'it''s' x\"y z"), ["set", "/a", "two words", "it", "s", "x\"y", "z"]);
        assert_eq!(words("get \"open"), ["get", "open"]);
        assert_eq!(words("create /a ''"), ["create", "/a", ""]);
        assert_eq!(words("   "), [""; 0]);
    }

    #[test]
    fn options_stand_anywhere_and_run_together() {
        let options = parse("ls /a -sR -v 5 /b").unwrap();
        assert_eq!(options.arguments, ["ls", "/a", "/b"]);
        assert!(options.has("s") && options.has("R"));
        assert_eq!(options.value("v"), Some("5"));
        assert_eq!(parse("x -v5").unwrap().value("v"), Some("5"));
        assert_eq!(parse("x -v=-1").unwrap().value("v"), Some("-1"));
        assert_eq!(parse("x -v -1").unwrap().value("v"), Some("-1"));
        assert_eq!(parse("x -file /tmp/f").unwrap().value("file"), Some("/tmp/f"));
        assert_eq!(parse("x -5 -- -s").unwrap().arguments, ["x", "-5", "-s"]);
    }

    #[test]
    fn wrong_options_are_named_as_zkcli_names_them() {
        assert_eq!(parse("get -z /a").unwrap_err().to_string(), "Unrecognized option: -z");
        assert_eq!(parse("get /a -v").unwrap_err().to_string(), "Missing argument for option: v");
        assert_eq!(parse("get -v -s").unwrap_err().to_string(), "Missing argument for option: v");
        let options = parse("x -s -R").unwrap();
        assert_eq!(
            options.at_most_one_of(&["s", "R"]).unwrap_err().to_string(),
            "The option 'R' was specified but an option from this group has already been selected: 's'"
        );
        assert!(options.at_most_one_of(&["s", "v"]).is_ok());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[-a-zR\"'=/ \u{e9}]{0,30}") {
            let _ = parse(&line);
        }

        #[test]
        fn plain_words_come_back(expected in proptest::collection::vec("[a-z/][a-z/'\"]{0,5}", 0..6)) {
            prop_assert_eq!(words(&expected.join("  ")), expected);
        }
    }
}
