//! Whether `flows` can be served from, and what it lacks for that.
//!
//! The table is either made from the one schema or somebody else's: it may be WITHOUT ROWID, or have an
//! `id` that is not the rowid. Which index it lacks is therefore asked of SQLite's planner, with the
//! queries that the service is going to run.

use anyhow::{Context, Result, bail};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Connection, OptionalExtension};

use super::schema::{self, Part};
use crate::lanl::FIELDS;
use flow_window::db::sql::probe;

/// The order of a window needs `id` as the index's second part where SQLite does not keep it there.
const INDEX_ON_TIME_AND_ID: &str = "CREATE INDEX IF NOT EXISTS flows_time_id ON flows (time, id)";

/// For a table whose key is something else: the next id is looked up in every transaction.
const INDEX_ON_ID: &str = "CREATE UNIQUE INDEX IF NOT EXISTS flows_id ON flows (id)";

/// A window as the service walks it.
const WINDOW: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows WHERE (time, id) > (?1, ?2) ORDER BY time, id";

/// The feed of arrivals as the service walks it; the largest id is found the same way.
const ARRIVALS: &str = "SELECT id, time FROM flows WHERE id > ?1 ORDER BY id";

/// What `flows` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Absent,
    Table,
    View,
    /// A table that is a module's own: it can have no trigger.
    Virtual,
}

/// Looks what `flows` is.
pub(super) fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    let kind = connection.query_row(
        "SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = 'flows' COLLATE NOCASE",
        [],
        |row| row.get::<_, String>(0),
    );
    Ok(match kind.optional()?.as_deref() {
        None => Kind::Absent,
        Some("view") => Kind::View,
        Some("virtual") => Kind::Virtual,
        Some(_) => Kind::Table,
    })
}

/// Fails unless `flows` is there with all its columns.
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

/// Builds the indexes without which the service would have to sort, or could not tell that ids are unique;
/// gives their names.
pub(super) fn complete_indexes(connection: &Connection) -> Result<Vec<String>> {
    let before = indexes(connection)?;
    if !is_in_order(connection, ARRIVALS)? || !has_unique_id(connection)? {
        connection
            .execute_batch(INDEX_ON_ID)
            .context("cannot build the index on id")?;
    }
    if !is_in_order(connection, WINDOW)? && would_time_do(connection)? {
        schema::run(connection, Part::Index).context("cannot build the index on time")?;
    }
    if !is_in_order(connection, WINDOW)? {
        connection
            .execute_batch(INDEX_ON_TIME_AND_ID)
            .context("cannot build the index on time and id")?;
    }
    for query in [ARRIVALS, WINDOW] {
        if !is_in_order(connection, query)? {
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

/// Whether the schema's index on `time` alone would give a window its order, tried on an empty copy
/// of the table: building an index to no use takes minutes.
fn would_time_do(connection: &Connection) -> Result<bool> {
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
    Ok(is_in_order(&copy, WINDOW)?)
}

fn indexes(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_index_list('flows') ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Whether SQLite walks straight to the beginning of `query` and on in its order, without a sort, by an index
/// that holds every row.
fn is_in_order(connection: &Connection, query: &str) -> rusqlite::Result<bool> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
    // The parameters stay unbound.
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

/// Fails where `time` or `id` holds something else than integers at an end of its index, as the service does.
pub(super) fn check_ends(connection: &Connection) -> Result<()> {
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

/// Looks at every flow for what the service could not serve.
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
