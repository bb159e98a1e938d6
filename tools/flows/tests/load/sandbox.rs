//! A folder with inputs and a database, in which `flows load` runs.

use std::fs;
use std::io::Write;
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
pub(crate) const PUBLISHED: &str = "\
1,0,C1065,389,C3799,N10451,6,10,5323
1,0,C1423,N1136,C1707,N1,6,5,847
1,0,C1423,N1142,C1707,N1,6,5,847
1,0,C14909,N8191,C5720,2049,6,1,52
1,0,C14909,N8192,C5720,2049,6,1,52
";

/// The service's queries for a window and for the feed of arrivals.
const WINDOW: &str =
    "SELECT * FROM flows WHERE (time, id) > (1, 2) AND time <= 9 ORDER BY time, id LIMIT 5";
const ARRIVALS: &str = "SELECT * FROM flows WHERE id > 1 ORDER BY id LIMIT 5";

/// Longest wait for an event; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with inputs, and one database in it.
pub(crate) struct Sandbox {
    pub(crate) folder: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path("flows.db")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// `flows load ARGUMENTS --db <the database>`, run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
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
    pub(crate) fn load(&self, arguments: &[&str]) -> FinishedLoad {
        let output = self
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        FinishedLoad {
            arguments: format!("{arguments:?}"),
            output,
        }
    }

    /// Loads `text` from standard input.
    #[track_caller]
    pub(crate) fn pipe(&self, text: impl AsRef<[u8]>, arguments: &[&str]) -> FinishedLoad {
        let mut load = self.start(arguments);
        let text = text.as_ref().to_vec();
        let mut stdin = load.stdin.take().unwrap();
        // The load may end early, with an error in its output.
        let feed = thread::spawn(move || drop(stdin.write_all(&text)));
        let output = load.child.take().unwrap().wait_with_output().unwrap();
        feed.join().unwrap();
        FinishedLoad {
            arguments: format!("{arguments:?} < text"),
            output,
        }
    }

    /// Starts a load from a pipe that stays open.
    #[track_caller]
    pub(crate) fn start(&self, arguments: &[&str]) -> RunningLoad {
        let mut child = self
            .command(&[&["-"], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        RunningLoad {
            child: Some(child),
            stdin,
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.db()).unwrap()
    }

    /// Every row as one line: the id, then the nine columns as in a file.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<String> {
        rows(&self.db())
    }

    /// The rows without their ids: the text that they were loaded from.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        self.rows()
            .iter()
            .map(|row| format!("{}\n", row.split_once(',').unwrap().1))
            .collect()
    }

    /// The number of rows that a reader sees now; 0 while there is no table.
    pub(crate) fn visible(&self) -> i64 {
        let reader = Connection::open_with_flags(self.db(), OpenFlags::SQLITE_OPEN_READ_ONLY);
        let count = |reader: Connection| {
            reader.query_row("SELECT count(*) FROM flows", [], |row| row.get(0))
        };
        reader.and_then(count).unwrap_or(0)
    }

    #[track_caller]
    pub(crate) fn wait_for_rows(&self, least: i64) {
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
    pub(crate) fn assert_in_order(&self) {
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
    pub(crate) fn indexes(&self) -> Vec<String> {
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
pub(crate) fn rows(db: &Path) -> Vec<String> {
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

/// The rows that `text` gives in an empty database.
pub(crate) fn numbered(text: &str) -> Vec<String> {
    text.lines()
        .enumerate()
        .map(|(index, line)| format!("{},{line}", index + 1))
        .collect()
}

/// A load that waits for standard input. Dropping kills it.
pub(crate) struct RunningLoad {
    pub(crate) child: Option<Child>,
    pub(crate) stdin: Option<ChildStdin>,
}

impl RunningLoad {
    #[track_caller]
    pub(crate) fn feed(&mut self, text: impl AsRef<[u8]>) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_ref())
            .unwrap();
    }

    #[track_caller]
    pub(crate) fn finish(mut self) -> FinishedLoad {
        drop(self.stdin.take());
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        FinishedLoad {
            arguments: "-".to_owned(),
            output,
        }
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A load that has ended: its arguments and its output.
pub(crate) struct FinishedLoad {
    pub(crate) arguments: String,
    pub(crate) output: Output,
}

impl FinishedLoad {
    pub(crate) fn shown(&self) -> String {
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
    pub(crate) fn succeeds_with(&self, parts: &[&str]) {
        assert!(self.output.stderr.is_empty(), "{}", self.shown());
        self.has_summary(parts);
    }

    /// Asserts success with one warning that lines are skipped; the warning contains `words`.
    #[track_caller]
    pub(crate) fn skips_with(&self, parts: &[&str], words: &[&str]) {
        let warning = String::from_utf8_lossy(&self.output.stderr);
        assert_eq!(warning.lines().count(), 1, "{}", self.shown());
        for word in [&["warning: ", "are skipped", "--again"], words].concat() {
            assert!(
                warning.contains(word),
                "{word:?} expected\n{}",
                self.shown()
            );
        }
        self.has_summary(parts);
    }

    /// Asserts success with a one-line summary that contains `parts`.
    #[track_caller]
    pub(crate) fn has_summary(&self, parts: &[&str]) {
        let summary = String::from_utf8_lossy(&self.output.stdout);
        let complete = self.output.status.success();
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
    pub(crate) fn fails_with(&self, parts: &[&str]) {
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

pub(crate) fn generated(rows: u64, seed: u64) -> String {
    let mut text = Vec::new();
    generate::generate(rows, seed, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

pub(crate) fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}
