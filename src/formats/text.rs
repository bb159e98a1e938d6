//! What the formats that are text have in common: a buffer, and fixed text around records and values.

use std::borrow::Cow;
use std::marker::PhantomData;

use super::{End, RecordWriter};
use crate::rows::raw_value::{RawValue, append};
use crate::table::columns::{COLUMN_COUNT, COLUMNS, Column};
use crate::table::layout::Layout;

/// A format that is text.
pub(super) trait TextFormat {
    /// What names a value.
    const NAMING: Naming;
    /// Before the first record.
    const OPEN: &'static [u8];
    /// Between two records.
    const BETWEEN: Padded;
    /// Behind the last record.
    const CLOSE: &'static [u8];
    /// The whole body where there is no record.
    const EMPTY: &'static [u8];
    /// Behind the values of a record.
    const END_RECORD: Padded;

    /// The number of records behind which white space may stand. No line reader passes over an empty line for sure.
    const BLANK_BEHIND: u64 = u64::MAX;

    /// The first line, of a format that names the fields there instead of [`Self::OPEN`] and [`Self::EMPTY`].
    fn header(_layout: &Layout) -> Option<Cow<'static, [u8]>> {
        None
    }

    /// Appends a value of a fast record, with the text around it.
    fn fast_value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>);

    /// Appends any value, with the text around it.
    fn value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>);

    /// Appends the end that was asked for, where the format has none of its own. A record has so many fields.
    fn end(_records: u64, _fields: usize, _end: &End, _out: &mut Vec<u8>) {}
}

/// What stands around a value, by the name of its field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming {
    /// Before the name of a record's first field.
    pub(super) first: &'static str,
    /// Before the name of any other field.
    pub(super) next: &'static str,
    /// Between the name and the value.
    pub(super) behind: &'static str,
    /// Before the name that follows the value; `None` where none follows. `behind` stands after that name as well.
    pub(super) closing: Option<&'static str>,
}

/// The text around the values of one field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    /// Before a value: what closes the value before it, and its own name.
    pub(super) before: Padded<BEFORE>,
    /// What closes the value.
    pub(super) after: Padded,
    /// The name alone.
    pub(super) name: &'static str,
    /// Whether the field is a record's first.
    pub(super) is_first: bool,
    /// Whether it is the last.
    pub(super) is_last: bool,
}

impl Label {
    /// The label of the field `name`, which stands behind the field `previous`.
    const fn new(
        naming: Naming,
        previous: Option<&str>,
        name: &'static str,
        is_last: bool,
    ) -> Self {
        let Naming {
            first,
            next,
            behind,
            closing,
        } = naming;
        // A format whose records name no field has nothing between name and value.
        let said = if behind.is_empty() { "" } else { name };
        let before = match (previous, closing) {
            (None, _) => Padded::fitting(&[first, said, behind]),
            (Some(_), None) => Padded::fitting(&[next, said, behind]),
            (Some(previous), Some(closing)) => {
                Padded::fitting(&[closing, previous, behind, next, said, behind])
            }
        };
        let after = match closing {
            Some(closing) => Padded::fitting(&[closing, said, behind]),
            None => Padded::fitting(&[]),
        };
        Self {
            before: before.0,
            after: after.0,
            name,
            is_first: previous.is_none(),
            is_last,
        }
    }

    /// The labels of all columns.
    const fn all(naming: Naming) -> [Self; COLUMN_COUNT] {
        let mut all = [Self::new(naming, None, "", false); COLUMN_COUNT];
        Self::fill(&mut all, naming, COLUMNS.as_slice());
        all
    }

    fn of(naming: Naming, fields: &[Column]) -> Vec<Self> {
        let mut labels = vec![Self::new(naming, None, "", false); fields.len()];
        Self::fill(&mut labels, naming, fields);
        labels
    }

    /// Puts the label of each field in its slot.
    const fn fill(mut slots: &mut [Self], naming: Naming, mut fields: &[Column]) {
        let mut previous = None;
        while let ([slot, more @ ..], [field, rest @ ..]) = (slots, fields) {
            *slot = Self::new(naming, previous, field.name, rest.is_empty());
            (slots, fields, previous) = (more, rest, Some(field.name));
        }
    }
}

