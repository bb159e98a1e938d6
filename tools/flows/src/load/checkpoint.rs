//! Copies the write-ahead log back into the database on a thread of its own.
//!
//! The writer then spends no time on the copy and its syncs. Errors are not reported: once the log is long,
//! the writer checkpoints itself and meets the same error.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};

/// A thread with a connection of its own. Dropping ends the thread.
pub(super) struct Checkpointer {
    requests: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the database at `db`, which need not exist before the first request.
    pub(super) fn start(db: &Path) -> Result<Self> {
        let db = db.to_owned();
        // One waiting request covers all commits until the thread takes it.
        let (requests, received) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || checkpoint_on_request(&db, &received))
            .context("cannot start the checkpoint thread")?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Requests a checkpoint of all that is committed now.
    pub(super) fn request(&self) {
        if let Some(requests) = &self.requests {
            // A full channel already holds a request; without the thread the writer checkpoints.
            let _ = requests.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        // The thread ends when the channel closes.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn checkpoint_on_request(db: &Path, requests: &Receiver<()>) {
    let mut connection = None;
    while requests.recv().is_ok() {
        if connection.is_none() {
            connection = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_WRITE).ok();
        }
        if let Some(connection) = &connection {
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
    }
}
