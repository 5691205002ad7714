//! A thread that opens sessions while a run goes on, so that no sending thread ever waits for one.

use crate::stop::Stop;
use crate::wire::session::{Ask, connect, open_many, open_session};
use crate::workload::{Protocol, Workload};
use anyhow::Context;
use hardware::reactor::CoreWaker;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// How long the servers may all be away before a run gives up.
const GIVE_UP: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// A connection wanted.
pub(super) struct Wanted {
    /// Which of the worker's connections it is for.
    pub(super) conn: usize,
    /// Which server is asked first.
    pub(super) first: usize,
    /// Who wants it, and how it is woken.
    pub(super) to: Sender<Opened>,
    pub(super) waker: Arc<CoreWaker>,
}

/// A connection, or why there is none.
pub(super) struct Opened {
    pub(super) conn: usize,
    pub(super) stream: anyhow::Result<TcpStream>,
    pub(super) took: Duration,
}

/// Serves until nobody is left who could want anything.
pub(super) fn serve(workload: &Workload, wanted: &Receiver<Wanted>, stop: &Stop) {
    while let Ok(Wanted { conn, first, to, waker }) = wanted.recv() {
        let begun = Instant::now();
        let stream = open_any(workload, first, stop);
        // A worker that has ended wants nothing any more.
        let _ = to.send(Opened { conn, stream, took: begun.elapsed() });
        waker.wake();
    }
}

/// All connections of a run, on the servers in turn.
pub(super) fn open_all(workload: &Workload, stop: &Stop) -> anyhow::Result<Vec<TcpStream>> {
    let (servers, numbers) = (workload.servers.addresses(), 0..workload.connections as usize);
    match workload.protocol {
        Protocol::Zookeeper => {
            let ask = |number: usize| Ask::new(servers[number % servers.len()], workload.session_timeout.0);
            let sessions = open_many(&numbers.map(ask).collect::<Vec<_>>(), |_| stop.check())?;
            Ok(sessions.into_iter().map(|session| session.stream).collect())
        }
        Protocol::Redis => numbers.map(|number| open_at(workload, number)).collect(),
    }
}

/// Connects to a server and opens a session there if its protocol has such.
fn open_at(workload: &Workload, number: usize) -> anyhow::Result<TcpStream> {
    let servers = workload.servers.addresses();
    let server = servers[number % servers.len()];
    match workload.protocol {
        Protocol::Zookeeper => Ok(open_session(&Ask::new(server, workload.session_timeout.0))?.stream),
        Protocol::Redis => connect(server, None),
    }
}

fn open_any(workload: &Workload, first: usize, stop: &Stop) -> anyhow::Result<TcpStream> {
    let servers = workload.servers.addresses().len();
    let until = Instant::now() + GIVE_UP;
    let mut attempt = 0;
    loop {
        let error = match open_at(workload, first + attempt) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        attempt += 1;
        stop.check()?;
        if Instant::now() >= until {
            let limit = GIVE_UP.as_secs();
            return Err(error).with_context(|| format!("no server of {} for {limit} s", workload.servers));
        }
        if attempt % servers == 0 {
            std::thread::sleep(PAUSE);
        }
    }
}
