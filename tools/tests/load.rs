//! `flows load` as a person runs it: every line of an input is in the database exactly once, whatever
//! happens on the way.
//!
//! Nothing here waits for a fixed time. A load that has to be caught at work reads from a pipe that the
//! test holds open, and is known to be at work once its rows can be seen. `FLOWS_KILLS` sets how often
//! the load of `a_load_killed_again_and_again_loses_and_repeats_nothing` is killed (10).

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use flows::generate;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// The first rows as published.
const PUBLISHED: &str = "\
1,0,C1065,389,C3799,N10451,6,10,5323
1,0,C1423,N1136,C1707,N1,6,5,847
1,0,C1423,N1142,C1707,N1,6,5,847
1,0,C14909,N8191,C5720,2049,6,1,52
1,0,C14909,N8192,C5720,2049,6,1,52
";

/// The columns but `id` of a table of somebody else's.
const FOREIGN_COLUMNS: &str = "time INTEGER NOT NULL, duration INTEGER NOT NULL, src_comp TEXT NOT NULL,
    src_port TEXT NOT NULL, dst_comp TEXT NOT NULL, dst_port TEXT NOT NULL, protocol INTEGER NOT NULL,
    packet_count INTEGER NOT NULL, byte_count INTEGER NOT NULL";

/// The window and the feed of arrivals as the service asks for them.
const WINDOW: &str =
    "SELECT * FROM flows WHERE (time, id) > (1, 2) AND time <= 9 ORDER BY time, id LIMIT 5";
const ARRIVALS: &str = "SELECT * FROM flows WHERE id > 1 ORDER BY id LIMIT 5";

