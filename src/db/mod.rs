//! The database: the port that a host implements, and what the core reads through it.
//!
//! An adapter implements [`Database`] and [`Connection`] over its host's SQLite. The traits are dispatched
//! statically. One task reads a page and encodes another at the same time.
//!
//! - [`sql`]: the text of every statement
//! - [`session`]: one connection for all statements of an answer
//! - `reader`: statements that have to agree on one state of the table
//! - [`pager`]: the pages of an answer; `limit`: where a limit cuts it; `filter_index`: whether it reads the index of
//!   a filter; `id_range`: pages that need no index
//! - [`summary`]: the state and the ends of the table
//! - [`minutes`]: flows that are counted by minute
//! - [`readiness`]: whether the table can be served

use std::time::Duration;

mod filter_index;
mod id_range;
mod limit;
pub mod minutes;
pub mod pager;
mod reader;
pub mod readiness;
pub mod session;
pub mod sql;
pub mod summary;

/// A value that is bound to a statement or comes out of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A 64-bit signed integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// NULL.
    Null,
}

/// The values of one row, in the order of its columns.
pub type Row = Vec<Value>;

/// A database of one host.
pub trait Database: Clone + 'static {
    /// A connection to it.
    type Connection: Connection;

    /// Flows in a page.
    const PAGE_ROWS: i64;

    /// Takes an idle connection from the pool, or opens one.
    ///
    /// # Errors
    /// What the host says.
    fn acquire(&self) -> impl Future<Output = Result<Self::Connection, DbError>>;

    /// Opens a connection that has seen nothing of the database.
    ///
    /// # Errors
    /// What the host says.
    fn open(&self) -> impl Future<Output = Result<Self::Connection, DbError>>;

    /// Waits for `time`.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()>;
}

/// A connection that runs one statement at a time. Dropping it closes it.
pub trait Connection: 'static {
    /// Runs a statement to its end; returns its first row.
    ///
    /// # Errors
    /// What SQLite or the host says of the statement.
    fn query_row(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<Option<Row>, DbError>>;

    /// Runs a statement to its end; returns all its rows.
    ///
    /// # Errors
    /// As [`Self::query_row`].
    fn query_rows(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, DbError>>;

    /// What [`session::Session`] has found out of the connection. The pool keeps it with the connection.
    fn storage(&mut self) -> &mut Storage;

    /// Whether the host gives other answers the same connection: then a transaction would be theirs as well.
    ///
    /// # Errors
    /// As [`Self::query_row`].
    fn is_shared(&mut self) -> impl Future<Output = Result<bool, DbError>>;

    /// Puts the connection, on which no statement runs and no transaction is open, into the pool.
    fn release(self);
}

/// Where a connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// No answer has asked.
    #[default]
    Unknown,
    /// To a file with a write-ahead log: readers and writers do not wait for each other.
    WriteAheadLog,
    /// To a file with a rollback journal.
    Rollback,
    /// To a libSQL server.
    Server,
}

/// What went wrong with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbError {
    /// What can be done about it.
    pub kind: DbErrorKind,
    /// What the client is told.
    pub detail: String,
    /// What the log alone is told, such as SQL and the host's words.
    pub cause: Option<String>,
}

/// What can be done about an error of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbErrorKind {
    /// The operator has to act; the detail says what to run.
    NotReady,
    /// The guard was whole and is not any more: the table has to be checked again.
    GuardLost,
    /// A writer keeps the database locked, or its server does not answer: waiting helps.
    Busy,
    /// The client of a database server refuses the statement.
    Unsupported,
    /// The connection to the database server is gone, or the server has let go of the statement: another connection
    /// helps.
    Expired,
    /// The table was edited between two statements: a new start helps, as long as nothing has been sent.
    Edited,
    /// The state of the table that this parameter names is gone: asking without it helps.
    Gone(&'static str),
    /// The page is too large for one row: a page of fewer flows may fit.
    TooLarge,
    /// A sum takes more than 64 bits.
    Overflow,
    /// An index that the statement names is not there. Another statement does without.
    NoIndex,
    /// The counts by minute are not there. No answer needs them.
    NoMinutes,
    /// SQLite has refused to pack a BLOB without naming it: a search finds it.
    UnnamedBlob,
    /// None of these.
    Internal,
}

