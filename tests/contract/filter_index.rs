//! Filters that an index answers: the same bytes as without it, whatever the table holds.

use support::FLOWS;
use support::database::{Database, SCHEMA};
use support::random::Random;
use support::server::TestServer;
use test_host::faults::Point;

/// Rows of a table in which an index of a filter pays.
const ROWS: u32 = 60_000;

/// Busy hosts and rare ones, late flows, ties and a second of many flows.
fn with_hosts(schema: &str, comp: &str) -> Database {
    Database::with_sql(&format!(
        "PRAGMA journal_mode = WAL; {schema};
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO flows SELECT i, iif(i % 9 = 0, 700, iif(i % 50 = 0, i / 90, i / 30)), 0, {comp}, 'N' || (i % 7),
             iif(i % 3, 'C1', 'C' || (i % 5003)), iif(i % 2, '443', 'N' || (i * 31 % 977)), iif(i % 4, 6, 17), 1, i
         FROM n"
    ))
}

const HOSTS: &str = "CASE WHEN i % 3 = 0 THEN 'C1' WHEN i % 20 = 0 THEN 'C2' WHEN i % 999 = 0 THEN 'a b' ELSE 'C' || (i * 17 % 4001) END";

/// Questions in which any of the filters may be the rarest.
fn questions(random: &mut Random, count: usize) -> Vec<String> {
    let mut questions = Vec::new();
    for _ in 0..count {
        let mut question = String::new();
        let some_of = ["C1", "C2", "C17", "C34", "a%20b", "C3000", "none", "C68"];
        for _ in 0..1 + random.below(3) {
            question += &format!("&src_comp={}", some_of[random.below(some_of.len())]);
        }
        match random.below(5) {
            0 => question += "&dst_comp=C1",
            1 => question += "&dst_comp=C9&dst_comp=C12&protocol=6",
            2 => question += "&dst_port=N31&dst_port=443",
            3 => question += "&src_port=N3&protocol=17",
            _ => {}
        }
        match random.below(4) {
            0 => question += "&scanned_after=650&scanned_before=1800",
            1 => question += "&scanned_after=699&scanned_before=700",
            2 => question += &format!("&scanned_after={}", random.below(300)),
            _ => {}
        }
        questions.push(question);
    }
    questions
}

/// What has to be the same: the status, the bytes and where the next portion starts.
fn answer(server: &TestServer, path: &str) -> (u16, String, Option<String>) {
    let response = server.get(path);
    let text = String::from_utf8_lossy(&response.body).into_owned();
    (response.status, text, response.next())
}

/// Asks both for whole answers, for portions and for counts.
#[track_caller]
fn assert_same(indexed: &Database, plain: &Database, questions: &[String]) {
    let (indexed, plain) = (indexed.serve(), plain.serve());
    for (i, question) in questions.iter().enumerate() {
        let format = ["ndjson", "csv", "json", "xml"][i % 4];
        let limit = [1, 499, 501, 2500][i % 4];
        for path in [
            format!("{FLOWS}.{format}?{question}"),
            format!("/api/v1/flows/top?by=dst_port{question}"),
            format!("/api/v1/flows/histogram?buckets=9{question}"),
            format!("{FLOWS}.{format}?limit={limit}{question}"),
        ] {
            let mut next = Some(path);
            for _ in 0..4 {
                let Some(path) = next else { break };
                let (found, expected) = (answer(&indexed, &path), answer(&plain, &path));
                let (flows, lines) = (found.1.lines(), expected.1.lines());
                assert_eq!(flows.zip(lines).find(|(a, b)| a != b), None, "{path}");
                assert!(found == expected, "{path}: {:?}, {:?}", found.2, expected.2);
                next = found.2;
            }
        }
    }
}

/// The statements that an answer takes.
fn statements(server: &TestServer, query: &str) -> usize {
    server.faults().clear();
    server.flows(query).ok();
    server.faults().passed(Point::Execute)
}

