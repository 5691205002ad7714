//! jute, ZooKeeper's binary encoding (`BinaryInputArchive`, `BinaryOutputArchive`).
//!
//! Big-endian integers; strings and buffers behind an int32 length where -1 means null; vectors behind an int32 count
//! where -1 means null; records as their fields in order. The reader is strict where ZooKeeper is (a record cut short, a
//! length below -1 or above the ceiling) and lenient where ZooKeeper is (any non-zero byte is true, malformed UTF-8
//! becomes U+FFFD, bytes behind a record are ignored), and it never allocates by a length that it was sent.

mod reader;
mod writer;

pub use reader::{DecodeError, Reader};
pub use writer::Writer;