/// Writes records as text.
pub(super) struct TextWriter<F> {
    out: Vec<u8>,
    records: u64,
    /// The length of `out` where the last record began.
    before_record: usize,
    header: Option<Cow<'static, [u8]>>,
    labels: Cow<'static, [Label]>,
    format: PhantomData<F>,
}

impl<F: TextFormat> TextWriter<F> {
    /// The loop over records is compiled once more for all columns of the table.
    pub(super) const UNROLLED: bool = true;

    /// The labels of a whole flow, known when compiling.
    const ALL: &'static [Label; COLUMN_COUNT] = &Label::all(F::NAMING);
}

impl<F: TextFormat> RecordWriter for TextWriter<F> {
    fn new(layout: &Layout, _end: Option<&End>) -> Self {
        Self {
            out: Vec::new(),
            records: 0,
            before_record: 0,
            header: F::header(layout),
            labels: if layout.is_all() {
                Self::ALL.as_slice().into()
            } else {
                Label::of(F::NAMING, layout.fields()).into()
            },
            format: PhantomData,
        }
    }

    fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    #[inline(always)]
    fn begin_record(&mut self) {
        self.before_record = self.out.len();
        if self.records == 0 {
            let open = self.header.as_deref().unwrap_or(F::OPEN);
            self.out.extend_from_slice(open);
        } else {
            F::BETWEEN.append_to(&mut self.out);
        }
    }

    #[inline(always)]
    fn fast_value<const ALL: bool>(&mut self, field: usize, value: RawValue<'_>) {
        let label = if ALL {
            Self::ALL.get(field)
        } else {
            self.labels.get(field)
        };
        if let Some(label) = label {
            F::fast_value(label, value, &mut self.out);
        }
    }

    fn value(&mut self, field: usize, value: RawValue<'_>) {
        if let Some(label) = self.labels.get(field) {
            F::value(label, value, &mut self.out);
        }
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

    fn blank(&mut self) {
        if self.records >= F::BLANK_BEHIND {
            self.out.push(b'\n');
        }
    }

    fn finish(&mut self, end: Option<&End>) {
        self.out.extend_from_slice(match &self.header {
            _ if self.records > 0 => F::CLOSE,
            Some(header) => header,
            None => F::EMPTY,
        });
        if let Some(end) = end {
            F::end(self.records, self.labels.len(), end, &mut self.out);
        }
    }
}

/// The longest text before a value: two columns' names and five more bytes, rounded up for the copy.
const BEFORE: usize = {
    let mut longest: usize = 0;
    let mut columns = COLUMNS.as_slice();
    while let [column, rest @ ..] = columns {
        if column.name.len() > longest {
            longest = column.name.len();
        }
        columns = rest;
    }
    longest
        .saturating_mul(2)
        .saturating_add(5)
        .next_multiple_of(16)
};

/// A short text at the start of a chunk: a copy of a size known when compiling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded<const N: usize = 16> {
    chunk: [u8; N],
    length: usize,
}

impl<const N: usize> Padded<N> {
    /// The text of these parts; in a const a text longer than the chunk does not compile.
    pub(super) const fn new(parts: &[&str]) -> Self {
        let (padded, is_whole) = Self::fitting(parts);
        assert!(is_whole, "longer than the chunk");
        padded
    }

    /// The text of the parts that the chunk has room for, and whether these are all of them. They are where a name is as
    /// long as a column's at most.
    const fn fitting(mut parts: &[&str]) -> (Self, bool) {
        let mut chunk = [0; N];
        let (mut length, mut is_whole): (usize, _) = (0, true);
        while let [part, rest @ ..] = parts {
            let (_, room) = chunk.split_at_mut(length);
            if let Some((text, _)) = room.split_at_mut_checked(part.len()) {
                text.copy_from_slice(part.as_bytes());
                length = length.saturating_add(part.len());
            } else {
                is_whole = false;
            }
            parts = rest;
        }
        (Self { chunk, length }, is_whole)
    }

    /// Appends the text.
    #[inline(always)]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        match self.chunk.first_chunk::<16>() {
            Some(chunk) if self.length <= 16 => append(out, chunk, self.length),
            _ => append(out, &self.chunk, self.length),
        }
    }
}
