//! Edits: one answer, one tag, one cursor, one watermark is one state of the table, or says that it is not.

use crate::problems::problem;
use support::FLOWS;
use support::database::{Database, SCHEMA};
use support::server::TestServer;
use support::wire::Wire;

/// Flows of an answer that is longer than what sockets and pages under way hold.
const LONG: i64 = 100_000;

/// Everything but an arrival that happens to a table, and whether a reader of new ids would miss it.
const EDITS: [(&str, bool); 12] = [
    ("UPDATE flows SET byte_count = 7 WHERE id = 7", true),
    ("UPDATE flows SET time = 1 WHERE id = 1000", true),
    ("UPDATE flows SET id = 5000000 WHERE id = 1000", true),
    ("DELETE FROM flows WHERE id = 1000", false),
    ("DELETE FROM flows WHERE id <= 500", false),
    (
        "DELETE FROM flows WHERE id = (SELECT max(id) FROM flows)",
        false,
    ),
    (
        "DELETE FROM flows WHERE id = (SELECT max(id) FROM flows); \
         INSERT INTO flows SELECT max(id) + 1, 0, 0, 'C9', 'N9', 'C2', '443', 6, 1, 1 FROM flows",
        true,
    ),
    (
        "INSERT INTO flows VALUES (-5, 500, 0, 'C1', 'N1', 'C2', '443', 6, 1, 1)",
        true,
    ),
    (
        "DELETE FROM flows WHERE id = 1000; \
         INSERT INTO flows VALUES (1000, 9, 0, 'C1', 'N1', 'C2', '443', 6, 1, 1)",
        true,
    ),
    (
        "REPLACE INTO flows SELECT max(id), 9, 0, 'C9', 'N9', 'C2', '443', 6, 1, 1 FROM flows",
        true,
    ),
    (
        "CREATE TABLE other AS SELECT * FROM flows; DROP TABLE flows; SCHEMA; \
         INSERT INTO flows SELECT id, time, 0, 'other', src_port, dst_comp, dst_port, protocol, \
         packet_count, byte_count FROM other; DROP TABLE other",
        true,
    ),
    (
        "ALTER TABLE flows RENAME TO old; DROP INDEX flows_time; SCHEMA; \
         INSERT INTO flows SELECT id, time, 0, 'other', src_port, dst_comp, dst_port, protocol, \
         packet_count, byte_count FROM old",
        true,
    ),
];

/// What changes no flow that was there.
const ARRIVALS: [&str; 4] = [
    "INSERT INTO flows SELECT max(id) + 1, 0, 0, 'C1', 'N1', 'C2', '443', 6, 1, 1 FROM flows",
    "INSERT INTO flows SELECT NULL, 900, 0, 'C1', 'N1', 'C2', '443', 6, 1, 1 FROM flows LIMIT 50",
    "VACUUM",
    "CREATE TABLE notes (text); INSERT INTO notes VALUES ('x'); UPDATE notes SET text = 'y'",
];

/// So many flows, 99 a second.
#[track_caller]
fn server(rows: i64, journal: &str) -> TestServer {
    let server = Database::with_sql(&format!("PRAGMA journal_mode = {journal}; {SCHEMA}")).serve();
    fill(&server, rows);
    server
}

#[track_caller]
fn fill(server: &TestServer, rows: i64) {
    server.execute(&format!(
        "INSERT INTO flows WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, i / 99, 0, 'C1', 'N1', 'C2', '443', 6, 10, 5323 FROM n"
    ));
}

/// Makes an edit in one transaction; `SCHEMA` in it stands for the schema.
#[track_caller]
fn edit(server: &TestServer, sql: &str) {
    let sql = sql.replace("SCHEMA", SCHEMA);
    server.execute(&format!("BEGIN; {sql}; COMMIT"));
}

/// An answer of which more than the first page has been read, and no more for now.
struct Slow {
    wire: Wire,
    received: Vec<u8>,
}

#[track_caller]
fn begin(server: &TestServer, target: &str) -> Slow {
    let mut wire = server.open("GET", target, &[("Connection", "close")]);
    // The first page is 500 flows, 75 KB.
    let received = wire.read(150_000);
    assert_eq!(received.len(), 150_000, "a beginning");
    Slow { wire, received }
}

impl Slow {
    /// The flows of the rest, and whether it ended as a whole answer does.
    fn finish(mut self) -> (usize, bool) {
        self.received.extend(self.wire.rest());
        let whole = self.received.ends_with(b"\r\n0\r\n\r\n");
        let text = String::from_utf8_lossy(&self.received);
        (text.matches("{\"id\":").count(), whole)
    }
}

