//! Pages become a body: whole when the first page is all of it, else streamed.
//!
//! The host pulls a streamed body. It takes a chunk when the client has room, and only then is the next one encoded.
//! SQLite reads one page ahead while a page is encoded and written. A client that stalls or leaves stops both. A page
//! that fails, and a client that takes nothing for too long, end the body in an error: the host aborts the
//! connection, and the client sees that its answer is not complete.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use super::ExportError;
use super::counts::Counts;
use super::gzip::{Flush, GzipEncoder};
use crate::db::pager::{Page, Pager};
use crate::db::{Database, DbError};
use crate::formats::Encoder;
use crate::rows::reader::RecordReader;

/// How long a client may take nothing before its answer gives up its read transaction. Until then the write-ahead log
/// cannot be checkpointed beyond it.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take for a page before it counts as one that is waited for.
const PROMPT: Duration = Duration::from_millis(50);

/// How long a body may be silent while nothing is found. Proxies give up after a minute.
const SILENCE: Duration = Duration::from_secs(5);

/// Where a body goes.
pub trait Sink {
    /// Bytes of a chunk.
    const CHUNK: usize;

    /// Bytes of a chunk for a client that keeps up: what the host takes best.
    const GROWN_CHUNK: usize;

    /// Writes a chunk; returns `false` when the client has left. An empty chunk writes nothing and asks just that.
    fn write(&mut self, chunk: Vec<u8>) -> impl Future<Output = bool>;
}

/// The body of an answer.
pub enum Export<D: Database> {
    /// All of it.
    Full {
        /// The bytes.
        bytes: Vec<u8>,
        /// Flows in them.
        flows: u64,
    },
    /// The first page, and those that follow.
    Stream(Box<Stream<D>>),
}

/// A body that is written page by page.
pub struct Stream<D: Database> {
    database: D,
    /// The first page, encoded and flushed.
    first: Vec<u8>,
    pager: Pager<D>,
    writer: PageWriter,
    /// How long to wait for a client that takes nothing; `None` for ever.
    reader_timeout: Option<Duration>,
}

/// How a body has ended.
#[derive(Debug)]
pub struct Outcome {
    /// Flows encoded.
    pub flows: u64,
    /// Bytes that the host has accepted.
    pub bytes: u64,
    /// How it has ended.
    pub end: Result<Completion, ExportError>,
}

/// The ends of a body that is not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The host has accepted all of it.
    Complete,
    /// The client has left.
    ClientClosed,
}

impl<D: Database> Export<D> {
    /// The body of `first` and the pages of `pager`. With `may_blank` it may hold white space that depends on time.
    ///
    /// # Errors
    /// A flow of the first page that cannot be written.
    pub fn new(
        database: &D,
        first: &Page,
        pager: Pager<D>,
        content: Content,
        gzip: GzipEncoder,
        reader_timeout: Option<Duration>,
        may_blank: bool,
    ) -> Result<Self, ExportError> {
        let mut writer = PageWriter {
            content,
            gzip,
            may_blank,
        };
        let mut records = first.records()?;
        let (bytes, _) = writer.chunk(&mut records, first.last, Flush::Now, usize::MAX)?;
        if first.last {
            let flows = writer.content.records();
            return Ok(Self::Full { bytes, flows });
        }
        Ok(Self::Stream(Box::new(Stream {
            database: database.clone(),
            first: bytes,
            pager,
            writer,
            reader_timeout,
        })))
    }
}

impl<D: Database> Stream<D> {
    /// Writes the body. After an error the adapter has to make the body fail.
    pub async fn run(self: Box<Self>, sink: &mut impl Sink) -> Outcome {
        let Self {
            database,
            first,
            pager,
            mut writer,
            reader_timeout,
        } = *self;
        let last_write = Cell::new(Instant::now());
        let mut output = Output {
            sink,
            bytes: 0,
            last_bytes: Instant::now(),
            last_write: &last_write,
        };
        let read_ahead = ReadAhead {
            database: &database,
            reader_timeout,
            last_write: &last_write,
            waited: Cell::default(),
        };
        let end = write_pages(&mut output, first, pager, &mut writer, &read_ahead).await;
        Outcome {
            flows: writer.content.records(),
            bytes: output.bytes,
            end,
        }
    }
}

/// What becomes of the flows of a body.
pub enum Content {
    /// They are written.
    Flows(Encoder),
    /// They are counted.
    Counts(Box<Counts>),
}

impl Content {
    /// Takes flows of a page until the chunk has `full` bytes; returns whether the page has more.
    fn write(&mut self, records: &mut RecordReader<'_>, full: usize) -> Result<bool, ExportError> {
        match self {
            Self::Flows(encoder) => Ok(encoder.write(records, full)?),
            Self::Counts(counts) => counts.add(records).map(|()| false),
        }
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        match self {
            Self::Flows(encoder) => {
                encoder.finish();
                Ok(())
            }
            Self::Counts(counts) => counts.finish(),
        }
    }

    fn blank(&mut self) {
        match self {
            Self::Flows(encoder) => encoder.blank(),
            Self::Counts(counts) => counts.blank(),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Flows(encoder) => encoder.take(),
            Self::Counts(counts) => counts.take(),
        }
    }

    /// Records written so far.
    fn records(&self) -> u64 {
        match self {
            Self::Flows(encoder) => encoder.records(),
            Self::Counts(counts) => counts.records(),
        }
    }
}

/// Makes chunks of pages.
struct PageWriter {
    content: Content,
    gzip: GzipEncoder,
    may_blank: bool,
}

