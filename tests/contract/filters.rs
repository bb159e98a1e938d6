//! Filters: exact matches, "any of" within a column, "all of" across columns, however values are stored.

use crate::problems::problem;
use support::FLOWS;
use support::database::{Database, UNTYPED_TABLE};
use support::server::TestServer;

/// Eight flows that differ in one column or another; the time is the id.
const EIGHT: &str = "
    INSERT INTO flows VALUES (1, 1, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52);
    INSERT INTO flows VALUES (2, 2, 0, 'C2', 'N1', 'C1', '443', 6, 1, 52);
    INSERT INTO flows VALUES (3, 3, 0, 'C1', 'N2', 'C3', '53', 17, 1, 52);
    INSERT INTO flows VALUES (4, 4, 0, 'C10', '443', 'C2', 'N1', 6, 1, 52);
    INSERT INTO flows VALUES (5, 5, 0, 'c1', 'N1', 'C2', '0443', 1, 1, 52);
    INSERT INTO flows VALUES (6, 6, 0, 'a b&c=d', '%', '', '+', -1, 1, 52);
    INSERT INTO flows VALUES (7, 7, 0, 'ä🙂', 'N1', 'C2', '443', 6, 1, 52);
    INSERT INTO flows VALUES (8, 8, 0, 'C1', 'N1', 'C2', '443', 17, 1, 52);
";

fn eight() -> TestServer {
    let server = Database::with_flows([]).serve();
    server.execute(EIGHT);
    server
}

