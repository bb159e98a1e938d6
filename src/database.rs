//! Connections to the database, and what its errors mean. The one module that touches Spin's SQLite.
//!
//! A running statement holds its connection's mutex in the host until its rows are drained; a second one on
//! that connection would hang the component. So a connection is lent to one statement at a time and comes
//! back only when the statement has ended well.

use std::cell::Cell;

use spin_sdk::sqlite::{Connection, Error, RowResult, Value};

use crate::problem::Problem;

/// Label of the database in `spin.toml`.
const LABEL: &str = "default";

/// Connections kept for the next answer. An instance is given 16 requests at a time until their heads
/// are sent; bodies may go on beside them, up to 128 in all, each with a connection of its own. The host
/// allows 256 connections an instance.
const KEPT: usize = 16;

/// What a connection that reads the later pages of answers may cache, for `PRAGMA cache_size`.
///
/// A walk comes to each page of the file once, and SQLite would keep the last 2 MB of them: with 200 clients
/// that stall, a megabyte for each. With a cache of 256 KB they took 0.16 MiB more each than with this one; no
/// answer was faster, also out of a table whose rows lie in another order than their times.
const SMALL_CACHE: &str = "PRAGMA cache_size = -128";

/// A connection, and what has been done on it.
struct Kept {
    connection: Connection,
    /// Whether its cache is small already.
    small: bool,
}

thread_local! {
    static POOL: Cell<Vec<Kept>> = const { Cell::new(Vec::new()) };
}

/// One connection for all statements of an answer, so that they read one file, wherever its path leads to
/// meanwhile. It is closed when it is dropped, and kept for the next answer by [`Self::release`] alone.
pub struct Session {
    kept: Kept,
    transaction: bool,
    /// Whether a statement has failed: what the connection is good for is not known any more.
    failed: bool,
}

impl Session {
    /// Takes a kept connection or opens one.
    ///
    /// # Errors
    /// A [`Problem`] made from what the host says.
    pub async fn acquire() -> Result<Self, Problem> {
        let mut pool = POOL.take();
        let kept = pool.pop();
        POOL.set(pool);
        let kept = match kept {
            Some(kept) => kept,
            None => Kept {
                connection: open().await?,
                small: false,
            },
        };
        Ok(Self {
            kept,
            transaction: false,
            failed: false,
        })
    }

    /// Runs a statement that has one row at most, and returns it.
    ///
    /// # Errors
    /// A [`Problem`] made from what the host says of the statement.
    pub async fn row(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Option<RowResult>, Problem> {
        let row = one_row(&self.kept.connection, statement, parameters).await;
        self.failed |= row.is_err();
        row.map_err(|error| problem_from(&error))
    }

    /// Prepares for the statements behind an answer's first: a small cache and, with a write-ahead log, a
    /// transaction, so that all of them see one state of the table. Without such a log it would lock writers
    /// out.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn read_on(&mut self, write_ahead_log: bool) -> Result<(), Problem> {
        if !self.kept.small {
            self.row(SMALL_CACHE, Vec::new()).await?;
            self.kept.small = true;
        }
        if write_ahead_log {
            self.row("BEGIN", Vec::new()).await?;
            self.transaction = true;
        }
        Ok(())
    }

    /// Whether statements run inside a transaction.
    pub fn in_transaction(&self) -> bool {
        self.transaction
    }

    /// Ends the transaction, if one is open.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn commit(&mut self) -> Result<(), Problem> {
        if self.transaction {
            self.row("COMMIT", Vec::new()).await?;
            self.transaction = false;
        }
        Ok(())
    }

    /// Keeps the connection for the next answer, unless a statement has failed on it.
    pub fn release(self) {
        if !self.failed && !self.transaction {
            keep(self.kept);
        }
    }
}

async fn open() -> Result<Connection, Problem> {
    let connection = Connection::open(LABEL).await;
    connection.map_err(|error| problem_from(&error))
}

fn keep(kept: Kept) {
    let mut pool = POOL.take();
    if pool.len() < KEPT {
        pool.push(kept);
    }
    POOL.set(pool);
}

/// Runs one statement that has one row at most, on a connection that is kept.
///
/// # Errors
/// As [`Session::row`].
pub async fn row(statement: &str, parameters: Vec<Value>) -> Result<Option<RowResult>, Problem> {
    let mut session = Session::acquire().await?;
    let row = session.row(statement, parameters).await?;
    session.release();
    Ok(row)
}

