//! `flows load`: lines in LANL's format into the database of the service, every line exactly once.
//!
//! One thread reads, inflates and parses; the caller's writes. A batch of rows and the mark of how far they
//! reach are committed together, so an interrupted load goes on where its last commit ended, and the
//! rows already in the database are recognised by content, whatever the file is called now.
//!
//! - `source` opens and checks inputs, `format` tells what they are, `resume` finds where to go on in one
//! - `batch` turns its bytes into rows, `rejects` keeps the lines that are none
//! - `store` opens the database and writes rows, `ledger` the record of what was loaded; `checkpoint` keeps
//!   the write-ahead log short
//! - `schema` has the one schema and its guard, `prepare` gives a table what it lacks to be served from
//! - `replace` puts other flows in the place of those that are there
//! - `claim` keeps two loads apart, `progress` shows how far this one is

mod batch;
mod checkpoint;
mod claim;
mod format;
mod ledger;
mod prepare;
mod progress;
mod rejects;
mod replace;
mod resume;
mod schema;
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
use store::{Prepared, Purpose, Store};

/// Text in one commit, about 200,000 lines. Readers see progress a few times a second, and the
/// write-ahead log stays small; four times as much was not faster.
const COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// A commit is not put off for longer than this, however slowly rows arrive.
const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// Batches that may wait for the writer. With the two in work they bound the memory of a load.
const QUEUED_BATCHES: usize = 2;

/// What to load and where to.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Load {
    /// Files in LANL's format, plain or gzip; `-` is standard input, which is stored beside the database first if it is gzip. Without any, an existing database is prepared to be served from: write-ahead log, index and guard, and every flow is looked at
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The database, created if need be
    #[arg(long, value_name = "PATH", default_value = ".spin/sqlite_db.db")]
    pub db: PathBuf,
    /// Append bad lines to this file and go on, instead of stopping at the first
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Put these flows in the place of those that are there, all at once: readers see the old ones until then, and so they stay if anything fails. Ids go on behind the old ones
    #[arg(long, requires = "files")]
    pub replace: bool,
    /// Let ids begin at 1 again: for flows that nobody has fetched yet, since who asks for what is new by `after_id` would miss them
    #[arg(long, requires = "replace")]
    pub renumber: bool,
    /// Load inputs that have been loaded before as flows of their own; one that was interrupted goes on
    #[arg(long, requires = "files")]
    pub again: bool,
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
    /// That the guard has been installed, or why not; `None` if it was there.
    pub guard: Option<&'static str>,
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
        if let Some(guard) = self.guard {
            write!(f, ", {guard}")?;
        }
        write!(f, ", database {}", self.db.display())
    }
}

/// Gives the table what it lacks to be served from, and loads every file of `request` in turn.
///
/// Rows are committed as they come and stay if a later line fails, but for a replacement, which is all or
/// nothing; ids go on from the largest one ever given. What is skipped as known is said on standard error.
///
/// # Errors
/// An input or the database cannot be opened, read or written; another load is at work on the database;
/// the table cannot be served from; a line is bad and there is no rejects file (`FILE:LINE: reason`); an input
/// is damaged, or cannot be told from one loaded before, or its flows are gone. The text names the file, and
/// the line where there is one.
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
    let purpose = match (sources.is_empty(), request.replace) {
        (true, _) => Purpose::Prepare,
        (false, false) => Purpose::Append,
        (false, true) => Purpose::Replace,
    };
    match purpose {
        Purpose::Prepare => store::require(&request.db)?,
        _ => store::create_folder(&request.db)?,
    }
    let _claim = Claim::take(&request.db)?;
    let mut store = Store::open(&request.db, purpose)?;
    let prepared = match purpose {
        // The table that is to come is what it has to be.
        Purpose::Replace => Prepared::default(),
        _ => {
            progress.say("preparing the table");
            store.prepare(purpose == Purpose::Prepare)?
        }
    };
    let mut loaded = Loaded::default();
    if purpose == Purpose::Replace {
        replace_by(request, &mut store, sources, progress, &mut loaded)?;
    } else {
        let rejects = Rejects::open(request, &store)?;
        let mut writer = Writer::new(&store, rejects, progress, request.again, &mut loaded);
        for mut source in sources {
            progress.begin(&source);
            source.check(store.folder())?;
            writer.load_source(source)?;
        }
    }
    Ok(Summary {
        rows: loaded.rows,
        rejects: loaded.rejects,
        known_lines: loaded.known_lines,
        ids: loaded.ids,
        indexes: prepared.indexes,
        guard: prepared.guard,
        elapsed: started.elapsed(),
        db: request.db.clone(),
    })
}

