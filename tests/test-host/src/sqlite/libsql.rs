//! A libSQL server as the database: the client that Spin has, and what it does to a component.
//!
//! Mirrored from Spin 4.1 (`crates/sqlite-libsql/src/lib.rs`), of whose `libsql` crate this has the version:
//! - the client is made at the first query, one for each connection of the guest (`LazyLibSqlConnection`);
//! - a query is a task, whose rows go through a channel of four (`LibSqlConnection::query_async`);
//! - errors are the client's own words, and all but those of making the client are `io` (`query_async`).
//!
//! [`super::v2`] collects the same rows, as `LibSqlConnection::query` does.
//!
//! The points of [`crate::faults`] that lie within a statement are not passed here: a server has faults of its own.

use std::sync::Arc;

use ::libsql::{Builder, Row, Rows};
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::{Counted, Error, Query, ROWS_IN_FLIGHT, RowResult, Value, check_size, io, size};

/// Where a server is, and what it asks for.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) token: String,
}

/// The guest's connection to a server.
#[derive(Clone)]
pub(super) struct Client {
    server: Arc<Server>,
    opened: Arc<OnceCell<::libsql::Connection>>,
    _counted: Arc<Counted>,
}

impl Client {
    pub(super) fn new(server: Arc<Server>, counted: Counted) -> Self {
        Self {
            server,
            opened: Arc::default(),
            _counted: Arc::new(counted),
        }
    }

    async fn connection(&self) -> Result<&::libsql::Connection, Error> {
        let open = async || {
            let Server { url, token } = self.server.as_ref().clone();
            Builder::new_remote(url, token).build().await?.connect()
        };
        let opened = self.opened.get_or_try_init(open).await;
        opened.map_err(|_| Error::InvalidConnection)
    }

    /// Starts a statement in a task; its rows and its end arrive through channels.
    pub(super) async fn query(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Query, Error> {
        let connection = self.connection().await?.clone();
        let (columns_tx, columns) = oneshot::channel();
        let (rows_tx, rows) = mpsc::channel(ROWS_IN_FLIGHT);
        let (end_tx, end) = oneshot::channel();
        let run = async move {
            let parameters: Vec<_> = parameters.into_iter().map(bind).collect();
            let mut rows = match connection.query(&statement, parameters).await {
                Ok(rows) => rows,
                Err(error) => {
                    _ = columns_tx.send(Vec::new());
                    return Err(io(error));
                }
            };
            _ = columns_tx.send(names(&rows));
            let width = rows.column_count();
            while let Some(row) = rows.next().await.map_err(io)? {
                let values = values(&row, width)?;
                check_size(values.iter().map(size).sum())?;
                let sent = rows_tx.send(RowResult { values }).await;
                sent.map_err(|_| Error::Io("column send error".into()))?;
            }
            Ok(())
        };
        tokio::spawn(async move {
            let ended = run.await;
            _ = end_tx.send(ended);
        });
        let columns = columns.await.map_err(io)?;
        Ok(Query { columns, rows, end })
    }
}

fn names(rows: &Rows) -> Vec<String> {
    (0..rows.column_count())
        .map(|index| rows.column_name(index).unwrap_or("").to_owned())
        .collect()
}

fn values(row: &Row, width: i32) -> Result<Vec<Value>, Error> {
    (0..width)
        .map(|index| row.get_value(index).map(value).map_err(io))
        .collect()
}

fn value(value: ::libsql::Value) -> Value {
    match value {
        ::libsql::Value::Null => Value::Null,
        ::libsql::Value::Integer(integer) => Value::Integer(integer),
        ::libsql::Value::Real(real) => Value::Real(real),
        ::libsql::Value::Text(text) => Value::Text(text),
        ::libsql::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

fn bind(value: Value) -> ::libsql::Value {
    match value {
        Value::Null => ::libsql::Value::Null,
        Value::Integer(integer) => ::libsql::Value::Integer(integer),
        Value::Real(real) => ::libsql::Value::Real(real),
        Value::Text(text) => ::libsql::Value::Text(text),
        Value::Blob(bytes) => ::libsql::Value::Blob(bytes),
    }
}
