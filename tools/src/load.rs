//! `flows load`: lines in LANL's format into the database of the service, every line exactly once.
//!
//! One thread reads, inflates and parses; the caller's writes. A batch of rows and the mark of how far they
//! reach are committed together, so an interrupted load goes on where its last commit ended, and the
//! rows already in the database are recognised by content, whatever the file is called now.
//!
//! - `source` opens and checks inputs, `resume` finds where to go on in one
//! - `batch` turns its bytes into rows, `rejects` keeps the lines that are none
//! - `store` owns the table and its indexes, `ledger` the record of what was loaded, `checkpoint` keeps
//!   the write-ahead log short
//! - `claim` keeps two loads apart, `progress` shows how far this one is

mod batch;
mod checkpoint;
mod claim;
mod ledger;
mod progress;
mod rejects;
mod resume;
mod source;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use batch::{Batch, Lines};
use claim::Claim;
use ledger::Record;
use progress::Progress;
use rejects::Rejects;
use source::Source;
use store::Store;

/// Text in one commit, about 200,000 lines. Readers see progress a few times a second, and the
/// write-ahead log stays small; four times as much was not faster.
const COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// A commit is not put off for longer than this, however slowly rows arrive.
const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// Batches that may wait for the writer. With the two in work they bound the memory of a load.
const QUEUED_BATCHES: usize = 2;

/// What to load and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Files in LANL's format, plain or gzip; `-` is standard input, which is stored beside the database first if it is gzip. Without any, an existing database is checked and given the missing index
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The database, created if need be
    #[arg(long, value_name = "PATH", default_value = ".spin/sqlite_db.db")]
    pub db: PathBuf,
    /// Append bad lines to this file and go on, instead of stopping at the first
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Remove the flows that are there first; a service that is running goes on with the new ones
    #[arg(long, requires = "files")]
    pub replace: bool,
}

/// What a load has done.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Rows inserted.
    pub rows: u64,
    /// Bad lines written to the rejects file.
    pub rejects: u64,
    /// Lines skipped because an earlier load had dealt with them.
    pub known_lines: u64,
    /// First and last id of the inserted rows.
    pub ids: Option<(i64, i64)>,
    /// Names of the indexes that were missing and have been built.
    pub indexes: Vec<String>,
    /// From the first look at the inputs to the last index.
    pub elapsed: Duration,
    /// The database.
    pub db: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.rows as f64 / seconds.max(1e-9);
        write!(
            f,
            "{} rows in {seconds:.1} s ({rate:.0} rows/s), {} rejects",
            self.rows, self.rejects
        )?;
        if let Some((first, last)) = self.ids {
            write!(f, ", ids {first}-{last}")?;
        }
        if self.known_lines > 0 {
            write!(f, ", {} lines had been loaded before", self.known_lines)?;
        }
        for index in &self.indexes {
            write!(f, ", index {index} built")?;
        }
        write!(f, ", database {}", self.db.display())
    }
}

/// Loads every file of `request` in turn, then builds the indexes that are missing.
///
/// Rows are committed as they come and stay if a later line fails; ids go on from the largest one.
///
/// # Errors
/// An input or the database cannot be opened, read or written; another load is at work on the database;
/// a line is bad and there is no rejects file (`FILE:LINE: reason`); an input is damaged, or cannot be
/// told from one loaded before. The text names the file, and the line where there is one.
pub fn load(request: &Load) -> Result<Summary> {
    let progress = Progress::new();
    let summary = load_all(request, &progress);
    progress.finish();
    summary
}

fn load_all(request: &Load, progress: &Progress) -> Result<Summary> {
    let started = Instant::now();
    // All of them first: a misspelt name is no reason to create a database.
    let opened = request
        .files
        .iter()
        .map(|path| Source::open(path, progress));
    let sources = opened.collect::<Result<Vec<_>>>()?;
    let create = !sources.is_empty();
    if create {
        store::create_folder(&request.db)?;
    } else {
        store::require(&request.db)?;
    }
    let _claim = Claim::take(&request.db)?;
    let store = Store::open(&request.db, create)?;
    if request.replace {
        store.empty()?;
    }
    let rejects = Rejects::open(request, &store)?;
    let mut writer = Writer::new(&store, rejects, progress);
    for source in sources {
        writer.load_source(source)?;
    }
    progress.say("building the index");
    let indexes = store.complete_indexes()?;
    Ok(Summary {
        rows: writer.rows,
        rejects: writer.rejected,
        known_lines: writer.known_lines,
        ids: writer.ids,
        indexes,
        elapsed: started.elapsed(),
        db: request.db.clone(),
    })
}

