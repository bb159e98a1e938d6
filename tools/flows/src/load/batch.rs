//! Parses the bytes of an input into batches of rows.
//!
//! A batch owns its text, and the rows are ranges of it: no row allocates, and batches are reused. Every batch
//! tells how far into the input it reaches ([`Consumed`]); a later load skips these bytes. This module knows
//! neither files nor the database.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::ops::Range;

use anyhow::{Error, Result, anyhow};
use sha2::{Digest, Sha256};

use crate::lanl::{self, BadLine, Flow, MAX_LINE};

/// Bytes in one read, about 6,000 lines: a batch stays in the processor's cache on its way to the writer.
const READ_SIZE: usize = 256 * 1024;

/// How far an input has been consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Consumed {
    /// Uncompressed bytes, up to and including the last consumed line's end.
    pub(super) bytes: u64,
    /// Lines, good and bad.
    pub(super) lines: u64,
    /// SHA-256 of exactly these bytes.
    pub(super) digest: [u8; 32],
    /// Whether the last line had no line end.
    pub(super) open_line: bool,
}

/// Consecutive lines of an input, parsed.
#[derive(Default)]
pub(super) struct Batch {
    /// All lines, as read.
    pub(super) text: Vec<u8>,
    /// The good lines: the start of each in `text`, and its fields.
    pub(super) flows: Vec<(u32, Flow)>,
    /// The bad lines, as read.
    pub(super) rejects: Vec<u8>,
    /// How many bad lines end in this batch.
    pub(super) rejected: u64,
    /// How far the input is consumed once this batch is committed.
    pub(super) consumed: Consumed,
}

impl Batch {
    /// Empties the batch and keeps its capacity.
    fn clear(&mut self) {
        self.text.clear();
        self.flows.clear();
        self.rejects.clear();
        self.rejected = 0;
    }
}

/// Reads an input line by line, behind what was consumed before.
pub(super) struct LineReader {
    name: String,
    input: Box<dyn Read + Send>,
    hash: Sha256,
    /// Bytes that `hash` has seen: `consumed.bytes`, or more inside a line that is too long.
    hashed: u64,
    consumed: Consumed,
    /// The start of a line whose end has not been read yet.
    partial_line: Vec<u8>,
    /// Whether bad lines become rejects; if not, the first bad line ends the reading.
    keep_rejects: bool,
    /// Inside a line longer than [`MAX_LINE`].
    in_long_line: bool,
    /// The error to return once the batch before it has been returned.
    failure: Option<Error>,
}

impl LineReader {
    /// Reads on from `input`, which stands behind the `consumed` bytes; `hash` has seen them.
    pub(super) fn new(
        name: String,
        input: Box<dyn Read + Send>,
        hash: Sha256,
        consumed: Consumed,
        keep_rejects: bool,
    ) -> Self {
        Self {
            name,
            input,
            hash,
            hashed: consumed.bytes,
            consumed,
            partial_line: Vec::new(),
            keep_rejects,
            in_long_line: false,
            failure: None,
        }
    }

    /// Returns the next lines in the buffers of `batch`, or `None` at the end of the input.
    ///
    /// A batch holds the lines of one read: rows of a slow input do not wait for a full batch. An error
    /// follows the batch with the good lines before it, and nothing follows the error.
    pub(super) fn next_batch(&mut self, mut batch: Batch) -> Result<Option<Batch>> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        batch.clear();
        mem::swap(&mut batch.text, &mut self.partial_line);
        if !self.read_lines(&mut batch.text)? {
            return Ok(None);
        }
        self.parse_lines(&mut batch);
        self.hash.update(&batch.text);
        self.hashed += batch.text.len() as u64;
        if !self.in_long_line {
            self.consumed.bytes = self.hashed;
            self.consumed.digest = self.hash.clone().finalize().into();
        }
        batch.consumed = self.consumed.clone();
        match self.failure.take_if(|_| batch.text.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(Some(batch)),
        }
    }

    /// Extends `text` to the last line end read, to the end of the input or beyond [`MAX_LINE`]. What follows
    /// the line end goes to `partial_line`. Returns false if nothing is left.
    fn read_lines(&mut self, text: &mut Vec<u8>) -> Result<bool> {
        loop {
            let before = text.len();
            text.resize(before + READ_SIZE, 0);
            let read = self.input.read(&mut text[before..]);
            text.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(!text.is_empty() || self.in_long_line),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.unreadable(text, error)),
            }
            if let Some(end) = memchr::memrchr(b'\n', &text[before..]) {
                let end = before + end + 1;
                self.partial_line.extend_from_slice(&text[end..]);
                text.truncate(end);
                return Ok(true);
            }
            if self.in_long_line || text.len() > MAX_LINE + 1 {
                return Ok(true);
            }
        }
    }

    fn unreadable(&self, unfinished: &[u8], error: io::Error) -> Error {
        let offset = self.hashed + unfinished.len() as u64;
        let line = self.consumed.lines + 1;
        anyhow!(error).context(format!(
            "{}:{line}: cannot read on after {offset} uncompressed bytes",
            self.name
        ))
    }

    /// Parses the lines of `batch.text` into flows and rejects. If a line ends the reading, the text is
    /// truncated before it.
    fn parse_lines(&mut self, batch: &mut Batch) {
        if batch.text.is_empty() {
            // The input ended inside a long line.
            self.reject_long_line(batch, b"\n", true);
        }
        let mut at = 0;
        while at < batch.text.len() {
            let end = memchr::memchr(b'\n', &batch.text[at..]).map(|length| at + length);
            let next = end.map_or(batch.text.len(), |end| end + 1);
            if let Err(reason) = self.parse_line(batch, at..next, end.is_some()) {
                self.failure = Some(anyhow!(
                    "{}:{}: {reason}",
                    self.name,
                    self.consumed.lines + 1
                ));
                batch.text.truncate(at);
            }
            at = next;
        }
    }

    /// Parses one line, given with its end if it has one; an error ends the reading.
    fn parse_line(
        &mut self,
        batch: &mut Batch,
        range: Range<usize>,
        ended: bool,
    ) -> Result<(), BadLine> {
        let text = mem::take(&mut batch.text);
        let whole = &text[range.clone()];
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut parsed = Ok(());
        if self.in_long_line || (!ended && line.len() > MAX_LINE && self.keep_rejects) {
            self.reject_long_line(batch, whole, ended);
        } else if mem::take(&mut self.consumed.open_line) {
            // An earlier load took this line as complete; only its end may follow.
            parsed = if line.is_empty() {
                Ok(())
            } else {
                Err(BadLine::Grown)
            };
            self.consumed.lines -= u64::from(parsed.is_err());
            self.consumed.open_line = !ended;
        } else {
            match lanl::parse(line) {
                Ok(flow) => batch.flows.push((range.start as u32, flow)),
                Err(_) if self.keep_rejects => {
                    batch.rejected += 1;
                    batch.rejects.extend_from_slice(whole);
                    batch
                        .rejects
                        .extend_from_slice(if ended { b"" } else { b"\n" });
                }
                Err(bad) => parsed = Err(bad),
            }
            if parsed.is_ok() {
                self.consumed.lines += 1;
                self.consumed.open_line = !ended;
            }
        }
        batch.text = text;
        parsed
    }

    /// Rejects a chunk of a line longer than [`MAX_LINE`].
    fn reject_long_line(&mut self, batch: &mut Batch, chunk: &[u8], ended: bool) {
        batch.rejects.extend_from_slice(chunk);
        self.in_long_line = !ended;
        if ended {
            batch.rejected += 1;
            self.consumed.lines += 1;
        }
    }
}
