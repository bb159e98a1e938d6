//! Pages become a body: whole when the first page is all of it, else streamed.
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

use crate::coding::{ContentEncoder, Flush};
use crate::db::{Database, DbError};
use crate::format::Encoder;
use crate::log::{Ended, RequestLine};
use crate::packed::RecordReader;
use crate::page::{Page, Pages};
use crate::problem::Problem;
use crate::response::Body;

/// Bytes at which a chunk is sent. Between two chunks the page that has arrived meanwhile is taken in and
/// the next one asked for; a client that stalls has few of them waiting in the host. A million flows took
/// 0.57 s when a page was one chunk, and 0.40 in chunks of 64 KiB; 32 and 128 KiB were a little slower.
const CHUNK: usize = 64 << 10;

/// How long a client may take nothing before its answer gives up the transaction that it reads in. Until then
/// the write-ahead log cannot be copied back beyond it.
const SNAPSHOT: Duration = Duration::from_secs(60);

/// Room for the record with which a chunk is full. A longer one costs one more allocation.
const SLACK: usize = 1 << 10;

/// Where a body goes.
pub trait Sink {
    /// Writes a chunk; `false` when nobody takes it any more. An empty chunk asks just that: the host has nothing
    /// to send, and says whether there is anybody to send to.
    fn write(&mut self, chunk: Vec<u8>) -> impl Future<Output = bool>;
}

/// A body that is written page by page.
pub struct Export<D: Database> {
    database: D,
    /// The first page as it is sent, at once, also through an encoder that would rather collect.
    first: Vec<u8>,
    /// The pages behind it.
    rest: Pages<D>,
    writer: Box<PageWriter>,
    /// How long to wait for a client that takes nothing; `None` for ever.
    reader_timeout: Option<Duration>,
}

impl<D: Database> Export<D> {
    /// The body for `first` and the pages behind it: whole if nothing is behind it.
    ///
    /// # Errors
    /// A 500 when a flow of the first page cannot be written.
    pub fn body(
        database: &D,
        first: Page,
        rest: Pages<D>,
        encoder: Encoder,
        coder: ContentEncoder,
        reader_timeout: Option<Duration>,
    ) -> Result<Body<D>, Problem> {
        let mut writer = PageWriter { encoder, coder };
        let then = if first.last { Flush::End } else { Flush::Now };
        let (bytes, _) = writer.part(
            &mut RecordReader::new(&first.packed, first.count)?,
            first.last,
            then,
            usize::MAX,
        )?;
        if first.last {
            let flows = writer.encoder.records();
            return Ok(Body::Full { bytes, flows });
        }
        Ok(Body::Stream(Box::new(Self {
            database: database.clone(),
            first: bytes,
            rest,
            writer: Box::new(writer),
            reader_timeout,
        })))
    }

    /// Writes the body and says in the log how it has ended. After [`Ended::Cut`] the adapter has to make the body
    /// fail.
    pub async fn run(self: Box<Self>, sink: &mut impl Sink, line: RequestLine) -> Ended {
        let Self {
            database,
            first,
            rest,
            mut writer,
            reader_timeout,
        } = *self;
        let taken = Cell::new(Instant::now());
        let mut output = Output {
            sink,
            bytes: 0,
            taken: &taken,
        };
        let patience = Patience {
            database: &database,
            reader_timeout,
            taken: &taken,
        };
        let ended = write_pages(&mut output, first, rest, &mut writer, &patience).await;
        let ended = ended.unwrap_or_else(|problem| {
            line.failed(&problem);
            Ended::Cut
        });
        line.write(200, writer.encoder.records(), output.bytes, ended);
        ended
    }
}

/// Makes chunks of pages: encoded, then coded.
struct PageWriter {
    encoder: Encoder,
    coder: ContentEncoder,
}

