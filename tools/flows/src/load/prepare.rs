//! Checks whether the service can serve `flows`, and builds the indexes that the table lacks.
//!
//! The table may come from elsewhere: it may be WITHOUT ROWID, or its `id` may not be the rowid. SQLite's
//! query planner decides which index is missing, given the queries that the service runs.

use anyhow::{Context, Result, bail};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Connection, OptionalExtension};

use super::schema::{self, Part};
use crate::lanl::FIELDS;
use flow_window::db::sql::probe;

/// For a table whose rowid is not `id`: a window needs `id` as the second column of its index.
const INDEX_ON_TIME_AND_ID: &str = "CREATE INDEX IF NOT EXISTS flows_time_id ON flows (time, id)";

/// For a table whose primary key is not `id`: every transaction looks up the largest id.
const INDEX_ON_ID: &str = "CREATE UNIQUE INDEX IF NOT EXISTS flows_id ON flows (id)";

/// The service's query for a window.
const WINDOW: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows WHERE (time, id) > (?1, ?2) ORDER BY time, id";

/// The service's query for the feed of arrivals. The lookup of the largest id uses the same index.
const ARRIVALS: &str = "SELECT id, time FROM flows WHERE id > ?1 ORDER BY id";

/// What `flows` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    Absent,
    Table,
    View,
    /// A virtual table, which can have no trigger.
    Virtual,
}

/// Looks up what `flows` is.
pub(super) fn table_kind(connection: &Connection) -> rusqlite::Result<TableKind> {
    let kind = connection.query_row(
        "SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = 'flows' COLLATE NOCASE",
        [],
        |row| row.get::<_, String>(0),
    );
    Ok(match kind.optional()?.as_deref() {
        None => TableKind::Absent,
        Some("view") => TableKind::View,
        Some("virtual") => TableKind::Virtual,
        Some(_) => TableKind::Table,
    })
}

/// Fails unless `flows` exists with all its columns.
pub(super) fn check_columns(connection: &Connection) -> Result<()> {
    let mut table = connection.prepare("SELECT name FROM pragma_table_info('flows')")?;
    let columns = table
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    if columns.is_empty() {
        bail!("there is no table flows");
    }
    let missing = ["id"].iter().chain(&FIELDS).find(|&name| {
        !columns
            .iter()
            .any(|column| column.eq_ignore_ascii_case(name))
    });
    match missing {
        Some(name) => bail!("table flows has no column {name}"),
        None => Ok(()),
    }
}

/// Builds the indexes that the service's queries and the uniqueness of `id` need; returns the names of the new
/// ones.
pub(super) fn create_missing_indexes(connection: &Connection) -> Result<Vec<String>> {
    let before = indexes(connection)?;
    if !walks_in_order(connection, ARRIVALS)? || !has_unique_id(connection)? {
        connection
            .execute_batch(INDEX_ON_ID)
            .context("cannot build the index on id")?;
    }
    if !walks_in_order(connection, WINDOW)? && time_index_suffices(connection)? {
        schema::run(connection, Part::Index).context("cannot build the index on time")?;
    }
    if !walks_in_order(connection, WINDOW)? {
        connection
            .execute_batch(INDEX_ON_TIME_AND_ID)
            .context("cannot build the index on time and id")?;
    }
    for query in [ARRIVALS, WINDOW] {
        if !walks_in_order(connection, query)? {
            bail!("SQLite does not use the index for {query:?}");
        }
    }
    if !has_unique_id(connection)? {
        bail!("{}", probe::NOT_UNIQUE);
    }
    let mut built = indexes(connection)?;
    built.retain(|name| !before.contains(name));
    Ok(built)
}

fn has_unique_id(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(&format!("SELECT {}", probe::UNIQUE_ID), [], |row| {
        row.get(0)
    })
}

/// Whether the schema's index on `time` alone gives a window its order. An empty copy of the table answers:
/// building a useless index on a large table takes minutes.
fn time_index_suffices(connection: &Connection) -> Result<bool> {
    let table = connection.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'flows' COLLATE NOCASE",
        [],
        |row| row.get::<_, String>(0),
    );
    let Some(table) = table.optional()? else {
        bail!(
            "flows is no table, so it can be given no index: give one to each table that it shows"
        );
    };
    let copy = Connection::open_in_memory()?;
    copy.execute_batch(&table)?;
    schema::run(&copy, Part::Index)?;
    Ok(walks_in_order(&copy, WINDOW)?)
}

fn indexes(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_index_list('flows') ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Whether SQLite answers `query` by an index search in the index's order, without a sort, and the index is
/// not partial.
fn walks_in_order(connection: &Connection, query: &str) -> rusqlite::Result<bool> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
    // `raw_query` leaves the parameters unbound.
    let steps = explain.raw_query().map(|step| step.get("detail"));
    let steps: Vec<String> = steps.collect()?;
    let is_slow = |step: &String| step.contains("TEMP B-TREE") || step.starts_with("SCAN");
    if steps.iter().any(is_slow) {
        return Ok(false);
    }
    let steps: String = steps.iter().map(|step| format!("{step} ")).collect();
    let partial = format!("SELECT {}", probe::PARTIAL_INDEX);
    connection.query_row(&partial, [steps], |row| {
        row.get::<_, bool>(0).map(|partial| !partial)
    })
}

/// Fails if the first or last value of `time` or `id` is no integer: the service's check at its start.
pub(super) fn check_key_types(connection: &Connection) -> Result<()> {
    for column in ["time", "id"] {
        let types = format!("SELECT {}", probe::types_at_ends(column));
        let types: [Option<String>; 2] =
            connection.query_row(&types, [], |row| Ok([row.get(0)?, row.get(1)?]))?;
        if let Some(kind) = types.iter().flatten().find(|&kind| kind != "integer") {
            bail!("{}", probe::not_integers(column, kind));
        }
    }
    Ok(())
}

/// Fails if any flow holds a value that the service cannot serve.
pub(super) fn check_values(connection: &Connection) -> Result<()> {
    let is_key = |column: &str| ["time", "id"].contains(&column);
    let (mut any, mut columns, mut kinds) = (String::from("0"), String::new(), String::new());
    for column in ["id"].into_iter().chain(FIELDS) {
        let bad = match is_key(column) {
            true => format!("typeof({column}) <> 'integer'"),
            false => format!("typeof({column}) = 'blob'"),
        };
        any += &format!(" OR {bad}");
        columns += &format!(" WHEN {bad} THEN '{column}'");
        kinds += &format!(" WHEN {bad} THEN typeof({column})");
    }
    let first =
        format!("SELECT CASE{columns} END, CASE{kinds} END, id FROM flows WHERE {any} LIMIT 1");
    let bad = connection.query_row(&first, [], |row| {
        let (column, kind): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(match is_key(&column) {
            true => probe::not_integers(&column, &kind),
            false => probe::holds_blob(&column, row.get(2)?),
        })
    });
    match bad.optional()? {
        Some(sentence) => bail!(sentence),
        None => Ok(()),
    }
}