#[track_caller]
fn ids(server: &TestServer, query: &str) -> Vec<i64> {
    server
        .flows(query)
        .flows()
        .into_iter()
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn each_column_is_matched_exactly() {
    let server = eight();
    for (query, expected) in [
        ("src_comp=C1", &[1, 3, 8][..]),
        ("src_comp=c1", &[5]),
        ("src_comp=C", &[]),
        ("src_comp=C1%20", &[]),
        ("dst_comp=C1", &[2]),
        ("dst_comp=C2", &[1, 4, 5, 7, 8]),
        ("src_port=N1", &[1, 2, 5, 7, 8]),
        ("src_port=443", &[4]),
        ("dst_port=443", &[1, 2, 7, 8]),
        ("dst_port=0443", &[5]),
        ("dst_port=N1", &[4]),
        ("protocol=6", &[1, 2, 4, 7]),
        ("protocol=06", &[1, 2, 4, 7]),
        ("protocol=-1", &[6]),
        ("protocol=9223372036854775807", &[]),
    ] {
        assert_eq!(ids(&server, query), expected, "{query}");
    }
}

#[test]
fn values_come_decoded_whatever_they_hold() {
    let server = eight();
    for (query, expected) in [
        ("src_comp=a+b%26c%3Dd", 6),
        ("src_comp=a%20b%26c=d", 6),
        ("src_port=%25", 6),
        ("dst_port=%2B", 6),
        ("src_comp=%C3%A4%F0%9F%99%82", 7),
    ] {
        assert_eq!(ids(&server, query), [expected], "{query}");
    }
    // Text that only SQL or a pattern would take as more than itself.
    for query in [
        "src_comp=%27%20OR%201%3D1--",
        "src_comp=%25",
        "src_comp=C%3F",
        "src_comp=C%5F",
        "src_comp=%00",
    ] {
        assert_eq!(ids(&server, query), [0; 0], "{query}");
    }
}

#[test]
fn a_repeated_filter_means_any_of() {
    let server = eight();
    assert_eq!(ids(&server, "src_comp=C1&src_comp=C10"), [1, 3, 4, 8]);
    assert_eq!(ids(&server, "src_comp=C1&src_comp=C1"), [1, 3, 8]);
    assert_eq!(ids(&server, "src_comp=nobody&src_comp=c1"), [5]);
    assert_eq!(ids(&server, "protocol=17&protocol=1"), [3, 5, 8]);
    assert_eq!(
        ids(&server, "dst_port=53&dst_port=443&dst_port=N1"),
        [1, 2, 3, 4, 7, 8]
    );
    let thousands: String = (0..3000).map(|i| format!("&src_comp=D{i}")).collect();
    assert_eq!(ids(&server, &format!("src_comp=C10{thousands}")), [4]);
}

#[test]
fn filters_of_different_columns_mean_all_of() {
    let server = eight();
    assert_eq!(ids(&server, "src_comp=C1&protocol=17"), [3, 8]);
    assert_eq!(ids(&server, "src_comp=C1&protocol=17&dst_port=443"), [8]);
    assert_eq!(
        ids(&server, "src_comp=C1&src_comp=C2&dst_comp=C1&dst_comp=C3"),
        [2, 3]
    );
    assert_eq!(
        ids(
            &server,
            "src_comp=C1&src_comp=C2&src_port=N1&dst_comp=C2&dst_port=443&protocol=6&protocol=17"
        ),
        [1, 8]
    );
    assert_eq!(ids(&server, "src_comp=C1&dst_comp=C1"), [0; 0]);
}

#[test]
fn filters_go_with_window_feed_limit_and_format() {
    let server = eight();
    assert_eq!(
        ids(&server, "protocol=6&scanned_after=1&scanned_before=4"),
        [2, 4]
    );
    assert_eq!(ids(&server, "protocol=6&after_id=2"), [4, 7]);
    assert_eq!(ids(&server, "protocol=6&after_id=2&scanned_before=4"), [4]);
    assert_eq!(ids(&server, "protocol=6&limit=3"), [1, 2, 4]);
    let csv = server.flows("protocol=17&format=csv").ok();
    assert_eq!(csv.text().lines().count(), 3, "{csv:?}");
}

#[test]
fn numbers_stored_as_text_and_text_stored_as_numbers_match_as_they_are_written() {
    let server = Database::with_sql(&format!(
        "{UNTYPED_TABLE}
        CREATE INDEX by_time ON flows (time);
        INSERT INTO flows VALUES (1, 1, 0, 'C1', 1136, 'C2', 443, '6', 1, 52);
        INSERT INTO flows VALUES (2, 2, 0, 12, '1136', 'C2', '443', 6, 1, 52);
        INSERT INTO flows VALUES (3, 3, 0, 1.5, 'N1', 'C2', 443.0, 17.0, 1, 52);
        INSERT INTO flows VALUES (4, 4, 0, NULL, NULL, NULL, NULL, NULL, 1, 52);"
    ))
    .serve();
    for (query, expected) in [
        ("src_port=1136", &[1, 2][..]),
        ("dst_port=443", &[1, 2]),
        ("dst_port=443.0", &[3]),
        ("protocol=6", &[1, 2]),
        ("protocol=17", &[3]),
        ("protocol=0", &[]),
        ("src_comp=12", &[2]),
        ("src_comp=1.5", &[3]),
        ("src_comp=null", &[]),
    ] {
        assert_eq!(ids(&server, query), expected, "{query}");
    }
    // A filter takes a value as the answer writes it.
    let all = server.get(FLOWS).ok().json();
    for flow in all.as_array().expect("an array") {
        for column in ["src_comp", "src_port", "dst_comp", "dst_port", "protocol"] {
            let value = match &flow[column] {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            let id = flow["id"].as_i64().expect("an id");
            let found = ids(&server, &format!("{column}={value}"));
            assert!(
                found.contains(&id),
                "{column}={value}: {found:?} without {id}"
            );
        }
    }
}

#[test]
fn a_large_window_with_few_or_no_matches_answers_right_in_every_format() {
    // Four times the rows that a page looks at; one match behind all of them.
    let server = Database::with_flows((1..=40_000).map(|id| (id, id / 50))).serve();
    server.execute("UPDATE flows SET dst_port = 'N9' WHERE id = 39999");
    for order in ["", "&after_id=0"] {
        assert_eq!(ids(&server, &format!("dst_port=N9{order}")), [39_999]);
        assert_eq!(
            ids(
                &server,
                &format!("dst_port=N9&scanned_after=100&limit=1{order}")
            ),
            [39_999]
        );
        for (format, empty) in [
            ("json", "[]"),
            (
                "xml",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>",
            ),
            ("ndjson", ""),
            (
                "csv",
                "id,time,duration,src_comp,src_port,dst_comp,dst_port,protocol,packet_count,byte_count\r\n",
            ),
        ] {
            for query in [
                "src_comp=nobody",
                "dst_port=N9&scanned_before=700",
                "src_comp=nobody&limit=7",
            ] {
                let answer = server
                    .flows(&format!("format={format}&{query}{order}"))
                    .ok();
                assert_eq!(answer.text(), empty, "{answer:?}");
                assert_eq!(answer.next(), None, "{answer:?}");
            }
        }
    }
}

#[test]
fn a_second_longer_than_what_a_page_looks_at_is_filtered_to_its_end() {
    let server =
        Database::with_flows((1..=25_000).map(|id| (id, if id < 24_000 { 7 } else { 8 }))).serve();
    server.execute("UPDATE flows SET protocol = 17 WHERE id IN (1, 9999, 10000, 10001, 20001, 23999, 24000, 25000)");
    let expected = [1, 9999, 10_000, 10_001, 20_001, 23_999, 24_000, 25_000];
    assert_eq!(ids(&server, "protocol=17"), expected);
    for limit in 1..=8 {
        let portions = server.portions(&format!("{FLOWS}?protocol=17&limit={limit}"));
        let found: Vec<_> = portions
            .into_iter()
            .flat_map(|portion| portion.flows())
            .collect();
        assert!(
            found.iter().map(|(id, _)| *id).eq(expected),
            "{limit}: {found:?}"
        );
    }
}

#[test]
fn an_empty_or_malformed_filter_is_400_and_named() {
    let server = eight();
    for (query, parameter) in [
        ("src_comp=", "src_comp"),
        ("src_comp", "src_comp"),
        ("dst_comp=C1&dst_comp=", "dst_comp"),
        ("src_port=", "src_port"),
        ("dst_port=", "dst_port"),
        ("dst_port=%FF", "dst_port"),
        ("protocol=", "protocol"),
        ("protocol=tcp", "protocol"),
        ("protocol=6&protocol=6.0", "protocol"),
        ("protocol=9223372036854775808", "protocol"),
        ("packet_count=1", "packet_count"),
    ] {
        let problem = problem(server.flows(query), 400, parameter);
        assert_eq!(problem["parameter"], parameter, "{query}: {problem}");
    }
}
