//! The text of a page, from any bytes: read as serde_json reads it, and written without loss.

use flow_window::rows::RecordError;
use flow_window::rows::ends::{first_key, last_key, without_last};
use flow_window::rows::raw_value::RawValue;
use flow_window::rows::reader::RecordReader;
use flow_window::table::columns::{COLUMN_COUNT, COLUMNS, ColumnType};
use flow_window::table::key::RowKey;
use flow_window::table::layout::Layout;
use serde_json::Value;
use support::random::Random;
use support::records::{Cell, Record};

use super::bodies::{self, Page};

/// What the text is when it is JSON without white space, as SQLite writes it.
enum Shape<'a> {
    /// Arrays of scalars, each scalar as it stands.
    Records(Vec<Vec<&'a str>>),
    /// Other values.
    Other,
}

/// Compares with the reference what is JSON without white space. The rest is at least treated alike
/// whatever the parts, and read back if it is taken.
pub fn check(bytes: &[u8]) {
    // Right where nothing else is wrong: it decides last of all.
    let count = walk(bytes, 0).0.len() as i64;
    bodies::check_parts(Page {
        packed: bytes,
        count,
    });
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(RecordReader::new(bytes, count, &Layout::ALL).is_err());
        return;
    };
    for other in [count - 1, count + 1] {
        assert!(walk(bytes, other).1.is_err(), "{text} taken as {other}");
    }
    match shape(&format!("[{text}]")) {
        Some(Shape::Records(records)) => check_records(bytes, &records),
        Some(Shape::Other) => assert!(walk(bytes, count).1.is_err(), "{text} is no page"),
        None => check_accepted(bytes, count),
    }
}

/// `None` for what is no JSON array, or not written without white space.
fn shape(array: &str) -> Option<Shape<'_>> {
    let value: Vec<Value> = serde_json::from_str(array).ok()?;
    let elements = split(array)?;
    assert_eq!(elements.len(), value.len(), "{array}");
    let scalars = |value: &Value| {
        let values = value.as_array();
        values.is_some_and(|values| !values.iter().any(|v| v.is_array() || v.is_object()))
    };
    if !value.iter().all(scalars) {
        return Some(Shape::Other);
    }
    let records = elements.into_iter().map(split).collect::<Option<_>>()?;
    Some(Shape::Records(records))
}

/// The elements of a JSON array as they stand; `None` where there is white space outside of strings.
fn split(array: &str) -> Option<Vec<&str>> {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let (mut elements, mut start) = (Vec::new(), 1);
    for (at, c) in array.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ' ' | '\t' | '\r' | '\n' => return None,
            _ => {}
        }
        let ends = (depth == 1 && c == ',') || (depth == 0 && c == ']');
        if ends && !quoted && at > start {
            elements.push(&array[start..at]);
            start = at + 1;
        }
    }
    Some(elements)
}

/// The value of a field that stands as `token`; `None` where it cannot be written as the field's type.
fn value(token: &str, field: usize) -> Option<Cell> {
    let read: Value = serde_json::from_str(token).ok()?;
    Some(match (read, COLUMNS[field].column_type) {
        (Value::Null, _) if COLUMNS[field].is_key => return None,
        (Value::Null, _) => Cell::Null,
        (Value::String(text), ColumnType::Text) => Cell::Text(text),
        (_, ColumnType::Text) => Cell::Text(token.to_owned()),
        (Value::String(text), ColumnType::Integer) => Cell::Integer(text.trim().parse().ok()?),
        (_, ColumnType::Integer) => Cell::Integer(token.parse().ok().or_else(|| {
            let real: f64 = token.parse().ok()?;
            let integer = real as i64;
            (real.abs() < 1e15 && integer as f64 == real).then_some(integer)
        })?),
    })
}

fn row(tokens: &[&str]) -> Option<Record> {
    let cells = tokens.iter().take(COLUMN_COUNT).enumerate();
    let cells: Record = cells
        .map(|(i, token)| value(token, i))
        .collect::<Option<_>>()?;
    (tokens.len() == COLUMN_COUNT).then_some(cells)
}

/// What is no page of SQLite's, and is taken for one nevertheless, is written as what it is taken for: no
/// value of it makes a body that cannot be read.
fn check_accepted(bytes: &[u8], count: i64) {
    _ = first_key(bytes);
    _ = last_key(bytes);
    _ = without_last(bytes);
    let (walked, Ok(())) = walk(bytes, count) else {
        return;
    };
    let rows = walked.iter().map(|pieces| {
        let tokens: Vec<_> = pieces.iter().map(String::as_str).collect();
        let typed = tokens.iter().zip(COLUMNS).all(|(token, field)| {
            *token == "null" || token.starts_with('"') == (field.column_type == ColumnType::Text)
        });
        let row = row(&tokens).filter(|_| typed);
        row.unwrap_or_else(|| panic!("{tokens:?} is no record"))
    });
    let rows: Vec<_> = rows.collect();
    bodies::check_read_back(
        &[Page {
            packed: bytes,
            count,
        }],
        &rows,
    );
}

