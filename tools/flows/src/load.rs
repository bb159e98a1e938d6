//! `flows load`: lines in LANL's format into the database of the service, every line exactly once.
//!
//! One thread reads, inflates and parses; the caller's thread writes. A transaction commits rows together with
//! the position behind them in the input. An interrupted load therefore resumes at its last commit. Loaded
//! input is recognised by content, under any file name.
//!
//! - `source` opens and checks an input, `format` detects its format, `resume` finds where to start in it
//! - `batch` parses its bytes into rows, `rejects` writes bad lines to a file
//! - `store` opens the database and writes rows, `history` records what was loaded, `checkpoint` copies the
//!   write-ahead log back
//! - `schema` applies the schema and its guard, `prepare` adds the indexes that a table lacks
//! - `minutes` counts flows by minute, `filter_index` builds the indexes for filters
//! - `replace` swaps all flows in one transaction
//! - `lock` keeps two loads apart, `progress` draws the progress bar

mod batch;
mod checkpoint;
mod filter_index;
mod format;
mod history;
mod lock;
mod minutes;
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

use batch::{Batch, LineReader};
pub use filter_index::FilterIndexes;
use history::Record;
use lock::DatabaseLock;
use minutes::Minutes;
use progress::Progress;
use rejects::Rejects;
use source::Source;
use store::{Prepared, Purpose, Store};

/// Text in one commit, about 200,000 lines. Readers see new rows a few times a second, and the write-ahead log
/// stays small; larger commits are no faster.
const COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// Longest time between two commits, however slowly rows arrive.
const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// Batches that may wait for the writer. They and the two in use bound the memory of a load.
const QUEUED_BATCHES: usize = 2;

/// What to load and where to.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Load {
    /// Files in LANL's format, plain or gzip; `-` is standard input, which is stored beside the database first if it is gzip. Without any, an existing database is prepared to be served from: write-ahead log, index, guard and counts by minute, and every flow is looked at
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
    /// Columns that are to have an index for filters, such as `src_comp,dst_comp`; none for an empty list. Without this option the indexes stay as they are
    #[arg(long, value_name = "COLUMNS")]
    pub index: Option<FilterIndexes>,
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
    /// That the guard was installed, or why it was not; `None` if the table had it.
    pub guard: Option<&'static str>,
    /// Why flows are not counted by minute, if that was tried and failed.
    pub uncounted: Option<String>,
    /// From the opening of the inputs to the last commit.
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
        if let Some(reason) = &self.uncounted {
            write!(f, ", no counts by minute: {reason}")?;
        }
        write!(f, ", database {}", self.db.display())
    }
}

/// Gives the table what it lacks to be served from, and loads every file of `request` in turn.
///
/// Committed rows stay if a later line fails; a replacement is all or nothing. New ids follow the largest id
/// ever given. A warning on standard error tells of lines that are skipped as known.
///
/// # Errors
/// - An input or the database cannot be opened, read or written.
/// - Another load holds the lock of the database.
/// - The service could not serve the table.
/// - A line is bad and there is no rejects file (`FILE:LINE: reason`).
/// - An input is damaged, resembles an earlier input, or its earlier flows were deleted.
///
/// The message names the file, and the line if there is one.
pub fn load(request: &Load) -> Result<Summary> {
    let progress = Progress::new();
    let summary = load_all(request, &progress);
    progress.finish();
    summary
}

fn load_all(request: &Load, progress: &Progress) -> Result<Summary> {
    let started = Instant::now();
    // Open all inputs first: a misspelt name must not create a database.
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
        Purpose::Prepare => store::check_exists(&request.db)?,
        _ => store::create_folder(&request.db)?,
    }
    let _lock = DatabaseLock::acquire(&request.db)?;
    let mut store = Store::open(&request.db, purpose)?;
    let prepared = match purpose {
        // The new table is created from the schema and lacks nothing.
        Purpose::Replace => Prepared::default(),
        _ => {
            progress.say("preparing the table");
            store.prepare(purpose == Purpose::Prepare)?
        }
    };
    let mut counts = Counts::default();
    if purpose == Purpose::Replace {
        load_replacement(request, &mut store, sources, progress, &mut counts)?;
    } else {
        if let Some(index) = &request.index {
            let rows = sources.iter().map(Source::estimated_rows).sum();
            store.before_append(index, rows)?;
        }
        let rejects = Rejects::open(request, &store)?;
        let mut writer = Writer::new(&store, rejects, progress, request.again, &mut counts);
        for mut source in sources {
            progress.begin(&source);
            source.check(store.folder())?;
            writer.load_source(source)?;
        }
    }
    let mut indexes = prepared.indexes;
    if let Some(index) = &request.index {
        progress.say("building indexes");
        indexes.extend(store.build_filter_indexes(index)?);
    }
    Ok(Summary {
        rows: counts.rows,
        rejects: counts.rejects,
        known_lines: counts.known_lines,
        ids: counts.ids,
        indexes,
        guard: prepared.guard,
        uncounted: counts.uncounted.or(prepared.uncounted),
        elapsed: started.elapsed(),
        db: request.db.clone(),
    })
}

