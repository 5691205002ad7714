//! Settings from the environment: our own variables, the container image's, and the scripts' `-D` flags.

use super::{Origin, RawConfig, Setting};
use crate::catalog;

/// Variables of the public container image, and the keys that its entry point writes from them.
const IMAGE_VARIABLES: &[(&str, &str)] = &[
    ("ZOO_MY_ID", "myid"),
    ("ZOO_DATA_DIR", "dataDir"),
    ("ZOO_DATA_LOG_DIR", "dataLogDir"),
    ("ZOO_TICK_TIME", "tickTime"),
    ("ZOO_INIT_LIMIT", "initLimit"),
    ("ZOO_SYNC_LIMIT", "syncLimit"),
    ("ZOO_MAX_CLIENT_CNXNS", "maxClientCnxns"),
    ("ZOO_STANDALONE_ENABLED", "standaloneEnabled"),
    ("ZOO_ADMINSERVER_ENABLED", "admin.enableServer"),
    ("ZOO_AUTOPURGE_PURGEINTERVAL", "autopurge.purgeInterval"),
    ("ZOO_AUTOPURGE_SNAPRETAINCOUNT", "autopurge.snapRetainCount"),
    ("ZOO_4LW_COMMANDS_WHITELIST", "4lw.commands.whitelist"),
];

/// Adds what concerns us, in an order that does not depend on the environment's.
pub(super) fn add<I: IntoIterator<Item = (String, String)>>(raw: &mut RawConfig, variables: I) {
    let mut variables: Vec<(String, String)> = variables.into_iter().collect();
    variables.sort();
    for (name, value) in variables {
        if name == "JVMFLAGS" || name == "SERVER_JVMFLAGS" {
            add_jvm_flags(raw, &name, &value);
        } else if let Some(rest) = name.strip_prefix("RINGKEEPER_") {
            add_own(raw, &name, rest, &value);
        } else if name.starts_with("ZOO_") {
            add_image(raw, &name, &value);
        }
    }
}

/// `-Dname=value` words; everything else in there is for a Java virtual machine.
fn add_jvm_flags(raw: &mut RawConfig, variable: &str, flags: &str) {
    for definition in words(flags).iter().filter_map(|word| word.strip_prefix("-D")) {
        let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
        raw.add_property(name, value, Origin::JvmFlags { variable: variable.to_owned(), property: name.to_owned() });
    }
}

fn add_own(raw: &mut RawConfig, variable: &str, rest: &str, value: &str) {
    let origin = Origin::Variable(variable.to_owned());
    let squeezed = catalog::squeeze(rest);
    let known = catalog::KEYS.iter().find(|key| catalog::squeeze(key.name) == squeezed);
    let numbered = || {
        ["server", "group", "weight"].into_iter().find_map(|family| {
            let number = rest.strip_prefix(&family.to_ascii_uppercase())?.strip_prefix('_')?;
            number.parse::<u32>().ok().map(|number| format!("{family}.{number}"))
        })
    };
    match known.map(|key| key.name.to_owned()).filter(|name| !name.ends_with('*')).or_else(numbered) {
        Some(key) => raw.put(key, Setting { value: value.trim().to_owned(), origin }),
        None => raw.unknown(rest, origin),
    }
}

fn add_image(raw: &mut RawConfig, variable: &str, value: &str) {
    let origin = || Origin::ImageVariable(variable.to_owned());
    if let Some((_, key)) = IMAGE_VARIABLES.iter().find(|(name, _)| *name == variable) {
        if !value.trim().is_empty() {
            raw.put((*key).to_owned(), Setting { value: value.trim().to_owned(), origin: origin() });
        }
    } else if variable == "ZOO_SERVERS" || variable == "ZOO_CFG_EXTRA" {
        for entry in words(value) {
            let (key, value) = entry.split_once('=').unwrap_or((&entry, ""));
            let setting = Setting { value: value.trim().to_owned(), origin: origin() };
            raw.add_file_setting(key.trim().to_owned(), setting);
        }
    } else if variable == "ZOO_DATADIR_AUTOCREATE_DISABLE" && !value.is_empty() {
        raw.put("datadir.autocreate".to_owned(), Setting { value: "false".to_owned(), origin: origin() });
    }
}

/// Words as a shell would split them, as far as quotes go.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(variables: &[(&str, &str)]) -> RawConfig {
        let mut raw = RawConfig::new();
        raw.add_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        raw
    }

    fn value<'a>(raw: &'a RawConfig, key: &str) -> Option<&'a str> {
        raw.get(key).map(|setting| setting.value.as_str())
    }

    #[test]
    fn own_variables_spell_any_key() {
        let raw = raw(&[
            ("RINGKEEPER_CLIENT_PORT", "1"),
            ("RINGKEEPER_JUTE_MAXBUFFER", "2"),
            ("RINGKEEPER_4LW_COMMANDS_WHITELIST", "*"),
            ("RINGKEEPER_SERVER_1", "a:1:2"),
            ("RINGKEEPER_CLIENT_PROT", "4"),
            ("HOME", "/root"),
        ]);
        assert_eq!(value(&raw, "clientPort"), Some("1"));
        assert_eq!(value(&raw, "jute.maxbuffer"), Some("2"));
        assert_eq!(value(&raw, "4lw.commands.whitelist"), Some("*"));
        assert_eq!(value(&raw, "server.1"), Some("a:1:2"));
        let warnings: Vec<String> = raw.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["environment variable RINGKEEPER_CLIENT_PROT: CLIENT_PROT is unknown and has no effect; did you mean \
              clientPort?"]
        );
    }

    #[test]
    fn the_image_s_variables_are_understood() {
        let raw = raw(&[
            ("ZOO_MY_ID", "3"),
            ("ZOO_SERVERS", "server.3=zoo3:2888:3888;2181"),
            ("ZOO_CFG_EXTRA", "snapCount=7 admin.serverPort=0"),
            ("ZOO_DATADIR_AUTOCREATE_DISABLE", "1"),
            ("ZOO_LOG_DIR", "/logs"),
            ("ZOO_DATA_LOG_DIR", ""),
        ]);
        assert_eq!(value(&raw, "myid"), Some("3"));
        assert_eq!(value(&raw, "server.3"), Some("zoo3:2888:3888;2181"));
        assert_eq!(value(&raw, "snapCount"), Some("7"));
        assert_eq!(value(&raw, "admin.serverPort"), Some("0"));
        assert_eq!(value(&raw, "datadir.autocreate"), Some("false"));
        assert_eq!(value(&raw, "dataLogDir"), None);
        assert_eq!(raw.warnings, []);
    }

    #[test]
    fn jvm_flags_are_searched_for_definitions() {
        let flags =
            "-Xmx1g -Djute.maxbuffer=5 \"-Dzookeeper.DigestAuthenticationProvider.superDigest=super:a b\" -server";
        let raw = raw(&[("JVMFLAGS", flags)]);
        assert_eq!(value(&raw, "jute.maxbuffer"), Some("5"));
        assert_eq!(value(&raw, "DigestAuthenticationProvider.superDigest"), Some("super:a b"));
    }
}
