//! The indexes for filters that `--index` names.
//!
//! An index on `(src_comp, time)` gives the flows of one computer in the order of an answer. The service uses the ones
//! that are there and needs none. Each makes an append many times slower, so a large append drops them first.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use flow_window::db::sql::filter_index::has_index;
use rusqlite::Connection;

/// The columns whose filters an index can answer: those of text.
const COLUMNS: [&str; 4] = ["src_comp", "src_port", "dst_comp", "dst_port"];

/// An append of more than a fifth of the table builds the indexes anew.
const LARGE_PART: u64 = 5;

/// Columns that are to have an index for filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterIndexes(Vec<&'static str>);

impl FromStr for FilterIndexes {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let names = list.split(',').filter(|_| !list.is_empty());
        let columns = names.map(|name| {
            let column = COLUMNS.into_iter().find(|column| *column == name);
            column.ok_or_else(|| format!("{name:?} is none of {}", COLUMNS.join(", ")))
        });
        Ok(Self(columns.collect::<Result<_, _>>()?))
    }
}

impl FilterIndexes {
    /// Drops the indexes that are there if an append of `rows` is large.
    pub(super) fn before_append(&self, connection: &Connection, rows: u64) -> Result<()> {
        // Ids rise with the rows, and no count has to be made.
        let last = "SELECT coalesce((SELECT max(id) FROM flows), 0)";
        let last: i64 = connection.query_row(last, [], |row| row.get(0))?;
        if rows > last.unsigned_abs() / LARGE_PART {
            drop_all_but(&[], connection)?;
        }
        Ok(())
    }

    /// Builds the indexes that are missing, and drops those of the other columns. Returns the names of the new ones.
    ///
    /// # Errors
    /// A table in which SQLite finds no values by such an index.
    pub(super) fn apply(&self, connection: &Connection) -> Result<Vec<String>> {
        drop_all_but(&self.0, connection)?;
        let mut built = Vec::new();
        for column in &self.0 {
            if is_usable(connection, column)? {
                continue;
            }
            connection
                .execute_batch(&format!(
                    "DROP INDEX IF EXISTS flows_{column};
                     CREATE INDEX flows_{column} ON flows ({column}, time)"
                ))
                .with_context(|| format!("cannot build the index on {column}"))?;
            if !is_usable(connection, column)? {
                connection.execute_batch(&format!("DROP INDEX flows_{column}"))?;
                bail!(
                    "the index on {column} is of no use: id has to be an INTEGER PRIMARY KEY, and {column} to be \
                     compared byte by byte"
                );
            }
            built.push(format!("flows_{column}"));
        }
        Ok(built)
    }
}

fn is_usable(connection: &Connection, column: &str) -> rusqlite::Result<bool> {
    let query = format!("SELECT {}", has_index(column));
    connection.query_row(&query, [], |row| row.get(0))
}

/// Drops the indexes of the other columns.
pub(super) fn drop_all_but(kept: &[&str], connection: &Connection) -> rusqlite::Result<()> {
    let others = COLUMNS.iter().filter(|column| !kept.contains(column));
    let drops: String = others
        .map(|column| format!("DROP INDEX IF EXISTS flows_{column};"))
        .collect();
    connection.execute_batch(&drops)
}
