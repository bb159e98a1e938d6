//! gzip: when it is sent, that it is whole, and that it is streamed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::stand::{Answer, FLOWS, Stand};

const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip")];

fn stand(rows: i64) -> Stand {
    Stand::with_flows((1..=rows).map(|id| (id, id / 99)))
}

#[test]
fn accept_encoding_decides() {
    let stand = stand(100);
    let plain = stand.get(FLOWS).ok();
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
        let answer = stand.get_with(FLOWS, &[("accept-encoding", accepted)]).ok();
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
    stand.get_with(FLOWS, &two).ok().inflated();
}

#[test]
fn every_format_and_size_inflates_to_the_plain_answer() {
    for rows in [0, 1, 499, 500, 501, 2500, 7000] {
        let stand = stand(rows);
        for format in ["json", "xml", "ndjson", "csv"] {
            for query in ["", "limit=700", "src_comp=nobody"] {
                let target = format!("{FLOWS}.{format}?{query}");
                let (plain, coded) = (stand.get(&target).ok(), stand.get_with(&target, &GZIP).ok());
                assert!(coded.inflated() == plain.body, "{rows} rows: {coded:?}");
                assert_eq!(coded.next(), plain.next(), "{coded:?}");
                assert_eq!(coded.header("content-type"), plain.header("content-type"));
            }
        }
    }
}

#[test]
fn a_whole_answer_has_its_coded_length_and_a_streamed_one_none() {
    let stand = stand(5000);
    for query in ["limit=0", "limit=1", "limit=400", "after_id=5000"] {
        let answer = stand.get_with(&format!("{FLOWS}?{query}"), &GZIP).ok();
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string(),
            "{answer:?}"
        );
        let head = stand
            .request_with("HEAD", &format!("{FLOWS}?{query}"), &GZIP)
            .ok();
        for name in ["content-length", "content-encoding", "content-type", "etag"] {
            assert_eq!(head.header(name), answer.header(name), "{name}: {head:?}");
        }
    }
    let answer = stand.get_with(FLOWS, &GZIP).ok();
    assert!(!answer.has("content-length"), "{answer:?}");
    let plain = stand.get(FLOWS).ok().body.len();
    assert!(
        answer.body.len() * 4 < plain,
        "{} of {plain} bytes",
        answer.body.len()
    );
}

/// The head of a chunked answer, and its body up to where it decodes to `wanted` records at least.
fn decoded(client: TcpStream, record: &str, wanted: usize) -> (String, String) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        client.read_line(&mut head).expect("a line of the head");
    }
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    loop {
        let mut length = String::new();
        client
            .read_line(&mut length)
            .expect("the length of a chunk");
        let length = usize::from_str_radix(length.trim(), 16).expect("a length");
        assert!(length > 0, "the answer ended first: {head}");
        let mut chunk = vec![0; length];
        client.read_exact(&mut chunk).expect("a chunk");
        client.read_exact(&mut [0; 2]).expect("the chunk's end");
        decoder.write_all(&chunk).expect("gzip");
        decoder.flush().expect("gzip");
        let text = String::from_utf8_lossy(decoder.get_ref());
        if text.matches(record).count() >= wanted {
            return (head, text.into_owned());
        }
    }
}

#[test]
fn the_first_flows_can_be_read_before_the_rest_has_come() {
    let stand = stand(60_000);
    for (format, record) in [
        ("json", "\"byte_count\":5323}"),
        ("xml", "</record>"),
        ("ndjson", "}\n"),
        ("csv", ",5323"),
    ] {
        let client = stand.open(
            &format!("GET {FLOWS}.{format}"),
            "Accept-Encoding: gzip\r\n",
        );
        let (head, text) = decoded(client, record, 500);
        let head = head.to_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
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
    let stand = stand(9000);
    stand.execute("UPDATE flows SET byte_count = 'many' WHERE id = 8000");
    for format in ["json", "xml", "ndjson", "csv"] {
        let mut client = stand.open(
            &format!("GET {FLOWS}.{format}"),
            "Accept-Encoding: gzip\r\n",
        );
        let mut received = Vec::new();
        // An aborted connection may end in a reset; what came before it counts.
        _ = client.read_to_end(&mut received);
        assert!(received.starts_with(b"HTTP/1.1 200"), "{format}");
        assert!(
            !received.ends_with(b"0\r\n\r\n"),
            "{format}: a cut answer ended as if it were whole"
        );
        let answer = stand.get_with(&format!("{FLOWS}.{format}"), &GZIP);
        assert!(answer.broken.is_some(), "{answer:?}");
    }
}

#[test]
fn problems_and_documents_come_as_they_are() {
    let stand = stand(10);
    for (target, status) in [
        (format!("{FLOWS}?limit=x"), 400),
        ("/nowhere".to_owned(), 404),
        ("/api/v1/health".to_owned(), 200),
        ("/api/v1/extent".to_owned(), 200),
        ("/api/v1/openapi.json".to_owned(), 200),
    ] {
        let answer = stand.get_with(&target, &GZIP).with_status(status);
        assert!(!answer.has("content-encoding"), "{answer:?}");
        assert!(answer.json().is_object(), "{answer:?}");
    }
}

#[test]
fn the_variable_compression_turns_it_off() {
    let sizes = |variables: &[(&str, &str)]| -> Answer {
        let stand = Stand::with_variables_and_flows(variables, (1..=3000).map(|id| (id, id)));
        stand.get_with(FLOWS, &GZIP).ok()
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
