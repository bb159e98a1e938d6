//! Other flows in the place of those that are there, all at once.
//!
//! They are loaded into a table beside `flows`, in commits of the usual size, and take its name in one
//! transaction: a reader has the old flows before it and the new ones after it. The record of what was loaded
//! goes with them. A replacement that is interrupted has changed nothing, and starts over.

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OptionalExtension};

use super::ledger;
use super::prepare::{self, Kind};
use super::schema::{self, Part};
use super::store::Store;

/// The new table until it takes the place of the old one.
pub(super) const TABLE: &str = "flows_incoming";

/// Its index until then; names of indexes are the database's.
const INDEX: &str = "flows_incoming_time";

/// What of the old table cannot be moved to the new one and is made again: what somebody else has put there.
const ADDED: &str = "SELECT sql FROM sqlite_schema
    WHERE tbl_name = 'flows' COLLATE NOCASE AND sql IS NOT NULL
    AND (type = 'index' AND name NOT IN ('flows_time', 'flows_id', 'flows_time_id')
        OR type = 'trigger' AND name NOT GLOB 'flows_guard_*')
    ORDER BY type";

/// The name of the new table's index; SQLite has no statement for it. Behind it, SQLite reads its schema anew.
const RENAME_INDEX: &str = "PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET name = 'flows_time', sql = replace(sql, 'flows_incoming_time', 'flows_time')
        WHERE type = 'index' AND name = 'flows_incoming_time';
    PRAGMA writable_schema = RESET";

/// Flows on their way.
pub(super) struct Replacement {
    /// The new flows get ids behind this one.
    base: i64,
    /// Whether ids begin at 1 instead of behind all that were given.
    renumber: bool,
}

impl Replacement {
    /// The largest id so far.
    pub(super) fn largest_id(&self, connection: &Connection) -> Result<i64> {
        let largest: Option<i64> = connection
            .prepare_cached("SELECT max(id) FROM flows_incoming")?
            .query_row([], |row| row.get(0))?;
        Ok(largest.unwrap_or(self.base))
    }
}

/// Removes what a killed replacement has left.
pub(super) fn remove_left_over(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("DROP TABLE IF EXISTS {TABLE}"))
}

impl Store {
    /// From here on rows go to a table of their own, and the record of them too.
    pub(super) fn begin_replacement(&mut self, renumber: bool) -> Result<()> {
        let base = self.make_room(renumber).with_context(|| self.subject())?;
        self.replacement = Some(Replacement { base, renumber });
        Ok(())
    }

    fn make_room(&self, renumber: bool) -> Result<i64> {
        let database = &self.connection;
        schema::in_transaction(database, || {
            for part in [Part::Table, Part::Index] {
                for statement in schema::statements(part) {
                    database.execute_batch(&for_new_table(statement))?;
                }
            }
            Ok(())
        })?;
        ledger::shade(database)?;
        if renumber { Ok(0) } else { old_end(database) }
    }

    /// Puts the new table in the place of the old one.
    pub(super) fn end_replacement(&mut self) -> Result<()> {
        if let Some(replacement) = self.replacement.take() {
            let swapped =
                schema::in_transaction(&self.connection, || swap(&self.connection, &replacement));
            swapped.with_context(|| self.subject())?;
        }
        Ok(())
    }

    /// Leaves everything as it was; what cannot be removed now, the next load removes.
    pub(super) fn give_up_replacement(&mut self) {
        self.replacement = None;
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let _ = remove_left_over(&self.connection);
    }
}

/// A statement of the schema, about the new table.
fn for_new_table(statement: &str) -> String {
    let (comments, statement) = statement.split_at(statement.find("CREATE").unwrap_or(0));
    let about_new = statement
        .replace("flows_time", INDEX)
        .replace("EXISTS flows (", &format!("EXISTS {TABLE} ("))
        .replace("ON flows (", &format!("ON {TABLE} ("));
    format!("{comments}{about_new}")
}

/// The largest id that the old table has given. It may be any table: a replacement mends one that cannot be
/// served from, too.
fn old_end(connection: &Connection) -> Result<i64> {
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

/// All in the open transaction, and all of it short, whatever the size of the tables: pages of the old one go
/// to the list of free pages.
fn swap(connection: &Connection, replacement: &Replacement) -> Result<()> {
    if prepare::kind(connection)? != Kind::Table {
        bail!("flows is no table any more");
    }
    if !replacement.renumber && old_end(connection)? > replacement.base {
        bail!(
            "somebody else has added flows meanwhile; the old flows stay, run the replacement again"
        );
    }
    let added = connection
        .prepare(ADDED)?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    // Views and triggers that speak of `flows` go on to do so.
    connection.execute_batch("PRAGMA legacy_alter_table = ON; DROP TABLE flows")?;
    connection.execute_batch(RENAME_INDEX)?;
    connection.execute_batch(&format!("ALTER TABLE {TABLE} RENAME TO flows"))?;
    for statement in added {
        connection.execute_batch(&statement).with_context(|| {
            format!("the old flows stay, since the new ones cannot have this: {statement}")
        })?;
    }
    // Without its triggers the row counts as unguarded, and is renewed.
    schema::renew_guard(connection)?;
    if replacement.renumber {
        connection.execute_batch("UPDATE flows_guard SET high = (SELECT max(id) FROM flows)")?;
    }
    ledger::unshade(connection)?;
    Ok(())
}
