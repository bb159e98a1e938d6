//! Conditional requests: entity tags, 304, and what a cache is told.

use crate::problems::{problem, raw};
use support::FLOWS;
use support::database::{Database, unguarded_schema};
use support::server::TestServer;
use support::wire::Response;

fn server() -> TestServer {
    Database::with_flows((1..=3000).map(|id| (id, id / 10))).serve()
}

#[track_caller]
fn tag(server: &TestServer, target: &str, headers: &[(&str, &str)]) -> String {
    let answer = server.get_with(target, headers).ok();
    let tag = answer.header("etag");
    // RFC 9110, section 8.8.3: quoted, nothing in it that a list would be cut at; weak just where rows are filtered.
    let is_filtered = ["_comp=", "_port=", "protocol="]
        .iter()
        .any(|name| target.contains(name));
    assert_eq!(tag.starts_with("W/"), is_filtered, "{answer:?}");
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    let inner = strong
        .strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'));
    let fine = inner.is_some_and(|inner| {
        inner
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\",".contains(&b))
    });
    assert!(fine, "{answer:?}");
    tag.to_owned()
}

#[test]
fn every_answer_names_what_it_depends_on_and_is_to_be_asked_for_again() {
    let server = server();
    for query in [
        "",
        "limit=2",
        "format=xml",
        "after_id=2990",
        "src_comp=nobody",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = server.request(method, &format!("{FLOWS}?{query}")).ok();
            assert_eq!(
                answer.header("vary"),
                "Accept, Accept-Encoding",
                "{answer:?}"
            );
            assert_eq!(answer.header("cache-control"), "no-cache", "{answer:?}");
            assert!(answer.has("etag"), "{answer:?}");
        }
    }
}

#[test]
fn a_current_tag_gets_304_with_the_headers_of_200_and_no_body() {
    let server = server();
    for target in [
        FLOWS.to_owned(),
        format!("{FLOWS}.csv?limit=3"),
        format!("{FLOWS}?scanned_after=10&format=xml"),
        format!("{FLOWS}?after_id=3000"),
        format!("{FLOWS}?src_comp=nobody"),
    ] {
        for headers in [&[][..], &[("accept-encoding", "gzip")]] {
            let known = server.get_with(&target, headers).ok();
            let again = [headers, &[("if-none-match", known.header("etag"))]].concat();
            for method in ["GET", "HEAD"] {
                let unchanged = server
                    .request_with(method, &target, &again)
                    .with_status(304);
                assert_eq!(unchanged.body, b"", "{unchanged:?}");
                for name in ["etag", "vary", "cache-control", "flow-lineage"] {
                    assert!(unchanged.has(name), "{name}: {unchanged:?}");
                }
                for name in [
                    "etag",
                    "vary",
                    "cache-control",
                    "flow-lineage",
                    "flow-watermark",
                ] {
                    assert_eq!(
                        unchanged.header(name),
                        known.header(name),
                        "{name}: {unchanged:?}"
                    );
                }
                for name in ["content-type", "content-encoding"] {
                    assert!(!unchanged.has(name), "{name}: {unchanged:?}");
                }
            }
        }
    }
}

#[test]
fn nothing_follows_the_head_of_a_304_on_the_wire() {
    let server = server();
    let known = tag(&server, FLOWS, &[]);
    let headers = [("If-None-Match", &*known), ("Connection", "close")];
    let received = server.open("GET", FLOWS, &headers).rest();
    let received = String::from_utf8(received).expect("text");
    assert!(received.starts_with("HTTP/1.1 304 "), "{received}");
    assert!(received.ends_with("\r\n\r\n"), "{received}");
    assert_eq!(received.matches("\r\n\r\n").count(), 1, "{received}");
    // And one without the tag has a body, so that this test sees one where there is one.
    assert!(raw(&server, FLOWS).contains("\"id\":3000"));
}

#[test]
fn lists_weak_tags_and_the_star_match_and_other_tags_do_not() {
    let server = server();
    let known = tag(&server, FLOWS, &[]);
    let answers = |value: &str| server.get_with(FLOWS, &[("if-none-match", value)]).status;
    for current in [
        known.clone(),
        format!("W/{known}"),
        format!("\"other\", {known}"),
        format!("{known} , W/\"other\""),
        "*".to_owned(),
    ] {
        assert_eq!(answers(&current), 304, "{current}");
    }
    for other in [
        "\"other\"".to_owned(),
        "W/\"other\"".to_owned(),
        known.replace('"', ""),
        String::new(),
    ] {
        assert_eq!(answers(&other), 200, "{other}");
    }
    let two = [
        ("if-none-match", "\"other\""),
        ("if-none-match", known.as_str()),
    ];
    server.get_with(FLOWS, &two).with_status(304);
}

#[test]
fn the_tag_stays_while_nothing_changes() {
    let server = server();
    for target in [FLOWS.to_owned(), format!("{FLOWS}?limit=3&format=csv")] {
        let known = tag(&server, &target, &[]);
        assert_eq!(tag(&server, &target, &[]), known);
        assert_eq!(server.request("HEAD", &target).ok().header("etag"), known);
    }
    // However the same representation was chosen.
    let csv = tag(&server, &format!("{FLOWS}.csv"), &[]);
    assert_eq!(tag(&server, &format!("{FLOWS}?format=csv"), &[]), csv);
    assert_eq!(tag(&server, FLOWS, &[("accept", "text/csv")]), csv);
}

