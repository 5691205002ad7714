//! The election port's state machine on real sockets, in the simplest way: a thread per connection.

use replication::peer::election::ElectionConfig;
use replication::peer::election::port::{ElectionPort, PortAction, PortInput};
use replication::peer::ensemble::{Ensemble, HostPort, ServerId, Views};
use replication::peer::links::{LinkId, LinkInput, LinksConfig};
use replication::peer::wire::notification::{PeerState, Vote};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How an election ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elected {
    pub leader: i64,
    pub state: PeerState,
    pub vote: Vote,
}

enum Event {
    Look { zxid: i64, peer_epoch: i64 },
    Accepted(TcpStream),
    Connected(ServerId, Option<TcpStream>),
    Bytes(LinkId, Vec<u8>),
    Closed(LinkId),
    Stop,
}

/// One server's election port. Dropping it closes every socket.
pub struct Driver {
    events: Sender<Event>,
    elected: Receiver<Elected>,
    stopping: Arc<AtomicBool>,
    address: HostPort,
    threads: Vec<JoinHandle<()>>,
}

impl Driver {
    /// Listens where `ensemble` has server `own`.
    pub fn start(own: i64, ensemble: &Ensemble) -> Driver {
        let own = ServerId(own);
        let address = ensemble.member(own).unwrap().election_addresses()[0].clone();
        let listener = TcpListener::bind((address.host.as_str(), address.port)).unwrap();
        let (events, inbox) = channel();
        let (outcome, elected) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let accepting = std::thread::spawn({
            let (events, stopping) = (events.clone(), Arc::clone(&stopping));
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stopping.load(Ordering::SeqCst) || events.send(Event::Accepted(stream)).is_err() {
                        break;
                    }
                }
            }
        });
        let links =
            LinksConfig { own, own_addresses: vec![address.clone()], multi_address: false, hello_timeout_ms: 5_000 };
        let port =
            ElectionPort::new(ElectionConfig::new(own, false), links, Views::settled(Arc::new(ensemble.clone())));
        let role = ensemble.role_of(own);
        let running = std::thread::spawn({
            let events = events.clone();
            move || {
                let core =
                    Core { port, events, outcome, streams: BTreeMap::new(), next_link: 1, began: Instant::now() };
                core.run(&inbox, role);
            }
        });
        Driver { events, elected, stopping, address, threads: vec![accepting, running] }
    }

    pub fn look(&self, zxid: i64, peer_epoch: i64) {
        self.events.send(Event::Look { zxid, peer_epoch }).unwrap();
    }

    /// The end of the election under way.
    pub fn elected(&self, what: &str) -> Elected {
        let limit = Duration::from_secs(90);
        self.elected.recv_timeout(limit).unwrap_or_else(|error| panic!("{what}: no leader: {error}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // A stop that nobody reads: the thread has ended already.
        let _ = self.events.send(Event::Stop);
        let _ = TcpStream::connect((self.address.host.as_str(), self.address.port));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Core {
    port: ElectionPort,
    events: Sender<Event>,
    outcome: Sender<Elected>,
    streams: BTreeMap<LinkId, TcpStream>,
    next_link: u64,
    began: Instant,
}

impl Core {
    fn run(mut self, inbox: &Receiver<Event>, role: replication::peer::ensemble::MemberRole) {
        loop {
            let wait_ms = self.port.next_deadline().map_or(60_000, |at_ms| (at_ms - self.now_ms()).max(0));
            match inbox.recv_timeout(Duration::from_millis(wait_ms.unsigned_abs())) {
                Ok(Event::Look { zxid, peer_epoch }) => self.step(PortInput::Look { role, zxid, peer_epoch }),
                Ok(Event::Accepted(stream)) => {
                    let link = self.add(stream);
                    self.step(PortInput::Link(LinkInput::Accepted { link }));
                    self.listen(link);
                }
                Ok(Event::Connected(sid, None)) => self.step(PortInput::Link(LinkInput::ConnectFailed { sid })),
                Ok(Event::Connected(sid, Some(stream))) => {
                    let link = self.add(stream);
                    self.step(PortInput::Link(LinkInput::Connected { link, sid }));
                    self.listen(link);
                }
                Ok(Event::Bytes(link, bytes)) if self.streams.contains_key(&link) => {
                    self.step(PortInput::Link(LinkInput::Bytes { link, bytes: &bytes }));
                }
                Ok(Event::Closed(link)) if self.streams.remove(&link).is_some() => {
                    self.step(PortInput::Link(LinkInput::Closed { link }));
                }
                Ok(Event::Bytes(..) | Event::Closed(_)) => {}
                Err(RecvTimeoutError::Timeout) => self.step(PortInput::Tick),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for stream in self.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn add(&mut self, stream: TcpStream) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        stream.set_nodelay(true).unwrap();
        self.streams.insert(link, stream);
        link
    }

    /// Passes on what a connection says, if it still exists.
    fn listen(&self, link: LinkId) {
        let Some(mut stream) = self.streams.get(&link).and_then(|stream| stream.try_clone().ok()) else { return };
        let events = self.events.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if events.send(Event::Bytes(link, buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
            // Nobody listens once the test is over.
            let _ = events.send(Event::Closed(link));
        });
    }

    fn step(&mut self, input: PortInput<'_>) {
        let mut actions = Vec::new();
        self.port.step(self.now_ms(), input, &mut actions);
        for action in actions {
            match action {
                PortAction::Connect { sid, addresses } => {
                    let events = self.events.clone();
                    std::thread::spawn(move || {
                        let dial = |at: &HostPort| TcpStream::connect((at.host.as_str(), at.port)).ok();
                        // Nobody listens once the test is over.
                        let _ = events.send(Event::Connected(sid, addresses.iter().find_map(dial)));
                    });
                }
                PortAction::Write { link, bytes } => {
                    // A failed write shows as the end of the connection.
                    if self.streams.get(&link).is_some_and(|mut stream| stream.write_all(&bytes).is_ok()) {
                        self.step(PortInput::Link(LinkInput::Written { link }));
                    }
                }
                PortAction::Close { link } => {
                    if let Some(stream) = self.streams.remove(&link) {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                }
                PortAction::Elected { leader, state, vote } => {
                    // Nobody listens once the test is over.
                    let _ = self.outcome.send(Elected { leader: leader.0, state, vote });
                }
                PortAction::Adopt { .. } => panic!("reconfiguration is off"),
            }
        }
    }
}
