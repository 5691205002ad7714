//! Progress on a terminal; nothing where standard error is none.

use crate::driver::Progress;
use crate::report::document::{number, time};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// One line that is rewritten.
pub struct Line {
    bar: ProgressBar,
    prefix: String,
}

impl Line {
    /// A line that begins with this.
    pub fn new(prefix: &str) -> Line {
        let bar = ProgressBar::new(1000);
        // The template is a constant; without it the bar is merely plainer.
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(prefix.to_owned());
        Line { bar, prefix: prefix.to_owned() }
    }

    /// Something without a known end.
    pub fn say(&self, what: &str) {
        self.bar.set_prefix(self.prefix.clone());
        self.bar.set_message(what.to_owned());
    }

    /// A part of the whole, shown before what follows.
    pub fn part(&self, what: &str) {
        self.bar.set_prefix(format!("{} {what}", self.prefix));
        self.bar.set_message("");
    }

    /// Something counted.
    pub fn count(&self, done: u64, all: u64, what: &str) {
        self.bar.set_position(done * 1000 / all.max(1));
        self.bar.set_message(format!("{} of {} {what}", number(done as f64), number(all as f64)));
    }

    /// A run.
    pub fn run(&self, progress: &Progress<'_>) {
        let all = Duration::from_nanos(progress.window.end_ns);
        let left = all.saturating_sub(progress.elapsed).as_secs_f64().ceil();
        self.bar.set_position((1000.0 * progress.elapsed.as_secs_f64() / all.as_secs_f64()).min(1000.0) as u64);
        let figures = progress.intervals.latest().map_or("warming up".to_owned(), |interval| {
            let at = |quantile: f64| time(interval.latency_ns.value_at_quantile(quantile) as f64 / 1e3);
            format!(
                "{}/s, p50 {}, p99 {}, {} errors",
                number(interval.answered as f64 / progress.window.interval().as_secs_f64()),
                at(0.5),
                at(0.99),
                interval.errors
            )
        });
        self.bar.set_message(format!("{figures}, {left} s left"));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
