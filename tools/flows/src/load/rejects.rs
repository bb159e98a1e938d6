//! Lines that are no flows, appended to a file as they were.
//!
//! They are written before the commit that counts them, so none is lost; after an interruption between
//! the two, the next load brings the same lines again. What stands in the file behind the last commit
//! is therefore compared with what comes, and not written twice.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Load;
use super::store::Store;

/// The file, open for appending.
pub(super) struct Rejects {
    path: PathBuf,
    /// The path under which the database knows the file.
    known_as: String,
    out: BufWriter<File>,
    /// A regular file has a length to remember; a device or a pipe has none.
    is_regular: bool,
    /// What an interrupted load may have left behind its last commit, still to be met again.
    left_over: Option<BufReader<File>>,
    /// Where the next byte belongs.
    position: u64,
    /// Where the last complete line ends.
    settled: u64,
    unsynced: bool,
}

impl Rejects {
    /// Opens the rejects file of `request`, if it names one.
    pub(super) fn open(request: &Load, store: &Store) -> Result<Option<Self>> {
        let Some(path) = request.rejects.clone() else {
            return Ok(None);
        };
        let failed = || format!("cannot open {}", path.display());
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .with_context(failed)?;
        let metadata = file.metadata().with_context(failed)?;
        let known_as = fs::canonicalize(&path).with_context(failed)?;
        let mut others = request.files.iter().chain([&request.db]);
        if others.any(|other| fs::canonicalize(other).is_ok_and(|other| other == known_as)) {
            bail!(
                "{} cannot take the rejects: it is part of the load itself",
                path.display()
            );
        }
        let mut rejects = Self {
            path,
            known_as: known_as.to_string_lossy().into_owned(),
            out: BufWriter::new(file),
            is_regular: metadata.is_file(),
            left_over: None,
            position: metadata.len(),
            settled: metadata.len(),
            unsynced: false,
        };
        if rejects.is_regular {
            rejects.find_left_over(store)?;
        }
        Ok(Some(rejects))
    }

    fn find_left_over(&mut self, store: &Store) -> Result<()> {
        match store.rejects_end(&self.known_as)? {
            Some(end) if end < self.position => {
                let mut file = File::open(&self.path).with_context(|| self.failed())?;
                file.seek(SeekFrom::Start(end))
                    .with_context(|| self.failed())?;
                self.left_over = Some(BufReader::new(file));
                self.position = end;
                self.settled = end;
                Ok(())
            }
            // Before the first line, so that an interruption of the first batch can be told.
            _ => store.save_rejects_end(&self.known_as, self.settled),
        }
    }

    /// Appends `lines`, but for a beginning of them that an interrupted load has written already.
    /// `ends_a_line` is false for a piece of a line.
    pub(super) fn write(&mut self, lines: &[u8], ends_a_line: bool) -> Result<()> {
        let new = &lines[self.skip_known(lines)?..];
        if !new.is_empty() {
            self.out.write_all(new).with_context(|| self.failed())?;
            self.unsynced = true;
        }
        self.position += new.len() as u64;
        if ends_a_line {
            self.settled = self.position;
        }
        Ok(())
    }

    /// How many bytes of `lines` stand in the file already.
    fn skip_known(&mut self, lines: &[u8]) -> Result<usize> {
        let Some(mut left_over) = self.left_over.take() else {
            return Ok(0);
        };
        let mut found = Vec::new();
        left_over
            .by_ref()
            .take(lines.len() as u64)
            .read_to_end(&mut found)
            .with_context(|| self.failed())?;
        if !lines.starts_with(&found) {
            // Somebody else's lines; the new ones come behind them.
            self.position = self
                .out
                .get_ref()
                .metadata()
                .with_context(|| self.failed())?
                .len();
            return Ok(0);
        }
        if found.len() == lines.len() {
            self.left_over = Some(left_over);
        }
        self.position += found.len() as u64;
        Ok(found.len())
    }

    /// Puts everything on the disk, and notes in the open transaction how far it goes.
    pub(super) fn settle(&mut self, store: &Store) -> Result<()> {
        self.out.flush().with_context(|| self.failed())?;
        if !self.is_regular {
            return Ok(());
        }
        if std::mem::take(&mut self.unsynced) {
            self.out
                .get_ref()
                .sync_data()
                .with_context(|| self.failed())?;
        }
        store.save_rejects_end(&self.known_as, self.settled)
    }

    fn failed(&self) -> String {
        format!("cannot write rejects to {}", self.path.display())
    }
}
