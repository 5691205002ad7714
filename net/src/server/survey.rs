//! Operators' questions: facts are gathered from every core, then put into words where they were asked.

use super::context::Context;
use super::core_loop::Core;
use super::mail::Mail;
use super::role_host::RoleHost;
use crate::connection::{ConnectionInfo, Serving};
use crate::four_letter::text::java_date;
use crate::four_letter::{
    ConfFacts, DirectorySizes, Effect, EnvironmentFacts, Needs, QuotaFigures, ServerSnapshot, SessionDeadline,
    WatchedPath, Word, answer, refusal, version_text,
};
use crate::metrics::{CoreMetrics, Counter};
use engine::acl::AclList;
use engine::ids::{ConnId, CoreId, SessionId};
use engine::shard::ShardCounters;
use engine::table::TableCursor;
use engine::zxid::Zxid;
use replication::role::{Counters, Now};
use replication::session::LocalSessions;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;
use tokio::sync::oneshot;

/// One core's part of the facts.
pub struct SurveyPart {
    connections: Vec<ConnectionInfo>,
    sessions: Vec<(CoreId, ConnId, SessionId)>,
    watches: Vec<(CoreId, ConnId, Arc<str>)>,
    shard: Option<ShardCounters>,
    role: Option<RoleFacts>,
    metrics: CoreMetrics,
    outstanding: usize,
}

/// What only the replication role knows.
struct RoleFacts {
    last_zxid: Zxid,
    node_count: usize,
    data_bytes: i64,
    ephemeral_count: usize,
    session_count: usize,
    local_session_count: usize,
    sessions: Vec<SessionDeadline>,
    ephemerals: Vec<(SessionId, Vec<Arc<str>>)>,
    quotas: Vec<QuotaFigures>,
    root_acl: AclList,
    counters: Counters,
}

/// Questions under way at one core.
#[derive(Default)]
pub struct Surveys {
    next: u64,
    open: HashMap<u64, Survey>,
}

struct Survey {
    asker: Asker,
    needs: Needs,
    parts: Vec<SurveyPart>,
}

/// Who wants to know.
enum Asker {
    /// A connection, by a four-letter word.
    Word { conn: ConnId, word: Word, argument: i64 },
    /// The admin thread.
    Admin(AdminReply),
}

/// Takes what was gathered for the admin thread; dropped when there is nobody left to gather it.
pub type AdminReply = oneshot::Sender<Gathered>;

/// Every core's part, and what only the asking core knows: all that a [`ServerSnapshot`] needs of the cores.
pub struct Gathered {
    parts: Vec<SurveyPart>,
    serving: Serving,
    now: Now,
    connections: u32,
}

impl Core {
    /// A connection asks a four-letter word.
    pub(super) fn ask(&mut self, asker: ConnId, word: Word, argument: i64) {
        if !self.context.config.local.admin.four_letter_words.allows(word.name()) {
            self.with(asker, |client, _| client.connection.answer_word(refusal(word).as_bytes()));
            return;
        }
        self.survey(Asker::Word { conn: asker, word, argument }, word.needs());
    }

    /// The admin thread asks.
    pub(super) fn ask_for_admin(&mut self, needs: Needs, reply: AdminReply) {
        self.survey(Asker::Admin(reply), needs);
    }

    fn survey(&mut self, asker: Asker, needs: Needs) {
        let number = self.surveys.next;
        self.surveys.next += 1;
        self.surveys.open.insert(number, Survey { asker, needs, parts: Vec::new() });
        for core in 0..self.context.topology.cores() {
            let mail = Mail::Survey { from: self.parts.id, number, topic: needs };
            self.parts.post.send(CoreId(core), mail);
        }
    }

    /// This core's part.
    pub(super) fn facts(&mut self, needs: Needs) -> SurveyPart {
        let core = self.parts.id;
        let (mut connections, mut sessions, mut watches) = (Vec::new(), Vec::new(), Vec::new());
        if needs.connections || needs.watches {
            for (id, client) in self.clients.iter_mut().filter(|(_, client)| !client.closing) {
                sessions.push((core, id, client.session));
                connections.push(client.connection.info());
            }
        }
        if let Some(shard) = self.parts.shard.as_ref().filter(|_| needs.watches) {
            shard.shard().watches().walk_data(TableCursor::START, usize::MAX, &mut |path, core, conn| {
                watches.push((core, conn, Arc::from(path)));
            });
        }
        SurveyPart {
            connections,
            sessions,
            watches,
            shard: self.parts.shard.as_ref().map(|shard| shard.shard().counters()),
            role: self.parts.role.as_ref().map(|role| role_facts(role, needs)),
            metrics: self.parts.metrics.clone(),
            outstanding: self.parts.outstanding,
        }
    }

