//! gzip: when it is sent, that it is whole, and that it is streamed.

use std::io::Write as _;

use support::database::Database;
use support::server::TestServer;
use support::wire::{End, Response, Wire};
use support::{FLOWS, FORMATS};

const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip")];

fn server(rows: i64) -> TestServer {
    Database::with_flows((1..=rows).map(|id| (id, id / 99))).serve()
}

#[test]
fn accept_encoding_decides() {
    let server = server(100);
    let plain = server.get(FLOWS).ok();
    for (accepted, gzip) in [
        ("gzip", true),
        ("GZip", true),
        ("x-gzip", true),
        ("*", true),
        ("gzip, deflate, br, zstd", true),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
        ("gzip;q=0.001", true),
        ("gzip; q=.2", true),
        ("gzip;q=1.0000", true),
        ("gzip;q=0.5, identity;q=0.5", true),
        ("identity;q=0, gzip", true),
        ("", false),
        ("identity", false),
        ("deflate, br", false),
        ("gzip;q=0", false),
        ("gzip;q=.0", false),
        ("gzip;q=0.000", false),
        ("*;q=0", false),
        ("gzip;q=0, *", false),
        ("identity;q=1, gzip;q=0.5", false),
        ("notgzip", false),
    ] {
        let answer = server
            .get_with(FLOWS, &[("accept-encoding", accepted)])
            .ok();
        assert_eq!(
            answer.header("content-encoding"),
            if gzip { "gzip" } else { "" },
            "{accepted}: {answer:?}"
        );
        let body = if gzip {
            answer.inflated()
        } else {
            answer.body.clone()
        };
        assert_eq!(body, plain.body, "{accepted}");
        assert_eq!(
            answer.header("vary"),
            "Accept, Accept-Encoding",
            "{accepted}: {answer:?}"
        );
    }
    assert!(!plain.has("content-encoding"), "{plain:?}");
    let two = [("accept-encoding", "br"), ("accept-encoding", "gzip")];
    server.get_with(FLOWS, &two).ok().inflated();
}

#[test]
fn every_format_and_size_inflates_to_the_plain_answer() {
    for rows in [0, 1, 499, 500, 501, 2500, 7000] {
        let server = server(rows);
        for format in FORMATS {
            for query in ["", "limit=700", "src_comp=nobody"] {
                let target = format!("{FLOWS}.{format}?{query}");
                let (plain, coded) = (
                    server.get(&target).ok(),
                    server.get_with(&target, &GZIP).ok(),
                );
                assert!(coded.inflated() == plain.body, "{rows} rows: {coded:?}");
                assert_eq!(coded.next(), plain.next(), "{coded:?}");
                assert_eq!(coded.header("content-type"), plain.header("content-type"));
            }
        }
    }
}

#[test]
fn a_whole_answer_has_its_coded_length_and_a_streamed_one_none() {
    let server = server(5000);
    for query in ["limit=0", "limit=1", "limit=400", "after_id=5000"] {
        let answer = server.get_with(&format!("{FLOWS}?{query}"), &GZIP).ok();
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string(),
            "{answer:?}"
        );
        let head = server
            .request_with("HEAD", &format!("{FLOWS}?{query}"), &GZIP)
            .ok();
        for name in ["content-length", "content-encoding", "content-type", "etag"] {
            assert_eq!(head.header(name), answer.header(name), "{name}: {head:?}");
        }
    }
    let answer = server.get_with(FLOWS, &GZIP).ok();
    assert!(!answer.has("content-length"), "{answer:?}");
    let plain = server.get(FLOWS).ok().body.len();
    assert!(
        answer.body.len() * 4 < plain,
        "{} of {plain} bytes",
        answer.body.len()
    );
}

/// The start of a chunked answer that decodes to `wanted` records at least, and what it decodes to.
#[track_caller]
fn decoded(mut wire: Wire, record: &str, wanted: usize) -> (Response, String) {
    let (mut decoder, mut fed) = (flate2::write::GzDecoder::new(Vec::new()), 0);
    let mut text = String::new();
    let answer = wire.answer_while(&mut |body| {
        decoder.write_all(&body[fed..]).expect("gzip");
        decoder.flush().expect("gzip");
        fed = body.len();
        text = String::from_utf8_lossy(decoder.get_ref()).into_owned();
        text.matches(record).count() < wanted
    });
    assert!(answer.end == End::Cut, "the answer ended first: {answer:?}");
    (answer, text)
}

#[test]
fn the_first_flows_can_be_read_before_the_rest_has_come() {
    let server = server(60_000);
    for (format, record) in [
        ("json", "\"byte_count\":5323}"),
        ("xml", "</record>"),
        ("ndjson", "}\n"),
        ("csv", ",5323"),
    ] {
        let wire = server.open("GET", &format!("{FLOWS}.{format}"), &GZIP);
        let (answer, text) = decoded(wire, record, 500);
        assert_eq!(answer.header("transfer-encoding"), "chunked", "{answer:?}");
        // All of the first page and nothing else, flushed out of the encoder: what follows may take as long as it likes.
        assert_eq!(text.matches(record).count(), 500, "{format}");
        assert!(
            text.trim_end().ends_with(record.trim_end()),
            "{format}: …{:?}",
            &text[text.len() - 99..]
        );
    }
}

#[test]
fn a_coded_answer_that_fails_later_is_cut_and_looks_cut() {
    // The head needs some milliseconds to be on its way: where the body fails before, the client gets nothing at all.
    let server = server(60_000);
    server.execute("UPDATE flows SET byte_count = 'many' WHERE id = 59000");
    for format in FORMATS {
        let mut wire = server.open("GET", &format!("{FLOWS}.{format}"), &GZIP);
        let received = wire.rest();
        assert!(received.starts_with(b"HTTP/1.1 200"), "{format}");
        assert!(
            !received.ends_with(b"0\r\n\r\n"),
            "{format}: a cut answer ended as if it were whole"
        );
        let answer = server.get_with(&format!("{FLOWS}.{format}"), &GZIP);
        assert!(answer.end == End::Cut, "{answer:?}");
    }
}

#[test]
fn problems_and_documents_come_as_they_are() {
    let server = server(10);
    for (target, status) in [
        (format!("{FLOWS}?limit=x"), 400),
        ("/nowhere".to_owned(), 404),
        ("/api/v1/health".to_owned(), 200),
        ("/api/v1/extent".to_owned(), 200),
        ("/api/v1/openapi.json".to_owned(), 200),
    ] {
        let answer = server.get_with(&target, &GZIP).with_status(status);
        assert!(!answer.has("content-encoding"), "{answer:?}");
        assert!(answer.json().is_object(), "{answer:?}");
    }
}

#[test]
fn the_variable_compression_turns_it_off() {
    let sizes = |variables: &[(&str, &str)]| -> Response {
        let server = Database::with_flows((1..=3000).map(|id| (id, id))).serve_with(variables);
        server.get_with(FLOWS, &GZIP).ok()
    };
    let off = sizes(&[("compression", "off")]);
    assert!(!off.has("content-encoding"), "{off:?}");
    assert_eq!(off.header("vary"), "Accept, Accept-Encoding", "{off:?}");
    assert_eq!(off.flows().len(), 3000);
    assert_eq!(
        sizes(&[("compression", "on")]).header("content-encoding"),
        "gzip"
    );
    assert_eq!(
        sizes(&[("compression", "")]).header("content-encoding"),
        "gzip"
    );
}
