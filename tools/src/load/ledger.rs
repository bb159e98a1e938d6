//! What has been loaded, kept in the database itself: table `flow_loads` has a row for each input, and
//! `flow_rejects` one for each rejects file.
//!
//! They are written in the transaction of the batch they speak of, so the two cannot disagree. An input
//! is its content: names and times of files are not kept. The service does not read these tables.

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
    head        BLOB    NOT NULL  -- the first of these bytes, at most 65,536
);
CREATE TABLE IF NOT EXISTS flow_rejects (
    path        TEXT    PRIMARY KEY,
    end         INTEGER NOT NULL  -- length that the file had, or was to have, at the last commit
)";

const SELECT: &str = "SELECT id, bytes, lines, digest, open_line, head FROM flow_loads";

const INSERT: &str =
    "INSERT INTO flow_loads (bytes, lines, digest, open_line, head) VALUES (?1, ?2, ?3, ?4, ?5)";

const UPDATE: &str = "UPDATE flow_loads
    SET bytes = ?1, lines = ?2, digest = ?3, open_line = ?4, head = ?5 WHERE id = ?6";

/// One input, as far as it is in the database.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Its row in the table; `None` until the first commit.
    id: Option<i64>,
    pub(super) mark: Mark,
    head: Vec<u8>,
}

impl Record {
    /// Moves the record behind `batch`.
    pub(super) fn advance(&mut self, batch: &Batch) {
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
        })
    }
}

/// Creates the tables if need be.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)
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
    let Record { id, mark, head } = record;
    if mark.bytes == 0 {
        return Ok(());
    }
    // What was read beyond the mark, inside a long line, is not part of the record yet.
    let head = &head[..head.len().min(mark.bytes as usize)];
    let (bytes, lines) = (mark.bytes as i64, mark.lines as i64);
    if let Some(id) = *id {
        connection.execute(
            UPDATE,
            params![bytes, lines, mark.digest, mark.open_line, head, id],
        )?;
    } else {
        connection.execute(
            INSERT,
            params![bytes, lines, mark.digest, mark.open_line, head],
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
