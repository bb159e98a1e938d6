//! Whether a table can be served: the SQL that asks, and the words that tell the operator.
//!
//! The service and `flows load` ask the same and say the same.

use super::page::{PageQuery, Seek};
use super::state::{TableKind, is_guarded};
use super::{Bound, Statement, where_clause};
use crate::db::Value;
use crate::query::selection::Selection;
use crate::table::columns::SQL_LIST;
use crate::table::key::RowKey;

/// Whether `id` alone is the primary key or has a unique index of its own over all rows. A view passes: SQLite
/// cannot tell.
pub const UNIQUE_ID: &str = "\
    (SELECT group_concat(lower(name)) FROM pragma_table_info('flows') WHERE pk > 0) IS 'id' \
    OR EXISTS (SELECT 1 FROM pragma_index_list('flows') AS list \
        WHERE list.\"unique\" = 1 AND list.partial = 0 \
        AND (SELECT group_concat(lower(name)) FROM pragma_index_info(list.name)) = 'id') \
    OR EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view' AND lower(name) = 'flows')";

/// Whether an index that the plan names leaves rows out: a window without its condition could not use it.
///
/// The parameter holds the steps of the plan with a space behind each: the name of an index then stands between two
/// spaces.
pub const PARTIAL_INDEX: &str = "\
    EXISTS (SELECT 1 FROM sqlite_schema AS made JOIN pragma_index_list(made.tbl_name) AS list \
        ON list.name = made.name WHERE made.type = 'index' AND list.partial = 1 \
        AND instr(?1, ' ' || made.name || ' '))";

/// What the operator does where `id` is not unique.
pub const NOT_UNIQUE: &str = "the id of flows is not declared to be unique; make it the primary key of a table, \
    or CREATE UNIQUE INDEX flows_id ON flows (id)";

/// The types of the first and last value of `column` in the order of an index: two values of a SELECT.
///
/// SQLite sorts NULL before numbers, and text and BLOBs after them, so the ends of an index tell. A number with a
/// fraction between them does not show.
#[must_use]
pub fn types_at_ends(column: &str) -> String {
    let end =
        |order| format!("(SELECT typeof({column}) FROM flows ORDER BY {column} {order} LIMIT 1)");
    format!("{}, {}", end("ASC"), end("DESC"))
}

/// What the operator is told where `column`, which orders flows, holds a value of type `kind`.
#[must_use]
pub fn not_integers(column: &str, kind: &str) -> String {
    format!(
        "the column {column} of flows holds a value of type {kind}, expected integers alone; \
         SELECT * FROM flows WHERE typeof({column}) <> 'integer' finds it"
    )
}

/// What is said of a BLOB, after its flow and column.
pub const IS_BLOB: &str = "is a BLOB, which no format can write";

/// What is said of a BLOB in `column` of the flow `id`.
#[must_use]
pub fn holds_blob(column: &str, id: i64) -> String {
    format!("flow {id}: {column} {IS_BLOB}")
}

/// The statement whose plan stands for all: where it neither scans nor sorts, no page does.
///
/// It is the innermost part of a page. The host returns a plan step by step, and each step costs as much as a
/// statement.
pub fn plan_probe() -> Statement {
    let selection = Selection {
        before: Some(0),
        ..Selection::default()
    };
    let page = PageQuery {
        selection: &selection,
        seek: Seek::AfterKey(RowKey { time: 0, id: 0 }),
        max_id: Some(0),
        row_limit: 0,
        scan_limit: 0,
        columns: SQL_LIST,
        cursor_row: None,
        kind: TableKind::Guarded,
        lead: None,
    };
    let mut bound = Bound::default();
    let index = where_clause(&page.index_conditions(&mut bound));
    let order = page.order();
    let id = bound.integer(0);
    // The plan of max(id) does not tell whether it uses an index. The plan of the next id does.
    let text = format!(
        "SELECT {SQL_LIST}, (SELECT id FROM flows WHERE id > {id} ORDER BY id LIMIT 1) \
         FROM flows{index} ORDER BY {order}"
    );
    Statement {
        text,
        parameters: bound.0,
    }
}

/// Whether a step of the plan of [`plan_probe`] sorts, or reads a table or an index from end to end.
pub fn is_slow(step: &str) -> bool {
    step.contains("TEMP B-TREE") || step.starts_with("SCAN ")
}

/// Whether a step of the plan of [`plan_probe`] finds the next id as a rowid: then `id` is an `INTEGER PRIMARY KEY`.
pub fn finds_by_rowid(step: &str) -> bool {
    step == "SEARCH flows USING INTEGER PRIMARY KEY (rowid>?)"
}

/// The statement that checks the table, whose `plan` is that of [`plan_probe`]. Its values:
///
/// 1. whether an index leaves rows out
/// 2. whether the table has a guard
/// 3. and 4. the types at the ends of `time`
/// 5. whether `id` is unique, and then the types at its ends
///
/// An id that is the rowid is unique and an integer: its types are left out.
pub fn table_probe(plan: &[String]) -> Statement {
    let about_id = if plan.iter().any(|step| finds_by_rowid(step)) {
        "1".to_owned()
    } else {
        format!("{UNIQUE_ID}, {}", types_at_ends("id"))
    };
    let text = format!(
        "SELECT {PARTIAL_INDEX}, {}, {}, {about_id}",
        is_guarded(),
        types_at_ends("time")
    );
    let steps = plan.iter().map(|step| format!("{step} ")).collect();
    Statement {
        text,
        parameters: vec![Value::Text(steps)],
    }
}
