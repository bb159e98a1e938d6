//! Bodies, read by parsers that have nothing to do with the component: serde_json, csv, roxmltree.

use flow_window::table::columns::{COLUMNS, ColumnType};

/// A value of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    /// Stored where text is to be written; a reader finds a text that stands for the same number.
    Number(f64),
}

impl Cell {
    /// Whether a cell that is stored may be read as `read`.
    pub(crate) fn is_read_as(&self, read: &Self) -> bool {
        match (self, read) {
            (Self::Number(number), Self::Text(text)) => text.parse() == Ok(*number),
            _ => self == read,
        }
    }
}

/// A record: its cells in the order of the fields.
pub(crate) type Record = Vec<Cell>;

/// Reads a body of `format`.
///
/// # Errors
/// Whatever its parser says, or what makes it another document than the contract's.
pub(crate) fn parse(format: &str, body: &[u8]) -> Result<Vec<Record>, String> {
    match format {
        "json" => json(body),
        "ndjson" => ndjson(body),
        "csv" => csv(body),
        "xml" => xml(body),
        _ => Err(format!("no such format: {format}")),
    }
}

/// What a reader of `format` gets to see of a cell: XML has no control characters, CSV no null.
pub(crate) fn as_seen_through(format: &str, cell: &Cell) -> Cell {
    match (format, cell) {
        ("xml", Cell::Text(text)) => {
            // XML 1.0, section 2.2, production `Char`.
            let held = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
            let char = |c| if held(c) { c } else { '\u{fffd}' };
            Cell::Text(text.chars().map(char).collect())
        }
        ("csv", Cell::Text(text)) if text.is_empty() => Cell::Null,
        _ => cell.clone(),
    }
}

fn json(body: &[u8]) -> Result<Vec<Record>, String> {
    let values: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    values.iter().map(object).collect()
}

fn ndjson(body: &[u8]) -> Result<Vec<Record>, String> {
    if !body.is_empty() && !body.ends_with(b"\n") {
        return Err("a last line without its end".into());
    }
    let lines = body.split_inclusive(|b| *b == b'\n');
    let objects = lines.map(|line| serde_json::from_slice(line).map_err(|e| e.to_string()));
    objects.map(|map| object(&map?)).collect()
}

fn object(map: &serde_json::Map<String, serde_json::Value>) -> Result<Record, String> {
    let names: Vec<_> = map.keys().map(String::as_str).collect();
    if names.len() != COLUMNS.len() || !COLUMNS.iter().all(|field| names.contains(&field.name)) {
        return Err(format!("fields {names:?}"));
    }
    let cell = |(name, kind): (&str, ColumnType)| match (&map[name], kind) {
        (serde_json::Value::Null, _) => Ok(Cell::Null),
        (serde_json::Value::String(text), ColumnType::Text) => Ok(Cell::Text(text.clone())),
        (value, ColumnType::Integer) if value.is_i64() => {
            Ok(Cell::Integer(value.as_i64().unwrap_or_default()))
        }
        (value, _) => Err(format!("{name} is {value}")),
    };
    COLUMNS
        .iter()
        .map(|f| cell((f.name, f.column_type)))
        .collect()
}

fn csv(body: &[u8]) -> Result<Vec<Record>, String> {
    if !body.ends_with(b"\r\n") {
        return Err("a last line without its end".into());
    }
    let mut reader = csv::Reader::from_reader(body);
    let header = reader.headers().map_err(|error| error.to_string())?;
    if !header.iter().eq(COLUMNS.iter().map(|field| field.name)) {
        return Err(format!("header {header:?}"));
    }
    let records = reader.records().map(|record| {
        let record = record.map_err(|error| error.to_string())?;
        let cells = record.iter().zip(&COLUMNS);
        cells
            .map(|(text, field)| cell(text, field.column_type))
            .collect()
    });
    records.collect()
}

fn cell(text: &str, kind: ColumnType) -> Result<Cell, String> {
    match kind {
        _ if text.is_empty() => Ok(Cell::Null),
        ColumnType::Text => Ok(Cell::Text(text.to_owned())),
        ColumnType::Integer => {
            let integer = text.parse();
            integer
                .map(Cell::Integer)
                .map_err(|error| format!("{text:?}: {error}"))
        }
    }
}

fn xml(body: &[u8]) -> Result<Vec<Record>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("records") {
        return Err(format!("root {:?}", root.tag_name()));
    }
    let records = root.children().filter(|node| node.is_element());
    records.map(element).collect()
}

fn element(record: roxmltree::Node<'_, '_>) -> Result<Record, String> {
    let mut children: Vec<_> = record.children().filter(|node| node.is_element()).collect();
    children.reverse();
    let mut cells = Record::new();
    for field in &COLUMNS {
        let there = children
            .last()
            .is_some_and(|node| node.has_tag_name(field.name));
        let node = if there { children.pop() } else { None };
        cells.push(match (node, field.column_type) {
            (None, _) => Cell::Null,
            (Some(node), ColumnType::Text) => Cell::Text(node.text().unwrap_or("").to_owned()),
            (Some(node), ColumnType::Integer) => {
                cell(node.text().unwrap_or("-"), ColumnType::Integer)?
            }
        });
    }
    if !record.has_tag_name("record") || !children.is_empty() {
        return Err(format!("a record holds {children:?}"));
    }
    Ok(cells)
}
