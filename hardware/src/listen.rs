//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Binds and listens on `addr`. The wildcard address of IPv6 (`[::]`) takes IPv4 connections too. Port 0 picks a free one.
///
/// `backlog` bounds the connections that wait to be accepted (the system caps it at net.core.somaxconn). With `reuse_port`
/// several listeners, one per core, share the address and the kernel spreads connections over them.
///
/// # Errors
/// The system's, with the address.
pub fn bind_listener(addr: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    bind(addr, backlog, reuse_port)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
}

/// Sends small segments at once instead of gathering them (TCP_NODELAY).
///
/// # Errors
/// The system's.
pub fn set_nodelay(fd: impl AsFd) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(true)
}

/// Has the kernel probe an idle connection, so that a vanished peer is noticed (SO_KEEPALIVE).
///
/// # Errors
/// The system's.
pub fn set_keepalive(fd: impl AsFd) -> io::Result<()> {
    SockRef::from(&fd).set_keepalive(true)
}

fn bind(addr: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server must not wait for connections of its former life to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if let SocketAddr::V6(v6) = addr
        && v6.ip().is_unspecified()
    {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn two_listeners_share_a_port_only_if_both_agree() {
        let first = bind_listener("127.0.0.1:0".parse().unwrap(), 16, true).unwrap();
        let addr = first.local_addr().unwrap();
        bind_listener(addr, 16, true).unwrap();
        let error = bind_listener(addr, 16, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }

    #[test]
    fn the_wildcard_of_version_6_takes_version_4_too() {
        // Where version 6 is switched off there is nothing to show.
        let Ok(listener) = bind_listener("[::]:0".parse().unwrap(), 16, false) else { return };
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        set_nodelay(&stream).unwrap();
        set_keepalive(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        listener.accept().unwrap();
    }
}
