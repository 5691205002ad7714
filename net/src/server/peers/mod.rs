//! A member of an ensemble: its promises on disk, its sockets, and the threads that make connections, take in snapshots,
//! and read the log for others.

mod config_files;
mod dialer;
mod epochs;
mod gather;
mod incoming;
mod log_reads;
mod member;
mod sockets;

pub use config_files::{ConfigFileError, ConfigFiles};
pub use epochs::{EpochError, EpochFiles};
pub use incoming::{Incoming, IncomingEvent};
pub use log_reads::{LogPiece, LogReads, LogWish};
pub use member::{MemberHost, MemberParts};
pub use sockets::{Peer, Places};
