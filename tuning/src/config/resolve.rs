//! From raw settings to a [`Config`]: every default and every check in one place (`QuorumPeerConfig.parseProperties`).

use super::reader::Reader;
use super::values::{DigestAlgorithm, FourLetterWhitelist};
use super::{
    AdminConfig, AuthConfig, ClientConfig, Config, ConnectionThrottleConfig, EnsembleConfig, FrameConfig, HostConfig,
    LocalConfig, Member, NodesConfig, SessionConfig, StorageConfig, ThrottleConfig, membership,
};
use crate::catalog::{self, Effect};
use crate::core_plan::Pinning;
use crate::problem::{ConfigError, Warning, WarningKind};
use crate::raw::RawConfig;
use std::net::IpAddr;
use std::path::PathBuf;

/// The largest value of Java's `int`, in which ZooKeeper holds most settings.
const INT_MAX: u32 = i32::MAX as u32;

pub(crate) fn resolve(raw: &RawConfig) -> Result<(Config, Vec<Warning>), Vec<ConfigError>> {
    let mut reader = Reader::new(raw);
    let config = read(&mut reader);
    warn_of_keys_without_effect(&mut reader);
    // In the order of the file, which is the order in which they are mended; what is missing comes last.
    reader.errors.sort_by(|a, b| (a.origin.is_none(), &a.origin).cmp(&(b.origin.is_none(), &b.origin)));
    if reader.errors.is_empty() { Ok((config, reader.warnings)) } else { Err(reader.errors) }
}

fn read(reader: &mut Reader<'_>) -> Config {
    let ensemble = read_ensemble(reader);
    let server_id = membership::server_id(reader, &ensemble);
    let role = membership::check(reader, &ensemble, server_id);
    let read_only_mode_enabled = reader.boolean("readonlymode.enabled", false);
    let local = LocalConfig {
        server_id,
        role,
        storage: read_storage(reader),
        client: read_client(reader, &ensemble, server_id),
        session: read_session(reader, ensemble.tick_time_ms, read_only_mode_enabled),
        frame: read_frame(reader),
        throttle: read_throttle(reader),
        auth: read_auth(reader),
        nodes: read_nodes(reader),
        admin: read_admin(reader, read_only_mode_enabled),
        host: read_host(reader),
    };
    if !ensemble.is_distributed() {
        warn_of_keys_for_ensembles(reader, &local);
    }
    Config { ensemble, local }
}

fn read_ensemble(reader: &mut Reader<'_>) -> EnsembleConfig {
    let tick_time_default = if reader.raw.has_file_defaults() { 3000 } else { 2000 };
    if reader.optional_number("electionAlg", i32::MIN..=i32::MAX).is_some_and(|algorithm| algorithm != 3) {
        reader.wrong("electionAlg", "must be 3, the only algorithm there is".to_owned());
    }
    let (members, lines) = membership::read(reader);
    EnsembleConfig {
        // A tick beyond an hour is a slip; the bound also keeps 20 ticks within an int.
        tick_time_ms: reader.number("tickTime", 1..=3_600_000, tick_time_default),
        init_limit_ticks: reader.number("initLimit", 0..=INT_MAX, 0),
        sync_limit_ticks: reader.number("syncLimit", 0..=INT_MAX, 0),
        connect_to_learner_master_limit_ticks: reader.number("connectToLearnerMasterLimit", 0..=INT_MAX, 0),
        members,
        lines,
        version: reader.raw.dynamic_name().map_or(0, membership::version_of),
        has_dynamic_file: reader.raw.dynamic_name().is_some(),
        config_file: reader.raw.file_name().map(PathBuf::from),
        standalone_enabled: reader.boolean("standaloneEnabled", true),
        reconfig_enabled: reader.boolean("reconfigEnabled", false),
        force_snapshot_sync: reader.boolean("forceSnapshotSync", false),
        snapshot_size_factor: read_snapshot_size_factor(reader),
        listen_on_all_addresses: reader.boolean("quorumListenOnAllIPs", false),
        tcp_keep_alive: reader.boolean("tcpKeepAlive", false),
        election_port_bind_tries: reader.number("electionPortBindRetry", 0..=INT_MAX, 3),
        connect_timeout_ms: reader.number("cnxTimeout", 1..=INT_MAX, 5000),
        notification_interval_ms: (
            reader.number("fastleader.minNotificationInterval", 1..=INT_MAX, 200),
            reader.number("fastleader.maxNotificationInterval", 1..=INT_MAX, 60_000),
        ),
    }
}

