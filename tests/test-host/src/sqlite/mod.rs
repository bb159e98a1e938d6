//! The host side of `spin:sqlite@3.1.0`: what Spin's in-process SQLite does to a component.
//! `v2` is that of `fermyon:spin/sqlite@2.0.0`, over the same connections. `libsql` is a database server in place of
//! a file, with the feature of that name.
//!
//! Mirrored from Spin 4.1, with the place each fact was read in:
//! - a connection is opened lazily, at its first query, and is never shared
//!   (`crates/sqlite-inproc/src/lib.rs`, `InProcConnection::db_connection`);
//! - at most 256 connections an instance (`crates/factor-sqlite/src/host.rs`, `InstanceState::new`);
//! - a query runs on a blocking thread, holds the connection's mutex to its end and hands rows through a
//!   channel of four (`InProcConnection::query_async`); the guest gets one row a read
//!   (`crates/wasi-async/src/stream.rs`, `StreamProducer::poll_produce`);
//! - a row above 128 MiB is an error (`crates/world/src/lib.rs`, `MAX_HOST_BUFFERED_BYTES`);
//! - errors of prepare, bind and step arrive in the result future (`query_async`, `err_tx`);
//! - ATTACH of a file is denied (`create_connection`, the authorizer);
//! - text that is not UTF-8 panics on the blocking thread (`ValueWrapper::column_result`): the result
//!   future is dropped with it, and a guest that awaits it traps; the mutex is poisoned, and a guest that
//!   does not await it finds the connection of no more use.
//!
//! What else can go wrong, a test may plan: see [`crate::faults`].
//!
//! Left out: the half of `spin:sqlite@3.1.0` without streams, and `changes` and `last-insert-rowid`.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use tokio::sync::{mpsc, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, HasData, Linker, Resource, ResourceTable, StreamProducer,
    StreamReader, StreamResult,
};

use bindings::spin::sqlite::sqlite::{self, RowResult, Value};

use crate::faults::{Faults, Point};

#[cfg(feature = "libsql")]
mod libsql;
pub(crate) mod v2;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated code")]
    wasmtime::component::bindgen!({
        // The asynchronous half of the interface: the half that spin-sdk 7 calls.
        inline: r#"
            package spin:sqlite@3.1.0;
            interface sqlite {
                resource connection {
                    open-async: static async func(database: string) -> result<connection, error>;
                    execute-async: async func(statement: string, parameters: list<value>)
                        -> result<tuple<list<string>, stream<row-result>, future<result<_, error>>>, error>;
                }
                variant error {
                    no-such-database, access-denied, invalid-connection, database-full, io(string),
                }
                record row-result { values: list<value> }
                variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
            }
            world host { import sqlite; }
        "#,
        imports: { default: async | trappable },
        with: { "spin:sqlite/sqlite.connection": super::Connection },
    });
}

pub(crate) use sqlite::Error;

/// Links both versions of the interface.
pub(crate) fn add_to_linker<T: Send>(
    linker: &mut Linker<T>,
    databases: fn(&mut T) -> &mut Databases,
) -> wasmtime::Result<()> {
    v2::add_to_linker::<_, Databases>(linker, databases)?;
    sqlite::add_to_linker::<_, Databases>(linker, databases)
}

/// The most bytes that one row may hold; over `fermyon:spin/sqlite@2.0.0`, all rows of a statement.
pub const MAX_ROW_BYTES: usize = 128 << 20;

/// The most connections that one instance may hold open.
pub const MAX_CONNECTIONS: usize = 256;

/// Rows that may wait between SQLite and the guest.
const ROWS_IN_FLIGHT: usize = 4;

/// A database, and how many connections to it are open at the moment.
#[derive(Clone)]
pub struct Database {
    place: Place,
    open: Arc<AtomicUsize>,
    faults: Faults,
    /// The connection of all instances, where they share one.
    shared: Option<Arc<OnceLock<Arc<Mutex<Opened>>>>>,
}

/// Where a database is.
#[derive(Clone)]
enum Place {
    File(Arc<PathBuf>),
    #[cfg(feature = "libsql")]
    Server(Arc<libsql::Server>),
}

