//! A response before it is handed to the host.

use super::access_log::RequestLine;
use super::problem::Problem;
use crate::db::Database;
use crate::export::pipeline::{Export, Stream};
use crate::formats::Format;

/// What of a request decides how flows and problems are written.
pub const VARY: &str = "Accept, Accept-Encoding";

/// A response before it is handed to the host.
pub struct Response<D: Database> {
    /// The HTTP status.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(&'static str, String)>,
    /// What follows them.
    pub body: Body<D>,
}

/// The body of a response.
pub enum Body<D: Database> {
    /// None: for a status that has none, and for the answer to HEAD.
    Empty,
    /// All of it, sent with its length.
    Full {
        /// The bytes.
        bytes: Vec<u8>,
        /// Flows in them.
        flows: u64,
    },
    /// Page by page.
    Stream(Box<Stream<D>>),
}

impl<D: Database> From<Export<D>> for Body<D> {
    fn from(export: Export<D>) -> Self {
        match export {
            Export::Full { bytes, flows } => Self::Full { bytes, flows },
            Export::Stream(stream) => Self::Stream(stream),
        }
    }
}

/// A response, and the line of the log that tells how it ends.
pub struct Logged<D: Database> {
    /// The response. A `Content-Length` is among its headers where the length is known.
    pub response: Response<D>,
    /// For the adapter to write when the body has ended.
    pub line: RequestLine,
}

impl<D: Database> Response<D> {
    /// A response without a body.
    pub fn empty(status: u16, headers: Vec<(&'static str, String)>) -> Self {
        Self {
            status,
            headers,
            body: Body::Empty,
        }
    }

    /// A response with a JSON document.
    pub fn json(status: u16, document: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type", Format::Json.content_type())],
            body: Body::Full {
                bytes: document.into(),
                flows: 0,
            },
        }
    }

    /// A response with a problem, in XML or JSON.
    pub fn problem(problem: &Problem, as_xml: bool) -> Self {
        let (content_type, bytes) = problem.render(as_xml);
        let mut headers = vec![
            ("content-type", content_type.to_owned()),
            ("vary", VARY.to_owned()),
            // Caches may otherwise keep a 404, 405, 410 or 414 for as long as they see fit.
            ("cache-control", "no-store".to_owned()),
        ];
        let more = problem.headers().iter();
        headers.extend(more.map(|(name, value)| (*name, (*value).to_owned())));
        Self {
            status: problem.status(),
            headers,
            body: Body::Full { bytes, flows: 0 },
        }
    }

    /// Adds the length where it is known, and drops the body for an answer to HEAD.
    pub fn finish(mut self, is_head: bool) -> Self {
        if let Body::Full { bytes, .. } = &self.body {
            let length = bytes.len().to_string();
            self.headers.push(("content-length", length));
        }
        if is_head {
            self.body = Body::Empty;
        }
        self
    }
}
