//! Replaces all flows at once.
//!
//! The new flows are loaded into a second table, in commits of the usual size. One transaction then drops
//! `flows` and gives its name to the new table: a reader sees the old flows before that transaction and the new
//! ones after it. The same transaction replaces the history. An interrupted replacement changes nothing and
//! starts over.

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OptionalExtension};

use super::filter_index;
use super::history;
use super::minutes;
use super::prepare::{self, TableKind};
use super::schema::{self, Part};
use super::store::Store;

/// The new table's name until the swap.
pub(super) const TABLE: &str = "flows_incoming";

/// The name of its index until the swap: index names are unique in a database.
const INDEX: &str = "flows_incoming_time";

/// The indexes and triggers that other programs put on the old table. The swap creates them on the new table.
const USER_OBJECTS: &str = "SELECT sql FROM sqlite_schema
    WHERE tbl_name = 'flows' COLLATE NOCASE AND sql IS NOT NULL
    AND (type = 'index' AND name NOT IN ('flows_time', 'flows_id', 'flows_time_id')
        OR type = 'trigger' AND name NOT GLOB 'flows_guard_*')
    ORDER BY type";

/// Renames the new table's index, for which SQLite has no statement. RESET makes SQLite reload the schema.
const RENAME_INDEX: &str = "PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET name = 'flows_time', sql = replace(sql, 'flows_incoming_time', 'flows_time')
        WHERE type = 'index' AND name = 'flows_incoming_time';
    PRAGMA writable_schema = RESET";

/// A replacement in progress.
pub(super) struct Replacement {
    /// The largest id of the old flows when the replacement began; 0 with `renumber`.
    last_old_id: i64,
    /// Whether ids begin at 1 and not behind the largest id ever given.
    renumber: bool,
    /// Whether the new flows have the old ones' indexes for filters.
    keeps_filter_indexes: bool,
}

impl Replacement {
    /// The largest id so far.
    pub(super) fn largest_id(&self, connection: &Connection) -> Result<i64> {
        let largest: Option<i64> = connection
            .prepare_cached("SELECT max(id) FROM flows_incoming")?
            .query_row([], |row| row.get(0))?;
        Ok(largest.unwrap_or(self.last_old_id))
    }
}

/// Drops what a killed replacement has left.
pub(super) fn drop_leftovers(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("DROP TABLE IF EXISTS {TABLE}"))
}

impl Store {
    /// Creates the new table; rows and their history go to tables of their own from here on.
    pub(super) fn begin_replacement(
        &mut self,
        renumber: bool,
        keeps_filter_indexes: bool,
    ) -> Result<()> {
        let last_old_id = self
            .create_table(renumber)
            .with_context(|| self.subject())?;
        self.replacement = Some(Replacement {
            last_old_id,
            renumber,
            keeps_filter_indexes,
        });
        Ok(())
    }

    fn create_table(&self, renumber: bool) -> Result<i64> {
        let database = &self.connection;
        schema::in_transaction(database, || {
            for part in [Part::Table, Part::Index] {
                for statement in schema::statements(part) {
                    database.execute_batch(&for_new_table(statement))?;
                }
            }
            Ok(())
        })?;
        history::shadow(database)?;
        minutes::shadow(database)?;
        if renumber {
            Ok(0)
        } else {
            last_old_id(database)
        }
    }

    /// Swaps the tables.
    pub(super) fn commit_replacement(&mut self) -> Result<()> {
        if let Some(replacement) = self.replacement.take() {
            let swapped =
                schema::in_transaction(&self.connection, || swap(&self.connection, &replacement));
            swapped.with_context(|| self.subject())?;
        }
        Ok(())
    }

    /// Drops the new table; if that fails, the next load drops it.
    pub(super) fn abort_replacement(&mut self) {
        self.replacement = None;
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let _ = drop_leftovers(&self.connection);
    }
}

/// Rewrites a statement of the schema for the new table.
fn for_new_table(statement: &str) -> String {
    let (comments, statement) = statement.split_at(statement.find("CREATE").unwrap_or(0));
    let about_new = statement
        .replace("flows_time", INDEX)
        .replace("EXISTS flows (", &format!("EXISTS {TABLE} ("))
        .replace("ON flows (", &format!("ON {TABLE} ("));
    format!("{comments}{about_new}")
}

/// The largest id ever given in the old table. The table may be of any shape: a replacement also repairs a
/// table that the service cannot serve.
fn last_old_id(connection: &Connection) -> Result<i64> {
    let largest = |query: &str| -> rusqlite::Result<Option<i64>> {
        match connection.prepare(query) {
            Ok(mut query) => query
                .query_row([], |row| row.get(0))
                .optional()
                .map(Option::flatten),
            // No such column or table.
            Err(_) => Ok(None),
        }
    };
    let row = largest("SELECT max(id) FROM flows WHERE typeof(id) = 'integer'")?;
    let high = largest("SELECT nullif(high, -9223372036854775808) FROM flows_guard")?;
    Ok(row.max(high).unwrap_or(0))
}

/// Swaps the tables in the open transaction. The time does not depend on their size: SQLite moves the pages of
/// the old table to its list of free pages.
fn swap(connection: &Connection, replacement: &Replacement) -> Result<()> {
    if prepare::table_kind(connection)? != TableKind::Table {
        bail!("flows is no table any more");
    }
    if !replacement.renumber && last_old_id(connection)? > replacement.last_old_id {
        bail!(
            "somebody else has added flows meanwhile; the old flows stay, run the replacement again"
        );
    }
    if !replacement.keeps_filter_indexes {
        filter_index::drop_all_but(&[], connection)?;
    }
    let user_objects = connection
        .prepare(USER_OBJECTS)?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    // With `legacy_alter_table`, views and triggers keep naming `flows`.
    connection.execute_batch("PRAGMA legacy_alter_table = ON; DROP TABLE flows")?;
    connection.execute_batch(RENAME_INDEX)?;
    connection.execute_batch(&format!("ALTER TABLE {TABLE} RENAME TO flows"))?;
    for statement in user_objects {
        connection.execute_batch(&statement).with_context(|| {
            format!("the old flows stay, since the new ones cannot have this: {statement}")
        })?;
    }
    // The triggers went with the old table, so the guard's row is renewed too.
    schema::renew_guard(connection)?;
    if replacement.renumber {
        connection.execute_batch("UPDATE flows_guard SET high = (SELECT max(id) FROM flows)")?;
    }
    history::replace_by_shadow(connection)?;
    minutes::replace_by_shadow(connection)?;
    Ok(())
}
