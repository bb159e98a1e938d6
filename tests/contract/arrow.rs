//! Arrow IPC streams, read by Arrow's own crates and held against the same answer in JSON.

use std::collections::BTreeMap;

use flow_window::table::columns::COLUMNS;
use support::FLOWS;
use support::database::{Database, UNTYPED_TABLE, unguarded_schema};
use support::records::{ArrowStream, Cell, Record, arrow_field, parse};
use support::server::TestServer;
use support::wire::{End, Response};

#[track_caller]
fn stream(answer: &Response) -> ArrowStream {
    ArrowStream::read(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Flows of several pages, among them nulls, empty texts, long ones and values of another type than their column's.
fn odd() -> TestServer {
    Database::with_sql(
        &format!("{UNTYPED_TABLE}
        CREATE INDEX flows_time ON flows (time);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
        INSERT INTO flows SELECT i * 3 - 9000, (i * 7919) % 5003 / 3, iif(i % 11, 3, NULL),
            iif(i % 7, 'C' || i, 'a \"b\",<&>' || char(10, 0x2028, 0x1F642)),
            i % 90, iif(i % 13, iif(i % 900, 'C2', printf('%.*c', 70000, 'x')), NULL), iif(i % 3, '', NULL),
            iif(i % 5, 6, ' -17'), 1.0, iif(i % 17, i * 1000, NULL)
        FROM n;
        UPDATE flows SET duration = NULL WHERE id BETWEEN 1000 AND 6000;
        UPDATE flows SET byte_count = 9223372036854775807 WHERE id = 3;
        UPDATE flows SET byte_count = -9223372036854775807 - 1, src_comp = 'null' WHERE id = 6;
        UPDATE flows SET src_comp = char(0) WHERE id = 9;"),
    )
    .serve()
}

#[test]
fn a_stream_holds_what_the_same_answer_holds_in_json() {
    for server in [Database::generated(20_000).serve(), odd()] {
        for query in [
            "",
            "limit=0",
            "limit=1",
            "limit=499",
            "limit=500",
            "limit=501",
            "limit=6000",
            "scanned_after=9000000",
            "scanned_after=100&scanned_before=101",
            "after_id=0",
            "after_id=1999&limit=3000",
            "src_comp=C4711",
            "protocol=17",
            "src_comp=nobody",
            "src_comp=nobody&limit=5",
        ] {
            let arrow = server.flows(&format!("format=arrow&{query}")).ok();
            let json = server.flows(&format!("format=json&{query}")).ok();
            let read = parse("arrow", &arrow.body).unwrap_or_else(|e| panic!("{e}: {arrow:?}"));
            let expected = parse("json", &json.body).expect("records");
            assert_eq!(read.len(), expected.len(), "{query}");
            let parts = read.iter().zip(&expected).find(|(a, b)| a != b);
            assert_eq!(parts, None, "{query}");
            assert_eq!(arrow.next().is_some(), json.next().is_some(), "{query}");
        }
    }
}

#[test]
fn batches_depend_on_the_flows_alone_and_the_last_one_has_the_count() {
    let server = Database::generated(20_000).serve();
    let whole = stream(&server.flows("format=arrow").ok());
    let sizes: Vec<_> = whole
        .batches
        .iter()
        .map(|(records, _)| records.len())
        .collect();
    assert_eq!(sizes, [500, 8192, 8192, 3116]);
    let (_, before_last) = whole.batches.split_last().expect("batches");
    assert!(before_last.iter().all(|(_, metadata)| metadata.is_empty()));
    // A filter's pages hold few flows each.
    let filtered = stream(&server.flows("format=arrow&protocol=6").ok());
    let (last, full) = filtered.batches.split_last().expect("batches");
    assert!(
        full.iter()
            .skip(1)
            .all(|(records, _)| records.len() == 8192)
            && !last.0.is_empty()
    );
    // A walk that finds nothing has pages and no batch, but for the one that says so.
    let none = stream(&server.flows("format=arrow&src_comp=nobody").ok());
    assert_eq!(none.batches.len(), 1, "{none:?}");
}

#[test]
fn long_texts_make_short_batches() {
    let database = Database::with_flows((1..=100).map(|id| (id, id)));
    database.execute("UPDATE flows SET dst_comp = printf('%.*c', 100000, 'x')");
    let stream = stream(&database.serve().flows("format=arrow").ok());
    let long = |records: &[Record]| -> usize {
        let texts = records.iter().flatten().map(|cell| match cell {
            Cell::Text(text) => text.len(),
            _ => 0,
        });
        texts.sum()
    };
    for (records, _) in &stream.batches {
        let bytes = long(records);
        assert!(
            bytes < 2 << 20,
            "{bytes} bytes of text in {} records",
            records.len()
        );
    }
    assert_eq!(stream.batches.len(), 10);
}

#[test]
fn the_schema_says_what_is_known_at_the_start() {
    let server = Database::generated(3000).serve();
    for (query, keys) in [
        ("", &["lineage", "watermark"][..]),
        ("end=1", &["lineage", "watermark"]),
        ("limit=5", &["cursor", "lineage"]),
        ("limit=5&end=1", &["cursor", "lineage"]),
        ("after_id=7&limit=800", &["cursor", "lineage", "watermark"]),
        ("src_comp=nobody", &["lineage", "watermark"]),
    ] {
        let answer = server.flows(&format!("format=arrow&{query}")).ok();
        let schema = stream(&answer).schema;
        let metadata: BTreeMap<_, _> = schema.metadata().iter().collect();
        let found: Vec<_> = metadata.keys().map(|key| key.as_str()).collect();
        assert_eq!(found, keys, "{query}");
        for (key, value) in metadata {
            let expected = match key.as_str() {
                "cursor" => answer.cursor(),
                name => answer.header(&format!("flow-{name}")).to_owned(),
            };
            assert_eq!(*value, expected, "{query}");
        }
    }
    // Without a guard there is no lineage.
    let server = Database::with_sql(unguarded_schema()).serve();
    let schema = stream(&server.flows("format=arrow").ok()).schema;
    assert_eq!(schema.metadata().keys().collect::<Vec<_>>(), ["watermark"]);
}

#[test]
fn columns_come_alone_and_in_the_order_that_is_asked_for() {
    let server = odd();
    let whole = parse("json", &server.get(FLOWS).ok().body).expect("records");
    for places in [
        &[0][..],
        &[9],
        &[3, 0, 5],
        &[1, 0],
        &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ] {
        let names: Vec<_> = places.iter().map(|place| COLUMNS[*place].name).collect();
        let target = format!("{FLOWS}.arrow?columns={}", names.join(","));
        let read = stream(&server.get(&target).ok());
        let fields: Vec<_> = places
            .iter()
            .map(|place| arrow_field(&COLUMNS[*place]))
            .collect();
        assert_eq!(read.schema.fields().to_vec(), fields);
        let projected = whole.iter().map(|record| {
            let cells = places.iter().map(|place| record[*place].clone());
            cells.collect::<Record>()
        });
        assert!(read.records().into_iter().eq(projected), "{target}");
    }
}

#[test]
fn counts_come_as_a_stream_as_well() {
    let server = odd();
    // Their sum would take more than 64 bits.
    server.execute("DELETE FROM flows WHERE id IN (3, 6)");
    for target in [
        "/api/v1/flows/histogram?buckets=7",
        "/api/v1/flows/top?by=dst_comp",
        "/api/v1/flows/top?by=protocol&limit=0",
    ] {
        let (path, query) = target.split_once('?').expect("a query");
        let json = server.get(target).ok().json();
        let read = stream(&server.get(&format!("{path}.arrow?{query}")).ok());
        let names: Vec<_> = read
            .schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect();
        assert!(read.schema.metadata().is_empty(), "{target}");
        let records = read.records().into_iter().map(|record| {
            let members = names
                .iter()
                .cloned()
                .zip(record.into_iter().map(|cell| match cell {
                    Cell::Integer(integer) => integer.into(),
                    Cell::Text(text) => text.into(),
                    _ => serde_json::Value::Null,
                }));
            serde_json::Value::Object(members.collect())
        });
        assert_eq!(
            serde_json::Value::Array(records.collect()),
            json,
            "{target}"
        );
    }
}

/// Some readers take a stream without its marker for a whole one, so the connection has to show it.
#[test]
fn an_answer_that_is_cut_has_no_marker_of_its_end() {
    let server = Database::generated(30_000).serve();
    let whole = server.flows("format=arrow").ok();
    server.execute("UPDATE flows SET byte_count = 'many' WHERE id = 25000");
    let cut = server.flows("format=arrow");
    assert_eq!(cut.end, End::Cut, "{cut:?}");
    assert!(
        !cut.body.is_empty() && cut.body.len() < whole.body.len(),
        "{cut:?}"
    );
    let error = ArrowStream::read(&cut.body).expect_err("a cut stream");
    assert!(
        error.contains("no marker") || error.contains("cut") || error.contains("count"),
        "{error}"
    );
}
