//! Who may ask: the access token, and pages of other origins.

use crate::problems::problem;
use support::FLOWS;
use support::database::Database;
use support::server::{TestServer, is_wasip3};
use support::wire::Response;

const OTHERS: [&str; 5] = [
    "/api/v1/flows/histogram",
    "/api/v1/flows/top?by=protocol",
    "/api/v1/extent",
    "/api/v1/schema/bigquery",
    "/api/v1/openapi.json",
];
const HEALTH: &str = "/api/v1/health";

fn locked() -> TestServer {
    Database::with_flows([(1, 1), (2, 2)]).serve_with(&[("api_token", "s3cret")])
}

#[track_caller]
fn with_token(server: &TestServer, target: &str, authorization: &str) -> Response {
    server.get_with(target, &[("authorization", authorization)])
}

#[test]
fn without_the_token_every_path_but_health_and_page_is_401_and_names_the_scheme() {
    let server = locked();
    let targets = [
        FLOWS.to_owned(),
        format!("{FLOWS}.csv"),
        format!("{FLOWS}?limit=x"),
        "/nowhere".to_owned(),
        "//".to_owned(),
    ];
    for target in targets.iter().map(String::as_str).chain(OTHERS) {
        for authorization in [
            None,
            Some("Bearer wrong"),
            Some("Bearer s3cre"),
            Some("Bearer s3crets"),
            Some("Bearer S3CRET"),
            Some("Bearer"),
            Some("Bearer "),
            Some("Basic s3cret"),
            Some("s3cret"),
        ] {
            let headers: Vec<_> = authorization
                .map(|value| ("authorization", value))
                .into_iter()
                .collect();
            let answer = server.get_with(target, &headers);
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{answer:?}"
            );
            assert!(!answer.text().contains("s3cret"), "{answer:?}");
            assert!(
                !answer.has("flow-watermark") && !answer.has("etag"),
                "{answer:?}"
            );
            problem(answer, 401, "token");
        }
        assert_eq!(server.request("HEAD", target).status, 401, "{target}");
        assert_eq!(server.request("POST", target).status, 401, "{target}");
        assert_eq!(server.request("OPTIONS", target).status, 401, "{target}");
    }
    // A page is not told whether what it knows is current either.
    server
        .get_with(FLOWS, &[("if-none-match", "*")])
        .with_status(401);
    assert_eq!(server.get(HEALTH).ok().json()["status"], "ok");
}

#[test]
fn with_the_token_all_is_as_it_is_without_one() {
    let server = locked();
    for authorization in ["Bearer s3cret", "bearer s3cret", "BEARER s3cret"] {
        assert_eq!(
            with_token(&server, FLOWS, authorization).flows(),
            [(1, 1), (2, 2)]
        );
    }
    let authorization = "Bearer s3cret";
    for target in OTHERS {
        with_token(&server, target, authorization).ok();
    }
    problem(
        with_token(&server, "/nowhere", authorization),
        404,
        "/nowhere",
    );
    problem(
        with_token(&server, &format!("{FLOWS}?limit=x"), authorization),
        400,
        "limit",
    );
    let posted = server.request_with("POST", FLOWS, &[("authorization", authorization)]);
    problem(posted, 405, "POST");
    let limited = with_token(&server, &format!("{FLOWS}?limit=1"), authorization).ok();
    let next = limited.next().expect("a Link");
    assert!(!next.contains("s3cret"), "{next}");
    server.get(&next).with_status(401);
    assert_eq!(with_token(&server, &next, authorization).flows(), [(2, 2)]);
}

#[test]
fn a_401_is_xml_where_xml_was_asked_for() {
    let answer = locked().get(&format!("{FLOWS}.xml")).with_status(401);
    assert_eq!(
        answer.header("content-type"),
        "application/problem+xml",
        "{answer:?}"
    );
    roxmltree::Document::parse(answer.text()).expect("XML");
}

#[test]
fn without_the_variable_an_authorization_changes_nothing() {
    let server = Database::with_flows([(1, 1)]).serve();
    for authorization in ["Bearer x", "Basic eDp5", ""] {
        assert_eq!(
            with_token(&server, FLOWS, authorization).flows(),
            [(1, 1)],
            "{authorization}"
        );
    }
}

/// The headers that let a page of another origin read an answer.
const CORS: [&str; 5] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
];

#[test]
fn with_cors_origin_set_its_pages_may_read_answers_and_problems() {
    for origin in ["https://flows.example", "*"] {
        let server = Database::with_flows((1..=3000).map(|id| (id, id)))
            .serve_with(&[("cors_origin", origin)]);
        let tag = server.flows("limit=1").ok().header("etag").to_owned();
        let page = [
            ("origin", "https://flows.example"),
            ("if-none-match", tag.as_str()),
        ];
        for (target, status) in [
            (FLOWS.to_owned(), 200),
            (format!("{FLOWS}?limit=1"), 304),
            (format!("{FLOWS}?limit=x"), 400),
            ("/nowhere".to_owned(), 404),
            ("/api/v1/extent".to_owned(), 200),
            ("/api/v1/schema/bigquery".to_owned(), 200),
            ("/api/v1/openapi.json".to_owned(), 200),
            (HEALTH.to_owned(), 200),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = server
                    .request_with(method, &target, &page)
                    .with_status(status);
                assert_eq!(
                    answer.header("access-control-allow-origin"),
                    origin,
                    "{answer:?}"
                );
                let exposed = answer.header("access-control-expose-headers");
                let mut exposed: Vec<_> = exposed.split(", ").collect();
                exposed.sort_unstable();
                let all = [
                    "ETag",
                    "Flow-Count",
                    "Flow-Lineage",
                    "Flow-Watermark",
                    "Link",
                    "Retry-After",
                ];
                assert_eq!(exposed, all, "{answer:?}");
            }
        }
        let post = server.request_with("POST", FLOWS, &page).with_status(405);
        assert_eq!(
            post.header("access-control-allow-origin"),
            origin,
            "{post:?}"
        );
    }
}

