//! Portions: `Link` while flows are left, and a cursor that belongs to its question and its moment.

use flow_window::query::urlencoded::MAX_LENGTH;

use crate::ENDS;
use crate::problems::problem;
use support::FLOWS;
use support::database::Database;
use support::server::TestServer;

/// 99 flows a second, in the order of arrival.
fn ties(rows: i64) -> Vec<(i64, i64)> {
    (1..=rows).map(|id| (id, 1 + (id - 1) / 99)).collect()
}

/// Follows the links from `target` on, and asserts that every portion but the last has `limit` flows, the
/// last at least one, and that together they are `expected`.
#[track_caller]
fn follow(server: &TestServer, target: &str, limit: usize, expected: &[(i64, i64)]) {
    let mut found = Vec::new();
    let mut sizes = Vec::new();
    for portion in server.portions(target) {
        let flows = portion.flows();
        sizes.push(flows.len());
        found.extend(flows);
    }
    let sizes_expected: Vec<_> = expected.chunks(limit).map(<[_]>::len).collect();
    let sizes_expected = if expected.is_empty() {
        vec![0]
    } else {
        sizes_expected
    };
    assert_eq!(sizes, sizes_expected, "{target}");
    assert!(
        found == expected,
        "{target}: {} flows, but others than expected",
        found.len()
    );
}

#[test]
fn a_link_is_there_just_when_flows_are_left_wherever_pages_end() {
    // Around the first page (500 rows) and later ones (2,000 or 3,000), exact multiples among them.
    let server = Database::with_flows(ties(7000)).serve();
    for limit in [
        100, 499, 500, 501, 875, 1000, 2000, 2499, 2500, 2501, 3499, 3500, 3501, 6499, 6500, 6999,
        7000, 7001,
    ] {
        let target = format!("{FLOWS}?limit={limit}");
        follow(&server, &target, limit, &ties(7000));
    }
    let answer = server.flows(&format!("limit={}", i64::MAX)).ok();
    assert_eq!(answer.next(), None, "{answer:?}");
    let answer = server.get(FLOWS).ok();
    assert_eq!(answer.next(), None, "{answer:?}");
}

#[test]
fn a_small_table_is_cut_as_exactly() {
    let server = Database::with_flows(ties(12)).serve();
    for limit in [1, 2, 3, 4, 5, 6, 7, 11, 12, 13] {
        follow(&server, &format!("{FLOWS}?limit={limit}"), limit, &ties(12));
    }
}

#[test]
fn a_second_longer_than_every_page_is_cut_as_exactly() {
    let all: Vec<_> = (1..=5000).map(|id| (id, 7)).collect();
    let server = Database::with_flows(all.iter().copied()).serve();
    for limit in [500, 1000, 1249, 2500, 4999, 5000] {
        follow(
            &server,
            &format!("{FLOWS}?scanned_after=6&limit={limit}"),
            limit,
            &all,
        );
    }
}

#[test]
fn a_limit_of_0_leads_on_from_where_it_stands_as_long_as_flows_are_left() {
    let server = Database::with_flows(ties(5)).serve();
    for order in [
        "",
        "after_id=0&",
        "src_comp=C1&",
        "scanned_after=0&after_id=0&",
    ] {
        let start = server.flows(&format!("{order}limit=0")).ok();
        assert_eq!(start.text(), "[]");
        let all = server.flows(&format!("{order}cursor={}", start.cursor()));
        assert_eq!(all.flows(), ties(5), "{order}");
        let two = server.flows(&format!("{order}limit=2")).ok();
        let stays = server
            .flows(&format!("{order}limit=0&cursor={}", two.cursor()))
            .ok();
        assert_eq!(stays.text(), "[]");
        let rest = server.flows(&format!("{order}cursor={}", stays.cursor()));
        assert_eq!(rest.flows(), ties(5)[2..], "{order}");
    }
    for query in [
        "limit=0&scanned_after=9",
        "limit=0&after_id=5",
        "limit=0&src_comp=x",
    ] {
        let nothing_left = server.flows(query).ok();
        assert_eq!(nothing_left.next(), None, "{nothing_left:?}");
        assert_eq!(nothing_left.watermark(), 5, "{nothing_left:?}");
    }
    let empty = Database::with_flows([]).serve().flows("limit=3").ok();
    assert_eq!(empty.next(), None, "{empty:?}");
}

