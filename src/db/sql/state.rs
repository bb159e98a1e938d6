//! The SQL of the table's state: what every statement of an answer brings along.

use super::probe::{HAS_TIME_INDEX, SCHEMA_OBJECTS};
use crate::table::key::RowKey;

/// What is known of the table when a statement is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Nothing. The statement reads flows only by the index of `schema.sql`, and brings along what the table is made
    /// of. The state is NULL where that index is not there.
    Unchecked,
    /// It can be served, and has the guard.
    Guarded,
    /// It can be served, and has no guard.
    Unguarded,
}

/// The largest id, by one step in the index: `max(id)` would read every row of a view over several tables. The
/// bound makes the plan a search, as the tests of [`super::page`] demand.
const MAX_ID: &str =
    "(SELECT id FROM flows WHERE id >= -9223372036854775808 ORDER BY id DESC LIMIT 1)";

/// The number of the guard's triggers.
pub const TRIGGER_COUNT: &str = "(SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' \
    AND tbl_name = 'flows' COLLATE NOCASE AND name GLOB 'flows_guard_*')";

/// Whether the guard is whole: its table and all its triggers, on the table that has the name `flows` now.
pub fn is_guarded() -> String {
    format!(
        "{TRIGGER_COUNT} = 4 \
         AND EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'flows_guard')"
    )
}

/// The SELECT of the state as one BLOB, for [`crate::table::state::TableState`].
///
/// A table without a guard is asked whether `cursor_row`, the last flow before a cursor, is there; `bind` binds its
/// key.
pub fn select(
    kind: TableKind,
    cursor_row: Option<RowKey>,
    bind: impl FnMut(i64) -> String,
) -> String {
    if kind != TableKind::Unguarded {
        let (triggers, condition) = match kind {
            TableKind::Unchecked => (
                format!(
                    "{SCHEMA_OBJECTS}, (SELECT typeof(time) FROM flows ORDER BY time DESC LIMIT 1)"
                ),
                format!(" WHERE {HAS_TIME_INDEX}"),
            ),
            _ => (TRIGGER_COUNT.to_owned(), String::new()),
        };
        return format!(
            "SELECT CAST(json_array(content, lineage, high, {MAX_ID}, {triggers}) AS BLOB) \
             FROM flows_guard{condition}"
        );
    }
    let key = cursor_row.map(|key| [key.time, key.id].map(bind));
    let has_cursor_row = key.map_or("1".to_owned(), |[time, id]| {
        format!("EXISTS (SELECT 1 FROM flows WHERE time = {time} AND id = {id})")
    });
    format!(
        "SELECT CAST(json_array(data_version, {MAX_ID}, {has_cursor_row}) AS BLOB) FROM pragma_data_version"
    )
}