#[test]
fn every_edit_changes_the_tag_and_a_lineage_only_what_new_ids_do_not_show() {
    for (sql, ends_lineage) in EDITS {
        for target in [FLOWS.to_owned(), format!("{FLOWS}.csv?limit=3&after_id=0")] {
            let server = server(3000, "delete");
            let before = server.get(&target).ok();
            let known = [("if-none-match", before.header("etag"))];
            server.get_with(&target, &known).with_status(304);
            edit(&server, sql);
            let after = server.get_with(&target, &known).ok();
            assert_ne!(after.header("etag"), before.header("etag"), "{sql}");
            let same = after.header("flow-lineage") == before.header("flow-lineage");
            assert_eq!(same, !ends_lineage, "{sql}: {after:?}");
        }
    }
}

#[test]
fn every_edit_ends_the_cursors_and_an_arrival_none() {
    for (sql, _) in EDITS {
        for query in ["limit=10", "limit=700&after_id=0", "limit=5&src_comp=C1"] {
            let server = server(3000, "delete");
            let first = server.flows(query).ok();
            server.get(&first.next().expect("a Link")).ok();
            edit(&server, sql);
            let gone = problem(server.get(&first.next().expect("a Link")), 410, "edited");
            assert_eq!(gone["parameter"], "cursor", "{sql}: {gone}");
        }
    }
    let server = server(3000, "delete");
    let first = server.flows("limit=700").ok();
    for sql in ARRIVALS {
        server.execute(sql);
        server.get(&first.next().expect("a Link")).ok();
    }
}

#[test]
fn an_edit_under_an_answer_cuts_it_without_a_write_ahead_log() {
    for (sql, _) in EDITS {
        let server = server(LONG, "delete");
        let slow = ["", "?after_id=0", "?src_comp=C1&src_comp=other"]
            .map(|query| begin(&server, &format!("{FLOWS}.ndjson{query}")));
        edit(&server, sql);
        for slow in slow {
            let (flows, whole) = slow.finish();
            assert!(!whole && flows < LONG as usize, "{sql}: {flows} flows");
        }
        // A table that has been put in the place of the other may have no guard yet.
        let cut = |line: &str| line.contains("edited while") || line.contains("guard of the table");
        assert!(server.log().lines().all(cut), "{sql}: {}", server.log());
        assert_eq!(server.log().lines().count(), 3, "{sql}: {}", server.log());
    }
}

#[test]
fn an_edit_under_an_answer_is_not_seen_by_it_with_a_write_ahead_log() {
    for (sql, _) in EDITS {
        let server = server(LONG, "wal");
        let slow = ["", "?after_id=0", "?src_comp=C1"]
            .map(|query| begin(&server, &format!("{FLOWS}.ndjson{query}")));
        edit(&server, sql);
        for slow in slow {
            assert_eq!(slow.finish(), (LONG as usize, true), "{sql}");
        }
        assert_eq!(server.log(), "", "{sql}");
    }
}

#[test]
fn arrivals_under_an_answer_are_not_seen_by_it() {
    for journal in ["delete", "wal"] {
        let server = server(LONG, journal);
        for sql in ARRIVALS {
            let count = server
                .get(&format!("{FLOWS}.ndjson"))
                .ok()
                .text()
                .lines()
                .count();
            let slow = begin(&server, &format!("{FLOWS}.ndjson"));
            // A reader inside a transaction keeps VACUUM out of a write-ahead log.
            if journal == "delete" || sql != "VACUUM" {
                server.execute(sql);
            }
            assert_eq!(slow.finish(), (count, true), "{journal}: {sql}");
        }
    }
}

#[test]
fn a_poll_learns_of_every_lineage_that_has_ended() {
    for (sql, ends_lineage) in EDITS {
        let server = server(3000, "delete");
        let dump = server.get(FLOWS).ok();
        let (watermark, lineage) = (dump.watermark(), dump.header("flow-lineage"));
        let poll = format!("after_id={watermark}&lineage={lineage}");
        assert_eq!(server.flows(&poll).flows(), []);
        edit(&server, sql);
        let answer = server.flows(&poll);
        if ends_lineage {
            assert_eq!(
                problem(answer, 410, "lineage")["parameter"],
                "lineage",
                "{sql}"
            );
            let tag = [("if-none-match", dump.header("etag"))];
            let target = format!("{FLOWS}?lineage={lineage}");
            server.get_with(&target, &tag).with_status(410);
        } else {
            assert_eq!(answer.flows(), [], "{sql}");
            server.insert([(3001, 1)]);
            assert_eq!(server.flows(&poll).flows(), [(3001, 1)], "{sql}");
        }
    }
}

