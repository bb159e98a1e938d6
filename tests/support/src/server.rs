//! The component, served from the test's own process over a database.
//!
//! Where the variable `SQLD` names a libSQL server, one stands between the component and the file. Tests go on to write
//! to the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use test_host::faults::Faults;
use test_host::server::MemoryOutputPipe;
use test_host::{App, Server, Settings};

use crate::FLOWS;
use crate::database::Database;
use crate::sqld::{self, Sqld};
use crate::wire::{Response, Wire, request_head, wait_until};

/// The repository's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The manifest that is tested: the one that the variable `MANIFEST` names, or `spin.toml`.
pub fn manifest() -> PathBuf {
    root().join(std::env::var_os("MANIFEST").unwrap_or("spin.toml".into()))
}

/// Whether the component that is tested is the one of WASI 0.3, whose instances serve many requests.
pub fn is_wasip3() -> bool {
    manifest().ends_with("spin-wasip3.toml")
}

/// The component, compiled once.
#[track_caller]
pub fn app() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    APP.get_or_init(|| {
        App::load(&manifest()).unwrap_or_else(|error| panic!("{error:#}; run `make component`"))
    })
}

impl Database {
    /// A new server over it.
    #[track_caller]
    pub fn serve(&self) -> TestServer {
        self.serve_with(&[])
    }

    /// A new server over it, with application variables set.
    #[track_caller]
    pub fn serve_with(&self, variables: &[(&str, &str)]) -> TestServer {
        if sqld::program().is_none() {
            return self.serve_from(app(), self.on_host(), variables);
        }
        let sqld = Sqld::over(self);
        let served = self.serve_from(app(), sqld.on_host(), variables);
        TestServer {
            sqld: Some(sqld),
            ..served
        }
    }

    /// A new server over the file itself, also where there is a libSQL server.
    #[track_caller]
    pub fn serve_file(&self) -> TestServer {
        self.serve_on(self.on_host())
    }

    /// A new server over the host's `database`, which holds the same flows.
    #[track_caller]
    pub fn serve_on(&self, database: test_host::sqlite::Database) -> TestServer {
        self.serve_from(app(), database, &[])
    }

    /// A new server over it, whose host has one connection for all answers.
    #[track_caller]
    pub fn serve_on_one_connection(&self) -> TestServer {
        self.serve_from(app(), self.on_host().shared(), &[])
    }

    /// A new server over it, whose host allows so many instances.
    #[track_caller]
    pub fn serve_with_instances(&self, instances: u32, variables: &[(&str, &str)]) -> TestServer {
        let app = App::load_with_instances(&manifest(), instances).expect("the component");
        self.serve_from(&app, self.on_host(), variables)
    }

    fn on_host(&self) -> test_host::sqlite::Database {
        test_host::sqlite::Database::new(self.path())
    }

    #[track_caller]
    fn serve_from(
        &self,
        app: &App,
        database: test_host::sqlite::Database,
        variables: &[(&str, &str)],
    ) -> TestServer {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let log = MemoryOutputPipe::new(16 << 20);
        let settings = Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            database,
            variables: variables.collect(),
            log: Some(log.clone()),
        };
        TestServer {
            server: Server::start(app.clone(), settings).expect("the test host starts"),
            log,
            sqld: None,
            database: self.clone(),
        }
    }
}

/// A server, its database and what it logs.
pub struct TestServer {
    server: Server,
    log: MemoryOutputPipe,
    /// What stands between the component and the file; it ends after the component.
    #[expect(dead_code, reason = "kept running")]
    sqld: Option<Sqld>,
    /// What is served.
    pub database: Database,
}

impl TestServer {
    /// Serves what the loader makes of LANL's first rows.
    #[track_caller]
    pub fn with_lanl_head() -> Self {
        let server = Database::absent().serve();
        server.load(root().join("tests/fixtures/lanl-flows-head.txt"));
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The fault plan of its database.
    pub fn faults(&self) -> &Faults {
        self.server.database().faults()
    }

    /// Connections to its database that are open now.
    pub fn connections(&self) -> usize {
        self.server.database().open_connections()
    }

    /// Instances that have been made.
    pub fn started(&self) -> usize {
        self.server.started()
    }

    /// Instances that have trapped.
    pub fn trapped(&self) -> usize {
        self.server.trapped()
    }

    /// What the component has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.contents()).into_owned()
    }

    /// What the component has logged once it is so many lines. A request is logged when its response has been
    /// taken, and its client may know that first.
    #[track_caller]
    pub fn logged(&self, lines: usize) -> String {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.log();
            let found = log.lines().count();
            assert!(found <= lines, "more than {lines} lines: {log}");
            if found == lines {
                return log;
            }
            assert!(Instant::now() < until, "fewer than {lines} lines: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the idle instances are gone, and asserts that their connections went with them.
    #[track_caller]
    pub fn settle(&self) {
        wait_until("no connection to the database", || self.connections() == 0);
    }

    /// Runs SQL on the database from beside the server.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.database.execute(sql);
    }

    /// Adds flows with these `(id, time)`.
    #[track_caller]
    pub fn insert(&self, flows: impl IntoIterator<Item = (i64, i64)>) {
        self.database.insert(flows);
    }

    /// Loads a file as `flows load` does.
    #[track_caller]
    pub fn load(&self, file: PathBuf) {
        let request = flows::load::Load {
            files: vec![file],
            db: self.database.path().to_owned(),
            ..Default::default()
        };
        flows::load::load(&request).expect("the file loads");
    }

    /// Asks for a path and query, on a connection of its own as all of these.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.request("GET", target)
    }

    /// Asks for flows with a query, `format` included.
    #[track_caller]
    pub fn flows(&self, query: &str) -> Response {
        self.get(&format!("{FLOWS}?{query}"))
    }

    /// Asks with headers.
    #[track_caller]
    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request_with("GET", target, headers)
    }

    /// Asks with any method.
    #[track_caller]
    pub fn request(&self, method: &str, target: &str) -> Response {
        self.request_with(method, target, &[])
    }

    /// Asks with any method and headers.
    #[track_caller]
    pub fn request_with(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.open(method, target, headers).answer()
    }

    /// Sends a request and does not read the response.
    #[track_caller]
    pub fn open(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Wire {
        let mut wire = Wire::open(self.address());
        let sent = wire.send(request_head(method, target, headers));
        assert!(sent, "{method} {target}: the server takes nothing");
        wire
    }

    /// Asks for a path and query, and then for what each `Link` leads to, until there is none.
    #[track_caller]
    pub fn portions(&self, target: &str) -> Vec<Response> {
        let mut portions = vec![self.get(target).ok()];
        while let Some(next) = portions.last().and_then(Response::next) {
            assert!(portions.len() < 10_000, "{target}: links without an end");
            let next = self.get(&next).ok();
            portions.push(next);
        }
        portions
    }
}
