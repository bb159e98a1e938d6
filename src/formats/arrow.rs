//! `arrow`: a stream of Arrow IPC messages: the schema, record batches, the end-of-stream marker.
//!
//! The first page is a batch, which a client can read at once. Where later ones end depends on the records alone: a
//! strong entity tag stands for the same bytes, however the answer came in pages.
//!
//! The metadata of a message is a flatbuffer. It is written from its start: an offset leads to what is appended later.
//! Every part has a multiple of four bytes, every message a multiple of 64.
//!
//! <https://arrow.apache.org/docs/format/Columnar.html>, format version 1.5: metadata V5, no dictionaries, no compression.

use super::{End, FormatInfo, RecordWriter};
use crate::rows::raw_value::{RawValue, unquoted};
use crate::table::columns::{Column, ColumnType};
use crate::table::layout::Layout;

pub(super) const INFO: FormatInfo = FormatInfo {
    name: "arrow",
    media_type: "application/vnd.apache.arrow.stream",
    media_type_parameters: "",
    aliases: &[],
};

/// Writes records as columns.
pub(super) struct ArrowWriter {
    out: Vec<u8>,
    arrays: Vec<Array>,
    /// Records of the batch that is being filled.
    rows: usize,
    /// Whether a field's text fills the batch.
    is_full: bool,
    /// Records of all batches.
    records: u64,
}

/// The values of one field in one batch.
struct Array {
    column_type: ColumnType,
    /// A bit a record, set where there is a value. Empty where no value is null.
    validity: Vec<u8>,
    /// The integers, or the offset in `text` where each text starts and the last one ends.
    values: Vec<u8>,
    text: Vec<u8>,
    /// The records that have no value.
    nulls: Vec<usize>,
}

impl RecordWriter for ArrowWriter {
    fn new(layout: &Layout, end: Option<&End>) -> Self {
        let mut out = Vec::new();
        append_schema(layout.fields(), end, &mut out);
        Self {
            out,
            arrays: layout.fields().iter().map(Array::new).collect(),
            rows: 0,
            is_full: false,
            records: 0,
        }
    }

    /// A batch is appended whole, with the room that it takes.
    fn reserve(&mut self, _bytes: usize) {}

    #[inline(always)]
    fn begin_record(&mut self) {}

    #[inline(always)]
    fn fast_value<const ALL: bool>(&mut self, field: usize, value: RawValue<'_>) {
        if let Some(array) = self.arrays.get_mut(field) {
            array.push_fast(value);
            self.is_full |= array.text.len() >= BATCH_TEXT;
        }
    }

    fn value(&mut self, field: usize, value: RawValue<'_>) {
        if let Some(array) = self.arrays.get_mut(field) {
            array.push(value, self.rows);
            self.is_full |= array.text.len() >= BATCH_TEXT;
        }
    }

    #[inline(always)]
    fn end_record(&mut self) {
        self.rows = self.rows.saturating_add(1);
        self.records = self.records.saturating_add(1);
        if self.rows == BATCH_ROWS || self.is_full {
            self.end_batch(&[]);
        }
    }

    fn undo_record(&mut self) {
        for array in &mut self.arrays {
            array.truncate(self.rows);
        }
    }

    fn records(&self) -> u64 {
        self.records
    }

    #[inline(always)]
    fn buffered(&self) -> usize {
        self.out.len()
    }

    fn flush(&mut self) {
        if self.rows > 0 {
            self.end_batch(&[]);
        }
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// A stream of messages has no byte that readers pass over.
    fn blank(&mut self) {}

    fn finish(&mut self, _end: Option<&End>) {
        let count = self.records.to_string();
        self.end_batch(&[("count", Some(&count))]);
        self.out.extend_from_slice(&END_OF_STREAM);
    }
}

impl ArrowWriter {
    /// One loop over records serves any columns.
    pub(super) const UNROLLED: bool = false;