    /// A core has given its part; the last one makes the answer.
    pub(super) fn surveyed(&mut self, number: u64, part: SurveyPart) {
        let Some(survey) = self.surveys.open.get_mut(&number) else { return };
        survey.parts.push(part);
        if survey.parts.len() < usize::from(self.context.topology.cores()) {
            return;
        }
        let Some(Survey { asker, needs, parts }) = self.surveys.open.remove(&number) else { return };
        let gathered = Gathered {
            parts,
            serving: self.parts.serving,
            now: self.parts.now,
            connections: self.parts.admission.connections(),
        };
        let (asker, word, argument) = match asker {
            Asker::Word { conn, word, argument } => (conn, word, argument),
            Asker::Admin(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(gathered);
                return;
            }
        };
        let snapshot = gathered.snapshot(&self.context, needs);
        let answer = answer(word, argument, &snapshot);
        match answer.effect {
            Some(Effect::SetTraceMask(mask)) => self.context.trace_mask.store(mask, Ordering::Relaxed),
            Some(effect @ (Effect::ResetConnections | Effect::ResetServer)) => {
                for core in 0..self.context.topology.cores() {
                    self.parts.post.send(CoreId(core), Mail::Reset(effect));
                }
            }
            None => {}
        }
        self.with(asker, |client, _| client.connection.answer_word(answer.text.as_bytes()));
    }

    /// Sets counters back.
    pub(super) fn reset(&mut self, effect: Effect) {
        match effect {
            Effect::ResetConnections => {
                self.clients.iter_mut().for_each(|(_, client)| client.connection.reset_counters());
            }
            Effect::ResetServer => self.parts.metrics.reset(),
            Effect::SetTraceMask(_) => {}
        }
    }
}

impl Gathered {
    /// Puts the parts together. Reads files where `needs` says so: on the admin thread this costs no core anything.
    pub fn snapshot(self, context: &Context, needs: Needs) -> ServerSnapshot {
        let Gathered { parts, serving, now, connections: connection_count } = self;
        let (mut metrics, mut counters) = (CoreMetrics::new(), ShardCounters::default());
        let (mut connections, mut found, mut sessions_of) = (Vec::new(), Vec::new(), HashMap::new());
        let (mut role, mut outstanding) = (None, 0);
        for part in parts {
            metrics.merge(&part.metrics);
            connections.extend(part.connections);
            found.extend(part.watches);
            sessions_of.extend(part.sessions.into_iter().map(|(core, conn, session)| ((core, conn), session)));
            role = role.or(part.role);
            outstanding += part.outstanding;
            if let Some(shard) = part.shard {
                counters.watches.data += shard.watches.data;
                counters.watches.child += shard.watches.child;
            }
        }
        let watch = |(core, conn, path)| {
            let session = sessions_of.get(&(core, conn)).copied().unwrap_or_default();
            WatchedPath { core, conn, session, path }
        };
        let role = role.unwrap_or_else(RoleFacts::none);
        metrics.count(Counter::Proposals, role.counters.proposals);
        metrics.count(Counter::Commits, role.counters.commits);
        metrics.count(Counter::SessionsExpired, role.counters.sessions_expired);
        let scrub = &context.scrub;
        metrics.count(Counter::ScrubPasses, scrub.passes.load(Ordering::Relaxed));
        metrics.count(Counter::ScrubBytes, scrub.bytes.load(Ordering::Relaxed));
        metrics.count(Counter::ScrubDamage, scrub.damage.load(Ordering::Relaxed));
        let version = version_text(&built_on());
        let count_files = || std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        let open_files = if needs.open_files { count_files() } else { 0 };
        ServerSnapshot {
            environment: environment(&version),
            version,
            serving,
            state: context.status.state(),
            peer_state: context.status.peer_state(),
            now_wall_ms: now.wall_ms,
            now_mono_ms: now.mono_ms,
            uptime_ms: u64::try_from(now.mono_ms).unwrap_or(0),
            last_zxid: role.last_zxid,
            connection_count: u64::from(connection_count),
            outstanding: outstanding as u64,
            // The root is known under two names.
            node_count: role.node_count as u64 + 1,
            watch_count: counters.watches.total(),
            ephemeral_count: role.ephemeral_count as u64,
            approximate_data_bytes: u64::try_from(role.data_bytes).unwrap_or(0),
            global_sessions: role.session_count as u64,
            local_sessions: role.local_session_count as u64,
            open_files,
            open_files_max: hardware::limits::open_files().soft.unwrap_or(u64::MAX),
            ensemble: context.status.gauges(&role.counters),
            quotas: role.quotas,
            metrics,
            directory_sizes: if needs.directory_sizes { directory_sizes(context) } else { DirectorySizes::default() },
            conf: conf_facts(context),
            connections,
            sessions: role.sessions,
            ephemerals: role.ephemerals,
            watches: found.into_iter().map(watch).collect(),
            digests: Vec::new(),
            root_acl: role.root_acl,
            trace_mask: context.trace_mask.load(Ordering::Relaxed),
        }
    }
}

fn directory_sizes(context: &Context) -> DirectorySizes {
    let manifest = std::fs::metadata(&context.manifest).map_or(0, |meta| meta.len());
    DirectorySizes { data: folder_bytes(&context.partitions) + manifest, log: folder_bytes(&context.wal) }
}