fn read_storage(reader: &mut Reader<'_>) -> StorageConfig {
    let data_dir = match reader.text("dataDir") {
        Some(path) => PathBuf::from(path),
        None if reader.raw.has_file_defaults() => {
            reader.wrong("dataDir", "is not set: name the directory that is to hold the data".to_owned());
            PathBuf::new()
        }
        None => PathBuf::from("./ringkeeper-data"),
    };
    let data_log_dir = reader.text("dataLogDir").map_or_else(|| data_dir.clone(), PathBuf::from);
    let snap_retain_count = reader.number("autopurge.snapRetainCount", i32::MIN..=i32::MAX, 3);
    if snap_retain_count < 3 {
        reader.warn(WarningKind::Adjusted, "autopurge.snapRetainCount", "is taken as 3, the least there is".to_owned());
    }
    let force_sync = reader.yes_or_no("forceSync", true);
    if !force_sync {
        let message = "=no acknowledges writes before the disk has them: a crash loses some of them".to_owned();
        reader.warn(WarningKind::Unwise, "forceSync", message);
    }
    StorageConfig {
        data_dir,
        data_log_dir,
        data_dir_autocreate: reader.boolean("datadir.autocreate", true),
        snap_count: reader.number("snapCount", 2..=INT_MAX, 100_000),
        pre_alloc_bytes: reader.number("preAllocSize", 0..=u64::from(INT_MAX), 65_536) * 1024,
        wal_segment_bytes: read_wal_segment(reader),
        scrub_rate: reader.number("scrubRate", 0..=1 << 40, 8 << 20),
        scrub_interval_ms: reader.number("scrubIntervalMs", 1..=i64::MAX as u64, 24 * 3600 * 1000),
        force_sync,
        fsync_warning_threshold_ms: reader.number("fsync.warningthresholdms", 0..=i64::MAX as u64, 1000),
        autopurge_snap_retain_count: u32::try_from(snap_retain_count).unwrap_or(3).max(3),
        autopurge_purge_interval_ms: read_purge_interval(reader),
    }
}

/// What ZooKeeper does with a factor above 1 (`ZKDatabase`).
const SNAPSHOT_SIZE_FACTOR: f64 = 0.33;

fn read_snapshot_size_factor(reader: &mut Reader<'_>) -> f64 {
    let parse = |text: &str| text.parse::<f64>().ok().filter(|factor| factor.is_finite());
    let factor = reader.word("snapshotSizeFactor", "a number of at most 1", SNAPSHOT_SIZE_FACTOR, parse);
    if factor <= 1.0 {
        return factor;
    }
    reader.warn(WarningKind::Adjusted, "snapshotSizeFactor", format!("is taken as {SNAPSHOT_SIZE_FACTOR}"));
    SNAPSHOT_SIZE_FACTOR
}

fn read_wal_segment(reader: &mut Reader<'_>) -> u64 {
    let bytes: u64 = reader.number("walSegmentBytes", 1 << 20..=1 << 30, 16 << 20);
    if !bytes.is_multiple_of(4096) {
        reader.wrong("walSegmentBytes", "must be a multiple of 4096".to_owned());
    }
    bytes
}

/// Hours, or a number with a unit: `ms`, `s`, `m`, `h`, `d` (`Time.parseTimeInterval`).
fn read_purge_interval(reader: &mut Reader<'_>) -> u64 {
    let parse = |text: &str| {
        let text = text.to_ascii_lowercase();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit_ms: u64 = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "" | "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        match digits.parse::<i64>().ok()? {
            // Java starts no purge task for anything below 1.
            negative if negative < 0 => Some(0),
            number => number.unsigned_abs().checked_mul(unit_ms),
        }
    };
    reader.word("autopurge.purgeInterval", "hours, or a number with one of the units ms, s, m, h, d", 0, parse)
}

