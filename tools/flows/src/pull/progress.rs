//! The line of progress on standard error; hidden if standard error is no terminal.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a pull has come. It shows the flows of all its files, their rate, the current file, and how many ids there
/// are up to the newest one.
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    /// Flows of the files that are stored.
    stored: u64,
    /// The newest id of the service, when it was asked last.
    newest: Option<i64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        // Cut at the width of the terminal.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            started: Instant::now(),
            stored: 0,
            newest: None,
        }
    }

    /// Whether somebody sees it.
    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Begins a file, with the newest id of the service.
    pub(super) fn begin(&mut self, newest: Option<i64>) {
        self.newest = newest;
    }

    /// Ends a file of so many flows.
    pub(super) fn end(&mut self, flows: u64) {
        self.stored += flows;
    }

    /// Shows the flows of the current file, and its last id.
    pub(super) fn show(&self, flows: u64, file: &str, last_id: Option<i64>) {
        let seconds = self.started.elapsed().as_secs_f64();
        let line = self.line(flows, seconds, file, last_id);
        self.bar.set_message(line);
        self.bar.tick();
    }

    /// Shows why something is tried again.
    pub(super) fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Takes the line off the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, flows: u64, seconds: f64, file: &str, last_id: Option<i64>) -> String {
        let flows = self.stored + flows;
        let rate = flows as f64 / seconds.max(1e-9);
        let mut line = format!("{flows} flows, {rate:.0} flows/s, {file}");
        // More may have arrived since the service was asked.
        if let (Some(newest), Some(last)) = (self.newest, last_id) {
            let behind = i128::from(newest) - i128::from(last);
            line += &format!(", {} ids behind", behind.max(0));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_all_files_the_rate_and_what_is_missing() {
        let mut progress = Progress::new();
        let line = |progress: &Progress, flows, last| progress.line(flows, 2.0, "flows-a-1-", last);
        assert_eq!(line(&progress, 0, None), "0 flows, 0 flows/s, flows-a-1-");
        progress.begin(Some(900));
        assert_eq!(
            line(&progress, 500, Some(700)),
            "500 flows, 250 flows/s, flows-a-1-, 200 ids behind"
        );
        progress.end(600);
        progress.begin(Some(i64::MAX));
        assert_eq!(
            line(&progress, 100, Some(i64::MIN)),
            "700 flows, 350 flows/s, flows-a-1-, 18446744073709551615 ids behind"
        );
        // Flows that have arrived since are ahead of it.
        progress.begin(Some(5));
        assert!(line(&progress, 1, Some(7)).ends_with(", 0 ids behind"));
    }
}
