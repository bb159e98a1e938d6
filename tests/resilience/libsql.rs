//! A libSQL server behind a real Spin. `make libsql SQLD=… SPIN=…` names the two binaries; without them these tests say
//! so and are left out.
//!
//! The server starts over a file that `flows load` could have made: the way from a file to a server.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::database::{Database, unguarded_schema};
use support::server::manifest;
use support::wire::{End, Response, Wire, get, head_for, wait_until};
use support::{FLOWS, FORMATS};
use tempfile::TempDir;

/// Some 30 MB as CSV: more than the sockets between Spin and its client hold.
const COUNT: u32 = 600_000;

/// Longer than the server keeps a connection that nothing is asked on.
const EXPIRY: Duration = Duration::from_secs(13);

/// A process, killed at the end of its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // `spin up` serves from a child, which goes with it.
        let pid = self.0.id().to_string();
        _ = Command::new("kill").args(["-TERM", &pid]).status();
        for _ in 0..20 {
            if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[track_caller]
fn start(command: &mut Command) -> Process {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    Process(
        command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}")),
    )
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A libSQL server over a file of flows, and Spin before it.
struct Served {
    sqld: Option<Process>,
    _spin: Process,
    address: SocketAddr,
    server: SocketAddr,
    folder: TempDir,
}

impl Served {
    /// `None` where a binary is not named.
    fn over(database: &Database, sqld_options: &[&str]) -> Option<Self> {
        let (Some(_), Some(spin)) = (std::env::var_os("SQLD"), std::env::var_os("SPIN")) else {
            eprintln!("left out: the variables SQLD and SPIN do not name a server and a Spin");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("sqld/dbs/default");
        std::fs::create_dir_all(&data).expect("a folder");
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
        std::fs::copy(database.path(), data.join("data")).expect("a copy");
        let (address, server) = (free_address(), free_address());
        let config = format!(
            "[sqlite_database.default]\ntype = \"libsql\"\nurl = \"http://{server}\"\ntoken = \"\"\n"
        );
        let file = folder.path().join("runtime.toml");
        std::fs::write(&file, config).expect("a file");
        let mut up = Command::new(spin);
        up.args(["up", "--listen", &address.to_string(), "--from"])
            .arg(manifest());
        up.arg("--runtime-config-file")
            .arg(file)
            .arg("--state-dir")
            .arg(folder.path().join("state"));
        let mut served = Self {
            sqld: None,
            _spin: start(&mut up),
            address,
            server,
            folder,
        };
        served.start_server(sqld_options);
        wait_until("Spin serves", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Some(served)
    }

    fn start_server(&mut self, options: &[&str]) {
        self.sqld = None;
        let mut command = Command::new(std::env::var_os("SQLD").expect("a server"));
        command
            .arg("--no-welcome")
            .arg("--db-path")
            .arg(self.folder.path().join("sqld"));
        command
            .args(["--http-listen-addr", &self.server.to_string()])
            .args(options);
        self.sqld = Some(start(&mut command));
        wait_until("the server listens", || {
            std::net::TcpStream::connect(self.server).is_ok()
        });
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        get(self.address, target)
    }

    /// Asks for all flows as CSV, and does something when the answer has begun.
    #[track_caller]
    fn all_while(&mut self, meanwhile: impl FnOnce(&mut Self)) -> Response {
        let mut wire = Wire::open(self.address);
        wire.send(head_for(&format!("{FLOWS}.csv"), &[]));
        let begun = wire.begun();
        meanwhile(self);
        wire.body_of(begun)
    }
}

#[test]
fn every_answer_over_a_server_is_that_over_the_file() {
    let database = Database::generated(20_000);
    let Some(served) = Served::over(&database, &[]) else {
        return;
    };
    let file = database.serve();
    for format in FORMATS {
        for query in [
            "",
            "?limit=5000",
            "?after_id=15000",
            "?src_comp=C7",
            "?scanned_after=6600",
        ] {
            let target = format!("{FLOWS}.{format}{query}");
            let (over_server, over_file) = (served.get(&target).ok(), file.get(&target).ok());
            assert!(
                over_server.body == over_file.body,
                "{target}: {over_server:?}"
            );
            for name in [
                "etag",
                "link",
                "flow-watermark",
                "flow-lineage",
                "content-type",
            ] {
                assert_eq!(over_server.header(name), over_file.header(name), "{target}");
            }
        }
    }
    for target in ["/api/v1/extent", "/api/v1/health"] {
        assert_eq!(
            served.get(target).ok().body,
            file.get(target).ok().body,
            "{target}"
        );
    }
}

#[test]
fn an_answer_goes_on_over_a_connection_that_the_server_has_let_go_and_over_its_restart() {
    let database = Database::generated(COUNT);
    let Some(mut served) = Served::over(&database, &[]) else {
        return;
    };
    let whole = served.get(&format!("{FLOWS}.csv")).ok();
    for _ in 0..5 {
        let again = served.get(&format!("{FLOWS}.csv")).ok();
        assert!(
            again.end == End::Clean && again.body == whole.body,
            "{again:?}"
        );
    }
    let slow = served.all_while(|_| std::thread::sleep(EXPIRY));
    assert!(
        slow.end == End::Clean && slow.body == whole.body,
        "{slow:?}"
    );
    let over_restart = served.all_while(|served| served.start_server(&[]));
    // It is cut where it asks while the server is away.
    let is_whole = over_restart.end == End::Clean && over_restart.body == whole.body;
    assert!(is_whole || over_restart.end == End::Cut, "{over_restart:?}");
}

#[test]
fn a_server_that_goes_away_cuts_an_answer_and_is_a_503_until_it_is_back() {
    let database = Database::generated(COUNT);
    let Some(mut served) = Served::over(&database, &[]) else {
        return;
    };
    let cut = served.all_while(|served| served.sqld = None);
    assert_eq!(cut.end, End::Cut, "{cut:?}");
    let window = format!("{FLOWS}?limit=3");
    let down = served.get(&window).with_status(503);
    assert_eq!(down.header("retry-after"), "5", "{down:?}");
    served.get("/api/v1/health").with_status(503);
    served.start_server(&[]);
    assert_eq!(served.get(&window).flows().len(), 3);
}

#[test]
fn an_edit_on_the_server_cuts_an_answer_and_ends_its_cursors() {
    let database = Database::generated(COUNT);
    let Some(mut served) = Served::over(&database, &[]) else {
        return;
    };
    let portion = served.get(&format!("{FLOWS}?limit=10")).ok();
    let cut = served.all_while(|served| {
        served.sql("DELETE FROM flows WHERE id = 7");
    });
    assert_eq!(cut.end, End::Cut, "{cut:?}");
    served
        .get(&portion.next().expect("a Link"))
        .with_status(410);
    // An append is no edit.
    served.sql("INSERT INTO flows SELECT 700000, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, \
                packet_count, byte_count FROM flows WHERE id = 1");
    let arrived = served.get(&format!("{FLOWS}?after_id={COUNT}")).flows();
    assert_eq!(arrived, [(700_000, 0)]);
}

impl Served {
    /// Runs a statement on the server, as its own clients do.
    #[track_caller]
    fn sql(&self, sql: &str) {
        let body = serde_json::json!({"requests": [{"type": "execute", "stmt": {"sql": sql}}]})
            .to_string();
        let mut wire = Wire::open(self.server);
        let length = body.len();
        wire.send(format!(
            "POST /v2/pipeline HTTP/1.1\r\nHost: sqld\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        let answer = wire.answer().ok();
        assert_eq!(answer.json()["results"][0]["type"], "ok", "{answer:?}");
    }
}

#[test]
fn a_token_that_the_server_refuses_is_a_503_that_names_it() {
    let database = Database::generated(10);
    let Some(served) = Served::over(&database, &["--http-auth", "basic:c2VjcmV0"]) else {
        return;
    };
    let refused = served.get(FLOWS).with_status(503);
    assert!(refused.text().contains("refuses the token"), "{refused:?}");
}

/// The limit does not hold for the cursors that Spin's client reads by.
#[test]
fn a_low_limit_of_the_servers_responses_is_not_in_the_way() {
    let database = Database::generated(20_000);
    let file = database.serve();
    let Some(served) = Served::over(&database, &["--max-response-size", "100KB"]) else {
        return;
    };
    let target = format!("{FLOWS}.csv");
    assert!(served.get(&target).ok().body == file.get(&target).ok().body);
}

#[test]
fn a_long_answer_from_a_table_without_the_guard_is_refused_with_advice() {
    let database = Database::with_sql(unguarded_schema());
    database.insert((1..=3000).map(|id| (id, id)));
    let Some(served) = Served::over(&database, &[]) else {
        return;
    };
    let refused = served.get(FLOWS).with_status(503);
    assert!(refused.text().contains("needs the guard"), "{refused:?}");
    assert_eq!(
        served
            .get(&format!("{FLOWS}?scanned_after=2990"))
            .flows()
            .len(),
        10
    );
}