impl PageWriter {
    /// Encodes flows of a page until the chunk has `full` bytes. Returns the chunk, and whether the page has more.
    fn chunk(
        &mut self,
        records: &mut RecordReader<'_>,
        is_last_page: bool,
        flush: Flush,
        full: usize,
    ) -> Result<(Vec<u8>, bool), ExportError> {
        let more = self.content.write(records, full)?;
        let is_end = is_last_page && !more;
        if is_end {
            self.content.finish()?;
        }
        let flush = if is_end { Flush::End } else { flush };
        if let (Flush::Now, Content::Flows(encoder)) = (flush, &mut self.content) {
            encoder.flush();
        }
        Ok((self.gzip.chunk(self.content.take(), flush)?, more))
    }

    /// Bytes that show a client and its proxies that the answer goes on: white space where the format has room for it,
    /// and what a compressed body holds back. Empty where there are none.
    fn blank(&mut self) -> Result<Vec<u8>, ExportError> {
        self.content.blank();
        Ok(self.gzip.chunk(self.content.take(), Flush::Now)?)
    }
}

/// A body on its way to the host.
struct Output<'a, S> {
    sink: &'a mut S,
    bytes: u64,
    /// When bytes were written last.
    last_bytes: Instant,
    /// When the client took a chunk last.
    last_write: &'a Cell<Instant>,
}

impl<S: Sink> Output<'_, S> {
    /// Writes a chunk and counts it; returns `false` when the client has left.
    async fn write(&mut self, chunk: Vec<u8>) -> bool {
        let length = chunk.len() as u64;
        let accepted = self.sink.write(chunk).await;
        if accepted {
            if length > 0 {
                self.last_bytes = Instant::now();
            }
            self.bytes = self.bytes.saturating_add(length);
            self.last_write.set(Instant::now());
        }
        accepted
    }

    /// Encodes a page and writes it by chunks of `full` bytes; returns `false` when the client has left.
    async fn write_page(
        &mut self,
        page: &Page,
        writer: &mut PageWriter,
        full: usize,
    ) -> Result<bool, ExportError> {
        let before = self.bytes;
        let mut records = page.records()?;
        let mut more = true;
        while more {
            let mut chunk;
            (chunk, more) = writer.chunk(&mut records, page.last, Flush::No, full)?;
            let is_silent = writer.may_blank && chunk.is_empty() && !more;
            if is_silent && self.last_bytes.elapsed() > SILENCE {
                chunk = writer.blank()?;
            }
            // A collecting encoder and a page without flows give nothing to send. One empty write a page still asks
            // for the client.
            let skip = chunk.is_empty() && (more || self.bytes > before);
            if !skip && !self.write(chunk).await {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn write_pages<D: Database, S: Sink>(
    output: &mut Output<'_, S>,
    first: Vec<u8>,
    mut pager: Pager<D>,
    writer: &mut PageWriter,
    read_ahead: &ReadAhead<'_, D>,
) -> Result<Completion, ExportError> {
    let writing = async { Ok(output.write(first).await) };
    let (mut next, mut accepted) = read_ahead.during(&mut pager, writing).await?;
    while accepted {
        let Some(page) = next? else {
            return Ok(Completion::Complete);
        };
        let full = if pager.has_grown() {
            S::GROWN_CHUNK
        } else {
            S::CHUNK
        };
        let writing = output.write_page(&page, writer, full);
        (next, accepted) = read_ahead.during(&mut pager, writing).await?;
    }
    Ok(Completion::ClientClosed)
}

/// Reads the next page during a write, and limits how long the write may take.
struct ReadAhead<'a, D> {
    database: &'a D,
    reader_timeout: Option<Duration>,
    /// When the client took a chunk last.
    last_write: &'a Cell<Instant>,
    /// How long the client was waited for at the last page.
    waited: Cell<Duration>,
}

impl<D: Database> ReadAhead<'_, D> {
    /// Reads the next page while `writing` goes on, and then waits for the client.
    ///
    /// # Errors
    /// What `writing` says, a transaction that cannot be ended, and a client that takes nothing for the reader's
    /// timeout.
    async fn during(
        &self,
        pager: &mut Pager<D>,
        writing: impl Future<Output = Result<bool, ExportError>>,
    ) -> Result<(Result<Option<Page>, DbError>, bool), ExportError> {
        pager.page_taken(self.waited.get() > PROMPT);
        let mut writing = pin!(writing);
        // The read is polled first: the statement has then begun when encoding does.
        let next = match select(pin!(pager.next()), writing.as_mut()).await {
            Either::Right((accepted, reading)) => {
                self.waited.set(Duration::ZERO);
                return Ok((reading.await, accepted?));
            }
            Either::Left((next, _)) => next,
        };
        let waiting_since = Instant::now();
        let accepted = loop {
            let timeout = if pager.holds_snapshot() {
                let reader_timeout = self.reader_timeout.unwrap_or(SNAPSHOT_TIMEOUT);
                Some(reader_timeout.min(SNAPSHOT_TIMEOUT))
            } else {
                self.reader_timeout
            };
            let Some(timeout) = timeout else {
                break writing.await?;
            };
            let left = timeout.saturating_sub(self.last_write.get().elapsed());
            if left.is_zero() {
                if self.reader_timeout.is_some_and(|most| most <= timeout) {
                    return Err(ExportError::ReaderStalled(timeout));
                }
                pager.let_go_of_snapshot().await?;
                continue;
            }
            let waiting = pin!(self.database.sleep(left));
            if let Either::Left((accepted, _)) = select(writing.as_mut(), waiting).await {
                break accepted?;
            }
        };
        self.waited.set(waiting_since.elapsed());
        Ok((next, accepted))
    }
}
