//! The text of every statement. No other module holds SQL.
//!
//! - [`filter_index`]: which filters have an index
//! - [`id_range`]: pages of flows by a range of ids
//! - [`minutes`]: flows that are counted by minute
//! - [`page`]: pages of flows, and where a limit cuts them
//! - [`probe`]: whether the table can be served
//! - [`state`]: the table's state, which every statement of an answer returns
//! - [`summary`]: the ends of the table

pub mod filter_index;
pub mod id_range;
pub mod minutes;
pub mod page;
pub mod probe;
pub mod state;
pub mod summary;

use crate::db::Value;
use crate::query::selection::Values;

/// A statement and its parameters.
#[derive(Debug)]
pub struct Statement {
    /// The SQL.
    pub text: String,
    /// Values for `?1` and so on.
    pub parameters: Vec<Value>,
}

/// The page cache of a connection that reads the later pages of answers, in KiB.
///
/// An answer reads each page of the file once. SQLite would keep the last 2 MB of them. With 200 stalled clients,
/// 256 KiB took 0.16 MiB more each than 128, and no answer was faster.
pub const SMALL_CACHE: &str = "PRAGMA cache_size = -128";

/// Returns the journal mode.
pub const JOURNAL_MODE: &str = "SELECT journal_mode FROM pragma_journal_mode";

/// Begins a read transaction; the next statement fixes its snapshot.
pub const BEGIN: &str = "BEGIN";

/// Ends a read transaction.
pub const COMMIT: &str = "COMMIT";

/// The statement that lists the steps of a statement's query plan.
pub fn explain(statement: &str) -> String {
    format!("EXPLAIN QUERY PLAN {statement}")
}

/// Collects parameters and names their places.
#[derive(Default)]
struct Bound(Vec<Value>);

impl Bound {
    fn integer(&mut self, value: i64) -> String {
        self.value(Value::Integer(value))
    }

    /// The values of a filter, with commas between their places.
    fn values(&mut self, values: &Values) -> String {
        let places: Vec<_> = match values {
            Values::Integers(all) => all.iter().map(|value| self.integer(*value)).collect(),
            Values::Texts(all) => {
                let texts = all.iter().cloned().map(Value::Text);
                texts.map(|text| self.value(text)).collect()
            }
        };
        places.join(", ")
    }

    fn value(&mut self, value: Value) -> String {
        self.0.push(value);
        // The plus hides the value from the planner. Where the planner may look at a value, above all behind LIMIT,
        // SQLite prepares the statement again for each new value (sqlite3VdbeSetVarmask).
        format!("+?{}", self.0.len())
    }
}

fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}
