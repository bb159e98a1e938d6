//! Counts by time and by value, held against SQL's own `GROUP BY`.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::problems::problem;
use support::FLOWS;
use support::database::{Database, UNTYPED_TABLE, unguarded_schema};
use support::random::Random;
use support::server::TestServer;

const HISTOGRAM: &str = "/api/v1/flows/histogram";
const TOP: &str = "/api/v1/flows/top";

/// Flows of many pages: late ones, ties, nulls and values of another type than their column's.
fn server(rows: u32) -> TestServer {
    Database::with_sql(&format!(
        "{UNTYPED_TABLE}
        CREATE INDEX flows_time ON flows (time);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        INSERT INTO flows SELECT i, (i * 7919) % 5003 - 40, 0, iif(i % 7, 'C' || i % 31, 'a \"b\",<&>'),
            i % 90, iif(i % 13, 'C2', NULL), 443, iif(i % 5, 6, '17'), iif(i % 11, 2.0, NULL), i * 1000 FROM n;"
    ))
    .serve()
}

/// The rows of a statement, as JSON.
fn rows(connection: &Connection, sql: &str) -> Vec<Value> {
    let mut statement = connection.prepare(sql).expect(sql);
    let rows = statement
        .query_map([], |row| row.get::<_, String>(0))
        .expect(sql);
    rows.map(|row| serde_json::from_str(&row.expect("a row")).expect("JSON"))
        .collect()
}

/// A window and filters, as a query string and as conditions.
fn questions(random: &mut Random) -> Vec<(String, String)> {
    let mut questions = vec![(String::new(), "1".to_owned())];
    for _ in 0..12 {
        let (mut query, mut conditions) = (String::new(), "1".to_owned());
        let mut time = || random.below(5200) as i64 - 100;
        let (one, other) = (time(), time());
        let (after, before) = (one.min(other), one.max(other));
        query += &format!("&scanned_after={after}&scanned_before={before}");
        conditions += &format!(" AND time > {after} AND time <= {before}");
        if random.below(2) == 0 {
            query += "&src_comp=C7&src_comp=a%20%22b%22,%3C%26%3E&protocol=17";
            conditions += " AND src_comp IN ('C7', 'a \"b\",<&>') AND protocol = '17'";
        }
        questions.push((query, conditions));
    }
    questions
}

#[test]
fn a_histogram_is_the_sums_of_each_bucket() {
    let server = server(9000);
    let connection = server.database.connect();
    let mut random = Random(7);
    for (query, conditions) in questions(&mut random) {
        for divided in [
            "",
            "&buckets=1",
            "&buckets=7",
            "&buckets=10000",
            "&width=60",
            "&width=1",
            "&width=9999",
        ] {
            let target = format!("{HISTOGRAM}?format=json{query}{divided}");
            let buckets = server.get(&target).ok().json();
            let buckets = buckets.as_array().expect("buckets");
            let bound = |bucket: Option<&Value>, name: &str| {
                bucket.map(|bucket| bucket[name].as_i64().expect("a time"))
            };
            // The buckets lie side by side, and fill the window.
            let mut end = bound(buckets.first(), "time");
            for bucket in buckets {
                assert_eq!(bound(Some(bucket), "time"), end, "{target}");
                end = bound(Some(bucket), "until");
                let (time, until) = (&bucket["time"], &bucket["until"]);
                let sql = format!(
                    "SELECT json_object('time', {time}, 'until', {until}, 'flows', count(*), 'packets',
                         ifnull(sum(CAST(packet_count AS INTEGER)), 0), 'bytes', ifnull(sum(byte_count), 0))
                     FROM flows WHERE time > {time} AND time <= {until} AND {conditions}"
                );
                if buckets.len() < 200 {
                    assert_eq!(
                        [bucket.clone()].as_slice(),
                        rows(&connection, &sql),
                        "{target}"
                    );
                }
            }
            let sum: i64 = buckets
                .iter()
                .map(|bucket| bucket["flows"].as_i64().expect("a number"))
                .sum();
            let counted = rows(
                &connection,
                &format!("SELECT json(count(*)) FROM flows WHERE {conditions}"),
            );
            assert_eq!(counted, [json!(sum)], "{target}");
        }
    }
}

