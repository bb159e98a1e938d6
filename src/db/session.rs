//! One connection for all statements of an answer.

use super::sql::{self, Statement};
use super::{Connection as _, Database, DbError, Row, Value};

/// One connection for all statements of an answer.
///
/// They read one file, whatever its path leads to meanwhile. Dropping the session closes the connection;
/// [`Self::release`] returns it to the pool.
pub struct Session<D: Database> {
    connection: D::Connection,
    transaction: bool,
    /// Whether a statement has failed. The state of the connection is then unknown.
    failed: bool,
}

/// Whether the first value of a row is the journal mode of a write-ahead log.
pub(super) fn is_write_ahead_log(row: &[Value]) -> bool {
    matches!(row.first(), Some(Value::Text(mode)) if mode == "wal")
}

impl<D: Database> Session<D> {
    /// Takes a connection from the pool or opens one.
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

    /// Runs a statement that returns one row at most.
    ///
    /// # Errors
    /// What SQLite or the host says of the statement.
    pub async fn row(&mut self, statement: Statement) -> Result<Option<Row>, DbError> {
        let Statement { text, parameters } = statement;
        self.run(&text, parameters).await
    }

    async fn run(
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
    /// The session has to be new: EXPLAIN opens no transaction, so a pooled connection would plan with the indexes
    /// that it saw last.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn plan(&mut self, statement: Statement) -> Result<Vec<String>, DbError> {
        let Statement { text, parameters } = statement;
        let explain = sql::explain(&text);
        let steps = self.connection.query_rows(&explain, parameters).await;
        self.failed |= steps.is_err();
        let detail = |step: Row| match step.into_iter().nth(3) {
            Some(Value::Text(detail)) => Some(detail),
            _ => None,
        };
        Ok(steps?.into_iter().filter_map(detail).collect())
    }

    /// Prepares for the statements after an answer's first: a small page cache and, with a write-ahead log, a read
    /// transaction, in which they all see one state of the table. Without such a log the transaction would lock
    /// writers out. On a connection that other answers share there is none either.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn read_on(&mut self, write_ahead_log: &mut Option<bool>) -> Result<(), DbError> {
        if !*self.connection.has_small_cache() {
            self.run(sql::SMALL_CACHE, Vec::new()).await?;
            *self.connection.has_small_cache() = true;
        }
        let write_ahead_log = match *write_ahead_log {
            Some(known) => known,
            None => {
                let row = self.run(sql::JOURNAL_MODE, Vec::new()).await?;
                *write_ahead_log.insert(row.is_some_and(|row| is_write_ahead_log(&row)))
            }
        };
        if write_ahead_log && !self.connection.is_shared().await? {
            self.run(sql::BEGIN, Vec::new()).await?;
            self.transaction = true;
        }
        Ok(())
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.transaction
    }

    /// Ends the transaction, if one is open.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn commit(&mut self) -> Result<(), DbError> {
        if self.transaction {
            self.run(sql::COMMIT, Vec::new()).await?;
            self.transaction = false;
        }
        Ok(())
    }

    /// Returns the connection to the pool, unless a statement has failed on it or a transaction is open.
    pub fn release(self) {
        if !self.failed && !self.transaction {
            self.connection.release();
        }
    }
}
