//! The host side of `fermyon:spin/sqlite@2.0.0`.
//!
//! Mirrored from Spin 4.1:
//! - a statement's whole result is returned at once, of 128 MiB at most (`crates/sqlite-inproc/src/lib.rs`,
//!   `execute_query`);
//! - text that is not UTF-8 panics on the blocking thread: an error for the guest, and the mutex is poisoned
//!   (`InProcConnection::query`).

use wasmtime::component::Resource;

use bindings::fermyon::spin::sqlite::{self, QueryResult, RowResult, Value};

use super::{Connection, Databases, check_size, size};
use crate::faults::Point;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated code")]
    wasmtime::component::bindgen!({
        path: "../../components/wasip2/wit",
        world: "host",
        imports: { "fermyon:spin/sqlite": async | trappable, default: async },
        with: { "fermyon:spin/sqlite.connection": crate::sqlite::Connection },
    });
}

pub(crate) use bindings::fermyon::spin::variables;
pub(super) use sqlite::add_to_linker;

impl sqlite::Host for Databases {}

impl sqlite::HostConnection for Databases {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, sqlite::Error>> {
        let passed = match self.allowed(&database) {
            Ok(allowed) => allowed.faults().pass(Point::Open).await?,
            Err(error) => Err(error),
        };
        let opened = passed.and_then(|()| Databases::open(self, &database));
        Ok(opened.map_err(error))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, sqlite::Error>> {
        let connection = self.table.get(&connection)?.clone();
        if let Err(refused) = connection.database.faults().pass(Point::Execute).await? {
            return Ok(Err(error(refused)));
        }
        let result = execute(&connection, statement, parameters).await;
        Ok(result.map_err(error))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close(connection)
    }
}

async fn execute(
    connection: &Connection,
    statement: String,
    parameters: Vec<Value>,
) -> Result<QueryResult, super::Error> {
    let parameters = parameters.into_iter().map(bind).collect();
    #[cfg(feature = "libsql")]
    if let Some(client) = &connection.client {
        return collect(client.query(statement, parameters).await?).await;
    }
    let run = connection.runner(statement, parameters)?;
    let ran = tokio::task::spawn_blocking(move || {
        let (mut names, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
        run(&mut |columns| names = columns, &mut |row| {
            bytes += row.values.iter().map(size).sum::<usize>();
            check_size(bytes)?;
            let values = row.values.into_iter().map(value).collect();
            rows.push(RowResult { values });
            Ok(())
        })?;
        let columns = names;
        Ok(QueryResult { columns, rows })
    });
    let failed = |_| super::Error::Io("internal runtime error".into());
    ran.await.map_err(failed)?
}

/// All rows of a statement that a server runs.
#[cfg(feature = "libsql")]
async fn collect(mut query: super::Query) -> Result<QueryResult, super::Error> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = query.rows.recv().await {
        bytes += row.values.iter().map(size).sum::<usize>();
        check_size(bytes)?;
        let values = row.values.into_iter().map(value).collect();
        rows.push(RowResult { values });
    }
    let failed = |_| super::Error::Io("internal runtime error".into());
    query.end.await.map_err(failed)??;
    let columns = query.columns;
    Ok(QueryResult { columns, rows })
}

fn bind(value: Value) -> super::Value {
    match value {
        Value::Integer(i) => super::Value::Integer(i),
        Value::Real(r) => super::Value::Real(r),
        Value::Text(t) => super::Value::Text(t),
        Value::Blob(b) => super::Value::Blob(b),
        Value::Null => super::Value::Null,
    }
}

fn value(value: super::Value) -> Value {
    match value {
        super::Value::Integer(i) => Value::Integer(i),
        super::Value::Real(r) => Value::Real(r),
        super::Value::Text(t) => Value::Text(t),
        super::Value::Blob(b) => Value::Blob(b),
        super::Value::Null => Value::Null,
    }
}

fn error(error: super::Error) -> sqlite::Error {
    match error {
        super::Error::NoSuchDatabase => sqlite::Error::NoSuchDatabase,
        super::Error::AccessDenied => sqlite::Error::AccessDenied,
        super::Error::InvalidConnection => sqlite::Error::InvalidConnection,
        super::Error::DatabaseFull => sqlite::Error::DatabaseFull,
        super::Error::Io(message) => sqlite::Error::Io(message),
    }
}
