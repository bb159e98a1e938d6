//! The line of the log that tells how a request has ended.

use std::time::Instant;

use super::problem::Problem;
use crate::export::pipeline::{Completion, Outcome};
use crate::log;

/// How an answer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The host has taken all of it.
    Complete,
    /// Its connection is aborted, since it could not be completed.
    Aborted,
    /// The client has left: logged as status 499, whatever the head said.
    ClientClosed,
}

/// What the log says of one request.
pub struct RequestLine {
    /// Method, path and query.
    request: String,
    /// When the request came; `None` where requests are not logged.
    since: Option<Instant>,
}

impl RequestLine {
    /// Starts the clock if `timed`. Without it only failures are logged.
    pub fn new(method: &str, path: &str, query: &str, timed: bool) -> Self {
        let mark = if query.is_empty() { "" } else { "?" };
        let request = format!("{method} {path}{mark}{query}");
        Self {
            request,
            since: timed.then(Instant::now),
        }
    }

    /// Logs how an answer has ended, if requests are logged.
    pub fn ended(&self, status: u16, flows: u64, bytes: u64, end: End) {
        if let Some(since) = self.since {
            let request = &self.request;
            let milliseconds = since.elapsed().as_millis();
            let (status, end) = match end {
                End::Complete => (status, ""),
                End::Aborted => (status, ", cut off"),
                End::ClientClosed => (499, ""),
            };
            log::line(format_args!(
                "{request} {status} {flows} flows {bytes} bytes {milliseconds} ms{end}"
            ));
        }
    }

    /// Logs how a streamed body has ended, and why it is cut if it is.
    pub fn streamed(&self, outcome: Outcome) -> End {
        let end = match outcome.end {
            Ok(Completion::Complete) => End::Complete,
            Ok(Completion::ClientClosed) => End::ClientClosed,
            Err(error) => {
                self.failed(&Problem::from(error));
                End::Aborted
            }
        };
        self.ended(200, outcome.flows, outcome.bytes, end);
        end
    }

    /// Logs a problem.
    pub fn failed(&self, problem: &Problem) {
        log::line(format_args!("{}: {}", self.request, problem.log_line()));
    }
}