fn read_client(reader: &mut Reader<'_>, ensemble: &EnsembleConfig, server_id: Option<i64>) -> ClientConfig {
    let own = ensemble.members.iter().find(|member| Some(member.id) == server_id);
    let from_member = own.and_then(|member| member.client.clone());
    let port_is_set = reader.setting("clientPort").is_some();
    let address = match reader.text("clientPortAddress") {
        Some(_) if !port_is_set && reader.raw.has_file_defaults() => {
            reader.wrong("clientPortAddress", "is set but clientPort is not: set clientPort too".to_owned());
            None
        }
        Some(host) => Some(host.to_owned()),
        None => from_member.as_ref().filter(|_| !port_is_set).map(|(host, _)| host.clone()),
    };
    let port = reader.optional_number("clientPort", 0..=u16::MAX);
    let port = match (port, &from_member) {
        (Some(port), Some((_, other))) if port != *other => {
            let message = format!("differs from the client port {other} of the server line: let them agree");
            reader.wrong("clientPort", message);
            port
        }
        (Some(port), _) => port,
        (None, Some((_, port))) => *port,
        (None, None) => {
            if !port_is_set && reader.raw.has_file_defaults() {
                reader.wrong("clientPort", "is not set: without it no client can connect (2181 is usual)".to_owned());
            }
            2181
        }
    };
    refuse_tls(reader, own);
    ClientConfig {
        port,
        address: address.filter(|host| !host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())),
        listen_backlog: reader.number_or_negative("clientPortListenBacklog", None),
        max_client_cnxns: reader.number_or_negative("maxClientCnxns", Some(60)).unwrap_or(0),
        max_cnxns: reader.number_or_negative("maxCnxns", Some(0)).unwrap_or(0),
        sessionless_timeout_ms: reader.number("nio.sessionlessCnxnTimeout", 1..=INT_MAX, 10_000),
        tcp_keep_alive: reader.boolean("clientTcpKeepAlive", false),
    }
}

/// A port that was asked for and is not served must not go unnoticed.
fn refuse_tls(reader: &mut Reader<'_>, own: Option<&Member>) {
    const REMEDY: &str = "TLS is not there yet, so this port cannot be served: remove the key, or end TLS in a proxy";
    if reader.optional_number("secureClientPort", 0..=u16::MAX).is_some() {
        reader.wrong("secureClientPort", REMEDY.to_owned());
    } else if reader.setting("secureClientPortAddress").is_some() {
        reader.wrong("secureClientPortAddress", "is set but secureClientPort is not".to_owned());
    }
    if let Some(own) = own
        && own.secure_client.is_some()
    {
        reader.wrong(&format!("server.{}", own.id), format!("names a TLS client port: {REMEDY}"));
    }
}

fn read_session(reader: &mut Reader<'_>, tick_time_ms: u32, read_only_mode_enabled: bool) -> SessionConfig {
    let timeout_min_ms = reader.number_or_negative("minSessionTimeout", None).unwrap_or(tick_time_ms * 2);
    let timeout_max_ms = reader.number_or_negative("maxSessionTimeout", None).unwrap_or(tick_time_ms * 20);
    if timeout_min_ms > timeout_max_ms {
        let key = if reader.raw.get("minSessionTimeout").is_some() { "minSessionTimeout" } else { "maxSessionTimeout" };
        let message = format!(
            "the least session timeout ({timeout_min_ms} ms, twice tickTime unless set) must not be larger than the \
             greatest ({timeout_max_ms} ms, twenty times tickTime unless set)"
        );
        reader.wrong(key, message);
    }
    SessionConfig {
        timeout_min_ms,
        timeout_max_ms,
        local_enabled: reader.boolean("localSessionsEnabled", false),
        local_upgrading_enabled: reader.boolean("localSessionsUpgradingEnabled", false),
        read_only_mode_enabled,
        close_session_txn_enabled: reader.boolean("closeSessionTxn.enabled", true),
    }
}

fn read_frame(reader: &mut Reader<'_>) -> FrameConfig {
    // Below 1024 not even a handshake with a path in it would fit; Java raises the extra size to as much.
    let jute_max_buffer = reader.number("jute.maxbuffer", 1024..=INT_MAX, 0xF_FFFF);
    let extra = reader.number("jute.maxbuffer.extrasize", 0..=INT_MAX, jute_max_buffer);
    FrameConfig {
        jute_max_buffer,
        jute_max_buffer_extra: extra.max(1024),
        large_request_threshold: reader.number_or_negative("largeRequestThreshold", None),
        large_request_max_bytes: reader.number("largeRequestMaxBytes", 1..=INT_MAX, 100 << 20),
    }
}