    /// Appends the batch, and starts the next one.
    fn end_batch(&mut self, metadata: &[(&str, Option<&str>)]) {
        let out = &mut self.out;
        let start = begin_message(out, RECORD_BATCH, &BATCH_VTABLE);
        let table = out.len();
        append(out, &BATCH_TABLE);
        number(out, self.rows);
        word(out, 0);
        point(out, table.wrapping_add(BATCH_NODES));
        word(out, self.arrays.len());
        let mut buffers: usize = 0;
        for array in &mut self.arrays {
            array.set_validity(self.rows);
            buffers = buffers.saturating_add(array.buffers().count());
            number(out, self.rows);
            number(out, array.nulls.len());
        }
        word(out, 0);
        point(out, table.wrapping_add(BATCH_BUFFERS));
        word(out, buffers);
        let mut length: usize = 0;
        for buffer in self.arrays.iter().flat_map(Array::buffers) {
            number(out, length);
            number(out, buffer.len());
            length = length.saturating_add(buffer.len().next_multiple_of(ALIGNMENT));
        }
        patch(out, start.wrapping_add(BODY_LENGTH), length);
        end_message(out, start, metadata);
        out.reserve(length);
        for array in &mut self.arrays {
            for buffer in array.buffers() {
                append(out, buffer);
                pad(out);
            }
            array.clear();
        }
        self.rows = 0;
        self.is_full = false;
    }
}

/// Records that a batch has at most.
const BATCH_ROWS: usize = 8_192;

/// Bytes of one field's text at which a batch ends.
const BATCH_TEXT: usize = 1 << 20;

/// The capacity that a buffer has at most from one batch to the next. Few pages need more.
const CAPACITY: usize = 1 << 20;

impl Array {
    fn new(column: &Column) -> Self {
        let mut array = Self {
            column_type: column.column_type,
            validity: Vec::new(),
            values: Vec::new(),
            text: Vec::new(),
            nulls: Vec::new(),
        };
        array.clear();
        array
    }

    /// Appends a value of a fast record.
    #[inline(always)]
    fn push_fast(&mut self, value: RawValue<'_>) {
        if let Some(content) = value.content() {
            content.append_to(&mut self.text);
            self.end_text();
        } else {
            let integer = integer(value.bytes());
            self.values.extend_from_slice(&integer.to_le_bytes());
        }
    }

    /// Appends any value, that of the batch's record `row`.
    fn push(&mut self, value: RawValue<'_>, row: usize) {
        let is_null = value.bytes() == b"null";
        if is_null {
            self.nulls.push(row);
        }
        let text = unquoted(value.bytes()).unwrap_or_default();
        match self.column_type {
            ColumnType::Integer => {
                let integer: i64 = text.parse().unwrap_or_default();
                self.values.extend_from_slice(&integer.to_le_bytes());
            }
            ColumnType::Text => {
                if !is_null {
                    self.text.extend_from_slice(text.as_bytes());
                }
                self.end_text();
            }
        }
    }

    /// Appends the offset that the next text starts at. No page has 2 GiB: it fits.
    #[inline(always)]
    fn end_text(&mut self) {
        self.values.extend_from_slice(&low_half(self.text.len()));
    }

    /// Leaves the first `rows` values. Those behind them are of a fast record, and none of them is null.
    fn truncate(&mut self, rows: usize) {
        let length = match self.column_type {
            ColumnType::Integer => rows.wrapping_mul(8),
            ColumnType::Text => rows.wrapping_add(1).wrapping_mul(4),
        };
        self.values.truncate(length);
        // There is no text behind integers.
        if let Some([a, b, c, d]) = self.values.last_chunk() {
            let end = u32::from_le_bytes([*a, *b, *c, *d]);
            self.text.truncate(end as usize);
        }
    }

    fn set_validity(&mut self, rows: usize) {
        if self.nulls.is_empty() {
            return;
        }
        self.validity.resize(rows.div_ceil(8), u8::MAX);
        for row in &self.nulls {
            if let Some(byte) = self.validity.get_mut(row.wrapping_shr(3)) {
                *byte ^= u8::rotate_left(1, (row & 7) as u32);
            }
        }
    }

    /// What a batch holds of it.
    fn buffers(&self) -> impl Iterator<Item = &Vec<u8>> {
        let buffers = match self.column_type {
            ColumnType::Integer => 2,
            ColumnType::Text => 3,
        };
        [&self.validity, &self.values, &self.text]
            .into_iter()
            .take(buffers)
    }

    fn clear(&mut self) {
        self.nulls.clear();
        for buffer in [&mut self.validity, &mut self.values, &mut self.text] {
            buffer.clear();
            buffer.shrink_to(CAPACITY);
        }
        if self.column_type == ColumnType::Text {
            self.end_text();
        }
    }
}

/// The integer of a fast record: at most 18 digits, and a sign.
#[inline(always)]
fn integer(value: &[u8]) -> i64 {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let mut integer: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit & 0xF);
        integer = integer.wrapping_mul(10).wrapping_add(digit);
    }
    if digits.len() < value.len() {
        integer = integer.wrapping_neg();
    }
    integer
}