/// Looks at everything that can be looked at before, and then loads all of it or nothing.
fn replace_by(
    request: &Load,
    store: &mut Store,
    mut sources: Vec<Source>,
    progress: &Progress,
    loaded: &mut Loaded,
) -> Result<()> {
    let rejects = Rejects::open(request, store)?;
    for source in &mut sources {
        progress.begin(source);
        source.check(store.folder())?;
        source.check_first_line(rejects.is_some())?;
    }
    store.begin_replacement(request.renumber)?;
    let mut writer = Writer::new(store, rejects, progress, request.again, loaded);
    let filled = sources.into_iter().try_for_each(|source| {
        progress.begin(&source);
        writer.load_source(source)
    });
    let done = filled.and_then(|()| {
        if loaded.rows == 0 {
            bail!("there is no flow in what was to replace those that are there");
        }
        store.end_replacement()
    });
    if done.is_err() {
        store.give_up_replacement();
    }
    done.context("the flows that are there stay")
}

/// What has been counted so far.
#[derive(Debug, Default)]
struct Loaded {
    rows: u64,
    rejects: u64,
    known_lines: u64,
    ids: Option<(i64, i64)>,
}

/// The writing side of a load.
struct Writer<'a> {
    store: &'a Store,
    rejects: Option<Rejects>,
    progress: &'a Progress,
    again: bool,
    loaded: &'a mut Loaded,
}

/// A transaction that is open: since when, what it holds, and the id of the next row.
struct Pending {
    since: Instant,
    bytes: usize,
    rows: u64,
    next_id: i64,
}

impl<'a> Writer<'a> {
    fn new(
        store: &'a Store,
        rejects: Option<Rejects>,
        progress: &'a Progress,
        again: bool,
        loaded: &'a mut Loaded,
    ) -> Self {
        Self {
            store,
            rejects,
            progress,
            again,
            loaded,
        }
    }

    /// Loads an input that has been checked.
    fn load_source(&mut self, source: Source) -> Result<()> {
        let records = self.store.records()?;
        let (lines, mut record) =
            resume::find_start(&source, records, self.rejects.is_some(), self.again)?;
        let warning = self.check_known(&source, &record)?;
        self.loaded.known_lines += record.mark.lines;
        let (full, batches) = mpsc::sync_channel(QUEUED_BATCHES);
        let (recycle, empty) = mpsc::channel();
        // Not joined: after a failure here it may be waiting for standard input, and has nothing to tidy.
        thread::Builder::new()
            .name("read".to_owned())
            .spawn(move || read_batches(lines, &empty, &full))
            .context("cannot start the reading thread")?;
        self.write_batches(&batches, &recycle, &mut record)?;
        if let Some(warning) = warning {
            self.progress.warn(&warning);
        }
        Ok(())
    }

    /// What is known of an input has to be there still. Where the input was not interrupted, gives a warning that
    /// it is skipped: it may be meant otherwise.
    fn check_known(&self, source: &Source, record: &Record) -> Result<Option<String>> {
        let (name, lines) = (&source.name, record.mark.lines);
        if let Some((first, last)) = record.ids
            && !self.store.holds(last)?
        {
            bail!(
                "{name}: its first {lines} lines were loaded before, as the flows with ids {first} to {last}, but \
                 these have been deleted since; --again loads all of its lines once more"
            );
        }
        if lines == 0 || record.finished == Some(false) {
            return Ok(None);
        }
        let ids = record.ids.map_or_else(String::new, |(first, last)| {
            format!(" (ids {first} to {last})")
        });
        Ok(Some(format!(
            "{name}: its first {lines} lines{ids} are in the database from an earlier load and are skipped; if they \
             are meant as flows of their own, load the file with --again"
        )))
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
                if received.is_ok() && record.finished != Some(true) && record.mark.bytes > 0 {
                    record.finished = Some(true);
                    self.open(&mut pending)?;
                }
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

    /// The open transaction, or a new one.
    fn open<'p>(&self, pending: &'p mut Option<Pending>) -> Result<&'p mut Pending> {
        Ok(match pending {
            Some(open) => open,
            None => pending.insert(Pending {
                since: Instant::now(),
                bytes: 0,
                rows: 0,
                next_id: self.store.begin()?,
            }),
        })
    }

    fn write_batch(
        &mut self,
        batch: &Batch,
        pending: &mut Option<Pending>,
        record: &mut Record,
    ) -> Result<()> {
        let open = self.open(pending)?;
        let first_id = open.next_id;
        open.next_id = self.store.insert(batch, first_id)?;
        open.bytes += batch.text.len();
        open.rows += batch.flows.len() as u64;
        let ends_a_line = batch.mark != record.mark;
        record.advance(batch, first_id);
        self.loaded.rejects += batch.rejected;
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
            let ids = &mut self.loaded.ids;
            *ids = Some((ids.map_or(first, |ids| ids.0), done.next_id - 1));
        }
        self.loaded.rows += done.rows;
        self.progress.rows(self.loaded.rows);
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