#[test]
fn a_portion_of_one_second_goes_on_within_it_and_over_its_end() {
    // Seconds of 1, 600 and 40 flows: portions end inside a second, at its end and behind it.
    let flows: Vec<_> = (1..=641)
        .map(|id| (id, [1, 2, 3][usize::from(id > 1) + usize::from(id > 601)]))
        .collect();
    let server = Database::with_flows(flows.iter().copied()).serve();
    for limit in [1, 7, 100, 200, 300, 600, 601, 640] {
        follow(&server, &format!("{FLOWS}?limit={limit}"), limit, &flows);
        let filtered = format!("{FLOWS}?src_comp=C1&limit={limit}");
        follow(&server, &filtered, limit, &flows);
    }
    // Such a cursor says so, and the portion behind it does not search its second from the start.
    let first = server.flows("scanned_after=1&limit=10").ok();
    assert!(first.cursor().starts_with("bw"), "{first:?}");
    let first = server.flows("limit=10").ok();
    assert!(first.cursor().starts_with("bk"), "{first:?}");
}

#[test]
fn with_a_filter_flows_that_do_not_match_are_not_left() {
    // A page looks at 10,000 rows: the last match stands more than one such page before the end.
    let server = Database::with_flows(ties(25_000)).serve();
    server.execute("UPDATE flows SET src_comp = 'rare' WHERE id % 1000 = 7 AND id < 12000");
    let rare: Vec<_> = ties(25_000)
        .into_iter()
        .filter(|(id, _)| id % 1000 == 7 && *id < 12_000)
        .collect();
    assert_eq!(rare.len(), 12);
    for limit in [1, 3, 5, 6, 11, 12, 13, 600, 3000] {
        follow(
            &server,
            &format!("{FLOWS}?src_comp=rare&limit={limit}"),
            limit,
            &rare,
        );
        let feed = format!("{FLOWS}?src_comp=rare&after_id=0&limit={limit}");
        follow(&server, &feed, limit, &rare);
    }
    server.execute("UPDATE flows SET dst_comp = 'half' WHERE id % 2 = 0");
    let half: Vec<_> = ties(25_000)
        .into_iter()
        .filter(|(id, _)| id % 2 == 0)
        .collect();
    for limit in [500, 1250, 2500, 6250, 12_499, 12_500] {
        follow(
            &server,
            &format!("{FLOWS}?dst_comp=half&limit={limit}"),
            limit,
            &half,
        );
    }
}

#[test]
fn with_a_window_flows_outside_are_not_left() {
    let server = Database::with_flows(ties(5000)).serve();
    let window: Vec<_> = ties(5000)
        .into_iter()
        .filter(|(_, time)| (11..=20).contains(time))
        .collect();
    assert_eq!(window.len(), 990);
    for limit in [99, 330, 495, 989, 990, 991] {
        let target = format!("{FLOWS}?scanned_after=10&scanned_before=20&limit={limit}");
        follow(&server, &target, limit, &window);
        follow(&server, &format!("{target}&after_id=-5"), limit, &window);
    }
}