#[test]
fn bounds_that_are_not_given_are_the_ends_of_the_table() {
    let server = Database::with_flows([(1, 10), (2, 11), (3, 29)]).serve();
    let times = |query: &str| -> Vec<(i64, i64, i64)> {
        let buckets = server.get(&format!("{HISTOGRAM}?{query}")).ok().json();
        let buckets = buckets.as_array().expect("buckets").clone();
        let field = |bucket: &Value, name: &str| bucket[name].as_i64().expect("a number");
        buckets
            .iter()
            .map(|bucket| {
                (
                    field(bucket, "time"),
                    field(bucket, "until"),
                    field(bucket, "flows"),
                )
            })
            .collect()
    };
    assert_eq!(times("buckets=2"), [(9, 19, 2), (19, 29, 1)]);
    assert_eq!(times("width=15"), [(9, 24, 2), (24, 29, 1)]);
    assert_eq!(times("buckets=1&scanned_after=10"), [(10, 29, 2)]);
    assert_eq!(times("buckets=1&scanned_before=10"), [(9, 10, 1)]);
    assert_eq!(
        times("buckets=2&scanned_after=100&scanned_before=102"),
        [(100, 101, 0), (101, 102, 0)]
    );
    for empty in [
        "scanned_after=30",
        "scanned_before=9",
        "scanned_after=5&scanned_before=5",
    ] {
        assert_eq!(times(empty), [], "{empty}");
    }
    server.insert([(4, 40)]);
    assert_eq!(times("buckets=1"), [(9, 40, 4)]);
    let empty = Database::with_sql(unguarded_schema()).serve();
    for (format, body) in [
        ("json", "[]"),
        ("csv", "time,until,flows,packets,bytes\r\n"),
        ("ndjson", ""),
    ] {
        assert_eq!(
            empty.get(&format!("{HISTOGRAM}.{format}")).ok().text(),
            body
        );
    }
    // Any two 64-bit integers.
    server.insert([(5, i64::MAX), (6, i64::MIN)]);
    assert_eq!(times("buckets=1"), [(i64::MIN, i64::MAX, 6)]);
    assert_eq!(
        times("buckets=2&scanned_after=0")
            .iter()
            .map(|bucket| bucket.2)
            .sum::<i64>(),
        5
    );
}

#[test]
fn the_top_is_what_grouping_and_sorting_everything_gives() {
    let server = server(9000);
    let connection = server.database.connect();
    let mut random = Random(11);
    for (query, conditions) in questions(&mut random) {
        for (by, kind) in [
            ("src_comp", "TEXT"),
            ("src_port", "TEXT"),
            ("dst_comp", "TEXT"),
            ("dst_port", "TEXT"),
            ("protocol", "INTEGER"),
        ] {
            for order in ["flows", "packets", "bytes"] {
                let target = format!("{TOP}?by={by}&order={order}&limit=20{query}");
                let found = server.get(&target).ok().json();
                let sql = format!(
                    "SELECT json_object('{by}', v, 'flows', flows, 'packets', packets, 'bytes', bytes) FROM (
                     SELECT CAST({by} AS {kind}) AS v, count(*) AS flows,
                         ifnull(sum(CAST(packet_count AS INTEGER)), 0) AS packets, sum(byte_count) AS bytes
                     FROM flows WHERE {conditions} GROUP BY v) ORDER BY {order} DESC, v LIMIT 20"
                );
                assert_eq!(found, Value::Array(rows(&connection, &sql)), "{target}");
            }
        }
    }
}

