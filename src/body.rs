//! Pages become a response body: whole when the first page is all of it, else streamed.
//!
//! A streamed body is pulled: the host takes a chunk when the client has room for it, and only then is
//! the next one written. While a page is encoded and written, SQLite reads the one behind it, and no other:
//! a client that stalls or goes away stops both. A page that fails ends the body in an error, on which the
//! host aborts the connection: the client sees that its answer is not complete.

use futures::future::join;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Response};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::{spawn, wit_bindgen};

use crate::coding::{Coder, Then};
use crate::format::Encoder;
use crate::log::RequestLine;
use crate::packed::Records;
use crate::page::{Page, Pages};
use crate::problem::Problem;

/// Bytes at which a chunk is sent. Between two chunks the page that has arrived meanwhile is taken in and
/// the next one asked for; a client that stalls has few of them waiting in the host. A million flows took
/// 0.57 s when a page was one chunk, and 0.40 in chunks of 64 KiB; 32 and 128 KiB were a little slower.
const CHUNK: usize = 64 << 10;

/// Room for the record with which a chunk is full. A longer one costs one more allocation.
const SLACK: usize = 1 << 10;

/// A response before it is handed to the host.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(&'static str, String)>,
    /// What follows them.
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    /// None, for a status that has none.
    Nothing,
    /// All of it, sent with its length.
    Whole {
        /// The bytes.
        bytes: Vec<u8>,
        /// Flows in them.
        flows: u64,
    },
    /// Page by page.
    Streamed {
        /// The first page as it is sent, at once, also through an encoder that would rather collect.
        first: Vec<u8>,
        /// The pages behind it.
        rest: Pages,
        /// What writes them.
        writer: Box<PageWriter>,
    },
}

impl Body {
    /// The body for `first` and the pages behind it: whole if nothing is behind it.
    ///
    /// # Errors
    /// A 500 when a flow of the first page cannot be written.
    pub fn new(first: Page, rest: Pages, encoder: Encoder, coder: Coder) -> Result<Self, Problem> {
        let mut writer = PageWriter { encoder, coder };
        let then = if first.last { Then::End } else { Then::Flush };
        let (bytes, _) = writer.part(
            &mut Records::new(&first.packed, first.count)?,
            first.last,
            then,
            usize::MAX,
        )?;
        if first.last {
            let flows = writer.encoder.records();
            return Ok(Self::Whole { bytes, flows });
        }
        let writer = Box::new(writer);
        Ok(Self::Streamed {
            first: bytes,
            rest,
            writer,
        })
    }
}

/// Makes chunks of pages: encoded, then coded.
pub struct PageWriter {
    encoder: Encoder,
    coder: Coder,
}

impl PageWriter {
    /// Writes flows of a page until there are `full` bytes; tells whether the page has more.
    fn part(
        &mut self,
        records: &mut Records<'_>,
        last: bool,
        then: Then,
        full: usize,
    ) -> Result<(Vec<u8>, bool), Problem> {
        let mut encoded = Vec::with_capacity(full.min(CHUNK).saturating_add(SLACK));
        let more = self.encoder.part(records, &mut encoded, full)?;
        let ended = last && !more;
        if ended {
            self.encoder.finish(&mut encoded);
        }
        let then = if ended { Then::End } else { then };
        Ok((self.coder.chunk(encoded, then)?, more))
    }
}

impl Answer {
    /// A 200 with a JSON document.
    pub fn json(document: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self {
            status: 200,
            headers,
            body: Body::Whole {
                bytes: document.into(),
                flows: 0,
            },
        }
    }

