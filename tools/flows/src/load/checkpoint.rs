//! Copies the write-ahead log back into the database beside the writer.
//!
//! Left to the writer, copying and the syncs that go with it took a sixth of the time of a load. It does
//! no more here than SQLite may do at any time: a failure is not reported, since the writer copies
//! what is left once the log has grown long, and meets the same failure then.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};

/// A thread with a connection of its own, until it is dropped.
pub(super) struct Checkpoints {
    requests: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread for the database at `db`, which need not exist before the first request.
    pub(super) fn start(db: &Path) -> Result<Self> {
        let db = db.to_owned();
        // One request in waiting stands for all that come meanwhile.
        let (requests, received) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || copy_on_request(&db, &received))
            .context("cannot start the checkpoint thread")?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Has what is committed by now copied, soon.
    pub(super) fn ask(&self) {
        if let Some(requests) = &self.requests {
            // Full is fine, see above; a thread that has ended is made up for by the writer.
            let _ = requests.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn copy_on_request(db: &Path, requests: &Receiver<()>) {
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
