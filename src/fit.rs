//! What makes a table fit to be served from, in SQL and in words: the service and `flows load` ask the same and
//! say the same. Nothing here knows which SQLite it is asked of.

/// Whether `id` alone is the primary key, or has a unique index of its own over all rows; or whether that
/// cannot be told, of a view.
pub const UNIQUE_ID: &str = "\
    (SELECT group_concat(lower(name)) FROM pragma_table_info('flows') WHERE pk > 0) IS 'id' \
    OR EXISTS (SELECT 1 FROM pragma_index_list('flows') AS list \
        WHERE list.\"unique\" = 1 AND list.partial = 0 \
        AND (SELECT group_concat(lower(name)) FROM pragma_index_info(list.name)) = 'id') \
    OR EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view' AND lower(name) = 'flows')";

/// Whether an index that the plan names leaves rows out: a window without its condition could not use it. The
/// parameter holds the plan's steps, with a space behind each, so that the name of an index stands between two.
pub const PARTIAL_INDEX: &str = "\
    EXISTS (SELECT 1 FROM sqlite_schema AS made JOIN pragma_index_list(made.tbl_name) AS list \
        ON list.name = made.name WHERE made.type = 'index' AND list.partial = 1 \
        AND instr(?1, ' ' || made.name || ' '))";

/// What to do where `id` is not unique.
pub const NOT_UNIQUE: &str = "the id of flows is not declared to be unique; make it the primary key of a table, \
    or CREATE UNIQUE INDEX flows_id ON flows (id)";

/// The types of the first and last value of `column`, in the order of an index; two values of a SELECT.
///
/// SQLite sorts NULL before numbers and text and BLOBs behind them, so both ends of an index tell; a number
/// with a fraction between them does not show.
#[must_use]
pub fn types_at_ends(column: &str) -> String {
    let end =
        |order| format!("(SELECT typeof({column}) FROM flows ORDER BY {column} {order} LIMIT 1)");
    format!("{}, {}", end("ASC"), end("DESC"))
}

/// `column` orders flows, and holds a value of type `kind` somewhere.
#[must_use]
pub fn not_integers(column: &str, kind: &str) -> String {
    format!(
        "the column {column} of flows holds a value of type {kind}, expected integers alone; \
         SELECT * FROM flows WHERE typeof({column}) <> 'integer' finds it"
    )
}

/// No format can write the BLOB in `column` of the flow `id`.
#[must_use]
pub fn holds_blob(column: &str, id: i64) -> String {
    format!("flow {id}: {column} is a BLOB, which no format can write")
}
