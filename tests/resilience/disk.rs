//! A disk that takes nothing more: full, read-only, or without permission to write.
//!
//! The service only reads, but SQLite puts an index of the write-ahead log beside a database that has one.
//! Flows are served or the answer is a 503; nothing hangs, and once the fault is mended all is as it was.

use std::io::Write as _;
use std::path::Path;

use support::database::Database;
use support::namespace::{Disk, Need};
use support::server::TestServer;
use support::tally::Tally;
use support::wire::End;
use support::{FLOWS, FORMATS};

/// Pages of 500, 3,000 and 2,700, over WASI 0.2 of 500, 4,500 and 1,200.
const COUNT: u32 = 6_200;

/// More than the database takes.
const ROOM_KIB: u64 = 4 * 1024;

/// How a database has been left by its last writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// With a journal that is rolled back.
    Rollback,
    /// With a write-ahead log that has been copied back and removed.
    Closed,
    /// With a log that holds the flows, and its index.
    Open,
}

/// A database in one of these states, and what it answers where nothing is wrong.
struct Sound {
    database: Database,
    // Keeps the log from being copied back.
    _writer: Option<rusqlite::Connection>,
    bodies: [Vec<u8>; FORMATS.len()],
}

impl Sound {
    #[track_caller]
    fn new(left: Left) -> Self {
        let database = Database::generated(COUNT);
        if left == Left::Rollback {
            database.execute("PRAGMA journal_mode = DELETE");
        }
        let writer = (left == Left::Open).then(|| {
            let writer = database.connect();
            let raise =
                "PRAGMA wal_autocheckpoint = 0; UPDATE flows SET byte_count = byte_count + 1";
            writer.execute_batch(raise).expect("an update");
            writer
        });
        let server = database.serve();
        let bodies = FORMATS.map(|format| server.get(&format!("{FLOWS}.{format}")).ok().body);
        server.settle();
        Self {
            database,
            _writer: writer,
            bodies,
        }
    }

    /// Copies it into `folder`, with its log.
    #[track_caller]
    fn copy_to(&self, folder: &Path) {
        for name in ["sqlite_db.db", "sqlite_db.db-wal", "sqlite_db.db-shm"] {
            let from = self.database.path().with_file_name(name);
            if from.exists() {
                std::fs::copy(from, folder.join(name)).expect("a copy");
            }
        }
    }

    /// Asks for everything in each format; gives which of the answers were problems.
    #[track_caller]
    fn ask(&self, server: &TestServer) -> [bool; FORMATS.len()] {
        std::array::from_fn(|i| {
            let answer = server.get(&format!("{FLOWS}.{}", FORMATS[i]));
            let whole = answer.status == 200 && answer.end == End::Clean;
            let same = whole && answer.body == self.bodies[i];
            let refused = answer.status == 503 && answer.is_problem();
            assert!(same || refused, "{answer:?}\n{}", server.log());
            refused
        })
    }
}

/// Serves a database of each state from a folder that `befall` makes, through a fault that it begins and ends.
#[track_caller]
fn serve_through(fault: &str, befall: impl Fn(&mut dyn FnMut(&Path, &dyn Fn(bool)))) {
    let mut tally = Tally::of(fault);
    for (left, known_as) in [
        (Left::Rollback, "rollback journal"),
        (Left::Closed, "write-ahead log, not there yet"),
        (Left::Open, "write-ahead log, there"),
    ] {
        let sound = Sound::new(left);
        befall(&mut |folder, set_fault| {
            sound.copy_to(folder);
            set_fault(true);
            let server = Database::at(folder.join("sqlite_db.db")).serve();
            for refused in sound.ask(&server) {
                let what = if refused { "503" } else { "whole" };
                tally.saw(format!("{what} ({known_as})"));
            }
            set_fault(false);
            assert_eq!(
                sound.ask(&server),
                [false; FORMATS.len()],
                "{fault}, {left:?}, mended"
            );
            server.settle();
        });
    }
    tally.print();
}

/// As [`serve_through`], on a disk of its own to which `set_fault` happens.
#[track_caller]
fn serve_on_a_disk(fault: &str, set_fault: impl Fn(&Disk, &Path, bool)) {
    serve_through(fault, |serve| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::over(folder.path(), ROOM_KIB);
        serve(folder.path(), &|fault| {
            set_fault(&disk, folder.path(), fault);
        });
    });
}

#[test]
fn flows_on_a_read_only_file_system_are_served_or_refused() {
    if Need::Mounts.is_here("disk::flows_on_a_read_only_file_system_are_served_or_refused") {
        serve_on_a_disk("database on a read-only file system", |disk, _, fault| {
            disk.set_read_only(fault);
        });
    }
}

#[test]
fn flows_on_a_full_disk_are_served_or_refused() {
    if !Need::Mounts.is_here("disk::flows_on_a_full_disk_are_served_or_refused") {
        return;
    }
    serve_on_a_disk("database on a full disk", |disk, folder, fault| {
        if fault {
            let mut ballast = std::fs::File::create(folder.join("ballast")).expect("a file");
            while ballast.write_all(&[1; 4096]).is_ok() {}
        } else {
            disk.resize(2 * ROOM_KIB);
        }
    });
}

#[cfg(unix)]
#[test]
fn flows_without_permission_to_write_are_served_or_refused() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    if !Need::Permissions.is_here("disk::flows_without_permission_to_write_are_served_or_refused") {
        return;
    }
    serve_through("database without permission to write", |serve| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let set = |mode| {
            let files = std::fs::read_dir(folder.path()).expect("a folder");
            for file in files {
                let permissions = Permissions::from_mode(mode & 0o666);
                std::fs::set_permissions(file.expect("a file").path(), permissions)
                    .expect("new permissions");
            }
            std::fs::set_permissions(folder.path(), Permissions::from_mode(mode))
                .expect("new permissions");
        };
        serve(folder.path(), &|fault| {
            set(if fault { 0o555 } else { 0o755 });
        });
    });
}

/// Everywhere: a write version in the file's head that SQLite does not know lets nobody write to it.
#[test]
fn flows_of_a_database_that_may_only_be_read_are_served() {
    serve_through("database that SQLite may only read", |serve| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("sqlite_db.db");
        serve(folder.path(), &|fault| {
            let mut database = std::fs::read(&path).expect("the database");
            // The read version says whether there is a write-ahead log.
            database[18] = if fault { 9 } else { database[19] };
            std::fs::write(&path, database).expect("the database");
        });
    });
}
