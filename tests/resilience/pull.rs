//! `flows pull` while everything goes wrong: each flow is in one file, or the pull says that it is not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parquet::file::reader::{FileReader as _, SerializedFileReader};

use flows::pull::{Failure, Pull, Pulled, pull};
use support::database::{Database, UNTYPED_TABLE};
use support::namespace::{Disk, Need};
use support::random::Random;
use support::server::TestServer;
use support::tally::{Tally, short_or_long};
use support::wire::wait_until;
use test_host::faults::{Fault, Point};

/// Holds the arguments of the process that pulls.
const ARGUMENTS: &str = "TEST_PULLS";

/// A folder that is pulled into.
struct Target {
    folder: tempfile::TempDir,
}

impl Target {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn arguments(&self, server: &TestServer, more: &[&str]) -> Vec<String> {
        let url = format!("http://{}", server.address());
        let out = self.out().display().to_string();
        let given = [url.as_str(), "--out", &out];
        given
            .iter()
            .chain(more)
            .map(|&argument| argument.to_owned())
            .collect()
    }

    /// Pulls once.
    fn pull(&self, server: &TestServer, more: &[&str]) -> Result<Pulled, Failure> {
        let request = Pull::from_arguments(self.arguments(server, more)).expect("arguments");
        let mut last = Pulled::default();
        pull(&request, &AtomicBool::new(false), |pulled| {
            last = pulled.clone();
            Ok(())
        })?;
        Ok(last)
    }

    /// Pulls once from an address of another server.
    fn pull_from(
        &self,
        address: impl Display,
        server: &TestServer,
        more: &[&str],
    ) -> Result<(), Failure> {
        let mut arguments = self.arguments(server, more);
        arguments[0] = format!("http://{address}");
        let request = Pull::from_arguments(&arguments).expect("arguments");
        pull(&request, &AtomicBool::new(false), |_| Ok(()))
    }

    /// A process that pulls.
    fn process(&self, server: &TestServer, more: &[&str]) -> Command {
        let mut process = Command::new(std::env::current_exe().expect("this binary"));
        process
            .args(["pull_process", "--exact", "--ignored", "--nocapture"])
            .env(ARGUMENTS, self.arguments(server, more).join("\n"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
    }

    /// Starts a process that pulls.
    fn start(&self, server: &TestServer, more: &[&str]) -> Child {
        let process = self.process(server, more).spawn();
        process.expect("this binary again")
    }

    /// The files and what they hold, by name.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.out()).expect("the folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let files = paths.filter(|path| name(path).starts_with("flows-"));
        files.map(|path| (name(&path), text(&path))).collect()
    }

    /// The first field of each line of all files, which is the id.
    fn ids(&self) -> Vec<i64> {
        let mut ids = Vec::new();
        for (name, text) in self.files() {
            let is_csv = name.contains(".csv");
            let of_file: Vec<i64> = text
                .lines()
                .skip(usize::from(is_csv))
                .map(|line| {
                    let line = line.strip_prefix("{\"id\":").unwrap_or(line);
                    line.split(',')
                        .next()
                        .expect("a field")
                        .parse()
                        .expect("an id")
                })
                .collect();
            // The name tells what is in it.
            let ends = format!("-{}-{}.", of_file[0], of_file[of_file.len() - 1]);
            assert!(name.contains(&ends), "{name}: {ends}");
            ids.extend(of_file);
        }
        ids.sort_unstable();
        ids
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).expect("a file");
    if !name(path).ends_with(".gz") {
        return String::from_utf8(bytes).expect("text");
    }
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes.as_slice());
    decoder.read_to_string(&mut text).expect("a whole gzip");
    text
}

/// Every id of the table.
fn stored(database: &Database) -> Vec<i64> {
    let connection = database.connect();
    let mut statement = connection
        .prepare("SELECT id FROM flows ORDER BY id")
        .expect("SQL");
    let ids = statement.query_map([], |row| row.get(0)).expect("ids");
    ids.map(|id| id.expect("an id")).collect()
}

