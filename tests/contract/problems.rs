//! What goes wrong says so: a status and a problem before the first byte, an aborted connection after it.

use support::database::{Database, SCHEMA};
use support::server::TestServer;
use support::wire::{End, Response};
use support::{FLOWS, FORMATS};

/// Asserts a problem in JSON with this status, in whose detail `detail` stands.
#[track_caller]
pub(crate) fn problem(answer: Response, status: u16, detail: &str) -> serde_json::Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{answer:?}"
    );
    // Written as `Accept` says, and nothing that a cache may keep for later.
    assert_eq!(
        answer.header("vary"),
        "Accept, Accept-Encoding",
        "{answer:?}"
    );
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{answer:?}");
    assert!(
        problem["title"].is_string()
            && problem["type"]
                .as_str()
                .is_some_and(|name| name.starts_with("urn:")),
        "{answer:?}"
    );
    let said = problem["detail"].as_str().unwrap_or("");
    assert!(said.contains(detail), "no {detail:?} in {answer:?}");
    problem
}

#[test]
fn a_bad_parameter_is_400_and_named() {
    let server = Database::with_flows([]).serve();
    for (query, parameter, value) in [
        ("scanned_after=yesterday", "scanned_after", "yesterday"),
        (
            "scanned_before=9223372036854775808",
            "scanned_before",
            "9223372036854775808",
        ),
        ("limit=-1", "limit", "-1"),
        ("limit=", "limit", ""),
        ("format=yaml", "format", "yaml"),
        ("limit=1&limit=2", "limit", "more than once"),
        ("since=1", "since", "since"),
    ] {
        let problem = problem(server.flows(query), 400, value);
        assert_eq!(problem["parameter"], parameter, "{query}");
        assert!(
            problem["detail"].as_str().unwrap().contains(parameter),
            "{problem}"
        );
    }
}

#[test]
fn a_problem_is_xml_where_xml_was_asked_for() {
    let server = Database::with_flows([]).serve();
    for target in [
        format!("{FLOWS}.xml?limit=x"),
        format!("{FLOWS}?limit=x&format=xml"),
    ] {
        let answer = server.get(&target);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            "application/problem+xml",
            "{answer:?}"
        );
        let document = roxmltree::Document::parse(answer.text()).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().namespace(), Some("urn:ietf:rfc:7807"));
        let parameter = root.children().find(|n| n.tag_name().name() == "parameter");
        assert_eq!(
            parameter.and_then(|n| n.text()),
            Some("limit"),
            "{answer:?}"
        );
    }
}

#[test]
fn a_problem_is_xml_however_the_format_is_written() {
    let server = Database::with_flows([]).serve();
    for query in ["format=x%6Dl&limit=x", "form%61t=xml&limit=x"] {
        let answer = server.flows(query).with_status(400);
        let content_type = answer.header("content-type");
        assert_eq!(content_type, "application/problem+xml", "{answer:?}");
    }
    // And it is no longer where the request was for something else after all.
    let answer = server.get(&format!("{FLOWS}.xml?format=%6Ason&limit=x"));
    assert_eq!(problem(answer, 400, "limit")["parameter"], "limit");
}

#[test]
fn an_accept_that_names_nothing_on_offer_is_406_and_names_what_is() {
    let server = Database::with_flows([]).serve();
    let html = [("accept", "text/html")];
    problem(
        server.request_with("GET", FLOWS, &html),
        406,
        "application/x-ndjson",
    );
    assert_eq!(
        server
            .request_with("GET", &format!("{FLOWS}.csv"), &html)
            .status,
        200
    );
}

#[test]
fn other_paths_are_404_and_other_methods_405() {
    let server = Database::with_flows([]).serve();
    for path in [
        "/api",
        "/api/v1/stream/flow",
        "/api/v1/stream/flows/",
        "/api/v1/stream/flows.yaml",
        "/api/v1/stream/flows.xml.json",
    ] {
        problem(server.get(path), 404, path);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = server.request(method, FLOWS);
        assert_eq!(answer.header("allow"), "GET, HEAD", "{answer:?}");
        problem(answer, 405, method);
    }
}

