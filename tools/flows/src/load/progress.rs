//! The progress bar on standard error; hidden if standard error is no terminal.

use std::io::Read;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::source::Source;

/// Interval of redraws while nothing is read, as during the building of an index.
const TICK: Duration = Duration::from_millis(200);

/// A bar over the bytes of the input on disk. Clones share one bar.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            bar: ProgressBar::no_length(),
            started: Instant::now(),
        }
    }

    /// Starts over for `source`.
    pub(super) fn begin(&self, source: &Source) {
        let template = match source.size {
            Some(size) => {
                self.bar.set_length(size);
                "{prefix} {msg} {wide_bar} {percent}% {eta} left"
            }
            None => "{prefix} {msg} {bytes} read",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_prefix(source.name.clone());
        self.bar.enable_steady_tick(TICK);
        self.rewind();
    }

    /// Back to the start of the input.
    pub(super) fn rewind(&self) {
        self.bar.set_position(0);
        self.bar.reset_eta();
    }

    /// Returns a reader that advances the bar.
    pub(super) fn watch(&self, input: impl Read + Send + 'static) -> impl Read + Send + 'static {
        self.bar.wrap_read(input)
    }

    /// Shows the number of committed rows.
    pub(super) fn rows(&self, rows: u64) {
        let rate = rows as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        self.bar
            .set_message(format!("{rows} rows, {rate:.0} rows/s"));
    }

    /// Shows the current step.
    pub(super) fn say(&self, message: &'static str) {
        self.bar.set_message(message);
    }

    /// Prints a warning, also if the bar is hidden.
    pub(super) fn warn(&self, message: &str) {
        self.bar.suspend(|| eprintln!("flows: warning: {message}"));
    }

    /// Takes the bar off the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