/// Called by the process that pulls.
pub(crate) fn run() {
    let arguments = std::env::var(ARGUMENTS).expect("arguments");
    let request = Pull::from_arguments(arguments.split('\n')).expect("arguments");
    let pulled = pull(&request, &AtomicBool::new(false), |_| Ok(()));
    std::process::exit(pulled.map_or_else(|failure| i32::from(failure.code()), |()| 0));
}

#[test]
fn a_pull_brings_everything_and_the_next_one_what_is_new() {
    for more in [&["--max-rows", "700"][..], &["--format", "csv", "--gzip"]] {
        let (server, target) = (Database::generated(2_000).serve(), Target::new());
        let pulled = target.pull(&server, more).expect("a pull");
        assert_eq!((pulled.flows, pulled.watermark), (2_000, Some(2_000)));
        assert_eq!(target.ids(), stored(&server.database));
        let before = target.files();
        assert_eq!(before.len(), if more.len() == 2 { 3 } else { 1 });
        let nothing = target.pull(&server, more).expect("a pull");
        assert_eq!((nothing.flows, nothing.files.len()), (0, 0));
        assert_eq!(target.files(), before);
        server.insert([(2_001, 7), (2_050, 1)]);
        // Trimming old flows ends no lineage.
        server.execute("DELETE FROM flows WHERE id <= 5");
        let arrived = target.pull(&server, more).expect("a pull");
        assert_eq!((arrived.flows, arrived.files.len()), (2, 1));
        let after = target.files();
        assert!(
            before
                .iter()
                .all(|(name, text)| after.get(name) == Some(text))
        );
        let mut expected: Vec<_> = (1..=5).collect();
        expected.extend(stored(&server.database));
        assert_eq!(target.ids(), expected);
    }
}

#[test]
fn the_files_hold_what_the_service_sends() {
    let (server, target) = (Database::generated(3_000).serve(), Target::new());
    // A line end inside of quotation marks is part of a value.
    server.execute(
        "UPDATE flows SET src_comp = 'a \"b\"' || char(10) || 'end,1,2' WHERE id % 100 = 0",
    );
    target.pull(&server, &["--format", "csv"]).expect("a pull");
    let whole = server.get("/api/v1/stream/flows.csv?after_id=0").ok();
    let files = target.files();
    assert_eq!(
        files.values().map(String::as_str).collect::<String>(),
        whole.text()
    );
    let filtered = Target::new();
    let more = [
        "--src-comp",
        "C7",
        "--src-comp",
        "C9",
        "--protocol",
        "6",
        "--scanned-after",
        "1",
        "--max-rows",
        "1",
    ];
    filtered.pull(&server, &more).expect("a pull");
    assert_eq!(filtered.ids(), [7, 9]);
    // Window and filters belong to the folder.
    let Err(Failure::Pull(error)) = filtered.pull(&server, &["--src-comp", "C7"]) else {
        panic!("other filters are refused");
    };
    assert!(
        error.to_string().contains("pull into another folder"),
        "{error}"
    );
}

