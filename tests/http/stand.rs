//! What every test stands on: a database, a server over it, and typed answers.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use standin::server::MemoryOutputPipe;
use standin::{App, Server, Settings};
use tempfile::TempDir;

/// Flows, as `(id, time)`, whose times and ids lie at both ends of 64 bits, in the order of an answer.
pub(crate) const ENDS: [(i64, i64); 5] = [
    (i64::MIN, i64::MIN),
    (-1, i64::MIN),
    (0, 0),
    (5, i64::MAX),
    (i64::MAX, i64::MAX),
];

/// Where flows are.
pub(crate) const FLOWS: &str = "/api/v1/stream/flows";

/// The schema without the guard.
pub(crate) fn unguarded_schema() -> &'static str {
    let schema = include_str!("../../src/table/schema.sql");
    let (table, _) = schema.split_once("-- The guard").expect("a guard");
    table
}

/// A database with a server over it.
pub(crate) struct Stand {
    folder: TempDir,
    server: Server,
    log: MemoryOutputPipe,
    agent: ureq::Agent,
}

impl Stand {
    /// Serves a database that `sql` makes out of an empty file.
    #[track_caller]
    pub(crate) fn with_sql(sql: &str) -> Self {
        let stand = Self::without_database();
        stand.execute(sql);
        stand
    }

    /// Serves a database of the schema that holds flows with these `(id, time)`.
    #[track_caller]
    pub(crate) fn with_flows(flows: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let stand = Self::with_sql(include_str!("../../src/table/schema.sql"));
        stand.insert(flows);
        stand
    }

    /// Serves a database of the schema that holds flows with these `(id, time)`, with variables set.
    #[track_caller]
    pub(crate) fn with_variables_and_flows(
        variables: &[(&str, &str)],
        flows: impl IntoIterator<Item = (i64, i64)>,
    ) -> Self {
        let stand = Self::with_variables(variables);
        stand.execute(include_str!("../../src/table/schema.sql"));
        stand.insert(flows);
        stand
    }

    /// Serves what the loader makes of LANL's first rows.
    #[track_caller]
    pub(crate) fn with_lanl_head() -> Self {
        let stand = Self::without_database();
        stand
            .load(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lanl-flows-head.txt"));
        stand
    }

    /// A server whose database file is not there.
    #[track_caller]
    pub(crate) fn without_database() -> Self {
        Self::with_variables(&[])
    }

    /// A server without a database, with application variables set.
    #[track_caller]
    pub(crate) fn with_variables(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = MemoryOutputPipe::new(1 << 20);
        let settings = Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            database: folder.path().join("sqlite_db.db"),
            variables: variables
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            log: Some(log.clone()),
        };
        let server = Server::start(app().clone(), settings).expect("the stand-in starts");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        Self {
            folder,
            server,
            log,
            agent: config.build().into(),
        }
    }

    /// The path of the database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("sqlite_db.db")
    }

    /// The address of the server.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// What the component has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.contents()).into_owned()
    }

    /// What the component has logged once it is so many lines: a request's comes when its answer has been
    /// taken, which its client may know first.
    #[track_caller]
    pub(crate) fn logged(&self, lines: usize) -> String {
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

    /// Runs SQL on the database from beside the server.
    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        let connection = Connection::open(self.database()).expect("the database opens");
        connection
            .execute_batch(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Adds flows with these `(id, time)`; the other columns are filler.
    #[track_caller]
    pub(crate) fn insert(&self, flows: impl IntoIterator<Item = (i64, i64)>) {
        let mut connection = Connection::open(self.database()).expect("the database opens");
        let transaction = connection.transaction().expect("a transaction");
        for (id, time) in flows {
            transaction
                .execute(
                    "INSERT INTO flows VALUES (?, ?, 0, 'C1', 'N1', 'C2', '443', 6, 10, 5323)",
                    [id, time],
                )
                .unwrap_or_else(|error| panic!("flow {id} at {time}: {error}"));
        }
        transaction.commit().expect("a commit");
    }

    /// Loads a file as `flows load` does.
    #[track_caller]
    pub(crate) fn load(&self, file: PathBuf) {
        let request = flows::load::Load {
            files: vec![file],
            db: self.database(),
            ..Default::default()
        };
        flows::load::load(&request).expect("the file loads");
    }

    /// Asks for a path and query.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.request("GET", target)
    }

    /// Asks for flows with a query, `format` included.
    #[track_caller]
    pub(crate) fn flows(&self, query: &str) -> Answer {
        self.get(&format!("{FLOWS}?{query}"))
    }

    /// Asks with headers.
    #[track_caller]
    pub(crate) fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.request_with("GET", target, headers)
    }

    /// Asks for a path and query, and then for what each `Link` leads to, until there is none.
    #[track_caller]
    pub(crate) fn portions(&self, target: &str) -> Vec<Answer> {
        let mut portions = vec![self.get(target).ok()];
        while let Some(next) = portions.last().and_then(Answer::next) {
            assert!(portions.len() < 10_000, "{target}: links without an end");
            let next = self.get(&next).ok();
            portions.push(next);
        }
        portions
    }

    /// Sends a request of just these headers by a socket of its own, to see what a client library hides.
    #[track_caller]
    pub(crate) fn open(&self, request_line: &str, headers: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address()).expect("a connection");
        let request =
            format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let sent = client.write_all(request.as_bytes());
        sent.unwrap_or_else(|error| panic!("{request_line}: {error}"));
        client
    }

    /// Asks with any method.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, target: &str) -> Answer {
        self.request_with(method, target, &[])
    }

    /// Asks with any method and headers.
    #[track_caller]
    pub(crate) fn request_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let uri = format!("http://{}{target}", self.server.address());
        let mut request = ureq::http::Request::builder().method(method).uri(&uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect(&uri);
        let response = self
            .agent
            .run(request)
            .unwrap_or_else(|e| panic!("{method} {target}: {e}"));
        let (head, mut body) = response.into_parts();
        let read = body.with_config().limit(u64::MAX).read_to_vec();
        let broken = read.as_ref().err().map(ToString::to_string);
        Answer {
            request: format!("{method} {target}"),
            status: head.status.as_u16(),
            headers: head.headers,
            body: read.unwrap_or_default(),
            broken,
        }
    }
}

