//! What the formats that are text have in common: a buffer, and fixed text around records and values.

use std::marker::PhantomData;

use super::{End, RecordWriter};
use crate::rows::raw_value::{RawValue, append};
use crate::table::columns::{COLUMN_COUNT, COLUMNS};

/// A format that is text.
pub(super) trait TextFormat {
    /// Before the first record.
    const OPEN: &'static [u8];
    /// Between two records.
    const BETWEEN: Padded;
    /// Behind the last record.
    const CLOSE: &'static [u8];
    /// The whole body where there is no record.
    const EMPTY: &'static [u8];
    /// Before the values of a record.
    const BEGIN_RECORD: Padded;
    /// Behind the values of a record.
    const END_RECORD: Padded;

    /// Appends a value of a fast record, with the text around it.
    fn fast_value(column: usize, value: RawValue<'_>, out: &mut Vec<u8>);

    /// Appends any value, with the text around it.
    fn value(column: usize, value: RawValue<'_>, out: &mut Vec<u8>);

    /// Appends the end that was asked for, where the format has none of its own.
    fn end(_records: u64, _end: &End, _out: &mut Vec<u8>) {}
}

/// Writes records as text.
pub(super) struct TextWriter<F> {
    out: Vec<u8>,
    records: u64,
    /// The length of `out` where the last record began.
    before_record: usize,
    format: PhantomData<F>,
}

impl<F> Default for TextWriter<F> {
    fn default() -> Self {
        Self {
            out: Vec::new(),
            records: 0,
            before_record: 0,
            format: PhantomData,
        }
    }
}

impl<F: TextFormat> RecordWriter for TextWriter<F> {
    fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    #[inline(always)]
    fn begin_record(&mut self) {
        self.before_record = self.out.len();
        if self.records == 0 {
            self.out.extend_from_slice(F::OPEN);
        } else {
            F::BETWEEN.append_to(&mut self.out);
        }
        F::BEGIN_RECORD.append_to(&mut self.out);
    }

    #[inline(always)]
    fn fast_value(&mut self, column: usize, value: RawValue<'_>) {
        F::fast_value(column, value, &mut self.out);
    }

    fn value(&mut self, column: usize, value: RawValue<'_>) {
        F::value(column, value, &mut self.out);
    }

    #[inline(always)]
    fn end_record(&mut self) {
        F::END_RECORD.append_to(&mut self.out);
        self.records = self.records.saturating_add(1);
    }

    fn undo_record(&mut self) {
        self.out.truncate(self.before_record);
    }

    fn records(&self) -> u64 {
        self.records
    }

    #[inline(always)]
    fn buffered(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn finish(&mut self, end: Option<&End>) {
        self.out.extend_from_slice(if self.records == 0 {
            F::EMPTY
        } else {
            F::CLOSE
        });
        if let Some(end) = end {
            F::end(self.records, end, &mut self.out);
        }
    }
}

/// The longest text around a value: a column's name and four more bytes, rounded up for the copy.
const CHUNK: usize = {
    let mut longest: usize = 0;
    let mut columns = COLUMNS.as_slice();
    while let [column, rest @ ..] = columns {
        if column.name.len() > longest {
            longest = column.name.len();
        }
        columns = rest;
    }
    longest.saturating_add(4).next_multiple_of(16)
};

/// A short text at the start of a chunk: a copy of a size known when compiling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded {
    chunk: [u8; CHUNK],
    length: usize,
}

impl Padded {
    /// The text of these parts; in a const a text longer than the chunk does not compile.
    pub(super) const fn new(mut parts: &[&str]) -> Self {
        let mut chunk = [0; CHUNK];
        let mut length: usize = 0;
        while let [part, rest @ ..] = parts {
            let (_, room) = chunk.split_at_mut(length);
            let (text, _) = room.split_at_mut(part.len());
            text.copy_from_slice(part.as_bytes());
            length = length.saturating_add(part.len());
            parts = rest;
        }
        Self { chunk, length }
    }

    /// Each column's name between `before` and `after`; before the first column stands `first`.
    pub(super) const fn around_names(
        first: &str,
        before: &str,
        after: &str,
    ) -> [Self; COLUMN_COUNT] {
        let mut all = [Self::new(&[]); COLUMN_COUNT];
        let (mut slots, mut columns) = (all.as_mut_slice(), COLUMNS.as_slice());
        let mut lead = first;
        while let ([slot, more @ ..], [column, rest @ ..]) = (slots, columns) {
            *slot = Self::new(&[lead, column.name, after]);
            (slots, columns, lead) = (more, rest, before);
        }
        all
    }

    /// Appends the text.
    #[inline(always)]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        append(out, &self.chunk, self.length);
    }
}