#[test]
fn a_parquet_file_holds_the_flows_of_the_table() {
    // More than a row group, and nulls, which only a table from elsewhere has.
    let database = Database::with_sql(
        &format!("{UNTYPED_TABLE}
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
        INSERT INTO flows SELECT i - 9, i / 3, iif(i % 5, i, NULL), iif(i % 7, 'C' || (i % 31), NULL), '', 'ä \"', i % 90,
            6, iif(i % 11, 2.0, NULL), i * 1000 FROM n;"),
    );
    database.prepare();
    let (server, target) = (database.serve(), Target::new());
    let pulled = target
        .pull(&server, &["--format", "parquet"])
        .expect("a pull");
    assert_eq!(pulled.flows, 120_000);
    let file = fs::File::open(target.out().join(&pulled.files[0])).expect("a file");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let metadata = reader.metadata().file_metadata();
    assert_eq!((metadata.num_rows(), reader.num_row_groups()), (120_000, 2));
    let connection = database.connect();
    let mut statement = connection
        .prepare("SELECT json_array(id, time, duration, src_comp, src_port, dst_comp, CAST(dst_port AS TEXT), protocol, \
            CAST(packet_count AS INTEGER), byte_count) FROM flows ORDER BY id")
        .expect("SQL");
    let stored = statement
        .query_map([], |row| row.get::<_, String>(0))
        .expect("rows");
    for (row, stored) in reader.get_row_iter(None).expect("rows").zip(stored) {
        let row = row.expect("a row");
        let fields = row
            .get_column_iter()
            .map(|(_, field)| field.to_json_value());
        let fields = serde_json::Value::Array(fields.collect());
        assert_eq!(fields.to_string(), stored.expect("a row"));
    }
    let refused = Target::new().pull(&server, &["--format", "parquet", "--gzip"]);
    assert!(matches!(refused, Err(Failure::Pull(_))), "{refused:?}");
}

#[test]
fn connections_that_fail_are_tried_again_and_no_flow_comes_twice() {
    let mut tally = Tally::of("answers that fail under `flows pull`");
    let faults = [
        (Point::Row, Fault::Fail("disk I/O error".into())),
        (Point::Row, Fault::Trap),
        (Point::Execute, Fault::Gone),
    ];
    let cases = faults.iter().flat_map(|(point, fault)| {
        let nths = [1, 3, 5, 9]
            .into_iter()
            .zip(["ndjson", "csv"].into_iter().cycle());
        nths.map(move |(nth, format)| (*point, fault, nth, format))
    });
    // Most of the time is that of pauses.
    std::thread::scope(|scope| {
        let pulls: Vec<_> = cases
            .map(|(point, fault, nth, format)| {
                scope.spawn(move || {
                    let (server, target) = (Database::generated(30_000).serve(), Target::new());
                    server.faults().plan(point, nth..=nth, fault.clone());
                    let more = ["--format", format, "--max-rows", "25000"];
                    let pulled = target.pull(&server, &more).expect("a pull");
                    assert_eq!((pulled.flows, pulled.files.len()), (30_000, 2), "{nth}");
                    assert_eq!(target.ids(), stored(&server.database), "{nth}");
                })
            })
            .collect();
        for pull in pulls {
            pull.join().expect("a pull");
            tally.saw("every flow once");
        }
    });
    tally.print();
}

/// The head of a request.
fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if connection.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers each connection by the next of `answers`, and each one behind them by a redirect to `server`.
fn unreliable<A>(server: &TestServer, answers: A) -> SocketAddr
where
    A: IntoIterator<Item: Into<String>, IntoIter: Send + 'static>,
{
    let mut answers = answers.into_iter();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let real = server.address();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let head = read_head(&mut connection);
            let target = head.split(' ').nth(1).unwrap_or("/");
            let redirect = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{real}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            // Where the progress is shown, this is asked first.
            let is_extent = target.contains("/extent");
            let answer = match is_extent {
                true => redirect,
                false => answers.next().map_or(redirect, Into::into),
            };
            // The client may have gone.
            _ = connection.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_server_that_refuses_cuts_and_redirects_is_asked_until_it_answers() {
    let (server, target) = (Database::generated(500).serve(), Target::new());
    let address = unreliable(
        &server,
        [
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "no HTTP\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad",
        ],
    );
    target
        .pull_from(address, &server, &["--max-rows", "200"])
        .expect("a pull");
    assert_eq!(target.ids(), stored(&server.database));
}

/// A pull has failed by the service, the network or the disk, and says so.
#[track_caller]
fn assert_failed(pulled: &Result<(), Failure>, said: &str) {
    assert!(
        matches!(pulled, Err(Failure::Pull(error)) if error.to_string().contains(said)),
        "{pulled:?}"
    );
}

/// An answer with a body.
fn answer(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_server_that_says_to_come_back_too_late_is_not_asked_sooner() {
    let (server, target) = (Database::generated(10).serve(), Target::new());
    let busy = answer("503 Service Unavailable\r\nRetry-After: 600", "");
    let refused = target.pull_from(unreliable(&server, [busy]), &server, &["--retry-for", "2s"]);
    assert_failed(&refused, "503");
}

#[test]
fn a_token_or_password_goes_to_the_server_that_it_is_for() {
    let (server, target) = (Database::generated(10).serve(), Target::new());
    let file = target.folder.path().join("token");
    fs::write(&file, "secret\n").expect("a file");
    let file = file.display().to_string();
    let more = ["--token-file", &file];
    let other: [&str; 0] = [];
    let address = unreliable(&server, other);
    let with_token = target.pull_from(address, &server, &more);
    let with_password = target.pull_from(format!("me:secret@{address}"), &server, &[]);
    for refused in [with_token, with_password] {
        let Err(Failure::Pull(error)) = refused else {
            panic!("another server is not asked: {refused:?}");
        };
        assert!(
            format!("{error:#}").contains("which the token or password is not for"),
            "{error:#}"
        );
    }
    // Within the server a redirect is followed.
    let moved = answer("307 Temporary Redirect\r\nLocation: /elsewhere", "");
    let flows = answer(
        "200 OK\r\nFlow-Lineage: 00000000000000aa\r\nFlow-Watermark: 2",
        "{\"end\":true,\"count\":0,\"watermark\":2}\n",
    );
    target
        .pull_from(unreliable(&server, [moved, flows]), &server, &more)
        .expect("a pull of no flow");
}

#[test]
fn a_command_does_not_get_the_token() {
    let server = Database::generated(10).serve_with(&[("api_token", "secret")]);
    let target = Target::new();
    let seen = target.folder.path().join("seen");
    let command = format!("echo \"($FLOWS_TOKEN)\" >'{}'", seen.display());
    let pulled = target
        .process(&server, &["--then", &command])
        .env("FLOWS_TOKEN", "secret")
        .status()
        .expect("this binary again");
    assert!(pulled.success(), "{pulled}");
    assert_eq!(fs::read_to_string(&seen).expect("what it saw"), "()\n");
}

/// Answers `stalls` connections by `answer` and says no more. The next ones reach `server`.
fn stalling(server: &TestServer, answer: Vec<u8>, stalls: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let real = server.address();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            if open.len() < stalls {
                read_head(&mut connection);
                // The client may have gone.
                _ = connection.write_all(&answer);
                open.push(connection);
                continue;
            }
            let mut server = TcpStream::connect(real).expect("a connection");
            let mut back = (
                server.try_clone().expect("a socket"),
                connection.try_clone().expect("a socket"),
            );
            std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
            std::thread::spawn(move || std::io::copy(&mut connection, &mut server));
        }
    });
    address
}

