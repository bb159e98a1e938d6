//! The database: opens it, and writes rows in transactions.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, DatabaseName, ErrorCode, OpenFlags, Statement, ToSql};

use super::batch::Batch;
use super::checkpoint::Checkpointer;
use super::filter_index::FilterIndexes;
use super::history::{self, Record};
use super::minutes::{self, Minutes};
use super::prepare::{self, TableKind};
use super::replace::{self, Replacement};
use super::schema::{self, Triggers};
use crate::lanl::{FIELDS, Flow};

/// Longest wait for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// - NORMAL with a write-ahead log: a power failure leaves a commit whole or undone; a commit needs no sync.
/// - The cache holds all pages of a commit; building an index sorts in it.
/// - At 16,000 pages (64 MB) the writer itself copies the rest of the log, which then starts over.
const SETTINGS: &str =
    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 16000";

/// Rows in one INSERT. Fewer are slower, more are no faster.
const ROWS_PER_INSERT: usize = 24;

/// Selects the largest id ever given, or the least integer if there is none.
pub(super) const LARGEST_ID: &str =
    "SELECT max(coalesce((SELECT max(id) FROM flows), -9223372036854775808),
    coalesce((SELECT high FROM flows_guard), -9223372036854775808))";

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To check it and to add what it lacks.
    Prepare,
    /// To add rows.
    Append,
    /// To replace all rows.
    Replace,
}

/// What was added to a table.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Names of new indexes.
    pub(super) indexes: Vec<String>,
    /// The summary's words about the guard.
    pub(super) guard: Option<&'static str>,
    /// Why flows are not counted by minute.
    pub(super) uncounted: Option<String>,
}

/// An open database with its `flows` table.
pub(super) struct Store {
    // Dropped first, so that the writing connection closes last.
    checkpointer: Option<Checkpointer>,
    pub(super) connection: Connection,
    path: PathBuf,
    triggers: Triggers,
    pub(super) replacement: Option<Replacement>,
}

/// Creates the folder of the database.
pub(super) fn create_folder(db: &Path) -> Result<()> {
    match db.parent() {
        Some(folder) => fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display())),
        None => Ok(()),
    }
}

/// Fails unless `db` exists.
pub(super) fn check_exists(db: &Path) -> Result<()> {
    if !db
        .try_exists()
        .with_context(|| format!("cannot open {}", db.display()))?
    {
        bail!("no database at {}", db.display());
    }
    Ok(())
}

