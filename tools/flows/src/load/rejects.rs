//! Appends bad lines, as read, to the rejects file.
//!
//! Rejects reach the disk before the commit that counts them, so none is lost. After an interruption between
//! the two, the next load parses the same lines again. It compares them with the uncommitted end of the file
//! and does not write them twice.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::Load;
use super::store::Store;

/// The file, open for appending.
pub(super) struct Rejects {
    path: PathBuf,
    /// The file's key in the history.
    canonical_path: String,
    out: BufWriter<File>,
    /// Only a regular file has a length to store; a device or a pipe has none.
    is_regular: bool,
    /// The end of the file that an interrupted load has written and not committed.
    uncommitted: Option<BufReader<File>>,
    /// Where the next byte goes.
    position: u64,
    /// Where the last complete line ends: the length to commit.
    committable: u64,
    dirty: bool,
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
        let canonical_path = fs::canonicalize(&path).with_context(failed)?;
        let mut others = request.files.iter().chain([&request.db]);
        if others.any(|other| fs::canonicalize(other).is_ok_and(|other| other == canonical_path)) {
            bail!(
                "{} cannot take the rejects: it is part of the load itself",
                path.display()
            );
        }
        let mut rejects = Self {
            path,
            canonical_path: canonical_path.to_string_lossy().into_owned(),
            out: BufWriter::new(file),
            is_regular: metadata.is_file(),
            uncommitted: None,
            position: metadata.len(),
            committable: metadata.len(),
            dirty: false,
        };
        if rejects.is_regular {
            rejects.find_uncommitted(store)?;
        }
        Ok(Some(rejects))
    }

    fn find_uncommitted(&mut self, store: &Store) -> Result<()> {
        match store.rejects_end(&self.canonical_path)? {
            Some(end) if end < self.position => {
                let mut file = File::open(&self.path).with_context(|| self.failed())?;
                file.seek(SeekFrom::Start(end))
                    .with_context(|| self.failed())?;
                self.uncommitted = Some(BufReader::new(file));
                self.position = end;
                self.committable = end;
                Ok(())
            }
            // Before the first line, so that an interruption of the first batch is known.
            _ => store.save_rejects_end(&self.canonical_path, self.committable),
        }
    }

    /// Appends `lines`, except for those that an interrupted load has written already. `ends_a_line` is false
    /// for a part of a line.
    pub(super) fn write(&mut self, lines: &[u8], ends_a_line: bool) -> Result<()> {
        let new = &lines[self.skip_written(lines)?..];
        if !new.is_empty() {
            self.out.write_all(new).with_context(|| self.failed())?;
            self.dirty = true;
        }
        self.position += new.len() as u64;
        if ends_a_line {
            self.committable = self.position;
        }
        Ok(())
    }

    /// Compares `lines` with the uncommitted end of the file; returns how many of their bytes it holds.
    fn skip_written(&mut self, lines: &[u8]) -> Result<usize> {
        let Some(mut uncommitted) = self.uncommitted.take() else {
            return Ok(0);
        };
        let mut found = Vec::new();
        uncommitted
            .by_ref()
            .take(lines.len() as u64)
            .read_to_end(&mut found)
            .with_context(|| self.failed())?;
        if !lines.starts_with(&found) {
            // Lines of another program; append behind them.
            self.position = self
                .out
                .get_ref()
                .metadata()
                .with_context(|| self.failed())?
                .len();
            return Ok(0);
        }
        if found.len() == lines.len() {
            self.uncommitted = Some(uncommitted);
        }
        self.position += found.len() as u64;
        Ok(found.len())
    }

    /// Syncs the file and writes its length into the open transaction.
    pub(super) fn sync(&mut self, store: &Store) -> Result<()> {
        self.out.flush().with_context(|| self.failed())?;
        if !self.is_regular {
            return Ok(());
        }
        if std::mem::take(&mut self.dirty) {
            self.out
                .get_ref()
                .sync_data()
                .with_context(|| self.failed())?;
        }
        store.save_rejects_end(&self.canonical_path, self.committable)
    }

    fn failed(&self) -> String {
        format!("cannot write rejects to {}", self.path.display())
    }
}
