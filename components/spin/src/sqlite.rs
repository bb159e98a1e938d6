//! The database: `spin:sqlite@3.1.0`, and the pool of its connections.
//!
//! The host locks a connection while its statement runs, until the rows are drained. A second statement on that
//! connection would hang the component. So a connection is lent to one answer at a time, and each statement is awaited
//! to its end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use flow_window::db::{Connection, Database, DbError, Row, Storage, Value};
use spin_sdk::sqlite;
use spin_sdk::wasip3::clocks::monotonic_clock::wait_for;

/// Label of the database in `spin.toml`.
const LABEL: &str = "default";

/// Connections kept for the next answer. The host gives an instance 16 requests at a time until their heads are sent.
/// Bodies go on beside them, up to 128 requests in all, each with a connection of its own. The host allows 256
/// connections an instance.
const POOL_SIZE: usize = 16;

/// The database that the host has under [`LABEL`], and the pool of its idle connections.
#[derive(Clone, Default)]
pub(crate) struct SpinSqlite {
    pool: Pool,
}

/// A cell that is taken and set: a `RefCell` could panic.
type Pool = Rc<Cell<Vec<IdleConnection>>>;

struct IdleConnection {
    connection: sqlite::Connection,
    storage: Storage,
}

impl SpinSqlite {
    fn lend(&self, idle: IdleConnection) -> PooledConnection {
        PooledConnection {
            idle,
            pool: self.pool.clone(),
        }
    }
}

impl Database for SpinSqlite {
    type Connection = PooledConnection;

    /// Pages of 2,000 were slower in JSON, ndjson and CSV. Pages of 4,000 were no faster, and a stalled client took
    /// 0.36 MiB more.
    const PAGE_ROWS: i64 = 3_000;

    async fn acquire(&self) -> Result<PooledConnection, DbError> {
        let mut pool = self.pool.take();
        let idle = pool.pop();
        self.pool.set(pool);
        match idle {
            Some(idle) => Ok(self.lend(idle)),
            None => self.open().await,
        }
    }

    async fn open(&self) -> Result<PooledConnection, DbError> {
        let connection = sqlite::Connection::open(LABEL).await;
        Ok(self.lend(IdleConnection {
            connection: connection.map_err(|error| db_error(&error))?,
            storage: Storage::Unknown,
        }))
    }

    async fn sleep(&self, time: Duration) {
        wait_for(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).await;
    }
}

/// A connection, lent to an answer.
pub(crate) struct PooledConnection {
    idle: IdleConnection,
    pool: Pool,
}

impl Connection for PooledConnection {
    /// Awaits the end before reading the row: by then the host has buffered the row and released the connection, so
    /// one wait does.
    async fn query_row(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Option<Row>, DbError> {
        let row = one_row(&self.idle.connection, statement, parameters).await;
        row.map_err(|error| db_error(&error))
    }

    async fn query_rows(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, DbError> {
        let rows = all_rows(&self.idle.connection, statement, parameters).await;
        rows.map_err(|error| db_error(&error))
    }

    fn storage(&mut self) -> &mut Storage {
        &mut self.idle.storage
    }

    async fn is_shared(&mut self) -> Result<bool, DbError> {
        Ok(false)
    }

    fn release(self) {
        let mut pool = self.pool.take();
        if pool.len() < POOL_SIZE {
            pool.push(self.idle);
        }
        self.pool.set(pool);
    }
}

async fn one_row(
    connection: &sqlite::Connection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Option<Row>, sqlite::Error> {
    let parameters = parameters.into_iter().map(to_host);
    let result = connection.execute(statement, parameters).await?;
    let (_, mut rows, end) = result.into_inner();
    end.await?;
    Ok(rows.next().await.map(from_host))
}

async fn all_rows(
    connection: &sqlite::Connection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<Row>, sqlite::Error> {
    let parameters = parameters.into_iter().map(to_host);
    let result = connection.execute(statement, parameters).await?;
    let rows = result.collect().await?;
    Ok(rows.into_iter().map(from_host).collect())
}

flow_window::host_sqlite_types!(sqlite);