#[test]
fn counts_come_in_every_format() {
    let server = Database::with_flows([(1, 1), (2, 1)]).serve();
    let body = |target: &str| server.get(target).ok().text().to_owned();
    let window = "scanned_after=0&scanned_before=2&buckets=1";
    let flow = server.flows("limit=1").ok().json()[0].clone();
    let sums = |name: &str| flow[name].as_i64().expect("a number") * 2;
    let (packets, bytes) = (sums("packet_count"), sums("byte_count"));
    assert_eq!(
        body(&format!("{HISTOGRAM}.csv?{window}")),
        format!("time,until,flows,packets,bytes\r\n0,2,2,{packets},{bytes}\r\n")
    );
    let object =
        format!("{{\"time\":0,\"until\":2,\"flows\":2,\"packets\":{packets},\"bytes\":{bytes}}}");
    assert_eq!(
        body(&format!("{HISTOGRAM}.json?{window}")),
        format!("[{object}]")
    );
    assert_eq!(
        body(&format!("{HISTOGRAM}.ndjson?{window}")),
        format!("{object}\n")
    );
    let record = format!(
        "<record><protocol>{}</protocol><flows>2</flows><packets>{packets}</packets><bytes>{bytes}</bytes></record>",
        flow["protocol"]
    );
    let xml = body(&format!("{TOP}?by=protocol&format=xml"));
    assert_eq!(
        xml,
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n{record}\n</records>")
    );
    let csv = server
        .get_with(&format!("{TOP}?by=dst_comp"), &[("accept", "text/csv")])
        .ok();
    assert!(
        csv.text().starts_with("dst_comp,flows,packets,bytes\r\n"),
        "{csv:?}"
    );
    assert_eq!(
        csv.header("content-disposition"),
        "inline; filename=\"top.csv\""
    );
}

#[test]
fn counts_carry_what_flows_carry() {
    let server = Database::with_flows([(1, 1), (2, 5)]).serve();
    let mut tags = BTreeMap::new();
    for target in [
        format!("{HISTOGRAM}?buckets=5"),
        format!("{HISTOGRAM}?width=5"),
        format!("{HISTOGRAM}?width=5&protocol=6"),
        format!("{HISTOGRAM}.csv?width=5"),
        format!("{TOP}?by=src_comp"),
        format!("{TOP}?by=src_comp&limit=2"),
        format!("{TOP}?by=src_comp&order=flows"),
        format!("{TOP}?by=dst_comp"),
    ] {
        let answer = server.get(&target).ok();
        let tag = answer.header("etag").to_owned();
        assert_eq!(
            answer.header("flow-lineage"),
            server.flows("").ok().header("flow-lineage")
        );
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        let known = server.get_with(&target, &[("if-none-match", &tag)]);
        assert_eq!(
            (known.status, known.header("etag")),
            (304, tag.as_str()),
            "{known:?}"
        );
        let other = server.get_with(&target, &[("if-match", "\"x\"")]);
        problem(other, 412, "If-Match");
        let head = server.request_with("HEAD", &target, &[]);
        assert_eq!(
            (head.status, head.header("etag"), head.body.len()),
            (200, tag.as_str(), 0),
            "{head:?}"
        );
        let zipped = server
            .get_with(&target, &[("accept-encoding", "gzip")])
            .ok();
        assert_eq!(zipped.header("content-encoding"), "gzip");
        assert_eq!(tags.insert(tag, target), None, "{tags:?}");
    }
    server.insert([(3, 5)]);
    for (tag, target) in tags {
        assert_eq!(
            server.get_with(&target, &[("if-none-match", &tag)]).status,
            200,
            "{target}"
        );
    }
}

#[test]
fn what_cannot_be_counted_is_refused_and_named() {
    let server = Database::with_flows([(1, 1)]).serve();
    let histogram = |query: &str| server.get(&format!("{HISTOGRAM}?{query}"));
    problem(
        histogram("scanned_after=0&scanned_before=10001&width=1"),
        400,
        "10001 buckets",
    );
    problem(
        histogram("buckets=0"),
        400,
        "buckets is \"0\", expected an integer from 1 to 10000",
    );
    problem(
        histogram("width=1&buckets=1"),
        400,
        "width is given beside buckets",
    );
    problem(histogram("limit=1"), 400, "\"limit\" is no parameter");
    let top = |query: &str| server.get(&format!("{TOP}?{query}"));
    problem(
        top("by="),
        400,
        "by is \"\", expected src_comp, src_port, dst_comp, dst_port or protocol",
    );
    problem(top("by=time"), 400, "by is \"time\"");
    problem(top("by=protocol&order=count"), 400, "order is \"count\"");
    problem(
        server.get(&format!("{TOP}.yaml?by=protocol")),
        404,
        "no resource",
    );
    let absent = Database::absent().serve();
    problem(absent.get(HISTOGRAM), 503, "no table flows");
    problem(
        absent.get(&format!("{TOP}?by=protocol")),
        503,
        "no table flows",
    );
}

