//! How far a load is, on standard error; nothing is shown where that is no terminal.

use std::io::Read;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::source::Source;

/// Redraws while nothing is read, as during the building of the index.
const TICK: Duration = Duration::from_millis(200);

/// A bar over the bytes of the input on disk; clones share it.
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

    /// Counts what is read through the returned reader.
    pub(super) fn watch(&self, input: impl Read + Send + 'static) -> impl Read + Send + 'static {
        self.bar.wrap_read(input)
    }

    /// Shows the rows committed so far.
    pub(super) fn rows(&self, rows: u64) {
        let rate = rows as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        self.bar
            .set_message(format!("{rows} rows, {rate:.0} rows/s"));
    }

    /// Shows what is being done.
    pub(super) fn say(&self, message: &'static str) {
        self.bar.set_message(message);
    }

    /// Says something that must not be missed, on a terminal or not.
    pub(super) fn warn(&self, message: &str) {
        self.bar.suspend(|| eprintln!("flows: warning: {message}"));
    }

    /// Takes the bar off the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
