//! Applies the schema, statement by statement, and installs the guard on `flows`.
//!
//! The guard is a row that triggers renew with every edit except an append. The service tells the states of the
//! table apart by the guard. A view has no guard, since it cannot have these triggers.

use std::cell::Cell;

use anyhow::{Context, Result};
use flow_window::db::sql::state::TRIGGER_COUNT;
use flow_window::table::SCHEMA;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Drops the guard's triggers on other tables: a renamed `flows` keeps its triggers and so their names.
const ORPHANED_TRIGGERS: &str = "SELECT 'DROP TRIGGER \"' || name || '\"' FROM sqlite_schema
    WHERE type = 'trigger' AND tbl_name <> 'flows' COLLATE NOCASE
    AND name IN ('flows_guard_delete', 'flows_guard_update', 'flows_guard_replace', 'flows_guard_insert')";

/// Whether another program has put a trigger on `flows`.
const OTHER_TRIGGERS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger'
    AND tbl_name = 'flows' COLLATE NOCASE AND name NOT GLOB 'flows_guard_*')";

/// The part of the schema that a statement belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Table,
    Index,
    Guard,
    Minutes,
}

/// The schema's statements for `part`. A blank line separates two statements.
pub(super) fn statements(part: Part) -> impl Iterator<Item = &'static str> {
    let part_of = |statement: &str| match statement {
        _ if statement.contains("flows_per_minute") => Part::Minutes,
        _ if statement.contains("flows_guard") => Part::Guard,
        _ if statement.contains("CREATE INDEX") => Part::Index,
        _ => Part::Table,
    };
    SCHEMA
        .split("\n\n")
        .filter(move |statement| part_of(statement) == part)
}

/// Runs the schema's statements for `part`, in the open transaction if there is one.
pub(super) fn run(connection: &Connection, part: Part) -> rusqlite::Result<()> {
    statements(part).try_for_each(|statement| connection.execute_batch(statement))
}

/// Puts the whole schema into a database without `flows`, in the open transaction.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    run(connection, Part::Table)?;
    run(connection, Part::Index)?;
    renew_guard(connection)?;
    run(connection, Part::Minutes)
}

/// Whether the guard is complete.
fn is_guarded(connection: &Connection) -> rusqlite::Result<bool> {
    let triggers = format!("SELECT {TRIGGER_COUNT}");
    let triggers: u64 = connection.query_row(&triggers, [], |row| row.get(0))?;
    if triggers < 4 {
        return Ok(false);
    }
    connection.query_row("SELECT EXISTS (SELECT 1 FROM flows_guard)", [], |row| {
        row.get(0)
    })
}

/// Completes the guard of the table `flows`; false if it is complete. Edits went unseen while a trigger was
/// missing, so the same transaction renews the guard's row.
pub(super) fn install_guard(connection: &Connection) -> Result<bool> {
    if is_guarded(connection)? {
        return Ok(false);
    }
    in_transaction(connection, || Ok(renew_guard(connection)?))
        .context("cannot put the guard on flows")?;
    Ok(true)
}

/// Completes the guard and renews its row, in the open transaction.
pub(super) fn renew_guard(connection: &Connection) -> rusqlite::Result<()> {
    let orphaned = connection
        .prepare(ORPHANED_TRIGGERS)?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    orphaned
        .iter()
        .try_for_each(|drop| connection.execute_batch(drop))?;
    run(connection, Part::Guard)
}

/// Runs `work` in a transaction as the only writer; rolls back if it fails.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = work().and_then(|done| {
        connection.execute_batch("COMMIT")?;
        Ok(done)
    });
    if done.is_err() && !connection.is_autocommit() {
        // The error of `work` tells more than an error of the rollback.
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

/// Switches this connection's triggers off while `flows` has only the guard's. A row with an id above all
/// others changes nothing in the guard, and triggers more than double the processor time of a load.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    are_off: Cell<bool>,
}

impl Triggers {
    /// Looks for other triggers in the open transaction, and switches.
    pub(super) fn update(&self, connection: &Connection) -> rusqlite::Result<()> {
        let others: bool = connection
            .prepare_cached(OTHER_TRIGGERS)?
            .query_row([], |row| row.get(0))?;
        if self.are_off.replace(!others) == others {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, others)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_line_stands_between_statements_and_nowhere_else() {
        let parts = [Part::Table, Part::Index, Part::Guard, Part::Minutes];
        assert_eq!(parts.map(|part| statements(part).count()), [1, 1, 6, 2]);
        let connection = Connection::open_in_memory().unwrap();
        create(&connection).unwrap();
        assert!(is_guarded(&connection).unwrap());
    }
}