/// A table of so many flows, of the loader's form, with these values for a source computer and for bytes.
fn generated(rows: u32, comp: &str, bytes: &str) -> TestServer {
    let database = Database::with_flows([]);
    database
        .connect()
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO flows SELECT i, i / 7, 0, {comp}, '1', 'C', '2', 6, 1, {bytes} FROM n"
        ))
        .expect("flows");
    database.serve()
}

#[test]
fn sums_beyond_64_bits_and_too_many_values_are_errors() {
    let server = generated(3, "'C'", "4611686018427387904");
    problem(
        server.get(&format!("{HISTOGRAM}?buckets=1")),
        500,
        "the sum of bytes takes more than 64 bits",
    );
    problem(
        server.get(&format!("{TOP}?by=dst_comp")),
        500,
        "the sum of bytes takes more than 64 bits",
    );
    let server = generated(100_001, "'C' || i", "i");
    problem(
        server.get(&format!("{TOP}?by=src_comp")),
        422,
        "src_comp has more than 100000 values",
    );
    let all_but_one = server
        .get(&format!("{TOP}?by=src_comp&limit=1&scanned_before=14284"))
        .ok();
    assert_eq!(all_but_one.json()[0]["bytes"], 99_994);
}

#[test]
fn counts_of_many_flows_are_begun_before_they_are_known() {
    let server = generated(1_000_003, "'C' || i % 9", "i");
    let whole = server.get(&format!("{HISTOGRAM}?buckets=1")).ok();
    assert!(!whole.has("content-length"), "{whole:?}");
    let sum: i64 = (1..=1_000_003).sum();
    assert_eq!(
        whole.json(),
        json!([{"time": -60, "until": 142_857, "flows": 1_000_003, "packets": 1_000_003, "bytes": sum}])
    );
    let top = server
        .get_with(
            &format!("{TOP}?by=src_comp&limit=1"),
            &[("accept-encoding", "gzip")],
        )
        .ok();
    assert_eq!(top.header("content-encoding"), "gzip");
}

/// Answers of the server, and of one over the same flows that has no counts by minute.
fn assert_counted_as_read(server: &TestServer, questions: &[String]) {
    let copy = server.database.copy();
    copy.execute("DELETE FROM flows_per_minute_state");
    let reading = copy.serve();
    for question in questions {
        let target = format!("{HISTOGRAM}?{question}");
        let counted = server.get(&target).ok();
        assert_eq!(counted.text(), reading.get(&target).ok().text(), "{target}");
    }
}

#[test]
fn a_histogram_by_counted_minutes_is_that_of_the_flows_whatever_becomes_of_them() {
    let mut random = Random(3);
    let database = Database::with_flows([]);
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO flows SELECT i, (i * 7919) % 1000003 - 5000, 0, 'C', '1', 'C', '2', 6, i % 5, i * i FROM n",
    );
    database.prepare();
    let server = database.serve();
    let mut questions = vec![String::new(), "buckets=1".into(), "width=86400".into()];
    for _ in 0..20 {
        let mut time = |unit: usize| random.below(1_100_000 / unit) as i64 * unit as i64 - 50_040;
        let (one, other) = if questions.len() % 2 == 0 {
            (time(1), time(1))
        } else {
            (time(60), time(60))
        };
        let window = format!(
            "scanned_after={}&scanned_before={}",
            one.min(other),
            one.max(other)
        );
        let buckets = [1, 7, 100, 3000][questions.len() % 4];
        questions.push(format!("{window}&buckets={buckets}"));
        questions.push(format!("scanned_after={one}"));
        questions.push(format!("scanned_before={one}&width=3600"));
    }
    assert_counted_as_read(&server, &questions);
    // The counts are in use: here is a wrong one.
    let everything = format!("{HISTOGRAM}?buckets=1");
    let before = server.get(&everything).ok().json();
    let first = "(SELECT min(until) FROM flows_per_minute)";
    server.execute(&format!(
        "UPDATE flows_per_minute SET bytes = bytes + 1 WHERE until = {first}"
    ));
    let seen = server.get(&everything).ok().json()[0]["bytes"].as_i64();
    assert_eq!(seen, before[0]["bytes"].as_i64().map(|bytes| bytes + 1));
    server.execute(&format!(
        "UPDATE flows_per_minute SET bytes = bytes - 1 WHERE until = {first}"
    ));
    for change in [
        // What arrives is added, also where it is late.
        "INSERT INTO flows VALUES (20001, 77, 0, 'C', '1', 'C', '2', 6, 3, 4), (20005, 2000000, 0, 'C', '1', 'C', '2', 6, 3, 4)",
        "UPDATE flows SET byte_count = 1 WHERE id = 5000",
        "DELETE FROM flows WHERE id < 300",
        "INSERT INTO flows VALUES (7, 5, 0, 'C', '1', 'C', '2', 6, 3, 4)",
        "UPDATE flows SET packet_count = 'seven' WHERE id = 7",
        "UPDATE flows SET packet_count = 7 WHERE id = 7",
    ] {
        server.execute(change);
        let is_countable = server.get(HISTOGRAM).status == 200;
        assert_eq!(is_countable, !change.contains("seven"), "{change}");
        if is_countable {
            assert_counted_as_read(&server, &questions[..20]);
        }
        server.database.prepare();
        assert_eq!(
            server.get(HISTOGRAM).status == 200,
            is_countable,
            "{change}"
        );
    }
    assert_counted_as_read(&server, &questions);
}