/// The component, compiled once for all tests.
fn app() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    APP.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("spin.toml");
        App::load(&manifest).unwrap_or_else(|error| panic!("{error:#}; run `make component`"))
    })
}

/// An answer, read to its end.
pub(crate) struct Answer {
    request: String,
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
    /// How the body broke off, if it did not end well; the body is then empty.
    pub(crate) broken: Option<String>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = String::from_utf8_lossy(&self.body[..self.body.len().min(1000)]);
        let Self {
            request,
            status,
            headers,
            broken,
            ..
        } = self;
        write!(
            f,
            "{request}\n{status} {headers:#?}\nbroken: {broken:?}\n{head}"
        )
    }
}

impl Answer {
    /// Asserts 200 and a body that came whole.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status == 200 && self.broken.is_none(), "{self:?}");
        self
    }

    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// Asserts a status, and hands the answer on.
    #[track_caller]
    pub(crate) fn with_status(self, status: u16) -> Self {
        assert!(self.status == status && self.broken.is_none(), "{self:?}");
        self
    }

    /// Where `Link` leads to, if it is there: it is relative to the request's path.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().expect("text");
        let target = link
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix(">; rel=\"next\""))
            .filter(|target| !target.split('?').next().unwrap_or("").contains('/'))
            .unwrap_or_else(|| panic!("{link:?} is no link to a next portion: {self:?}"));
        let (_, asked) = self.request.split_once(' ').expect("method and target");
        let path = asked.split('?').next().unwrap_or(asked);
        let (folder, _) = path.rsplit_once('/').expect("a path");
        Some(format!("{folder}/{target}"))
    }

    /// The cursor that `Link` holds.
    #[track_caller]
    pub(crate) fn cursor(&self) -> String {
        let next = self.next().unwrap_or_else(|| panic!("no Link: {self:?}"));
        let (_, cursor) = next
            .rsplit_once("cursor=")
            .unwrap_or_else(|| panic!("no cursor: {next}"));
        cursor.to_owned()
    }

    /// The watermark.
    #[track_caller]
    pub(crate) fn watermark(&self) -> i64 {
        let watermark = self.header("flow-watermark").parse();
        watermark.unwrap_or_else(|error| panic!("Flow-Watermark: {error}: {self:?}"))
    }

    /// Whether a header is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// The body of an answer that says it is gzip, decoded.
    #[track_caller]
    pub(crate) fn inflated(&self) -> Vec<u8> {
        assert_eq!(self.header("content-encoding"), "gzip", "{self:?}");
        let mut plain = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(self.body.as_slice());
        let read = decoder.read_to_end(&mut plain);
        read.unwrap_or_else(|error| panic!("not gzip: {error}: {self:?}"));
        let behind = decoder.into_inner();
        assert!(
            behind.is_empty(),
            "{} bytes behind the gzip: {self:?}",
            behind.len()
        );
        plain
    }

    /// The body as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `(id, time)` of each flow of a JSON answer, in its order.
    #[track_caller]
    pub(crate) fn flows(self) -> Vec<(i64, i64)> {
        let answer = self.ok();
        let all = answer.json();
        let flows = all
            .as_array()
            .unwrap_or_else(|| panic!("no array: {answer:?}"));
        let field = |flow: &serde_json::Value, name| flow[name].as_i64();
        flows
            .iter()
            .map(|flow| field(flow, "id").zip(field(flow, "time")))
            .map(|flow| flow.unwrap_or_else(|| panic!("no id and time: {answer:?}")))
            .collect()
    }
}