#[test]
fn a_401_and_a_503_can_be_read_by_the_origins_pages_too() {
    let server = Database::absent().serve_with(&[("cors_origin", "*"), ("api_token", "s3cret")]);
    let unauthorized = server.get(FLOWS).with_status(401);
    assert_eq!(
        unauthorized.header("access-control-allow-origin"),
        "*",
        "{unauthorized:?}"
    );
    let unavailable = with_token(&server, FLOWS, "Bearer s3cret").with_status(503);
    assert_eq!(
        unavailable.header("access-control-allow-origin"),
        "*",
        "{unavailable:?}"
    );
}

#[test]
fn a_preflight_is_204_without_a_token_and_allows_what_a_page_needs() {
    let origin = "https://flows.example";
    let server = Database::with_flows([(1, 1)])
        .serve_with(&[("cors_origin", origin), ("api_token", "s3cret")]);
    for target in [FLOWS, "/api/v1/extent", HEALTH] {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            (
                "access-control-request-headers",
                "authorization, if-none-match",
            ),
        ];
        let answer = server
            .request_with("OPTIONS", target, &asked)
            .with_status(204);
        assert_eq!(answer.body, b"", "{answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            origin,
            "{answer:?}"
        );
        let methods = answer.header("access-control-allow-methods");
        assert!(
            methods.contains("GET") && methods.contains("HEAD"),
            "{answer:?}"
        );
        let allowed = answer.header("access-control-allow-headers").to_lowercase();
        for header in ["authorization", "if-match", "if-none-match", "accept"] {
            assert!(
                allowed.split(", ").any(|name| name == header),
                "{header}: {answer:?}"
            );
        }
    }
    let unknown = server.request_with("OPTIONS", "/nowhere", &[("origin", origin)]);
    problem(unknown, 404, "/nowhere");
    // A preflight opens nothing.
    server
        .get_with(FLOWS, &[("origin", origin)])
        .with_status(401);
}

#[test]
fn without_cors_origin_no_answer_has_its_headers_and_options_is_405() {
    let server = Database::with_flows([(1, 1)]).serve();
    let page = [
        ("origin", "https://flows.example"),
        ("access-control-request-method", "GET"),
    ];
    for (method, target, status) in [
        ("GET", FLOWS, 200),
        ("GET", "/nowhere", 404),
        ("GET", HEALTH, 200),
        ("OPTIONS", FLOWS, 405),
    ] {
        let answer = server
            .request_with(method, target, &page)
            .with_status(status);
        for name in CORS {
            assert!(!answer.has(name), "{name}: {answer:?}");
        }
    }
}

/// Has the notices of the operator's doing in the log: an instance for each request writes them for health alone.
fn noticed(server: &TestServer) {
    if !is_wasip3() {
        server.get(HEALTH);
    }
}

/// A browser sends an origin without one.
#[test]
fn an_origin_that_is_set_with_a_slash_is_sent_without_and_that_is_said() {
    let server =
        Database::with_flows([(1, 1)]).serve_with(&[("cors_origin", "https://flows.example/")]);
    for _ in 0..3 {
        let answer = server.get(FLOWS).ok();
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, "https://flows.example", "{answer:?}");
    }
    noticed(&server);
    let log = server.log();
    assert_eq!(log.matches("variable cors_origin").count(), 1, "{log}");
}

/// A secret that is read from a file often ends in a line feed, which no header can carry.
#[test]
fn blanks_around_a_token_lock_nobody_out_and_are_spoken_of() {
    for token in ["s3cret\n", " s3cret\r\n", "s3cret\t"] {
        let server = Database::with_flows([(1, 1)]).serve_with(&[("api_token", token)]);
        for _ in 0..3 {
            assert_eq!(
                with_token(&server, FLOWS, "Bearer s3cret").flows(),
                [(1, 1)]
            );
        }
        server.get(FLOWS).with_status(401);
        noticed(&server);
        let log = server.log();
        assert_eq!(log.matches("variable api_token").count(), 1, "{log}");
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[test]
fn a_token_of_blanks_alone_opens_nothing() {
    let server = Database::with_flows([(1, 1)]).serve_with(&[("api_token", " \n")]);
    for authorization in ["Bearer", "Bearer ", "Bearer  \t"] {
        let answer = with_token(&server, FLOWS, authorization);
        problem(answer, 503, "api_token holds nothing but blanks");
    }
}
