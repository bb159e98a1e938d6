//! What the bodies look like, whatever the database stores.

use std::io::Read as _;

use support::FLOWS;
use support::database::Database;
use support::server::TestServer;
use support::wire::Wire;

/// A table from elsewhere: no rowid, other columns and order, numbers stored as text and text as numbers.
const FOREIGN: &str = "
    CREATE TABLE flows (
        note, byte_count TEXT, packet_count TEXT, protocol, dst_port INTEGER, dst_comp, src_port,
        src_comp TEXT, duration TEXT, time INTEGER NOT NULL, id INTEGER NOT NULL PRIMARY KEY
    ) WITHOUT ROWID;
    CREATE INDEX by_time ON flows (time);
    INSERT INTO flows VALUES ('x', '5323', '10', 6, 443, 'C2', 1136, 'C1', '0', 1, 1);
    INSERT INTO flows VALUES (NULL, ' 7', '-1', 17.0, 'N1', 'C2', NULL, '', '12', 1, 2);
";

#[test]
fn each_format_has_its_content_type_by_parameter_and_by_ending() {
    let server = TestServer::with_lanl_head();
    for (format, content_type) in [
        ("json", "application/json"),
        ("xml", "application/xml"),
        ("ndjson", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8; header=present"),
        ("arrow", "application/vnd.apache.arrow.stream"),
    ] {
        let by_parameter = server.flows(&format!("format={format}")).ok();
        let by_ending = server.get(&format!("{FLOWS}.{format}")).ok();
        let both = server.get(&format!("{FLOWS}.xml?format={format}")).ok();
        for answer in [&by_parameter, &by_ending, &both] {
            assert_eq!(answer.header("content-type"), content_type, "{answer:?}");
            assert_eq!(answer.body, by_parameter.body, "{answer:?}");
        }
    }
}

#[test]
fn accept_chooses_the_format_where_neither_parameter_nor_ending_does() {
    let server = TestServer::with_lanl_head();
    let content_type = |target: &str, accept: &str| {
        let answer = server.request_with("GET", target, &[("accept", accept)]);
        answer.ok().header("content-type").to_owned()
    };
    assert_eq!(content_type(FLOWS, "*/*"), "application/json");
    assert_eq!(
        content_type(FLOWS, "application/x-ndjson"),
        "application/x-ndjson"
    );
    let arrow = "application/vnd.apache.arrow.stream";
    assert_eq!(content_type(FLOWS, arrow), arrow);
    assert_eq!(content_type(FLOWS, &format!("{arrow}, */*;q=0.1")), arrow);
    assert_eq!(
        content_type(&format!("{FLOWS}.xml"), "text/csv"),
        "application/xml"
    );
    assert_eq!(
        content_type(&format!("{FLOWS}?format=json"), "text/csv"),
        "application/json"
    );
}

#[test]
fn a_browser_is_led_to_the_page_unless_it_names_a_format() {
    let server = TestServer::with_lanl_head();
    for browser in [
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    ] {
        let ask = |method: &str, target: &str| {
            server.request_with(method, target, &[("accept", browser)])
        };
        for method in ["GET", "HEAD"] {
            let seen =
                ask(method, &format!("{FLOWS}?scanned_after=3&src_comp=a%20b")).with_status(303);
            // Relative to the request, so that a proxy's prefix stays.
            assert_eq!(
                seen.header("location"),
                "../../../#scanned_after=3&src_comp=a%20b"
            );
            assert_eq!(seen.header("vary"), "Accept, Accept-Encoding");
        }
        for target in [format!("{FLOWS}?format=csv"), format!("{FLOWS}.csv")] {
            let data = ask("GET", &target).ok();
            assert!(
                data.header("content-type").starts_with("text/csv"),
                "{data:?}"
            );
        }
        ask("POST", FLOWS).with_status(405);
        let extent = ask("GET", "/api/v1/extent").ok();
        assert_eq!(extent.header("content-type"), "application/json");
    }
}

/// The first is what Java's own client has sent for decades, the last a number by the grammar.
#[test]
fn an_accept_that_is_not_by_the_grammar_still_names_what_it_names() {
    let server = TestServer::with_lanl_head();
    for (accept, content_type) in [
        (
            "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
            "application/json",
        ),
        ("*/*; q=.2", "application/json"),
        ("*/*;q=1.0000", "application/json"),
        ("*", "application/json"),
        ("application/xml;q=high", "application/xml"),
        ("application/xml;q=0, */*;q=0.500", "application/json"),
    ] {
        let answer = server.get_with(FLOWS, &[("accept", accept)]).ok();
        assert_eq!(answer.header("content-type"), content_type, "{accept}");
    }
    for accept in ["*/*;q=.0", "*;q=0.0000", "text/html"] {
        server
            .get_with(FLOWS, &[("accept", accept)])
            .with_status(406);
    }
}

#[test]
fn xml_and_ndjson_may_be_asked_for_by_their_other_names() {
    let server = TestServer::with_lanl_head();
    for (accept, content_type) in [
        ("text/xml", "application/xml"),
        ("application/ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/x-ndjson"),
    ] {
        let answer = server.get_with(FLOWS, &[("accept", accept)]).ok();
        assert_eq!(answer.header("content-type"), content_type, "{accept}");
    }
}

/// `curl -OJ` would save them all as `flows`.
#[test]
fn an_answer_names_a_file_of_its_format_wherever_that_is_said() {
    let server = TestServer::with_lanl_head();
    for (target, name) in [
        (FLOWS.to_owned(), "flows.json"),
        (format!("{FLOWS}?format=csv"), "flows.csv"),
        (format!("{FLOWS}.xml"), "flows.xml"),
        (format!("{FLOWS}.xml?format=ndjson"), "flows.ndjson"),
        (format!("{FLOWS}.arrow"), "flows.arrow"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = server.request(method, &target).ok();
            let disposition = format!("inline; filename=\"{name}\"");
            let given = answer.header("content-disposition");
            assert_eq!(given, disposition, "{answer:?}");
        }
    }
}

#[test]
fn an_empty_answer_is_a_valid_document() {
    let server = Database::with_flows([]).serve();
    assert_eq!(server.flows("format=json").ok().text(), "[]");
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>";
    assert_eq!(server.flows("format=xml").ok().text(), xml);
    assert_eq!(server.flows("format=ndjson").ok().text(), "");
    let csv = server.flows("format=csv").ok();
    assert!(
        csv.text().starts_with("id,time,") && csv.text().lines().count() == 1,
        "{csv:?}"
    );
}

#[test]
fn values_are_integers_and_text_whatever_the_database_stores() {
    let server = Database::with_sql(FOREIGN).serve();
    let answer = server.flows("scanned_after=0&scanned_before=1").ok();
    let expected = serde_json::json!([
        {"id": 1, "time": 1, "duration": 0, "src_comp": "C1", "src_port": "1136", "dst_comp": "C2",
         "dst_port": "443", "protocol": 6, "packet_count": 10, "byte_count": 5323},
        {"id": 2, "time": 1, "duration": 12, "src_comp": "", "src_port": null, "dst_comp": "C2",
         "dst_port": "N1", "protocol": 17, "packet_count": -1, "byte_count": 7},
    ]);
    assert_eq!(answer.json(), expected);
    let csv = server.flows("format=csv").ok();
    let rows: Vec<_> = csv.text().lines().skip(1).collect();
    assert_eq!(
        rows,
        [
            "1,1,0,C1,1136,C2,443,6,10,5323",
            "2,1,12,\"\",,C2,N1,17,-1,7"
        ]
    );
}

#[test]
fn text_comes_back_as_it_was_stored() {
    let server = Database::with_flows([]).serve();
    let nasty = [
        "plain",
        "a\"b\\c",
        "</record>",
        "]]>",
        "&amp;",
        "line\nfeed\r\n",
        "\u{1}\u{7f}\u{fffe}",
        "ä🙂",
        "",
    ];
    for (id, text) in nasty.iter().enumerate() {
        let text = text.replace('\'', "''");
        server.execute(&format!(
            "INSERT INTO flows VALUES ({id}, 1, 0, '{text}', 'N1', 'C2', '443', 6, 1, 52)"
        ));
    }
    let stored: Vec<_> = nasty.iter().map(|text| (*text).to_owned()).collect();

    let json = server.flows("format=json").ok().json();
    let read: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["src_comp"].as_str().unwrap())
        .collect();
    assert_eq!(read, stored);

    let ndjson = server.flows("format=ndjson").ok();
    let lines = ndjson
        .text()
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let read: Vec<_> = lines
        .map(|f| f["src_comp"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(read, stored);

    let body = server.flows("format=csv").ok().body;
    let mut reader = csv::Reader::from_reader(body.as_slice());
    let read: Vec<_> = reader
        .records()
        .map(|record| record.unwrap()[3].to_owned())
        .collect();
    assert_eq!(read, stored);

    let xml = server.flows("format=xml").ok();
    let document = roxmltree::Document::parse(xml.text()).unwrap();
    let fields = document
        .descendants()
        .filter(|node| node.has_tag_name("src_comp"));
    let read: Vec<_> = fields
        .map(|node| node.text().unwrap_or("").to_owned())
        .collect();
    let held: Vec<_> = stored
        .iter()
        .map(|t| t.replace(['\u{1}', '\u{fffe}'], "\u{fffd}"))
        .collect();
    assert_eq!(read, held);
}

/// A client that looks for records by their literal tags in whatever chunks arrive, as a quick script does.
#[test]
fn literal_tags_in_chunks_and_a_whole_document_give_the_same_records() {
    let server = Database::with_flows((1..=7000).map(|id| (id, id / 99))).serve();
    let mut wire = Wire::open(server.address());
    wire.send(format!("GET {FLOWS}.xml HTTP/1.0\r\nHost: x\r\n\r\n"));
    let mut found = Vec::new();
    let mut pending = String::new();
    let mut chunk = [0; 1013];
    loop {
        let length = wire.socket().read(&mut chunk).unwrap();
        if length == 0 {
            break;
        }
        pending.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
        while let Some((record, rest)) = pending.split_once("</record>") {
            found.push(record.split_once("<record>").unwrap().1.to_owned());
            pending = rest.to_owned();
        }
    }
    let whole = server.flows("format=xml").ok();
    let document = roxmltree::Document::parse(whole.text()).unwrap();
    let parsed: Vec<_> = document
        .descendants()
        .filter(|n| n.has_tag_name("record"))
        .collect();
    assert_eq!(found.len(), 7000);
    assert_eq!(parsed.len(), 7000);
    for (literal, record) in found.iter().zip(parsed) {
        let fields = record.children().filter(|n| n.is_element());
        let written: String = fields
            .map(|n| {
                format!(
                    "<{0}>{1}</{0}>",
                    n.tag_name().name(),
                    n.text().unwrap_or("")
                )
            })
            .collect();
        assert_eq!(*literal, written);
    }
}

/// Python's `str.splitlines`, and by it httpx's `iter_lines`, ends a line at each of these.
#[test]
fn nothing_but_a_line_feed_ends_a_line_of_json_and_ndjson() {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let server = Database::with_flows([(0, 0)]).serve();
    let name = |c: char| format!("a{c}§–\u{20a8}z");
    for (id, c) in (1..).zip(ENDS) {
        let code = u32::from(c);
        server.execute(&format!(
            "INSERT INTO flows VALUES ({id}, {id}, 0, 'a' || char({code}) || '§–\u{20a8}z', 'N1', 'C2', '443', 6, 1, 52)"
        ));
    }
    let ndjson = server.flows("format=ndjson&scanned_after=0").ok();
    let lines: Vec<_> = ndjson.text().split_terminator(ENDS).collect();
    assert_eq!(lines.len(), ENDS.len(), "{ndjson:?}");
    for (line, c) in lines.iter().zip(ENDS) {
        let flow: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_eq!(flow["src_comp"], name(c), "{line}");
    }
    let json = server.flows("format=json&scanned_after=0").ok();
    assert_eq!(json.text().split(ENDS).count(), ENDS.len(), "{json:?}");
    let names: Vec<_> = json
        .json()
        .as_array()
        .expect("an array")
        .iter()
        .map(|flow| flow["src_comp"].as_str().unwrap_or("").to_owned())
        .collect();
    assert_eq!(names, ENDS.map(name));
    // The other formats have ends of their own: it stands as it is.
    for format in ["xml", "csv"] {
        let answer = server.flows(&format!("format={format}")).ok();
        assert!(answer.text().contains(&name('\u{2028}')), "{answer:?}");
    }
}
