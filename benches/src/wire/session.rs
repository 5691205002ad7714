//! Opening sessions with plain blocking calls, many at a time, and asking servers what they are.

use super::request;
use crate::workload::{Servers, Target};
use anyhow::{Context, bail, ensure};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may take to accept a connection, and to grant a session.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const GRANT_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to answer a four-letter word.
const WORD_LIMIT: Duration = Duration::from_secs(5);
/// Sessions asked for before the first of them is waited for: within the usual backlog of a listener.
const BATCH: usize = 100;

/// A session and the connection that holds it.
#[derive(Debug)]
pub struct Session {
    /// The connection.
    pub stream: TcpStream,
    /// Its number.
    pub id: i64,
    /// What it takes to attach to it again.
    pub password: [u8; 16],
    /// What the server granted, milliseconds.
    pub timeout_ms: i32,
}

impl Session {
    /// Keeps it alive. The answer stays to be read.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn ping(&mut self) -> std::io::Result<()> {
        let mut out = Vec::with_capacity(12);
        request::ping(&mut out);
        self.stream.write_all(&out)
    }
}

/// How often a session must be heard of, to be safe.
pub fn ping_every(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0) / 3)
}

/// Whom to ask for a session, and for which.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The server.
    pub server: SocketAddr,
    /// The address to ask from, if not the system's choice.
    pub source: Option<IpAddr>,
    /// The timeout to ask for.
    pub timeout: Duration,
    /// Number and password of a session to attach to again.
    pub again: Option<(i64, [u8; 16])>,
}

impl Ask {
    /// A new session on this server.
    pub fn new(server: SocketAddr, timeout: Duration) -> Ask {
        Ask { server, source: None, timeout, again: None }
    }
}

/// Connections from one loopback address to one port. The system has some 28,000 ports, but takes only every other one for
/// sockets that are bound to an address, and the longer to find one the fewer are left: ten milliseconds at the end.
const PER_SOURCE: u32 = 10_000;
/// Descriptors that are needed besides those of connections.
const OTHER_FILES: u64 = 128;

/// So many new sessions on the servers in turn. To a server on a loopback address they come from several loopback
/// addresses, `per_source` from each (10,000 unless given), as one has not ports enough for very many; the first of them leave
/// the address to the system, which finds a port for them at once.
///
/// # Errors
/// The limit on open files does not allow so many.
pub fn asks(servers: &Servers, count: u32, timeout: Duration, per_source: Option<u32>) -> anyhow::Result<Vec<Ask>> {
    if let Some(limit) = hardware::limits::open_files().soft {
        ensure!(
            u64::from(count) + OTHER_FILES <= limit,
            "{count} sessions need as many open files, and the limit is {limit}: raise it (ulimit -n, LimitNOFILE)"
        );
    }
    let (addresses, per_source) = (servers.addresses(), per_source.unwrap_or(PER_SOURCE).max(1));
    let ask = |number: u32| {
        let server = addresses[number as usize % addresses.len()];
        let source = match server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() && number >= per_source => {
                let [_, _, third, fourth] = (1 + number / per_source).to_be_bytes();
                Some(IpAddr::from([127, 0, third, fourth]))
            }
            _ => None,
        };
        Ask { source, ..Ask::new(server, timeout) }
    };
    Ok((0..count).map(ask).collect())
}

/// Opens one session.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub fn open_session(ask: &Ask) -> anyhow::Result<Session> {
    granted(ask, begin(ask, CONNECT_LIMIT)?, GRANT_LIMIT)
}

/// As [`open_session`], of a server that may take no longer than `limit` for each of connecting and granting.
///
/// # Errors
/// As [`open_session`]; a session that no longer exists is told as [`Expired`].
pub fn open_session_within(ask: &Ask, limit: Duration) -> anyhow::Result<Session> {
    granted(ask, begin(ask, limit)?, limit)
}

/// A session that was to be attached to again, and that the server no longer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired(pub i64);

impl std::fmt::Display for Expired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session {:#x} has expired", self.0)
    }
}

impl std::error::Error for Expired {}

/// Opens sessions, in the order of `asks`, so that servers can grant many with one flush of their disk. If that takes long
/// the first ones are pinged meanwhile, so replies to pings may be waiting to be read. `progress` hears of
/// every batch and may end it.
///
/// # Errors
/// One of them cannot be had; or `progress` says so.
pub fn open_many(asks: &[Ask], mut progress: impl FnMut(usize) -> anyhow::Result<()>) -> anyhow::Result<Vec<Session>> {
    let mut sessions: Vec<Session> = Vec::with_capacity(asks.len());
    let mut pinged = Instant::now();
    for batch in asks.chunks(BATCH) {
        if sessions.first().is_some_and(|first| pinged.elapsed() > ping_every(first.timeout_ms)) {
            pinged = Instant::now();
            // One that has ended shows when it is used.
            sessions.iter_mut().for_each(|session| drop(session.ping()));
        }
        for session in open_each(batch) {
            let session = session.with_context(|| format!("after {} sessions", sessions.len()))?;
            sessions.push(session);
        }
        progress(sessions.len())?;
    }
    Ok(sessions)
}

