//! The database: table `flows`, its indexes, and transactions of rows.
//!
//! The table is either made from the one schema or somebody else's: it may be WITHOUT ROWID, or have an
//! `id` that is not the rowid. Which index it lacks is therefore asked of SQLite's planner, with the
//! queries that the service is going to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, DatabaseName, ErrorCode, OpenFlags, Statement, ToSql};

use super::batch::Batch;
use super::checkpoint::Checkpoints;
use super::ledger::{self, Record};
use crate::lanl::{FIELDS, Flow};

const SCHEMA: &str = include_str!("../../../src/schema.sql");

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

/// How long another writer may keep the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// - NORMAL with a write-ahead log: a commit is whole or gone after a power failure, and needs no sync.
/// - The cache is the memory of the index's sorter, and holds all the pages of a commit.
/// - At 16,000 pages (64 MB) the writer itself copies what is left of the log, which can then begin anew.
const SETTINGS: &str =
    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 16000";

/// Rows in one INSERT. One at a time took 40 % longer, more than 24 took no less.
const ROWS_PER_INSERT: usize = 24;

/// An open database with its `flows` table.
pub(super) struct Store {
    // Dropped first, so that the last connection to close is the one that has written.
    checkpoints: Option<Checkpoints>,
    connection: Connection,
    path: PathBuf,
}

/// Makes the folder of a database that may have to be created.
pub(super) fn create_folder(db: &Path) -> Result<()> {
    match db.parent() {
        Some(folder) => fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display())),
        None => Ok(()),
    }
}

/// Fails unless there is a database at `db`.
pub(super) fn require(db: &Path) -> Result<()> {
    if !db
        .try_exists()
        .with_context(|| format!("cannot open {}", db.display()))?
    {
        bail!("no database at {}", db.display());
    }
    Ok(())
}

