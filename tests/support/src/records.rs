//! Flows as a client reads them, and as they have to be written.
//!
//! The readers are parsers that have nothing to do with the component: `serde_json`, `csv`, `roxmltree`,
//! `arrow-ipc`. What has to be written is worked out from the values that are stored, by the rules of docs/api.md: six fields are
//! integers and four are text, whatever the database stores; a null stays a null.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, FieldRef, SchemaRef};
use flow_window::table::columns::{COLUMN_COUNT, COLUMNS, Column, ColumnType};
use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use serde_json::{Map, Value};

/// A value of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// Of an integer field.
    Integer(i64),
    /// Of a text field.
    Text(String),
    /// `-0` in JSON, which `serde_json` does not take for an integer. Nothing that is stored has to be written so.
    MinusZero,
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::MinusZero => ValueRef::Real(-0.0),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// A record: its cells in the order of the fields.
pub type Record = Vec<Cell>;

/// The id of a record that has one.
#[track_caller]
pub fn id(record: &Record) -> i64 {
    integer(record, 0)
}

/// The time of a record that has one.
#[track_caller]
pub fn time(record: &Record) -> i64 {
    integer(record, 1)
}

#[track_caller]
fn integer(record: &Record, field: usize) -> i64 {
    match record[field] {
        Cell::Integer(integer) => integer,
        _ => panic!("{} is no integer: {record:?}", COLUMNS[field].name),
    }
}

// Written.

/// The record that a client has to get of a flow that is stored as these values.
///
/// # Errors
/// Which value cannot be written as its field's type, and so has to be refused.
pub fn written<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> Result<Record, String> {
    let cells = COLUMNS.iter().zip(values).map(|(field, value)| {
        let cell =
            cell(value, field.column_type).filter(|cell| !field.is_key || *cell != Cell::Null);
        cell.ok_or_else(|| format!("{} is {value:?}", field.name))
    });
    cells.collect()
}

fn cell(value: ValueRef<'_>, kind: ColumnType) -> Option<Cell> {
    Some(match (value, kind) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(integer), ColumnType::Integer) => Cell::Integer(integer),
        (ValueRef::Integer(integer), ColumnType::Text) => Cell::Text(integer.to_string()),
        (ValueRef::Text(bytes), kind) => {
            let text = std::str::from_utf8(bytes).ok()?;
            match kind {
                ColumnType::Text => Cell::Text(text.to_owned()),
                ColumnType::Integer => Cell::Integer(text.trim().parse().ok()?),
            }
        }
        (ValueRef::Real(real), ColumnType::Text) => Cell::Text(digits(real)),
        (ValueRef::Real(real), ColumnType::Integer) => {
            let read: f64 = digits(real).parse().ok()?;
            let whole = read.trunc() == read && read.abs() < 1e15;
            Cell::Integer(whole.then_some(read as i64)?)
        }
        (ValueRef::Blob(_), _) => return None,
    })
}

/// A REAL as SQLite writes it in JSON: with 15 digits.
#[track_caller]
fn digits(real: f64) -> String {
    thread_local! {
        static SQLITE: Connection = Connection::open_in_memory().expect("a database in memory");
    }
    let array: rusqlite::Result<String> = SQLITE.with(|sqlite| {
        let mut select = sqlite.prepare_cached("SELECT json_array(?)")?;
        select.query_row([real], |row| row.get(0))
    });
    let array = array.expect("a number");
    let digits = array.trim_matches(['[', ']']);
    let read: f64 = digits.parse().expect(digits);
    // The largest number has digits that stand for a larger one, which is read as infinite.
    let near = (read.clamp(f64::MIN, f64::MAX) - real).abs() <= 1e-14 * real.abs();
    assert!(near, "{real} is {digits}");
    digits.to_owned()
}

/// What a reader of XML 1.0 gets for a text: U+FFFD for what is no `Char` (section 2.2).
pub fn in_xml(text: &str) -> String {
    let held = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let char = |c| if held(c) { c } else { '\u{fffd}' };
    text.chars().map(char).collect()
}

/// What a reader of `format` gets for a record: all of it, but for what XML has no characters for.
pub fn as_seen_through(format: &str, record: Record) -> Record {
    let seen = |cell| match cell {
        Cell::Text(text) if format == "xml" => Cell::Text(in_xml(&text)),
        cell => cell,
    };
    record.into_iter().map(seen).collect()
}

// Read.

