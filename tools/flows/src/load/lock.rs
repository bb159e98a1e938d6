//! One load at a time for a database.
//!
//! Batches of two loads could take turns without an error from SQLite, and both would take the same
//! file for new. So a load holds the lock of an empty file beside the database for as long as it runs;
//! the system lets go of it however the process ends. The lock is that of the real file, whatever the path
//! that leads to it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What is added to the database's name.
const SUFFIX: &str = "-load";

/// The right to load into a database, until it is dropped.
pub(super) struct Claim {
    // Never removed: another process may hold the removed file's lock and a third that of a new one.
    _lock: File,
}

impl Claim {
    /// Claims the database at `db`, which is made an empty one if it is not there, or fails at once if another
    /// load has it.
    pub(super) fn take(db: &Path) -> Result<Self> {
        let real =
            real_path(db).with_context(|| format!("cannot open database {}", db.display()))?;
        check_names(db, &real)?;
        let mut path = real.into_os_string();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let lock =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("another load is writing to {}", db.display()),
            Err(TryLockError::Error(error)) => {
                Err(error).context(format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// The path without links or detours.
fn real_path(db: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(db) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A link may lead to a file that is not there yet.
            OpenOptions::new().append(true).create(true).open(db)?;
            fs::canonicalize(db)
        }
        real => real,
    }
}

/// SQLite keeps the log beside the name that it was given: with two names there would be two, and each would
/// overwrite what the other has written.
#[cfg(unix)]
fn check_names(db: &Path, real: &Path) -> Result<()> {
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
fn check_names(_: &Path, _: &Path) -> Result<()> {
    Ok(())
}
