//! Pages become a response body: whole when the first page is all of it, else streamed.
//!
//! A streamed body is pulled: the host takes a chunk when the client has room for it, and only then is
//! the next one written. While a page is encoded and written, SQLite reads the one behind it, and no other:
//! a client that stalls or goes away stops both. A page that fails ends the body in an error, on which the
//! host aborts the connection: the client sees that its answer is not complete. So does a client that takes
//! nothing for too long.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use spin_sdk::wasip3::clocks::monotonic_clock::wait_for;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Response};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::wit_bindgen::StreamResult;
use spin_sdk::wasip3::{spawn, wit_bindgen};

use crate::coding::{Coder, Then};
use crate::format::Encoder;
use crate::log::{Ended, RequestLine};
use crate::packed::Records;
use crate::page::{Page, Pages};
use crate::problem::Problem;

/// Bytes at which a chunk is sent. Between two chunks the page that has arrived meanwhile is taken in and
/// the next one asked for; a client that stalls has few of them waiting in the host. A million flows took
/// 0.57 s when a page was one chunk, and 0.40 in chunks of 64 KiB; 32 and 128 KiB were a little slower.
const CHUNK: usize = 64 << 10;

/// How long a client may take nothing before its answer gives up the transaction that it reads in. Until then
/// the write-ahead log cannot be copied back beyond it.
const SNAPSHOT: Duration = Duration::from_secs(60);

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
        rest: Box<Pages>,
        /// What writes them.
        writer: Box<PageWriter>,
        /// How long to wait for a client that takes nothing; `None` for ever.
        reader_timeout: Option<Duration>,
    },
}