/// Checks every input first, then loads all of them or nothing.
fn load_replacement(
    request: &Load,
    store: &mut Store,
    mut sources: Vec<Source>,
    progress: &Progress,
    counts: &mut Counts,
) -> Result<()> {
    let rejects = Rejects::open(request, store)?;
    for source in &mut sources {
        progress.begin(source);
        source.check(store.folder())?;
        source.check_first_line(rejects.is_some())?;
    }
    store.begin_replacement(request.renumber, request.index.is_none())?;
    let mut writer = Writer::new(store, rejects, progress, request.again, counts);
    let filled = sources.into_iter().try_for_each(|source| {
        progress.begin(&source);
        writer.load_source(source)
    });
    let done = filled.and_then(|()| {
        if counts.rows == 0 {
            bail!("there is no flow in what was to replace those that are there");
        }
        store.commit_replacement()
    });
    if done.is_err() {
        store.abort_replacement();
    }
    done.context("the flows that are there stay")
}

/// What the load has done so far.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    rejects: u64,
    known_lines: u64,
    ids: Option<(i64, i64)>,
    uncounted: Option<String>,
}

/// The writing side of a load.
struct Writer<'a> {
    store: &'a Store,
    rejects: Option<Rejects>,
    progress: &'a Progress,
    again: bool,
    counts: &'a mut Counts,
}

/// An open transaction: its start, what it holds, and the id of the next row.
struct Transaction {
    since: Instant,
    bytes: usize,
    rows: u64,
    next_id: i64,
    minutes: Minutes,
}

impl<'a> Writer<'a> {
    fn new(
        store: &'a Store,
        rejects: Option<Rejects>,
        progress: &'a Progress,
        again: bool,
        counts: &'a mut Counts,
    ) -> Self {
        Self {
            store,
            rejects,
            progress,
            again,
            counts,
        }
    }

    /// Loads an input that has been checked.
    fn load_source(&mut self, source: Source) -> Result<()> {
        let records = self.store.records()?;
        let (lines, mut record) =
            resume::resume(&source, records, self.rejects.is_some(), self.again)?;
        let warning = self.check_known(&source, &record)?;
        self.counts.known_lines += record.consumed.lines;
        let (full, batches) = mpsc::sync_channel(QUEUED_BATCHES);
        let (recycle, empty) = mpsc::channel();
        // Not joined: after a failure here the thread may wait for standard input forever. It has nothing to clean up.
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

    /// Fails if the flows of an earlier load of this input were deleted. Returns a warning if that load had
    /// reached the end of the input: the user may want the lines as flows of their own.
    fn check_known(&self, source: &Source, record: &Record) -> Result<Option<String>> {
        let (name, lines) = (&source.name, record.consumed.lines);
        if let Some((first, last)) = record.ids
            && !self.store.has_id(last)?
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

    /// Writes batches until the reading thread sends the end of the input or an error.
    fn write_batches(
        &mut self,
        batches: &Receiver<Result<Option<Batch>>>,
        recycle: &Sender<Batch>,
        record: &mut Record,
    ) -> Result<()> {
        let mut pending: Option<Transaction> = None;
        loop {
            let timeout = match &pending {
                Some(pending) => COMMIT_AFTER.saturating_sub(pending.since.elapsed()),
                None => Duration::MAX,
            };
            let received = match batches.recv_timeout(timeout) {
                Ok(received) => received,
                Err(RecvTimeoutError::Timeout) => {
                    self.commit(&mut pending, record)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the reading thread died"),
            };
            let Ok(Some(batch)) = received else {
                if received.is_ok() && record.finished != Some(true) && record.consumed.bytes > 0 {
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
            // Fails if the reading thread has ended and needs no more batches.
            let _ = recycle.send(batch);
        }
    }

    /// Returns the open transaction, or begins one.
    fn open<'p>(&self, pending: &'p mut Option<Transaction>) -> Result<&'p mut Transaction> {
        Ok(match pending {
            Some(open) => open,
            None => pending.insert(Transaction {
                since: Instant::now(),
                bytes: 0,
                rows: 0,
                next_id: self.store.begin()?,
                minutes: Minutes::default(),
            }),
        })
    }

    fn write_batch(
        &mut self,
        batch: &Batch,
        pending: &mut Option<Transaction>,
        record: &mut Record,
    ) -> Result<()> {
        let open = self.open(pending)?;
        let first_id = open.next_id;
        open.next_id = self.store.insert(batch, first_id)?;
        open.bytes += batch.text.len();
        open.rows += batch.flows.len() as u64;
        for (_, flow) in &batch.flows {
            open.minutes.add(flow);
        }
        let ends_a_line = batch.consumed != record.consumed;
        record.advance(batch, first_id);
        self.counts.rejects += batch.rejected;
        if let Some(rejects) = &mut self.rejects {
            rejects.write(&batch.rejects, ends_a_line)?;
        }
        Ok(())
    }

    fn commit(&mut self, pending: &mut Option<Transaction>, record: &mut Record) -> Result<()> {
        let Some(done) = pending.take() else {
            return Ok(());
        };
        if let Some(rejects) = &mut self.rejects {
            rejects.sync(self.store)?;
        }
        let (first, last) = (done.next_id - done.rows as i64, done.next_id - 1);
        if done.rows > 0 {
            let reason = self.store.save_minutes(done.minutes, (first, last))?;
            self.counts.uncounted = reason.or(self.counts.uncounted.take());
        }
        self.store.commit(record)?;
        if done.rows > 0 {
            let ids = &mut self.counts.ids;
            *ids = Some((ids.map_or(first, |ids| ids.0), last));
        }
        self.counts.rows += done.rows;
        self.progress.rows(self.counts.rows);
        Ok(())
    }
}

/// Sends batches until the input ends or fails, then sends the end or the error. Stops early if the writer is
/// gone, which reports its own error.
fn read_batches(
    mut lines: LineReader,
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