/// The writing side of a load, and what it has counted so far.
struct Writer<'a> {
    store: &'a Store,
    rejects: Option<Rejects>,
    progress: &'a Progress,
    rows: u64,
    rejected: u64,
    known_lines: u64,
    ids: Option<(i64, i64)>,
}

/// A transaction that is open: since when, what it holds, and the id of the next row.
struct Pending {
    since: Instant,
    bytes: usize,
    rows: u64,
    next_id: i64,
}

impl<'a> Writer<'a> {
    fn new(store: &'a Store, rejects: Option<Rejects>, progress: &'a Progress) -> Self {
        Self {
            store,
            rejects,
            progress,
            rows: 0,
            rejected: 0,
            known_lines: 0,
            ids: None,
        }
    }

    fn load_source(&mut self, mut source: Source) -> Result<()> {
        self.progress.begin(&source);
        source.check(self.store.folder())?;
        let (lines, mut record) =
            resume::find_start(&source, self.store.records()?, self.rejects.is_some())?;
        self.known_lines += record.mark.lines;
        let (full, batches) = mpsc::sync_channel(QUEUED_BATCHES);
        let (recycle, empty) = mpsc::channel();
        // Not joined: after a failure here it may be waiting for standard input, and has nothing to tidy.
        thread::Builder::new()
            .name("read".to_owned())
            .spawn(move || read_batches(lines, &empty, &full))
            .context("cannot start the reading thread")?;
        self.write_batches(&batches, &recycle, &mut record)
    }

    /// Writes batches until the reader says that there are no more, or why it cannot go on.
    fn write_batches(
        &mut self,
        batches: &Receiver<Result<Option<Batch>>>,
        recycle: &Sender<Batch>,
        record: &mut Record,
    ) -> Result<()> {
        let mut pending: Option<Pending> = None;
        loop {
            let patience = match &pending {
                Some(pending) => COMMIT_AFTER.saturating_sub(pending.since.elapsed()),
                None => Duration::MAX,
            };
            let received = match batches.recv_timeout(patience) {
                Ok(received) => received,
                Err(RecvTimeoutError::Timeout) => {
                    self.commit(&mut pending, record)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the reading thread died"),
            };
            let Ok(Some(batch)) = received else {
                self.commit(&mut pending, record)?;
                return received.map(|_| ());
            };
            self.write_batch(&batch, &mut pending, record)?;
            if pending
                .as_ref()
                .is_some_and(|open| open.bytes >= COMMIT_BYTES)
            {
                self.commit(&mut pending, record)?;
            }
            // The reader may be gone already, with nothing left to fill.
            let _ = recycle.send(batch);
        }
    }

    fn write_batch(
        &mut self,
        batch: &Batch,
        pending: &mut Option<Pending>,
        record: &mut Record,
    ) -> Result<()> {
        let open = match pending {
            Some(open) => open,
            None => pending.insert(Pending {
                since: Instant::now(),
                bytes: 0,
                rows: 0,
                next_id: self.store.begin()?,
            }),
        };
        open.next_id = self.store.insert(batch, open.next_id)?;
        open.bytes += batch.text.len();
        open.rows += batch.flows.len() as u64;
        let ends_a_line = batch.mark != record.mark;
        record.advance(batch);
        self.rejected += batch.rejected;
        if let Some(rejects) = &mut self.rejects {
            rejects.write(&batch.rejects, ends_a_line)?;
        }
        Ok(())
    }

    fn commit(&mut self, pending: &mut Option<Pending>, record: &mut Record) -> Result<()> {
        let Some(done) = pending.take() else {
            return Ok(());
        };
        if let Some(rejects) = &mut self.rejects {
            rejects.settle(self.store)?;
        }
        self.store.commit(record)?;
        if done.rows > 0 {
            let first = done.next_id - done.rows as i64;
            self.ids = Some((self.ids.map_or(first, |ids| ids.0), done.next_id - 1));
        }
        self.rows += done.rows;
        self.progress.rows(self.rows);
        Ok(())
    }
}

/// Fills batches until the input ends or fails; the writer hears of either. A writer that has gone away
/// has failed itself and says why.
fn read_batches(
    mut lines: Lines,
    empty: &Receiver<Batch>,
    full: &SyncSender<Result<Option<Batch>>>,
) {
    loop {
        let read = lines.next_batch(empty.try_recv().unwrap_or_default());
        let more = matches!(read, Ok(Some(_)));
        if full.send(read).is_err() || !more {
            return;
        }
    }
}
