//! One load at a time for a database.
//!
//! Batches of two loads could take turns without an error from SQLite, and both would take the same
//! file for new. So a load holds the lock of an empty file beside the database for as long as it runs;
//! the system lets go of it however the process ends.

use std::fs::{File, TryLockError};
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
    /// Claims the database at `db`, or fails at once if another load has it.
    pub(super) fn take(db: &Path) -> Result<Self> {
        let mut path = db.as_os_str().to_owned();
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
