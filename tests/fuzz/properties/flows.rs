//! The text of a page as SQLite itself packs it: whatever values a table holds, each comes back.
//!
//! The input is a table: a line a flow, its values parted by tabs. `null`, an integer and a number with a
//! point or an exponent stand for themselves; all else is text, with `'` in front where it would not be,
//! and with `%XX` for bytes that would end it.

use std::cell::RefCell;

use flow_window::formats::Format;
use flow_window::rows::ends::{first_key, last_key, without_last};
use flow_window::table::columns::{COLUMN_COUNT, COLUMNS, ColumnType, SQL_LIST};
use flow_window::table::key::RowKey;
use percent_encoding::percent_decode_str;
use rusqlite::{Connection, params_from_iter, types::Value};
use support::records::{Cell, Record, written};

use super::bodies::{self, Page};

/// Flows that are put into the table; a page of more finds nothing that one of so many does not.
const MOST: usize = 20;

/// Puts the flows into a table, has SQLite pack them, and reads them back in every format.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static TABLE: RefCell<Table> = RefCell::new(Table::new());
    }
    let lines = String::from_utf8_lossy(bytes);
    let flows: Vec<_> = lines.lines().take(MOST).map(flow).collect();
    let (packed, count) = TABLE.with_borrow(|table| table.pack(&flows));
    let expected: Result<Vec<_>, _> = flows.iter().enumerate().map(expected).collect();
    let page = Page {
        packed: &packed,
        count,
    };
    let text = String::from_utf8_lossy(&packed);
    bodies::check_parts(page);
    let rows = match expected {
        Ok(rows) => rows,
        Err(fault) => {
            let (_, records, result) = bodies::write(Format::Json, &[page], None, || usize::MAX);
            let error = result.expect_err(&text);
            assert_eq!(records, fault as u64, "{error}: {text}");
            return;
        }
    };
    bodies::check_read_back(&[page], &rows);
    let keys = |row: &Record, flow: &[Value; COLUMN_COUNT]| match (&row[0], &row[1], flow) {
        (Cell::Integer(id), Cell::Integer(time), [Value::Integer(_), Value::Integer(_), ..]) => {
            Some(RowKey {
                id: *id,
                time: *time,
            })
        }
        _ => None,
    };
    let mut positions = rows.iter().zip(&flows).map(|(row, flow)| keys(row, flow));
    let first = positions.next();
    assert_eq!(first_key(&packed), first.flatten(), "{text}");
    assert_eq!(
        last_key(&packed),
        positions.next_back().or(first).flatten(),
        "{text}"
    );
    if let Some(before) = without_last(&packed) {
        let before = Page {
            packed: &before,
            count: count - 1,
        };
        bodies::check_read_back(&[before], &rows[..rows.len() - 1]);
    }
}

/// A table that keeps every value as it is given: its columns have no type.
struct Table(Connection);

impl Table {
    fn new() -> Self {
        let connection = Connection::open_in_memory().expect("a database in memory");
        let create = format!("CREATE TABLE flows ({SQL_LIST})");
        connection.execute_batch(&create).expect("a table");
        Self(connection)
    }

    /// The page of these flows, packed and counted as in `src/statement.rs`.
    fn pack(&self, flows: &[[Value; COLUMN_COUNT]]) -> (Vec<u8>, i64) {
        let insert = "INSERT INTO flows VALUES (?,?,?,?,?,?,?,?,?,?)";
        let select = format!(
            "SELECT count(*), CAST(group_concat(flow) AS BLOB) \
             FROM (SELECT json_array({SQL_LIST}) AS flow FROM flows ORDER BY rowid)"
        );
        let packed = || -> rusqlite::Result<_> {
            let transaction = self.0.unchecked_transaction()?;
            let mut statement = self.0.prepare_cached(insert)?;
            for flow in flows {
                statement.execute(params_from_iter(flow))?;
            }
            let mut select = self.0.prepare_cached(&select)?;
            let page = select.query_row([], |row| {
                let packed: Option<Vec<u8>> = row.get(1)?;
                Ok((packed.unwrap_or_default(), row.get(0)?))
            });
            drop(select);
            transaction.rollback()?;
            page
        };
        packed().expect("a page of any values but BLOBs")
    }
}

fn flow(line: &str) -> [Value; COLUMN_COUNT] {
    let mut values = line.split('\t').map(value);
    std::array::from_fn(|i| match (values.next(), COLUMNS[i].column_type) {
        (Some(value), _) => value,
        (None, ColumnType::Integer) => Value::Integer(1),
        (None, ColumnType::Text) => Value::Text("443".into()),
    })
}

fn value(text: &str) -> Value {
    if text == "null" {
        return Value::Null;
    }
    if let Ok(integer) = text.parse() {
        return Value::Integer(integer);
    }
    match text.parse::<f64>() {
        Ok(real) if !real.is_nan() => Value::Real(real),
        _ => {
            let text = text.strip_prefix('\'').unwrap_or(text);
            Value::Text(percent_decode_str(text).decode_utf8_lossy().into_owned())
        }
    }
}

/// The record that a client has to get, or the flow's number where it cannot be written.
fn expected((number, flow): (usize, &[Value; COLUMN_COUNT])) -> Result<Record, usize> {
    written(flow.iter().map(Into::into)).map_err(|_| number)
}