impl Store {
    /// Opens the database at `path`; with `create`, for rows to be inserted, and makes what is missing.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        let connection = Connection::open_with_flags(path, flags)
            .with_context(|| format!("cannot open database {}", path.display()))?;
        let store = Self {
            checkpoints: create.then(|| Checkpoints::start(path)).transpose()?,
            connection,
            path: path.to_owned(),
        };
        store.set_up(create).with_context(|| store.subject())?;
        Ok(store)
    }

    fn set_up(&self, create: bool) -> Result<()> {
        // Asked before SQLite reads: it would leave a log without permission to write behind, and a later load
        // would fail at that.
        if self.connection.is_readonly(DatabaseName::Main)? {
            bail!("the file is read-only");
        }
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        self.connection.execute_batch(SETTINGS)?;
        if create {
            self.use_write_ahead_log()?;
            self.run_schema(false)?;
            ledger::create(&self.connection)?;
        }
        self.check_columns()?;
        if create && !is_in_order(&self.connection, ARRIVALS)? {
            self.connection.execute_batch(INDEX_ON_ID)?;
        }
        Ok(())
    }

    /// Readers go on during a load only with a write-ahead log. Changing to it takes a moment without
    /// readers, for which SQLite does not wait by itself.
    fn use_write_ahead_log(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let mode =
                self.connection
                    .pragma_update_and_check(None, "journal_mode", "wal", |row| {
                        row.get::<_, String>(0)
                    });
            match mode {
                Ok(mode) if mode == "wal" => return Ok(()),
                Ok(mode) => bail!("cannot use a write-ahead log here, the journal stays {mode}"),
                Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error).context("cannot change to a write-ahead log"),
            }
        }
    }

    /// Runs the schema's statements for the table, or those for its indexes.
    fn run_schema(&self, indexes: bool) -> rusqlite::Result<()> {
        let mut schema = rusqlite::Batch::new(&self.connection, SCHEMA);
        while let Some(mut statement) = schema.next()? {
            if is_index(&statement) == indexes {
                statement.raw_execute()?;
            }
        }
        Ok(())
    }

    fn check_columns(&self) -> Result<()> {
        let mut table = self
            .connection
            .prepare("SELECT name FROM pragma_table_info('flows')")?;
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

    /// Removes every flow, and what is known of the loads that they came from, in one transaction.
    pub(super) fn empty(&self) -> Result<()> {
        self.connection
            .execute_batch(
                "BEGIN IMMEDIATE; DELETE FROM flows; DELETE FROM flow_loads;
                 DELETE FROM flow_rejects; COMMIT;",
            )
            .with_context(|| format!("cannot empty {}", self.path.display()))
    }

    /// Builds the indexes without which the service would have to sort, and gives their names.
    pub(super) fn complete_indexes(&self) -> Result<Vec<String>> {
        self.build_missing_indexes().with_context(|| self.subject())
    }

    fn build_missing_indexes(&self) -> Result<Vec<String>> {
        let before = self.indexes()?;
        if !is_in_order(&self.connection, ARRIVALS)? || !is_in_order(&self.connection, WINDOW)? {
            self.use_write_ahead_log()?;
        }
        if !is_in_order(&self.connection, ARRIVALS)? {
            self.connection
                .execute_batch(INDEX_ON_ID)
                .context("cannot build the index on id")?;
        }
        if !is_in_order(&self.connection, WINDOW)? && self.would_time_do()? {
            self.run_schema(true)
                .context("cannot build the index on time")?;
        }
        if !is_in_order(&self.connection, WINDOW)? {
            self.connection
                .execute_batch(INDEX_ON_TIME_AND_ID)
                .context("cannot build the index on time and id")?;
        }
        for query in [ARRIVALS, WINDOW] {
            if !is_in_order(&self.connection, query)? {
                bail!("SQLite does not use the index for {query:?}");
            }
        }
        let mut built = self.indexes()?;
        built.retain(|name| !before.contains(name));
        Ok(built)
    }

    /// Whether the schema's index on `time` alone would give a window its order, tried on an empty copy
    /// of the table: building an index to no use takes minutes.
    fn would_time_do(&self) -> Result<bool> {
        let table: String = self.connection.query_row(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'flows' COLLATE NOCASE",
            [],
            |row| row.get(0),
        )?;
        let copy = Connection::open_in_memory()?;
        copy.execute_batch(&table)?;
        copy.execute_batch(SCHEMA)?;
        is_in_order(&copy, WINDOW)
    }

    fn indexes(&self) -> rusqlite::Result<Vec<String>> {
        self.connection
            .prepare("SELECT name FROM pragma_index_list('flows') ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    /// Starts a transaction, as the only writer, and gives the id of the next row.
    pub(super) fn begin(&self) -> Result<i64> {
        let begin = || -> Result<i64> {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            let mut largest = self
                .connection
                .prepare_cached("SELECT coalesce(max(id), 0) FROM flows")?;
            Ok(largest.query_row([], |row| row.get(0))?)
        };
        let largest = begin().with_context(|| self.subject())?;
        largest
            .checked_add(1)
            .with_context(|| format!("{}: there is no id beyond {largest}", self.subject()))
    }

    /// Inserts the flows of `batch`, the first with the id `next_id`; gives the id behind the last.
    pub(super) fn insert(&self, batch: &Batch, next_id: i64) -> Result<i64> {
        if next_id.checked_add(batch.flows.len() as i64).is_none() {
            bail!(
                "{}: there are not enough ids beyond {next_id}",
                self.subject()
            );
        }
        self.insert_rows(batch, next_id)
            .with_context(|| self.subject())
    }

    fn insert_rows(&self, batch: &Batch, mut next_id: i64) -> rusqlite::Result<i64> {
        let whole = batch.flows.len() / ROWS_PER_INSERT * ROWS_PER_INSERT;
        let (whole, rest) = batch.flows.split_at(whole);
        for (flows, rows) in [(whole, ROWS_PER_INSERT), (rest, rest.len())] {
            if flows.is_empty() {
                continue;
            }
            let mut insert = self.connection.prepare_cached(&insert_statement(rows))?;
            for rows in flows.chunks(rows) {
                for (place, (start, flow)) in rows.iter().enumerate() {
                    bind(
                        &mut insert,
                        place,
                        next_id,
                        &batch.text[*start as usize..],
                        flow,
                    )?;
                    next_id += 1;
                }
                insert.raw_execute()?;
            }
        }
        Ok(next_id)
    }

    /// Commits the open transaction together with `record`.
    pub(super) fn commit(&self, record: &mut Record) -> Result<()> {
        ledger::save(&self.connection, record)
            .and_then(|()| self.connection.execute_batch("COMMIT"))
            .with_context(|| self.subject())?;
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.ask();
        }
        Ok(())
    }

    /// What has been loaded so far.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        ledger::records(&self.connection).with_context(|| self.subject())
    }

    /// See [`ledger::rejects_end`].
    pub(super) fn rejects_end(&self, path: &str) -> Result<Option<u64>> {
        ledger::rejects_end(&self.connection, path).with_context(|| self.subject())
    }

    /// See [`ledger::save_rejects_end`].
    pub(super) fn save_rejects_end(&self, path: &str, end: u64) -> Result<()> {
        ledger::save_rejects_end(&self.connection, path, end).with_context(|| self.subject())
    }

    /// Where the database is.
    pub(super) fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    fn subject(&self) -> String {
        format!("database {}", self.path.display())
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn is_index(statement: &Statement<'_>) -> bool {
    statement
        .expanded_sql()
        .is_some_and(|sql| sql.contains("CREATE INDEX"))
}

/// Whether SQLite walks straight to the beginning of `query` and on in its order, without a sort.
fn is_in_order(connection: &Connection, query: &str) -> Result<bool> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
    let mut steps = explain.raw_query();
    let mut in_order = true;
    while let Some(step) = steps.next()? {
        let detail: String = step.get("detail")?;
        in_order &= !detail.contains("TEMP B-TREE") && !detail.starts_with("SCAN");
    }
    Ok(in_order)
}

/// The INSERT for `rows` rows.
fn insert_statement(rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let columns = FIELDS.join(", ");
    format!(
        "INSERT INTO flows (id, {columns}) VALUES {}",
        vec![row; rows].join(", ")
    )
}

/// Binds the statement's row at `place`; the flow's texts lie in `line`.
fn bind(
    insert: &mut Statement<'_>,
    place: usize,
    id: i64,
    line: &[u8],
    flow: &Flow,
) -> rusqlite::Result<()> {
    let text = |range: &std::ops::Range<u32>| Text(&line[range.start as usize..range.end as usize]);
    let first = 1 + place * (1 + FIELDS.len());
    insert.raw_bind_parameter(first, id)?;
    insert.raw_bind_parameter(first + 1, flow.time)?;
    insert.raw_bind_parameter(first + 2, flow.duration)?;
    insert.raw_bind_parameter(first + 3, text(&flow.src_comp))?;
    insert.raw_bind_parameter(first + 4, text(&flow.src_port))?;
    insert.raw_bind_parameter(first + 5, text(&flow.dst_comp))?;
    insert.raw_bind_parameter(first + 6, text(&flow.dst_port))?;
    insert.raw_bind_parameter(first + 7, flow.protocol)?;
    insert.raw_bind_parameter(first + 8, flow.packet_count)?;
    insert.raw_bind_parameter(first + 9, flow.byte_count)
}

/// Bytes that are known to be UTF-8: [`crate::lanl::parse`] has looked.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}