#[test]
fn a_link_keeps_path_and_question_as_they_were_written() {
    let server = Database::with_flows(ties(5)).serve();
    let answer = server
        .get(&format!(
            "{FLOWS}.csv?src_%63omp=C1&limit=2&dst_comp=C2&&dst_comp=%26%3E"
        ))
        .ok();
    let start = format!("{FLOWS}.csv?src_%63omp=C1&limit=2&dst_comp=C2&dst_comp=%26%3E&cursor=");
    let first = answer.next().expect("a Link");
    assert!(first.starts_with(&start), "{first}");
    let second = server.get(&first).ok();
    let next = second.next().expect("a second Link");
    assert!(next.starts_with(&start) && next != first, "{next}");
    assert_eq!(next.matches("cursor=").count(), 1, "{next}");
    assert_eq!(
        second.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
}

/// RFC 8288 wants a URI, and header values beyond ASCII come out of many a client as something else.
#[test]
fn a_link_is_ascii_whatever_bytes_the_query_was_sent_with() {
    let server = Database::with_flows(ties(5)).serve();
    let answer = server.flows("src_comp=ä&src_comp=C1&limit=2").ok();
    let next = answer
        .next()
        .unwrap_or_else(|| panic!("no Link: {answer:?}"));
    assert!(next.is_ascii(), "{next}");
    assert_eq!(server.get(&next).flows(), ties(5)[2..4]);
}

/// Behind a proxy that serves under a prefix, an absolute path would lead out of it.
#[test]
fn a_link_is_relative_to_the_request() {
    let server = Database::with_flows(ties(5)).serve();
    for name in ["flows", "flows.csv", "flows.xml"] {
        let answer = server.get(&format!("/api/v1/stream/{name}?limit=2")).ok();
        let link = answer.header("link");
        let start = format!("<{name}?limit=2&cursor=");
        assert!(link.starts_with(&start), "{answer:?}");
    }
}

#[test]
fn a_query_that_no_link_has_room_for_is_414_and_any_other_leads_on() {
    let server = Database::with_flows(ties(5)).serve();
    let overhead = "limit=2&dst_comp=C2&dst_comp=&cursor=".len();
    let query = |fill: String| format!("limit=2&dst_comp=C2&dst_comp={fill}");
    for fill in ["x", "|", "%41"] {
        let escaped = if fill == "x" { 1 } else { 3 };
        let most = (MAX_LENGTH - overhead) / escaped;
        let first = server.flows(&query(fill.repeat(most))).ok();
        let second = server.get(&first.next().expect("a Link")).ok();
        let third = server.get(&second.next().expect("a second Link"));
        assert_eq!(third.flows(), ties(5)[4..], "{fill}");
        for more in [most + 1, 65_000 / fill.len()] {
            let refused = server.flows(&query(fill.repeat(more)));
            let length = (overhead + more * escaped).to_string();
            let refused = problem(refused, 414, &length);
            assert_eq!(refused["title"], "URI too long");
            problem(
                server.flows(&query(fill.repeat(more))),
                414,
                &MAX_LENGTH.to_string(),
            );
        }
    }
    // It is the same without a limit, or what has been read would depend on how.
    problem(
        server.flows(&format!("dst_comp={}", "|".repeat(60_000))),
        414,
        "180",
    );
}

#[test]
fn limit_and_format_may_change_from_portion_to_portion() {
    let server = Database::with_flows(ties(3000)).serve();
    let first = server
        .flows("scanned_after=1&src_comp=C1&src_comp=x&limit=10")
        .ok();
    let cursor = first.cursor();
    let behind = &ties(3000)[99 + 10..];
    let question = "scanned_after=1&src_comp=C1&src_comp=x";
    assert_eq!(
        server.flows(&format!("{question}&cursor={cursor}")).flows(),
        behind
    );
    assert_eq!(
        server
            .flows(&format!("cursor={cursor}&limit=700&{question}"))
            .flows(),
        behind[..700]
    );
    // The same question, otherwise written.
    let otherwise = "src_comp=x&src_comp=C1&scanned_after=%31&src_comp=x";
    assert_eq!(
        server
            .flows(&format!("{otherwise}&cursor={cursor}&limit=1"))
            .flows(),
        behind[..1]
    );
    for target in [
        format!("{FLOWS}.csv?{question}&cursor={cursor}&limit=3"),
        format!("{FLOWS}?{question}&cursor={cursor}&limit=3&format=csv"),
    ] {
        let csv = server.get(&target).ok();
        let ids: Vec<_> = csv
            .text()
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap())
            .collect();
        assert_eq!(ids, ["110", "111", "112"], "{csv:?}");
        assert!(csv.next().is_some(), "{csv:?}");
    }
}

#[test]
fn a_cursor_with_another_question_is_400_and_named() {
    let server = Database::with_flows(ties(300)).serve();
    let window = "scanned_after=0&scanned_before=3&src_comp=C1";
    let first = server.flows(&format!("{window}&limit=10")).ok();
    let cursor = first.cursor();
    for other in [
        "",
        "scanned_after=0&scanned_before=3",
        "scanned_after=1&scanned_before=3&src_comp=C1",
        "scanned_after=0&scanned_before=2&src_comp=C1",
        "scanned_before=3&src_comp=C1",
        "scanned_after=0&src_comp=C1",
        "scanned_after=0&scanned_before=3&src_comp=C2",
        "scanned_after=0&scanned_before=3&dst_comp=C1",
        "scanned_after=0&scanned_before=3&src_comp=C1&src_comp=C2",
        "scanned_after=0&scanned_before=3&src_comp=C1&protocol=6",
        "scanned_after=0&scanned_before=3&src_comp=C1&after_id=0",
    ] {
        let answer = server.flows(&format!("{other}&cursor={cursor}&limit=10"));
        let problem = problem(answer, 400, "another question");
        assert_eq!(problem["parameter"], "cursor", "{other}: {problem}");
    }
    server.flows(&format!("{window}&cursor={cursor}")).ok();
    let feed = server.flows("after_id=0&limit=10").ok();
    for other in ["after_id=1", "after_id=0&scanned_after=0", ""] {
        let answer = server.flows(&format!("{other}&cursor={}", feed.cursor()));
        assert_eq!(problem(answer, 400, "cursor")["parameter"], "cursor");
    }
}