/// Asks for all these sessions before it waits for the first of them, and tells of each, in order, what became of it as
/// [`open_session`] does.
pub fn open_each(asks: &[Ask]) -> impl Iterator<Item = anyhow::Result<Session>> {
    let streams: Vec<_> = asks.iter().map(|ask| begin(ask, CONNECT_LIMIT)).collect();
    asks.iter().zip(streams).map(|(ask, stream)| granted(ask, stream?, GRANT_LIMIT))
}

/// Connects, with a limit and a message that says what to do.
///
/// # Errors
/// The server cannot be reached.
pub fn connect(server: SocketAddr, source: Option<IpAddr>) -> anyhow::Result<TcpStream> {
    connect_within(server, source, CONNECT_LIMIT)
}

fn connect_within(server: SocketAddr, source: Option<IpAddr>, limit: Duration) -> anyhow::Result<TcpStream> {
    let attempt = || -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect_timeout(&server.into(), limit)?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket.into())
    };
    attempt().with_context(|| {
        format!("no connection to {server}; is a server running there? --servers host:port names another")
    })
}

fn begin(ask: &Ask, limit: Duration) -> anyhow::Result<TcpStream> {
    let mut stream = connect_within(ask.server, ask.source, limit)?;
    let (session, password) = ask.again.unwrap_or((0, [0; 16]));
    let mut out = Vec::with_capacity(64);
    request::connect(&mut out, i32::try_from(ask.timeout.as_millis()).unwrap_or(i32::MAX), session, &password);
    stream.write_all(&out).with_context(|| format!("{} took no request for a session", ask.server))?;
    Ok(stream)
}

fn granted(ask: &Ask, mut stream: TcpStream, limit: Duration) -> anyhow::Result<Session> {
    let server = ask.server;
    let mut answer = || -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(limit))?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).min(1024)];
        stream.read_exact(&mut body)?;
        stream.set_read_timeout(None)?;
        Ok(body)
    };
    let body = answer().with_context(|| {
        format!("{server} granted no session; does it speak ZooKeeper's protocol, and allow this many clients (maxClientCnxns)?")
    })?;
    ensure!(body.len() >= 36, "{server} answered the request for a session with {} bytes", body.len());
    let mut timeout = [0; 4];
    timeout.copy_from_slice(&body[4..8]);
    let mut id = [0; 8];
    id.copy_from_slice(&body[8..16]);
    let mut password = [0; 16];
    password.copy_from_slice(&body[20..36]);
    let timeout_ms = i32::from_be_bytes(timeout);
    if timeout_ms <= 0 {
        match ask.again {
            Some((id, _)) => return Err(Expired(id)).with_context(|| format!("{server} refused it")),
            None => bail!("{server} refused a session"),
        }
    }
    Ok(Session { stream, id: i64::from_be_bytes(id), password, timeout_ms })
}

/// The answer to a four-letter word.
///
/// # Errors
/// The server cannot be reached or does not answer.
pub fn four_letter(server: SocketAddr, word: &str) -> anyhow::Result<String> {
    let mut stream = connect(server, None)?;
    stream.set_read_timeout(Some(WORD_LIMIT))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).with_context(|| format!("{server} does not answer {word}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What a server says that it is: `leader`, `follower`, `observer`, `standalone`.
///
/// # Errors
/// It cannot be asked.
pub fn role(server: SocketAddr) -> anyhow::Result<String> {
    Ok(standing(server)?.0)
}

/// Its role, and the last zxid that it has applied.
///
/// # Errors
/// It cannot be asked, or does not serve.
pub fn standing(server: SocketAddr) -> anyhow::Result<(String, u64)> {
    let answer = four_letter(server, "srvr")?;
    let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let told = || {
        let zxid = field("Zxid: ")?.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok())?;
        Some((field("Mode: ")?.to_owned(), zxid))
    };
    told().with_context(|| {
        format!("{server} does not tell its role (allow the word: 4lw.commands.whitelist=srvr): {:?}", answer.trim())
    })
}

/// The servers that a target means.
///
/// # Errors
/// Roles cannot be asked for, or no server has the wanted one.
pub fn choose(servers: &Servers, target: Target) -> anyhow::Result<Servers> {
    let wanted: &[&str] = match target {
        Target::All => return Ok(servers.clone()),
        Target::Leader => &["leader", "standalone"],
        Target::Followers => &["follower", "observer"],
    };
    let mut chosen = Vec::new();
    for server in servers.addresses() {
        if wanted.contains(&role(*server)?.as_str()) {
            chosen.push(*server);
        }
    }
    ensure!(!chosen.is_empty(), "none of {servers} is a {}", wanted.join(" or "));
    Ok(servers.with_addresses(chosen))
}
