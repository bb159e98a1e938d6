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

use super::bodies::{self, Cell, Page, Row};

/// Flows that are put into the table; a page of more finds nothing that one of so many does not.
const MOST: usize = 20;

/// Puts the flows into a table, has SQLite pack them, and reads them back in every format.
pub fn check(bytes: &[u8]) {
    thread_local! {
        static TABLE: RefCell<Table> = RefCell::new(Table::new());
    }
    let lines = String::from_utf8_lossy(bytes);
    let flows: Vec<_> = lines.lines().take(MOST).map(flow).collect();
    let ((packed, count), expected) = TABLE.with_borrow(|table| {
        let expected: Vec<_> = flows.iter().map(|flow| expected(table, flow)).collect();
        (table.pack(&flows), expected)
    });
    let page = Page {
        packed: &packed,
        count,
    };
    let text = String::from_utf8_lossy(&packed);
    bodies::check_parts(page);
    let first_fault = expected.iter().position(Option::is_none);
    if let Some(fault) = first_fault {
        let (_, records, result) = bodies::write(Format::Json, &[page], None, || usize::MAX);
        let error = result.expect_err(&text);
        assert_eq!(records, fault as u64, "{error}: {text}");
        return;
    }
    let rows: Vec<Row> = expected.into_iter().flatten().collect();
    bodies::check_read_back(&[page], &rows);
    let keys = |row: &Row, flow: &[Value; COLUMN_COUNT]| match (&row[0], &row[1], flow) {
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

    /// A REAL as SQLite writes it in JSON: with 15 digits.
    fn digits(&self, real: f64) -> String {
        let select = self.0.prepare_cached("SELECT json_array(?)");
        let text = select.and_then(|mut select| select.query_row([real], |row| row.get(0)));
        let array: String = text.expect("a number");
        let digits = array.trim_matches(['[', ']']);
        let written: f64 = digits.parse().expect(digits);
        let near = (written - real).abs() <= 1e-14 * real.abs();
        assert!(near || written == real, "{real} is {digits}");
        digits.to_owned()
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

/// The row that a client has to get; `None` where a value cannot be written as its field's type.
fn expected(table: &Table, flow: &[Value; COLUMN_COUNT]) -> Option<Row> {
    let mut row = Vec::new();
    for (value, field) in flow.iter().zip(COLUMNS) {
        row.push(match (value, field.column_type) {
            (Value::Null, _) if field.is_key => return None,
            (Value::Null, _) => Cell::Null,
            (Value::Integer(integer), ColumnType::Integer) => Cell::Integer(*integer),
            (Value::Integer(integer), ColumnType::Text) => Cell::Text(integer.to_string()),
            (Value::Text(text), ColumnType::Text) => Cell::Text(text.clone()),
            (Value::Text(text), ColumnType::Integer) => Cell::Integer(text.trim().parse().ok()?),
            (Value::Real(real), ColumnType::Text) => Cell::Text(table.digits(*real)),
            (Value::Real(real), ColumnType::Integer) => {
                let written: f64 = table.digits(*real).parse().ok()?;
                let whole = written.trunc() == written && written.abs() < 1e15;
                Cell::Integer(whole.then_some(written as i64)?)
            }
            (Value::Blob(_), _) => return None,
        });
    }
    row.try_into().ok()
}