#[test]
fn a_database_that_cannot_be_served_from_is_503_and_says_what_to_run() {
    problem(Database::absent().serve().get(FLOWS), 503, "no table flows");

    let no_column = SCHEMA.replace("dst_port     TEXT    NOT NULL,", "");
    assert_ne!(no_column, SCHEMA);
    problem(
        Database::with_sql(&no_column).serve().get(FLOWS),
        503,
        "no column dst_port",
    );

    let no_index = SCHEMA.split_once("CREATE INDEX").unwrap().0;
    let server = Database::with_sql(no_index).serve();
    problem(server.get(FLOWS), 503, "flows load");
    server.execute("CREATE INDEX flows_time ON flows (time, id)");
    assert_eq!(server.get(FLOWS).flows(), []);

    for columns in ["flows (time) WHERE time > 0", "flows (src_comp)"] {
        let other = SCHEMA.replace("flows (time)", columns);
        assert_ne!(other, SCHEMA);
        let served = Database::with_sql(&other).serve();
        problem(served.get(FLOWS), 503, "no index");
    }

    // An id that is no key gives no order without an index of its own.
    let no_key = SCHEMA.replace("PRIMARY KEY", "NOT NULL");
    problem(
        Database::with_sql(&no_key).serve().get(FLOWS),
        503,
        "CREATE INDEX",
    );
}

#[test]
fn an_id_that_need_not_be_unique_or_an_integer_is_refused() {
    let ordered = SCHEMA.replace("flows (time)", "flows (time, id)");
    assert_ne!(ordered, SCHEMA);

    let keyless = ordered.replace("INTEGER PRIMARY KEY", "INTEGER NOT NULL");
    assert_ne!(keyless, ordered);
    let server =
        Database::with_sql(&format!("{keyless}; CREATE INDEX by_id ON flows (id);")).serve();
    problem(server.get(FLOWS), 503, "CREATE UNIQUE INDEX");
    server.execute("CREATE UNIQUE INDEX flows_id ON flows (id)");
    assert_eq!(server.get(FLOWS).flows(), []);

    let loose = ordered.replace("INTEGER PRIMARY KEY", "INT PRIMARY KEY");
    assert_ne!(loose, ordered);
    for (value, kind) in [
        ("NULL", "null"),
        ("'a'", "text"),
        ("x'ff'", "blob"),
        ("1.5", "real"),
    ] {
        let server = Database::with_sql(&loose).serve();
        server.execute(&format!(
            "INSERT INTO flows VALUES ({value}, 3, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52)"
        ));
        problem(server.get(FLOWS), 503, kind);
    }
}

#[test]
fn a_time_that_is_no_integer_is_refused_and_never_passed_over() {
    let loose = SCHEMA.replace("time         INTEGER NOT NULL", "time");
    assert_ne!(loose, SCHEMA);
    for (value, kind) in [
        ("NULL", "null"),
        ("'3'", "text"),
        ("x'00'", "blob"),
        ("x'ff'", "blob"),
        ("1.5", "real"),
    ] {
        let server = Database::with_sql(&loose).serve();
        server.execute(&format!(
            "INSERT INTO flows VALUES (1, {value}, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52)"
        ));
        problem(server.get(FLOWS), 503, kind);
    }
}

#[test]
fn a_database_that_stays_locked_is_503_and_says_when_to_come_back() {
    let server = Database::with_flows([(1, 1)]).serve();
    let writer = rusqlite::Connection::open(server.database.path()).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = server.get(FLOWS);
    assert_eq!(answer.header("retry-after"), "5", "{answer:?}");
    problem(answer, 503, "locked");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(server.get(FLOWS).flows(), [(1, 1)]);
}