#[test]
fn a_damaged_or_foreign_cursor_is_400_and_named() {
    let server = Database::with_flows(ties(300)).serve();
    let first = server.flows("limit=10").ok();
    let cursor = first.cursor();
    let mut damaged: Vec<_> = (0..cursor.len())
        .step_by(7)
        .map(|i| {
            let changed = if cursor.as_bytes()[i] == b'0' {
                "1"
            } else {
                "0"
            };
            format!("{}{changed}{}", &cursor[..i], &cursor[i + 1..])
        })
        .collect();
    damaged.extend([
        String::new(),
        "x".to_owned(),
        "0".to_owned(),
        cursor[..cursor.len() - 1].to_owned(),
        format!("{cursor}0"),
        format!("{cursor}%00"),
        format!("%20{cursor}"),
        cursor.to_uppercase(),
        "eyJpZCI6MX0=".to_owned(),
        "%F0%9F%99%82".repeat(21),
        "é".repeat(40).replace('é', "%C3%A9"),
    ]);
    for cursor in damaged {
        let problem = problem(server.flows(&format!("cursor={cursor}")), 400, "cursor");
        assert_eq!(problem["parameter"], "cursor", "{cursor}: {problem}");
    }
    let twice = server.flows(&format!("cursor={cursor}&cursor={cursor}"));
    assert_eq!(problem(twice, 400, "more than once")["parameter"], "cursor");
}

#[test]
fn portions_are_frozen_at_the_first_while_flows_arrive() {
    for order in ["", "after_id=0&", "src_comp=C1&"] {
        let server = Database::with_flows(ties(3000)).serve();
        let first = server.flows(&format!("{order}limit=700")).ok();
        let mut next = first.next();
        let mut found = first.flows();
        let mut newest = 3000;
        while let Some(target) = next {
            // Late ones in front of the place reached, some in its second, and new ones behind all.
            let (_, reached) = *found.last().unwrap();
            server.insert([
                (newest + 1, 0),
                (newest + 2, reached),
                (newest + 3, reached + 1),
                (newest + 4, 999),
            ]);
            newest += 4;
            let answer = server.get(&target).ok();
            next = answer.next();
            // Only the whole tells how far it goes; in the feed a portion tells how far it has come.
            let watermark = match (&next, order) {
                (None, _) => "3000".to_owned(),
                (Some(_), "after_id=0&") => (found.len() + 700).to_string(),
                (Some(_), _) => String::new(),
            };
            assert_eq!(answer.header("flow-watermark"), watermark, "{answer:?}");
            found.extend(answer.flows());
        }
        assert!(found == ties(3000), "{order}: {} flows", found.len());
        assert_eq!(
            server
                .flows(&format!("{order}scanned_after=-1"))
                .flows()
                .len() as i64,
            newest
        );
    }
}

#[test]
fn a_whole_portion_stays_without_link_when_flows_arrive_behind_it() {
    let server = Database::with_flows(ties(20)).serve();
    let first = server.flows("limit=10").ok();
    server.insert([(21, 1), (22, 500)]);
    let second = server.get(&first.next().expect("a Link")).ok();
    assert_eq!(second.next(), None, "{second:?}");
    assert_eq!(second.flows(), ties(20)[10..]);
}

#[test]
fn a_cut_at_either_end_of_64_bits_loses_nothing() {
    let flows = ENDS;
    let server = Database::with_flows(flows).serve();
    for limit in [1, 2, 3, 4] {
        follow(&server, &format!("{FLOWS}?limit={limit}"), limit, &flows);
        // The feed is of ids greater than one that can be named, so the least of all is never in it.
        let feed = format!("{FLOWS}?after_id={}&limit={limit}", i64::MIN);
        follow(&server, &feed, limit, &flows[1..]);
    }
}

#[test]
fn head_has_the_link_of_get() {
    let server = Database::with_flows(ties(3000)).serve();
    for limit in [5, 700] {
        let target = format!("{FLOWS}?limit={limit}");
        let (get, head) = (
            server.get(&target).ok(),
            server.request("HEAD", &target).ok(),
        );
        assert!(
            get.next().is_some() && get.next() == head.next(),
            "{head:?}"
        );
        assert_eq!(head.body, b"");
    }
}
