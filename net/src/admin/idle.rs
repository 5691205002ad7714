//! A connection on which nothing may stand still for long: `admin.idleTimeout`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Ends with [`io::ErrorKind::TimedOut`] once neither side has moved a byte for `patience`, while one of them is waited
/// for.
pub struct Idle<T> {
    stream: T,
    /// Without one it is waited for ever.
    patience: Option<Duration>,
    deadline: Pin<Box<Sleep>>,
}

impl<T> Idle<T> {
    /// Takes the stream over.
    pub fn new(stream: T, patience: Option<Duration>) -> Idle<T> {
        Idle { stream, patience, deadline: Box::pin(sleep(patience.unwrap_or_default())) }
    }

    /// Hands on what the stream says, but not "later" when the time is over.
    fn within<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let Some(patience) = self.patience else { return result };
        if result.is_ready() {
            self.deadline.as_mut().reset(Instant::now() + patience);
            return result;
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Idle<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.within(cx, result)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Idle<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.within(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn a_peer_that_neither_sends_nor_reads_is_given_up() {
        run(async {
            let (end, _peer) = duplex(8);
            let mut idle = Idle::new(end, Some(Duration::from_millis(5)));
            assert_eq!(idle.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(idle.write_all(&[0; 9]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn a_peer_that_moves_is_waited_for() {
        run(async {
            let (end, mut peer) = duplex(8);
            let mut idle = Idle::new(end, Some(Duration::from_secs(600)));
            peer.write_all(b"abc").await.unwrap();
            let mut bytes = [0; 3];
            idle.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"abc");
        });
    }
}
