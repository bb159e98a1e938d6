//! Locks a database for one load at a time.
//!
//! SQLite lets transactions of two loads alternate, and both would load the same file as new. A load therefore
//! holds the lock of an empty file beside the database. The system releases the lock however the process ends.
//! The lock file stands beside the canonical path, so every path to a database leads to one lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Suffix of the lock file: the database's name and this.
const SUFFIX: &str = "-load";

/// The exclusive right to load into a database. Dropping releases it.
pub(super) struct DatabaseLock {
    // The file is never removed: one process could then hold the removed file's lock, another that of a new file.
    _file: File,
}

impl DatabaseLock {
    /// Locks the database at `db`, which is created empty if it does not exist.
    ///
    /// # Errors
    /// Another load holds the lock; the lock file cannot be created; the database has a second hard link.
    pub(super) fn acquire(db: &Path) -> Result<Self> {
        let real =
            canonical_path(db).with_context(|| format!("cannot open database {}", db.display()))?;
        check_hard_links(db, &real)?;
        let mut path = real.into_os_string();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!("another load is writing to {}", db.display()),
            Err(TryLockError::Error(error)) => {
                Err(error).context(format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// The path without links, `.` and `..`.
fn canonical_path(db: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(db) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A link may lead to a file that does not exist yet.
            OpenOptions::new().append(true).create(true).open(db)?;
            fs::canonicalize(db)
        }
        real => real,
    }
}

/// Fails if the database has a second hard link: SQLite would keep one write-ahead log for each name, and each
/// log would overwrite the pages of the other.
#[cfg(unix)]
fn check_hard_links(db: &Path, real: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(real).with_context(|| format!("cannot open {}", db.display()))?;
    if metadata.is_file() && metadata.nlink() > 1 {
        bail!(
            "{} has {} names (hard links), and SQLite would keep a write-ahead log for each: remove the others, \
             or copy the file",
            db.display(),
            metadata.nlink()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_hard_links(_: &Path, _: &Path) -> Result<()> {
    Ok(())
}