impl Database {
    /// Names a file; nothing is opened or created yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(Arc::new(path.into())))
    }

    /// Names a libSQL server; nothing is opened yet.
    ///
    /// # Errors
    /// A test host that was built without the feature `libsql`.
    #[cfg_attr(
        not(feature = "libsql"),
        expect(unused_variables, reason = "nothing to reach it by")
    )]
    pub fn on_server(url: &str, token: &str) -> anyhow::Result<Self> {
        #[cfg(not(feature = "libsql"))]
        anyhow::bail!("the test host was built without the feature libsql");
        #[cfg(feature = "libsql")]
        Ok(Self::at(Place::Server(Arc::new(libsql::Server {
            url: url.to_owned(),
            token: token.to_owned(),
        }))))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            open: Arc::default(),
            faults: Faults::default(),
            shared: None,
        }
    }

    /// All instances share one connection, as they do in Spin before 3.0 (`crates/sqlite/src/lib.rs`,
    /// `ConnectionsStore`, in release 2.7).
    #[must_use]
    pub fn shared(self) -> Self {
        Self {
            shared: Some(Arc::default()),
            ..self
        }
    }

    /// What a test has planned to go wrong with it; nothing, to begin with.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Connections that are open now, over all instances.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Runs the statements of a file, as `spin up --sqlite @FILE` does.
    ///
    /// # Errors
    /// What SQLite says of the file or of the first statement that fails.
    pub fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        self.connect()?.execute_batch(sql)
    }

    /// Runs one statement to its end, as `spin up --sqlite STATEMENT` does: whatever follows its
    /// semicolon is ignored, without a word.
    ///
    /// # Errors
    /// What SQLite says of the statement.
    pub fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        let sqlite = self.connect()?;
        let mut statement = sqlite.prepare(sql)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    #[cfg(feature = "libsql")]
    fn client(&self) -> Option<libsql::Client> {
        match &self.place {
            Place::File(_) => None,
            Place::Server(server) => Some(libsql::Client::new(
                server.clone(),
                Counted::new(&self.open),
            )),
        }
    }

    fn connect(&self) -> rusqlite::Result<rusqlite::Connection> {
        let sqlite = match &self.place {
            Place::File(path) => rusqlite::Connection::open(path.as_ref())?,
            #[cfg(feature = "libsql")]
            Place::Server(server) => {
                return Err(rusqlite::Error::InvalidPath(server.url.clone().into()));
            }
        };
        sqlite.authorizer(Some(deny_attach));
        Ok(sqlite)
    }
}

/// A connection that the guest holds; SQLite's own is opened at the first query.
#[derive(Clone)]
pub struct Connection {
    database: Database,
    opened: Arc<OnceLock<Arc<Mutex<Opened>>>>,
    #[cfg(feature = "libsql")]
    client: Option<libsql::Client>,
    /// Set by a planned fault alone.
    gone: Arc<AtomicBool>,
}

/// An open SQLite connection, counted while it lives.
struct Opened {
    sqlite: rusqlite::Connection,
    // Dropped after `sqlite`, so that a connection that is no longer counted is closed.
    _counted: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection {
    fn new(database: Database) -> Self {
        let opened = database.shared.clone().unwrap_or_default();
        Self {
            #[cfg(feature = "libsql")]
            client: database.client(),
            database,
            opened,
            gone: Arc::default(),
        }
    }

    fn opened(&self) -> Result<Arc<Mutex<Opened>>, Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened.clone());
        }
        let opened = Opened {
            sqlite: self.database.connect().map_err(io)?,
            _counted: Counted::new(&self.database.open),
        };
        Ok(self
            .opened
            .get_or_init(|| Arc::new(Mutex::new(opened)))
            .clone())
    }

    /// Starts a statement on a blocking thread; its rows and its end arrive through channels.
    async fn query(&self, statement: String, parameters: Vec<Value>) -> Result<Query, Error> {
        #[cfg(feature = "libsql")]
        if let Some(client) = &self.client {
            return client.query(statement, parameters).await;
        }
        let (columns_tx, columns) = oneshot::channel();
        let (rows_tx, rows) = mpsc::channel(ROWS_IN_FLIGHT);
        let (end_tx, end) = oneshot::channel();
        let run = self.runner(statement, parameters)?;
        tokio::task::spawn_blocking(move || {
            let mut columns_tx = Some(columns_tx);
            let end = run(
                &mut |columns| _ = columns_tx.take().map(|sender| sender.send(columns)),
                &mut |row| {
                    let sent = rows_tx.blocking_send(row);
                    sent.map_err(|_| Error::Io("row send error".into()))
                },
            );
            _ = end_tx.send(end);
        });
        let columns = columns.await.map_err(io)?;
        Ok(Query { columns, rows, end })
    }

    /// What a blocking thread does for a statement.
    fn runner(&self, statement: String, parameters: Vec<Value>) -> Result<Runner, Error> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(Error::InvalidConnection);
        }
        let opened = self.opened()?;
        let (faults, gone) = (self.database.faults.clone(), self.gone.clone());
        Ok(Box::new(move |columns, row| {
            let end = run(&opened, &faults, &statement, parameters, columns, row);
            if matches!(end, Err(Error::InvalidConnection)) {
                gone.store(true, Ordering::SeqCst);
            }
            end
        }))
    }
}

/// Runs a statement: takes the names of its columns, then each row.
type Runner = Box<dyn FnOnce(TakeColumns<'_>, TakeRow<'_>) -> Result<(), Error> + Send>;
type TakeColumns<'a> = &'a mut dyn FnMut(Vec<String>);
type TakeRow<'a> = &'a mut dyn FnMut(RowResult) -> Result<(), Error>;

/// A statement under way.
struct Query {
    columns: Vec<String>,
    rows: mpsc::Receiver<RowResult>,
    end: oneshot::Receiver<Result<(), Error>>,
}

