//! The arrival feed: `after_id`, and the watermark by which a client goes on.

use std::collections::BTreeSet;

use crate::problems::problem;
use support::database::Database;
use support::{FLOWS, FORMATS};

/// Flows whose times are anywhere, as late ones are.
const LATE: [(i64, i64); 6] = [(1, 30), (2, 10), (4, 20), (5, -5), (8, 10), (9, 30)];

#[test]
fn after_id_alone_gives_what_arrived_since_in_the_order_of_id() {
    let server = Database::with_flows(LATE).serve();
    assert_eq!(server.flows("after_id=0").flows(), LATE);
    assert_eq!(server.flows("after_id=2").flows(), LATE[2..]);
    assert_eq!(server.flows("after_id=3").flows(), LATE[2..]);
    assert_eq!(server.flows("after_id=8").flows(), LATE[5..]);
    assert_eq!(server.flows("after_id=9").flows(), []);
    assert_eq!(server.flows("after_id=-7&limit=2").flows(), LATE[..2]);
    assert_eq!(
        server.flows(&format!("after_id={}", i64::MIN)).flows(),
        LATE
    );
}

#[test]
fn after_id_with_a_window_gives_the_windows_flows_in_the_order_of_id() {
    let server = Database::with_flows(LATE).serve();
    let window = "scanned_after=-5&scanned_before=20";
    assert_eq!(
        server.flows(&format!("after_id=0&{window}")).flows(),
        [(2, 10), (4, 20), (8, 10)]
    );
    assert_eq!(
        server.flows(&format!("{window}&after_id=2")).flows(),
        [(4, 20), (8, 10)]
    );
    assert_eq!(
        server.flows("after_id=1&scanned_after=20").flows(),
        [(9, 30)]
    );
    assert_eq!(
        server.flows("after_id=1&scanned_before=-5").flows(),
        [(5, -5)]
    );
}

#[test]
fn a_feed_longer_than_every_page_is_in_the_order_of_id() {
    // Times fall while ids rise, so that the two orders are opposite.
    let flows: Vec<_> = (1..=25_000).map(|id| (id, -(id / 50))).collect();
    let server = Database::with_flows(flows.iter().copied()).serve();
    assert!(server.flows("after_id=0").flows() == flows);
    assert!(server.flows("after_id=499&scanned_before=-20").flows() == flows[999..]);
    let few = server.flows("after_id=0&scanned_before=-500").flows();
    assert_eq!(few, [(25_000, -500)]);
}

#[test]
fn every_whole_answer_has_the_watermark_of_its_start() {
    let server = Database::with_flows((1..=3000).map(|id| (id * 2, id))).serve();
    for query in [
        "",
        "limit=3000",
        "scanned_after=99999",
        "scanned_before=3",
        "src_comp=nobody",
        "after_id=10",
        "after_id=6000",
        "after_id=10&scanned_before=7&limit=2",
        "after_id=10&scanned_after=99999",
    ] {
        for format in FORMATS {
            let target = format!("{FLOWS}.{format}?{query}");
            for headers in [&[][..], &[("accept-encoding", "gzip")]] {
                let answer = server.get_with(&target, headers).ok();
                assert_eq!(answer.watermark(), 6000, "{answer:?}");
                let again = [("if-none-match", answer.header("etag"))];
                let again = [headers, &again].concat();
                let unchanged = server.get_with(&target, &again).with_status(304);
                // With a limit it is not looked at whether that cuts.
                if !query.contains("limit") {
                    assert_eq!(unchanged.watermark(), 6000, "{unchanged:?}");
                }
            }
            let head = server.request("HEAD", &target).ok();
            assert_eq!(head.watermark(), 6000, "{head:?}");
        }
    }
}

#[test]
fn the_watermark_of_an_empty_table_is_the_least_integer() {
    let server = Database::with_flows([]).serve();
    for query in ["", "limit=5", "scanned_after=3", "src_comp=a", "format=csv"] {
        assert_eq!(server.flows(query).ok().watermark(), i64::MIN, "{query}");
    }
    let header = server.get(FLOWS).ok();
    assert_eq!(header.header("flow-watermark"), "-9223372036854775808");
    // Going on from there misses nothing, the least id that a client can go on behind excepted.
    server.insert([(-3, 8), (1, 7)]);
    let next = server.flows(&format!("after_id={}", header.header("flow-watermark")));
    assert_eq!(next.flows(), [(-3, 8), (1, 7)]);
}

