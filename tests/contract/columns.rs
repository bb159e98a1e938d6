//! `columns`: some fields alone, in the order that is asked for.

use serde_json::{Map, Value};

use crate::problems::problem;
use support::FLOWS;
use support::database::{Database, UNTYPED_TABLE};
use support::server::TestServer;

/// What is asked for. Pages need the key, which stands first in one of these, elsewhere or nowhere in the others.
const LISTS: [&str; 6] = [
    "id",
    "byte_count",
    "id,time,byte_count",
    "time,id",
    "byte_count,packet_count,protocol,dst_port,dst_comp,src_port,src_comp,duration,time,id",
    "src_comp,id,duration,time",
];

/// A table whose flows fill several pages, with ties, and with values of another type than their column's.
fn server() -> TestServer {
    Database::with_sql(
        &format!("{UNTYPED_TABLE}
        CREATE INDEX flows_time ON flows (time);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
        INSERT INTO flows SELECT i, (i * 7919) % 5003 / 3, iif(i % 11, 3, NULL), iif(i % 7, 'C' || i, 'a \"b\",<&>'),
            i % 90, iif(i % 13, 'C2', NULL), '443', iif(i % 5, 6, '17'), 1.0, i * 1000 FROM n;"),
    )
    .serve()
}

/// The fields of a record that a list names, in its order, as JSON.
fn projected(record: &Map<String, Value>, list: &str) -> String {
    let member = |name: &str| format!("\"{name}\":{}", record[name]);
    let members: Vec<_> = list.split(',').map(member).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn every_format_has_the_columns_that_are_asked_for_in_their_order() {
    let server = server();
    for query in [
        "",
        "&scanned_after=700&src_comp=C4711",
        "&protocol=17",
        "&after_id=3333",
        "&scanned_before=-9",
    ] {
        let whole = server.flows(&format!("format=json{query}")).ok().json();
        let whole: Vec<Map<String, Value>> = serde_json::from_value(whole).expect("records");
        for list in LISTS {
            let asked = |format: &str| {
                let answer = server.flows(&format!("format={format}&columns={list}{query}"));
                answer.ok().text().to_owned()
            };
            let lines: Vec<_> = whole.iter().map(|record| projected(record, list)).collect();
            assert_eq!(asked("json"), format!("[{}]", lines.join(",\n")), "{list}");
            let ndjson: String = lines.iter().map(|line| line.clone() + "\n").collect();
            assert_eq!(asked("ndjson"), ndjson, "{list}");
            assert_csv(&asked("csv"), &whole, list);
            assert_xml(&asked("xml"), &whole, list);
        }
    }
}

fn assert_csv(body: &str, whole: &[Map<String, Value>], list: &str) {
    let mut reader = csv::Reader::from_reader(body.as_bytes());
    let header: Vec<_> = reader.headers().expect("a header").iter().collect();
    assert_eq!(header.join(","), list);
    let records: Vec<_> = reader
        .records()
        .map(|record| record.expect("a record"))
        .collect();
    assert_eq!(records.len(), whole.len(), "{list}");
    for (record, expected) in records.iter().zip(whole) {
        let expected = list.split(',').map(|name| match &expected[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        });
        assert!(record.iter().eq(expected), "{record:?}");
    }
}

fn assert_xml(body: &str, whole: &[Map<String, Value>], list: &str) {
    let document = roxmltree::Document::parse(body).expect("XML");
    let elements = |node: roxmltree::Node<'_, '_>| -> Vec<(String, String)> {
        let children = node.children().filter(roxmltree::Node::is_element);
        let named = |node: roxmltree::Node<'_, '_>| {
            let text = node.text().unwrap_or_default();
            (node.tag_name().name().to_owned(), text.to_owned())
        };
        children.map(named).collect()
    };
    let records: Vec<_> = document
        .root_element()
        .children()
        .filter(roxmltree::Node::is_element)
        .collect();
    assert_eq!(records.len(), whole.len(), "{list}");
    for (record, expected) in records.into_iter().zip(whole) {
        let expected = list.split(',').filter_map(|name| match &expected[name] {
            Value::Null => None,
            Value::String(text) => Some((name.to_owned(), text.clone())),
            number => Some((name.to_owned(), number.to_string())),
        });
        assert!(elements(record).into_iter().eq(expected), "{record:?}");
    }
}

#[test]
fn portions_of_some_columns_are_the_flows_of_the_whole_answer() {
    let server = server();
    for list in LISTS {
        for query in ["", "&protocol=17", "&after_id=70"] {
            let target = format!("{FLOWS}?format=ndjson&columns={list}{query}");
            let whole = server.get(&target).ok().text().to_owned();
            // One portion ends within the first page, the others in later ones.
            for limit in [whole.lines().count().div_ceil(3), 499] {
                let portions = server.portions(&format!("{target}&limit={limit}"));
                let joined: String = portions.iter().map(|portion| portion.text()).collect();
                assert_eq!(joined, whole, "{target} by {limit}");
            }
        }
    }
}

#[test]
fn the_end_line_has_as_many_fields_as_it_needs() {
    let server = Database::with_flows([(1, 1), (2, 5)]).serve();
    let csv = |query: &str| {
        server
            .flows(&format!("format=csv&end=1&{query}"))
            .ok()
            .text()
            .to_owned()
    };
    assert_eq!(csv("columns=time"), "time\r\n1\r\n5\r\nend,2,2,\r\n");
    let five = csv("columns=id,time,duration,src_comp,protocol");
    assert!(five.ends_with("\r\nend,2,2,,\r\n"), "{five}");
    assert_eq!(
        csv("columns=id,time&scanned_after=9"),
        "id,time\r\nend,0,2,\r\n"
    );
}

#[test]
fn columns_that_are_unknown_or_repeated_are_refused() {
    let server = Database::with_flows([(1, 1)]).serve();
    for list in ["", "id,", "id,id", "flow", "ID", "id,%20time", "id;time"] {
        problem(
            server.flows(&format!("columns={list}")),
            400,
            "columns has ",
        );
    }
    problem(
        server.flows("columns=id&columns=time"),
        400,
        "more than once",
    );
    problem(server.get("/api/v1/extent?columns=id"), 400, "no parameter");
}

#[test]
fn an_answer_of_some_columns_has_an_entity_tag_of_its_own() {
    let server = Database::with_flows([(1, 1)]).serve();
    let tag = |query: &str| server.flows(query).ok().header("etag").to_owned();
    let all =
        "id,time,duration,src_comp,src_port,dst_comp,dst_port,protocol,packet_count,byte_count";
    assert_eq!(tag(&format!("columns={all}")), tag(""));
    let some = tag("columns=id,time");
    assert_ne!(some, tag(""));
    assert_ne!(some, tag("columns=time,id"));
    let target = format!("{FLOWS}?columns=id,time");
    let known = server.get_with(&target, &[("if-none-match", &some)]);
    assert_eq!(known.status, 304, "{known:?}");
}

#[test]
fn the_bigquery_schema_has_the_columns_that_are_asked_for() {
    let server = Database::with_flows([(1, 1)]).serve();
    let schema = |query: &str| server.get(&format!("/api/v1/schema/bigquery?{query}"));
    let some = schema("columns=src_comp,time").ok();
    assert_eq!(
        some.json(),
        serde_json::json!([
            {"name": "src_comp", "type": "STRING", "mode": "NULLABLE"},
            {"name": "time", "type": "INTEGER", "mode": "REQUIRED"},
        ])
    );
    assert_ne!(some.header("etag"), schema("").ok().header("etag"));
    problem(schema("columns=x"), 400, "columns has ");
    problem(schema("limit=1"), 400, "expected one of columns");
}