fn run(
    opened: &Mutex<Opened>,
    faults: &Faults,
    statement: &str,
    parameters: Vec<Value>,
    take_columns: TakeColumns<'_>,
    take_row: TakeRow<'_>,
) -> Result<(), Error> {
    // A panic below poisons the mutex, and the connection with it, as in Spin.
    let opened = opened.lock().map_err(io)?;
    let prepared = faults.pass_blocking(Point::Prepare);
    let prepared = prepared.and_then(|()| opened.sqlite.prepare_cached(statement).map_err(io));
    let mut statement = match prepared {
        Ok(statement) => statement,
        Err(error) => {
            take_columns(Vec::new());
            return Err(error);
        }
    };
    let names = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let width = names.len();
    take_columns(names);
    let parameters = rusqlite::params_from_iter(parameters.into_iter().map(bind));
    let mut rows = statement.query(parameters).map_err(io)?;
    while let Some(row) = rows.next().map_err(io)? {
        let values = (0..width)
            .map(|i| row.get_ref(i).map(value))
            .collect::<Result<Vec<_>, _>>();
        let values = values.map_err(io)?;
        check_size(values.iter().map(size).sum())?;
        faults.pass_blocking(Point::Row)?;
        take_row(RowResult { values })?;
    }
    faults.pass_blocking(Point::End)
}

fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_ROW_BYTES {
        return Ok(());
    }
    Err(Error::Io(format!(
        "query result exceeds limit of {MAX_ROW_BYTES} bytes"
    )))
}

fn deny_attach(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { filename } if !matches!(filename, "" | ":memory:") => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }
}

fn io(error: impl std::fmt::Display) -> Error {
    Error::Io(error.to_string())
}

fn bind(value: Value) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Integer(i) => i.into(),
        Value::Real(r) => r.into(),
        Value::Text(t) => t.into(),
        Value::Blob(b) => b.into(),
    }
}

/// # Panics
/// On text that is not UTF-8, as Spin does; see the module's head.
#[expect(
    clippy::unwrap_used,
    reason = "Spin unwraps here; what follows is what the tests are after"
)]
fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => Value::Integer(i),
        ValueRef::Real(r) => Value::Real(r),
        ValueRef::Text(t) => Value::Text(String::from_utf8(t.to_vec()).unwrap()),
        ValueRef::Blob(b) => Value::Blob(b.to_vec()),
    }
}

fn size(value: &Value) -> usize {
    let held = match value {
        Value::Text(t) => t.len(),
        Value::Blob(b) => b.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    };
    size_of::<Value>() + held
}

/// What one instance may open, and what it has open.
pub struct Databases {
    allowed: Vec<(String, Database)>,
    open: usize,
    table: ResourceTable,
}

impl Databases {
    /// An instance may open the databases in `allowed`, by label.
    pub fn new(allowed: Vec<(String, Database)>) -> Self {
        Self {
            allowed,
            open: 0,
            table: ResourceTable::new(),
        }
    }

    fn allowed(&self, label: &str) -> Result<&Database, Error> {
        let allowed = self.allowed.iter().find(|(name, _)| name == label);
        allowed
            .map(|(_, database)| database)
            .ok_or(Error::AccessDenied)
    }

    fn open(&mut self, label: &str) -> Result<Resource<Connection>, Error> {
        let database = self.allowed(label)?.clone();
        if self.open >= MAX_CONNECTIONS {
            return Err(Error::Io("too many connections opened".into()));
        }
        self.open += 1;
        self.table.push(Connection::new(database)).map_err(io)
    }

    fn close(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        self.open -= 1;
        Ok(())
    }
}

impl HasData for Databases {
    type Data<'a> = &'a mut Databases;
}

impl sqlite::Host for Databases {}

impl sqlite::HostConnection for Databases {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.close(connection)
    }
}

impl<T: Send + 'static> sqlite::HostConnectionWithStore<T> for Databases {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let faults = accessor.with(|mut access| {
            let allowed = access.get().allowed(&database);
            allowed.map(|database| database.faults.clone())
        });
        let passed = match faults {
            Ok(faults) => faults.pass(Point::Open).await?,
            Err(error) => Err(error),
        };
        Ok(passed.and_then(|()| accessor.with(|mut access| access.get().open(&database))))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<Started, Error>> {
        let connection =
            accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        if let Err(error) = connection.database.faults.pass(Point::Execute).await? {
            return Ok(Err(error));
        }
        let Query { columns, rows, end } = match connection.query(statement, parameters).await {
            Ok(query) => query,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, OneRowARead(rows))?;
            let end = FutureReader::new(&mut access, end)?;
            Ok(Ok((columns, rows, end)))
        })
    }
}

/// What the guest is given of a statement under way.
type Started = (
    Vec<String>,
    StreamReader<RowResult>,
    FutureReader<Result<(), Error>>,
);

/// Hands the guest one row a read, however many it has room for.
struct OneRowARead(mpsc::Receiver<RowResult>);

impl<D> StreamProducer<D> for OneRowARead {
    type Item = RowResult;
    type Buffer = Option<RowResult>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match self.get_mut().0.poll_recv(context) {
            Poll::Ready(Some(row)) => {
                destination.set_buffer(Some(row));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}