impl DbError {
    fn new(kind: DbErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            cause: None,
        }
    }

    /// The operator has to act.
    pub fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(DbErrorKind::NotReady, detail)
    }

    /// The data or the code is at fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(DbErrorKind::Internal, detail)
    }

    /// `parameter` names another state of the table.
    pub fn gone(parameter: &'static str, detail: impl Into<String>) -> Self {
        Self::new(DbErrorKind::Gone(parameter), detail)
    }

    /// The table was edited between two statements.
    pub fn edited() -> Self {
        let detail = "the flows were edited while they were read; try again";
        Self::new(DbErrorKind::Edited, detail)
    }

    /// The guard was whole and is not any more.
    pub fn guard_lost() -> Self {
        let detail = "the guard of the table flows is damaged; run `flows load --db FILE` with no file of flows";
        Self::new(DbErrorKind::GuardLost, detail)
    }

    /// The BLOB of a flow, `"flow ID: COLUMN"`.
    pub fn blob(place: &str) -> Self {
        Self::internal(format!("{place} {}", sql::probe::IS_BLOB))
    }

    /// Adds what the log is told and the client is not.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The host has no database under the label that is asked for.
    pub fn no_database(cause: impl Into<String>) -> Self {
        Self::not_ready("the host offers no database with the label \"default\"").caused_by(cause)
    }

    /// What SQLite's `message` means.
    ///
    /// A host passes on the message and no error code (Spin's `crates/sqlite-inproc`, `io_error_v3`). So the texts of
    /// SQLite's `sqlite3ErrStr` and of its parser decide.
    pub fn from_message(message: &str) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        let error = if let Some(column) = word_after(message, "no such column: ") {
            Self::not_ready(format!(
                "the table flows has no column {column}; `flows load --db FILE` tells what it needs"
            ))
        } else if says(&[
            "no such table: flows_guard",
            "no such table: main.flows_guard",
        ]) {
            Self::guard_lost()
        } else if says(&["no such index", "no query solution"]) {
            let detail = "an index has been dropped; try again";
            Self::new(DbErrorKind::NoIndex, detail)
        } else if says(&["no such table: flows_per_minute"]) {
            let detail = "the counts by minute have been dropped; try again";
            Self::new(DbErrorKind::NoMinutes, detail)
        } else if says(&["no such table"]) {
            Self::not_ready(
                "the database has no table flows; load flows with `make load FILES=…`, or create \
                 the table with `spin up --sqlite @src/table/schema.sql`",
            )
        } else if says(&["unsupported statement"]) {
            // The libsql crate's parser (`src/parser.rs`).
            let detail = "the database server's client refuses a statement";
            Self::new(DbErrorKind::Unsupported, detail)
        } else if says(&[
            "error trying to connect",
            "api error: `status=5",
            "InvalidConnection",
        ]) {
            let detail = "the database server does not answer; try again";
            Self::new(DbErrorKind::Busy, detail)
        } else if says(&[
            "STREAM_EXPIRED",
            "stream has expired",
            "baton",
            // The client drops the end of each answer. Where sqld 0.24 notices that late, it interrupts the next
            // statement of the connection (`connection_core.rs`, `Bomb`).
            "SQLITE_INTERRUPT",
            // A connection that breaks: before the answer's head, in its body, and where its end is taken for that of
            // the body (`src/hrana/mod.rs`).
            "http error",
            "error reading a body",
            "cursor stream ended prematurely",
        ]) {
            let detail = "the database server has closed the connection; try again";
            Self::new(DbErrorKind::Expired, detail)
        } else if says(&["Unauthorized", "status=401", "status=403"]) {
            Self::not_ready("the database server refuses the token of the runtime configuration")
        } else if says(&["integer overflow"]) {
            Self::new(DbErrorKind::Overflow, "a sum takes more than 64 bits")
        } else if says(&["is locked"]) {
            let detail = "the database stays locked by a writer; try again";
            Self::new(DbErrorKind::Busy, detail)
        } else if says(&["unable to open database", "readonly database"]) {
            Self::not_ready(
                "the database cannot be opened; with a write-ahead log, SQLite has to be able to \
                 write beside it: let the host write to its folder, or PRAGMA journal_mode = DELETE",
            )
        } else if says(&["disk I/O error", "disk is full"]) {
            Self::not_ready("the disk under the database is full or fails; see the log")
        } else if says(&["JSON cannot hold BLOB", "malformed JSON"]) {
            let detail = "a flow holds a BLOB, which no format can write";
            Self::new(DbErrorKind::UnnamedBlob, detail)
        } else if says(&[
            "exceeds limit",
            "too big",
            "out of memory",
            "Response is too large",
        ]) {
            let detail = "a flow is larger than the host passes on in one row (128 MiB; a database server passes on less)";
            Self::new(DbErrorKind::TooLarge, detail)
        } else {
            Self::internal("the database cannot be read; see the log")
        };
        error.caused_by(message)
    }
}

