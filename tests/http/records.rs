//! Flows as tests hold them, and read out of each format by a parser that is not ours.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// A flow. The order of its fields is the order in every format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flow {
    pub(crate) id: i64,
    pub(crate) time: i64,
    pub(crate) duration: i64,
    pub(crate) src_comp: String,
    pub(crate) src_port: String,
    pub(crate) dst_comp: String,
    pub(crate) dst_port: String,
    pub(crate) protocol: i64,
    pub(crate) packet_count: i64,
    pub(crate) byte_count: i64,
}

const FIELDS: [&str; 10] = [
    "id",
    "time",
    "duration",
    "src_comp",
    "src_port",
    "dst_comp",
    "dst_port",
    "protocol",
    "packet_count",
    "byte_count",
];

/// Adds flows to the database that `connection` has open, in one transaction.
#[track_caller]
pub(crate) fn insert(connection: &mut Connection, flows: &[Flow]) {
    let transaction = connection.transaction().expect("a transaction");
    {
        let mut statement = transaction
            .prepare("INSERT INTO flows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .expect("a statement");
        for f in flows {
            let texts = (&f.src_comp, &f.src_port, &f.dst_comp, &f.dst_port);
            let inserted = statement.execute(rusqlite::params![
                f.id,
                f.time,
                f.duration,
                texts.0,
                texts.1,
                texts.2,
                texts.3,
                f.protocol,
                f.packet_count,
                f.byte_count
            ]);
            inserted.unwrap_or_else(|error| panic!("{f:?}: {error}"));
        }
    }
    transaction.commit().expect("a commit");
}

/// The flows of a body: JSON by `serde_json`, CSV by `csv`, XML by `roxmltree`.
///
/// # Errors
/// What the parser says, or which field is not where it belongs.
pub(crate) fn read(format: &str, body: &[u8]) -> Result<Vec<Flow>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    match format {
        "json" => serde_json::from_str(text).map_err(|error| error.to_string()),
        "ndjson" => {
            if !text.is_empty() && !text.ends_with('\n') {
                return Err("the last line is not ended".into());
            }
            let lines = text.split_terminator('\n').map(serde_json::from_str);
            lines
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())
        }
        "csv" => {
            let mut reader = csv::Reader::from_reader(body);
            let header = reader.headers().map_err(|error| error.to_string())?;
            if header != FIELDS.as_slice() {
                return Err(format!("the header line is {header:?}"));
            }
            reader
                .deserialize()
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())
        }
        "xml" => read_xml(text),
        _ => Err(format!("no parser for {format}")),
    }
}

fn read_xml(text: &str) -> Result<Vec<Flow>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("records") {
        return Err("the root is not <records>".into());
    }
    let records = root.children().filter(|node| node.is_element());
    let flow = |record: roxmltree::Node<'_, '_>| {
        let fields: Vec<_> = record.children().filter(|node| node.is_element()).collect();
        let names = fields.iter().map(|field| field.tag_name().name());
        if !record.has_tag_name("record") || !names.eq(FIELDS) {
            return Err(format!("not a record of ten fields: {fields:?}"));
        }
        let text = |i: usize| fields[i].text().unwrap_or("").to_owned();
        let integer = |i: usize| {
            text(i)
                .parse::<i64>()
                .map_err(|error| format!("{}: {error}", FIELDS[i]))
        };
        Ok(Flow {
            id: integer(0)?,
            time: integer(1)?,
            duration: integer(2)?,
            src_comp: text(3),
            src_port: text(4),
            dst_comp: text(5),
            dst_port: text(6),
            protocol: integer(7)?,
            packet_count: integer(8)?,
            byte_count: integer(9)?,
        })
    };
    records.map(flow).collect()
}
