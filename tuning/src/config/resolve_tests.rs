//! Defaults and checks, as the contract and `QuorumPeerConfig` have them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{LogLevel, Role};
use std::path::Path;

const LEAST: &str = "dataDir=/d\nclientPort=2181\n";

fn file(text: &str) -> RawConfig {
    let mut raw = RawConfig::new();
    raw.add_file("zoo.cfg", text.as_bytes());
    raw
}

fn loaded(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = crate::load(&file(&format!("{LEAST}{text}"))).unwrap();
    (config, warnings.iter().map(ToString::to_string).collect())
}

fn errors(text: &str) -> Vec<String> {
    crate::load(&file(text)).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The one error that `text` below the least file leads to.
fn error(text: &str) -> String {
    let errors = errors(&format!("{LEAST}{text}"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn no_configuration_at_all_runs_a_server() {
    let (config, warnings) = crate::load(&RawConfig::new()).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.local.client.port, 2181);
    assert_eq!(config.local.storage.data_dir, Path::new("./ringkeeper-data"));
    assert_eq!(config.ensemble.tick_time_ms, 2000);
    assert_eq!((config.local.session.timeout_min_ms, config.local.session.timeout_max_ms), (4000, 40_000));
}

#[test]
fn a_file_brings_zookeeper_s_defaults() {
    let (config, warnings) = loaded("");
    assert_eq!(warnings, [""; 0]);
    let Config { ensemble, local } = config;
    assert_eq!(ensemble.tick_time_ms, 3000);
    assert!(ensemble.standalone_enabled && !ensemble.reconfig_enabled && ensemble.members.is_empty());
    assert_eq!(local.storage.data_log_dir, Path::new("/d"));
    assert_eq!((local.session.timeout_min_ms, local.session.timeout_max_ms), (6000, 60_000));
    assert_eq!((local.client.max_client_cnxns, local.client.max_cnxns, local.client.listen_backlog), (60, 0, None));
    assert_eq!(local.client.sessionless_timeout_ms, 10_000);
    assert_eq!((local.storage.snap_count, local.storage.pre_alloc_bytes), (100_000, 65_536 * 1024));
    assert!(local.storage.force_sync);
    assert_eq!((local.frame.jute_max_buffer, local.frame.field_bytes_max()), (1_048_575, 2_097_150));
    assert_eq!((local.frame.large_request_threshold, local.frame.large_request_max_bytes), (None, 104_857_600));
    assert_eq!(local.throttle.global_outstanding_limit, 1000);
    assert_eq!(local.throttle.connection.drop_increase, 0.02);
    assert!(local.admin.four_letter_words.allows("srvr") && !local.admin.four_letter_words.allows("ruok"));
    assert!(local.auth.digest_enabled && !local.auth.skip_acl && local.auth.enforce_schemes.is_empty());
    assert_eq!(local.auth.digest_algorithm, DigestAlgorithm::Sha1);
    assert_eq!(local.nodes.container_check_interval_ms, 60_000);
    assert_eq!(local.nodes.container_max_per_minute, 10_000);
    assert_eq!(local.nodes.container_max_never_used_interval_ms, 0);
    assert!(!local.nodes.extended_types_enabled && !local.nodes.enforce_quota && local.nodes.digest_enabled);
    assert_eq!((local.host.shard_cores, local.host.partitions, local.host.log_level), (None, 64, LogLevel::Info));
}

#[test]
fn start_up_checks_of_the_contract() {
    assert_eq!(errors("clientPort=2181\n"), ["dataDir: is not set: name the directory that is to hold the data"]);
    assert!(error("tickTime=0").contains("zoo.cfg line 3: tickTime=0: must be a whole number from 1"));
    assert!(
        errors("dataDir=/d\nclientPortAddress=localhost\n")[0]
            .contains("clientPortAddress=localhost: is set but clientPort is not")
    );
    assert!(error("minSessionTimeout=70000").contains("minSessionTimeout=70000: the least session timeout"));
    assert!(error("electionAlg=2").contains("electionAlg=2: must be 3"));
    assert!(error("syncLimit=five").contains("syncLimit=five: must be a whole number"));
    assert!(error("localSessionsEnabled=yes").contains("localSessionsEnabled=yes: must be true or false"));
    assert!(error("skipACL=true").contains("skipACL=true: must be yes or no"));
    assert!(error("clientPortListenBacklog=").contains("must be a whole number"));
    assert!(errors("dataDir=/d\n")[0].contains("clientPort: is not set"));
}

#[test]
fn several_errors_are_told_together() {
    let errors = errors("dataDir=/d\nclientPort=70000\ntickTime=x\n\nsnapCount=1\nbad=\\u00\n");
    let places: Vec<_> = errors.iter().map(|error| error.split(':').next().unwrap_or_default()).collect();
    assert_eq!(places, ["zoo.cfg line 2", "zoo.cfg line 3", "zoo.cfg line 5", "zoo.cfg line 6"], "{errors:?}");
}

#[test]
fn membership_next_to_a_dynamic_file_is_refused() {
    let mut raw = file(&format!("{LEAST}dynamicConfigFile=/d/zoo.dyn\nserver.1=a:1:2\n"));
    assert_eq!(raw.companions().dynamic_config_file.unwrap(), Path::new("/d/zoo.dyn"));
    raw.add_dynamic_file("/d/zoo.dyn", b"server.1=a:1:2;2181\n");
    let errors = crate::load(&raw).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message.contains("must stand in the file"));
    assert!(error("dynamicConfigFile=/nowhere").contains("cannot be read"));
}

#[test]
fn one_member_serves_alone_and_several_are_an_ensemble() {
    let (config, _) = loaded("server.7=a:2888:3888\n");
    assert_eq!((config.local.server_id, config.ensemble.members.len()), (Some(7), 1));
    assert!(!config.ensemble.is_distributed());
    let (config, _) = crate::load(&file("dataDir=/d\nserver.7=a:2888:3888;127.0.0.1:2199\n")).unwrap();
    assert_eq!((config.local.client.port, config.local.client.address.as_deref()), (2199, Some("127.0.0.1")));
    assert!(error("server.1=a:1:2;2182").contains("differs from the client port 2182"));
    assert!(error("server.1=a:1:2\nserver.2=b:1:2:observer").contains("observers need at least two participants"));
    assert!(error("server.2=b:1:2:observer").contains("0 of them as participant"));
    assert!(error("peerType=observer").contains("needs an ensemble"));

    let three = "initLimit=10\nsyncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2;2182\nserver.3=c:1:2:observer\nweight.1=2\n";
    let with_id = |id: &[u8], more: &str| {
        let mut raw = file(&format!("dataDir=/d\n{three}{more}"));
        raw.add_myid_file("/d/myid", id);
        crate::load(&raw)
    };
    let (config, _) = with_id(b"2", "").unwrap();
    assert!(config.ensemble.is_distributed());
    assert_eq!((config.local.client.port, config.local.role), (2182, Role::Participant), "each its own line");
    assert_eq!(config.ensemble.lines.len(), 4);
    let (config, warnings) = with_id(b"3", "clientPort=2183\npeerType=participant\n").unwrap();
    assert_eq!(config.local.role, Role::Observer);
    assert!(warnings.iter().any(|warning| warning.to_string().contains("peerType")), "{warnings:?}");
    assert!(with_id(b"0", "clientPort=1\n").unwrap_err().iter().any(|error| error.message.contains("from 1 to 255")));
    assert!(error(three).contains("myid file is missing"));
}

#[test]
fn members_that_may_change_need_a_file_to_stand_in() {
    let three =
        "initLimit=10\nsyncLimit=5\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nmyid=1\nreconfigEnabled=true\n";
    let (config, _) = loaded(three);
    assert_eq!((config.ensemble.version, config.ensemble.has_dynamic_file), (0, false));
    assert_eq!(config.ensemble.config_file.as_deref(), Some(Path::new("zoo.cfg")));
    let mut raw = RawConfig::new();
    for line in format!("{LEAST}{three}").lines() {
        let (key, value) = line.split_once('=').unwrap();
        raw.add_flag("--set", key, value);
    }
    let errors = crate::load(&raw).unwrap_err();
    assert!(errors.iter().any(|error| error.message.contains("start it with one")), "{errors:?}");

    for (name, version) in [("/d/zoo.cfg.dynamic.1a0000000b", 0x1a_0000_000b), ("/d/zoo.dyn", 0), ("/d/members", 0)] {
        let mut raw = file(&format!("{LEAST}dynamicConfigFile={name}\ninitLimit=10\nsyncLimit=5\nmyid=1\n"));
        raw.add_dynamic_file(name, b"server.1=a:1:2;2181\nserver.2=b:1:2;2181\n");
        let (config, _) = crate::load(&raw).unwrap();
        assert_eq!((config.ensemble.version, config.ensemble.has_dynamic_file), (version, true), "{name}");
    }
}

#[test]
fn an_ensemble_of_one_needs_its_number_and_limits() {
    let text = "standaloneEnabled=false\nserver.1=a:1:2\ninitLimit=10\nsyncLimit=5\n";
    assert!(error(text).contains("myid file is missing"));
    let with_id = |id: &[u8]| {
        let mut raw = file(&format!("{LEAST}{text}"));
        raw.add_myid_file("/d/myid", id);
        crate::load(&raw)
    };
    assert_eq!(with_id(b"1\n").unwrap().0.local.server_id, Some(1));
    assert!(with_id(b"one\n").unwrap_err()[0].message.contains("/d/myid holds 'one', which is not a number"));
    assert!(with_id(b"2").unwrap_err()[0].message.contains("no line server.2"));
    assert_eq!(errors(&format!("{LEAST}standaloneEnabled=false\nserver.1=a:1:2\nmyid=1\n")).len(), 2);
}

#[test]
fn a_port_that_would_not_be_served_is_an_error() {
    assert!(error("secureClientPort=2281").contains("TLS is not there yet"));
    assert!(error("secureClientPortAddress=::1").contains("secureClientPort is not"));
    assert!(error("server.1=a:1:2;2181;2281").contains("names a TLS client port"));
}

#[test]
fn keys_without_effect_are_named_unless_they_ask_for_nothing() {
    let (_, warnings) = loaded(
        "admin.forceHttps=true\nadmin.portUnification=false\nmetricsProvider.httpPort=7000\nssl.keyStore.location=/k\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\nfips-mode=true\n",
    );
    assert_eq!(
        warnings,
        [
            "zoo.cfg line 3: admin.forceHttps has no effect here yet: TLS is not there yet",
            "zoo.cfg line 5: metricsProvider.httpPort has no effect here yet: metrics providers are not there yet",
            "zoo.cfg line 6: ssl.keyStore.location has no effect here yet: TLS is not there yet",
        ]
    );
}

#[test]
fn the_admin_server_is_set_up_and_its_properties_are_those_of_java_without_secrets() {
    let (config, warnings) = loaded(
        "admin.serverPort=0\nadmin.commandURL=/ops/\nadmin.idleTimeout=5\nadmin.serverAddress=::1\n\
         DigestAuthenticationProvider.superDigest=super:x\nspinMicros=7\nmaxClientCnxns=9\n",
    );
    let admin = config.local.admin;
    assert!(admin.http_enabled);
    assert_eq!((admin.http_port, admin.http_idle_timeout_ms), (0, 5));
    assert_eq!((admin.http_address.as_str(), admin.http_command_url.as_str()), ("::1", "/ops"));
    let shown = ["ringkeeper.spinMicros", "zookeeper.admin.commandURL", "zookeeper.admin.idleTimeout"];
    for name in shown {
        assert!(admin.properties.iter().any(|(known, _)| known == name), "{name}");
    }
    assert!(admin.properties.is_sorted());
    assert!(!admin.properties.iter().any(|(name, _)| name.contains("superDigest") || name.contains("maxClientCnxns")));
    assert_eq!(warnings, [""; 0]);
    assert!(error("admin.commandURL=commands").contains("must be a path"));
}

#[test]
fn keys_that_the_server_does_not_act_on_are_named() {
    let keys = [
        "request_stale_connection_check=false",
        "emulate353TTLNodes=true",
        "digest.enabled=true",
        "closeSessionTxn.enabled=false",
        "preAllocSize=65536",
    ];
    let file = format!("dataDir=/d\nclientPort=1\n{}\n", keys.join("\n"));
    let mut raw = RawConfig::new();
    raw.add_file("zoo.cfg", file.as_bytes());
    let (_, warnings) = crate::load(&raw).unwrap();
    for key in keys {
        let name = key.split('=').next().unwrap();
        let named = |warning: &crate::Warning| warning.to_string().contains(&format!("{name} has no effect here yet"));
        assert!(warnings.iter().any(named), "{name}: {warnings:?}");
    }
}

#[test]
fn what_is_for_members_has_no_effect_in_a_lone_server() {
    for key in ["localSessionsEnabled", "enableEagerACLCheck"] {
        let (_, warnings) = loaded(&format!("{key}=true\n"));
        let named = |text: &&String| text.contains(&format!("{key} has no effect in a server without an ensemble"));
        assert_eq!(warnings.iter().filter(named).count(), 1, "{warnings:?}");
        let (_, warnings) = loaded(&format!("{key}=false\n"));
        assert_eq!(warnings, [""; 0], "{key}");
    }
}

#[test]
fn a_share_of_the_snapshot_is_a_number_of_at_most_one() {
    for (text, factor) in [("", 0.33), ("0.5", 0.5), ("-1", -1.0), ("0", 0.0), ("1.5", 0.33)] {
        let (config, _) = loaded(&if text.is_empty() { String::new() } else { format!("snapshotSizeFactor={text}\n") });
        assert_eq!(config.ensemble.snapshot_size_factor, factor, "{text}");
    }
    assert!(error("snapshotSizeFactor=half").contains("at most 1"));
}

#[test]
fn odd_but_valid_values_are_taken_as_zookeeper_takes_them() {
    let (config, warnings) = loaded(
        "maxClientCnxns=-5\nautopurge.snapRetainCount=1\nautopurge.purgeInterval=36h\nclientPortAddress=0.0.0.0\n\
         4lw.commands.whitelist=stat, ruok\nDigestAuthenticationProvider.digestAlg=sha3-256\nforceSync=no\n",
    );
    assert_eq!((config.local.client.max_client_cnxns, config.local.client.address), (0, None));
    assert_eq!(config.local.storage.autopurge_snap_retain_count, 3);
    assert_eq!(config.local.storage.autopurge_purge_interval_ms, 36 * 3_600_000);
    assert!(config.local.admin.four_letter_words.allows("ruok"));
    assert_eq!(config.local.auth.digest_algorithm, DigestAlgorithm::Sha3Of256);
    assert!(!config.local.storage.force_sync);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn purge_intervals_have_units() {
    for (text, ms) in [("1", 3_600_000), ("0", 0), ("-1", 0), ("90s", 90_000), ("500ms", 500), ("2D", 172_800_000)] {
        let (config, _) = loaded(&format!("autopurge.purgeInterval={text}\n"));
        assert_eq!(config.local.storage.autopurge_purge_interval_ms, ms, "{text}");
    }
    assert!(error("autopurge.purgeInterval=1w").contains("one of the units"));
}

#[test]
fn enforced_authentication_needs_schemes_that_are_there() {
    let (config, _) = loaded("enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\n");
    assert_eq!(config.local.auth.enforce_schemes, ["digest", "ip"]);
    assert!(error("enforce.auth.enabled=true").contains("needs enforce.auth.schemes"));
    assert!(error("enforce.auth.enabled=true\nenforce.auth.schemes=x509").contains("'x509', which is not there"));
}

#[test]
fn ringkeeper_s_own_keys_are_checked() {
    let (config, _) = loaded("shardCores=4\npartitions=16\npinCores=false\nspinMicros=0\nlogFormat=json\n");
    assert_eq!((config.local.host.shard_cores, config.local.host.partitions), (Some(4), 16));
    assert_eq!(config.local.host.pin_cores, crate::Pinning::Never);
    assert_eq!(loaded("shardCores=auto\n").0.local.host.shard_cores, None);
    let pinning = |text: &str| loaded(text).0.local.host.pin_cores;
    assert_eq!((pinning(""), pinning("pinCores=true\n")), (crate::Pinning::Auto, crate::Pinning::Always));
    assert!(error("pinCores=yes").contains("auto, true or false"));
    assert!(error("partitions=48").contains("power of two"));
    assert!(error("partitions=2\nshardCores=4").contains("cannot share 2 partitions"));
    assert!(error("walSegmentBytes=1048577").contains("multiple of 4096"));
    let storage = |text: &str| loaded(text).0.local.storage;
    assert_eq!((storage("").scrub_rate, storage("").scrub_interval_ms), (8 << 20, 86_400_000));
    assert_eq!(storage("scrubRate=0\nscrubIntervalMs=100\n").scrub_rate, 0);
    assert!(error("scrubIntervalMs=0").contains("scrubIntervalMs"));
    assert!(error("logLevel=loud").contains("must be off, error"));
}

#[test]
fn the_catalogue_lists_exactly_what_is_read() {
    let raw = RawConfig::new();
    let mut reader = Reader::new(&raw);
    let _ = read(&mut reader);
    for key in &reader.asked {
        assert!(catalog::find(key).is_some(), "{key} is read and not in the catalogue");
    }
    let unread: Vec<_> = catalog::KEYS
        .iter()
        .filter(|key| key.effect == Effect::Read && !key.name.ends_with('*') && !reader.asked.contains(key.name))
        .map(|key| key.name)
        .collect();
    assert_eq!(unread, [""; 0]);
}
