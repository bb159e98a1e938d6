//! Another file under a server that is being read from, in the ways that the operator's manual recommends.
//!
//! A load with `--replace` is the loader's; its tests are there.

use std::time::Duration;

use rusqlite::backup::Backup;
use support::database::Database;
use support::server::TestServer;
use support::wire::{End, Response, Wire, head_for};
use support::{FLOWS, FORMATS};

/// Far more flows than socket buffers hold: at 150 bytes each, 30 MB.
const COUNT: u32 = 200_000;

/// A table with as many flows at the same times, each of which differs from the first table's.
fn other_flows() -> Database {
    let database = Database::generated(0);
    database.execute(&format!(
        "INSERT INTO flows \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COUNT}) \
         SELECT i, i / 3, 9, 'NEW' || i, '1', 'C2', '2', 6, 1, 1 FROM n"
    ));
    database
}

/// What whole answers were in each format.
fn whole(server: &TestServer) -> [Vec<u8>; FORMATS.len()] {
    FORMATS.map(|format| server.get(&format!("{FLOWS}.{format}")).ok().body)
}

/// Clients that have asked for all flows, one in each format, and take none of them.
#[track_caller]
fn slow_readers(server: &TestServer) -> [Wire; FORMATS.len()] {
    FORMATS.map(|format| {
        let mut wire = Wire::open(server.address());
        wire.send(head_for(&format!("{FLOWS}.{format}"), &[]));
        wire.wait_for_bytes();
        wire
    })
}

/// An answer from before shows the old flows, all or up to where it is cut.
#[track_caller]
fn assert_old(readers: [Wire; FORMATS.len()], old: &[Vec<u8>; FORMATS.len()]) {
    for (mut reader, old) in readers.into_iter().zip(old) {
        let answer = reader.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.end == End::Clean && answer.body == *old
                || answer.end == End::Cut && old.starts_with(&answer.body),
            "neither the old flows nor cut: {answer:?}"
        );
    }
}

/// An answer from meanwhile shows the old flows or the new ones, all or up to where it is cut, or says that
/// the database is busy.
#[track_caller]
fn assert_one_moment(answer: &Response, old: &[u8], new: &[u8]) {
    let shows = |flows: &[u8]| match answer.end {
        End::Clean => answer.body == flows,
        End::Cut => flows.starts_with(&answer.body),
    };
    assert!(
        answer.is_problem() || answer.status == 200 && (shows(old) || shows(new)),
        "neither the old flows nor the new ones: {answer:?}"
    );
}

/// What a client knows of a table.
struct Known {
    etag: String,
    cursor: String,
    lineage: String,
    watermark: String,
}

impl Known {
    #[track_caller]
    fn of(server: &TestServer) -> Self {
        let answer = server.get(FLOWS).ok();
        let header = |name| answer.header(name).to_owned();
        let portion = server.get(&format!("{FLOWS}?limit=1000")).ok();
        let link = portion.header("link");
        let cursor = link
            .split_once("cursor=")
            .and_then(|(_, rest)| rest.split_once('>'));
        Self {
            etag: header("etag"),
            cursor: cursor.unwrap_or_else(|| panic!("{portion:?}")).0.to_owned(),
            lineage: header("flow-lineage"),
            watermark: header("flow-watermark"),
        }
    }

    /// Asserts that nothing of it is taken for the table that is there now.
    #[track_caller]
    fn assert_outdated(&self, server: &TestServer) {
        let tag = [("If-None-Match", self.etag.as_str())];
        let answer = Wire::open(server.address()).ask(FLOWS, &tag).ok();
        assert_ne!(answer.header("etag"), self.etag, "{answer:?}");
        assert_ne!(answer.header("flow-lineage"), self.lineage, "{answer:?}");
        let Self {
            cursor,
            lineage,
            watermark,
            ..
        } = self;
        for query in [
            format!("limit=1000&cursor={cursor}"),
            format!("after_id={watermark}&lineage={lineage}"),
        ] {
            let answer = server.get(&format!("{FLOWS}?{query}"));
            assert_eq!((answer.status, answer.end), (410, End::Clean), "{answer:?}");
        }
    }
}

/// `sqlite3 live ".restore new"`.
#[track_caller]
fn restore(from: &Database, to: &Database) {
    let (from, mut to) = (from.connect(), to.connect());
    let backup = Backup::new(&from, &mut to).expect("a backup");
    let done = backup.run_to_completion(100, Duration::from_millis(1), None);
    done.expect("the backup is done");
}

/// The journal mode that the file itself names.
#[track_caller]
fn journal_mode(database: &Database) -> String {
    let mode = database
        .connect()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0));
    mode.expect("a mode")
}

#[test]
fn a_file_restored_into_the_live_one_is_one_moment_to_every_client() {
    for mode in ["wal", "delete"] {
        let live = Database::generated(COUNT);
        live.execute(&format!("PRAGMA journal_mode = {mode}"));
        let new = other_flows();
        let (server, beside) = (live.serve(), new.serve());
        let (old, expected) = (whole(&server), whole(&beside));
        let known = Known::of(&server);
        let readers = slow_readers(&server);
        std::thread::scope(|scope| {
            let restored = scope.spawn(|| restore(&new, &live));
            while !restored.is_finished() {
                let answer = server.get(&format!("{FLOWS}.json"));
                assert_one_moment(&answer, &old[0], &expected[0]);
            }
        });
        assert_old(readers, &old);
        assert!(
            whole(&server) == expected,
            "{mode}: other flows than the new ones"
        );
        known.assert_outdated(&server);
        // What the manual says: a live database with a write-ahead log keeps it, one without takes the mode
        // of what is restored.
        assert_eq!(journal_mode(&live), "wal", "{mode}");
        assert_eq!(server.trapped(), 0, "{}", server.log());
    }
}

#[test]
fn a_file_moved_into_place_without_write_ahead_logs_is_one_moment_to_every_answer() {
    let live = Database::generated(COUNT);
    let new = other_flows();
    for database in [&live, &new] {
        database.execute("PRAGMA journal_mode = DELETE");
    }
    let (server, beside) = (live.serve(), new.serve());
    let (old, expected) = (whole(&server), whole(&beside));
    drop(beside);
    let known = Known::of(&server);
    let readers = slow_readers(&server);
    std::fs::rename(new.path(), live.path()).expect("the new file in the old one's place");
    // An instance that is kept busy goes on with the file that it has open, until it is replaced.
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let answer = server.get(&format!("{FLOWS}.json"));
                    assert_one_moment(&answer, &old[0], &expected[0]);
                }
            });
        }
    });
    assert_old(readers, &old);
    server.settle();
    assert!(whole(&server) == expected, "other flows than the new ones");
    known.assert_outdated(&server);
    assert_eq!(server.trapped(), 0, "{}", server.log());
}