/// Pulls from an address that stalls before `server` is reached.
fn pull_stalled(
    server: &TestServer,
    address: SocketAddr,
    more: &[&str],
) -> (Target, Result<(), Failure>) {
    let target = Target::new();
    let more = [more, &["--read-timeout", "2s"]].concat();
    let pulled = target.pull_from(address, server, &more);
    (target, pulled)
}

#[test]
fn a_server_that_stalls_before_its_head_is_asked_again() {
    let server = Database::generated(2_000).serve();
    let (target, pulled) = pull_stalled(&server, stalling(&server, Vec::new(), 1), &[]);
    pulled.expect("a pull");
    assert_eq!(target.ids(), stored(&server.database));
    // Without the time for another try the silence is the error.
    let address = stalling(&server, Vec::new(), 9);
    let (_, pulled) = pull_stalled(&server, address, &["--retry-for", "0s"]);
    let Err(Failure::Pull(error)) = pulled else {
        panic!("a server that says nothing");
    };
    assert!(format!("{error:#}").contains("timed out"), "{error:#}");
}

#[test]
fn what_came_before_a_server_stalled_is_not_asked_for_again() {
    let server = Database::generated(2_000).serve_with(&[("log_requests", "on")]);
    let whole = server
        .get("/api/v1/stream/flows.ndjson?after_id=0&end=1")
        .ok();
    let first: String = whole.text().split_inclusive('\n').take(700).collect();
    let part = format!(
        "HTTP/1.1 200 OK\r\nFlow-Lineage: {}\r\nFlow-Watermark: {}\r\nContent-Length: {}\r\n\r\n{first}",
        whole.header("flow-lineage"),
        whole.header("flow-watermark"),
        whole.body.len()
    );
    let (target, pulled) = pull_stalled(&server, stalling(&server, part.into_bytes(), 1), &[]);
    pulled.expect("a pull");
    assert_eq!(target.ids(), stored(&server.database));
    // The first line is that of the request above. A line is logged when its client has the answer already.
    wait_until("a request is logged", || server.log().lines().count() > 1);
    let log = server.log();
    let mut asked = log.lines().skip(1);
    assert!(asked.all(|line| line.contains("after_id=700&")), "{log}");
}