impl PageWriter {
    /// Writes flows of a page until there are `full` bytes; tells whether the page has more.
    fn part(
        &mut self,
        records: &mut RecordReader<'_>,
        last: bool,
        then: Flush,
        full: usize,
    ) -> Result<(Vec<u8>, bool), Problem> {
        let mut encoded = Vec::with_capacity(full.min(CHUNK).saturating_add(SLACK));
        let more = self.encoder.part(records, &mut encoded, full)?;
        let ended = last && !more;
        if ended {
            self.encoder.finish(&mut encoded);
        }
        let then = if ended { Flush::End } else { then };
        Ok((self.coder.chunk(encoded, then)?, more))
    }
}

/// A body on its way to the host.
struct Output<'a, S> {
    sink: &'a mut S,
    bytes: u64,
    /// When the client took something last.
    taken: &'a Cell<Instant>,
}

impl<S: Sink> Output<'_, S> {
    /// Writes a chunk and counts it; `false` when nobody takes it any more.
    async fn write(&mut self, chunk: Vec<u8>) -> bool {
        let length = chunk.len() as u64;
        let there = self.sink.write(chunk).await;
        if there {
            self.bytes = self.bytes.saturating_add(length);
            self.taken.set(Instant::now());
        }
        there
    }

    /// Encodes a page and writes it chunk by chunk; `false` when nobody takes it any more.
    async fn write_page(
        &mut self,
        page: &Page,
        page_writer: &mut PageWriter,
    ) -> Result<bool, Problem> {
        let before = self.bytes;
        let mut records = RecordReader::new(&page.packed, page.count)?;
        let mut more = true;
        while more {
            let chunk;
            (chunk, more) = page_writer.part(&mut records, page.last, Flush::No, CHUNK)?;
            // An encoder that collects has nothing to send at times, and a page may hold no flow.
            let silent = chunk.is_empty() && (more || self.bytes > before);
            if !silent && !self.write(chunk).await {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn write_pages<D: Database>(
    output: &mut Output<'_, impl Sink>,
    first: Vec<u8>,
    mut pages: Pages<D>,
    page_writer: &mut PageWriter,
    patience: &Patience<'_, D>,
) -> Result<Ended, Problem> {
    let writing = async { Ok(output.write(first).await) };
    let (mut next, mut sent) = patience.beside(&mut pages, writing).await?;
    while sent {
        let Some(page) = next? else {
            return Ok(Ended::Whole);
        };
        let writing = output.write_page(&page, page_writer);
        (next, sent) = patience.beside(&mut pages, writing).await?;
    }
    Ok(Ended::Left)
}

/// How long a client is waited for.
struct Patience<'a, D> {
    database: &'a D,
    reader_timeout: Option<Duration>,
    /// When the client took something last.
    taken: &'a Cell<Instant>,
}

impl<D: Database> Patience<'_, D> {
    /// Reads the next page while `writing` goes on, and then waits for the client.
    ///
    /// # Errors
    /// What `writing` says, and a client that takes nothing for the reader's timeout.
    async fn beside(
        &self,
        pages: &mut Pages<D>,
        writing: impl Future<Output = Result<bool, Problem>>,
    ) -> Result<(Result<Option<Page>, DbError>, bool), Problem> {
        let mut writing = pin!(writing);
        // Reading comes first, so that the statement has begun when encoding does.
        let next = match select(pin!(pages.next()), writing.as_mut()).await {
            Either::Right((sent, reading)) => return Ok((reading.await, sent?)),
            Either::Left((next, _)) => next,
        };
        loop {
            let timeout = if pages.holds_snapshot() {
                Some(
                    self.reader_timeout
                        .map_or(SNAPSHOT, |timeout| timeout.min(SNAPSHOT)),
                )
            } else {
                self.reader_timeout
            };
            let Some(timeout) = timeout else {
                return Ok((next, writing.await?));
            };
            let left = timeout.saturating_sub(self.taken.get().elapsed());
            if left.is_zero() {
                if self.reader_timeout.is_some_and(|most| most <= timeout) {
                    return Err(Problem::reader_stalled(timeout));
                }
                pages.let_go_of_snapshot().await?;
                continue;
            }
            let waiting = pin!(self.database.sleep(left));
            if let Either::Left((sent, _)) = select(writing.as_mut(), waiting).await {
                return Ok((next, sent?));
            }
        }
    }
}