fn check_records(bytes: &[u8], records: &[Vec<&str>]) {
    let expected: Vec<_> = records.iter().map_while(|tokens| row(tokens)).collect();
    let count = records.len() as i64;
    let (walked, result) = walk(bytes, count);
    // That a record is too long shows behind it.
    let longer = records
        .get(expected.len())
        .is_some_and(|tokens| tokens.len() > COLUMN_COUNT);
    let whole = expected.len() + usize::from(longer && walked.len() > expected.len());
    assert_eq!(walked.len(), whole, "{result:?}");
    assert_eq!(
        result.is_ok(),
        expected.len() == records.len(),
        "{result:?}"
    );
    for ((pieces, tokens), row) in walked.iter().zip(records).zip(&expected) {
        check_pieces(pieces, tokens, row);
    }
    let position = |record: &Vec<&str>| {
        let id = record.first()?.parse().ok()?;
        let time = record.get(1)?.parse().ok()?;
        Some(RowKey { time, id })
    };
    assert_eq!(first_key(bytes), records.first().and_then(position));
    assert_eq!(last_key(bytes), records.last().and_then(position));
    let join = |records: &[Vec<&str>]| {
        let records: Vec<_> = records
            .iter()
            .map(|tokens| format!("[{}]", tokens.join(",")))
            .collect();
        records.join(",").into_bytes()
    };
    assert_eq!(join(records), bytes);
    let before = records.split_last().map(|(_, before)| join(before));
    assert_eq!(without_last(bytes), before);
    if result.is_ok() {
        let whole = Page {
            packed: bytes,
            count,
        };
        bodies::check_read_back(&[whole], &expected);
        // Cut into pages anywhere, the body is the same.
        let at = Random::of(bytes).below(records.len() + 1);
        let (head, tail) = (join(&records[..at]), join(&records[at..]));
        let head = Page {
            packed: &head,
            count: at as i64,
        };
        let tail = Page {
            packed: &tail,
            count: count - at as i64,
        };
        let none = Page {
            packed: b"",
            count: 0,
        };
        bodies::check_read_back(&[head, none, tail], &expected);
    }
}

/// A value that stands as its field's type is copied as it stands, and the others are written as that.
fn check_pieces(pieces: &[String], tokens: &[&str], row: &Record) {
    for (i, (piece, token)) in pieces.iter().zip(tokens).enumerate() {
        let read: Value =
            serde_json::from_str(piece).unwrap_or_else(|error| panic!("{error}: {piece}"));
        let same = match (&row[i], &read) {
            (Cell::Null, Value::Null) => true,
            (Cell::Integer(integer), Value::Number(_)) => piece.parse() == Ok(*integer),
            (Cell::Text(text), Value::String(read)) => text == read,
            _ => false,
        };
        assert!(same, "{token} is {piece}, expected {:?}", row[i]);
        // A zero with a minus is an integer, and may lose it.
        let stands = match COLUMNS[i].column_type {
            ColumnType::Text => token.starts_with('"'),
            ColumnType::Integer => token.parse::<i64>().is_ok() && *token != "-0",
        };
        assert!(!stands || piece == token, "{token} became {piece}");
    }
}

/// The records that come before the first fault, each piece as it stands, and the fault.
type Walked = (Vec<Vec<String>>, Result<(), String>);

/// Walks a page value by value, and again by [`RecordReader::fast_record`] where that will do.
fn walk(bytes: &[u8], count: i64) -> Walked {
    let walked = walk_by(bytes, count, |_| None);
    let plain_first = walk_by(bytes, count, |records| {
        let mut pieces = Vec::new();
        let plain = records.fast_record::<true>(|_, piece| pieces.push(text(piece)));
        plain.then_some(pieces)
    });
    assert_eq!(plain_first, walked);
    walked
}

fn walk_by(
    bytes: &[u8],
    count: i64,
    mut plain: impl FnMut(&mut RecordReader<'_>) -> Option<Vec<String>>,
) -> Walked {
    let mut walked = Vec::new();
    let mut walk = || -> Result<(), RecordError> {
        let mut records = RecordReader::new(bytes, count, &Layout::ALL)?;
        loop {
            if let Some(pieces) = plain(&mut records) {
                walked.push(pieces);
                continue;
            }
            let Some(record) = records.record()? else {
                return Ok(());
            };
            walked.push(record.values().iter().copied().map(text).collect());
        }
    };
    let result = walk().map_err(|error| error.to_string());
    (walked, result)
}

fn text(piece: RawValue<'_>) -> String {
    String::from_utf8_lossy(piece.bytes()).into_owned()
}