/// Defines `to_host`, `from_host` and `db_error`, by which an adapter converts to and from the `sqlite` interface of its
/// host. Spin's versions of the interface have the same types, and each binding generates its own.
#[macro_export]
macro_rules! host_sqlite_types {
    ($sqlite:ident) => {
        fn to_host(value: $crate::db::Value) -> $sqlite::Value {
            use $crate::db::Value;
            match value {
                Value::Integer(integer) => $sqlite::Value::Integer(integer),
                Value::Real(real) => $sqlite::Value::Real(real),
                Value::Text(text) => $sqlite::Value::Text(text),
                Value::Blob(bytes) => $sqlite::Value::Blob(bytes),
                Value::Null => $sqlite::Value::Null,
            }
        }

        fn from_host(row: $sqlite::RowResult) -> $crate::db::Row {
            use $crate::db::Value;
            let value = |value| match value {
                $sqlite::Value::Integer(integer) => Value::Integer(integer),
                $sqlite::Value::Real(real) => Value::Real(real),
                $sqlite::Value::Text(text) => Value::Text(text),
                $sqlite::Value::Blob(bytes) => Value::Blob(bytes),
                $sqlite::Value::Null => Value::Null,
            };
            row.values.into_iter().map(value).collect()
        }

        fn db_error(error: &$sqlite::Error) -> $crate::db::DbError {
            use $crate::db::DbError;
            match error {
                $sqlite::Error::Io(message) => DbError::from_message(message),
                $sqlite::Error::NoSuchDatabase | $sqlite::Error::AccessDenied => {
                    DbError::no_database(error.to_string())
                }
                $sqlite::Error::InvalidConnection | $sqlite::Error::DatabaseFull => {
                    DbError::from_message(&error.to_string())
                }
            }
        }
    };
}

/// The word behind `lead` in `message`.
fn word_after<'a>(message: &'a str, lead: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(lead)?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_can_mend_is_not_ready_and_the_rest_internal() {
        let kind = |message| DbError::from_message(message).kind;
        for message in [
            "no such table: flows",
            "no such column: byte_count in SELECT … at offset 3",
            "unable to open database file: x",
            "attempt to write a readonly database",
            "disk I/O error",
            "database or disk is full",
        ] {
            assert_eq!(kind(message), DbErrorKind::NotReady, "{message}");
        }
        assert_eq!(kind("database is locked"), DbErrorKind::Busy);
        assert_eq!(kind("out of memory"), DbErrorKind::TooLarge);
        assert_eq!(
            kind("database disk image is malformed"),
            DbErrorKind::Internal
        );
        assert_eq!(kind("no such table: flows_guard"), DbErrorKind::GuardLost);
        // As Spin 3.5 passed them on from a libSQL server.
        for (message, expected) in [
            ("unsupported statement", DbErrorKind::Unsupported),
            (
                "Hrana: `cursor error: `error at step 0: (error code: SQLITE_INTERRUPT) `SQLite error: interrupted```",
                DbErrorKind::Expired,
            ),
            (
                "Hrana: `cursor error: `error reading a body from connection: unexpected EOF during chunk size line``",
                DbErrorKind::Expired,
            ),
            (
                "Hrana: `http error: `connection closed before message completed``",
                DbErrorKind::Expired,
            ),
            (
                "Hrana: `http error: `error trying to connect: tcp connect error: Connection refused (os error 111)``",
                DbErrorKind::Busy,
            ),
            (
                "Hrana: `api error: `{\"error\":\"Unauthorized: `Auth string does not conform to '<scheme> <token>' form`\"}``",
                DbErrorKind::NotReady,
            ),
        ] {
            assert_eq!(kind(message), expected, "{message}");
        }
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = DbError::from_message("no such column: dst_port at offset 3");
        assert!(error.detail.contains("no column dst_port;"), "{error:?}");
    }
}
