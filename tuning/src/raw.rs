//! What was written, and where, before it means anything.

mod environment;

use crate::catalog::{self, Home};
use crate::problem::{ConfigError, Warning, WarningKind};
use crate::zoo_cfg;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a setting was written. Later variants win over earlier ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// A line of a configuration file.
    File {
        /// The file's name as it was given.
        name: String,
        /// From 1.
        line: u32,
    },
    /// An environment variable of the container image (`ZOO_*`).
    ImageVariable(String),
    /// An environment variable `RINGKEEPER_*`.
    Variable(String),
    /// A `-D` in `JVMFLAGS` or `SERVER_JVMFLAGS`.
    JvmFlags {
        /// The environment variable.
        variable: String,
        /// The property as it was named.
        property: String,
    },
    /// A `-D` on the command line.
    SystemProperty(String),
    /// A flag or an argument of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { name, line } => write!(f, "{name} line {line}"),
            Origin::ImageVariable(name) | Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::JvmFlags { variable, property } => write!(f, "-D{property} in {variable}"),
            Origin::SystemProperty(name) => write!(f, "-D{name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One value, as text without blanks around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// What was written.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// All settings of one start, by key as `zoo.cfg` spells it. A flag wins over a system property, that over the
/// environment, and that over the file; within one of them the last one wins.
#[derive(Clone, Default, Debug)]
pub struct RawConfig {
    settings: BTreeMap<String, Setting>,
    dynamic: Option<BTreeMap<String, Setting>>,
    dynamic_name: Option<String>,
    has_file: bool,
    file_name: Option<String>,
    server_form: bool,
    myid_text: Option<(String, String)>,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<Warning>,
}

/// Files that the settings ask for besides `zoo.cfg`; whoever reads files hands them back.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Companions {
    /// For [`RawConfig::add_dynamic_file`]; its absence is an error.
    pub dynamic_config_file: Option<PathBuf>,
    /// For [`RawConfig::add_myid_file`], if it is there.
    pub myid_file: Option<PathBuf>,
}

impl RawConfig {
    /// No settings at all.
    pub fn new() -> RawConfig {
        RawConfig::default()
    }