impl Body {
    /// The body for `first` and the pages behind it: whole if nothing is behind it.
    ///
    /// # Errors
    /// A 500 when a flow of the first page cannot be written.
    pub fn new(
        first: Page,
        rest: Pages,
        encoder: Encoder,
        coder: Coder,
        reader_timeout: Option<Duration>,
    ) -> Result<Self, Problem> {
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
            rest: Box::new(rest),
            writer,
            reader_timeout,
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
        // Without contents the host counts no bytes: over HTTP/2 it would hold none against the length that the
        // head of a HEAD names, and reset the stream.
        let has_body = !head_only && !matches!(self.body, Body::Nothing);
        let contents = has_body.then_some(contents);
        let (response, _) = Response::new(headers, contents, trailers);
        // It refuses no number that is a status.
        _ = response.set_status_code(self.status);
        let status = self.status;
        match self.body {
            Body::Whole { bytes, flows } if has_body => {
                spawn(send_whole(writer, bytes, status, flows, line));
            }
            Body::Streamed {
                first,
                rest,
                writer: page_writer,
                reader_timeout,
            } if has_body => {
                let output = Output::new(writer);
                spawn(send_pages(
                    output,
                    first,
                    rest,
                    page_writer,
                    reader_timeout,
                    line,
                ));
            }
            _ => {
                line.write(status, 0, 0, Ended::Whole);
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

async fn send_whole(
    mut writer: BodyWriter,
    bytes: Vec<u8>,
    status: u16,
    flows: u64,
    line: RequestLine,
) {
    let length = bytes.len() as u64;
    let left = writer.stream_writer.write_all(bytes).await;
    if left.is_empty() {
        line.write(status, flows, length, Ended::Whole);
        end(writer).await;
    } else {
        let taken = length.saturating_sub(left.len() as u64);
        line.write(status, flows, taken, Ended::Left);
    }
}

async fn send_pages(
    mut output: Output,
    first: Vec<u8>,
    mut pages: Box<Pages>,
    mut page_writer: Box<PageWriter>,
    reader_timeout: Option<Duration>,
    line: RequestLine,
) {
    let sent = write_pages(
        &mut output,
        first,
        &mut pages,
        &mut page_writer,
        reader_timeout,
    )
    .await;
    let (flows, bytes) = (page_writer.encoder.records(), output.bytes);
    match sent {
        Ok(Reached::End) => {
            line.write(200, flows, bytes, Ended::Whole);
            end(output.writer).await;
        }
        // A client that goes away is normal.
        Ok(Reached::Nobody) => line.write(200, flows, bytes, Ended::Left),
        Err(problem) => {
            line.failed(&problem);
            line.write(200, flows, bytes, Ended::Cut);
            let error = ErrorCode::InternalError(Some("the answer is not complete".into()));
            _ = output.writer.result_writer.write(Err(error)).await;
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

/// A body on its way to the host.
struct Output {
    writer: BodyWriter,
    bytes: u64,
}

impl Output {
    fn new(writer: BodyWriter) -> Self {
        Self { writer, bytes: 0 }
    }

    /// Writes a chunk and counts it; `false` when nobody takes it any more. An empty chunk asks just that: the
    /// host has nothing to send, and says whether there is anybody to send to.
    async fn write(&mut self, chunk: Vec<u8>, taken: &LastTaken) -> bool {
        let length = chunk.len() as u64;
        let stream = &mut self.writer.stream_writer;
        let there = if chunk.is_empty() {
            let (result, _) = stream.write(chunk).await;
            !matches!(result, StreamResult::Dropped)
        } else {
            stream.write_all(chunk).await.is_empty()
        };
        if there {
            self.bytes = self.bytes.saturating_add(length);
            taken.now();
        }
        there
    }

    /// Encodes a page and writes it chunk by chunk; `false` when nobody takes it any more.
    async fn write_page(
        &mut self,
        page: &Page,
        page_writer: &mut PageWriter,
        taken: &LastTaken,
    ) -> Result<bool, Problem> {
        let before = self.bytes;
        let mut records = Records::new(&page.packed, page.count)?;
        let mut more = true;
        while more {
            let chunk;
            (chunk, more) = page_writer.part(&mut records, page.last, Then::More, CHUNK)?;
            // An encoder that collects has nothing to send at times, and a page may hold no flow.
            let silent = chunk.is_empty() && (more || self.bytes > before);
            if !silent && !self.write(chunk, taken).await {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// When the client took something last.
struct LastTaken(Cell<Instant>);

impl LastTaken {
    fn now(&self) {
        self.0.set(Instant::now());
    }
}

async fn write_pages(
    output: &mut Output,
    first: Vec<u8>,
    pages: &mut Pages,
    page_writer: &mut PageWriter,
    reader_timeout: Option<Duration>,
) -> Result<Reached, Problem> {
    let taken = LastTaken(Cell::new(Instant::now()));
    let writing = async { Ok(output.write(first, &taken).await) };
    let (mut next, mut sent) = beside(pages, writing, &taken, reader_timeout).await?;
    while sent {
        let Some(page) = next? else {
            return Ok(Reached::End);
        };
        let writing = output.write_page(&page, page_writer, &taken);
        (next, sent) = beside(pages, writing, &taken, reader_timeout).await?;
    }
    Ok(Reached::Nobody)
}

/// Reads the next page while `writing` goes on, and then waits for the client.
///
/// # Errors
/// What `writing` says, and a client that takes nothing for `reader_timeout`.
async fn beside(
    pages: &mut Pages,
    writing: impl Future<Output = Result<bool, Problem>>,
    taken: &LastTaken,
    reader_timeout: Option<Duration>,
) -> Result<(Result<Option<Page>, Problem>, bool), Problem> {
    let mut writing = pin!(writing);
    // Reading comes first, so that the statement has begun when encoding does.
    let next = match select(pin!(pages.next()), writing.as_mut()).await {
        Either::Right((sent, reading)) => return Ok((reading.await, sent?)),
        Either::Left((next, _)) => next,
    };
    loop {
        let timeout = if pages.holds_snapshot() {
            Some(reader_timeout.map_or(SNAPSHOT, |timeout| timeout.min(SNAPSHOT)))
        } else {
            reader_timeout
        };
        let Some(timeout) = timeout else {
            return Ok((next, writing.await?));
        };
        let left = timeout.saturating_sub(taken.0.get().elapsed());
        if left.is_zero() {
            if reader_timeout.is_some_and(|reader_timeout| reader_timeout <= timeout) {
                return Err(Problem::reader_stalled(timeout));
            }
            pages.let_go_of_snapshot().await?;
            continue;
        }
        let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        if let Either::Left((sent, _)) = select(writing.as_mut(), pin!(wait_for(left))).await {
            return Ok((next, sent?));
        }
    }
}
