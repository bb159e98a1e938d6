//! The baseline answers with the component's bodies byte for byte: otherwise their times could not be compared.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flows::generate::generate;
use flows::load::{Load, load};
use rusqlite::Connection;
use tempfile::TempDir;
use test_host::sqlite::Database;
use test_host::{App, Server, Settings};

/// Enough for bodies of several pages and chunks.
const ROWS: u64 = 5_000;

/// One more second with values that need escapes: generated rows have none.
const AWKWARD: &str = r#"
    INSERT INTO flows VALUES
        (100001, 1000, 0, 'a,b', 'say "x"', '<&>', '''', 6, 10, 5323),
        (100002, 1000, -1, 'é', '\', '/', 'ends in "', 17, 9223372036854775807, 0)
"#;

/// Both servers over one database.
struct Pair {
    component: Server,
    baseline: Child,
    baseline_address: String,
    _folder: TempDir,
}

impl Pair {
    #[track_caller]
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, db) = (folder.path().join("flows.txt"), folder.path().join("db"));
        let mut lines = Vec::new();
        generate(ROWS, 1, &mut lines).unwrap();
        std::fs::write(&file, lines).unwrap();
        load(&Load {
            files: vec![file],
            db: db.clone(),
            ..Default::default()
        })
        .unwrap();
        let connection = Connection::open(&db).unwrap();
        connection.execute_batch(AWKWARD).unwrap();

        let mut baseline = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["baseline", "--db"])
            .arg(&db)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = baseline.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Serving ");
        let baseline_address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();

        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spin.toml");
        let app =
            App::load(&manifest).unwrap_or_else(|error| panic!("{error:#}; run `make component`"));
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: Database::new(db),
            variables: Default::default(),
            log: None,
        };
        Self {
            component: Server::start(app, settings).unwrap(),
            baseline,
            baseline_address,
            _folder: folder,
        }
    }

    #[track_caller]
    fn assert_same(&self, target: &str) {
        let target = format!("/api/v1/stream/flows.{target}");
        let expected = get(&format!("http://{}{target}", self.component.address()));
        let found = get(&format!("{}{target}", self.baseline_address));
        assert!(
            found == expected,
            "{target}\n--- component\n{}\n--- baseline\n{}",
            head(&expected.1),
            head(&found.1)
        );
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Fails if the process has ended, in which case a test has failed already.
        let _ = self.baseline.kill();
        let _ = self.baseline.wait();
    }
}

/// Content type and body.
#[track_caller]
fn get(url: &str) -> (String, String) {
    let mut response = ureq::get(url)
        .call()
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    (kind, response.body_mut().read_to_string().unwrap())
}

fn head(body: &str) -> String {
    body.chars().take(1000).collect()
}

#[test]
fn the_baseline_answers_as_the_component_does() {
    let pair = Pair::start();
    for format in ["json", "ndjson", "csv", "xml"] {
        for query in [
            "",
            "scanned_after=999",
            "scanned_after=1000",
            "scanned_after=5&scanned_before=6",
            "scanned_before=-1",
            "scanned_after=3&limit=1",
            "limit=0",
            "limit=4999",
        ] {
            pair.assert_same(&format!("{format}?{query}"));
        }
    }
}