    /// Takes the contents of `zoo.cfg`. `name` is what errors call it.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) {
        self.has_file = true;
        self.file_name = Some(name.to_owned());
        let entries = self.entries(name, bytes);
        for (key, setting) in entries {
            self.add_file_setting(key, setting);
        }
    }

    /// Takes environment variables; those that are none of ours are passed over. Call it once.
    pub fn add_environment<I: IntoIterator<Item = (String, String)>>(&mut self, variables: I) {
        environment::add(self, variables);
    }

    /// Takes `name=value` (or `name`, an empty value) of a `-D` on the command line.
    pub fn add_system_property(&mut self, definition: &str) {
        let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
        self.add_property(name, value, Origin::SystemProperty(name.to_owned()));
    }

    /// Takes a setting from a flag; `flag` is what errors call it, such as `--client-port`.
    pub fn add_flag(&mut self, flag: &str, key: &str, value: &str) {
        let origin = Origin::Flag(flag.to_owned());
        if catalog::find(key).is_none() {
            self.unknown(key, origin);
            return;
        }
        self.put(key.to_owned(), Setting { value: value.trim().to_owned(), origin });
    }

    /// Says that the arguments were `port dataDir [tickTime [maxClientCnxns]]`, whose defaults are those of a file.
    pub fn set_server_form(&mut self) {
        self.server_form = true;
    }

    /// The files to read before [`crate::load`].
    pub fn companions(&self) -> Companions {
        Companions {
            dynamic_config_file: self.get("dynamicConfigFile").map(|setting| PathBuf::from(&setting.value)),
            myid_file: self.get("dataDir").map(|setting| PathBuf::from(&setting.value).join("myid")),
        }
    }

    /// Takes the contents of the file that `dynamicConfigFile` names.
    pub fn add_dynamic_file(&mut self, name: &str, bytes: &[u8]) {
        let entries = self.entries(name, bytes);
        self.dynamic = Some(entries.into_iter().collect());
        self.dynamic_name = Some(name.to_owned());
    }

    /// Takes the contents of `myid`.
    pub fn add_myid_file(&mut self, name: &str, bytes: &[u8]) {
        self.myid_text = Some((name.to_owned(), String::from_utf8_lossy(bytes).into_owned()));
    }

    /// The setting that holds for `key`.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// Every setting that holds, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// Whether the defaults are those of a server with a `zoo.cfg`.
    pub fn has_file_defaults(&self) -> bool {
        self.has_file || self.server_form
    }

    /// What was noticed while reading, such as misspelt keys. [`crate::load`] repeats them with its own warnings when the
    /// configuration holds; when it does not, they often say why.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(crate) fn dynamic(&self) -> Option<&BTreeMap<String, Setting>> {
        self.dynamic.as_ref()
    }

    /// What the file was called that `dynamicConfigFile` names.
    pub(crate) fn dynamic_name(&self) -> Option<&str> {
        self.dynamic_name.as_deref()
    }

    /// What `zoo.cfg` was called.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    pub(crate) fn myid_text(&self) -> Option<(&str, &str)> {
        self.myid_text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    fn entries(&mut self, name: &str, bytes: &[u8]) -> Vec<(String, Setting)> {
        let at = |line| Origin::File { name: name.to_owned(), line };
        let parsed = zoo_cfg::parse(bytes);
        self.errors.extend(parsed.errors.into_iter().map(|error| ConfigError {
            key: String::new(),
            value: None,
            origin: Some(at(error.line)),
            message: error.to_string(),
        }));
        let mut first_lines = BTreeMap::new();
        let mut settings = Vec::new();
        for entry in parsed.entries {
            let key = entry.key.trim().to_owned();
            if let Some(first) = first_lines.insert(key.clone(), entry.line) {
                let message = format!("was already set on line {first}; the last one holds");
                let origin = Some(at(entry.line));
                self.warnings.push(Warning { kind: WarningKind::Duplicate, key: key.clone(), origin, message });
            }
            settings.push((key, Setting { value: entry.value.trim().to_owned(), origin: at(entry.line) }));
        }
        settings
    }

    fn add_file_setting(&mut self, key: String, setting: Setting) {
        match catalog::find(&key).map(|known| known.home) {
            None => self.unknown(&key, setting.origin),
            Some(Home::Property) => {
                let message = format!("has no effect in a file: set it with -D{key}=... or --set {key}=...");
                let origin = Some(setting.origin);
                self.warnings.push(Warning { kind: WarningKind::NoEffect, key, origin, message });
            }
            Some(_) => self.put(key, setting),
        }
    }

    /// Sorts a Java system property. What does not begin with `zookeeper.` and is not known belongs to somebody else.
    fn add_property(&mut self, name: &str, value: &str, origin: Origin) {
        let (key, homes): (&str, &[Home]) = if let Some(key) = name.strip_prefix("zookeeper.") {
            (key, &[Home::FileOrProperty, Home::FileOrEitherProperty])
        } else if let Some(key) = name.strip_prefix("ringkeeper.") {
            (key, &[Home::Own])
        } else {
            (name, &[Home::Property, Home::FileOrEitherProperty])
        };
        let prefixed = key.len() != name.len();
        match catalog::find(key) {
            Some(known) if homes.contains(&known.home) || known.name == "multiAddress.*" && prefixed => {
                self.put(key.to_owned(), Setting { value: value.trim().to_owned(), origin });
            }
            Some(known) if prefixed => {
                let message = match known.home {
                    Home::Property => format!("has no effect: the property is -D{key}"),
                    Home::Own => format!("has no effect: the property is -Dringkeeper.{key}"),
                    _ => format!("has no effect as a system property: set it in zoo.cfg or with --set {key}=..."),
                };
                let warning =
                    Warning { kind: WarningKind::NoEffect, key: name.to_owned(), origin: Some(origin), message };
                self.warnings.push(warning);
            }
            None if prefixed && !OTHER_PROPERTIES.iter().any(|start| key.starts_with(start)) => {
                self.unknown(name, origin);
            }
            _ => {}
        }
    }

    fn put(&mut self, key: String, setting: Setting) {
        let outranked = self.settings.get(&key).is_some_and(|held| rank(&held.origin) > rank(&setting.origin));
        if !outranked {
            self.settings.insert(key, setting);
        }
    }

    fn unknown(&mut self, key: &str, origin: Origin) {
        let bare = key.strip_prefix("zookeeper.").or_else(|| key.strip_prefix("ringkeeper.")).unwrap_or(key);
        let message = match catalog::find(bare).map(|known| known.name).or_else(|| catalog::suggest(bare)) {
            Some(_) if bare != key && catalog::find(bare).is_some() => {
                format!("is unknown and has no effect; did you mean {bare}?")
            }
            Some(near) => format!("is unknown and has no effect; did you mean {near}?"),
            None => "is unknown and has no effect".to_owned(),
        };
        let warning = Warning { kind: WarningKind::UnknownKey, key: key.to_owned(), origin: Some(origin), message };
        self.warnings.push(warning);
    }
}

/// Properties `zookeeper.<start>...` that concern scripts, logging and clients, never the server.
const OTHER_PROPERTIES: &[&str] = &["log.", "root.logger", "console.threshold", "client.", "sasl.client", "test."];

