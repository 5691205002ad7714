//! The network side of a member of an ensemble.

mod dialer;
mod sockets;

pub use sockets::{Peer, PeerSockets, Places};
