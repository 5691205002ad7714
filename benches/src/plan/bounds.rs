//! Bounds that no queueing can lift, as formulas: requests per second.

use super::costs::Costs;
use super::simulate::{Kind, LOG_WRITE_BYTES};

/// What one server thread can do if turns and messages cost nothing, as in ever larger batches: `1 / sum(share * cost)`.
pub(super) fn processor(kinds: &[Kind]) -> f64 {
    1e9 / kinds.iter().map(|kind| kind.share * kind.server_ns).sum::<f64>()
}

/// What the log can take: full writes one behind the other, `bytes / (flush(bytes) * bytes per request)`; without writes
/// there is no bound.
pub(super) fn log(costs: &Costs, kinds: &[Kind]) -> f64 {
    let bytes: f64 = kinds.iter().map(|kind| kind.share * kind.log_bytes).sum();
    let flush_us = costs.flush.mean() + costs.flush_per_kib_us * LOG_WRITE_BYTES / 1024.0;
    if bytes > 0.0 { 1e6 / flush_us * LOG_WRITE_BYTES / bytes } else { f64::INFINITY }
}