#[test]
fn the_tag_changes_with_format_coding_and_every_parameter() {
    let server = server();
    let first = server.flows("limit=5").ok();
    let with_cursor = format!("limit=5&cursor={}", first.cursor());
    let mut tags: Vec<_> = [
        "",
        "format=xml",
        "format=ndjson",
        "format=csv",
        "limit=4",
        "limit=5",
        &with_cursor,
        "scanned_after=4",
        "scanned_before=4",
        "scanned_after=4&scanned_before=4",
        "after_id=4",
        "src_comp=C1",
        "dst_comp=C1",
        "src_port=C1",
        "dst_port=C1",
        "src_comp=C1&src_comp=C2",
        "src_comp=C1&dst_comp=C2",
        "protocol=6",
        "protocol=6&protocol=17",
    ]
    .iter()
    .map(|query| {
        (
            tag(&server, &format!("{FLOWS}?{query}"), &[]),
            (*query).to_owned(),
        )
    })
    .collect();
    tags.push((
        tag(&server, FLOWS, &[("accept-encoding", "gzip")]),
        "gzip".to_owned(),
    ));
    tags.push((
        tag(
            &server,
            &format!("{FLOWS}.csv"),
            &[("accept-encoding", "gzip")],
        ),
        "gzip csv".to_owned(),
    ));
    tags.sort();
    for pair in tags.windows(2) {
        assert_ne!(pair[0].0, pair[1].0, "{pair:?}");
    }
    // The tag of another representation is not current.
    for (tag, of) in &tags {
        let status = server
            .get_with(&format!("{FLOWS}?limit=2"), &[("if-none-match", tag)])
            .status;
        assert_eq!(status, 200, "{of}");
    }
}

#[test]
fn an_answer_that_if_match_does_not_name_is_412() {
    let server = server();
    for (target, other) in [
        (FLOWS.to_owned(), format!("{FLOWS}?limit=2")),
        (format!("{FLOWS}.csv?limit=3"), FLOWS.to_owned()),
    ] {
        let current = tag(&server, &target, &[]);
        let stale = tag(&server, &other, &[]);
        let weak = format!("W/{current}");
        let both = format!("{stale}, {current}");
        for (expected, status) in [
            (current.as_str(), 200),
            ("*", 200),
            (&both, 200),
            (&stale, 412),
            (&weak, 412),
            ("\"\"", 412),
        ] {
            for method in ["GET", "HEAD"] {
                let asked = [("if-match", expected)];
                server
                    .request_with(method, &target, &asked)
                    .with_status(status);
            }
        }
        // It is looked at before If-None-Match (RFC 9110, section 13.2.2).
        let asked = [("if-match", stale.as_str()), ("if-none-match", &current)];
        let refused = problem(server.get_with(&target, &asked), 412, "If-Match");
        assert_eq!(refused["title"], "Precondition failed");
        let asked = [("if-match", current.as_str()), ("if-none-match", &current)];
        server.get_with(&target, &asked).with_status(304);
    }
    let known = tag(&server, FLOWS, &[]);
    server.insert([(3001, 1)]);
    server
        .get_with(FLOWS, &[("if-match", &known)])
        .with_status(412);
}

#[test]
fn a_table_without_a_guard_has_no_tag_that_if_match_could_name() {
    let server = Database::with_sql(unguarded_schema()).serve();
    server.get_with(FLOWS, &[("if-match", "*")]).ok();
    server
        .get_with(FLOWS, &[("if-match", "\"x\"")])
        .with_status(412);
}

#[test]
fn a_new_flow_changes_the_tag_wherever_it_stands() {
    let server = server();
    // The new flow stands outside the window: the tag may not stay, but the answer is then sent again.
    for (target, id) in [
        (FLOWS.to_owned(), 3001),
        (format!("{FLOWS}?limit=2"), 3002),
        (format!("{FLOWS}.csv?after_id=3000"), 3003),
    ] {
        let known = tag(&server, &target, &[]);
        let answers = || -> Response { server.get_with(&target, &[("if-none-match", &known)]) };
        answers().with_status(304);
        server.insert([(id, 5)]);
        let changed = answers().ok();
        assert_ne!(changed.header("etag"), known, "{target}");
    }
}

#[test]
fn an_empty_table_has_a_tag_too_and_the_first_flow_changes_it() {
    let server = Database::with_flows([]).serve();
    let known = tag(&server, FLOWS, &[]);
    server
        .get_with(FLOWS, &[("if-none-match", &known)])
        .with_status(304);
    server.insert([(0, 0)]);
    assert_eq!(
        server.get_with(FLOWS, &[("if-none-match", &known)]).flows(),
        [(0, 0)]
    );
}

#[test]
fn what_is_wrong_is_said_before_what_is_known() {
    let server = server();
    let star = [("if-none-match", "*")];
    for (target, status) in [
        (format!("{FLOWS}?limit=x"), 400),
        (format!("{FLOWS}?cursor=x"), 400),
        (format!("{FLOWS}s"), 404),
    ] {
        let answer = server.get_with(&target, &star).with_status(status);
        assert!(!answer.has("etag"), "{answer:?}");
    }
    Database::absent()
        .serve()
        .get_with(FLOWS, &star)
        .with_status(503);
}
