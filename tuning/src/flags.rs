//! The command line of `ringkeeper serve`, and the ways in which ZooKeeper's main classes are called.

use crate::config::values::{LogFormat, LogLevel};
use crate::raw::RawConfig;
use std::path::Path;

/// `ringkeeper serve`: runs a server.
#[derive(clap::Args, Clone, Default, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ServeArgs {
    /// A zoo.cfg, or as ZooKeeperServerMain takes them: port, data directory, tick time, connections per address
    ///
    /// With none of them the server runs on port 2181 with ./ringkeeper-data. The name of one of ZooKeeper's main
    /// classes in front is passed over.
    #[arg(value_name = "ZOO.CFG | PORT DATADIR [TICKTIME [MAXCNXNS]]", num_args = 0..=5)]
    pub positional: Vec<String>,

    /// Directory of the data (dataDir)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,

    /// Directory of the transaction log, if it has its own (dataLogDir)
    #[arg(long, value_name = "DIR")]
    pub data_log_dir: Option<String>,

    /// Port for clients; 0 lets the system choose (clientPort)
    #[arg(long, value_name = "PORT")]
    pub client_port: Option<String>,

    /// Address to listen on, all unless given (clientPortAddress)
    #[arg(long, value_name = "HOST")]
    pub client_port_address: Option<String>,

    /// Milliseconds of a tick (tickTime)
    #[arg(long, value_name = "MS")]
    pub tick_time: Option<String>,

    /// Connections from one address, 0 for no limit (maxClientCnxns)
    #[arg(long, value_name = "N")]
    pub max_client_cnxns: Option<String>,

    /// Threads that own partitions and connections; more than there are cores share them (shardCores)
    #[arg(long, value_name = "N")]
    pub shard_cores: Option<String>,

    /// Partitions of a new data directory, a power of two (partitions)
    #[arg(long, value_name = "N")]
    pub partitions: Option<String>,

    /// How much is logged: off, error, warn, info, debug or trace (logLevel)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Shape of a log line: text or json (logFormat)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Any setting, as zoo.cfg spells it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    /// A Java system property, such as -Djute.maxbuffer=4194304
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub system_properties: Vec<String>,
}

const AFTER_HELP: &str = "Every setting can also be an environment variable: clientPort is RINGKEEPER_CLIENT_PORT. \
A flag wins over -D, that over the environment, and that over the file.";

/// Arguments that fit no way of calling the server.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UsageError {
    /// More than four arguments.
    #[error("too many arguments: give a zoo.cfg, or PORT DATADIR [TICKTIME [MAXCNXNS]]")]
    TooManyArguments,
    /// A `--set` without `=`.
    #[error("--set {0}: must have the form KEY=VALUE")]
    SetWithoutValue(String),
}

impl ServeArgs {
    /// The configuration file among the arguments, for [`RawConfig::add_file`].
    pub fn config_file(&self) -> Option<&Path> {
        match self.arguments() {
            [file] => Some(Path::new(file)),
            _ => None,
        }
    }

    /// Turns flags and arguments into settings.
    ///
    /// # Errors
    /// When the arguments fit no way of calling the server.
    pub fn apply(&self, raw: &mut RawConfig) -> Result<(), UsageError> {
        if let arguments @ [_, _, ..] = self.arguments() {
            if arguments.len() > 4 {
                return Err(UsageError::TooManyArguments);
            }
            raw.set_server_form();
            // ZooKeeperServerMain has no limit unless it is given one, unlike the file.
            raw.add_flag("argument 4", "maxClientCnxns", "0");
            let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
            for (number, (key, value)) in keys.into_iter().zip(arguments).enumerate() {
                raw.add_flag(&format!("argument {}", number + 1), key, value);
            }
        }
        for definition in &self.system_properties {
            raw.add_system_property(definition);
        }
        for setting in &self.settings {
            let (key, value) = setting.split_once('=').ok_or_else(|| UsageError::SetWithoutValue(setting.clone()))?;
            raw.add_flag("--set", key.trim(), value);
        }
        for (flag, key, value) in self.named() {
            if let Some(value) = value {
                raw.add_flag(flag, key, value);
            }
        }
        Ok(())
    }

    /// The arguments without a main class in front.
    fn arguments(&self) -> &[String] {
        match self.positional.as_slice() {
            [class, rest @ ..] if is_main_class(class) => rest,
            all => all,
        }
    }

    fn named(&self) -> [(&'static str, &'static str, Option<&String>); 10] {
        [
            ("--data-dir", "dataDir", self.data_dir.as_ref()),
            ("--data-log-dir", "dataLogDir", self.data_log_dir.as_ref()),
            ("--client-port", "clientPort", self.client_port.as_ref()),
            ("--client-port-address", "clientPortAddress", self.client_port_address.as_ref()),
            ("--tick-time", "tickTime", self.tick_time.as_ref()),
            ("--max-client-cnxns", "maxClientCnxns", self.max_client_cnxns.as_ref()),
            ("--shard-cores", "shardCores", self.shard_cores.as_ref()),
            ("--partitions", "partitions", self.partitions.as_ref()),
            ("--log-level", "logLevel", self.log_level.as_ref()),
            ("--log-format", "logFormat", self.log_format.as_ref()),
        ]
    }
}

