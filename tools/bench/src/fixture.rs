//! The databases: made once by the generator and the loader, then kept.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};

use crate::Progress;
use flows::generate::generate;

/// The generator's seed: the same rows everywhere.
pub(super) const SEED: u64 = 1;

/// A database of `rows` flows, in a folder that Spin takes as its state.
pub(super) struct Fixture {
    pub(super) rows: u64,
    pub(super) folder: PathBuf,
    /// The time of the last flow, in seconds.
    pub(super) last_time: i64,
}

impl Fixture {
    /// Opens the fixture of `rows` flows below `parent`, or makes it.
    pub(super) fn of(rows: u64, parent: &Path, progress: &Progress) -> Result<Self> {
        let folder = parent.join(format!("flows-{rows}"));
        if !database(&folder).exists() {
            progress.say(&format!("making {rows} flows"));
            // Under another name until it is complete.
            let unfinished = parent.join(format!("flows-{rows}.unfinished"));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            fs::create_dir_all(&unfinished)?;
            fill(rows, &database(&unfinished))?;
            fs::rename(&unfinished, &folder)?;
        }
        let mut fixture = Self {
            rows,
            folder,
            last_time: 0,
        };
        let (found, last_time) = fixture.connect()?.query_row(
            "SELECT (SELECT max(id) FROM flows), (SELECT max(time) FROM flows)",
            [],
            |row| Ok((row.get::<_, u64>(0)?, row.get(1)?)),
        )?;
        ensure!(
            found == rows,
            "{} holds {found} flows, expected {rows}; remove it",
            fixture.database().display()
        );
        fixture.last_time = last_time;
        Ok(fixture)
    }

    pub(super) fn database(&self) -> PathBuf {
        database(&self.folder)
    }

    pub(super) fn connect(&self) -> Result<Connection> {
        let path = self.database();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&path, flags)
            .with_context(|| format!("cannot open {}", path.display()))
    }

    /// The time of the flow with this id.
    pub(super) fn time_of(&self, id: u64) -> Result<i64> {
        let query = "SELECT time FROM flows WHERE id = ?";
        Ok(self.connect()?.query_row(query, [id], |row| row.get(0))?)
    }
}

/// The path where Spin and the test host look below `--state-dir`.
fn database(folder: &Path) -> PathBuf {
    folder.join("sqlite_db.db")
}

/// Pipes generated flows into a `flows load` process.
fn fill(rows: u64, db: &Path) -> Result<()> {
    let mut load = Command::new(std::env::current_exe()?)
        .args(["load", "--db"])
        .arg(db)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run flows load")?;
    let input = load.stdin.take().context("no pipe to flows load")?;
    let generated = generate(rows, SEED, &mut BufWriter::new(input));
    // A failed load has printed its error, and is the cause of a broken pipe.
    ensure!(load.wait()?.success(), "flows load failed");
    generated.context("cannot write to flows load")
}
