//! A database server, and what can go wrong between it and the component. `make libsql SQLD=…` names the server's
//! program; without it these tests say so and are left out. `SPIN=…` puts a real Spin in place of the test host.
//!
//! The server starts over a copy of a file that `flows load` could have made: the way from a file to a server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::database::{Database, unguarded_schema};
use support::server::{TestServer, manifest};
use support::sqld::{self, Process, Sqld, free_address};
use support::wire::{End, Response, Wire, get, head_for, wait_until};
use support::{FLOWS, FORMATS};
use tempfile::TempDir;

/// Some 30 MB as CSV: more than the sockets between the host and its client hold.
const COUNT: u32 = 600_000;

/// Longer than the server keeps a connection that nothing is asked on.
const EXPIRY: Duration = Duration::from_secs(13);

/// The component over a server, in the test host or in a real Spin.
enum Host {
    TestHost(Box<TestServer>),
    Spin {
        process: Process,
        address: SocketAddr,
        _folder: TempDir,
    },
}

impl Host {
    /// Serves what the server at `url` holds, which is what `database` holds.
    #[track_caller]
    fn over(database: &Database, url: &str) -> Self {
        let Some(spin) = std::env::var_os("SPIN") else {
            return Self::TestHost(Box::new(database.serve_on(sqld::on_host(url))));
        };
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let file = folder.path().join("runtime.toml");
        let config = format!(
            "[sqlite_database.default]\ntype = \"libsql\"\nurl = \"{url}\"\ntoken = \"\"\n"
        );
        std::fs::write(&file, config).expect("a file");
        let mut up = Command::new(spin);
        up.args(["up", "--listen", &address.to_string(), "--from"])
            .arg(manifest());
        up.arg("--runtime-config-file").arg(file);
        up.arg("--state-dir").arg(folder.path().join("state"));
        let process = Process::start(&mut up);
        wait_until("Spin serves", || TcpStream::connect(address).is_ok());
        Self::Spin {
            process,
            address,
            _folder: folder,
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::TestHost(server) => server.address(),
            Self::Spin { address, .. } => *address,
        }
    }

    /// Asserts that an answer has been cut off for this reason; a real Spin's log is not read.
    #[track_caller]
    fn logged(&self, reason: &str) {
        if let Self::TestHost(server) = self {
            let log = server.log();
            assert!(log.contains(reason), "no {reason:?} in {log}");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // `spin up` serves from a child, which goes with it.
        if let Self::Spin { process, .. } = self {
            process.signal("TERM");
            wait_until("Spin has ended", || process.has_ended());
        }
    }
}

/// A libSQL server over the flows of a file, and the component over the server.
struct Served {
    host: Host,
    sqld: Sqld,
}

impl Served {
    /// `None` where no server is named.
    #[track_caller]
    fn over(database: &Database, options: &[&str]) -> Option<Self> {
        is_named().then(|| {
            let sqld = Sqld::over_copy(database, options);
            let host = Host::over(database, &sqld.url());
            Self { host, sqld }
        })
    }

    /// The same with a relay before the server.
    #[track_caller]
    fn over_relay(database: &Database) -> Option<(Self, Relay)> {
        is_named().then(|| {
            let sqld = Sqld::over_copy(database, &[]);
            let relay = Relay::before(sqld.address());
            let host = Host::over(database, &relay.url());
            (Self { host, sqld }, relay)
        })
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        get(self.host.address(), target)
    }

    /// Asks for all flows as CSV, and does something when the answer has begun.
    #[track_caller]
    fn all_while(&mut self, meanwhile: impl FnOnce(&mut Self)) -> Response {
        let mut wire = Wire::open(self.host.address());
        wire.send(head_for(&format!("{FLOWS}.csv"), &[]));
        let begun = wire.begun();
        meanwhile(self);
        wire.body_of(begun)
    }
}

fn is_named() -> bool {
    if sqld::program().is_none() {
        eprintln!("left out: the variable SQLD does not name a libSQL server");
    }
    sqld::program().is_some()
}

/// A relay before a server, which does to the server's bytes what a network can do.
struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<Relaying>>,
}

struct Relaying {
    server: SocketAddr,
    /// Whether the server's bytes wait.
    holds: bool,
    /// What each piece of the server's bytes waits.
    pause: Duration,
    /// How many of the server's bytes pass until their connection is closed, and each further one at once.
    left: usize,
    /// Whether no further one is.
    breaks_once: bool,
    connections: Vec<TcpStream>,
}

