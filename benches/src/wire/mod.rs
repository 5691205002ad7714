//! The protocols as bytes: ZooKeeper's client protocol, and the few words of Redis's that a comparison needs.

pub mod reply;
pub mod request;
pub(crate) mod resp;
pub mod session;

pub use reply::{Event, Frames, Reply};
pub use session::{Session, open_many, open_session};
