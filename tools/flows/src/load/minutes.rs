//! Counts flows by minute, in the transactions that write them.
//!
//! The counts are those of one state of `flows`: `flows_per_minute_state` holds the `content` of the guard and the
//! largest id that is counted. An edit renews `content` and so ends the counts. Rows with larger ids have arrived
//! since; the service adds them. A load adds them before its own.
//!
//! The service counts a NULL as 0 and reads numbers out of texts. The counts are kept only for tables of integers, so
//! that they never differ from what the service reads.

use std::collections::HashMap;

use anyhow::{Result, bail};
use flow_window::db::minutes::end_of_minute;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::{self, Part};
use crate::lanl::Flow;

/// Rows that are counted in one transaction, about 0.3 s.
const ROWS_PER_COMMIT: i64 = 1_000_000;

/// Whether a value that is written into the counted columns stays an integer, by SQLite's rules of affinity.
const STAYS_INTEGER: &str = "SELECT count(*) = 3 FROM pragma_table_info('flows')
    WHERE lower(name) IN ('time', 'packet_count', 'byte_count') AND type LIKE '%INT%'";

/// The largest id that is counted, while the counts hold.
const MAX_ID: &str = "SELECT max_id FROM flows_per_minute_state
    WHERE content = (SELECT content FROM flows_guard)";

const ADD: &str = "INSERT INTO flows_per_minute (until, flows, packets, bytes) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (until) DO UPDATE SET flows = flows + excluded.flows, packets = packets + excluded.packets,
    bytes = bytes + excluded.bytes";

/// Counts of some flows, by the end of their minute.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    sums: HashMap<i64, Sums>,
    /// The minute that was counted last: flows arrive nearly in the order of time.
    current: Option<(i64, Sums)>,
    flows: i64,
    /// Whether a sum takes more than 64 bits.
    overflows: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    flows: i64,
    packets: i64,
    bytes: i64,
}

impl Minutes {
    /// Counts a flow that is to be written.
    pub(super) fn add(&mut self, flow: &Flow) {
        self.add_values(flow.time, flow.packet_count, flow.byte_count);
    }

    fn add_values(&mut self, time: i64, packets: i64, bytes: i64) {
        self.flows += 1;
        let Some(until) = end_of_minute(time) else {
            self.overflows = true;
            return;
        };
        let one = Sums {
            flows: 1,
            packets,
            bytes,
        };
        match &mut self.current {
            Some((current, sums)) if *current == until => self.overflows |= !sums.add(one),
            _ => {
                self.store_current();
                self.current = Some((until, one));
            }
        }
    }

    fn store_current(&mut self) {
        if let Some((until, sums)) = self.current.take() {
            self.overflows |= !self.sums.entry(until).or_default().add(sums);
        }
    }
}

impl Sums {
    /// Returns false if a sum takes more than 64 bits.
    fn add(&mut self, other: Self) -> bool {
        let sum = || {
            Some(Self {
                flows: self.flows.checked_add(other.flows)?,
                packets: self.packets.checked_add(other.packets)?,
                bytes: self.bytes.checked_add(other.bytes)?,
            })
        };
        let sum = sum();
        *self = sum.unwrap_or_default();
        sum.is_some()
    }
}

/// Begins to count in a table that has no row yet; elsewhere [`catch_up`] has to.
pub(super) fn begin_if_empty(connection: &Connection) -> Result<()> {
    let empty = "SELECT NOT EXISTS (SELECT 1 FROM flows)";
    let is_empty: bool = connection.query_row(empty, [], |row| row.get(0))?;
    if is_empty && largest_counted(connection)?.is_none() {
        schema::in_transaction(connection, || begin(connection))?;
    }
    Ok(())
}

/// Begins to count from the first flow on, in the open transaction.
fn begin(connection: &Connection) -> Result<()> {
    schema::run(connection, Part::Minutes)?;
    forget(connection)?;
    if connection.query_row(STAYS_INTEGER, [], |row| row.get(0))? {
        let state = "INSERT INTO flows_per_minute_state SELECT 1, content, -9223372036854775808 FROM flows_guard";
        connection.execute(state, [])?;
    }
    Ok(())
}

/// Counts no more, in the open transaction.
fn forget(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DELETE FROM flows_per_minute; DELETE FROM flows_per_minute_state")
}

/// The largest id that is counted; `None` where the counts do not hold.
fn largest_counted(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let tables = "SELECT count(*) FROM pragma_table_list
        WHERE name IN ('flows_per_minute', 'flows_per_minute_state', 'flows_guard') AND schema = 'main'";
    let tables: u64 = connection
        .prepare_cached(tables)?
        .query_row([], |row| row.get(0))?;
    if tables < 3 {
        return Ok(None);
    }
    connection
        .prepare_cached(MAX_ID)?
        .query_row([], |row| row.get(0))
        .optional()
}

