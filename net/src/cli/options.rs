//! What stands in front of a one-shot command (`MyCommandOptions.parseOptions`).

use std::time::Duration;

/// How to connect, and what to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProgramOptions {
    /// `-server`, `localhost:2181` unless given.
    pub(super) server: String,
    /// `-timeout` in milliseconds, 30 s unless given.
    pub(super) timeout: Duration,
    /// `-r`.
    pub(super) read_only: bool,
    /// `-waitforconnection`.
    pub(super) wait: bool,
    /// The command with its words; empty asks for a prompt.
    pub(super) command: Vec<String>,
}

/// Arguments that make no sense; the exit code is then 2.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum InvocationError {
    /// An option at the end that needs a value.
    #[error("Error: no argument found for option {0}")]
    MissingValue(String),
    /// A timeout that is not a number of milliseconds.
    #[error("Error: -timeout {0}: must be a whole number of milliseconds from 1 to 2147483647")]
    Timeout(String),
    /// Not an option of ours.
    #[error("Error: unknown option {0}; known are -server, -timeout, -r and -waitforconnection")]
    Unknown(String),
    /// zkCli's file of client settings, all of which concern TLS, SASL or the Java client.
    #[error("Error: -client-configuration is not available: TLS and SASL are not there yet")]
    ClientConfiguration,
}

/// Reads options until the first word that is none; it and all that follow are the command. One dash or two.
pub(super) fn parse(words: &[String]) -> Result<ProgramOptions, InvocationError> {
    let mut options = ProgramOptions {
        server: "localhost:2181".to_owned(),
        timeout: Duration::from_secs(30),
        read_only: false,
        wait: false,
        command: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            options.command = std::iter::once(word).chain(words).cloned().collect();
            break;
        };
        let (name, attached) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let mut value =
            || attached.clone().or_else(|| words.next().cloned()).ok_or(InvocationError::MissingValue(word.clone()));
        match name {
            "server" => options.server = value()?,
            "timeout" => {
                let text = value()?;
                let millis = text.parse::<i32>().ok().filter(|millis| *millis > 0);
                let millis = millis.ok_or(InvocationError::Timeout(text))?;
                options.timeout = Duration::from_millis(u64::from(millis.unsigned_abs()));
            }
            "r" | "read-only" => options.read_only = true,
            "waitforconnection" | "wait-for-connection" => options.wait = true,
            "client-configuration" => return Err(InvocationError::ClientConfiguration),
            _ => return Err(InvocationError::Unknown(word.clone())),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(line: &str) -> Result<ProgramOptions, InvocationError> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_come_before_the_command() {
        let options = of("-server a:1,b:2/c -timeout 5000 -r -waitforconnection ls -R /").unwrap();
        assert_eq!(options.server, "a:1,b:2/c");
        assert_eq!(options.timeout, Duration::from_secs(5));
        assert!(options.read_only && options.wait);
        assert_eq!(options.command, ["ls", "-R", "/"]);
        assert_eq!(of("--server=h:1 get /a -s").unwrap().command, ["get", "/a", "-s"]);
        let none = of("").unwrap();
        assert_eq!(
            (none.server.as_str(), none.timeout, none.command.len()),
            ("localhost:2181", Duration::from_secs(30), 0)
        );
    }

    #[test]
    fn wrong_options_are_named() {
        assert_eq!(of("-server"), Err(InvocationError::MissingValue("-server".into())));
        assert_eq!(of("-timeout soon ls /"), Err(InvocationError::Timeout("soon".into())));
        assert_eq!(of("-timeout 0"), Err(InvocationError::Timeout("0".into())));
        assert_eq!(of("-servr x"), Err(InvocationError::Unknown("-servr".into())));
        assert_eq!(of("-client-configuration f"), Err(InvocationError::ClientConfiguration));
    }
}