/// The statement's end is waited for first: the host hands the row over by then, so that reading it does
/// not wait a second time, and has let go of the connection, so that the end of the rows need not be read.
async fn one_row(
    connection: &Connection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Option<RowResult>, Error> {
    let (_, mut rows, end) = connection
        .execute(statement, parameters)
        .await?
        .into_inner();
    end.await?;
    Ok(rows.next().await)
}

/// The steps of a statement's query plan.
///
/// On a new connection: EXPLAIN runs no transaction, so a connection that was kept would plan with the
/// indexes that it saw last, and go on missing one that has been made since.
///
/// # Errors
/// As [`row`].
pub async fn plan(statement: &str, parameters: Vec<Value>) -> Result<Vec<String>, Problem> {
    let connection = open().await?;
    let steps = explain(&connection, statement, parameters).await;
    let steps = steps.map_err(|error| problem_from(&error))?;
    keep(Kept {
        connection,
        small: false,
    });
    let details = steps.iter().filter_map(|step| step.get::<&str>(3));
    Ok(details.map(str::to_owned).collect())
}

async fn explain(
    connection: &Connection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<RowResult>, Error> {
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    connection
        .execute(explain, parameters)
        .await?
        .collect()
        .await
}

/// What a host's error means to the client.
///
/// The host passes SQLite's message on as text and nothing else (Spin's `crates/sqlite-inproc`,
/// `io_error_v3`), so the texts of SQLite's `sqlite3ErrStr` and parser are what there is to go by.
fn problem_from(error: &Error) -> Problem {
    let message = match error {
        Error::Io(message) => message.as_str(),
        Error::NoSuchDatabase | Error::AccessDenied => {
            return Problem::not_ready("the host offers no database with the label \"default\"")
                .caused_by(error.to_string());
        }
        Error::InvalidConnection | Error::DatabaseFull => "",
    };
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    let problem = if let Some(column) = named_behind(message, "no such column: ") {
        Problem::not_ready(format!(
            "the table flows has no column {column}; `flows load --db FILE` tells what it needs"
        ))
    } else if says(&[
        "no such table: flows_guard",
        "no such table: main.flows_guard",
    ]) {
        Problem::unguarded()
    } else if says(&["no such table"]) {
        Problem::not_ready(
            "the database has no table flows; load flows with `make load FILES=…`, or create the \
             table with `spin up --sqlite @src/schema.sql`",
        )
    } else if says(&["is locked"]) {
        Problem::busy()
    } else if says(&["unable to open database", "readonly database"]) {
        Problem::not_ready(
            "the database cannot be opened; with a write-ahead log, SQLite has to be able to write \
             beside it: let the host write to its folder, or PRAGMA journal_mode = DELETE",
        )
    } else if says(&["disk I/O error", "disk is full"]) {
        Problem::not_ready("the disk under the database is full or fails; see the log")
    } else if says(&["JSON cannot hold BLOB", "malformed JSON"]) {
        Problem::unnamed_blob()
    } else if says(&["exceeds limit", "too big", "out of memory"]) {
        Problem::too_large()
    } else {
        Problem::internal("the database cannot be read; see the log")
    };
    problem.caused_by(error.to_string())
}

/// The word behind `lead` in `message`.
fn named_behind<'a>(message: &'a str, lead: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(lead)?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(message: &str) -> u16 {
        problem_from(&Error::Io(message.into())).status()
    }

    #[test]
    fn what_an_operator_can_mend_is_503_and_the_rest_500() {
        assert_eq!(status("no such table: flows"), 503);
        assert_eq!(
            status("no such column: byte_count in SELECT … at offset 3"),
            503
        );
        assert_eq!(status("database is locked"), 503);
        assert_eq!(status("unable to open database file: x"), 503);
        assert_eq!(status("attempt to write a readonly database"), 503);
        assert_eq!(status("disk I/O error"), 503);
        assert_eq!(status("database or disk is full"), 503);
        assert_eq!(status("database disk image is malformed"), 500);
        assert_eq!(status("out of memory"), 500);
        assert_eq!(problem_from(&Error::AccessDenied).status(), 503);
    }

    #[test]
    fn a_missing_column_is_named() {
        let problem = problem_from(&Error::Io("no such column: dst_port at offset 3".into()));
        assert!(
            problem.detail().contains("no column dst_port;"),
            "{}",
            problem.detail()
        );
    }
}
