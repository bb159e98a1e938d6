//! How far a run is, on standard error; nothing is shown where that is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Redraws while nothing is counted.
const TICK: Duration = Duration::from_millis(200);

/// A bar over the steps of a run.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{wide_bar} {pos}/{len}, {elapsed} {msg:40!}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Announces so many steps more.
    pub(super) fn expect(&self, steps: u64) {
        self.0.inc_length(steps);
    }

    /// Shows what is being done.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Counts a step that is done.
    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    /// Takes the bar off the screen.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
