//! Every key that is known, where it may be written, and whether it does anything here.
//!
//! A key is named as `zoo.cfg` spells it. What `zoo.cfg`'s own parser does not know is a Java system property
//! `zookeeper.<key>` there, and a few properties have no prefix and cannot be written in the file at all.

/// One known key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// The key; a trailing `*` stands for any rest.
    pub name: &'static str,
    /// Where it may be written.
    pub home: Home,
    /// What it does here.
    pub effect: Effect,
}

/// Where a key may be written, besides flags and environment, which take them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// `zoo.cfg` only: its parser knows the key (`QuorumPeerConfig.parseProperties`).
    File,
    /// `zoo.cfg` as it stands, or `-Dzookeeper.<key>`.
    FileOrProperty,
    /// As above, and `-D<key>` too (`fsync.warningthresholdms`).
    FileOrEitherProperty,
    /// `-D<key>` only; in `zoo.cfg` it has no effect, as in ZooKeeper.
    Property,
    /// A key of Ringkeeper's own: `zoo.cfg` or `-Dringkeeper.<key>`.
    Own,
}

/// What a key does here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It is part of [`crate::Config`].
    Read,
    /// Checked where it has a form, otherwise ignored, with a warning that ends with these words.
    None(&'static str),
    /// Ignored in silence: it tunes a part of the Java server that does not exist here, and nobody misses anything.
    Moot,
}

const TLS: &str = "TLS is not there yet";
const SASL: &str = "SASL is not there yet";
const HTTP: &str = "the admin server has neither snapshot nor restore, and speaks HTTP/1.1";
const FORWARDED: &str = "whoever asks the admin server has the address that they connect from";
const METRICS: &str = "metrics providers are not there yet";
const PEERS: &str = "this part of ensembles is not there yet";
const SNAPSHOTS: &str = "checkpoints are not ZooKeeper's snapshots";
const AUDIT: &str = "the audit log is not there yet";
const STALE: &str = "a request that waits is dropped with its connection";
const LEGACY_TTL: &str = "data of ZooKeeper 3.5.3 cannot be read here";
const DIGEST: &str = "digests of the tree are not there yet";
const CLOSE_TXN: &str = "the end of a session always names its ephemerals";
const PREALLOC: &str = "segments of the log have the size walSegmentBytes";
const PAUSES: &str = "there is no virtual machine to pause";

