//! What the operator reads: failures always, requests when `log_requests` is on.

use crate::stand::{FLOWS, Stand};

#[test]
fn a_failure_is_one_line_with_method_path_query_and_cause() {
    let stand = Stand::with_sql("CREATE TABLE other (id)");
    stand.flows("scanned_after=3");
    let log = stand.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.starts_with("GET /api/v1/stream/flows?scanned_after=3: "),
        "{log}"
    );
    assert!(log.contains("no such table: flows"), "{log}");
}

#[test]
fn what_the_client_got_wrong_is_not_logged_nor_is_a_request_that_went_well() {
    let stand = Stand::with_flows([(1, 1)]);
    stand.flows("limit=x");
    stand.get("/nowhere");
    stand.get(FLOWS).ok();
    assert_eq!(stand.log(), "");
}

#[test]
fn with_log_requests_on_each_request_is_a_line_with_status_flows_bytes_and_time() {
    let stand = Stand::with_variables(&[("log_requests", "on")]);
    stand.execute(include_str!("../../src/table/schema.sql"));
    stand.insert((1..=5000).map(|id| (id, id)));
    let whole = stand.flows("limit=3").ok();
    let streamed = stand.flows("").ok();
    stand.flows("limit=x");
    let log = stand.logged(3);
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
    let stand = Stand::with_variables_and_flows(&[("log_requests", "on")], [(1, 1)]);
    let bent = [
        '\u{85}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}',
        '\u{200e}', '\u{200f}', '\u{feff}', '\u{61c}', '\u{200b}',
    ];
    for c in bent {
        let mut client = stand.open(&format!("GET {FLOWS}?src_comp=ä{c}z"), "");
        std::io::Read::read_to_end(&mut client, &mut Vec::new()).expect("an answer");
    }
    let log = stand.logged(bent.len());
    assert_eq!(log.matches("src_comp=ä z 200").count(), bent.len(), "{log}");
    assert!(!log.contains(bent), "{log:?}");
}