#[test]
fn ids_that_are_given_again_are_never_passed_over_in_silence() {
    let server = server(1000, "delete");
    let lineage = server.get(FLOWS).ok().header("flow-lineage").to_owned();
    // A smaller table in its place, then one as large: a watermark of the old one means nothing there.
    for rows in [10, 1010] {
        server.execute("DELETE FROM flows");
        fill(&server, rows);
        let poll = server.flows(&format!("after_id=1000&lineage={lineage}"));
        problem(poll, 410, "lineage");
    }
    let beyond = server.flows("after_id=5000");
    assert_eq!(problem(beyond, 410, "beyond")["parameter"], "after_id");
}

#[test]
fn a_cursor_of_more_than_the_table_has_is_gone() {
    let server = server(1000, "delete");
    let backup = server.database.path().with_extension("backup");
    std::fs::copy(server.database.path(), &backup).expect("a copy");
    server.insert((1001..=1100).map(|id| (id, 50)));
    let first = server.flows("limit=10").ok();
    // The copy has the same guard, and 100 flows less.
    std::fs::rename(&backup, server.database.path()).expect("a move");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    problem(server.get(&first.next().expect("a Link")), 410, "cursor");
    problem(server.flows("after_id=1100"), 410, "beyond");
}

#[test]
fn an_answer_reads_one_file_wherever_its_path_leads_to() {
    let server = server(LONG, "delete");
    let other = server.database.path().with_extension("other");
    let old = server.database.path().with_extension("old");
    let connection = rusqlite::Connection::open(&other).expect("a file");
    connection.execute_batch(SCHEMA).expect("a schema");
    connection
        .execute_batch(
            "INSERT INTO flows WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) \
             SELECT i, i / 99, 0, 'new', 'N1', 'C2', '443', 6, 10, 5323 FROM n",
        )
        .expect("flows");
    drop(connection);
    let slow = begin(&server, &format!("{FLOWS}.ndjson"));
    std::fs::rename(server.database.path(), old).expect("a move");
    std::fs::rename(other, server.database.path()).expect("a move");
    // Clients beside it, whose connections the slow one may not take.
    let mut seen = 0;
    for _ in 0..40 {
        let answer = server.flows("limit=5&format=csv").ok();
        seen += usize::from(answer.text().contains("new"));
    }
    assert_eq!(slow.finish(), (LONG as usize, true));
    assert!(seen > 0, "nobody read the new file");
}

#[test]
fn a_backup_that_is_put_back_under_an_answer_cuts_it() {
    let server = server(LONG, "delete");
    let backup = server.database.path().with_extension("backup");
    std::fs::copy(server.database.path(), &backup).expect("a copy");
    // Only flows have arrived since: the guard is the same, and what it counts falls.
    server.insert((1..=5000).map(|i| (LONG + i, 5000)));
    let slow = begin(&server, &format!("{FLOWS}.ndjson"));
    let source = rusqlite::Connection::open(&backup).expect("the copy");
    let mut live = rusqlite::Connection::open(server.database.path()).expect("the database");
    rusqlite::backup::Backup::new(&source, &mut live)
        .and_then(|backup| {
            backup.run_to_completion(100_000, std::time::Duration::from_millis(5), None)
        })
        .expect("a restore");
    let (flows, whole) = slow.finish();
    assert!(!whole && flows < LONG as usize, "{flows} flows");
    assert!(server.log().contains("edited while"), "{}", server.log());
}

/// The table and its index, without the guard.
fn unguarded() -> String {
    let (table, _) = SCHEMA.split_once("-- The guard").expect("a guard");
    table.to_owned()
}

#[test]
fn a_table_without_a_guard_says_so_and_gives_no_tag_and_no_lineage() {
    let server = Database::with_sql(&unguarded()).serve();
    fill(&server, 3000);
    for target in [FLOWS.to_owned(), format!("{FLOWS}.csv?limit=5")] {
        let answer = server.get(&target).ok();
        assert!(
            !answer.has("etag") && !answer.has("flow-lineage"),
            "{answer:?}"
        );
        server.get_with(&target, &[("if-none-match", "\"x\"")]).ok();
    }
    let lineage = server.flows("lineage=0000000000000000");
    assert_eq!(problem(lineage, 410, "not guarded")["parameter"], "lineage");
    let health = server.get("/api/v1/health").ok().json();
    let warning = health["warning"].as_str().unwrap_or_default();
    assert!(
        health["status"] == "ok" && warning.contains("flows load"),
        "{health}"
    );
    assert!(server.log().contains("not guarded"), "{}", server.log());
    // With the guard it is as any other, as soon as an instance looks anew.
    server.execute(SCHEMA);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(server.get(FLOWS).ok().has("etag"));
}