#[test]
fn what_is_no_answer_of_the_service_is_refused_and_stored_nowhere() {
    let server = Database::generated(10).serve();
    let head = "200 OK\r\nFlow-Lineage: 00000000000000aa\r\nFlow-Watermark: 2";
    for (body, said) in [
        ("<html>", "cut off behind 0 flows"),
        ("<html>\n", "what is no flow: <html>"),
        ("{\"id\":2,\n{\"id\":1,\n", "flow 1 comes behind flow 2"),
        ("{\"id\":1,\n", "cut off behind 1 flows"),
        (
            "{\"id\":1,\n{\"end\":true,\"count\":2,\"watermark\":2}",
            "cut off behind 1 flows",
        ),
        (
            "{\"id\":1,\n{\"end\":true,\"count\":2,\"watermark\":2}\n",
            "1 flows have come of 2",
        ),
        (
            "{\"id\":1,\n{\"end\":true,\"count\":1,\"watermark\":3}\n",
            "the answer ends at Some(3)",
        ),
    ] {
        let target = Target::new();
        let address = unreliable(&server, [answer(head, body)]);
        let failed = target.pull_from(address, &server, &["--retry-for", "0s"]);
        let Err(Failure::Pull(error)) = failed else {
            panic!("{body}: {failed:?}");
        };
        assert!(format!("{error:#}").contains(said), "{body}: {error:#}");
        assert!(target.files().is_empty(), "{body}");
    }
}

#[test]
fn a_service_that_has_more_and_sends_none_is_not_asked_for_ever() {
    let server = Database::generated(10).serve();
    let answer = answer(
        "200 OK\r\nFlow-Lineage: 00000000000000aa\r\nFlow-Watermark: -9223372036854775808\r\n\
         Link: <flows.ndjson?cursor=x>; rel=\"next\"",
        "{\"end\":true,\"count\":0,\"watermark\":-9223372036854775808}\n",
    );
    let target = Target::new();
    let failed = target.pull_from(unreliable(&server, [answer]), &server, &[]);
    assert_failed(&failed, "sends none");
}

#[test]
fn a_server_that_is_not_there_or_refuses_for_good_is_an_error() {
    let mut tally = Tally::of("`flows pull` from a server that is not there, or refuses");
    let (server, target) = (Database::generated(10).serve(), Target::new());
    let mut arguments = target.arguments(&server, &["--retry-for", "1s"]);
    drop(server);
    let request = Pull::from_arguments(&arguments).expect("arguments");
    let failed = pull(&request, &AtomicBool::new(false), |_| Ok(()));
    assert!(matches!(failed, Err(Failure::Pull(_))), "{failed:?}");
    tally.saw("an error behind the time for tries");
    // What is refused for good is not tried again.
    let server = Database::generated(10).serve_with(&[("api_token", "secret")]);
    arguments[0] = format!("http://{}", server.address());
    arguments.extend(["--retry-for".to_owned(), "1h".to_owned()]);
    arguments.drain(3..5);
    let request = Pull::from_arguments(&arguments).expect("arguments");
    let Err(Failure::Pull(error)) = pull(&request, &AtomicBool::new(false), |_| Ok(())) else {
        panic!("a pull without the token is refused");
    };
    assert!(error.to_string().contains("401"), "{error}");
    let file = target.folder.path().join("token");
    fs::write(&file, "secret\n").expect("a file");
    let file = file.display().to_string();
    target
        .pull(&server, &["--token-file", &file])
        .expect("a pull");
    assert_eq!(target.ids().len(), 10);
    tally.print();
}

