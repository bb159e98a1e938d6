//! Responses on their way to the host: `wasi:http@0.2.0`.

use flow_window::db::Database;
use flow_window::export::pipeline::Sink;
use flow_window::http::access_log::End;
use flow_window::http::response::{Body, Logged};
use wasi::http::types::{ErrorCode, Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasi::io::streams::{OutputStream, StreamError};

use crate::executor::ready;

/// Hands a response to the host and writes its body.
pub(crate) async fn send(logged: Logged<impl Database>, out: ResponseOutparam) {
    let Logged { response, line } = logged;
    let headers = response.headers.into_iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
    let headers = match Fields::from_list(&headers) {
        Ok(headers) => headers,
        Err(error) => {
            let error = ErrorCode::InternalError(Some(format!("headers: {error}")));
            return ResponseOutparam::set(out, Err(error));
        }
    };
    let status = response.status;
    let head = OutgoingResponse::new(headers);
    // It refuses no number that is a status.
    _ = head.set_status_code(status);
    match response.body {
        // Without a body that is taken the host counts no bytes: over HTTP/2 it would hold none against the length
        // that the head of a HEAD names, and reset the stream.
        Body::Empty => {
            line.ended(status, 0, 0, End::Complete);
            ResponseOutparam::set(out, Ok(head));
        }
        Body::Full { bytes, flows } => {
            let Some(mut writer) = BodyWriter::new(head, out) else {
                return;
            };
            let length = bytes.len() as u64;
            // Its head goes with its end: all of a short body then leaves at once.
            if writer.write_all(&bytes).await {
                line.ended(status, flows, length, End::Complete);
                writer.finish();
            } else {
                line.ended(status, flows, writer.accepted, End::ClientClosed);
                writer.abort();
            }
        }
        Body::Stream(stream) => {
            let Some(mut writer) = BodyWriter::new(head, out) else {
                return;
            };
            let outcome = stream.run(&mut writer).await;
            match line.streamed(outcome) {
                End::Complete => writer.finish(),
                End::ClientClosed | End::Aborted => writer.abort(),
            }
        }
    }
}

/// The body of a response. The head goes behind the first chunk: were it first, each would be a packet of its own.
struct BodyWriter {
    /// `None` once the host has it.
    head: Option<(OutgoingResponse, ResponseOutparam)>,
    /// A child of the body, and dropped before it.
    stream: OutputStream,
    body: OutgoingBody,
    /// Bytes that the host has accepted.
    accepted: u64,
}

impl BodyWriter {
    /// `None` where the host refuses a body, which it does for the second of a response alone.
    fn new(head: OutgoingResponse, out: ResponseOutparam) -> Option<Self> {
        let body = head.body().ok()?;
        let stream = body.write().ok()?;
        Some(Self {
            head: Some((head, out)),
            stream,
            body,
            accepted: 0,
        })
    }

    fn send_head(&mut self) {
        if let Some((head, out)) = self.head.take() {
            ResponseOutparam::set(out, Ok(head));
        }
    }

    /// Writes bytes as the host has room for them; returns `false` when the client has left.
    async fn write_all(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            bytes = match self.write_some(bytes) {
                Ok(rest) => rest,
                Err(_) => return false,
            };
            if bytes.is_empty() {
                return true;
            }
            // The host has room again when the client has taken some, and that takes the head.
            self.send_head();
            ready(self.stream.subscribe()).await;
        }
    }

    /// Writes as much as the host has room for; returns the rest.
    fn write_some<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], StreamError> {
        let room = usize::try_from(self.stream.check_write()?).unwrap_or(usize::MAX);
        let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        if !now.is_empty() {
            self.stream.write(now)?;
            self.accepted = self.accepted.saturating_add(now.len() as u64);
        }
        Ok(later)
    }

    /// Ends the body as complete.
    fn finish(mut self) {
        let head = self.head.take();
        drop(self.stream);
        // It fails where fewer bytes were written than the head names; the host then aborts the body.
        _ = OutgoingBody::finish(self.body, None);
        if let Some((head, out)) = head {
            ResponseOutparam::set(out, Ok(head));
        }
    }

    /// Ends the body as cut: one that is dropped unfinished makes the host abort the connection.
    fn abort(mut self) {
        self.send_head();
        drop(self.stream);
        drop(self.body);
    }
}

impl Sink for BodyWriter {
    /// As much as the host takes at once, more than most pages: it sends a page while SQLite reads the next one.
    const CHUNK: usize = 1 << 20;
    const GROWN_CHUNK: usize = Self::CHUNK;

    async fn write(&mut self, chunk: Vec<u8>) -> bool {
        let accepted = self.write_all(&chunk).await;
        self.send_head();
        accepted
    }
}