#[test]
fn a_value_that_no_format_can_write_is_500_without_sql_or_path() {
    let server = Database::with_flows([(1, 1)]).serve();
    for (value, detail) in [
        ("'many'", "flow 1: byte_count is \"many\", not an integer"),
        ("1.5", "flow 1: byte_count is 1.5, not an integer"),
        (
            "x'ff00'",
            "flow 1: byte_count is a BLOB, which no format can write",
        ),
        ("x'0f'", "flow 1: byte_count is a BLOB"),
        ("x'1d'", "flow 1: byte_count is a BLOB"),
        (
            "jsonb('[1]')",
            "flow 1: byte_count is neither number nor text",
        ),
    ] {
        server.execute(&format!("UPDATE flows SET byte_count = {value}"));
        let answer = server.get(FLOWS);
        assert!(
            !answer.text().contains("SELECT") && !answer.text().contains("sqlite_db"),
            "{answer:?}"
        );
        problem(answer, 500, detail);
    }
    server.execute("UPDATE flows SET byte_count = 1, src_comp = CAST(x'ff' AS TEXT)");
    problem(server.get(FLOWS), 500, "not UTF-8");
}

/// Nobody finds one value among millions by himself.
#[test]
fn a_blob_is_named_by_flow_and_column_wherever_it_is() {
    let server = Database::with_flows((1..=30_000).map(|id| (id, id / 99))).serve();
    let target = format!("{FLOWS}.ndjson");
    for (id, column) in [(1, "duration"), (450, "src_port"), (25_000, "dst_comp")] {
        // In a flow behind it, and in a column behind it, is another one.
        server.execute(&format!(
            "UPDATE flows SET {column} = x'00ff00', byte_count = x'00ff' WHERE id = {id};
             UPDATE flows SET src_comp = x'00ff' WHERE id = {id} + 1"
        ));
        let place = format!("flow {id}: {column} is a BLOB, which no format can write");
        for question in [
            "",
            "src_comp=C1",
            "after_id=0",
            "after_id=0&scanned_after=-1",
        ] {
            let before = server.log().lines().count();
            let target = format!("{target}?{question}");
            if id < 500 {
                problem(server.get(&target), 500, &place);
            } else {
                assert!(!raw(&server, &target).ends_with("0\r\n\r\n"), "{target}");
            }
            let log = server.logged(before + 1);
            let line = log.lines().last().unwrap_or_default();
            assert!(line.contains(&place), "{target}: {line}");
        }
        // A flow that is not asked for is in nobody's way.
        server
            .flows("src_port=N1&dst_comp=C2&scanned_before=0&scanned_after=0")
            .ok();
        server.execute("UPDATE flows SET duration = 0, src_port = 'N1', src_comp = 'C1', dst_comp = 'C2', byte_count = 1 WHERE id < 30000");
    }
}

/// What a client of `target` receives to the end of the connection, body and framing.
#[track_caller]
pub(crate) fn raw(server: &TestServer, target: &str) -> String {
    let mut wire = server.open("GET", target, &[("Connection", "close")]);
    String::from_utf8_lossy(&wire.rest()).into_owned()
}

#[test]
fn a_page_that_fails_later_aborts_the_connection() {
    let server = Database::with_flows((1..=9000).map(|id| (id, id))).serve();
    for format in FORMATS {
        let target = format!("{FLOWS}.{format}");
        let whole = raw(&server, &target);
        assert!(
            whole.ends_with("\r\n0\r\n\r\n"),
            "{format} does not end well without a fault"
        );
        server.execute("UPDATE flows SET byte_count = 'many' WHERE id = 8000");
        let broken = raw(&server, &target);
        assert!(
            broken.starts_with("HTTP/1.1 200"),
            "{format}: {broken:.200}"
        );
        assert!(
            broken.contains("C2"),
            "{format}: nothing of the good pages came"
        );
        assert!(
            !broken.ends_with("0\r\n\r\n"),
            "{format}: a cut answer ended as if it were whole"
        );
        assert!(
            !broken.contains("many"),
            "{format}: the error stands among the rows"
        );
        let answer = server.get(&target);
        assert!(answer.end == End::Cut, "{answer:?}");
        server.execute("UPDATE flows SET byte_count = 1");
    }
    assert_eq!(server.get(FLOWS).flows().len(), 9000);
}