/// The order of precedence; within one rank the last one wins.
fn rank(origin: &Origin) -> u8 {
    match origin {
        Origin::File { .. } => 0,
        Origin::ImageVariable(_) => 1,
        Origin::Variable(_) => 2,
        Origin::JvmFlags { .. } => 3,
        Origin::SystemProperty(_) => 4,
        Origin::Flag(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value<'a>(raw: &'a RawConfig, key: &str) -> Option<&'a str> {
        raw.get(key).map(|setting| setting.value.as_str())
    }

    fn warnings(raw: &RawConfig) -> Vec<String> {
        raw.warnings.iter().map(Warning::to_string).collect()
    }

    #[test]
    fn the_last_line_of_a_file_holds_and_is_named() {
        let mut raw = RawConfig::new();
        raw.add_file("zoo.cfg", b"tickTime=2000\n# again\ntickTime = 1000 \n");
        assert_eq!(value(&raw, "tickTime"), Some("1000"));
        assert_eq!(warnings(&raw), ["zoo.cfg line 3: tickTime was already set on line 1; the last one holds"]);
    }

    #[test]
    fn unknown_keys_are_named_with_a_suggestion() {
        let mut raw = RawConfig::new();
        raw.add_file("zoo.cfg", b"clientport=1\nwhatIsThis=2\nzookeeper.snapCount=3\nticktime=4\n");
        raw.add_system_property("zookeeper.snapcount=1");
        assert_eq!(
            warnings(&raw),
            [
                "zoo.cfg line 1: clientport is unknown and has no effect; did you mean clientPort?",
                "zoo.cfg line 2: whatIsThis is unknown and has no effect",
                "zoo.cfg line 3: zookeeper.snapCount is unknown and has no effect; did you mean snapCount?",
                "zoo.cfg line 4: ticktime is unknown and has no effect; did you mean tickTime?",
                "-Dzookeeper.snapcount: zookeeper.snapcount is unknown and has no effect; did you mean snapCount?",
            ]
        );
    }

    #[test]
    fn plain_properties_do_not_come_from_the_file() {
        let mut raw = RawConfig::new();
        raw.add_file("zoo.cfg", b"jute.maxbuffer=5\njute.maxbuffer.extrasize=6\n");
        assert_eq!(value(&raw, "jute.maxbuffer"), None);
        assert_eq!(value(&raw, "jute.maxbuffer.extrasize"), Some("6"));
        assert_eq!(
            warnings(&raw),
            ["zoo.cfg line 1: jute.maxbuffer has no effect in a file: set it with -Djute.maxbuffer=... or --set \
              jute.maxbuffer=..."]
        );
        raw.add_system_property("jute.maxbuffer=7");
        assert_eq!(value(&raw, "jute.maxbuffer"), Some("7"));
    }

    #[test]
    fn system_properties_need_the_right_prefix() {
        let mut raw = RawConfig::new();
        raw.add_system_property("zookeeper.snapCount=1");
        raw.add_system_property("snapCount=2");
        raw.add_system_property("zookeeper.jute.maxbuffer=3");
        raw.add_system_property("zookeeper.clientPort=4");
        raw.add_system_property("ringkeeper.shardCores=5");
        raw.add_system_property("fsync.warningthresholdms=6");
        raw.add_system_property("zookeeper.log.dir=/var/log");
        raw.add_system_property("com.sun.management.jmxremote");
        raw.add_system_property("zookeeper.skipACL=yes");
        assert_eq!(value(&raw, "snapCount"), Some("1"));
        assert_eq!(value(&raw, "jute.maxbuffer"), None);
        assert_eq!(value(&raw, "clientPort"), None);
        assert_eq!(value(&raw, "shardCores"), Some("5"));
        assert_eq!(value(&raw, "fsync.warningthresholdms"), Some("6"));
        assert_eq!(value(&raw, "skipACL"), Some("yes"));
        assert_eq!(warnings(&raw).len(), 2, "{:?}", warnings(&raw));
    }

    #[test]
    fn flags_win_over_properties_over_environment_over_files() {
        let mut raw = RawConfig::new();
        raw.add_flag("--set", "snapCount", "5");
        raw.add_system_property("zookeeper.snapCount=4");
        raw.add_environment([
            ("SERVER_JVMFLAGS".to_owned(), "-Dzookeeper.snapCount=3 -Dzookeeper.maxCnxns=3".to_owned()),
            ("RINGKEEPER_SNAP_COUNT".to_owned(), "2".to_owned()),
            ("RINGKEEPER_MAX_CNXNS".to_owned(), "2".to_owned()),
            ("RINGKEEPER_TICK_TIME".to_owned(), "2".to_owned()),
            ("ZOO_TICK_TIME".to_owned(), "1".to_owned()),
            ("ZOO_INIT_LIMIT".to_owned(), "1".to_owned()),
        ]);
        raw.add_file("zoo.cfg", b"snapCount=0\nmaxCnxns=0\ntickTime=0\ninitLimit=0\nsyncLimit=0\n");
        let held: Vec<_> = ["snapCount", "maxCnxns", "tickTime", "initLimit", "syncLimit"]
            .iter()
            .map(|key| value(&raw, key))
            .collect();
        assert_eq!(held, [Some("5"), Some("3"), Some("2"), Some("1"), Some("0")]);
    }

    proptest! {
        #[test]
        fn nothing_written_makes_it_panic(
            file in proptest::collection::vec(any::<u8>(), 0..100),
            property in ".{0,20}",
            variable in "(RINGKEEPER_|ZOO_)?[A-Z_]{0,12}",
            text in ".{0,20}",
        ) {
            let mut raw = RawConfig::new();
            raw.add_file("zoo.cfg", &file);
            raw.add_dynamic_file("dynamic", &file);
            raw.add_myid_file("myid", &file);
            raw.add_system_property(&property);
            raw.add_flag("--set", &property, &text);
            raw.add_environment([(variable, text)]);
            let _ = crate::load(&raw);
        }
    }
}
