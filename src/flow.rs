//! The record: a network flow as LANL publishes it, and the order of its fields everywhere.
//!
//! Source: A. D. Kent, "Comprehensive, Multi-Source Cyber-Security Events", Los Alamos National
//! Laboratory, 2015, doi 10.17021/1179829. `id` is added: the row's number in the published file, since
//! the rows hold exact duplicates and no key of their own.

/// How a field is written in every format, whatever type the database stores it as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A 64-bit signed integer.
    Integer,
    /// Text.
    Text,
}

/// One field of a record.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The column's name, and the name in every format.
    pub name: &'static str,
    /// The type it is written as.
    pub kind: Kind,
    /// What it holds, with its unit.
    pub description: &'static str,
}

/// Number of fields in a record.
pub const WIDTH: usize = 10;

/// The fields in the order of every format and of `schema.sql`.
pub const FIELDS: [Field; WIDTH] = [
    integer("id", "number of the row, from 1, rising with arrival"),
    integer(
        "time",
        "seconds since the start of the data set; not a Unix time",
    ),
    integer("duration", "length of the flow in seconds"),
    text("src_comp", "source computer"),
    text(
        "src_port",
        "source port: a well-known port's number, or a name such as N10451",
    ),
    text("dst_comp", "destination computer"),
    text(
        "dst_port",
        "destination port: a well-known port's number, or a name such as N10451",
    ),
    integer("protocol", "IANA protocol number"),
    integer("packet_count", "packets in the flow"),
    integer("byte_count", "bytes in the flow"),
];

const fn integer(name: &'static str, description: &'static str) -> Field {
    Field {
        name,
        kind: Kind::Integer,
        description,
    }
}

const fn text(name: &'static str, description: &'static str) -> Field {
    Field {
        name,
        kind: Kind::Text,
        description,
    }
}

/// The columns as SQL lists them, in the order of [`FIELDS`].
pub const COLUMNS: &str = "id, time, duration, src_comp, src_port, dst_comp, dst_port, \
                           protocol, packet_count, byte_count";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_fields_are_one_list() {
        let columns: Vec<_> = COLUMNS.split(", ").collect();
        assert_eq!(columns, FIELDS.map(|field| field.name));
    }

    #[test]
    fn the_schema_declares_the_fields_in_order() {
        let schema = include_str!("schema.sql");
        let mut rest = schema;
        for field in FIELDS {
            let kind = match field.kind {
                Kind::Integer => "INTEGER",
                Kind::Text => "TEXT",
            };
            let line = format!("    {:<12} {kind}", field.name);
            let at = rest
                .find(&line)
                .unwrap_or_else(|| panic!("{line:?} not in order in schema.sql"));
            rest = &rest[at..];
        }
    }
}