impl Relay {
    #[track_caller]
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(Relaying {
            server,
            holds: false,
            pause: Duration::ZERO,
            left: usize::MAX,
            breaks_once: false,
            connections: Vec::new(),
        }));
        let relay = Self { address, state };
        let state = relay.state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let server = lock(&state).server;
                let server = TcpStream::connect(server);
                // A client that is dropped here sees its connection closed.
                if let Ok(server) = server {
                    connect(client, server, &state);
                }
            }
        });
        relay
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn set(&self, change: impl FnOnce(&mut Relaying)) {
        change(&mut lock(&self.state));
    }

    /// Leads all further connections to another server, and closes those that there are.
    fn lead_to(&self, server: SocketAddr) {
        let mut state = lock(&self.state);
        state.server = server;
        for connection in state.connections.drain(..) {
            _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn lock(state: &Mutex<Relaying>) -> MutexGuard<'_, Relaying> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(client: TcpStream, server: TcpStream, state: &Arc<Mutex<Relaying>>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
    lock(state)
        .connections
        .extend([clone(&client), clone(&server)]);
    let (mut from_client, mut to_server) = (clone(&client), clone(&server));
    std::thread::spawn(move || {
        _ = std::io::copy(&mut from_client, &mut to_server);
        _ = to_server.shutdown(Shutdown::Write);
    });
    let state = state.clone();
    std::thread::spawn(move || {
        relay(&server, &client, &state);
        _ = client.shutdown(Shutdown::Both);
        _ = server.shutdown(Shutdown::Both);
    });
}

/// Passes on what the server sends, until it ends or as much has passed as may.
fn relay(mut server: &TcpStream, mut client: &TcpStream, state: &Mutex<Relaying>) {
    let mut piece = [0; 16 << 10];
    loop {
        let Ok(read @ 1..) = server.read(&mut piece) else {
            return;
        };
        while lock(state).holds {
            std::thread::sleep(Duration::from_millis(5));
        }
        let pause = lock(state).pause;
        std::thread::sleep(pause);
        let passing = {
            let mut state = lock(state);
            let passing = read.min(state.left);
            if state.left != usize::MAX {
                state.left -= passing;
            }
            if passing < read && state.breaks_once {
                state.left = usize::MAX;
            }
            passing
        };
        if client.write_all(&piece[..passing]).is_err() || passing < read {
            return;
        }
    }
}

#[test]
fn every_answer_over_a_server_is_that_over_the_file() {
    let database = Database::generated(20_000);
    let Some(served) = Served::over(&database, &[]) else {
        return;
    };
    let file = database.serve_file();
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
    let over_restart = served.all_while(|served| served.sqld.start(&[]));
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
    let cut = served.all_while(|served| served.sqld.stop());
    assert_eq!(cut.end, End::Cut, "{cut:?}");
    let window = format!("{FLOWS}?limit=3");
    let down = served.get(&window).with_status(503);
    assert_eq!(down.header("retry-after"), "5", "{down:?}");
    served.get("/api/v1/health").with_status(503);
    served.sqld.start(&[]);
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
        served.sqld.sql("DELETE FROM flows WHERE id = 7");
    });
    assert_eq!(cut.end, End::Cut, "{cut:?}");
    served
        .get(&portion.next().expect("a Link"))
        .with_status(410);
    // An append is no edit.
    served.sqld.sql("INSERT INTO flows SELECT 700000, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, \
                packet_count, byte_count FROM flows WHERE id = 1");
    let arrived = served.get(&format!("{FLOWS}?after_id={COUNT}")).flows();
    assert_eq!(arrived, [(700_000, 0)]);
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
    let file = database.serve_file();
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