#[test]
fn flows_that_were_edited_stop_a_pull_or_begin_another_set_of_files() {
    let (server, target) = (Database::generated(100).serve(), Target::new());
    target.pull(&server, &[]).expect("a pull");
    let before = target.files();
    server.execute("UPDATE flows SET byte_count = 1 WHERE id = 7");
    let stopped = target.pull(&server, &[]);
    assert!(
        matches!(&stopped, Err(failure @ Failure::Replaced(_)) if failure.code() == 3),
        "{stopped:?}"
    );
    assert_eq!(target.files(), before);
    let again = target
        .pull(&server, &["--on-replace", "restart"])
        .expect("a pull");
    assert_eq!((again.flows, again.files.len()), (100, 1));
    let after = target.files();
    assert_eq!(after.len(), 2);
    assert!(
        before
            .iter()
            .all(|(name, text)| after.get(name) == Some(text))
    );
    let new = &after[&again.files[0]];
    assert_eq!(
        new.as_str(),
        server.get("/api/v1/stream/flows.ndjson").ok().text()
    );
}

#[test]
fn a_410_that_does_not_name_the_lineage_begins_nothing_again() {
    let (server, target) = (Database::generated(100).serve(), Target::new());
    target.pull(&server, &[]).expect("a pull");
    let before = target.files();
    let more = ["--on-replace", "restart"];
    // A copy of the table that lags, and then has caught up.
    let lags = answer(
        "410 Gone",
        "{\"parameter\":\"after_id\",\"detail\":\"beyond\"}",
    );
    target
        .pull_from(unreliable(&server, [lags.clone()]), &server, &more)
        .expect("a pull");
    assert_eq!(target.files(), before);
    // One that does not catch up.
    let lags: Vec<_> = std::iter::repeat_n(lags, 50).collect();
    let more = ["--on-replace", "restart", "--retry-for", "1s"];
    let behind = target.pull_from(unreliable(&server, lags), &server, &more);
    assert!(matches!(behind, Err(Failure::Replaced(_))), "{behind:?}");
    assert_eq!(target.files(), before);
    // Not the service's.
    for body in ["", "{}", "<html>"] {
        let gone = answer("410 Gone", body);
        let refused = target.pull_from(unreliable(&server, [gone]), &server, &more);
        assert!(matches!(refused, Err(Failure::Pull(_))), "{refused:?}");
        assert_eq!(target.files(), before);
    }
    assert_eq!(target.pull(&server, &[]).expect("a pull").flows, 0);
}

/// What the service answers where the lineage of a pull has ended.
fn ended() -> String {
    answer(
        "410 Gone",
        "{\"parameter\":\"lineage\",\"detail\":\"ended\"}",
    )
}

#[test]
fn a_lineage_that_comes_back_is_refused_and_its_files_stay() {
    let (server, target) = (Database::generated(100).serve(), Target::new());
    target.pull(&server, &[]).expect("a pull");
    let before = target.files();
    let more = ["--on-replace", "restart"];
    let refused = target.pull_from(unreliable(&server, [ended()]), &server, &more);
    assert_failed(&refused, "already");
    assert_eq!(target.files(), before);
    // The answer that said so was another server's.
    assert_eq!(target.pull(&server, &[]).expect("a pull").flows, 0);
    // One that says so for ever is not asked for ever.
    let ended: Vec<_> = std::iter::repeat_n(ended(), 50).collect();
    let refused = target.pull_from(unreliable(&server, ended), &server, &more);
    assert_failed(&refused, "410");
}

#[test]
fn what_others_made_in_the_folder_stays() {
    let (server, target) = (Database::generated(100).serve(), Target::new());
    fs::create_dir(target.out()).expect("a folder");
    let others = target.out().join("other.part");
    fs::write(&others, "half").expect("a write");
    target
        .pull(&server, &["--then", "mv {} {}.kept"])
        .expect("a pull");
    let before = target.files();
    assert!(before.keys().all(|name| name.ends_with(".kept")));
    // Another set of files begins, and the pull ends before its first.
    server.execute("UPDATE flows SET byte_count = 1 WHERE id = 7");
    let answers = [ended(), answer("404 Not Found", "")];
    let more = ["--on-replace", "restart"];
    target
        .pull_from(unreliable(&server, answers), &server, &more)
        .expect_err("nothing there");
    target.pull(&server, &more).expect("a pull");
    let after = target.files();
    assert_eq!(after.len(), 2, "{:?}", after.keys());
    assert!(before.keys().all(|name| after.contains_key(name)));
    assert!(others.exists());
}