// The messages.

/// Bytes that every message and every buffer is a multiple of.
const ALIGNMENT: usize = 64;

/// No more messages: the sign of one, and no metadata.
const END_OF_STREAM: [u8; 8] = [255, 255, 255, 255, 0, 0, 0, 0];

/// The start of a message, up to the version and the type of its header.
///
/// A table starts with the distance back to its vtable. That has its own size, the table's size, and the place of each
/// field in the table, or 0 for a field that is left out.
const MESSAGE: [u8; 52] = [
    255, 255, 255, 255, // The sign of a message.
    0, 0, 0, 0, // The length of the metadata, which starts behind it.
    24, 0, 0, 0, // The distance to the table Message.
    14, 0, 24, 0, 20, 0, 22, 0, 4, 0, 8, 0, 16,
    0, // Version, type of header, header, length, metadata.
    0, 0, 0, 0, 0, 0, // Padding.
    20, 0, 0, 0, // Message.
    0, 0, 0, 0, // The distance to the header.
    0, 0, 0, 0, 0, 0, 0, 0, // The length of the body.
    0, 0, 0, 0, // The distance to the metadata of the user.
];
const METADATA_LENGTH: usize = 4;
const METADATA: usize = 8;
const HEADER: usize = 36;
const BODY_LENGTH: usize = 40;
const CUSTOM_METADATA: usize = 48;

/// Metadata V5.
const VERSION: u8 = 4;

// Types of header.
const SCHEMA: u8 = 1;
const RECORD_BATCH: u8 = 3;

