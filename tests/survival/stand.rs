//! A server in this process over a database of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;
use standin::faults::Faults;
use standin::server::MemoryOutputPipe;
use standin::{App, Server, Settings};
use tempfile::TempDir;

use crate::wire::{self, Answer, wait_until};

/// Where flows are.
pub(crate) const FLOWS: &str = "/api/v1/stream/flows";

/// The names of the formats.
pub(crate) const FORMATS: [&str; 4] = ["json", "xml", "ndjson", "csv"];

/// The schema that the loader makes.
pub(crate) const SCHEMA: &str = include_str!("../../src/table/schema.sql");

/// The component, compiled once.
pub(crate) fn app() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    APP.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("spin.toml");
        App::load(&manifest).unwrap_or_else(|error| panic!("{error:#}; run `make component`"))
    })
}

/// A database file in a folder that goes with it.
pub(crate) struct Database {
    folder: TempDir,
}

impl Database {
    /// A database that `sql` makes out of an empty file.
    #[track_caller]
    pub(crate) fn with_sql(sql: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = Self { folder };
        database.execute(sql);
        database
    }

    /// A database of the schema with so many flows, three a second, all different, in a write-ahead log.
    #[track_caller]
    pub(crate) fn with_flows(count: u32) -> Self {
        Self::with_sql(&format!(
            "PRAGMA journal_mode = WAL; {SCHEMA}; INSERT INTO flows \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT i, i / 3, i % 7, 'C' || i, 'N' || (i % 999), 'C' || (i % 31), \
             iif(i % 3, '443', 'N' || i), iif(i % 2, 6, 17), i % 50, i * 40 FROM n WHERE {count} > 0;"
        ))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("sqlite_db.db")
    }

    /// A connection from beside the server.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("the database opens");
        connection.busy_timeout(wire::PATIENCE).expect("a timeout");
        connection
    }

    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        let executed = self.connect().execute_batch(sql);
        executed.unwrap_or_else(|error| panic!("{sql:.500}: {error}"));
    }

    /// A single integer.
    #[track_caller]
    pub(crate) fn integer(&self, sql: &str) -> i64 {
        let value = self.connect().query_row(sql, [], |row| row.get(0));
        value.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A new server over it.
    #[track_caller]
    pub(crate) fn serve(&self) -> Stand {
        Stand::over(&self.path())
    }
}

/// A server, and what it logs.
pub(crate) struct Stand {
    server: Server,
    log: MemoryOutputPipe,
}

impl Stand {
    /// Serves the database at `path`.
    #[track_caller]
    pub(crate) fn over(path: &Path) -> Self {
        Self::with_variables(path, &[])
    }

    /// Serves the database at `path`, with variables set.
    #[track_caller]
    pub(crate) fn with_variables(path: &Path, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let log = MemoryOutputPipe::new(16 << 20);
        let settings = Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            database: path.to_owned(),
            variables: variables.collect(),
            log: Some(log.clone()),
        };
        let server = Server::start(app().clone(), settings).expect("the stand-in starts");
        Self { server, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The fault plan of its database.
    pub(crate) fn faults(&self) -> &Faults {
        self.server.database().faults()
    }

    /// Connections to its database that are open now.
    pub(crate) fn connections(&self) -> usize {
        self.server.database().open_connections()
    }

    /// Instances that have been made.
    pub(crate) fn started(&self) -> usize {
        self.server.started()
    }

    /// Instances that have trapped.
    pub(crate) fn trapped(&self) -> usize {
        self.server.trapped()
    }

    /// What the component has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.contents()).into_owned()
    }

    /// Asks on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        wire::get(self.address(), target)
    }

    /// Waits until the idle instances are gone, and asserts that their connections went with them.
    #[track_caller]
    pub(crate) fn settle(&self) {
        wait_until("no connection to the database", || self.connections() == 0);
    }
}
