//! The SQL of the table's state: what every statement of an answer brings along.

use crate::table::key::RowKey;

/// What is known of the table when a statement is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Nothing. The statement brings along what the table is made of. It names the index of `schema.sql`: SQLite
    /// prepares it for no table, and for no view, without an index of that name.
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

/// The state of a table of which nothing is known: what the guard says, the largest id, the SQL of all that belongs to
/// `flows`, and the type of the largest time. The table of statistics counts as well, since it could change a plan.
///
/// An instance over WASI 0.2 prepares this for each request. Each node beyond those that fit into SQLite's lookaside
/// memory is an allocation, under a mutex of all connections: hence `max` and one aggregate. No view gets this far, since
/// it has no index.
///
/// An index of that name over other columns does not help: each such request reads the whole table, once for this and
/// once for its page, before the check.
const UNCHECKED: &str = "SELECT CAST(json_array(content, lineage, high, (SELECT max(id) FROM flows), \
    json_group_array(sql), (SELECT typeof(max(time)) FROM flows INDEXED BY flows_time)) AS BLOB) \
    FROM flows_guard, sqlite_schema WHERE tbl_name COLLATE NOCASE IN ('flows', 'sqlite_stat1')";

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
    match kind {
        TableKind::Unchecked => UNCHECKED.to_owned(),
        TableKind::Guarded => format!(
            "SELECT CAST(json_array(content, lineage, high, {MAX_ID}, {TRIGGER_COUNT}) AS BLOB) FROM flows_guard"
        ),
        TableKind::Unguarded => {
            let key = cursor_row.map(|key| [key.time, key.id].map(bind));
            let has_cursor_row = key.map_or("1".to_owned(), |[time, id]| {
                format!("EXISTS (SELECT 1 FROM flows WHERE time = {time} AND id = {id})")
            });
            format!(
                "SELECT CAST(json_array(data_version, {MAX_ID}, {has_cursor_row}) AS BLOB) FROM pragma_data_version"
            )
        }
    }
}
