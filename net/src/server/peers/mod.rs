//! A member of an ensemble: its promises on disk, its sockets, and the threads that make connections.

mod dialer;
mod epochs;
mod member;
mod sockets;

pub use epochs::{EpochError, EpochFiles};
pub use member::{MemberHost, MemberParts};
pub use sockets::{Peer, Places};