fn read_throttle(reader: &mut Reader<'_>) -> ThrottleConfig {
    ThrottleConfig {
        global_outstanding_limit: reader.number("globalOutstandingLimit", 1..=INT_MAX, 1000),
        request_max: reader.number("request_throttle_max_requests", 0..=INT_MAX, 0),
        stall_time_ms: reader.number("request_throttle_stall_time", 1..=INT_MAX, 100),
        drop_stale: reader.boolean("request_throttle_drop_stale", true),
        stale_connection_check: reader.boolean("request_stale_connection_check", true),
        stale_latency_check: reader.boolean("request_stale_latency_check", false),
        throttled_op_wait_time_ms: reader.number("throttled_op_wait_time", 0..=INT_MAX, 0),
        shutdown_timeout_ms: reader.number("request_throttler.shutdownTimeout", 0..=INT_MAX, 10_000),
        connection: ConnectionThrottleConfig {
            tokens: reader.number("connection_throttle_tokens", 0..=INT_MAX, 0),
            fill_time_ms: reader.number("connection_throttle_fill_time", 1..=INT_MAX, 1),
            fill_count: reader.number("connection_throttle_fill_count", 1..=INT_MAX, 1),
            freeze_time_ms: reader.number_or_negative("connection_throttle_freeze_time", None),
            drop_increase: reader.ratio("connection_throttle_drop_increase", 0.02),
            drop_decrease: reader.ratio("connection_throttle_drop_decrease", 0.002),
            decrease_ratio: reader.ratio("connection_throttle_decrease_ratio", 0.0),
            weight_enabled: reader.boolean("connection_throttle_weight_enabled", false),
            global_session_weight: reader.number("connection_throttle_global_session_weight", 1..=INT_MAX, 3),
            renew_session_weight: reader.number("connection_throttle_renew_session_weight", 1..=INT_MAX, 2),
            local_session_weight: reader.number("connection_throttle_local_session_weight", 1..=INT_MAX, 1),
        },
    }
}

fn read_auth(reader: &mut Reader<'_>) -> AuthConfig {
    let enforce = reader.boolean("enforce.auth.enabled", false);
    let schemes: Vec<String> = reader
        .text("enforce.auth.schemes")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|scheme| !scheme.is_empty())
        .map(str::to_owned)
        .collect();
    if enforce && schemes.is_empty() {
        reader.wrong("enforce.auth.enabled", "needs enforce.auth.schemes, a comma-separated list".to_owned());
    }
    let digest_enabled = reader.boolean("DigestAuthenticationProvider.enabled", true);
    let unknown = schemes.iter().find(|scheme| !matches!(scheme.as_str(), "ip" | "digest" | "sasl"));
    if let Some(scheme) = unknown.filter(|_| enforce) {
        let message = format!("names the scheme '{scheme}', which is not there: digest, ip or sasl");
        reader.wrong("enforce.auth.schemes", message);
    }
    let super_digest = reader.text("DigestAuthenticationProvider.superDigest").map(str::to_owned);
    if super_digest.as_ref().is_some_and(|digest| !digest.contains(':')) {
        let message = "has no ':' and so can match nobody; the form is user:base64(hash(user:password))".to_owned();
        reader.warn(WarningKind::Unwise, "DigestAuthenticationProvider.superDigest", message);
    }
    let skip_acl = reader.yes_or_no("skipACL", false);
    if skip_acl {
        reader.warn(WarningKind::Unwise, "skipACL", "=yes lets every client do everything".to_owned());
    }
    AuthConfig {
        eager_acl_check: reader.boolean("enableEagerACLCheck", false),
        skip_acl,
        digest_enabled,
        digest_algorithm: reader.word(
            "DigestAuthenticationProvider.digestAlg",
            DigestAlgorithm::NAMES,
            DigestAlgorithm::default(),
            |name| name.parse().ok(),
        ),
        super_digest,
        enforce_schemes: if enforce { schemes } else { Vec::new() },
        session_require_client_sasl_auth: reader.boolean("sessionRequireClientSASLAuth", false),
        allow_sasl_failed_clients: reader.boolean("allowSaslFailedClients", false),
    }
}

fn read_nodes(reader: &mut Reader<'_>) -> NodesConfig {
    NodesConfig {
        extended_types_enabled: reader.boolean("extendedTypesEnabled", false),
        emulate_353_ttl_nodes: reader.boolean("emulate353TTLNodes", false),
        enforce_quota: reader.boolean("enforceQuota", false),
        digest_enabled: reader.boolean("digest.enabled", true),
        container_check_interval_ms: reader.number("znode.container.checkIntervalMs", 1..=INT_MAX, 60_000),
        container_max_per_minute: reader.number("znode.container.maxPerMinute", 1..=INT_MAX, 10_000),
        container_max_never_used_interval_ms: reader.number(
            "znode.container.maxNeverUsedIntervalMs",
            0..=i64::MAX as u64,
            0,
        ),
    }
}

fn read_admin(reader: &mut Reader<'_>, read_only_mode_enabled: bool) -> AdminConfig {
    let words = reader.setting("4lw.commands.whitelist").map_or("srvr", |setting| setting.value.as_str());
    AdminConfig {
        four_letter_words: FourLetterWhitelist::parse(words, read_only_mode_enabled),
        http_enabled: reader.boolean("admin.enableServer", true),
        http_address: reader.text("admin.serverAddress").unwrap_or("0.0.0.0").to_owned(),
        http_port: reader.number("admin.serverPort", 0..=u16::MAX, 8080),
        http_idle_timeout_ms: reader.number("admin.idleTimeout", 0..=INT_MAX, 30_000),
        http_command_url: read_command_url(reader),
        properties: properties(reader.raw),
    }
}

