//! A libSQL server in a process of its own. The variable `SQLD` names its program.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::database::Database;
use crate::wire::{Wire, wait_until};

/// The server's program; `None` where nobody names it.
pub fn program() -> Option<OsString> {
    std::env::var_os("SQLD")
}

/// A process, killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts it, without a word of it.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let started = command.spawn();
        Self(started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.is_ok_and(|sent| sent.success()), "kill -s {name}");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// An address that nothing listens on.
#[track_caller]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// The server at `url`, as the test host's database.
#[track_caller]
pub fn on_host(url: &str) -> test_host::sqlite::Database {
    let database = test_host::sqlite::Database::on_server(url, "");
    database.unwrap_or_else(|error| panic!("{error:#}; run `make libsql`"))
}

/// A libSQL server. It can be stopped and started again.
pub struct Sqld {
    process: Option<Process>,
    address: SocketAddr,
    folder: TempDir,
}

impl Sqld {
    /// A server over a copy of a file: the documented way from a file to a server.
    #[track_caller]
    pub fn over_copy(database: &Database, options: &[&str]) -> Self {
        let server = Self::empty();
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
        std::fs::copy(database.path(), server.data()).expect("a copy");
        server.started(options)
    }

    /// A server over the file itself. A test may write to the file beside it: both take part in one write-ahead log.
    /// The server's own log for replicas then lacks what the test has written.
    #[cfg(unix)]
    #[track_caller]
    pub fn over(database: &Database) -> Self {
        let server = Self::empty();
        std::os::unix::fs::symlink(database.path(), server.data()).expect("a link");
        server.started(&[])
    }

    /// A replica of the server whose replication listens at `primary`.
    #[track_caller]
    pub fn replica_of(primary: SocketAddr) -> Self {
        Self::empty().started(&["--primary-grpc-url", &format!("http://{primary}")])
    }

    #[track_caller]
    fn empty() -> Self {
        let server = Self {
            process: None,
            address: free_address(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        let data = server.data();
        std::fs::create_dir_all(data.parent().expect("a folder")).expect("a folder");
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("dbs/default/data")
    }

    #[track_caller]
    fn started(mut self, options: &[&str]) -> Self {
        self.start(options);
        self
    }

    /// Starts it, in place of the process that it has.
    #[track_caller]
    pub fn start(&mut self, options: &[&str]) {
        self.stop();
        let mut command = Command::new(program().expect("SQLD names a server"));
        command.args(["--no-welcome", "--db-path"]);
        command.arg(self.folder.path());
        command.args(["--http-listen-addr", &self.address.to_string()]);
        let process = self.process.insert(Process::start(command.args(options)));
        wait_until("the server listens", || {
            assert!(!process.has_ended(), "{command:?} has ended");
            TcpStream::connect(self.address).is_ok()
        });
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Sends its process a signal.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the runtime configuration has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It, as the test host's database.
    #[track_caller]
    pub fn on_host(&self) -> test_host::sqlite::Database {
        on_host(&self.url())
    }

    /// Runs a statement, as the server's own clients do; returns the first value, or null.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> serde_json::Value {
        let statement = serde_json::json!({"type": "execute", "stmt": {"sql": sql}});
        let body = serde_json::json!({"requests": [statement]}).to_string();
        let mut wire = Wire::open(self.address);
        let length = body.len();
        wire.send(format!(
            "POST /v2/pipeline HTTP/1.1\r\nHost: sqld\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        let answer = wire.answer().ok();
        let result = &answer.json()["results"][0];
        assert_eq!(result["type"], "ok", "{sql}: {answer:?}");
        result["response"]["result"]["rows"][0][0]["value"].clone()
    }
}
