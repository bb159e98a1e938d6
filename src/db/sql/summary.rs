//! The SQL of the table's state alone, and of its ends.

use super::state::{self, TableKind};
use super::{Bound, Statement};

impl Statement {
    /// The statement that returns the table's state.
    pub fn of_state(kind: TableKind) -> Self {
        let mut bound = Bound::default();
        let state = state::select(kind, None, |value| bound.integer(value));
        Self {
            text: format!("SELECT ({state})"),
            parameters: bound.0,
        }
    }

    /// The statement that returns the table's state, then the least and largest `time` and `id`.
    pub fn of_extent(kind: TableKind) -> Self {
        let Self { text, parameters } = Self::of_state(kind);
        // One look-up in an index each: min and max of one column in one SELECT would read the whole table.
        let end = |column: &str, order: &str| {
            format!(", (SELECT {column} FROM flows ORDER BY {column} {order} LIMIT 1)")
        };
        let ends = [
            ("time", "ASC"),
            ("time", "DESC"),
            ("id", "ASC"),
            ("id", "DESC"),
        ];
        let ends: String = ends.map(|(column, order)| end(column, order)).concat();
        Self {
            text: text + &ends,
            parameters,
        }
    }
}
