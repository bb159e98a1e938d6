//! The history of loads, in the database: `flow_loads` has a row for each input, `flow_rejects` one for each
//! rejects file.
//!
//! One transaction writes rows and their history, so the two cannot disagree. An input is identified by its
//! content, not by the name or time of a file. The service does not read these tables. A replacement writes to
//! temporary tables that shadow them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::batch::{Batch, Consumed};

/// Bytes of an input's start that are stored. They identify a new input after one read; digests would need as
/// many bytes as every recorded input has.
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

/// Columns that earlier versions lacked; NULL means unknown.
const LATER_COLUMNS: [&str; 3] = ["first_id", "last_id", "finished"];

const SELECT: &str = "SELECT id, bytes, lines, digest, open_line, head, first_id, last_id, finished
    FROM flow_loads";

const INSERT: &str = "INSERT INTO flow_loads
    (bytes, lines, digest, open_line, head, first_id, last_id, finished)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const UPDATE: &str =
    "UPDATE flow_loads SET bytes = ?1, lines = ?2, digest = ?3, open_line = ?4, head = ?5,
    first_id = ?6, last_id = ?7, finished = ?8 WHERE id = ?9";

/// One input, as far as the database holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Its row in the table; `None` until the first commit.
    id: Option<i64>,
    pub(super) consumed: Consumed,
    pub(super) head: Vec<u8>,
    /// First and last id of its flows; `None` if it has none or the ids are unknown.
    pub(super) ids: Option<(i64, i64)>,
    /// Whether the input was loaded to its end; `None` if unknown.
    pub(super) finished: Option<bool>,
}

impl Record {
    /// The row's id; `None` until the first commit.
    pub(super) fn id(&self) -> Option<i64> {
        self.id
    }

    /// Adds `batch`, whose flows have the ids from `first_id` on.
    pub(super) fn advance(&mut self, batch: &Batch, first_id: i64) {
        if !batch.flows.is_empty() {
            let last = first_id + batch.flows.len() as i64 - 1;
            // The first id of an earlier version's load may be unknown.
            self.ids = match self.ids {
                Some((first, _)) => Some((first, last)),
                None => Some((first_id, last)),
            };
        }
        self.finished = Some(false);
        let room = HEAD - self.head.len();
        self.head
            .extend_from_slice(&batch.text[..room.min(batch.text.len())]);
        self.consumed = batch.consumed.clone();
    }

    /// Whether an input with `chunk` at `offset` can be this one, judged by the stored head.
    pub(super) fn may_match(&self, offset: u64, chunk: &[u8]) -> bool {
        let known = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.head.get(offset..))
            .unwrap_or_default();
        let common = known.len().min(chunk.len());
        known[..common] == chunk[..common]
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let consumed = Consumed {
            bytes: row.get::<_, i64>(1)? as u64,
            lines: row.get::<_, i64>(2)? as u64,
            digest: row.get(3)?,
            open_line: row.get(4)?,
        };
        Ok(Self {
            id: Some(row.get(0)?),
            consumed,
            head: row.get(5)?,
            ids: row.get::<_, Option<i64>>(6)?.zip(row.get(7)?),
            finished: row.get(8)?,
        })
    }
}

/// Creates the tables, or the columns that they lack.
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

/// Creates empty temporary tables that shadow those of the database from here on.
pub(super) fn shadow(connection: &Connection) -> rusqlite::Result<()> {
    let tables = TABLES.replace("CREATE TABLE", "CREATE TEMP TABLE");
    connection.execute_batch(&tables)
}

/// Replaces the history in the database by the shadow tables, in the open transaction.
pub(super) fn replace_by_shadow(connection: &Connection) -> rusqlite::Result<()> {
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

/// Reads every record.
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
        consumed,
        head,
        ids,
        finished,
    } = record;
    if consumed.bytes == 0 {
        return Ok(());
    }
    // Bytes read inside a long line are not consumed yet.
    let head = &head[..head.len().min(consumed.bytes as usize)];
    let (bytes, lines) = (consumed.bytes as i64, consumed.lines as i64);
    let (finished, (first, last)) = (*finished, ids.unzip());
    if let Some(id) = *id {
        connection.execute(
            UPDATE,
            params![
                bytes,
                lines,
                consumed.digest,
                consumed.open_line,
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
                consumed.digest,
                consumed.open_line,
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

/// Length of the rejects file at `path` at its last commit, if there was one.
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

/// Writes the length of the rejects file at `path` into the open transaction.
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