#[test]
fn flows_that_the_servers_clients_insert_are_polled_and_counted() {
    let database = Database::generated(1000);
    // With the counts by minute, which know nothing of later arrivals.
    database.prepare();
    let Some(served) = Served::over(&database, &[]) else {
        return;
    };
    let counted = || -> u64 {
        let histogram = served.get("/api/v1/flows/histogram?width=60").ok().json();
        let buckets = histogram.as_array().expect("buckets").iter();
        buckets.filter_map(|bucket| bucket["flows"].as_u64()).sum()
    };
    assert_eq!(counted(), 1000);
    let dump = served.get(FLOWS).ok();
    let poll = |response: &Response| {
        let lineage = response.header("flow-lineage").to_owned();
        served.get(&format!(
            "{FLOWS}?after_id={}&lineage={lineage}",
            response.watermark()
        ))
    };
    for arrival in 0..3 {
        served.sqld.sql(&format!(
            "INSERT INTO flows SELECT NULL, 900 + {arrival}, duration, src_comp, src_port, dst_comp, dst_port, \
             protocol, packet_count, byte_count FROM flows WHERE id <= 200"
        ));
    }
    let arrived = poll(&dump).ok();
    let expected = (0..600).map(|i| (1001 + i, 900 + i / 200));
    assert_eq!(poll(&dump).flows(), expected.collect::<Vec<_>>());
    assert_eq!(poll(&arrived).flows(), []);
    assert_eq!(counted(), 1600);
    let extent = served.get("/api/v1/extent").ok();
    assert_eq!(extent.json()["last_id"], 1600, "{extent:?}");
    // An id that is given again ends the lineage.
    served.sqld.sql("DELETE FROM flows WHERE id = 1600");
    served.sqld.sql(
        "INSERT INTO flows SELECT 1600, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, \
         packet_count, byte_count FROM flows WHERE id = 1",
    );
    poll(&dump).with_status(410);
}

#[test]
fn an_answer_whose_later_pages_come_from_a_replica_that_lags_is_cut() {
    let database = Database::generated(COUNT);
    if !is_named() {
        return;
    }
    let replication = free_address();
    let options = ["--grpc-listen-addr", &replication.to_string()];
    let primary = Sqld::over_copy(&database, &options);
    let line = Relay::before(replication);
    let replica = Sqld::replica_of(line.address);
    let has = |flows: u32| replica.sql("SELECT count(*) FROM flows") == *flows.to_string();
    wait_until("the replica has the flows", || has(COUNT));
    let front = Relay::before(primary.address());
    let served = Served {
        host: Host::over(&database, &front.url()),
        sqld: primary,
    };
    // The first statement of a connection. A replica may ask its primary for the later ones, and a connection is kept for
    // a second.
    let polled = |after_id: u32| {
        std::thread::sleep(Duration::from_millis(1500));
        get(
            served.host.address(),
            &format!("{FLOWS}?after_id={after_id}"),
        )
    };
    let begun_on_the_primary = || {
        front.lead_to(served.sqld.address());
        let mut wire = Wire::open(served.host.address());
        wire.send(head_for(&format!("{FLOWS}.csv"), &[]));
        let begun = wire.begun();
        // Until nothing is asked: the client's sockets are full.
        std::thread::sleep(Duration::from_secs(1));
        front.lead_to(replica.address());
        wire.body_of(begun)
    };
    let expected = database.serve_file().get(&format!("{FLOWS}.csv")).ok();
    let whole = begun_on_the_primary().ok();
    assert!(whole.body == expected.body, "{whole:?}");
    assert_eq!(polled(COUNT).flows(), []);

    line.set(|line| line.holds = true);
    served.sqld.sql(
        "INSERT INTO flows SELECT NULL, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, \
         packet_count, byte_count FROM flows WHERE id <= 10",
    );
    front.lead_to(served.sqld.address());
    assert_eq!(polled(COUNT).flows().len(), 10);
    let cut = begun_on_the_primary();
    assert_eq!(cut.end, End::Cut, "{cut:?}");
    served.host.logged("edited while they were read");
    assert_eq!(polled(COUNT).flows(), [], "the replica does not lag");
    // A poll that goes on from the primary's last flow is ahead of the replica.
    polled(COUNT + 10).with_status(410);
    line.set(|line| line.holds = false);
    wait_until("the replica has caught up", || has(COUNT + 10));
    assert_eq!(polled(COUNT + 10).flows(), []);
}

#[test]
fn a_server_that_is_slow_or_stands_still_delays_answers_and_changes_none() {
    let database = Database::generated(20_000);
    let Some((served, relay)) = Served::over_relay(&database) else {
        return;
    };
    let target = format!("{FLOWS}.csv");
    let expected = served.get(&target).ok().body;
    relay.set(|relay| relay.pause = Duration::from_millis(20));
    assert!(served.get(&target).ok().body == expected);
    relay.set(|relay| relay.pause = Duration::ZERO);
    served.sqld.signal("STOP");
    let mut waiting = Wire::open(served.host.address());
    waiting.send(head_for(&target, &[]));
    std::thread::sleep(Duration::from_secs(3));
    served.sqld.signal("CONT");
    assert!(waiting.answer().ok().body == expected);
}

