//! What has been loaded, kept in the database itself: table `flow_loads` has a row for each input, and
//! `flow_rejects` one for each rejects file.
//!
//! They are written in the transaction of the batch they speak of, so the two cannot disagree. An input
//! is its content: names and times of files are not kept. The service does not read these tables.
//! While flows are replaced, tables of the same names shade them, which only this connection sees.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::batch::{Batch, Mark};

/// Bytes kept of an input's beginning. They tell an input that is new after the first read, where
/// comparing digests would mean to read as far as every recorded input went.
pub(super) const HEAD: usize = 64 * 1024;

const TABLES: &str = "CREATE TABLE IF NOT EXISTS flow_loads (
    id          INTEGER PRIMARY KEY,
    bytes       INTEGER NOT NULL, -- uncompressed, consumed up to the last commit
    lines       INTEGER NOT NULL, -- good and bad ones in these bytes
    digest      BLOB    NOT NULL, -- SHA-256 of exactly these bytes
    open_line   INTEGER NOT NULL, -- 1 if the last line had no line end
    head        BLOB    NOT NULL, -- the first of these bytes, at most 65,536
    first_id    INTEGER,          -- of the flows in these lines
    last_id     INTEGER,
    finished    INTEGER           -- 1 if the input ended behind these bytes, 0 if not yet
);
CREATE TABLE IF NOT EXISTS flow_rejects (
    path        TEXT    PRIMARY KEY,
    end         INTEGER NOT NULL  -- length that the file had, or was to have, at the last commit
)";

/// Columns that earlier versions did not have; NULL in their rows stands for unknown.
const LATER_COLUMNS: [&str; 3] = ["first_id", "last_id", "finished"];

const SELECT: &str = "SELECT id, bytes, lines, digest, open_line, head, first_id, last_id, finished
    FROM flow_loads";

const INSERT: &str = "INSERT INTO flow_loads
    (bytes, lines, digest, open_line, head, first_id, last_id, finished)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const UPDATE: &str =
    "UPDATE flow_loads SET bytes = ?1, lines = ?2, digest = ?3, open_line = ?4, head = ?5,
    first_id = ?6, last_id = ?7, finished = ?8 WHERE id = ?9";

/// One input, as far as it is in the database.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Its row in the table; `None` until the first commit.
    id: Option<i64>,
    pub(super) mark: Mark,
    pub(super) head: Vec<u8>,
    /// First and last id of its flows; `None` if it has none, or that is not known.
    pub(super) ids: Option<(i64, i64)>,
    /// Whether the input has been loaded to its end; `None` if that is not known.
    pub(super) finished: Option<bool>,
}

impl Record {
    /// Tells this record from others; `None` until the first commit.
    pub(super) fn id(&self) -> Option<i64> {
        self.id
    }

    /// Moves the record behind `batch`, whose flows have been given the ids from `first_id` on.
    pub(super) fn advance(&mut self, batch: &Batch, first_id: i64) {
        if !batch.flows.is_empty() {
            let last = first_id + batch.flows.len() as i64 - 1;
            // Of flows that were given ids earlier the first may be unknown.
            self.ids = match self.ids {
                Some((first, _)) => Some((first, last)),
                None => Some((first_id, last)),
            };
        }
        self.finished = Some(false);
        let room = HEAD - self.head.len();
        self.head
            .extend_from_slice(&batch.text[..room.min(batch.text.len())]);
        self.mark = batch.mark.clone();
    }

    /// Whether an input with `piece` at `offset` can be this one, as far as the kept beginning tells.
    pub(super) fn may_hold(&self, offset: u64, piece: &[u8]) -> bool {
        let known = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.head.get(offset..))
            .unwrap_or_default();
        let common = known.len().min(piece.len());
        known[..common] == piece[..common]
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mark = Mark {
            bytes: row.get::<_, i64>(1)? as u64,
            lines: row.get::<_, i64>(2)? as u64,
            digest: row.get(3)?,
            open_line: row.get(4)?,
        };
        Ok(Self {
            id: Some(row.get(0)?),
            mark,
            head: row.get(5)?,
            ids: row.get::<_, Option<i64>>(6)?.zip(row.get(7)?),
            finished: row.get(8)?,
        })
    }
}

/// Creates the tables, or the columns that they lack, if need be.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    for column in LATER_COLUMNS {
        let is_there = "SELECT count(*) FROM pragma_table_info('flow_loads') WHERE name = ?1";
        if connection.query_row(is_there, [column], |row| row.get::<_, u64>(0))? == 0 {
            connection.execute_batch(&format!(
                "ALTER TABLE flow_loads ADD COLUMN {column} INTEGER"
            ))?;
        }
    }
    Ok(())
}

/// Keeps a record of its own from here on, in tables that shade those of the database.
pub(super) fn shade(connection: &Connection) -> rusqlite::Result<()> {
    let tables = TABLES.replace("CREATE TABLE", "CREATE TEMP TABLE");
    connection.execute_batch(&tables)
}

/// Puts that record in the place of the one in the database, in the open transaction.
pub(super) fn unshade(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM main.flow_loads;
         INSERT INTO main.flow_loads
             (id, bytes, lines, digest, open_line, head, first_id, last_id, finished)
             SELECT id, bytes, lines, digest, open_line, head, first_id, last_id, finished
             FROM temp.flow_loads;
         DELETE FROM main.flow_rejects;
         INSERT INTO main.flow_rejects SELECT path, end FROM temp.flow_rejects;
         DROP TABLE temp.flow_loads;
         DROP TABLE temp.flow_rejects",
    )
}

/// Every record.
pub(super) fn records(connection: &Connection) -> rusqlite::Result<Vec<Record>> {
    connection
        .prepare(SELECT)?
        .query_map([], Record::from_row)?
        .collect()
}

/// Writes `record` into the open transaction.
pub(super) fn save(connection: &Connection, record: &mut Record) -> rusqlite::Result<()> {
    let Record {
        id,
        mark,
        head,
        ids,
        finished,
    } = record;
    if mark.bytes == 0 {
        return Ok(());
    }
    // What was read beyond the mark, inside a long line, is not part of the record yet.
    let head = &head[..head.len().min(mark.bytes as usize)];
    let (bytes, lines) = (mark.bytes as i64, mark.lines as i64);
    let (finished, (first, last)) = (*finished, ids.unzip());
    if let Some(id) = *id {
        connection.execute(
            UPDATE,
            params![
                bytes,
                lines,
                mark.digest,
                mark.open_line,
                head,
                first,
                last,
                finished,
                id
            ],
        )?;
    } else {
        connection.execute(
            INSERT,
            params![
                bytes,
                lines,
                mark.digest,
                mark.open_line,
                head,
                first,
                last,
                finished
            ],
        )?;
        *id = Some(connection.last_insert_rowid());
    }
    Ok(())
}

/// Where the rejects file at `path` ended at the last commit, if one has written to it.
pub(super) fn rejects_end(connection: &Connection, path: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row(
            "SELECT end FROM flow_rejects WHERE path = ?1",
            [path],
            |row| row.get::<_, i64>(0),
        )
        .map(|end| end as u64)
        .optional()
}

/// Notes where the rejects file at `path` ends once the open transaction is committed.
pub(super) fn save_rejects_end(
    connection: &Connection,
    path: &str,
    end: u64,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT OR REPLACE INTO flow_rejects (path, end) VALUES (?1, ?2)",
            params![path, end as i64],
        )
        .map(|_| ())
}