#[test]
fn without_a_guard_a_portion_that_ends_with_its_second_goes_on() {
    let server = Database::with_sql(&unguarded()).serve();
    let second = |ids: std::ops::RangeInclusive<i64>, time| ids.map(move |id| (id, time));
    server.insert(second(1..=600, 7).chain(second(601..=1300, 8)));
    let first = server.flows("limit=600").ok();
    let none = server
        .flows(&format!("limit=0&cursor={}", first.cursor()))
        .ok();
    let rest = server.flows(&format!("cursor={}", none.cursor())).ok();
    assert_eq!(rest.flows().len(), 700);
}

#[test]
fn without_a_guard_every_commit_under_an_answer_cuts_it_or_is_not_seen() {
    let commits = EDITS.map(|(sql, _)| sql);
    for journal in ["delete", "wal"] {
        for sql in commits.into_iter().filter(|sql| !sql.contains("SCHEMA")) {
            let server =
                Database::with_sql(&format!("PRAGMA journal_mode = {journal}; {}", unguarded()))
                    .serve();
            fill(&server, LONG);
            let slow = begin(&server, &format!("{FLOWS}.ndjson"));
            server.execute(sql);
            let (flows, whole) = slow.finish();
            if journal == "wal" {
                assert_eq!((flows, whole), (LONG as usize, true), "{sql}");
            } else {
                assert!(!whole && flows < LONG as usize, "{sql}: {flows} flows");
            }
        }
    }
}

#[test]
fn without_a_guard_a_cursor_asks_for_the_flow_it_stands_on() {
    let server = Database::with_sql(&unguarded()).serve();
    fill(&server, 3000);
    let first = server.flows("limit=10").ok();
    let next = first.next().expect("a Link");
    server.get(&next).ok();
    server.execute("DELETE FROM flows WHERE id = 10");
    problem(server.get(&next), 410, "cursor");
    // And for no more than the table has.
    let first = server.flows("limit=20").ok();
    server.execute("DELETE FROM flows WHERE id > 2000");
    problem(server.get(&first.next().expect("a Link")), 410, "cursor");
    problem(server.flows("after_id=2001"), 410, "beyond");
}

#[test]
fn a_guard_that_is_lost_or_damaged_is_not_relied_on() {
    for sql in [
        "DROP TRIGGER flows_guard_update",
        "DROP TRIGGER flows_guard_delete",
        "DROP TRIGGER flows_guard_replace",
        "DROP TRIGGER flows_guard_insert",
        "DROP TRIGGER flows_guard_update; DROP TRIGGER flows_guard_delete; DROP TRIGGER flows_guard_replace; \
         DROP TRIGGER flows_guard_insert; DROP TABLE flows_guard",
        "DELETE FROM flows_guard",
    ] {
        let server = server(LONG, "delete");
        let first = server.flows("limit=10").ok();
        let slow = begin(&server, &format!("{FLOWS}.ndjson"));
        server.execute(sql);
        let (flows, whole) = slow.finish();
        assert!(!whole && flows < LONG as usize, "{sql}: {flows} flows");
        let answer = server.get(FLOWS).ok();
        assert!(!answer.has("etag"), "{sql}: {answer:?}");
        problem(server.get(&first.next().expect("a Link")), 410, "cursor");
        // Made whole again it is another one: what happened meanwhile nobody knows.
        server.execute(SCHEMA);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        problem(server.get(&first.next().expect("a Link")), 410, "cursor");
    }
}

#[test]
fn what_would_be_slow_for_every_window_is_refused_and_a_view_of_two_tables_is_not() {
    for condition in ["time > 1", "time IS NOT NULL"] {
        let partial = SCHEMA.replace(
            "ON flows (time);",
            &format!("ON flows (time) WHERE {condition};"),
        );
        assert_ne!(partial, SCHEMA);
        problem(
            Database::with_sql(&partial).serve().get(FLOWS),
            503,
            "index",
        );
    }
    let table = |name: &str| {
        unguarded()
            .replace("IF NOT EXISTS flows_time", &format!("{name}_time"))
            .replace("IF NOT EXISTS flows", name)
            .replace("ON flows", &format!("ON {name}"))
    };
    let rows =
        "VALUES (1, 5, 0, 'C', 'N', 'C', '1', 6, 1, 1), (3, 1, 0, 'C', 'N', 'C', '1', 6, 1, 1)";
    let more = rows.replace("(1, 5", "(2, 4").replace("(3, 1", "(4, 9");
    let server = Database::with_sql(&format!(
        "{} {} INSERT INTO a {rows}; INSERT INTO b {more}; \
         CREATE VIEW flows AS SELECT * FROM a UNION ALL SELECT * FROM b;",
        table("a"),
        table("b")
    ))
    .serve();
    let answer = server.get(FLOWS).ok();
    assert_eq!(answer.watermark(), 4);
    assert_eq!(answer.flows(), [(3, 1), (2, 4), (1, 5), (4, 9)]);
}