fn read_command_url(reader: &mut Reader<'_>) -> String {
    reader.word("admin.commandURL", "a path, such as /commands", "/commands".to_owned(), |word| {
        let is_path = word.starts_with('/')
            && word.bytes().all(|byte| byte.is_ascii_graphic())
            && !word.contains(['?', '#', '"']);
        is_path.then(|| word.trim_end_matches('/').to_owned())
    })
}

/// What was set of that which ZooKeeper holds as system properties.
fn properties(raw: &RawConfig) -> Vec<(String, String)> {
    let shown = raw.iter().filter(|(key, _)| !catalog::is_secret(key));
    let named = shown.filter_map(|(key, setting)| {
        let name = catalog::find(key)?.property_name(key)?;
        Some((name, setting.value.clone()))
    });
    let mut properties: Vec<(String, String)> = named.collect();
    properties.sort();
    properties
}

fn read_host(reader: &mut Reader<'_>) -> HostConfig {
    let shard_cores = reader.word("shardCores", "auto or a whole number from 0 (auto) to 256", None, |word| {
        if word == "auto" { Some(None) } else { word.parse().ok().filter(|n| *n <= 256).map(|n| (n > 0).then_some(n)) }
    });
    let partitions: u32 = reader.number("partitions", 1..=4096, 64);
    if !partitions.is_power_of_two() {
        reader.wrong("partitions", "must be a power of two from 1 to 4096".to_owned());
    }
    if let Some(cores) = shard_cores.filter(|cores| u32::from(*cores) > partitions) {
        let message = format!("{cores} shard cores cannot share {partitions} partitions: raise partitions or lower it");
        reader.wrong("shardCores", message);
    }
    HostConfig {
        shard_cores,
        partitions,
        pin_cores: reader.word("pinCores", "auto, true or false", Pinning::Auto, |word| match word {
            "auto" => Some(Pinning::Auto),
            "true" => Some(Pinning::Always),
            "false" => Some(Pinning::Never),
            _ => None,
        }),
        spin_us: reader.number("spinMicros", 0..=10_000, 20),
        log_level: reader
            .word("logLevel", "off, error, warn, info, debug or trace", Default::default(), |word| word.parse().ok()),
        log_format: reader.word("logFormat", "text or json", Default::default(), |word| word.parse().ok()),
    }
}

/// As in ZooKeeper, what concerns members alone changes nothing in a lone server.
fn warn_of_keys_for_ensembles(reader: &mut Reader<'_>, local: &LocalConfig) {
    for (key, is_on) in
        [("localSessionsEnabled", local.session.local_enabled), ("enableEagerACLCheck", local.auth.eager_acl_check)]
    {
        if is_on {
            reader.warn(WarningKind::NoEffect, key, "has no effect in a server without an ensemble".to_owned());
        }
    }
}

/// ZooKeeper's keys that this server knows and does not act on.
fn warn_of_keys_without_effect(reader: &mut Reader<'_>) {
    for (key, setting) in reader.raw.iter() {
        let Some(Effect::None(why)) = catalog::find(key).map(|known| known.effect) else { continue };
        if is_the_default(key, &setting.value) {
            continue;
        }
        reader.warnings.push(Warning {
            kind: WarningKind::NoEffect,
            key: key.to_owned(),
            origin: Some(setting.origin.clone()),
            message: format!("has no effect here yet: {why}"),
        });
    }
    if reader.raw.get("preAllocSize").is_some() {
        let message = "has no effect here: segments of the log are sized by walSegmentBytes".to_owned();
        reader.warn(WarningKind::NoEffect, "preAllocSize", message);
    }
}

/// Values that ask for nothing beyond what this server does; many files carry them.
fn is_the_default(key: &str, value: &str) -> bool {
    match key {
        "admin.portUnification"
        | "admin.forceHttps"
        | "admin.needClientAuth"
        | "audit.enable"
        | "sslQuorum"
        | "portUnification"
        | "client.portUnification" => value.eq_ignore_ascii_case("false"),
        "jvm.pause.monitor" | "multiAddress.enabled" | "quorumListenOnAllIPs" => value.eq_ignore_ascii_case("false"),
        "request_stale_connection_check" => value.eq_ignore_ascii_case("true"),
        "metricsProvider.className" => value == "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        _ => false,
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
