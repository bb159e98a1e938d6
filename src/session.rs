//! One connection for all statements of an answer.

use crate::db::{Connection as _, Database, DbError, Row, Value};

/// What a connection that reads the later pages of answers may cache, for `PRAGMA cache_size`.
///
/// A walk comes to each page of the file once, and SQLite would keep the last 2 MB of them: with 200 clients
/// that stall, a megabyte for each. With a cache of 256 KB they took 0.16 MiB more each than with this one; no
/// answer was faster, also out of a table whose rows lie in another order than their times.
const SMALL_CACHE: &str = "PRAGMA cache_size = -128";

/// One connection for all statements of an answer, so that they read one file, wherever its path leads to
/// meanwhile. It is closed when it is dropped, and kept for the next answer by [`Self::release`] alone.
pub struct Session<D: Database> {
    connection: D::Connection,
    transaction: bool,
    /// Whether a statement has failed: what the connection is good for is not known any more.
    failed: bool,
}

impl<D: Database> Session<D> {
    /// Takes an idle connection or opens one.
    ///
    /// # Errors
    /// What the host says.
    pub async fn acquire(database: &D) -> Result<Self, DbError> {
        Ok(Self::over(database.acquire().await?))
    }

    /// Opens a connection that has seen nothing of the database.
    ///
    /// # Errors
    /// What the host says.
    pub async fn open(database: &D) -> Result<Self, DbError> {
        Ok(Self::over(database.open().await?))
    }

    fn over(connection: D::Connection) -> Self {
        Self {
            connection,
            transaction: false,
            failed: false,
        }
    }

    /// Runs a statement that has one row at most, and returns it.
    ///
    /// # Errors
    /// What is said of the statement.
    pub async fn row(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Option<Row>, DbError> {
        let row = self.connection.query_row(statement, parameters).await;
        self.failed |= row.is_err();
        row
    }

    /// The steps of a statement's query plan.
    ///
    /// On a new connection: EXPLAIN runs no transaction, so a connection that was kept would plan with the
    /// indexes that it saw last, and go on missing one that has been made since.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn plan(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<String>, DbError> {
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let steps = self.connection.query_rows(&explain, parameters).await;
        self.failed |= steps.is_err();
        let detail = |step: Row| match step.into_iter().nth(3) {
            Some(Value::Text(detail)) => Some(detail),
            _ => None,
        };
        Ok(steps?.into_iter().filter_map(detail).collect())
    }

    /// Prepares for the statements behind an answer's first: a small cache and, with a write-ahead log, a
    /// transaction, so that all of them see one state of the table. Without such a log it would lock writers
    /// out.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn read_on(&mut self, write_ahead_log: bool) -> Result<(), DbError> {
        if !*self.connection.has_small_cache() {
            self.row(SMALL_CACHE, Vec::new()).await?;
            *self.connection.has_small_cache() = true;
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
    pub async fn commit(&mut self) -> Result<(), DbError> {
        if self.transaction {
            self.row("COMMIT", Vec::new()).await?;
            self.transaction = false;
        }
        Ok(())
    }

    /// Keeps the connection for the next answer, unless a statement has failed on it.
    pub fn release(self) {
        if !self.failed && !self.transaction {
            self.connection.release();
        }
    }
}