/// Reads a body of `format`.
///
/// # Errors
/// What its parser says, or what makes it another document than the contract's.
pub fn parse(format: &str, body: &[u8]) -> Result<Vec<Record>, String> {
    if format == "arrow" {
        return arrow(body);
    }
    let text = std::str::from_utf8(body).map_err(said)?;
    match format {
        "json" => {
            let objects: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(said)?;
            objects.iter().map(object).collect()
        }
        "ndjson" => ndjson(text),
        "csv" => csv(text),
        "xml" => xml(text),
        _ => Err(format!("no such format: {format}")),
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Where Python's `str.splitlines` ends a line, which knows more such places than any other reader.
const LINE_ENDS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

fn ndjson(text: &str) -> Result<Vec<Record>, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("a last line without its end".into());
    }
    let lines = text.split_terminator(LINE_ENDS);
    lines
        .map(|line| object(&serde_json::from_str(line).map_err(said)?))
        .collect()
}

fn object(map: &Map<String, Value>) -> Result<Record, String> {
    let names: Vec<_> = map.keys().map(String::as_str).collect();
    if names.len() != COLUMN_COUNT || !COLUMNS.iter().all(|field| names.contains(&field.name)) {
        return Err(format!("fields {names:?}"));
    }
    let cell = |(name, kind): (&str, ColumnType)| match (&map[name], kind) {
        (Value::Null, _) => Ok(Cell::Null),
        (Value::String(text), ColumnType::Text) => Ok(Cell::Text(text.clone())),
        (value, ColumnType::Integer) => match value.as_i64() {
            Some(integer) => Ok(Cell::Integer(integer)),
            None if value
                .as_f64()
                .is_some_and(|zero| zero == 0.0 && zero.is_sign_negative()) =>
            {
                Ok(Cell::MinusZero)
            }
            None => Err(format!("{name} is {value}")),
        },
        (value, _) => Err(format!("{name} is {value}")),
    };
    COLUMNS
        .iter()
        .map(|f| cell((f.name, f.column_type)))
        .collect()
}

fn csv(text: &str) -> Result<Vec<Record>, String> {
    if !text.ends_with("\r\n") {
        return Err("a last line without its end".into());
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(said)?;
    if !header.iter().eq(COLUMNS.iter().map(|field| field.name)) {
        return Err(format!("header {header:?}"));
    }
    // The reader does not tell an empty text from none.
    let mut bare = bare_fields(text).into_iter().skip(COLUMN_COUNT);
    let records = reader.records().map(|record| {
        let record = record.map_err(said)?;
        let cells = record.iter().zip(&COLUMNS).map(|(text, field)| {
            let null = bare.next().is_some_and(str::is_empty);
            typed((!null).then_some(text), field.column_type)
        });
        cells.collect()
    });
    records.collect()
}

/// The fields of CSV with their quotes, of all records one behind the other.
fn bare_fields(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let outside = |c| {
        quoted ^= c == '"';
        !quoted && matches!(c, ',' | '\n')
    };
    let fields = text.split(outside);
    let mut fields: Vec<_> = fields.map(|field| field.trim_end_matches('\r')).collect();
    fields.pop();
    fields
}

fn xml(text: &str) -> Result<Vec<Record>, String> {
    let document = roxmltree::Document::parse(text).map_err(said)?;
    let root = document.root_element();
    if !root.has_tag_name("records") {
        return Err(format!("root {:?}", root.tag_name()));
    }
    let records = root.children().filter(|node| node.is_element());
    records.map(element).collect()
}

fn element(record: roxmltree::Node<'_, '_>) -> Result<Record, String> {
    let children = record.children().filter(|node| node.is_element());
    let mut children = children.peekable();
    let cells = COLUMNS.iter().map(|field| {
        let node = children.next_if(|node| node.has_tag_name(field.name));
        typed(
            node.map(|node| node.text().unwrap_or("")),
            field.column_type,
        )
    });
    let cells = cells.collect::<Result<_, _>>()?;
    if !record.has_tag_name("record") || children.next().is_some() {
        return Err(format!("a record holds {record:?}"));
    }
    Ok(cells)
}

/// The metadata of an Arrow IPC message.
pub type Metadata = BTreeMap<String, String>;

/// A stream of Arrow IPC messages.
#[derive(Debug)]
pub struct ArrowStream {
    /// Its schema, with the metadata.
    pub schema: SchemaRef,
    /// The records of each batch, and the metadata of its message.
    pub batches: Vec<(Vec<Record>, Metadata)>,
    /// Where each batch ends in the body.
    pub ends: Vec<usize>,
}

impl ArrowStream {
    /// Reads a stream up to the marker of its end.
    ///
    /// # Errors
    /// What Arrow's reader says, which checks offsets, lengths and UTF-8; a message that is no flatbuffer, or is not
    /// aligned; a missing marker, which the reader takes for an end; a last batch whose count is not that of all records.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let reader = StreamReader::try_new(body, None).map_err(said)?;
        let schema = reader.schema();
        let batches: Vec<_> = reader.collect::<Result<_, _>>().map_err(said)?;
        let (mut ends, mut metadata): (Vec<_>, Vec<_>) = arrow_messages(body)?.into_iter().unzip();
        // The first message is the schema.
        ends.remove(0);
        metadata.remove(0);
        let records = batches.iter().map(|batch| {
            let rows = 0..batch.num_rows();
            rows.map(|row| arrow_record(batch, row)).collect::<Vec<_>>()
        });
        let batches: Vec<_> = records.zip(metadata).collect();
        let count: usize = batches.iter().map(|(records, _)| records.len()).sum();
        let said = batches.last().map(|(_, metadata)| metadata);
        if said != Some(&Metadata::from([("count".to_owned(), count.to_string())])) {
            return Err(format!("{count} records, and {said:?}"));
        }
        Ok(Self {
            schema,
            batches,
            ends,
        })
    }

    /// The records of all batches.
    pub fn records(self) -> Vec<Record> {
        let records = self.batches.into_iter().map(|(records, _)| records);
        records.flatten().collect()
    }
}