/// All known keys, by family.
pub const KEYS: &[Key] = &[
    // What QuorumPeerConfig knows.
    file("dataDir"),
    file("dataLogDir"),
    file("clientPort"),
    file("clientPortAddress"),
    file("secureClientPort"),
    file("secureClientPortAddress"),
    file("tickTime"),
    file("minSessionTimeout"),
    file("maxSessionTimeout"),
    file("maxClientCnxns"),
    file("clientPortListenBacklog"),
    file("initLimit"),
    file("syncLimit"),
    file("connectToLearnerMasterLimit"),
    file("server.*"),
    file("group.*"),
    file("weight.*"),
    file("dynamicConfigFile"),
    file("standaloneEnabled"),
    file("reconfigEnabled"),
    file("peerType"),
    file("electionAlg"),
    file("localSessionsEnabled"),
    file("localSessionsUpgradingEnabled"),
    file("autopurge.snapRetainCount"),
    without("autopurge.purgeInterval", Home::File, SNAPSHOTS),
    without("observerMasterPort", Home::File, PEERS),
    without("syncEnabled", Home::File, PEERS),
    file("quorumListenOnAllIPs"),
    file("sslQuorum"),
    without("portUnification", Home::File, PEERS),
    without("sslQuorumReloadCertFiles", Home::File, PEERS),
    without("quorum.*", Home::File, PEERS),
    without("multiAddress.*", Home::File, PEERS),
    file("oraclePath"),
    without("metricsProvider.*", Home::File, METRICS),
    without("jvm.pause.*", Home::File, PAUSES),
    // Connections, frames, flow control.
    property("maxCnxns"),
    property("nio.sessionlessCnxnTimeout"),
    property("clientTcpKeepAlive"),
    plain("jute.maxbuffer"),
    property("jute.maxbuffer.extrasize"),
    property("largeRequestThreshold"),
    property("largeRequestMaxBytes"),
    property("globalOutstandingLimit"),
    property("request_throttle_max_requests"),
    property("request_throttle_stall_time"),
    property("request_throttle_drop_stale"),
    without("request_stale_connection_check", Home::FileOrProperty, STALE),
    property("request_stale_latency_check"),
    property("request_throttler.shutdownTimeout"),
    property("throttled_op_wait_time"),
    property("connection_throttle_tokens"),
    property("connection_throttle_fill_time"),
    property("connection_throttle_fill_count"),
    property("connection_throttle_freeze_time"),
    property("connection_throttle_drop_increase"),
    property("connection_throttle_drop_decrease"),
    property("connection_throttle_decrease_ratio"),
    property("connection_throttle_weight_enabled"),
    property("connection_throttle_global_session_weight"),
    property("connection_throttle_renew_session_weight"),
    property("connection_throttle_local_session_weight"),
    // Access.
    property("skipACL"),
    property("DigestAuthenticationProvider.enabled"),
    property("DigestAuthenticationProvider.superDigest"),
    property("DigestAuthenticationProvider.digestAlg"),
    property("enforce.auth.enabled"),
    property("enforce.auth.schemes"),
    property("sessionRequireClientSASLAuth"),
    without("allowSaslFailedClients", Home::FileOrProperty, SASL),
    without("authProvider.*", Home::FileOrProperty, "only the schemes digest and ip are there"),
    without("superUser*", Home::FileOrProperty, SASL),
    without("SASLAuthenticationProvider.superPassword", Home::FileOrProperty, SASL),
    without("letAnySaslUserDoX", Home::FileOrProperty, SASL),
    without("sasl.serverconfig", Home::FileOrProperty, SASL),
    without("security.auth_to_local", Home::FileOrProperty, SASL),
    without("kerberos.*", Home::FileOrProperty, SASL),
    without("java.security.auth.login.config", Home::Property, SASL),
    without("X509AuthenticationProvider.*", Home::FileOrProperty, TLS),
    without("IPAuthenticationProvider.usexforwardedfor", Home::FileOrProperty, FORWARDED),
    without("ensembleAuthName", Home::FileOrProperty, "the scheme ensemble is not there"),
    without("ssl.*", Home::FileOrProperty, TLS),
    without("client.portUnification", Home::FileOrProperty, TLS),
    without("client.certReload", Home::FileOrProperty, TLS),
    without("netty.server.*", Home::FileOrProperty, TLS),
    moot("fips-mode"),
    // Nodes and reaping.
    property("extendedTypesEnabled"),
    without("emulate353TTLNodes", Home::FileOrProperty, LEGACY_TTL),
    property("enforceQuota"),
    without("digest.enabled", Home::FileOrProperty, DIGEST),
    without("closeSessionTxn.enabled", Home::FileOrProperty, CLOSE_TXN),
    Key { name: "readonlymode.enabled", home: Home::FileOrEitherProperty, effect: Effect::Read },
    plain("znode.container.checkIntervalMs"),
    plain("znode.container.maxPerMinute"),
    plain("znode.container.maxNeverUsedIntervalMs"),
    property("enableEagerACLCheck"),
    // Storage.
    property("snapCount"),
    without("preAllocSize", Home::FileOrProperty, PREALLOC),
    property("forceSync"),
    Key { name: "fsync.warningthresholdms", home: Home::FileOrEitherProperty, effect: Effect::Read },
    property("datadir.autocreate"),
    without("db.autocreate", Home::FileOrProperty, "an empty data directory is always taken as a new one"),
    without("snapSizeLimitInKb", Home::FileOrProperty, SNAPSHOTS),
    without("snapshot.*", Home::FileOrProperty, SNAPSHOTS),
    without("serializeLastProcessedZxid.enabled", Home::FileOrProperty, SNAPSHOTS),
    without("txnLogSizeLimitInKb", Home::FileOrProperty, "segments of the log are sized by walSegmentBytes"),
    without("commitLogCount", Home::FileOrProperty, PEERS),
    property("snapshotSizeFactor"),
    moot("flushDelay"),
    moot("maxWriteQueuePollTime"),
    moot("maxBatchSize"),
    // The operator's ways in.
    property("4lw.commands.whitelist"),
    property("admin.enableServer"),
    property("admin.serverAddress"),
    property("admin.serverPort"),
    property("admin.idleTimeout"),
    property("admin.commandURL"),
    without("admin.portUnification", Home::FileOrProperty, TLS),
    without("admin.forceHttps", Home::FileOrProperty, TLS),
    without("admin.needClientAuth", Home::FileOrProperty, TLS),
    without("admin.*", Home::FileOrProperty, HTTP),
    without("audit.*", Home::FileOrProperty, AUDIT),
    // Between servers.
    without("leaderServes", Home::FileOrProperty, PEERS),
    property("cnxTimeout"),
    property("electionPortBindRetry"),
    property("tcpKeepAlive"),
    property("fastleader.minNotificationInterval"),
    property("fastleader.maxNotificationInterval"),
    without("leader.*", Home::FileOrProperty, PEERS),
    without("learner.*", Home::FileOrProperty, PEERS),
    without("follower.*", Home::FileOrProperty, PEERS),
    without("observer.*", Home::FileOrProperty, PEERS),
    without("observerMaster.*", Home::FileOrProperty, PEERS),
    property("forceSnapshotSync"),
    without("leaderConnectDelayDuringRetryMs", Home::FileOrProperty, PEERS),
    without("forward_learner_requests_to_commit_processor_disabled", Home::FileOrProperty, PEERS),
    without("quorumCnxnTimeoutMs", Home::FileOrProperty, PEERS),
    without("server.principal", Home::Property, PEERS),
    without("server.realm", Home::Property, PEERS),
    // Parts of the Java server without a counterpart.
    moot("serverCnxnFactory"),
    moot("watchManagerName"),
    moot("watcherClean*"),
    moot("maxInProcessingDeadWatchers"),
    moot("bitHashCacheSize"),
    moot("nio.numSelectorThreads"),
    moot("nio.numWorkerThreads"),
    moot("nio.directBufferBytes"),
    moot("nio.shutdownTimeout"),
    moot("netty.advancedFlowControl.enabled"),
    moot("commitProcessor.*"),
    moot("maxResponseCacheSize"),
    moot("maxGetChildrenResponseCacheSize"),
    moot("intBufferStartingSizeBytes"),
    moot("messageTracker.*"),
    moot("pathStats.*"),
    moot("jmx.*"),
    moot("request.timeout"),
    // Ringkeeper's own.
    own("myid"),
    own("shardCores"),
    own("partitions"),
    own("pinCores"),
    own("spinMicros"),
    own("walSegmentBytes"),
    own("scrubRate"),
    own("scrubIntervalMs"),
    own("logLevel"),
    own("logFormat"),
];

