//! Capacity planning: a model of the server and its clients, its parameters, and what it predicts.
//!
//! # The model
//!
//! A server thread works in *turns*: it takes everything that has arrived, works it off, gives the log what has gathered,
//! and sends one message to each connection that is owed something. With `B` operations in `m` messages a turn takes
//!
//! ```text
//! T = (turn + m * message + e * effect + sum over B of operation(kind, size)) / availability
//! operation(kind, size) = server_us(kind) + server_kib_us(kind) * size / KiB
//! ```
//!
//! where `e` messages are owed to writes that have just taken effect (a turn after a sleep costs `sleep` of processor time more,
//! which delays nothing itself), so that the cost of an operation falls with the load as turns and messages are shared by more of them. What arrives
//! during a turn makes up the next one. A server's thread without work polls for a while, as long as that pays, then sleeps, and
//! its next turn begins `wake` after a message (`deep_wake` after a long sleep, between them by the logarithm of the sleep). The load
//! generator is a thread that never polls, with costs of its own, and woken by timers that are late; clients on other machines are a delay.
//!
//! The *log* writes all that has gathered while the write before was in flight, up to 256 KiB, in
//!
//! ```text
//! F(bytes) = flush (a distribution) + flush_per_kib * bytes / KiB
//! ```
//!
//! so that a write waits for the rest of the running log write and for its own, and batches grow with the arrival rate. Half of a
//! write's cost is paid before its log write and half after it. Replies keep the order of their session's requests: a read
//! behind a write waits for that. The kernel's part of a log write takes its share of the processor that the generator works on.
//!
//! In an *ensemble* writes go to the leader (half a round trip), every server has a log of its own, a write is committed
//! when a majority has it (half a round trip each way), and takes effect where its own server has it, too.
//!
//! *Stalls* delay a thread that rests or works: `per_second` for each thread, exponential around `mean`, and a log that writes. What a
//! working thread loses besides is in the availability.
//!
//! Throughput, median and 99th percentile follow by simulating this in virtual time ([`predict()`]); the *ceiling* is the
//! rate of a closed loop with the same connections. It lies below the bounds that formulas give: `1 / sum(share * operation)`
//! of the processor, `256 KiB / F(256 KiB) / bytes per request` of the log, and obeys Little's law,
//! `rate * mean latency = connections * outstanding`. Latencies of open loops are corrected by what the calibration's own open
//! loops took over their simulation ([`Correction`]). Memory and disk are sums ([`space`]).
//!
//! | file | idea |
//! |---|---|
//! | `simulate`, `bounds` | the model |
//! | `costs`, `distribution` | its parameters of time |
//! | `correction` | what the simulation leaves over |
//! | `fit`, `fitting` | finding them from measured runs |
//! | `calibration` | the file that keeps them, with the conditions |
//! | `deployment` | what is to be planned |
//! | `predict`, `space`, `answer` | what is expected of it |

pub mod answer;
mod bounds;
pub mod calibration;
mod correction;
pub mod costs;
pub mod deployment;
pub mod distribution;
mod fit;
pub(crate) mod fitting;
pub(crate) use fitting::median;
pub mod predict;
mod simulate;
pub mod space;

pub use calibration::Calibration;
pub use correction::Correction;
pub use deployment::Deployment;
pub use predict::{Prediction, Setting, ceiling, predict};
