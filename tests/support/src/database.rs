//! A database file in a folder of its own, and SQL on it from beside the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

use crate::records::Record;
use crate::wire::PATIENCE;

/// The schema that the loader makes.
pub const SCHEMA: &str = include_str!("../../../src/table/schema.sql");

/// The schema without the guard.
#[track_caller]
pub fn unguarded_schema() -> &'static str {
    let (table, _) = SCHEMA.split_once("-- The guard").expect("a guard");
    table
}

/// Makes a table as one from elsewhere may be: what is no key has no type, so it holds any value.
pub const UNTYPED_TABLE: &str = "CREATE TABLE flows (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, duration, src_comp, src_port, dst_comp, dst_port,
    protocol, packet_count, byte_count
);";

/// A database file. Its folder is removed with the last handle.
#[derive(Debug, Clone)]
pub struct Database {
    path: PathBuf,
    _folder: Option<Arc<TempDir>>,
}

impl Database {
    /// A folder without the file.
    #[track_caller]
    pub fn absent() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            path: folder.path().join("sqlite_db.db"),
            _folder: Some(Arc::new(folder)),
        }
    }

    /// The file at `path`, in a folder that stays.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            _folder: None,
        }
    }

    /// A database that `sql` makes out of an empty file.
    #[track_caller]
    pub fn with_sql(sql: &str) -> Self {
        let database = Self::absent();
        database.execute(sql);
        database
    }

    /// A database of the schema that holds flows with these `(id, time)`.
    #[track_caller]
    pub fn with_flows(flows: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let database = Self::with_sql(SCHEMA);
        database.insert(flows);
        database
    }

    /// A database of the schema with so many flows, three a second, all different, in a write-ahead log.
    #[track_caller]
    pub fn generated(count: u32) -> Self {
        Self::with_sql(&format!(
            "PRAGMA journal_mode = WAL; {SCHEMA}; INSERT INTO flows \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT i, i / 3, i % 7, 'C' || i, 'N' || (i % 999), 'C' || (i % 31), \
             iif(i % 3, '443', 'N' || i), iif(i % 2, 6, 17), i % 50, i * 40 FROM n WHERE {count} > 0;"
        ))
    }

    /// Another database with the same content.
    #[track_caller]
    pub fn copy(&self) -> Self {
        let copy = Self::absent();
        let path = copy.path.display();
        self.execute(&format!(
            "VACUUM INTO '{path}'; ATTACH '{path}' AS copy; PRAGMA copy.journal_mode = WAL"
        ));
        copy
    }

    /// Has `flows load` prepare the database, as it does without a file of flows.
    #[cfg(feature = "server")]
    #[track_caller]
    pub fn prepare(&self) {
        let request = flows::load::Load {
            db: self.path.clone(),
            ..Default::default()
        };
        flows::load::load(&request).expect("the database is prepared");
    }

    /// Has `flows load` build the indexes for filters on these columns, and no other.
    #[cfg(feature = "server")]
    #[track_caller]
    pub fn index(&self, columns: &str) {
        let request = flows::load::Load {
            db: self.path.clone(),
            index: Some(columns.parse().expect("columns")),
            ..Default::default()
        };
        flows::load::load(&request).expect("the indexes are built");
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A connection from beside the server.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).expect("the database opens");
        connection.busy_timeout(PATIENCE).expect("a timeout");
        connection
    }

    /// Runs statements.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        let executed = self.connect().execute_batch(sql);
        executed.unwrap_or_else(|error| panic!("{sql:.500}: {error}"));
    }

    /// The single integer that a query gives.
    #[track_caller]
    pub fn integer(&self, sql: &str) -> i64 {
        let value = self.connect().query_row(sql, [], |row| row.get(0));
        value.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Adds flows with these `(id, time)`; the other columns are filler.
    #[track_caller]
    pub fn insert(&self, flows: impl IntoIterator<Item = (i64, i64)>) {
        let mut connection = self.connect();
        let transaction = connection.transaction().expect("a transaction");
        for (id, time) in flows {
            let insert = "INSERT INTO flows VALUES (?, ?, 0, 'C1', 'N1', 'C2', '443', 6, 10, 5323)";
            let inserted = transaction.execute(insert, [id, time]);
            inserted.unwrap_or_else(|error| panic!("flow {id} at {time}: {error}"));
        }
        transaction.commit().expect("a commit");
    }
}

/// Adds flows to the table that `connection` has open, in one transaction.
#[track_caller]
pub fn insert_records(connection: &mut Connection, flows: &[Record]) {
    let transaction = connection.transaction().expect("a transaction");
    let insert = "INSERT INTO flows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut statement = transaction.prepare(insert).expect("a statement");
    for flow in flows {
        let inserted = statement.execute(params_from_iter(flow));
        inserted.unwrap_or_else(|error| panic!("{flow:?}: {error}"));
    }
    drop(statement);
    transaction.commit().expect("a commit");
}