/// Logging as far as it can be known before the configuration is: what flags say, otherwise defaults.
pub fn early_logging(args: &ServeArgs) -> (LogLevel, LogFormat) {
    let level = args.log_level.as_deref().and_then(|word| word.parse().ok()).unwrap_or_default();
    let format = args.log_format.as_deref().and_then(|word| word.parse().ok()).unwrap_or_default();
    (level, format)
}

/// Turns the arguments of a `java` command that starts a ZooKeeper server into those of `ringkeeper serve`: options of
/// the virtual machine go, `-D` stays, and so does what follows the main class. `None` if no such class is named, so that
/// test suites which start `java` themselves can be pointed here and other commands are left alone.
pub fn from_java_arguments(arguments: &[String]) -> Option<Vec<String>> {
    let at = arguments.iter().position(|argument| is_main_class(argument))?;
    let mut serve = vec!["serve".to_owned()];
    serve.extend(arguments[..at].iter().filter(|argument| argument.starts_with("-D")).cloned());
    serve.extend(arguments[at + 1..].iter().cloned());
    Some(serve)
}

fn is_main_class(argument: &str) -> bool {
    matches!(
        argument,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain" | "org.apache.zookeeper.server.ZooKeeperServerMain"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn raw(line: &str) -> (ServeArgs, RawConfig) {
        let args = Program::try_parse_from(line.split(' ')).unwrap().args;
        let mut raw = RawConfig::new();
        args.apply(&mut raw).unwrap();
        (args, raw)
    }

    fn value<'a>(raw: &'a RawConfig, key: &str) -> &'a str {
        raw.get(key).map_or("", |setting| setting.value.as_str())
    }

    #[test]
    fn flags_become_settings() {
        let (args, raw) = raw("serve zoo.cfg --data-dir /d --client-port 1 --shard-cores 2 --partitions 8 \
                               --set snapCount=3 -Djute.maxbuffer=4 -Dzookeeper.skipACL=yes --log-level debug");
        assert_eq!(args.config_file(), Some(Path::new("zoo.cfg")));
        assert_eq!(value(&raw, "dataDir"), "/d");
        assert_eq!(value(&raw, "clientPort"), "1");
        assert_eq!(value(&raw, "shardCores"), "2");
        assert_eq!(value(&raw, "partitions"), "8");
        assert_eq!(value(&raw, "snapCount"), "3");
        assert_eq!(value(&raw, "jute.maxbuffer"), "4");
        assert_eq!(value(&raw, "skipACL"), "yes");
        assert_eq!(raw.get("clientPort").unwrap().origin.to_string(), "--client-port");
        assert_eq!(early_logging(&args), (LogLevel::Debug, LogFormat::Text));
    }

    #[test]
    fn zookeeper_s_positional_form() {
        let (args, raw) = raw("serve 2182 /d 1000 7");
        assert_eq!(args.config_file(), None);
        assert_eq!((value(&raw, "clientPort"), value(&raw, "dataDir")), ("2182", "/d"));
        assert_eq!((value(&raw, "tickTime"), value(&raw, "maxClientCnxns")), ("1000", "7"));
        let (_, raw) = self::raw("serve 2182 /d");
        let (config, _) = crate::load(&raw).unwrap();
        assert_eq!((config.ensemble.tick_time_ms, config.local.client.max_client_cnxns), (3000, 0));
        assert_eq!(config.local.client.port, 2182);
    }

    #[test]
    fn a_flag_beats_its_positional_twin() {
        let (_, raw) = raw("serve 2182 /d --client-port 2183");
        assert_eq!(value(&raw, "clientPort"), "2183");
    }

    #[test]
    fn java_s_way_of_calling() {
        let java =
            "-cp a.jar:b.jar -Xmx1g -Dreadonlymode.enabled=true org.apache.zookeeper.server.quorum.QuorumPeerMain z";
        let java: Vec<String> = java.split(' ').map(str::to_owned).collect();
        let serve = from_java_arguments(&java).unwrap();
        assert_eq!(serve, ["serve", "-Dreadonlymode.enabled=true", "z"]);
        assert_eq!(from_java_arguments(&java[..4]), None);
        let (args, raw) = raw("serve -Dreadonlymode.enabled=true org.apache.zookeeper.server.ZooKeeperServerMain z");
        assert_eq!(args.config_file(), Some(Path::new("z")));
        assert_eq!(value(&raw, "readonlymode.enabled"), "true");
    }

    #[test]
    fn misuse_is_named() {
        let many = Program::try_parse_from("serve 1 2 3 4 5".split(' ')).unwrap().args;
        assert_eq!(many.apply(&mut RawConfig::new()), Err(UsageError::TooManyArguments));
        let set = Program::try_parse_from("serve --set x".split(' ')).unwrap().args;
        assert_eq!(set.apply(&mut RawConfig::new()), Err(UsageError::SetWithoutValue("x".into())));
        assert!(Program::try_parse_from("serve 1 2 3 4 5 6".split(' ')).is_err());
    }
}