#[test]
fn the_number_of_flows_is_told_where_that_is_quick() {
    let server = generated(5_000, "'C' || (i % 3)", "1");
    let count = |query: &str| {
        let prefer = [("prefer", "respond-async, count=exact")];
        let answer = server.get_with(&format!("{FLOWS}?{query}"), &prefer).ok();
        let applied = answer.header("preference-applied") == "count=exact";
        assert_eq!(applied, answer.has("flow-count"), "{answer:?}");
        applied.then(|| answer.number("flow-count"))
    };
    let extent = || server.get("/api/v1/extent").ok().json()["flows"].as_i64();
    // One page is known by itself.
    assert_eq!(count("scanned_before=60"), Some(426));
    assert_eq!(count("scanned_before=60&src_comp=C1"), Some(142));
    assert_eq!((count(""), extent()), (None, None));
    server.database.prepare();
    assert_eq!((count(""), extent()), (Some(5_000), Some(5_000)));
    assert!(!server.flows("").ok().has("flow-count"));
    // Of the whole window, whatever the portion.
    for limit in [0, 10, 4_999, 5_000, 9_999] {
        assert_eq!(count(&format!("limit={limit}")), Some(5_000));
    }
    let cursor = server.flows("limit=4000").ok().cursor();
    assert_eq!(count(&format!("limit=4000&cursor={cursor}")), Some(5_000));
    for (after, before) in [
        (0, 100),
        (7, 604),
        (59, 61),
        (60, 700),
        (-5, 714),
        (800, 900),
    ] {
        let window = format!("time > {after} AND time <= {before}");
        let expected = server
            .database
            .integer(&format!("SELECT count(*) FROM flows WHERE {window}"));
        let counted = count(&format!(
            "scanned_after={after}&scanned_before={before}&limit=1"
        ));
        // A window without a whole minute has no count that is kept.
        assert_eq!(
            counted,
            (before - after > 60).then_some(expected as u64),
            "{window}"
        );
    }
    for unknown in ["after_id=0", "src_comp=C1", "protocol=6"] {
        assert_eq!(count(unknown), None, "{unknown}");
    }
    server.insert([(5_001, 1)]);
    assert_eq!((count(""), extent()), (None, None));
    let answer = server.get_with(FLOWS, &[("prefer", "count=planned")]);
    assert!(!answer.has("flow-count"), "{answer:?}");
}

#[test]
fn counted_minutes_bring_a_sum_beyond_64_bits_to_no_other_answer() {
    let server = generated(200, "'C'", "iif(i % 100 = 0, 4611686018427387904, 1)");
    let target = |query: &str| format!("{HISTOGRAM}?width=60{query}");
    let refused = "the sum of bytes takes more than 64 bits";
    server.execute("UPDATE flows SET time = id * 10");
    let buckets = server.get(&target("")).ok().json();
    server.database.prepare();
    assert_eq!(server.get(&target("")).ok().json(), buckets);
    let one = format!("{HISTOGRAM}?buckets=1");
    problem(server.get(&one), 500, refused);
    // A minute that overflows by itself is counted by nobody.
    server.execute("UPDATE flows SET time = 7");
    server.database.prepare();
    problem(server.get(&one), 500, refused);
}
