//! The server: state machines on cores, and everything around them that does I/O.
//!
//! | file | idea |
//! |---|---|
//! | `serve` | from arguments to a running server, and to an exit code |
//! | `assemble` | the wiring: threads, mailboxes, parts |
//! | `data_dir`, `restore`, `repair` | the data directory, what is read from it at start, and what becomes of damaged files |
//! | `next_manifest` | how a leader's snapshot takes the place of everything at once |
//! | `core_loop`, `parts`, `clients` | one core: its loop, what it hosts, its connections |
//! | `topology`, `marks`, `view` | who owns what; how far everybody is; what reads see |
//! | `mail`, `post` | what cores say to each other, and how it gets there |
//! | `shard_host`, `segments`, `residency` | a shard, the files of its logs, what of them is in memory |
//! | `spares`, `log_space` | files of logs that are used again; how much the logs take beside what lives in them |
//! | `role_host`, `wal_host`, `checkpoint` | the replication role, its log, its checkpoints |
//! | `scrub` | reading everything on the disk again, in search of decay |
//! | `snapshots` | the state of all shards as streams for learners |
//! | `admission` | limits of the whole server |
//! | `peers` | a member of an ensemble: its promises, its sockets |
//! | `survey`, `status` | facts for operators' questions |
//! | `admin_thread` | the thread that answers them over HTTP |
//! | `transfer` | data directories of Apache ZooKeeper, read and written offline |

mod admin_thread;
mod admission;
mod assemble;
mod checkpoint;
mod client_port;
mod clients;
mod clock;
mod context;
mod core_loop;
mod data_dir;
mod log_space;
mod mail;
mod marks;
mod next_manifest;
mod parts;
mod peers;
mod post;
mod read_ahead;
mod repair;
mod residency;
mod restore;
mod role_host;
mod scrub;
mod segments;
mod serve;
mod shard_host;
mod snapshots;
mod spares;
mod status;
mod survey;
mod topology;
mod transfer;
mod view;
mod wal_host;

pub use serve::serve;
pub use transfer::{ExportArgs, ImportArgs, export, import};