/// Counts every flow that is not counted. Where the counts do not hold, they begin anew. Each transaction leaves counts
/// that hold.
///
/// # Errors
/// A flow that cannot be counted. There are no counts then.
pub(super) fn catch_up(connection: &Connection) -> Result<()> {
    loop {
        let counted = schema::in_transaction(connection, || {
            if largest_counted(connection)?.is_none() {
                begin(connection)?;
            }
            let Some(largest) = largest_counted(connection)? else {
                bail!("time, packet_count and byte_count are not declared as integers");
            };
            Ok(count_behind(connection, largest, i64::MAX))
        })?;
        match counted {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                schema::in_transaction(connection, || Ok(forget(connection)?))?;
                return Err(error);
            }
        }
    }
}

/// Counts some of the flows with an id above `largest` and below `before`, in the open transaction. Returns how many.
fn count_behind(connection: &Connection, largest: i64, before: i64) -> Result<i64> {
    let flows = "SELECT id, time, packet_count, byte_count FROM flows WHERE id > ?1 AND id < ?2
        ORDER BY id LIMIT ?3";
    let mut flows = connection.prepare_cached(flows)?;
    let mut rows = flows.query(params![largest, before, ROWS_PER_COMMIT])?;
    let mut minutes = Minutes::default();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let integer = |index, column| match row.get_ref(index)? {
            ValueRef::Integer(integer) => Ok(integer),
            ValueRef::Null if column != "time" => Ok(0),
            other => bail!("flow {id}: {column} is {}", other.data_type()),
        };
        minutes.add_values(
            integer(1, "time")?,
            integer(2, "packet_count")?,
            integer(3, "byte_count")?,
        );
        last = Some(id);
    }
    if let Some(last) = last {
        write(connection, &mut minutes, last)?;
    }
    Ok(minutes.flows)
}

/// Adds `minutes`, of flows with the ids from `first` to `last`, which the open transaction has written. The counts stay
/// behind where they do not hold, or where more flows than one transaction counts have arrived before `first`.
///
/// Returns why the counts have ended, if they have.
///
/// The flows of a replacement are the only ones of their table, and so are their counts.
pub(super) fn save(
    connection: &Connection,
    mut minutes: Minutes,
    (first, last): (i64, i64),
    replaces: bool,
) -> Result<Option<String>> {
    let mut reason = None;
    let largest = match largest_counted(connection)? {
        None if !replaces => return Ok(None),
        largest => largest.filter(|_| !replaces),
    };
    connection.execute_batch("SAVEPOINT minutes")?;
    let behind = largest.map_or(Ok(0), |largest| count_behind(connection, largest, first));
    let saved = behind.and_then(|counted| match counted {
        ROWS_PER_COMMIT.. => Ok(()),
        _ => write(connection, &mut minutes, last),
    });
    if let Err(error) = &saved {
        if connection.is_autocommit() {
            // The whole transaction is gone, as when the disk is full.
            return saved.map(|()| None);
        }
        // A sum or a value that cannot be counted: the flows are loaded all the same.
        reason = Some(error.to_string());
        connection.execute_batch("ROLLBACK TO minutes")?;
        forget(connection)?;
    }
    connection.execute_batch("RELEASE minutes")?;
    Ok(reason)
}

/// Adds `minutes`, whose largest id is `last`, in the open transaction.
fn write(connection: &Connection, minutes: &mut Minutes, last: i64) -> Result<()> {
    minutes.store_current();
    if minutes.overflows {
        bail!("a sum takes more than 64 bits");
    }
    let mut add = connection.prepare_cached(ADD)?;
    for (until, sums) in &minutes.sums {
        add.execute([*until, sums.flows, sums.packets, sums.bytes])?;
    }
    let state = "UPDATE flows_per_minute_state SET max_id = ?1";
    connection.prepare_cached(state)?.execute([last])?;
    Ok(())
}

/// Creates empty temporary tables that shadow those of the database from here on, for the flows of a replacement.
pub(super) fn shadow(connection: &Connection) -> Result<()> {
    schema::run(connection, Part::Minutes)?;
    for statement in schema::statements(Part::Minutes) {
        connection.execute_batch(&statement.replace("CREATE TABLE", "CREATE TEMP TABLE"))?;
    }
    let state = "INSERT INTO temp.flows_per_minute_state VALUES (1, 0, -9223372036854775808)";
    connection.execute(state, [])?;
    Ok(())
}

/// Replaces the counts in the database by the shadow tables, in the open transaction. The guard is that of the new flows.
pub(super) fn replace_by_shadow(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM main.flows_per_minute;
         INSERT INTO main.flows_per_minute SELECT * FROM temp.flows_per_minute;
         DELETE FROM main.flows_per_minute_state;
         INSERT INTO main.flows_per_minute_state
             SELECT 1, (SELECT content FROM flows_guard), max_id FROM temp.flows_per_minute_state;
         DROP TABLE temp.flows_per_minute;
         DROP TABLE temp.flows_per_minute_state",
    )
}