#[test]
fn answers_are_the_same_with_and_without_an_index_for_a_filter() {
    let questions = questions(&mut Random(5), 24);
    let plain = with_hosts(SCHEMA, HOSTS);
    plain.prepare();
    for columns in [
        "src_comp",
        "src_comp,dst_comp",
        "src_port,dst_port,dst_comp",
    ] {
        let indexed = plain.copy();
        indexed.index(columns);
        assert_same(&indexed, &plain, &questions);
    }
    // Late flows, edits and deletions; the copy without the indexes has the same guard.
    let edited = plain.copy();
    edited.index("src_comp,dst_comp");
    edited.execute(
        "INSERT INTO flows SELECT id + 100000, time - 300, duration, dst_comp, src_port, src_comp, dst_port, protocol,
             1, 1 FROM flows WHERE id % 9 = 0;
         UPDATE flows SET src_comp = 'C17', time = time + 5 WHERE id % 301 = 0;
         DELETE FROM flows WHERE id % 17 = 0",
    );
    let scanned = edited.copy();
    scanned.index("");
    assert_same(&edited, &scanned, &questions[..8]);
}

#[test]
fn an_index_is_read_where_it_takes_fewer_steps() {
    let plain = with_hosts(SCHEMA, HOSTS);
    let indexed = plain.copy();
    indexed.index("src_comp,dst_comp");
    let (indexed, plain) = (indexed.serve(), plain.serve());
    for (query, expected) in [
        ("src_comp=C17", true),
        ("src_comp=none", true),
        ("src_comp=C17&src_comp=C34&dst_comp=C1", true),
        ("src_comp=C1&dst_comp=C9", true),
        // A third of all rows, a short window, a column without an index.
        ("src_comp=C1", false),
        ("src_comp=C17&scanned_after=1990", false),
        ("dst_port=N31", false),
        ("src_comp=C17&after_id=0", false),
    ] {
        statements(&indexed, query);
        let (with, without) = (statements(&indexed, query), statements(&plain, query));
        assert_eq!(with < without, expected, "{query}: {with} and {without}");
    }
}

#[test]
fn an_index_that_does_not_answer_exactly_is_not_read() {
    let questions = questions(&mut Random(9), 12);
    let no_types = SCHEMA.replace("src_comp     TEXT    NOT NULL", "src_comp");
    let no_case = SCHEMA.replace("src_comp     TEXT", "src_comp     TEXT COLLATE NOCASE");
    let by_time = "CREATE INDEX flows_src_comp ON flows (src_comp, time)";
    for (schema, comp, index) in [
        // Numbers and BLOBs match as they are written.
        (
            no_types.as_str(),
            "iif(i % 3, i % 40, 'C' || i % 40)",
            by_time,
        ),
        (
            &no_types,
            "iif(i % 500, 'C' || i % 400, CAST('C17' AS BLOB))",
            by_time,
        ),
        (&no_types, "iif(i % 500, 'C' || i % 400, NULL)", by_time),
        (&no_case, "iif(i % 2, 'c', 'C') || i % 4000", by_time),
        (
            SCHEMA,
            HOSTS,
            "CREATE INDEX flows_src_comp ON flows (src_comp, time) WHERE time > 900",
        ),
        (
            SCHEMA,
            HOSTS,
            "CREATE INDEX flows_src_comp ON flows (src_comp, time DESC)",
        ),
        (
            SCHEMA,
            HOSTS,
            "CREATE INDEX flows_src_comp ON flows (src_comp COLLATE NOCASE, time)",
        ),
        (
            SCHEMA,
            HOSTS,
            "CREATE INDEX flows_src_comp ON flows (dst_comp, time)",
        ),
        (
            SCHEMA,
            HOSTS,
            "CREATE INDEX flows_src_comp ON flows (src_comp)",
        ),
        (
            &no_case,
            HOSTS,
            "CREATE INDEX flows_src_comp ON flows (src_comp COLLATE BINARY, time)",
        ),
    ] {
        let plain = with_hosts(schema, comp);
        let indexed = plain.copy();
        indexed.execute(index);
        let questions: Vec<_> = questions
            .iter()
            .map(|question| format!("{question}&columns=id,time,dst_comp"))
            .filter(|question| !comp.contains("BLOB") || question.contains("C17"))
            .collect();
        assert_same(&indexed, &plain, &questions);
    }
}