#[test]
fn a_first_file_that_a_killed_pull_has_left_is_fetched_again() {
    let (server, target) = (Database::generated(100).serve(), Target::new());
    target.pull(&server, &[]).expect("a pull");
    // As if it had been killed between the name of the file and the state.
    let path = target.out().join("pull-state.json");
    let state = fs::read(&path).expect("the state");
    let mut state: serde_json::Value = serde_json::from_slice(&state).expect("JSON");
    state["watermark"] = serde_json::Value::Null;
    state["files"] = serde_json::json!([]);
    fs::write(&path, state.to_string()).expect("a write");
    server.insert([(101, 7)]);
    target.pull(&server, &[]).expect("a pull");
    assert_eq!(target.files().len(), 1);
    assert_eq!(target.ids(), stored(&server.database));
}

#[test]
fn a_pull_that_has_to_end_hands_one_file_over_and_no_more() {
    let (server, target) = (Database::generated(300).serve(), Target::new());
    target
        .pull(&server, &["--max-rows", "100"])
        .expect("a pull");
    let taken = target.folder.path().join("taken");
    let command = format!("echo {{}} >>'{}'", taken.display());
    let arguments = target.arguments(&server, &["--then", &command]);
    let request = Pull::from_arguments(arguments).expect("arguments");
    pull(&request, &AtomicBool::new(true), |_| Ok(())).expect("an end");
    let handed = fs::read_to_string(&taken).expect("what was taken");
    assert_eq!(handed.lines().count(), 1, "{handed}");
}

#[test]
fn a_file_is_handed_over_until_it_is_taken_and_in_order() {
    let (server, target) = (Database::generated(300).serve(), Target::new());
    let taken = target.folder.path().join("taken it's");
    let shown = taken.display().to_string().replace('\'', "'\\''");
    let take = format!("echo $FLOWS_COUNT {{}} >>'{shown}'");
    let refuse = format!("{take}; test $(wc -l <'{shown}') -gt 2");
    let more = ["--max-rows", "100", "--then"];
    let failed = target.pull(&server, &[&more[..], &[&refuse]].concat());
    assert!(
        matches!(&failed, Err(failure @ Failure::Command(_)) if failure.code() == 4),
        "{failed:?}"
    );
    assert_eq!(target.files().len(), 1, "the next file waits");
    target
        .pull(&server, &[&more[..], &["false"]].concat())
        .expect_err("a command that fails");
    target
        .pull(&server, &[&more[..], &[&take]].concat())
        .expect("a pull");
    target
        .pull(&server, &[&more[..], &["false"]].concat())
        .expect("nothing to hand over");
    let handed = fs::read_to_string(&taken).expect("what was taken");
    let ids: Vec<_> = handed
        .lines()
        .map(|line| {
            let (count, path) = line.split_once(' ').expect("a count");
            assert_eq!(count, "100");
            name(Path::new(path)).split('-').nth(2).map(str::to_owned)
        })
        .collect();
    let ids: Vec<_> = ids.iter().flatten().map(String::as_str).collect();
    assert_eq!(ids, ["1", "1", "101", "201"]);
}

#[test]
fn a_folder_whose_state_is_damaged_or_gone_is_left_as_it_is() {
    let (server, target) = (Database::generated(50).serve(), Target::new());
    target.pull(&server, &[]).expect("a pull");
    let state = target.out().join("pull-state.json");
    let whole = fs::read(&state).expect("the state");
    let files = target.files();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&state, &whole[..cut]).expect("a write");
        let Err(Failure::Pull(error)) = target.pull(&server, &[]) else {
            panic!("a state of {cut} bytes is refused");
        };
        assert!(
            format!("{error:#}").contains("put a copy of it back"),
            "{error:#}"
        );
        assert_eq!(fs::read(&state).expect("the state"), &whole[..cut]);
    }
    fs::remove_file(&state).expect("a removal");
    let refused = target
        .pull(&server, &[])
        .expect_err("files without a state");
    assert!(
        refused.error().to_string().contains("no pull-state.json"),
        "{refused:?}"
    );
    assert_eq!(target.files(), files);
    fs::write(&state, &whole).expect("a write");
    target.pull(&server, &[]).expect("a pull");
    // One at a time.
    let lock = fs::File::create(target.out().join(".pull-lock")).expect("a lock file");
    lock.lock().expect("a lock");
    let refused = target.pull(&server, &[]).expect_err("a second pull");
    assert!(
        refused.error().to_string().contains("another pull"),
        "{refused:?}"
    );
}

