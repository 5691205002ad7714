//! A core in a thread of its own, driven by a closure per event and by commands from the test.

#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use hardware::mailbox::{MailSender, mailbox};
use hardware::reactor::{CloseHow, Event, Reactor, ReactorConfig};

type Command = Box<dyn FnOnce(&mut Reactor) -> bool + Send>;

pub struct Core {
    pub addr: SocketAddr,
    commands: MailSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Core {
    /// Starts a core that listens on a free port and hands every event to what `handler` makes.
    pub fn start<H>(config: ReactorConfig, handler: impl FnOnce() -> H + Send + 'static) -> Core
    where
        H: FnMut(&mut Reactor, Event),
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut reactor = Reactor::new(config).unwrap();
            let (sender, receiver) = mailbox::<Command>(64, reactor.waker());
            reactor.listen(listener).unwrap();
            ready.send(sender).unwrap();
            let mut handler = handler();
            let mut events = Vec::new();
            loop {
                while let Some(command) = receiver.try_recv() {
                    if !command(&mut reactor) {
                        return;
                    }
                }
                reactor.turn(&mut events, None, || receiver.is_empty()).unwrap();
                for event in events.drain(..) {
                    handler(&mut reactor, event);
                }
            }
        });
        Core { addr, commands: is_ready.recv().unwrap(), thread: Some(thread) }
    }

    /// Runs `work` on the core and returns its result.
    pub fn run<R: Send + 'static>(&self, work: impl FnOnce(&mut Reactor) -> R + Send + 'static) -> R {
        let (done, result) = mpsc::channel();
        let command: Command = Box::new(move |reactor| {
            done.send(work(reactor)).unwrap();
            true
        });
        assert!(self.commands.try_send(command).is_ok());
        result.recv().unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        // Only so that a failure ends the test; no test waits for it.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let stopped = self.commands.try_send(Box::new(|_| false)).is_ok();
        let result = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || (stopped && result.is_ok()), "the core panicked");
    }
}

/// Sends back what comes, reuses buffers, closes when the peer has.
pub fn echo(reactor: &mut Reactor, event: Event) {
    match event {
        Event::Accepted { fd, .. } => {
            reactor.adopt(fd);
        }
        Event::Received { socket, data } => {
            assert!(!data.is_empty());
            reactor.send(socket, data.to_vec());
        }
        Event::Closed { socket, error: None } => reactor.close(socket, CloseHow::AfterSends),
        Event::Closed { socket, error: Some(_) } => reactor.close(socket, CloseHow::Now),
        Event::Sent { buf, .. } => assert!(buf.is_empty()),
        Event::Released { .. } => {}
        other => panic!("unexpected {other:?}"),
    }
}

/// `len` bytes that differ by place and `seed`.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
