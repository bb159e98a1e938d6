//! Measures `flows load` against the sqlite3 shell's `.import`.
//!
//! Both start from the same gzip file and end with the table and its index. For the shell, awk puts the id in
//! front of each line.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::Connection;

use crate::Progress;
use crate::fixture::SEED;
use crate::results::{Measure, Results, Unit, grouped};
use crate::subject::{Subject, version_of};
use flows::generate::generate;

/// Most rows: enough to outweigh the start of three processes.
const MOST_ROWS: u64 = 1_000_000;

/// The load without `flows load`. The table comes from the schema; its index comes last.
const IMPORT: &str = r#"
set -e
printf %s "$TABLE" | sqlite3 "$DB"
gzip -dc "$FILE" | awk '{ print NR "," $0 }' | sqlite3 -csv "$DB" ".import /dev/stdin flows"
sqlite3 "$DB" "CREATE INDEX flows_time ON flows (time)"
"#;

const SCHEMA: &str = include_str!("../../../src/table/schema.sql");

/// Whether the programs that [`measure`] needs are installed.
pub(super) fn is_possible() -> bool {
    let runs = |program, argument| {
        let mut command = Command::new(program);
        let command = command.arg(argument).stdin(Stdio::null());
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    };
    version_of("sqlite3").is_some() && runs("awk", "BEGIN { exit }") && runs("gzip", "--version")
}

/// Seconds for the whole load of each subject, in rounds.
pub(super) fn measure(
    rows: u64,
    rounds: u64,
    folder: &Path,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    let rows = rows.min(MOST_ROWS);
    let file = input(rows, folder)?;
    let title = format!("load {} rows of gzip, with index", grouped(rows));
    let measure = Measure::new("load", title, Unit::Seconds);
    for _ in 0..rounds {
        for loader in Subject::LOADERS {
            let db = folder.join("loading.db");
            remove(&db)?;
            let mut command = match loader {
                Subject::Loader => {
                    let mut command = Command::new(std::env::current_exe()?);
                    command.args(["load", "--db"]).arg(&db).arg(&file);
                    command
                }
                _ => {
                    let table = SCHEMA.split("CREATE INDEX").next().unwrap_or(SCHEMA);
                    let mut command = Command::new("sh");
                    command.args(["-c", IMPORT]).env("TABLE", table);
                    command.env("DB", &db).env("FILE", &file);
                    command
                }
            };
            let started = Instant::now();
            let done = command.stdout(Stdio::null()).status()?;
            let seconds = started.elapsed().as_secs_f64();
            ensure!(done.success(), "{} failed", loader.name());
            let loaded: u64 =
                Connection::open(&db)?
                    .query_row("SELECT count(*) FROM flows", [], |row| row.get(0))?;
            ensure!(loaded == rows, "{} loaded {loaded} rows", loader.name());
            results.record(&measure, loader, seconds);
            remove(&db)?;
            progress.step();
        }
    }
    Ok(())
}

/// The file of `rows` lines, made if it does not exist.
fn input(rows: u64, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("flows-{rows}.txt.gz"));
    if !path.exists() {
        let unfinished = path.with_extension("unfinished");
        let file = fs::File::create(&unfinished)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        let mut gzip = GzEncoder::new(BufWriter::new(file), Compression::default());
        generate(rows, SEED, &mut gzip)?;
        gzip.finish()?.flush()?;
        fs::rename(&unfinished, &path)?;
    }
    Ok(path)
}

/// Removes a database and the files that SQLite and the loader keep beside it.
fn remove(db: &Path) -> Result<()> {
    let folder = db.parent().context("a database without a folder")?;
    let name = db
        .file_name()
        .context("a database without a name")?
        .to_string_lossy();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
