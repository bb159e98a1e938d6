//! The database: `fermyon:spin/sqlite@2.0.0`.
//!
//! A statement runs while the instance waits. So each future here first lets the write beside it hand its chunk to the
//! host, which sends it while SQLite works.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use flow_window::db::{Connection, Database, DbError, Row, Storage, Value};
use wasi::clocks::monotonic_clock::subscribe_duration;

use crate::bindings::fermyon::spin::sqlite;
use crate::executor::{ready, yield_now};

/// Label of the database in `spin.toml`.
const LABEL: &str = "default";

/// A setting of the connection that no reader depends on. It is read and set without a look at the file.
const MARK: &str = "PRAGMA recursive_triggers";
const SET_MARK: &str = "PRAGMA recursive_triggers = ON";

/// The database that the host has under [`LABEL`], and its idle connection.
#[derive(Clone, Default)]
pub(crate) struct SpinSqlite {
    idle: Rc<Cell<Option<IdleConnection>>>,
}

struct IdleConnection {
    connection: sqlite::Connection,
    storage: Storage,
    /// Whether other answers share it, once that is known: its own mark would tell it so.
    is_shared: Option<bool>,
}

impl Database for SpinSqlite {
    type Connection = PooledConnection;

    /// The instance waits for each page, and for the host's threads around it. Pages of 3,000 took 5 % longer.
    const PAGE_ROWS: i64 = 4_500;

    async fn acquire(&self) -> Result<PooledConnection, DbError> {
        match self.idle.take() {
            Some(idle) => Ok(PooledConnection {
                idle,
                database: self.clone(),
            }),
            None => self.open().await,
        }
    }

    async fn open(&self) -> Result<PooledConnection, DbError> {
        let connection = sqlite::Connection::open(LABEL);
        Ok(PooledConnection {
            idle: IdleConnection {
                connection: connection.map_err(|error| db_error(&error))?,
                storage: Storage::Unknown,
                is_shared: None,
            },
            database: self.clone(),
        })
    }

    async fn sleep(&self, time: Duration) {
        ready(subscribe_duration(
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        ))
        .await;
    }
}

/// A connection, lent to an answer.
pub(crate) struct PooledConnection {
    idle: IdleConnection,
    database: SpinSqlite,
}

impl PooledConnection {
    async fn is_marked(&mut self) -> Result<bool, DbError> {
        let row = self.query_row(MARK, Vec::new()).await?;
        Ok(row.is_some_and(|row| row.first() == Some(&Value::Integer(1))))
    }
}

impl Connection for PooledConnection {
    async fn query_row(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Option<Row>, DbError> {
        Ok(self
            .query_rows(statement, parameters)
            .await?
            .into_iter()
            .next())
    }

    async fn query_rows(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, DbError> {
        yield_now().await;
        let parameters: Vec<_> = parameters.into_iter().map(to_host).collect();
        let result = self.idle.connection.execute(statement, &parameters);
        let rows = result.map_err(|error| db_error(&error))?.rows;
        Ok(rows.into_iter().map(from_host).collect())
    }

    fn storage(&mut self) -> &mut Storage {
        &mut self.idle.storage
    }

    /// Spin before 3.0 has one connection a label, and every `open` returns it (`crates/trigger/src/runtime_config`).
    /// A mark that is set on this connection tells: it shows on the next one as well.
    async fn is_shared(&mut self) -> Result<bool, DbError> {
        if let Some(is_shared) = self.idle.is_shared {
            return Ok(is_shared);
        }
        let is_shared = self.is_marked().await? || {
            self.query_rows(SET_MARK, Vec::new()).await?;
            let mut other = self.database.open().await?;
            other.is_marked().await?
        };
        self.idle.is_shared = Some(is_shared);
        Ok(is_shared)
    }

    fn release(self) {
        self.database.idle.set(Some(self.idle));
    }
}

flow_window::host_sqlite_types!(sqlite);
