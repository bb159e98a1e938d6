//! What the operator reads: failures always, requests when `log_requests` is on.

use support::FLOWS;
use support::database::{Database, SCHEMA};

#[test]
fn a_failure_is_one_line_with_method_path_query_and_cause() {
    let server = Database::with_sql("CREATE TABLE other (id)").serve();
    server.flows("scanned_after=3");
    let log = server.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.starts_with("GET /api/v1/stream/flows?scanned_after=3: "),
        "{log}"
    );
    assert!(log.contains("no such table: flows"), "{log}");
}

#[test]
fn what_the_client_got_wrong_is_not_logged_nor_is_a_request_that_went_well() {
    let server = Database::with_flows([(1, 1)]).serve();
    server.flows("limit=x");
    server.get("/nowhere");
    server.get(FLOWS).ok();
    assert_eq!(server.log(), "");
}

#[test]
fn with_log_requests_on_each_request_is_a_line_with_status_flows_bytes_and_time() {
    let server = Database::absent().serve_with(&[("log_requests", "on")]);
    server.execute(SCHEMA);
    server.insert((1..=5000).map(|id| (id, id)));
    let whole = server.flows("limit=3").ok();
    let streamed = server.flows("").ok();
    server.flows("limit=x");
    let log = server.logged(3);
    let lines: Vec<_> = log.lines().collect();
    let [first, second, third] = lines.as_slice() else {
        panic!("{log}")
    };
    let start = format!(
        "GET {FLOWS}?limit=3 200 3 flows {} bytes ",
        whole.body.len()
    );
    assert!(first.starts_with(&start) && first.ends_with(" ms"), "{log}");
    let start = format!("GET {FLOWS} 200 5000 flows {} bytes ", streamed.body.len());
    assert!(second.starts_with(&start), "{log}");
    assert!(
        third.starts_with(&format!("GET {FLOWS}?limit=x 400 0 flows ")),
        "{log}"
    );
}

/// They would make one line look like two, or like another.
#[test]
fn no_character_that_bends_a_line_reaches_the_log() {
    let server = Database::with_flows([(1, 1)]).serve_with(&[("log_requests", "on")]);
    let bent = [
        '\u{85}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
        '\u{200e}', '\u{200f}', '\u{feff}', '\u{61c}', '\u{200b}',
    ];
    for c in bent {
        server.get(&format!("{FLOWS}?src_comp=ä{c}z")).ok();
    }
    let log = server.logged(bent.len());
    assert_eq!(log.matches("src_comp=ä z 200").count(), bent.len(), "{log}");
    assert!(!log.contains(bent), "{log:?}");
}
