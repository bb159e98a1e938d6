//! Lines to standard error, which the host keeps as the component's log.
//!
//! Writing may fail (the host may have closed the stream) and is then given up: `eprintln!` would panic.

use std::fmt::Arguments;
use std::io::Write as _;
use std::time::Instant;

use crate::problem::Problem;

/// Writes one line; line breaks, other control characters, and what makes a line look like another become
/// spaces.
pub fn line(text: Arguments<'_>) {
    let line: String = text
        .to_string()
        .chars()
        .map(printable)
        .chain(['\n'])
        .collect();
    _ = std::io::stderr().write_all(line.as_bytes());
}

fn printable(c: char) -> char {
    // Line and paragraph separators, marks that turn the direction of what follows, and characters without
    // width (Unicode, general categories Zl, Zp and Cf).
    let misleads = matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    );
    if c.is_control() || misleads { ' ' } else { c }
}

/// How an answer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The host has taken all of it.
    Whole,
    /// Its connection has been cut, since it could not be completed.
    Cut,
    /// Its client has gone away: logged as status 499, whatever the head said.
    Left,
}

/// What the log says of one request.
pub struct RequestLine {
    /// Method, path and query.
    request: String,
    /// When it came; `None` where requests are not logged.
    since: Option<Instant>,
}

impl RequestLine {
    /// Starts the clock if `timed`: without it only failures are logged.
    pub fn new(method: &str, path: &str, query: &str, timed: bool) -> Self {
        let mark = if query.is_empty() { "" } else { "?" };
        let request = format!("{method} {path}{mark}{query}");
        Self {
            request,
            since: timed.then(Instant::now),
        }
    }

    /// Logs how far an answer has come, if requests are logged.
    pub fn write(&self, status: u16, flows: u64, bytes: u64, end: Ended) {
        if let Some(since) = self.since {
            let request = &self.request;
            let milliseconds = since.elapsed().as_millis();
            let (status, end) = match end {
                Ended::Whole => (status, ""),
                Ended::Cut => (status, ", cut off"),
                Ended::Left => (499, ""),
            };
            line(format_args!(
                "{request} {status} {flows} flows {bytes} bytes {milliseconds} ms{end}"
            ));
        }
    }

    /// Logs what went wrong.
    pub fn failed(&self, problem: &Problem) {
        line(format_args!("{}: {}", self.request, problem.log_line()));
    }
}