/// How long a test waits for what must come; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with inputs, and one database in it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn db(&self) -> PathBuf {
        self.path("flows.db")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// `flows load ARGUMENTS --db <the database>`, run in the folder.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
        command
            .arg("load")
            .args(arguments)
            .arg("--db")
            .arg(self.db())
            .current_dir(self.folder.path());
        command
    }

    #[track_caller]
    fn load(&self, arguments: &[&str]) -> Answer {
        let output = self
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Answer {
            arguments: format!("{arguments:?}"),
            output,
        }
    }

    /// Loads `text` from standard input.
    #[track_caller]
    fn pipe(&self, text: impl AsRef<[u8]>, arguments: &[&str]) -> Answer {
        let mut load = self.start(arguments);
        let text = text.as_ref().to_vec();
        let mut stdin = load.stdin.take().unwrap();
        // The load may end early, with an error that is in its answer.
        let feed = thread::spawn(move || drop(stdin.write_all(&text)));
        let output = load.child.take().unwrap().wait_with_output().unwrap();
        feed.join().unwrap();
        Answer {
            arguments: format!("{arguments:?} < text"),
            output,
        }
    }

    /// Starts a load from a pipe that stays open.
    #[track_caller]
    fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(&[&["-"], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Running {
            child: Some(child),
            stdin,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.db()).unwrap()
    }

    /// Every row as one line: the id, then the nine columns as in a file.
    #[track_caller]
    fn rows(&self) -> Vec<String> {
        rows(&self.db())
    }

    /// The rows without their ids, as the text they came from.
    #[track_caller]
    fn text(&self) -> String {
        self.rows()
            .iter()
            .map(|row| format!("{}\n", row.split_once(',').unwrap().1))
            .collect()
    }

    /// Rows that can be read right now; none while there is no table.
    fn visible(&self) -> i64 {
        let reader = Connection::open_with_flags(self.db(), OpenFlags::SQLITE_OPEN_READ_ONLY);
        let count = |reader: Connection| {
            reader.query_row("SELECT count(*) FROM flows", [], |row| row.get(0))
        };
        reader.and_then(count).unwrap_or(0)
    }

    #[track_caller]
    fn wait_for_rows(&self, least: i64) {
        let started = Instant::now();
        while self.visible() < least {
            assert!(
                started.elapsed() < PATIENCE,
                "only {} of {least} rows can be seen",
                self.visible()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn assert_in_order(&self) {
        let database = self.connect();
        for query in [WINDOW, ARRIVALS] {
            let mut explain = database
                .prepare(&format!("EXPLAIN QUERY PLAN {query}"))
                .unwrap();
            let plan: Vec<String> = explain
                .query_map([], |row| row.get(3))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let good = plan
                .iter()
                .all(|step| step.starts_with("SEARCH") && !step.contains("TEMP B-TREE"));
            assert!(good && !plan.is_empty(), "{query}: {plan:?}");
        }
    }

    #[track_caller]
    fn indexes(&self) -> Vec<String> {
        let database = self.connect();
        let mut list = database
            .prepare("SELECT name FROM pragma_index_list('flows') ORDER BY 1")
            .unwrap();
        list.query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

#[track_caller]
fn rows(db: &Path) -> Vec<String> {
    let database = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let query = "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count, byte_count
        FROM flows ORDER BY id";
    let mut select = database.prepare(query).unwrap();
    let rows = select.query_map([], |row| {
        let shown = |column| match row.get_unwrap(column) {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        Ok((0..10).map(shown).collect::<Vec<_>>().join(","))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// What `text` must be in an empty database.
fn numbered(text: &str) -> Vec<String> {
    text.lines()
        .enumerate()
        .map(|(place, line)| format!("{},{line}", place + 1))
        .collect()
}

/// A load that is waiting for its standard input; killed if the test is through with it.
struct Running {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
}

impl Running {
    #[track_caller]
    fn feed(&mut self, text: impl AsRef<[u8]>) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_ref())
            .unwrap();
    }

    #[track_caller]
    fn finish(mut self) -> Answer {
        drop(self.stdin.take());
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        Answer {
            arguments: "-".to_owned(),
            output,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// How a load has ended.
struct Answer {
    arguments: String,
    output: Output,
}

impl Answer {
    fn shown(&self) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = &self.output;
        let (stdout, stderr) = (
            String::from_utf8_lossy(stdout),
            String::from_utf8_lossy(stderr),
        );
        format!(
            "load {}: {status}\nstdout: {stdout}\nstderr: {stderr}",
            self.arguments
        )
    }

    #[track_caller]
    fn succeeds_with(&self, parts: &[&str]) {
        let summary = String::from_utf8_lossy(&self.output.stdout);
        let complete = self.output.status.success() && self.output.stderr.is_empty();
        assert!(complete && summary.lines().count() == 1, "{}", self.shown());
        for part in parts {
            assert!(
                summary.contains(part),
                "{part:?} expected\n{}",
                self.shown()
            );
        }
    }

    #[track_caller]
    fn fails_with(&self, parts: &[&str]) {
        let message = String::from_utf8_lossy(&self.output.stderr);
        assert_eq!(self.output.status.code(), Some(1), "{}", self.shown());
        assert!(
            self.output.stdout.is_empty() && message.lines().count() == 1,
            "{}",
            self.shown()
        );
        for part in parts {
            assert!(
                message.contains(part),
                "{part:?} expected\n{}",
                self.shown()
            );
        }
    }
}

fn generated(rows: u64, seed: u64) -> String {
    let mut text = Vec::new();
    generate::generate(rows, seed, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

// What an input may look like.

#[test]
fn published_rows_get_the_number_of_their_line_as_id() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    place.load(&["flows.txt"]).succeeds_with(&[
        "5 rows",
        "0 rejects",
        "ids 1-5",
        "flows.db",
        "flows_time built",
    ]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
    assert_eq!(place.indexes(), ["flows_time"]);
    place.assert_in_order();
}

#[test]
fn numbers_are_stored_as_integers_and_ports_as_text() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let types = "SELECT group_concat(DISTINCT typeof(time) || typeof(src_port) || typeof(dst_port) || typeof(byte_count)) FROM flows";
    let types: String = place
        .connect()
        .query_row(types, [], |row| row.get(0))
        .unwrap();
    assert_eq!(types, "integertexttextinteger");
}

#[test]
fn the_database_is_where_spin_looks_unless_told_otherwise() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
    let output = command
        .args(["load", "flows.txt"])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    Answer {
        arguments: "flows.txt".to_owned(),
        output,
    }
    .succeeds_with(&[".spin/sqlite_db.db"]);
    assert_eq!(rows(&place.path(".spin/sqlite_db.db")), numbered(PUBLISHED));
}

#[test]
fn gzip_is_told_by_content_and_may_have_many_members() {
    let text = generated(30_000, 1);
    let middle = text.len() / 2 + 7;
    let members = [gzip(&text[..middle]), gzip(""), gzip(&text[middle..])].concat();
    for (name, content) in [
        ("one.csv", gzip(&text)),
        ("many.gz", members),
        ("plain.gz", text.clone().into_bytes()),
    ] {
        let place = Place::new();
        place.write(name, &content);
        place.load(&[name]).succeeds_with(&["30000 rows"]);
        assert!(place.rows() == numbered(&text), "{name} as a file");
        let place = Place::new();
        place.pipe(&content, &[]).succeeds_with(&["30000 rows"]);
        assert!(place.rows() == numbered(&text), "{name} as a stream");
    }
}

#[test]
fn line_ends_may_be_crlf_and_the_last_one_may_be_missing() {
    for text in [
        PUBLISHED.replace('\n', "\r\n"),
        PUBLISHED.trim_end().to_owned(),
        PUBLISHED.trim_end().replace('\n', "\r\n"),
    ] {
        let place = Place::new();
        place.pipe(&text, &[]).succeeds_with(&["5 rows"]);
        assert_eq!(place.rows(), numbered(PUBLISHED), "{text:?}");
    }
}

#[test]
fn an_empty_input_holds_no_rows() {
    let place = Place::new();
    place.write("empty", "");
    place.write("empty.gz", gzip(""));
    place
        .load(&["empty", "empty.gz"])
        .succeeds_with(&["0 rows"]);
    place.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    place
        .load(&["empty", "empty.gz"])
        .succeeds_with(&["0 rows"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn several_files_are_loaded_one_after_the_other_and_ids_go_on() {
    let place = Place::new();
    let (one, two, three) = (generated(1_000, 1), generated(2_000, 2), generated(500, 3));
    place.write("one", &one);
    place.write("two", &two);
    place.write("three", gzip(&three));
    place
        .load(&["one", "two"])
        .succeeds_with(&["3000 rows", "ids 1-3000", "flows_time built"]);
    let more = place.load(&["three"]);
    more.succeeds_with(&["500 rows", "ids 3001-3500"]);
    assert!(!more.shown().contains("built"), "{}", more.shown());
    assert!(place.rows() == numbered(&[one, two, three].concat()));
}

// Bad lines.

#[test]
fn a_bad_line_stops_the_load_and_the_rows_before_it_stay() {
    let cases: [(&[u8], &str); 11] = [
        (b"", "the line is empty"),
        (b"6,0,C1,1,C2,2,6,1", "expected 9 fields, found 8"),
        (b"6,0,C1,1,C2,2,6,1,52,", "expected 9 fields, found 10"),
        (b"x,0,C1,1,C2,2,6,1,52", "time is not an integer: \"x\""),
        (
            b"6,0.5,C1,1,C2,2,6,1,52",
            "duration is not an integer: \"0.5\"",
        ),
        (
            b"6,0,C1,1,C2,2,tcp,1,52",
            "protocol is not an integer: \"tcp\"",
        ),
        (
            b"6,0,C1,1,C2,2,6,1e3,52",
            "packet_count is not an integer: \"1e3\"",
        ),
        (
            b"6,0,C1,1,C2,2,6,1,9223372036854775808",
            "byte_count does not fit into 64 bits: \"9223372036854775808\"",
        ),
        (b"6,0,,1,C2,2,6,1,52", "src_comp is empty"),
        (b"6,0,C1,1,C2,,6,1,52", "dst_port is empty"),
        (b"6,0,C\xff1,1,C2,2,6,1,52", "not UTF-8 at byte 6"),
    ];
    for (bad, reason) in cases {
        let place = Place::new();
        place.write(
            "flows.txt",
            [PUBLISHED.as_bytes(), bad, b"\n", PUBLISHED.as_bytes()].concat(),
        );
        place
            .load(&["flows.txt"])
            .fails_with(&["flows.txt:6: ", reason]);
        assert_eq!(place.rows(), numbered(PUBLISHED), "{reason}");
    }
}

#[test]
fn a_bad_first_or_last_line_stops_the_load_too() {
    let place = Place::new();
    place
        .pipe(format!("time,duration\n{PUBLISHED}"), &[])
        .fails_with(&["standard input:1: expected 9 fields, found 2"]);
    assert_eq!(place.rows(), Vec::<String>::new());
    place
        .pipe(format!("{PUBLISHED}1,0,C1"), &[])
        .fails_with(&["standard input:6: expected 9 fields, found 3"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn a_load_goes_on_at_the_bad_line_once_it_is_mended() {
    let place = Place::new();
    let text = generated(20_000, 1);
    let bad = text.replacen("\n150,", "\n15O,", 1);
    assert_ne!(bad, text);
    place.write("flows.txt", &bad);
    place
        .load(&["flows.txt"])
        .fails_with(&["time is not an integer: \"15O\""]);
    let loaded = place.rows().len();
    place.write("flows.txt", &text);
    place
        .load(&["flows.txt"])
        .succeeds_with(&[&format!("{loaded} lines had been loaded before")]);
    assert!(
        loaded > 10_000 && place.rows() == numbered(&text),
        "{loaded}"
    );
}

#[test]
fn rejects_take_the_bad_lines_as_they_are_and_the_load_goes_on() {
    let place = Place::new();
    let long = "x".repeat(3_000_000);
    let bad: [&[u8]; 5] = [
        b"\n",
        b"1,2,3\r\n",
        b"\xff\xfe\n",
        long.as_bytes(),
        b"no end",
    ];
    let mut text = Vec::new();
    for (line, bad) in PUBLISHED.lines().zip(bad) {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(bad);
        text.extend_from_slice(if bad == long.as_bytes() { b"\n" } else { b"" });
    }
    place.write("flows.txt", &text);
    place.write("bad.txt", "kept\n");
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "5 rejects", "ids 1-5"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
    let expected = [
        b"kept\n\n1,2,3\r\n\xff\xfe\n",
        long.as_bytes(),
        b"\nno end\n",
    ]
    .concat();
    assert!(fs::read(place.path("bad.txt")).unwrap() == expected);
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["0 rows", "0 rejects", "10 lines"]);
    assert!(fs::read(place.path("bad.txt")).unwrap() == expected);
}

#[test]
fn an_input_without_line_ends_is_one_bad_line() {
    let place = Place::new();
    let text = vec![b'7'; 5_000_000];
    place
        .pipe(&text, &[])
        .fails_with(&["standard input:1: the line is longer than 1048576 bytes"]);
    place
        .pipe(&text, &["--rejects", "bad.txt"])
        .succeeds_with(&["0 rows", "1 rejects"]);
    assert!(fs::read(place.path("bad.txt")).unwrap() == [text, b"\n".to_vec()].concat());
}

#[test]
fn the_longest_line_is_still_a_line() {
    let place = Place::new();
    let rest = ",1,C2,2,6,1,52";
    let line = format!("1,0,{}{rest}", "C".repeat(1024 * 1024 - 4 - rest.len()));
    place
        .pipe(format!("{line}\r\n{PUBLISHED}"), &[])
        .succeeds_with(&["6 rows"]);
    place
        .pipe(format!("C{line}\n"), &[])
        .fails_with(&["standard input:1: the line is longer"]);
    assert!(place.text() == format!("{line}\n{PUBLISHED}"));
}

#[test]
fn the_rejects_file_cannot_be_the_input() {
    let place = Place::new();
    place.write("flows.txt", "bad\n");
    place
        .load(&["flows.txt", "--rejects", "./flows.txt"])
        .fails_with(&["./flows.txt", "part of the load"]);
    assert_eq!(fs::read(place.path("flows.txt")).unwrap(), b"bad\n");
}

// Damaged gzip.

#[test]
fn a_gzip_file_that_is_cut_short_is_refused_before_a_row_is_loaded() {
    let place = Place::new();
    let whole = gzip(generated(20_000, 1));
    for length in [whole.len() - 1, whole.len() - 8, whole.len() / 2, 5] {
        place.write("flows.gz", &whole[..length]);
        place
            .load(&["flows.gz"])
            .fails_with(&["flows.gz:", "cut short", "uncompressed bytes"]);
        assert_eq!(place.rows().len(), 0, "cut to {length}");
    }
}

#[test]
fn a_damaged_gzip_file_is_refused_before_a_row_is_loaded() {
    let text = generated(20_000, 1);
    let whole = gzip(&text);
    // In the first block, in the middle, in the checksum, in the length.
    for position in [100, whole.len() / 2, whole.len() - 7, whole.len() - 3] {
        let place = Place::new();
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        place.write("flows.gz", &damaged);
        place
            .load(&["flows.gz"])
            .fails_with(&["flows.gz:", "damaged", "uncompressed bytes"]);
        assert_eq!(place.rows().len(), 0, "damaged at {position}");
    }
}

#[test]
fn a_gzip_stream_that_is_cut_short_gives_its_complete_lines_and_goes_on_later() {
    let place = Place::new();
    let text = generated(60_000, 1);
    let whole = gzip(&text);
    place.pipe(&whole[..whole.len() / 2], &[]).fails_with(&[
        "standard input:",
        "after",
        "uncompressed bytes",
    ]);
    let rows = place.rows();
    assert!(
        !rows.is_empty() && rows == numbered(&text)[..rows.len()],
        "{} rows",
        rows.len()
    );
    place
        .pipe(&whole, &[])
        .succeeds_with(&[&format!("{} lines had been loaded before", rows.len())]);
    assert!(place.rows() == numbered(&text));
}

// An input is its content.

#[test]
fn a_file_loaded_again_under_any_name_adds_nothing() {
    let place = Place::new();
    let text = generated(20_000, 1);
    place.write("flows.txt", &text);
    place.write("other.gz", gzip(&text));
    place
        .load(&["flows.txt", "flows.txt"])
        .succeeds_with(&["20000 rows", "20000 lines had been loaded before"]);
    place
        .load(&["flows.txt"])
        .succeeds_with(&["0 rows", "20000 lines had been loaded before"]);
    place
        .load(&["other.gz"])
        .succeeds_with(&["0 rows", "20000 lines had been loaded before"]);
    place
        .pipe(&text, &[])
        .succeeds_with(&["0 rows", "20000 lines had been loaded before"]);
    assert!(place.rows() == numbered(&text));
}

#[test]
fn another_file_under_the_same_name_is_loaded() {
    let place = Place::new();
    let first = generated(5_000, 1);
    // It differs early, late, in its last byte, or is a longer one that differs.
    let last = format!("{}9\n", &first[..first.len() - 2]);
    let late = first.replacen("\n45,", "\n45,1", 1);
    let others = [generated(3_000, 2), last, late, generated(9_000, 3)];
    let mut expected = first.clone();
    place.write("flows.txt", &first);
    place.load(&["flows.txt"]).succeeds_with(&["5000 rows"]);
    for other in others {
        assert_ne!(other, first);
        place.write("flows.txt", &other);
        expected.push_str(&other);
        place
            .load(&["flows.txt"])
            .succeeds_with(&[&format!("{} rows", other.lines().count())]);
        assert!(place.rows() == numbered(&expected));
    }
}

#[test]
fn a_grown_file_gets_its_new_lines_loaded() {
    let place = Place::new();
    let text = generated(30_000, 1);
    let mut loaded = 0;
    for share in [10, 2_000, 2_001, 30_000] {
        let grown: String = text.split_inclusive('\n').take(share).collect();
        place.write("flows.gz", gzip(&grown));
        place
            .load(&["flows.gz"])
            .succeeds_with(&[&format!("{} rows", share - loaded), &format!("-{share},")]);
        assert!(place.rows() == numbered(&grown), "{share}");
        loaded = share;
    }
}

#[test]
fn a_grown_file_has_its_old_rejects_written_once() {
    let place = Place::new();
    place.write("flows.txt", format!("{PUBLISHED}bad 1\n"));
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects"]);
    place.write("flows.txt", format!("{PUBLISHED}bad 1\nbad 2\n{PUBLISHED}"));
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects", "ids 6-10"]);
    assert_eq!(
        fs::read_to_string(place.path("bad.txt")).unwrap(),
        "bad 1\nbad 2\n"
    );
}

#[test]
fn a_last_line_without_end_may_get_its_end_later_but_no_more_text() {
    let open = PUBLISHED.trim_end();
    for end in ["\n", "\r\n"] {
        let place = Place::new();
        place.write("flows.txt", open);
        place.load(&["flows.txt"]).succeeds_with(&["5 rows"]);
        place.write("flows.txt", format!("{open}{end}"));
        place
            .load(&["flows.txt"])
            .succeeds_with(&["0 rows", "5 lines"]);
        place.write("flows.txt", format!("{open}{end}{open}"));
        place
            .load(&["flows.txt"])
            .succeeds_with(&["5 rows", "ids 6-10", "5 lines"]);
        assert_eq!(place.rows(), numbered(&PUBLISHED.repeat(2)));
    }
    let place = Place::new();
    place.pipe(open, &[]).succeeds_with(&["5 rows"]);
    for more in ["0\n", "0", &format!("0\n{PUBLISHED}")] {
        place
            .pipe(format!("{open}{more}"), &[])
            .fails_with(&["standard input:5:", "now goes on"]);
        place
            .pipe(format!("{open}{more}"), &["--rejects", "bad.txt"])
            .fails_with(&["standard input:5:", "now goes on"]);
    }
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn a_copy_that_was_cut_short_is_not_taken_for_new() {
    let place = Place::new();
    let text = generated(20_000, 1);
    place.write("flows.txt", &text);
    place.load(&["flows.txt"]).succeeds_with(&["20000 rows"]);
    for length in [1, 1_000, text.len() / 2, text.len() - 1] {
        place.write("copy.txt", &text[..length]);
        place
            .load(&["copy.txt"])
            .fails_with(&["copy.txt ends after", "cut short"]);
        place
            .pipe(&text[..length], &[])
            .fails_with(&["standard input ends after", "cut short"]);
    }
    assert!(place.rows() == numbered(&text));
}

#[test]
fn each_of_several_inputs_that_begin_alike_goes_on_where_it_was() {
    let place = Place::new();
    let common = generated(5_000, 1);
    let inputs = [2, 3, 4].map(|seed| format!("{common}{}", generated(1_000 * seed, seed)));
    let tails = [5, 6, 7].map(|seed| generated(100, seed));
    for (input, name) in inputs.iter().zip(["a", "b", "c"]) {
        place.write(name, input);
        place
            .load(&[name])
            .succeeds_with(&[&format!("{} rows", input.lines().count())]);
    }
    for place_in_order in [1, 2, 0] {
        place.write(
            "grown",
            format!("{}{}", inputs[place_in_order], tails[place_in_order]),
        );
        let known = inputs[place_in_order].lines().count();
        place
            .load(&["grown"])
            .succeeds_with(&["100 rows", &format!("{known} lines had been loaded before")]);
    }
    let order = [1, 2, 0].map(|input| tails[input].clone()).concat();
    assert!(place.rows() == numbered(&(inputs.concat() + &order)));
}

#[test]
fn a_stream_goes_on_where_it_was_or_says_that_it_cannot_tell() {
    let place = Place::new();
    let text = generated(20_000, 1);
    let half: String = text.split_inclusive('\n').take(10_000).collect();
    place.pipe(&half, &[]).succeeds_with(&["10000 rows"]);
    place
        .pipe(&text, &[])
        .succeeds_with(&["10000 rows", "10000 lines had been loaded before"]);
    assert!(place.rows() == numbered(&text));
    let differs = text.replacen("\n150,", "\n150,1", 1);
    assert_ne!(differs, text);
    place
        .pipe(&differs, &[])
        .fails_with(&["standard input begins like", "load it from a file"]);
    assert!(place.rows() == numbered(&text));
    place.write("differs", &differs);
    place.load(&["differs"]).succeeds_with(&["20000 rows"]);
    let early = text.replacen("\n2,", "\n2,1", 1);
    place.pipe(&early, &[]).succeeds_with(&["20000 rows"]);
    assert!(place.rows() == numbered(&[text, differs, early].concat()));
}

// Interruptions and neighbours.

#[test]
fn rows_can_be_read_while_the_load_goes_on() {
    let place = Place::new();
    let mut load = place.start(&[]);
    load.feed(PUBLISHED);
    place.wait_for_rows(5);
    load.feed(PUBLISHED);
    place.wait_for_rows(10);
    load.finish().succeeds_with(&["10 rows"]);
}

#[test]
fn a_reader_keeps_its_snapshot_and_does_not_stop_the_load() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    let reader = place.connect();
    reader.execute_batch("BEGIN").unwrap();
    let count = || {
        reader
            .query_row("SELECT count(*) FROM flows", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(count(), 5);
    place
        .pipe(generated(20_000, 1), &[])
        .succeeds_with(&["20000 rows"]);
    assert_eq!((count(), place.visible()), (5, 20_005));
}

#[test]
fn a_second_load_into_the_same_database_is_refused() {
    let place = Place::new();
    place.write("flows.txt", generated(1_000, 1));
    let mut first = place.start(&[]);
    first.feed(PUBLISHED);
    place.wait_for_rows(5);
    place
        .load(&["flows.txt"])
        .fails_with(&["another load is writing to", "flows.db"]);
    first.finish().succeeds_with(&["5 rows", "ids 1-5"]);
    place
        .load(&["flows.txt"])
        .succeeds_with(&["1000 rows", "ids 6-1005"]);
}

#[test]
fn rows_that_somebody_else_inserts_meanwhile_keep_their_ids() {
    let place = Place::new();
    let mut load = place.start(&[]);
    load.feed(PUBLISHED);
    place.wait_for_rows(5);
    let foreign = "INSERT INTO flows VALUES (100, 7, 0, 'C1', '1', 'C2', '2', 6, 1, 52)";
    place.connect().execute(foreign, []).unwrap();
    load.feed(PUBLISHED);
    load.finish().succeeds_with(&["10 rows"]);
    let ids: Vec<String> = place
        .rows()
        .iter()
        .map(|row| row.split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(ids.join(" "), "1 2 3 4 5 100 101 102 103 104 105");
}

#[test]
fn a_load_killed_halfway_goes_on_where_it_stopped() {
    let place = Place::new();
    let text = generated(20_000, 1);
    let half = text.len() / 2;
    let mut load = place.start(&[]);
    load.feed(&text[..half]);
    place.wait_for_rows(text[..half].matches('\n').count() as i64);
    drop(load);
    let loaded = place.rows().len();
    assert!((1..20_000).contains(&loaded), "{loaded}");
    place.write("flows.gz", gzip(&text));
    place.load(&["flows.gz"]).succeeds_with(&[
        &format!("{loaded} lines had been loaded before"),
        "flows_time built",
    ]);
    assert!(place.rows() == numbered(&text));
    place.assert_in_order();
}

/// Half of the kills hit a load from a pipe, which cannot be through by then; the others hit a load of
/// the file somewhere between its start and, if the machine is quick, its end. A database that is
/// complete is compared, and the next kill begins with an empty one.
#[test]
fn a_load_killed_again_and_again_loses_and_repeats_nothing() {
    let kills = std::env::var("FLOWS_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let input = Victim::new();
    let mut random = Random(kills);
    let mut place = input.place();
    for kill in 0..kills {
        let before = place.visible();
        let pause = Duration::from_micros(random.below(150_000));
        if kill % 2 == 0 {
            let length = random.below(input.text.len() as u64) as usize;
            kill_load_from_pipe(&place, &input.text[..length], pause);
        } else {
            kill_load_of_file(&place, pause);
        }
        assert!(place.visible() >= before, "kill {kill} took rows away");
        if place.visible() == input.rows.len() as i64 {
            input.assert_complete(&place);
            place = input.place();
        }
    }
    input.assert_complete(&place);
}

#[track_caller]
fn kill_load_from_pipe(place: &Place, text: &str, pause: Duration) {
    let mut load = place.start(&["--rejects", "bad.txt"]);
    let mut stdin = load.stdin.take().unwrap();
    let text = text.to_owned();
    let feed = thread::spawn(move || {
        // Broken off by the kill; the pipe stays open until then.
        let _ = stdin.write_all(text.as_bytes());
        stdin
    });
    thread::sleep(pause);
    let ended = load.child.as_mut().unwrap().try_wait().unwrap();
    assert!(
        ended.is_none(),
        "a load from an open pipe has ended: {ended:?}"
    );
    drop(load);
    drop(feed.join().unwrap());
}

#[track_caller]
fn kill_load_of_file(place: &Place, pause: Duration) {
    let mut command = place.command(&["flows.gz", "--rejects", "bad.txt"]);
    let mut load = command.stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(pause);
    load.kill().unwrap();
    load.wait().unwrap();
}

/// An input with bad lines in it, and what becomes of it.
struct Victim {
    text: String,
    rows: Vec<String>,
    rejects: String,
}

impl Victim {
    fn new() -> Self {
        let mut victim = Self {
            text: String::new(),
            rows: Vec::new(),
            rejects: String::new(),
        };
        for (number, line) in (1..).zip(generated(300_000, 9).lines()) {
            victim.text.push_str(&format!("{line}\n"));
            victim.rows.push(format!("{number},{line}"));
            if number % 53 == 0 {
                victim.text.push_str(&format!("bad {number}\n"));
                victim.rejects.push_str(&format!("bad {number}\n"));
            }
        }
        victim
    }

    /// The input beside an empty database.
    fn place(&self) -> Place {
        let place = Place::new();
        place.write("flows.gz", gzip(&self.text));
        place
    }

    /// Loads the rest, and compares.
    #[track_caller]
    fn assert_complete(&self, place: &Place) {
        place
            .load(&["flows.gz", "--rejects", "bad.txt"])
            .succeeds_with(&[]);
        let rows = place.rows();
        let differs = rows
            .iter()
            .zip(&self.rows)
            .find(|(found, expected)| found != expected);
        assert!(
            rows == self.rows,
            "{} rows of {}, differs: {differs:?}",
            rows.len(),
            self.rows.len()
        );
        let rejects = fs::read_to_string(place.path("bad.txt")).unwrap();
        assert!(
            rejects == self.rejects,
            "{} bytes of rejects, not {}",
            rejects.len(),
            self.rejects.len()
        );
        place.assert_in_order();
    }
}

/// Numbers for the kills: another sequence for another count of them.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The first half fills every buffer and the database's cache.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_the_same_however_much_is_loaded() {
    let place = Place::new();
    let mut load = place.start(&[]);
    let peaks = [1, 2].map(|half| {
        load.feed(generated(1_600_000, half));
        place.wait_for_rows(1_600_000 * half as i64);
        let status = fs::read_to_string(format!(
            "/proc/{}/status",
            load.child.as_ref().unwrap().id()
        ))
        .unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    });
    assert!(peaks[1] < peaks[0] + 16_000, "{peaks:?} kB");
    load.finish().succeeds_with(&["3200000 rows"]);
}

#[test]
fn a_reader_of_the_summary_that_goes_away_is_no_failure() {
    let place = Place::new();
    let mut load = place.start(&[]);
    drop(load.child.as_mut().unwrap().stdout.take());
    load.feed(PUBLISHED);
    let output = load.finish().output;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

// Databases from elsewhere.

#[test]
fn preparing_needs_a_database_with_the_table() {
    let place = Place::new();
    place.load(&[]).fails_with(&["no database at", "flows.db"]);
    assert!(!place.db().exists());
    place
        .connect()
        .execute_batch("CREATE TABLE other (id)")
        .unwrap();
    place
        .load(&[])
        .fails_with(&["flows.db", "there is no table flows"]);
    place
        .connect()
        .execute_batch("CREATE TABLE flows (id INTEGER PRIMARY KEY, time, duration)")
        .unwrap();
    place
        .load(&[])
        .fails_with(&["flows.db", "table flows has no column src_comp"]);
    place.write(
        "flows.db",
        "this is no database, though as long as the head of one would be: ".repeat(9),
    );
    place.load(&[]).fails_with(&["flows.db", "not a database"]);
}

#[test]
fn preparing_adds_what_is_missing_and_changes_no_row() {
    let id_tables = [
        ("id INTEGER PRIMARY KEY", ")", vec!["flows_time"]),
        (
            "id INTEGER PRIMARY KEY",
            ") WITHOUT ROWID",
            vec!["flows_time"],
        ),
        (
            "id INTEGER NOT NULL",
            ", PRIMARY KEY (time, id)) WITHOUT ROWID",
            vec!["flows_id"],
        ),
        (
            "id INTEGER NOT NULL",
            ")",
            vec!["flows_id", "flows_time_id"],
        ),
        ("id INT PRIMARY KEY", ")", vec!["flows_time_id"]),
        (
            "id INTEGER NOT NULL UNIQUE",
            ", PRIMARY KEY (src_comp, id)) WITHOUT ROWID",
            vec!["flows_time_id"],
        ),
        (
            "id INTEGER NOT NULL",
            ", PRIMARY KEY (id, src_comp)) WITHOUT ROWID",
            vec!["flows_time"],
        ),
    ];
    for (id, end, missing) in id_tables {
        let place = Place::new();
        let table = format!("CREATE TABLE flows ({id}, {FOREIGN_COLUMNS}{end}");
        place.connect().execute_batch(&table).unwrap();
        let insert = "INSERT INTO flows VALUES (7, 3, 0, 'C1', '1', 'C2', '2', 6, 1, 52), (9, 1, 0, 'C1', '1', 'C2', '2', 6, 1, 'x')";
        place.connect().execute_batch(insert).unwrap();
        let before = place.rows();
        place.load(&[]).succeeds_with(&["0 rows"]);
        let mut built = place.indexes();
        built.retain(|name| name.starts_with("flows_"));
        assert_eq!(built, missing, "{table}");
        assert_eq!(place.rows(), before, "{table}");
        place.assert_in_order();
        place.load(&[]).succeeds_with(&["0 rows"]);
        place
            .pipe(PUBLISHED, &[])
            .succeeds_with(&["5 rows", "ids 10-14"]);
        place.assert_in_order();
    }
}

#[test]
fn an_index_of_the_same_name_on_something_else_does_not_mislead() {
    let place = Place::new();
    let table = format!("CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS})");
    place
        .connect()
        .execute_batch(&format!(
            "{table}; CREATE INDEX flows_time ON flows (duration)"
        ))
        .unwrap();
    place
        .load(&[])
        .succeeds_with(&["index flows_time_id built"]);
    place.assert_in_order();
}

#[test]
fn ids_that_are_not_unique_are_refused() {
    let place = Place::new();
    let row = "INSERT INTO flows VALUES (7, 3, 0, 'C1', '1', 'C2', '2', 6, 1, 52);";
    place
        .connect()
        .execute_batch(&format!(
            "CREATE TABLE flows (id INTEGER, {FOREIGN_COLUMNS}); {row}{row}"
        ))
        .unwrap();
    place
        .load(&[])
        .fails_with(&["flows.db", "cannot build the index on id", "UNIQUE"]);
    assert_eq!(place.rows().len(), 2);
}

#[test]
fn ids_end_where_64_bits_end() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    place
        .connect()
        .execute("UPDATE flows SET id = ?1 WHERE id = 5", [i64::MAX - 1])
        .unwrap();
    place
        .pipe(generated(10, 1), &[])
        .fails_with(&["not enough ids"]);
    assert_eq!(place.rows().len(), 5);
}

// What a system can refuse.

#[test]
fn a_missing_file_or_a_directory_is_named_and_no_database_made() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    place
        .load(&["flows.txt", "missing.txt"])
        .fails_with(&["cannot open missing.txt", "No such file"]);
    place
        .load(&["."])
        .fails_with(&["cannot load .: it is a directory"]);
    assert!(!place.db().exists());
}

#[test]
fn a_database_that_cannot_be_made_is_named() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    for db in ["flows.txt/x.db", "folder"] {
        let _ = fs::create_dir(place.path("folder"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
        let output = command
            .args(["load", "flows.txt", "--db", db])
            .current_dir(place.folder.path())
            .output()
            .unwrap();
        Answer {
            arguments: db.to_owned(),
            output,
        }
        .fails_with(&[db.split('/').next().unwrap()]);
    }
}

/// A write version in the file's head that SQLite does not know makes a database read-only for everybody,
/// the superuser included.
#[test]
fn a_read_only_database_is_named() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let mut database = fs::read(place.db()).unwrap();
    database[18] = 9;
    fs::write(place.db(), database).unwrap();
    place
        .pipe(generated(10, 1), &[])
        .fails_with(&["database", "flows.db", "readonly"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

/// The shell limits the size of files in place of a disk that is full.
#[cfg(unix)]
#[test]
fn a_load_that_has_run_out_of_room_goes_on_once_there_is_room() {
    let place = Place::new();
    let text = generated(200_000, 1);
    place.write("flows.txt", &text);
    let script = format!(
        "trap '' XFSZ; ulimit -f 6000; exec {} load flows.txt --db flows.db",
        env!("CARGO_BIN_EXE_flows")
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    Answer {
        arguments: script,
        output,
    }
    .fails_with(&["database flows.db"]);
    place.load(&["flows.txt"]).succeeds_with(&[]);
    assert!(place.rows() == numbered(&text));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_rejects_is_named_and_their_lines_are_not_taken_as_done() {
    let place = Place::new();
    let text = format!("{PUBLISHED}bad\n");
    place
        .pipe(&text, &["--rejects", "/dev/full"])
        .fails_with(&["/dev/full", "No space left"]);
    place
        .pipe(&text, &["--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects"]);
    assert_eq!(fs::read_to_string(place.path("bad.txt")).unwrap(), "bad\n");
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn the_library_loads_what_it_generates() {
    let place = Place::new();
    let file = place.write("flows.txt", generated(1_000, 1));
    let request = flows::load::Load {
        files: vec![file.clone()],
        db: place.db(),
        rejects: None,
        replace: false,
    };
    let summary = flows::load::load(&request).unwrap();
    assert_eq!(
        (summary.rows, summary.ids),
        (1_000, Some((1, 1_000))),
        "{summary}"
    );
    let mut text = String::new();
    fs::File::open(file)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(place.rows() == numbered(&text));
}

#[test]
fn a_load_that_replaces_starts_anew_and_knows_nothing_of_what_was_there() {
    let place = Place::new();
    let load = |file: &Path, replace| {
        let request = flows::load::Load {
            files: vec![file.to_owned()],
            db: place.db(),
            rejects: None,
            replace,
        };
        flows::load::load(&request).unwrap()
    };
    let sample = place.write("sample.txt", generated(1_000, 1));
    let own = place.write("own.txt", generated(10, 2));
    load(&sample, false);
    let replaced = load(&own, true);
    assert_eq!(replaced.ids, Some((1, 10)), "{replaced}");
    assert_eq!(place.rows().len(), 10);
    // The sample is no longer known, so it is loaded and not taken for what is there.
    let again = load(&sample, false);
    assert_eq!(again.ids, Some((11, 1_010)), "{again}");
}