/// Bytes of a server after which its connection breaks: before its first answer, in its first page, and in later ones.
const BREAKS: [usize; 11] = [
    0, 1, 100, 300, 5000, 40_000, 80_000, 200_000, 400_000, 700_000, 1_000_000,
];

#[test]
fn an_answer_is_cut_or_a_503_wherever_its_server_goes_away() {
    let database = Database::generated(20_000);
    let Some((served, relay)) = Served::over_relay(&database) else {
        return;
    };
    for format in FORMATS {
        let target = format!("{FLOWS}.{format}");
        let expected = served.get(&target).ok().body;
        let (mut refused, mut cut) = (0, 0);
        for left in BREAKS {
            relay.set(|relay| relay.left = left);
            let broken = served.get(&target);
            relay.set(|relay| relay.left = usize::MAX);
            match (broken.status, broken.end) {
                (503, End::Clean) => {
                    assert_eq!(broken.header("retry-after"), "5", "{left}: {broken:?}");
                    refused += 1;
                }
                (200, End::Cut) => cut += 1,
                _ => panic!("{left}: {broken:?}"),
            }
            let next = served.get(&target).ok();
            assert!(next.body == expected, "{left}: {next:?}");
        }
        assert!(
            refused > 2 && cut > 2,
            "{format}: {refused} × 503, {cut} × cut"
        );
    }
}

#[test]
fn an_answer_goes_on_over_another_connection_where_one_breaks() {
    let database = Database::generated(20_000);
    let Some((served, relay)) = Served::over_relay(&database) else {
        return;
    };
    let target = format!("{FLOWS}.csv");
    let expected = served.get(&target).ok().body;
    for left in BREAKS {
        relay.set(|relay| (relay.left, relay.breaks_once) = (left, true));
        let whole = served.get(&target).ok();
        assert!(whole.body == expected, "{left}: {whole:?}");
        relay.set(|relay| assert_eq!(relay.left, usize::MAX, "{left}: nothing broke"));
    }
}

/// The server's SQLite holds no value above 5 MB (`max_row_size`).
#[test]
fn pages_that_are_larger_than_the_server_holds_become_smaller() {
    let long = |rows: &str| {
        let database = Database::generated(5000);
        database.execute(&format!(
            "UPDATE flows SET src_comp = replace(hex(zeroblob(10000)), '0', 'x') WHERE {rows}; \
             PRAGMA wal_checkpoint(TRUNCATE)"
        ));
        database
    };
    for rows in ["id <= 1500", "id BETWEEN 2000 AND 3500"] {
        let database = long(rows);
        let Some(served) = Served::over(&database, &[]) else {
            return;
        };
        let file = database.serve_file();
        for target in [format!("{FLOWS}.csv"), format!("{FLOWS}?limit=4000")] {
            let (over_server, over_file) = (served.get(&target).ok(), file.get(&target).ok());
            assert!(
                over_server.body == over_file.body,
                "{rows}: {over_server:?}"
            );
        }
    }
}

/// Such a flow comes to a server with a file. No statement of the server's clients makes one.
#[test]
fn a_flow_that_is_larger_than_the_server_holds_is_an_error_and_never_left_out() {
    let database = Database::generated(20_000);
    database.execute(
        "UPDATE flows SET src_comp = hex(zeroblob(3000000)) WHERE id = 15000; PRAGMA wal_checkpoint(TRUNCATE)",
    );
    let Some(served) = Served::over(&database, &[]) else {
        return;
    };
    let cut = served.get(&format!("{FLOWS}.csv"));
    assert_eq!((cut.status, cut.end), (200, End::Cut), "{cut:?}");
    let window = served.get(&format!("{FLOWS}?scanned_after=4999&scanned_before=5000"));
    let refused = window.with_status(500);
    assert!(refused.text().contains("larger than"), "{refused:?}");
    assert_eq!(served.get(&format!("{FLOWS}?limit=3")).flows().len(), 3);
}