/// Of Schema: byte order (the default, little-endian), fields, metadata.
const SCHEMA_VTABLE: [u8; 12] = [10, 0, 12, 0, 0, 0, 4, 0, 8, 0, 0, 0];
const SCHEMA_TABLE: [u8; 12] = [12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SCHEMA_FIELDS: usize = 4;
const SCHEMA_METADATA: usize = 8;

/// Of Field: name, nullable, type of type, type, dictionary (none), children.
const FIELD_VTABLE: [u8; 16] = [16, 0, 20, 0, 4, 0, 16, 0, 17, 0, 8, 0, 0, 0, 12, 0];
const FIELD_TABLE: [u8; 16] = [16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const FIELD_NAME: usize = 4;
const FIELD_TYPE: usize = 8;
const FIELD_CHILDREN: usize = 12;

/// Of RecordBatch: length, nodes, buffers.
const BATCH_VTABLE: [u8; 16] = [10, 0, 20, 0, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0, 0, 0];
/// Up to the length.
const BATCH_TABLE: [u8; 8] = [16, 0, 0, 0, 0, 0, 0, 0];
const BATCH_NODES: usize = 4;
const BATCH_BUFFERS: usize = 16;

/// Of KeyValue: key, value.
const PAIR_VTABLE: [u8; 8] = [8, 0, 12, 0, 4, 0, 8, 0];
const PAIR_TABLE: [u8; 12] = [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const PAIR_KEY: usize = 4;
const PAIR_VALUE: usize = 8;

/// The number that a type has in Field, its vtable and its table.
fn type_of(column: &Column) -> (u8, &'static [u8], &'static [u8]) {
    match column.column_type {
        // Int: its bits, and whether it has a sign.
        ColumnType::Integer => (
            2,
            &[8, 0, 12, 0, 4, 0, 8, 0],
            &[8, 0, 0, 0, 64, 0, 0, 0, 1, 0, 0, 0],
        ),
        // Utf8.
        ColumnType::Text => (5, &[4, 0, 4, 0], &[4, 0, 0, 0]),
    }
}

fn append_schema(fields: &[Column], end: Option<&End>, out: &mut Vec<u8>) {
    let start = begin_message(out, SCHEMA, &SCHEMA_VTABLE);
    let table = out.len();
    append(out, &SCHEMA_TABLE);
    point(out, table.wrapping_add(SCHEMA_FIELDS));
    let mut slot = offsets(out, fields.len());
    for column in fields {
        let (kind, vtable, type_table) = type_of(column);
        append(out, &FIELD_VTABLE);
        point(out, slot);
        slot = slot.wrapping_add(4);
        let field = out.len();
        append(out, &FIELD_TABLE);
        append(out, &[u8::from(!column.is_key), kind, 0, 0]);
        string(out, field.wrapping_add(FIELD_NAME), column.name);
        point(out, field.wrapping_add(FIELD_CHILDREN));
        word(out, 0);
        append(out, vtable);
        point(out, field.wrapping_add(FIELD_TYPE));
        append(out, type_table);
    }
    point(out, table.wrapping_add(SCHEMA_METADATA));
    match end {
        Some(end) => {
            let watermark = end.watermark.map(|id| id.to_string());
            let known = [
                ("lineage", end.lineage.as_deref()),
                ("watermark", watermark.as_deref()),
                ("cursor", end.cursor.as_deref()),
            ];
            pairs(out, &known);
        }
        None => pairs(out, &[]),
    }
    end_message(out, start, &[]);
}

/// Starts a message, up to the table of its header; returns where it starts.
fn begin_message(out: &mut Vec<u8>, header_type: u8, vtable: &[u8]) -> usize {
    let start = out.len();
    append(out, &MESSAGE);
    append(out, &[VERSION, 0, header_type, 0]);
    append(out, vtable);
    point(out, start.wrapping_add(HEADER));
    start
}

/// Ends the metadata of a message. Its body follows.
fn end_message(out: &mut Vec<u8>, start: usize, metadata: &[(&str, Option<&str>)]) {
    point(out, start.wrapping_add(CUSTOM_METADATA));
    pairs(out, metadata);
    pad(out);
    let length = out.len().wrapping_sub(start).wrapping_sub(METADATA);
    patch(out, start.wrapping_add(METADATA_LENGTH), length);
}

/// Appends a vector of KeyValue, of the pairs that have a value.
#[inline(never)]
fn pairs(out: &mut Vec<u8>, pairs: &[(&str, Option<&str>)]) {
    let count = pairs.iter().filter(|(_, value)| value.is_some()).count();
    let mut slot = offsets(out, count);
    for (key, value) in pairs {
        let Some(value) = value else {
            continue;
        };
        append(out, &PAIR_VTABLE);
        point(out, slot);
        slot = slot.wrapping_add(4);
        let table = out.len();
        append(out, &PAIR_TABLE);
        string(out, table.wrapping_add(PAIR_KEY), key);
        string(out, table.wrapping_add(PAIR_VALUE), value);
    }
}

/// Appends a vector of so many offsets; returns the place of the first.
fn offsets(out: &mut Vec<u8>, count: usize) -> usize {
    word(out, count);
    let first = out.len();
    resize(out, first.wrapping_add(count.wrapping_mul(4)));
    first
}

/// Appends a string, and has the offset at `slot` lead to it.
fn string(out: &mut Vec<u8>, slot: usize, text: &str) {
    point(out, slot);
    word(out, text.len());
    append(out, text.as_bytes());
    // A zero ends it.
    resize(out, out.len().wrapping_add(1).next_multiple_of(4));
}

/// Has the offset at `slot` lead to what comes next.
#[inline(never)]
fn point(out: &mut [u8], slot: usize) {
    patch(out, slot, out.len().wrapping_sub(slot));
}

/// Writes 32 bits over those at `slot`.
fn patch(out: &mut [u8], slot: usize, number: usize) {
    let rest = out.get_mut(slot..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk_mut() {
        *bytes = low_half(number);
    }
}

/// Appends 32 bits.
fn word(out: &mut Vec<u8>, number: usize) {
    append(out, &low_half(number));
}

/// Appends 64 bits.
fn number(out: &mut Vec<u8>, number: usize) {
    append(out, &(number as u64).to_le_bytes());
}

#[inline(always)]
fn low_half(number: usize) -> [u8; 4] {
    let [a, b, c, d, ..] = (number as u64).to_le_bytes();
    [a, b, c, d]
}

/// Pads with zeros.
fn pad(out: &mut Vec<u8>) {
    resize(out, out.len().next_multiple_of(ALIGNMENT));
}

// One copy each: inlined, they would be most of the code.

#[inline(never)]
fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Appends zeros up to this length.
#[inline(never)]
fn resize(out: &mut Vec<u8>, length: usize) {
    out.resize(length, 0);
}