/// The entry for `name`: an exact one, or else the longest pattern that fits.
pub fn find(name: &str) -> Option<&'static Key> {
    let fits = |key: &&'static Key| match key.name.strip_suffix('*') {
        Some(start) => name.strip_prefix(start).is_some_and(|rest| !rest.is_empty() || !start.ends_with('.')),
        None => key.name == name,
    };
    let exact = KEYS.iter().find(|key| key.name == name);
    exact.or_else(|| KEYS.iter().filter(fits).max_by_key(|key| key.name.len()))
}

/// A known key that `name` may have been meant to be: the nearest by edit distance, if it is near.
pub fn suggest(name: &str) -> Option<&'static str> {
    let wanted = squeeze(name);
    let near = |key: &&'static Key| {
        let distance = edit_distance(&wanted, &squeeze(key.name));
        (distance <= 2.min(wanted.len() / 3)).then_some((distance, key.name))
    };
    KEYS.iter().filter(|key| !key.name.ends_with('*')).filter_map(|key| near(&key)).min().map(|(_, name)| name)
}

/// Whether the value of a key is nobody's business but the server's: operators' tools do not show it.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "passwd", "superdigest"].iter().any(|word| key.contains(word))
}

impl Key {
    /// The Java system property that `key`, one of those that this entry stands for, is read from; `None` for what only
    /// `zoo.cfg` may hold.
    pub fn property_name(&self, key: &str) -> Option<String> {
        match self.home {
            Home::File => None,
            Home::FileOrProperty | Home::FileOrEitherProperty => Some(format!("zookeeper.{key}")),
            Home::Property => Some(key.to_owned()),
            Home::Own => Some(format!("ringkeeper.{key}")),
        }
    }
}

/// Letters and digits in upper case: how environment variables and sloppy spellings are compared.
pub(crate) fn squeeze(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

const fn file(name: &'static str) -> Key {
    Key { name, home: Home::File, effect: Effect::Read }
}

const fn property(name: &'static str) -> Key {
    Key { name, home: Home::FileOrProperty, effect: Effect::Read }
}

const fn plain(name: &'static str) -> Key {
    Key { name, home: Home::Property, effect: Effect::Read }
}

const fn own(name: &'static str) -> Key {
    Key { name, home: Home::Own, effect: Effect::Read }
}

const fn without(name: &'static str, home: Home, why: &'static str) -> Key {
    Key { name, home, effect: Effect::None(why) }
}

const fn moot(name: &'static str) -> Key {
    Key { name, home: Home::FileOrProperty, effect: Effect::Moot }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_key_stands_twice_even_when_squeezed() {
        let mut seen = HashSet::new();
        for key in KEYS.iter().filter(|key| !key.name.ends_with('*')) {
            assert!(seen.insert(squeeze(key.name)), "{} collides", key.name);
        }
    }

    #[test]
    fn the_longest_pattern_wins() {
        assert_eq!(find("server.1").map(|key| key.name), Some("server.*"));
        assert_eq!(find("admin.serverPort").map(|key| key.name), Some("admin.serverPort"));
        assert_eq!(find("admin.snapshot.enabled").map(|key| key.name), Some("admin.*"));
        assert_eq!(find("superUser").map(|key| key.name), Some("superUser*"));
        assert_eq!(find("superUser.ops").map(|key| key.name), Some("superUser*"));
        assert_eq!(find("server."), None);
        assert_eq!(find("servers"), None);
    }

    #[test]
    fn near_spellings_are_suggested_and_far_ones_not() {
        assert_eq!(suggest("clientport"), Some("clientPort"));
        assert_eq!(suggest("ticktme"), Some("tickTime"));
        assert_eq!(suggest("maxClientCnxn"), Some("maxClientCnxns"));
        assert_eq!(suggest("jute.maxBuffer"), Some("jute.maxbuffer"));
        assert_eq!(suggest("x"), None);
        assert_eq!(suggest("somethingElse"), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
