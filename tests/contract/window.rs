//! Which flows a window holds, in which order, wherever pages cut it.

use crate::ENDS;
use support::FLOWS;
use support::database::Database;
use support::server::TestServer;

/// 99 flows a second, as LANL's data has them, in the order of arrival.
fn ties(rows: i64) -> impl Iterator<Item = (i64, i64)> {
    (1..=rows).map(|id| (id, 1 + (id - 1) / 99))
}

#[test]
fn the_first_ten_published_rows_are_second_one() {
    let server = TestServer::with_lanl_head();
    let answer = server
        .flows("scanned_after=0&scanned_before=1&limit=10&format=xml")
        .ok();
    let document = roxmltree::Document::parse(answer.text()).unwrap();
    let published = include_str!("../fixtures/lanl-flows-head.txt");
    let records: Vec<_> = document
        .root_element()
        .children()
        .filter(|n| n.is_element())
        .collect();
    assert_eq!(records.len(), 10, "{answer:?}");
    for ((record, line), id) in records.iter().zip(published.lines()).zip(1..) {
        let values: Vec<_> = record.children().filter_map(|field| field.text()).collect();
        assert_eq!(values.join(","), format!("{id},{line}"));
    }
}

#[test]
fn the_lower_bound_is_exclusive_and_the_upper_inclusive() {
    let server = Database::with_flows([(1, 10), (2, 11), (3, 12), (4, 13)]).serve();
    assert_eq!(
        server.flows("scanned_after=10&scanned_before=12").flows(),
        [(2, 11), (3, 12)]
    );
    assert_eq!(server.flows("scanned_after=12").flows(), [(4, 13)]);
    assert_eq!(server.flows("scanned_before=10").flows(), [(1, 10)]);
    assert_eq!(server.flows("scanned_after=13").flows(), []);
    assert_eq!(
        server.flows("scanned_after=12&scanned_before=11").flows(),
        []
    );
}

#[test]
fn without_parameters_all_flows_come() {
    let server = Database::with_flows(ties(1234)).serve();
    assert_eq!(server.get(FLOWS).flows(), ties(1234).collect::<Vec<_>>());
}

#[test]
fn flows_are_ordered_by_time_and_then_id_however_they_arrived() {
    let flows = [(1, 30), (2, 10), (3, 20), (4, 10), (5, 30), (6, -5)];
    let server = Database::with_flows(flows).serve();
    let expected = [(6, -5), (2, 10), (4, 10), (3, 20), (1, 30), (5, 30)];
    assert_eq!(server.get(FLOWS).flows(), expected);
}

#[test]
fn a_page_cut_inside_a_second_loses_nothing() {
    // Sizes around the first page (500) and the later ones (3,000), and a second longer than both.
    for rows in [
        499, 500, 501, 2499, 2500, 2501, 3499, 3500, 3501, 4500, 4501, 6500, 6501,
    ] {
        let server = Database::with_flows((1..=rows).map(|id| (id, 7))).serve();
        let expected: Vec<_> = (1..=rows).map(|id| (id, 7)).collect();
        assert_eq!(
            server.flows("scanned_after=6&scanned_before=7").flows(),
            expected,
            "{rows}"
        );
    }
}

#[test]
fn a_limit_cuts_exactly_wherever_pages_end() {
    let server = Database::with_flows(ties(5000)).serve();
    for limit in [
        0,
        1,
        499,
        500,
        501,
        2500,
        2501,
        3499,
        3500,
        3501,
        4999,
        5000,
        5001,
        i64::MAX,
    ] {
        let expected: Vec<_> = ties(5000).take(limit as usize).collect();
        assert_eq!(
            server.flows(&format!("limit={limit}")).flows(),
            expected,
            "limit {limit}"
        );
    }
}

#[test]
fn times_and_ids_reach_both_ends_of_64_bits() {
    let flows = ENDS;
    let server = Database::with_flows(flows).serve();
    assert_eq!(server.get(FLOWS).flows(), flows);
    let after_first = format!("scanned_after={}", i64::MIN);
    assert_eq!(server.flows(&after_first).flows(), flows[2..]);
    assert_eq!(
        server.flows(&format!("scanned_after={}", i64::MAX)).flows(),
        []
    );
    assert_eq!(
        server
            .flows(&format!("scanned_before={}", i64::MIN))
            .flows(),
        flows[..2]
    );
}

#[test]
fn an_answer_under_way_is_frozen_at_its_start() {
    let rows = 60_000;
    let server = Database::with_flows(ties(rows)).serve();
    server.execute("PRAGMA journal_mode = WAL");
    let target = format!("{FLOWS}.ndjson");
    let mut wire = server.open("GET", &target, &[("Connection", "close")]);
    let mut answer = wire.read(1);
    // 60,000 flows are 9 MB, more than the sockets and the pages under way hold: the rest is still to be
    // read when these arrive, late ones in front of the place reached and new ones behind it.
    server.insert((1..=1000).map(|i| (rows + i, if i % 2 == 0 { 600 } else { 100_000 })));
    answer.extend(wire.rest());
    let text = String::from_utf8(answer).unwrap();
    assert!(
        text.ends_with("\r\n0\r\n\r\n"),
        "not ended: {}",
        &text[text.len() - 100..]
    );
    assert_eq!(text.matches("{\"id\":").count(), rows as usize);
    assert_eq!(server.get(FLOWS).flows().len(), rows as usize + 1000);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = Database::with_flows(ties(100)).serve();
    let (get, head) = (server.get(FLOWS).ok(), server.request("HEAD", FLOWS).ok());
    assert_eq!(head.body, b"");
    assert_eq!(get.header("content-length"), get.body.len().to_string());
    for name in ["content-type", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}: {head:?}");
    }
    let server = Database::with_flows(ties(10_000)).serve();
    let head = server.request("HEAD", FLOWS).ok();
    assert_eq!(
        (head.header("content-type"), head.header("content-length")),
        ("application/json", "")
    );
}