    /// Hands the answer to the host; its body goes on being written after this returns.
    ///
    /// With `head_only`, the answer to HEAD, the headers are the same and nothing follows them.
    ///
    /// # Errors
    /// What the host says of a header, which it then answers with a 500.
    pub async fn send(mut self, head_only: bool, line: RequestLine) -> Result<Response, ErrorCode> {
        if let Body::Whole { bytes, .. } = &self.body {
            self.headers
                .push(("content-length", bytes.len().to_string()));
        }
        let headers = self.headers.into_iter();
        let headers: Vec<_> = headers
            .map(|(k, v)| (k.to_owned(), v.into_bytes()))
            .collect();
        let headers = Fields::from_list(&headers)
            .map_err(|error| ErrorCode::InternalError(Some(format!("headers: {error}"))))?;
        let (writer, contents, trailers) = BodyWriter::new();
        let (response, _) = Response::new(headers, Some(contents), trailers);
        // It refuses no number that is a status.
        _ = response.set_status_code(self.status);
        let status = self.status;
        match self.body {
            Body::Whole { bytes, flows } if !head_only => {
                line.write(status, flows, bytes.len() as u64);
                spawn(send_whole(writer, bytes));
            }
            Body::Streamed {
                first,
                rest,
                writer: page_writer,
            } if !head_only => {
                spawn(send_pages(writer, first, rest, page_writer, line));
            }
            _ => {
                line.write(status, 0, 0);
                spawn(end(writer));
            }
        }
        // Let the body's task run before the head is handed over, so that both leave together.
        wit_bindgen::yield_async().await;
        Ok(response)
    }
}

async fn end(writer: BodyWriter) {
    drop(writer.stream_writer);
    // The host may have gone already; then nobody waits for the end.
    _ = writer.result_writer.write(Ok(None)).await;
}

async fn send_whole(mut writer: BodyWriter, bytes: Vec<u8>) {
    if writer.stream_writer.write_all(bytes).await.is_empty() {
        end(writer).await;
    }
}

async fn send_pages(
    mut writer: BodyWriter,
    first: Vec<u8>,
    pages: Pages,
    mut page_writer: Box<PageWriter>,
    line: RequestLine,
) {
    let mut bytes = 0;
    let sent = write_pages(&mut writer, first, pages, &mut page_writer, &mut bytes).await;
    let flows = page_writer.encoder.records();
    match sent {
        Ok(Reached::End) => {
            line.write(200, flows, bytes);
            end(writer).await;
        }
        // A client that goes away is normal.
        Ok(Reached::Nobody) => line.write(499, flows, bytes),
        Err(problem) => {
            line.failed(&problem);
            let error = ErrorCode::InternalError(Some("the answer is not complete".into()));
            _ = writer.result_writer.write(Err(error)).await;
        }
    }
}

/// How far a streamed body got.
enum Reached {
    /// Its end.
    End,
    /// A client that has gone away.
    Nobody,
}

async fn write_pages(
    writer: &mut BodyWriter,
    first: Vec<u8>,
    mut pages: Pages,
    page_writer: &mut PageWriter,
    bytes: &mut u64,
) -> Result<Reached, Problem> {
    // Reading comes first in each pair, so that the statement has begun when encoding does.
    let (mut next, mut sent) = join(pages.next(), write(writer, first, bytes)).await;
    while sent {
        let Some(page) = next? else {
            return Ok(Reached::End);
        };
        let written;
        (next, written) = join(pages.next(), write_page(writer, &page, page_writer, bytes)).await;
        sent = written?;
    }
    Ok(Reached::Nobody)
}

/// Encodes a page and writes it chunk by chunk; `false` when nobody takes it any more.
async fn write_page(
    writer: &mut BodyWriter,
    page: &Page,
    page_writer: &mut PageWriter,
    bytes: &mut u64,
) -> Result<bool, Problem> {
    let mut records = Records::new(&page.packed, page.count)?;
    let mut more = true;
    while more {
        let chunk;
        (chunk, more) = page_writer.part(&mut records, page.last, Then::More, CHUNK)?;
        if !write(writer, chunk, bytes).await {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a chunk and counts it; `false` when nobody takes it any more.
async fn write(writer: &mut BodyWriter, chunk: Vec<u8>, bytes: &mut u64) -> bool {
    let length = chunk.len() as u64;
    // An encoder that collects has nothing to send at times.
    if length > 0 && !writer.stream_writer.write_all(chunk).await.is_empty() {
        return false;
    }
    *bytes = bytes.saturating_add(length);
    true
}