impl Store {
    /// Opens the database at `path`, and creates what is missing unless the purpose is to prepare.
    pub(super) fn open(path: &Path, purpose: Purpose) -> Result<Self> {
        let writes = purpose != Purpose::Prepare;
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, writes);
        let connection = Connection::open_with_flags(path, flags)
            .with_context(|| format!("cannot open database {}", path.display()))?;
        let store = Self {
            checkpointer: writes.then(|| Checkpointer::start(path)).transpose()?,
            connection,
            path: path.to_owned(),
            triggers: Triggers::default(),
            replacement: None,
        };
        store.set_up(purpose).with_context(|| store.subject())?;
        Ok(store)
    }

    fn set_up(&self, purpose: Purpose) -> Result<()> {
        let database = &self.connection;
        // Before the first read, which would create a write-ahead log without write permission: a later load
        // would fail on that log.
        if database.is_readonly(DatabaseName::Main)? {
            bail!("the file is read-only");
        }
        database.busy_timeout(BUSY_TIMEOUT)?;
        database.execute_batch(SETTINGS)?;
        if purpose == Purpose::Prepare {
            prepare::check_columns(database)?;
        }
        self.use_write_ahead_log()?;
        replace::drop_leftovers(database)?;
        if purpose != Purpose::Prepare {
            match prepare::table_kind(database)? {
                // With its index, so that the service can serve the first rows. Flows arrive nearly in the order
                // of time, so growing the index takes no longer than building it at the end.
                TableKind::Absent => {
                    schema::in_transaction(database, || Ok(schema::create(database)?))?;
                }
                TableKind::Table => {}
                TableKind::View | TableKind::Virtual => {
                    bail!("flows is a view or a virtual table: load into the tables that it shows")
                }
            }
            history::create(database)?;
        }
        Ok(())
    }

    /// Adds the indexes and the guard that the table lacks. With `every_flow`, also checks the values of every
    /// flow.
    pub(super) fn prepare(&self, every_flow: bool) -> Result<Prepared> {
        self.prepare_table(every_flow)
            .with_context(|| self.subject())
    }

    fn prepare_table(&self, every_flow: bool) -> Result<Prepared> {
        let database = &self.connection;
        prepare::check_columns(database)?;
        let indexes = prepare::create_missing_indexes(database)?;
        prepare::check_key_types(database)?;
        let is_table = prepare::table_kind(database)? == TableKind::Table;
        let guard = match is_table {
            true => schema::install_guard(database)?.then_some("guard installed"),
            false => {
                Some("no guard, since flows is a view or a virtual table: edits of it go unseen")
            }
        };
        if every_flow {
            prepare::check_values(database)?;
        }
        let uncounted = match is_table {
            true if every_flow => minutes::catch_up(database).err(),
            true => minutes::begin_if_empty(database).err(),
            false => None,
        };
        Ok(Prepared {
            indexes,
            guard,
            uncounted: uncounted.map(|error| error.to_string()),
        })
    }

    /// See [`FilterIndexes::before_append`].
    pub(super) fn before_append(&self, index: &FilterIndexes, rows: u64) -> Result<()> {
        index
            .before_append(&self.connection, rows)
            .with_context(|| self.subject())
    }

    /// See [`FilterIndexes::apply`].
    pub(super) fn build_filter_indexes(&self, index: &FilterIndexes) -> Result<Vec<String>> {
        index
            .apply(&self.connection)
            .with_context(|| self.subject())
    }

    /// Switches to a write-ahead log, with which readers go on during a load. The switch needs a moment without
    /// readers, and SQLite does not wait for it.
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

    /// Begins a transaction as the only writer; returns the id of the next row.
    pub(super) fn begin(&self) -> Result<i64> {
        let begin = || -> Result<i64> {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.triggers.update(&self.connection)?;
            match &self.replacement {
                Some(replacement) => replacement.largest_id(&self.connection),
                None => largest_id(&self.connection),
            }
        };
        let largest = begin().with_context(|| self.subject())?;
        largest
            .checked_add(1)
            .with_context(|| format!("{}: there is no id beyond {largest}", self.subject()))
    }

    /// Inserts the flows of `batch`, the first with the id `next_id`; returns the id behind the last.
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
            let mut insert = self
                .connection
                .prepare_cached(&insert_statement(self.table(), rows))?;
            for rows in flows.chunks(rows) {
                for (index, (start, flow)) in rows.iter().enumerate() {
                    bind(
                        &mut insert,
                        index,
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

    /// Counts flows that the open transaction has inserted, with the ids from first to last.
    /// Returns why the counts have ended, if they have.
    pub(super) fn save_minutes(&self, minutes: Minutes, ids: (i64, i64)) -> Result<Option<String>> {
        minutes::save(&self.connection, minutes, ids, self.replacement.is_some())
            .with_context(|| self.subject())
    }

    /// Commits the open transaction together with `record`.
    pub(super) fn commit(&self, record: &mut Record) -> Result<()> {
        history::save(&self.connection, record)
            .and_then(|()| self.connection.execute_batch("COMMIT"))
            .with_context(|| self.subject())?;
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.request();
        }
        Ok(())
    }

    /// The history of loads.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        history::records(&self.connection).with_context(|| self.subject())
    }

    /// Whether there is a flow with this id.
    pub(super) fn has_id(&self, id: i64) -> Result<bool> {
        let table = self.table();
        let holds = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE id = ?1)");
        self.connection
            .query_row(&holds, [id], |row| row.get(0))
            .with_context(|| self.subject())
    }

    /// See [`history::rejects_end`].
    pub(super) fn rejects_end(&self, path: &str) -> Result<Option<u64>> {
        history::rejects_end(&self.connection, path).with_context(|| self.subject())
    }

    /// See [`history::save_rejects_end`].
    pub(super) fn save_rejects_end(&self, path: &str, end: u64) -> Result<()> {
        history::save_rejects_end(&self.connection, path, end).with_context(|| self.subject())
    }

    /// The folder of the database.
    pub(super) fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    /// The table that rows go to.
    fn table(&self) -> &'static str {
        match self.replacement {
            Some(_) => replace::TABLE,
            None => "flows",
        }
    }

    /// Names the database in messages.
    pub(super) fn subject(&self) -> String {
        format!("database {}", self.path.display())
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// The largest id ever given; 0 if there is none.
pub(super) fn largest_id(connection: &Connection) -> Result<i64> {
    let largest = connection
        .prepare_cached(LARGEST_ID)?
        .query_row([], |row| row.get(0))?;
    Ok(if largest == i64::MIN { 0 } else { largest })
}

/// The INSERT for `rows` rows. An error ends the load, so OR ROLLBACK is enough: SQLite then keeps no journal to
/// undo this statement alone, which saves time.
fn insert_statement(table: &str, rows: usize) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let columns = FIELDS.join(", ");
    format!(
        "INSERT OR ROLLBACK INTO {table} (id, {columns}) VALUES {}",
        vec![row; rows].join(", ")
    )
}

/// Binds the row at `index` of the statement; `line` starts with the flow's line.
fn bind(
    insert: &mut Statement<'_>,
    index: usize,
    id: i64,
    line: &[u8],
    flow: &Flow,
) -> rusqlite::Result<()> {
    let text = |range: &std::ops::Range<u32>| Utf8(&line[range.start as usize..range.end as usize]);
    let first = 1 + index * (1 + FIELDS.len());
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

/// Bytes that [`crate::lanl::parse`] has checked to be UTF-8.
struct Utf8<'a>(&'a [u8]);

impl ToSql for Utf8<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}