#[test]
fn what_a_limit_cuts_has_no_watermark_beyond_what_it_holds() {
    let server = Database::with_flows((1..=3000).map(|id| (id * 2, id / 9))).serve();
    for limit in ["0", "5", "700"] {
        for order in ["", "scanned_after=3&", "src_comp=C1&"] {
            for format in ["json", "ndjson", "csv"] {
                let cut = server
                    .get(&format!("{FLOWS}.{format}?{order}limit={limit}&end=1"))
                    .ok();
                assert!(!cut.has("flow-watermark"), "{cut:?}");
                let cursor = cut.cursor();
                let last = cut.text().lines().last().unwrap_or_default();
                let expected = match format {
                    "ndjson" => format!(
                        r#"{{"end":true,"count":{limit},"watermark":null,"cursor":"{cursor}"}}"#
                    ),
                    "csv" => format!("end,{limit},,{cursor},,,,,,"),
                    _ => last.to_owned(),
                };
                assert_eq!(last, expected, "{cut:?}");
            }
        }
    }
    // In the feed it is the id up to which the client has everything.
    for (query, watermark) in [
        ("after_id=0&limit=2", 4),
        ("after_id=100&limit=700", 1500),
        ("after_id=100&limit=0", 100),
        ("after_id=0&limit=1&src_comp=C1", 2),
    ] {
        let cut = server.flows(query).ok();
        assert!(cut.next().is_some(), "{cut:?}");
        assert_eq!(cut.watermark(), watermark, "{cut:?}");
    }
    let end = server
        .get(&format!("{FLOWS}.csv?after_id=0&limit=2&end=1"))
        .ok();
    let last = format!("end,2,4,{},,,,,,\r\n", end.cursor());
    assert!(end.text().ends_with(&last), "{end:?}");
}

#[test]
fn the_watermark_never_falls_and_ids_beyond_the_table_are_gone() {
    let server = Database::with_flows([(1, 1), (2, 2), (3, 3)]).serve();
    for beyond in [4, 7, i64::MAX] {
        let gone = problem(server.flows(&format!("after_id={beyond}")), 410, "beyond");
        assert_eq!(gone["parameter"], "after_id", "{gone}");
    }
    // What is deleted has been there: a client that has seen it goes on.
    server.execute("DELETE FROM flows WHERE id > 1");
    assert_eq!(server.flows("after_id=3").ok().watermark(), 3);
    assert_eq!(server.get(FLOWS).ok().watermark(), 3);
    server.execute("DELETE FROM flows");
    let answer = server.flows("after_id=3").ok();
    assert_eq!(answer.watermark(), 3);
    let tag = [("if-none-match", answer.header("etag"))];
    let unchanged = server
        .get_with(&format!("{FLOWS}?after_id=3"), &tag)
        .with_status(304);
    assert_eq!(unchanged.watermark(), 3, "{unchanged:?}");
    problem(server.flows("after_id=4"), 410, "beyond");
    // A client may start at 0 in a table that has never had a flow.
    let never = Database::with_flows([]).serve();
    assert_eq!(never.flows("after_id=0").ok().watermark(), 0);
    problem(never.flows("after_id=1"), 410, "beyond");
}

#[test]
fn a_dump_and_polls_give_every_flow_once_where_the_window_alone_misses_late_ones() {
    let server = Database::with_flows((1..=1000).map(|id| (id, id / 10))).serve();
    let dump = server.get(FLOWS).ok();
    let mut watermark = dump.watermark();
    let mut seen = dump.flows();
    let mut by_window: BTreeSet<_> = seen.iter().copied().collect();
    let mut newest = 1000;
    for round in 0..5 {
        let last_time = by_window.iter().map(|(_, time)| *time).max().unwrap();
        // Half of what arrives is late.
        server
            .insert((1..=600).map(|i| (newest + i, if i % 2 == 0 { i % 90 } else { 100 + round })));
        newest += 600;
        let poll = server.flows(&format!("after_id={watermark}")).ok();
        watermark = poll.watermark();
        assert_eq!(watermark, newest);
        seen.extend(poll.flows());
        by_window.extend(server.flows(&format!("scanned_after={last_time}")).flows());
    }
    let ids: Vec<_> = seen.iter().map(|(id, _)| *id).collect();
    assert!(
        ids.iter().copied().eq(1..=newest),
        "{} flows of {newest}",
        ids.len()
    );
    assert!(
        by_window.len() < seen.len(),
        "the window saw all {}",
        seen.len()
    );
}

#[test]
fn a_poll_that_finds_nothing_new_has_no_body_with_the_last_tag() {
    let server = Database::with_flows((1..=5000).map(|id| (id, id))).serve();
    let target = format!("{FLOWS}.ndjson?after_id=5000");
    let empty = server.get(&target).ok();
    assert_eq!((empty.text(), empty.header("content-length")), ("", "0"));
    let tag = [("if-none-match", empty.header("etag"))];
    let unchanged = server.get_with(&target, &tag).with_status(304);
    assert_eq!((unchanged.text(), unchanged.watermark()), ("", 5000));
    server.insert([(5001, 1)]);
    let changed = server.get_with(&target, &tag).ok();
    assert_eq!(
        (changed.text().lines().count(), changed.watermark()),
        (1, 5001)
    );
}