#[test]
fn a_full_disk_is_an_error_and_the_next_pull_goes_on_once_there_is_room() {
    if !Need::Mounts
        .is_here("pull::a_full_disk_is_an_error_and_the_next_pull_goes_on_once_there_is_room")
    {
        return;
    }
    let mut tally = Tally::of("disk full under `flows pull`, then room made");
    let server = Database::generated(40_000).serve();
    // Ten thousand flows take some 1,600 KiB.
    for (kib, format) in [
        (64, "ndjson"),
        (1_000, "csv"),
        (2_000, "ndjson"),
        (4_000, "ndjson"),
        (600, "parquet"),
    ] {
        let target = Target::new();
        let disk = Disk::over(target.folder.path(), kib);
        let more = ["--max-rows", "10000", "--format", format];
        let full = target.pull(&server, &more).expect_err("a full disk");
        assert!(format!("{full:?}").contains("No space left"), "{full:?}");
        disk.resize(64 * 1024);
        target.pull(&server, &more).expect("a pull");
        if format != "parquet" {
            assert_eq!(target.ids(), stored(&server.database), "{kib} KiB");
        }
        let state = fs::read_to_string(target.out().join("pull-state.json")).expect("the state");
        assert_eq!(state.matches("first_id").count(), 4, "{state}");
        tally.saw("an error, then every flow");
    }
    tally.print();
}

#[test]
fn a_pull_killed_at_any_moment_goes_on_and_no_flow_is_lost_or_doubled() {
    let mut tally = Tally::of("`flows pull` killed (SIGKILL) at a random moment, beside a writer");
    let mut random = Random(11);
    let (mut killed, kills) = (0, short_or_long(20, 200));
    while killed < kills {
        let server = Database::generated(150_000).serve();
        let target = Target::new();
        let format = ["ndjson", "csv"][random.below(2)];
        let handed = target.folder.path().join("handed");
        let then = format!("echo {{}} >>'{}'", handed.display());
        let more = ["--max-rows", "15000", "--format", format, "--then", &then];
        let mut next_id = 150_001;
        for _ in 0..5 {
            let mut process = target.start(&server, &more);
            std::thread::sleep(Duration::from_millis(random.below(200) as u64));
            server.insert((0..10).map(|i| (next_id + i, i)));
            next_id += 10;
            process.kill().expect("a kill");
            let ended = process.wait().expect("an end").success();
            tally.saw(if ended { "it had ended" } else { "killed" });
            killed += usize::from(!ended);
            if ended {
                break;
            }
        }
        let edited = random.below(4) == 0;
        if edited {
            server.execute("UPDATE flows SET byte_count = 2 WHERE id = 1");
        }
        let last = target.pull(&server, &more);
        let begun = target.out().join("pull-state.json");
        let had_begun = fs::read_to_string(begun).is_ok_and(|state| state.contains("flows-"));
        match last {
            Ok(_) => {
                assert_eq!(target.ids(), stored(&server.database));
                // Each file was handed over, the one whose hand-over was killed perhaps twice.
                let handed = fs::read_to_string(&handed).expect("what was handed over");
                let mut names: Vec<_> = handed.lines().map(|path| name(Path::new(path))).collect();
                names.sort();
                names.dedup();
                assert_eq!(names, target.files().into_keys().collect::<Vec<_>>());
                tally.saw("every flow in one file");
            }
            Err(Failure::Replaced(_)) if edited && had_begun => tally.saw("410, and no file more"),
            Err(failure) => panic!("{failure:?}"),
        }
    }
    tally.print();
}