/// Where each message ends, and its metadata.
fn arrow_messages(body: &[u8]) -> Result<Vec<(usize, Metadata)>, String> {
    let whole = body.len();
    let mut body = body;
    let mut all = Vec::new();
    loop {
        let (prefix, rest) = body
            .split_first_chunk::<8>()
            .ok_or("no marker of the end")?;
        let [255, 255, 255, 255, length @ ..] = *prefix else {
            return Err("no message".into());
        };
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return if rest.is_empty() {
                Ok(all)
            } else {
                Err("bytes behind the end".into())
            };
        }
        let (flatbuffer, rest) = rest.split_at_checked(length).ok_or("a cut message")?;
        // The check of alignment looks at addresses: those of a vector of its own are aligned.
        let bytes = flatbuffer.to_vec();
        let message = arrow_ipc::root_as_message(&bytes).map_err(said)?;
        let pairs = message.custom_metadata().into_iter().flatten();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let pairs = pairs.map(|pair| (text(pair.key()), text(pair.value())));
        let metadata = pairs.collect();
        let body_length = usize::try_from(message.bodyLength()).map_err(said)?;
        if !(length + 8 + body_length).is_multiple_of(64) || !body_length.is_multiple_of(64) {
            return Err(format!("a message of {length} and {body_length} bytes"));
        }
        body = rest.get(body_length..).ok_or("a cut body")?;
        all.push((whole - body.len(), metadata));
    }
}

fn arrow(body: &[u8]) -> Result<Vec<Record>, String> {
    let stream = ArrowStream::read(body)?;
    let expected: Vec<_> = COLUMNS.iter().map(arrow_field).collect();
    if stream.schema.fields().to_vec() != expected {
        return Err(format!("schema {}", stream.schema));
    }
    Ok(stream.records())
}

/// The field of a column.
pub fn arrow_field(column: &Column) -> FieldRef {
    let data_type = match column.column_type {
        ColumnType::Integer => DataType::Int64,
        ColumnType::Text => DataType::Utf8,
    };
    Field::new(column.name, data_type, !column.is_key).into()
}

fn arrow_record(batch: &RecordBatch, row: usize) -> Record {
    let cell = |column: &ArrayRef| match column.data_type() {
        _ if column.is_null(row) => Cell::Null,
        DataType::Int64 => Cell::Integer(column.as_primitive::<Int64Type>().value(row)),
        _ => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
    };
    batch.columns().iter().map(cell).collect()
}

/// A value from a reader that knows only text.
fn typed(text: Option<&str>, kind: ColumnType) -> Result<Cell, String> {
    match (text, kind) {
        (None, _) => Ok(Cell::Null),
        (Some(text), ColumnType::Text) => Ok(Cell::Text(text.to_owned())),
        (Some(text), ColumnType::Integer) => {
            let integer = text.parse().map(Cell::Integer);
            integer.map_err(|error| format!("{text:?}: {error}"))
        }
    }
}
