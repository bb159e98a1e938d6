//! A response before it is handed to the host.

use crate::db::Database;
use crate::log::RequestLine;
use crate::pipeline::Export;

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
    Stream(Box<Export<D>>),
}

/// A response, and the line of the log that tells how it has ended.
pub struct Logged<D: Database> {
    /// The response. A `Content-Length` is among its headers where the length is known.
    pub response: Response<D>,
    /// For the adapter to write, where the body is not streamed.
    pub line: RequestLine,
}

impl<D: Database> Response<D> {
    /// A 200 with a JSON document.
    pub fn json(document: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self {
            status: 200,
            headers,
            body: Body::Full {
                bytes: document.into(),
                flows: 0,
            },
        }
    }

    /// The response without what follows its head, if that is all that was asked for; with its length, where it is
    /// known.
    pub fn finish(mut self, head_only: bool) -> Self {
        if let Body::Full { bytes, .. } = &self.body {
            let length = bytes.len().to_string();
            self.headers.push(("content-length", length));
        }
        if head_only {
            self.body = Body::Empty;
        }
        self
    }
}
