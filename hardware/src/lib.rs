//! What the machine offers: cores, rings, mapped segments, disks, and probes of them. The only crate with `unsafe`.
//!
//! It knows nothing of ZooKeeper's protocols. Owned buffers go in, completions come out: whoever hands a buffer to the
//! kernel gives up its ownership until the completion returns it, so nothing outside this crate can touch memory that
//! the kernel reads or writes.
//!
//! - [`reactor`]: one ring per core for sockets and files, and the [`reactor::CoreWaker`] that ends its sleep.
//! - [`mailbox`]: bounded typed mailboxes between cores.
//! - [`aligned`], [`block_file`], [`mapping`]: buffers, files and read-only maps of logs.
//! - [`storage`]: bulk file work, its streams on glommio.
//! - [`data_dir`]: lock, atomic replacement of files, flush of directories.
//! - [`kernel`], [`cpu`], [`memory`], [`limits`]: probes of the host.
//! - [`probe`]: what an operator wants to know of a host, read and measured.
//! - [`listen`]: listening sockets.

pub mod aligned;
pub mod block_file;
pub mod cpu;
pub mod data_dir;
pub mod kernel;
pub mod limits;
pub mod listen;
pub mod mailbox;
pub mod mapping;
pub mod memory;
pub mod probe;
pub mod reactor;
mod slots;
pub mod storage;
