//! One connection for all statements of an answer.

use super::sql::{self, Statement};
use super::{Connection as _, Database, DbError, DbErrorKind, Row, Storage, Value};

/// One connection for all statements of an answer.
///
/// They read one file, whatever its path leads to meanwhile. Dropping the session closes the connection;
/// [`Self::release`] returns it to the pool.
pub struct Session<D: Database> {
    database: D,
    connection: D::Connection,
    transaction: bool,
    /// Whether a statement has failed. The state of the connection is then unknown.
    failed: bool,
}

impl<D: Database> Session<D> {
    /// Takes a connection from the pool or opens one.
    ///
    /// # Errors
    /// What the host says.
    pub async fn acquire(database: &D) -> Result<Self, DbError> {
        Ok(Self::over(database, database.acquire().await?))
    }

    /// Opens a connection that has seen nothing of the database.
    ///
    /// # Errors
    /// What the host says.
    pub async fn open(database: &D) -> Result<Self, DbError> {
        Ok(Self::over(database, database.open().await?))
    }

    fn over(database: &D, connection: D::Connection) -> Self {
        Self {
            database: database.clone(),
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
        let row = self
            .connection
            .query_row(statement, parameters.clone())
            .await;
        let row = match row {
            // Every statement only reads. The guard tells whether the other connection sees the same table.
            Err(error) if error.kind == DbErrorKind::Expired => {
                self.connection = self.database.open().await?;
                self.connection.query_row(statement, parameters).await
            }
            row => row,
        };
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
    /// writers out. On a connection that other answers share there is none either, and none on a server, which would
    /// end it after some seconds.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn read_on(&mut self) -> Result<(), DbError> {
        let storage = self.storage().await?;
        if storage == Storage::WriteAheadLog && !self.connection.is_shared().await? {
            self.run(sql::BEGIN, Vec::new()).await?;
            self.transaction = true;
        }
        Ok(())
    }

    /// Where the connection leads to. The first call makes its page cache small, which the client of a server refuses.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub async fn storage(&mut self) -> Result<Storage, DbError> {
        let known = *self.connection.storage();
        if known != Storage::Unknown {
            return Ok(known);
        }
        let small = self.connection.query_row(sql::SMALL_CACHE, Vec::new());
        let storage = match small.await {
            Err(error) if error.kind == DbErrorKind::Unsupported => Storage::Server,
            Err(error) => {
                self.failed = true;
                return Err(error);
            }
            Ok(_) => {
                let row = self.run(sql::JOURNAL_MODE, Vec::new()).await?;
                match row.unwrap_or_default().first() {
                    Some(Value::Text(mode)) if mode == "wal" => Storage::WriteAheadLog,
                    _ => Storage::Rollback,
                }
            }
        };
        *self.connection.storage() = storage;
        Ok(storage)
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
