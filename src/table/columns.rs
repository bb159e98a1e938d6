//! The columns of the table: a network flow as LANL publishes it.
//!
//! This is the only list. SQL, the formats, the filters of the query string and the documents are made from it;
//! `schema.sql` is held to it by a test.
//!
//! Source: A. D. Kent, "Comprehensive, Multi-Source Cyber-Security Events", Los Alamos National
//! Laboratory, 2015, doi 10.17021/1179829. `id` is added: the row's number in the published file, since
//! the rows hold exact duplicates and no key of their own.

/// The type that a column's values are written as in every format, whatever type the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// A 64-bit signed integer.
    Integer,
    /// Text.
    Text,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The column's name, and the field's name in every format.
    pub name: &'static str,
    /// The type that its values are written as.
    pub column_type: ColumnType,
    /// Whether it is part of the key: its values are never NULL.
    pub is_key: bool,
    /// Whether the query string has a filter of this name.
    pub is_filter: bool,
    /// The value in the first row that LANL published, for the documents.
    pub example: &'static str,
    /// What it holds, with its unit.
    pub description: &'static str,
}

/// Number of columns.
pub const COLUMN_COUNT: usize = 10;

/// The columns in the order of `schema.sql` and of every format. The columns of the key come first.
pub const COLUMNS: [Column; COLUMN_COUNT] = [
    integer("id", "1", "number of the row, from 1, rising with arrival").key(),
    integer(
        "time",
        "1",
        "seconds since the start of the data set; not a Unix time",
    )
    .key(),
    integer("duration", "0", "length of the flow in seconds"),
    text("src_comp", "C1065", "source computer").filter(),
    text(
        "src_port",
        "389",
        "source port: a well-known port's number, or a name such as N10451",
    )
    .filter(),
    text("dst_comp", "C3799", "destination computer").filter(),
    text(
        "dst_port",
        "N10451",
        "destination port: a well-known port's number, or a name such as N10451",
    )
    .filter(),
    integer("protocol", "6", "IANA protocol number").filter(),
    integer("packet_count", "10", "packets in the flow"),
    integer("byte_count", "5323", "bytes in the flow"),
];

/// A column of integers that is neither key nor filter.
pub(crate) const fn integer(
    name: &'static str,
    example: &'static str,
    description: &'static str,
) -> Column {
    Column {
        name,
        column_type: ColumnType::Integer,
        is_key: false,
        is_filter: false,
        example,
        description,
    }
}

const fn text(name: &'static str, example: &'static str, description: &'static str) -> Column {
    Column {
        column_type: ColumnType::Text,
        ..integer(name, example, description)
    }
}

impl Column {
    const fn key(self) -> Self {
        Self {
            is_key: true,
            ..self
        }
    }

    const fn filter(self) -> Self {
        Self {
            is_filter: true,
            ..self
        }
    }
}

/// The columns as SQL lists them.
pub const SQL_LIST: &str = match str::from_utf8(&joined::<{ joined_length(", ", "") }>(", ", "")) {
    Ok(list) => list,
    // Every name is ASCII.
    Err(_) => "",
};

/// The length of what [`joined`] makes of the same arguments.
#[must_use]
pub(crate) const fn joined_length(separator: &str, end: &str) -> usize {
    let mut length = end.len();
    let mut columns = COLUMNS.as_slice();
    while let [column, rest @ ..] = columns {
        length = length.saturating_add(column.name.len());
        if !rest.is_empty() {
            length = length.saturating_add(separator.len());
        }
        columns = rest;
    }
    length
}

/// The names with `separator` between them and `end` behind them. `N` is their [`joined_length`]; another does not
/// compile in a const.
#[must_use]
pub(crate) const fn joined<const N: usize>(separator: &str, end: &str) -> [u8; N] {
    let mut text = [0; N];
    let mut room = text.as_mut_slice();
    let mut columns = COLUMNS.as_slice();
    while let [column, rest @ ..] = columns {
        room = appended(room, column.name);
        if !rest.is_empty() {
            room = appended(room, separator);
        }
        columns = rest;
    }
    assert!(appended(room, end).is_empty(), "another length");
    text
}

/// Writes `text` at the start of `room`; returns the room behind it.
const fn appended<'a>(room: &'a mut [u8], text: &str) -> &'a mut [u8] {
    let (start, rest) = room.split_at_mut(text.len());
    start.copy_from_slice(text.as_bytes());
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_joined_in_order() {
        let names = COLUMNS.map(|column| column.name);
        assert_eq!(SQL_LIST, names.join(", "));
        let header = joined::<{ joined_length(",", "\r\n") }>(",", "\r\n");
        assert_eq!(header, (names.join(",") + "\r\n").as_bytes());
    }

    #[test]
    fn the_columns_of_the_key_come_first() {
        let keys = COLUMNS.map(|column| column.is_key);
        assert!(keys.is_sorted_by(|a, b| a >= b), "{keys:?}");
    }

    #[test]
    fn the_schema_declares_the_columns_in_order() {
        let mut rest = super::super::SCHEMA;
        for column in COLUMNS {
            let kind = match column.column_type {
                ColumnType::Integer => "INTEGER",
                ColumnType::Text => "TEXT",
            };
            let line = format!("    {:<12} {kind}", column.name);
            let at = rest
                .find(&line)
                .unwrap_or_else(|| panic!("{line:?} not in order in schema.sql"));
            rest = &rest[at..];
        }
    }
}
