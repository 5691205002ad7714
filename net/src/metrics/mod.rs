//! Figures about the server, under the names that ZooKeeper's dashboards know.
//!
//! Every core counts for itself, without locks or atomics; whoever wants to show the figures gathers the cores' copies
//! and merges them ([`CoreMetrics::merge`]).

mod monitor;
mod registry;
mod summary;

pub use monitor::{Figure, FigureValue, monitor};
pub use registry::{AdvancedSummary, BasicSummary, CoreMetrics, Counter};
pub use summary::{Advanced, Basic};