fn conf_facts(context: &Context) -> ConfFacts {
    let (local, ensemble) = (&context.config.local, &context.config.ensemble);
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_path_buf()).display().to_string();
    let parent = |path: &Path| absolute(path.parent().unwrap_or(path));
    ConfFacts {
        client_port: i32::from(context.port.load(Ordering::Relaxed)),
        secure_client_port: -1,
        data_dir: parent(&context.manifest),
        data_log_dir: parent(&context.wal),
        tick_time_ms: ensemble.tick_time_ms,
        max_client_cnxns: local.client.max_client_cnxns,
        session_timeout_min_ms: context.connection_limits.session_timeout_min_ms,
        session_timeout_max_ms: context.connection_limits.session_timeout_max_ms,
        listen_backlog: local.client.listen_backlog.map_or(-1, |backlog| i32::try_from(backlog).unwrap_or(-1)),
        server_id: local.server_id.unwrap_or(0),
        sessionless_timeout_ms: local.client.sessionless_timeout_ms,
        ensemble: context.status.conf(ensemble),
    }
}
impl RoleFacts {
    fn none() -> RoleFacts {
        RoleFacts {
            last_zxid: Zxid::ZERO,
            node_count: 0,
            data_bytes: 0,
            ephemeral_count: 0,
            session_count: 0,
            local_session_count: 0,
            sessions: Vec::new(),
            ephemerals: Vec::new(),
            quotas: Vec::new(),
            root_acl: [].into(),
            counters: Counters::default(),
        }
    }
}

fn role_facts(host: &RoleHost, needs: Needs) -> RoleFacts {
    host.count_learners();
    let Some(role) = host.role() else { return RoleFacts::none() };
    let ledger = role.ledger();
    let mut facts = RoleFacts {
        last_zxid: role.committed(),
        node_count: ledger.node_count(),
        data_bytes: ledger.data_bytes(),
        ephemeral_count: ledger.ephemeral_count(),
        session_count: role.sessions().len(),
        local_session_count: role.local_sessions().map_or(0, LocalSessions::len),
        counters: role.counters(),
        ..RoleFacts::none()
    };
    if needs.sessions {
        let timeouts: HashMap<SessionId, i32> = role.sessions().committed().into_iter().collect();
        for (expires_mono_ms, sessions) in role.sessions().by_deadline() {
            facts.sessions.extend(sessions.into_iter().map(|session| SessionDeadline {
                session,
                expires_mono_ms,
                timeout_ms: timeouts.get(&session).copied().unwrap_or(0),
                is_local: false,
            }));
        }
    }
    if needs.sessions
        && let Some(local) = role.local_sessions()
    {
        let all = local.list().into_iter();
        facts.sessions.extend(all.map(|(session, expires_mono_ms, timeout_ms)| SessionDeadline {
            session,
            expires_mono_ms,
            timeout_ms,
            is_local: true,
        }));
    }
    if needs.ephemerals {
        for (session, _) in ledger.ephemeral_owners() {
            facts.ephemerals.push((session, ledger.ephemerals(session).map(|node| node.path).collect()));
        }
    }
    if needs.root_acl
        && let Some(root) = ledger.committed_node("/")
        && let Some(list) = ledger.acl(root.acl)
    {
        facts.root_acl = list.clone();
    }
    if needs.metrics {
        let refusals: BTreeMap<&str, u64> = ledger.quota_refusals().collect();
        for (path, quota) in ledger.quotas() {
            let (Some(limits), namespace) = (&quota.limits, path.split('/').nth(1).unwrap_or_default()) else {
                continue;
            };
            let usage = quota.usage.as_ref().map(|usage| &usage.track);
            facts.quotas.push(QuotaFigures {
                namespace: namespace.to_owned(),
                count_limit: limits.count,
                bytes_limit: limits.bytes,
                count_usage: usage.map_or(0, |usage| usage.count),
                bytes_usage: usage.map_or(0, |usage| usage.bytes),
                exceeded: refusals.get(namespace).copied().unwrap_or(0),
            });
        }
    }
    facts
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// What `envi` shows of the machine and the process.
fn environment(version: &str) -> Vec<(String, String)> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let resident = hardware::memory::process_memory(Path::new("/proc"), None).map_or(0, |memory| memory.resident);
    EnvironmentFacts {
        host_name: read("/proc/sys/kernel/hostname"),
        os_version: read("/proc/sys/kernel/osrelease"),
        user_name: variable("USER"),
        user_home: variable("HOME"),
        user_dir: std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        memory_free_max_total: [kib("MemAvailable:") << 10, kib("MemTotal:") << 10, resident],
    }
    .pairs(version)
}

/// When this program was built: the age of its file.
fn built_on() -> String {
    let built = std::env::current_exe().and_then(std::fs::metadata).and_then(|meta| meta.modified());
    let since = built.ok().and_then(|built| built.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    java_date(i64::try_from(since.as_millis()).unwrap_or(0))
}
