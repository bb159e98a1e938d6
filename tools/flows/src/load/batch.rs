//! Bytes of an input into batches of rows.
//!
//! A batch owns its text and the rows point into it, so nothing is allocated per row, and batches are
//! used again. Every batch carries the [`Mark`] of the line end it reaches; what lies behind the mark
//! is what a later load skips. Where bytes come from and where rows go is not known here.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::ops::Range;

use anyhow::{Error, Result, anyhow};
use sha2::{Digest, Sha256};

use crate::lanl::{self, BadLine, Flow, MAX_LINE};

/// Bytes asked for in one read, about 6,000 lines: few enough to stay in the processor's cache on their
/// way to the writer.
const READ_SIZE: usize = 256 * 1024;

/// How far an input has been consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Uncompressed bytes, up to and including the last consumed line's end.
    pub(super) bytes: u64,
    /// Lines, good and bad.
    pub(super) lines: u64,
    /// SHA-256 of exactly these bytes.
    pub(super) digest: [u8; 32],
    /// Whether the last line still lacked its end when the input ended.
    pub(super) open_line: bool,
}

/// Consecutive lines of an input, and what they hold.
#[derive(Default)]
pub(super) struct Batch {
    /// The lines themselves, all of them.
    pub(super) text: Vec<u8>,
    /// The good ones: where each begins in `text`, and its fields.
    pub(super) flows: Vec<(u32, Flow)>,
    /// The bad ones, as they were.
    pub(super) rejects: Vec<u8>,
    /// How many bad lines end in this batch.
    pub(super) rejected: u64,
    /// Where to go on once this batch is committed.
    pub(super) mark: Mark,
}

impl Batch {
    /// Empties the batch and keeps its room.
    fn clear(&mut self) {
        self.text.clear();
        self.flows.clear();
        self.rejects.clear();
        self.rejected = 0;
    }
}

/// Reads an input line by line, from a mark on.
pub(super) struct Lines {
    name: String,
    input: Box<dyn Read + Send>,
    hash: Sha256,
    /// Bytes that `hash` has seen; beyond the mark only inside a line that is too long.
    hashed: u64,
    mark: Mark,
    /// The beginning of a line whose end has not been read yet.
    carry: Vec<u8>,
    /// Whether bad lines are kept as rejects, or the first one ends the reading.
    keep_bad: bool,
    /// In the middle of a line that is too long to be gathered.
    in_long_line: bool,
    /// Why reading stopped, once the batch before it has been handed out.
    failure: Option<Error>,
}

impl Lines {
    /// Goes on in `input`, which stands at `mark`; `hash` has seen everything before it.
    pub(super) fn new(
        name: String,
        input: Box<dyn Read + Send>,
        hash: Sha256,
        mark: Mark,
        keep_bad: bool,
    ) -> Self {
        Self {
            name,
            input,
            hash,
            hashed: mark.bytes,
            mark,
            carry: Vec::new(),
            keep_bad,
            in_long_line: false,
            failure: None,
        }
    }

    /// The next lines, in the room of `batch`; `None` at the end of the input.
    ///
    /// As many as one read brings, so that a slow input is not kept waiting for a full batch. An error
    /// comes after the batch with the good lines before it, and is the last thing to come.
    pub(super) fn next_batch(&mut self, mut batch: Batch) -> Result<Option<Batch>> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        batch.clear();
        mem::swap(&mut batch.text, &mut self.carry);
        if !self.read_lines(&mut batch.text)? {
            return Ok(None);
        }
        self.sort_lines(&mut batch);
        self.hash.update(&batch.text);
        self.hashed += batch.text.len() as u64;
        if !self.in_long_line {
            self.mark.bytes = self.hashed;
            self.mark.digest = self.hash.clone().finalize().into();
        }
        batch.mark = self.mark.clone();
        match self.failure.take_if(|_| batch.text.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(Some(batch)),
        }
    }

    /// Extends `text` to a line's end, to the end of the input or beyond the longest line; what follows
    /// that line's end is carried over. False if there is nothing left.
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
                self.carry.extend_from_slice(&text[end..]);
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
        let line = self.mark.lines + 1;
        anyhow!(error).context(format!(
            "{}:{line}: cannot read on after {offset} uncompressed bytes",
            self.name
        ))
    }

    /// Sorts the lines of `batch.text` into flows and rejects. Text from the line that ends the reading
    /// on is taken off.
    fn sort_lines(&mut self, batch: &mut Batch) {
        if batch.text.is_empty() {
            // The input has ended inside a long line.
            self.keep_long_line(batch, b"\n", true);
        }
        let mut at = 0;
        while at < batch.text.len() {
            let end = memchr::memchr(b'\n', &batch.text[at..]).map(|length| at + length);
            let next = end.map_or(batch.text.len(), |end| end + 1);
            if let Err(reason) = self.sort_line(batch, at..next, end.is_some()) {
                self.failure = Some(anyhow!("{}:{}: {reason}", self.name, self.mark.lines + 1));
                batch.text.truncate(at);
            }
            at = next;
        }
    }

    /// Takes one line, with its end if it has one; an error ends the reading.
    fn sort_line(
        &mut self,
        batch: &mut Batch,
        range: Range<usize>,
        ended: bool,
    ) -> Result<(), BadLine> {
        let text = mem::take(&mut batch.text);
        let whole = &text[range.clone()];
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut sorted = Ok(());
        if self.in_long_line || (!ended && line.len() > MAX_LINE && self.keep_bad) {
            self.keep_long_line(batch, whole, ended);
        } else if mem::take(&mut self.mark.open_line) {
            // The earlier load took this line as complete; only its end may follow.
            sorted = if line.is_empty() {
                Ok(())
            } else {
                Err(BadLine::Grown)
            };
            self.mark.lines -= u64::from(sorted.is_err());
            self.mark.open_line = !ended;
        } else {
            match lanl::parse(line) {
                Ok(flow) => batch.flows.push((range.start as u32, flow)),
                Err(_) if self.keep_bad => {
                    batch.rejected += 1;
                    batch.rejects.extend_from_slice(whole);
                    batch
                        .rejects
                        .extend_from_slice(if ended { b"" } else { b"\n" });
                }
                Err(bad) => sorted = Err(bad),
            }
            if sorted.is_ok() {
                self.mark.lines += 1;
                self.mark.open_line = !ended;
            }
        }
        batch.text = text;
        sorted
    }

    /// Passes on a piece of a line that is too long to be gathered.
    fn keep_long_line(&mut self, batch: &mut Batch, piece: &[u8], ended: bool) {
        batch.rejects.extend_from_slice(piece);
        self.in_long_line = !ended;
        if ended {
            batch.rejected += 1;
            self.mark.lines += 1;
        }
    }
}
