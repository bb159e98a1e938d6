//! `flows load` against what one does without it: the sqlite3 shell's `.import`.
//!
//! Both start from the same gzip file and end with the table and its index. The shell needs the row's
//! number put in front of each line, for which awk is used.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::Connection;

use crate::contestant::{Contestant, version_of};
use crate::fixture::SEED;
use crate::progress::Progress;
use crate::results::{Measure, Results, Unit, grouped};
use flows::generate::generate;

/// Enough for the work to outweigh the start of three processes.
const MOST_ROWS: u64 = 1_000_000;

/// How one loads without `flows load`. The table comes from the one schema; its index comes last.
const IMPORT: &str = r#"
set -e
printf %s "$TABLE" | sqlite3 "$DB"
gzip -dc "$FILE" | awk '{ print NR "," $0 }' | sqlite3 -csv "$DB" ".import /dev/stdin flows"
sqlite3 "$DB" "CREATE INDEX flows_time ON flows (time)"
"#;

const SCHEMA: &str = include_str!("../../../src/table/schema.sql");

/// Whether there is all that [`measure`] needs.
pub(super) fn is_possible() -> bool {
    let there = |program, argument| {
        let mut command = Command::new(program);
        let command = command.arg(argument).stdin(Stdio::null());
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    };
    version_of("sqlite3").is_some() && there("awk", "BEGIN { exit }") && there("gzip", "--version")
}

/// Seconds for the whole job of each, in rounds that take turns.
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
        for loader in [Contestant::Loader, Contestant::Import] {
            let db = folder.join("loading.db");
            remove(&db)?;
            let mut command = match loader {
                Contestant::Loader => {
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

/// The file of `rows` lines, made when it is not there.
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

/// Removes a database and what SQLite and the loader keep beside it.
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
