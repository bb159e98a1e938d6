//! The routes beside the flows: extent, BigQuery's schema, the OpenAPI document, health.

use flow_window::query::parameters::PARAMETERS;
use serde_json::{Value, json};

use crate::problems::problem;
use support::FLOWS;
use support::database::{Database, SCHEMA, unguarded_schema};

const EXTENT: &str = "/api/v1/extent";
const BIGQUERY: &str = "/api/v1/schema/bigquery";
const OPENAPI: &str = "/api/v1/openapi.json";
const HEALTH: &str = "/api/v1/health";

#[test]
fn the_extent_is_the_ends_of_time_and_id_each_for_itself() {
    let server = Database::with_flows([(4, 30), (5, -10), (9, 20)]).serve();
    let extent = server.get(EXTENT).ok();
    let lineage = server.get(FLOWS).ok().header("flow-lineage").to_owned();
    assert_eq!(
        extent.header("content-type"),
        "application/json",
        "{extent:?}"
    );
    assert_eq!(
        extent.json(),
        json!({"first_time": -10, "last_time": 30, "first_id": 4, "last_id": 9, "flows": null, "lineage": lineage})
    );
    server.insert([(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)]);
    // Ids below the largest one begin another lineage.
    let lineage = server.get(FLOWS).ok().header("flow-lineage").to_owned();
    let ends = json!({"lineage": lineage, "first_time": i64::MIN, "last_time": i64::MAX, "first_id": i64::MIN, "last_id": i64::MAX, "flows": null});
    assert_eq!(server.get(EXTENT).ok().json(), ends);
}

#[test]
fn the_extent_of_an_empty_table_is_null() {
    let nulls = json!({"first_time": null, "last_time": null, "first_id": null, "last_id": null, "flows": null, "lineage": null});
    // A table without a guard has no lineage either.
    let unguarded = Database::with_sql(unguarded_schema())
        .serve()
        .get(EXTENT)
        .ok();
    assert_eq!(unguarded.json(), nulls);
    problem(
        Database::absent().serve().get(EXTENT),
        503,
        "no table flows",
    );
}

#[test]
fn the_bigquery_schema_has_the_fields_of_a_record_in_their_order() {
    let server = Database::with_flows([(1, 1)]).serve();
    let answer = server.get(BIGQUERY).ok();
    assert_eq!(
        answer.header("content-type"),
        "application/json",
        "{answer:?}"
    );
    let schema = answer.json();
    let csv = server.flows("format=csv").ok();
    let header: Vec<_> = csv
        .text()
        .lines()
        .next()
        .expect("a header")
        .split(',')
        .collect();
    let names: Vec<_> = schema
        .as_array()
        .expect("an array")
        .iter()
        .map(|field| field["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, header);
    let flow = server.get(FLOWS).ok().json().remove_first();
    for field in schema.as_array().expect("an array") {
        let value = &flow[field["name"].as_str().expect("a name")];
        let kind = if value.is_string() {
            "STRING"
        } else {
            "INTEGER"
        };
        assert_eq!(field["type"], kind, "{field}");
        assert!(
            matches!(field["mode"].as_str(), Some("REQUIRED" | "NULLABLE")),
            "{field}"
        );
        assert_eq!(field.as_object().expect("an object").len(), 3, "{field}");
    }
}

/// The first element of an array.
trait RemoveFirst {
    fn remove_first(self) -> Value;
}

impl RemoveFirst for Value {
    #[track_caller]
    fn remove_first(self) -> Value {
        let Value::Array(mut all) = self else {
            panic!("no array: {self}")
        };
        all.remove(0)
    }
}

#[test]
fn health_is_200_when_flows_can_be_served_and_else_503_and_says_why() {
    let server = Database::absent().serve();
    let unfit = server.get(HEALTH).with_status(503);
    assert_eq!(
        unfit.header("content-type"),
        "application/json",
        "{unfit:?}"
    );
    assert_eq!(unfit.json()["status"], "unavailable", "{unfit:?}");
    let detail = unfit.json()["detail"].as_str().map(str::to_owned);
    assert!(
        detail.is_some_and(|detail| detail.contains("no table flows")),
        "{unfit:?}"
    );
    let schema = SCHEMA;
    server.execute(schema.split_once("CREATE INDEX").expect("an index").0);
    let unfit = server.get(HEALTH).with_status(503);
    assert!(unfit.text().contains("CREATE INDEX"), "{unfit:?}");
    server.execute(schema);
    let fit = server.get(HEALTH).ok();
    assert_eq!(fit.header("content-type"), "application/json", "{fit:?}");
    assert_eq!(fit.json(), json!({"status": "ok"}));
    assert_eq!(server.request("HEAD", HEALTH).ok().body, b"");
    server.execute("DROP TABLE flows");
    server.get(HEALTH).with_status(503);
}

#[test]
fn health_is_json_whatever_is_accepted() {
    let accept = [("accept", "application/xml")];
    for (server, status) in [
        (Database::with_flows([]).serve(), 200),
        (Database::absent().serve(), 503),
    ] {
        let answer = server.get_with(HEALTH, &accept).with_status(status);
        assert_eq!(
            answer.header("content-type"),
            "application/json",
            "{answer:?}"
        );
        assert!(answer.json()["status"].is_string(), "{answer:?}");
    }
}

#[test]
fn the_openapi_document_names_every_route_parameter_and_header_that_the_service_has() {
    let server = Database::with_flows((1..=3).map(|id| (id, id))).serve();
    let answer = server.get(OPENAPI).ok();
    assert_eq!(
        answer.header("content-type"),
        "application/json",
        "{answer:?}"
    );
    let document = answer.json();
    let version = document["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3.1."), "{version}");
    let paths = document["paths"].as_object().expect("paths");
    for path in [
        FLOWS,
        EXTENT,
        BIGQUERY,
        OPENAPI,
        HEALTH,
        "/api/v1/flows/histogram",
    ] {
        assert!(paths.contains_key(path), "{path}");
        server.get(path).ok();
    }
    let named: Vec<_> = document["components"]["parameters"]
        .as_object()
        .expect("parameters")
        .keys()
        .collect();
    for parameter in PARAMETERS {
        assert!(
            named.iter().any(|name| *name == parameter.name),
            "{}",
            parameter.name
        );
    }
    let prefer = [("prefer", "count=exact")];
    let whole = server.get_with(FLOWS, &prefer).ok();
    let limited = server.flows("limit=1").ok();
    for header in document["components"]["responses"]["Flows"]["headers"]
        .as_object()
        .expect("headers")
        .keys()
    {
        let has = limited.has(header) || whole.has(header);
        assert!(has, "{header}: {limited:?} {whole:?}");
    }
    let statuses = document["paths"][FLOWS]["get"]["responses"]
        .as_object()
        .expect("responses");
    assert!(
        statuses.keys().eq([
            "200", "304", "400", "401", "405", "406", "410", "412", "414", "500", "503"
        ]),
        "{statuses:?}"
    );
}

#[test]
fn the_openapi_document_names_head_405_and_its_own_place_for_every_route() {
    let document = Database::with_flows([(1, 1)])
        .serve()
        .get(OPENAPI)
        .ok()
        .json();
    for (path, described) in document["paths"].as_object().expect("paths") {
        for method in ["get", "head"] {
            let responses = &described[method]["responses"];
            assert!(responses["405"].is_object(), "{method} {path}: {described}");
        }
    }
    // Two steps up from where the document is, whatever that is under.
    assert_eq!(document["servers"][0]["url"], "../..");
    assert_eq!(OPENAPI.matches('/').count(), 3);
}

#[test]
fn documents_have_a_tag_that_changes_with_them_and_gets_304() {
    let server = Database::with_flows([(1, 1)]).serve();
    let tags = [EXTENT, BIGQUERY, OPENAPI].map(|path| {
        let known = server.get(path).ok();
        assert_eq!(known.header("cache-control"), "no-cache", "{known:?}");
        let tag = known.header("etag").to_owned();
        for method in ["GET", "HEAD"] {
            let conditional =
                |name: &str, tag: &str| server.request_with(method, path, &[(name, tag)]);
            let unchanged = conditional("if-none-match", &tag).with_status(304);
            assert_eq!(unchanged.body, b"", "{unchanged:?}");
            for name in ["etag", "cache-control"] {
                assert_eq!(unchanged.header(name), known.header(name), "{unchanged:?}");
            }
            conditional("if-none-match", "\"other\"").ok();
            conditional("if-match", &tag).ok();
            conditional("if-match", "\"other\"").with_status(412);
        }
        tag
    });
    assert!(tags[0] != tags[1] && tags[1] != tags[2], "{tags:?}");
    server.insert([(2, 2)]);
    let grown = server.get_with(EXTENT, &[("if-none-match", &tags[0])]).ok();
    assert_eq!(grown.json()["last_id"], 2, "{grown:?}");
}

#[test]
fn health_is_never_stored() {
    for (server, status) in [
        (Database::with_flows([]).serve(), 200),
        (Database::absent().serve(), 503),
    ] {
        let health = server.get(HEALTH).with_status(status);
        assert_eq!(health.header("cache-control"), "no-store", "{health:?}");
    }
}

#[test]
fn documents_refuse_parameters_as_flows_do_and_health_passes_over_them() {
    let server = Database::with_flows([(1, 1)]).serve();
    for path in [EXTENT, BIGQUERY, OPENAPI] {
        let refused = problem(
            server.get(&format!("{path}?x=1")),
            400,
            "\"x\" is no parameter",
        );
        assert_eq!(refused["parameter"], "x", "{refused}");
        problem(server.get(&format!("{path}?limit")), 400, "limit");
        let long = format!("{path}?{}", "x".repeat(60_000));
        problem(server.get(&long), 414, "60");
        server.get(&format!("{path}?&")).ok();
    }
    server.get(&format!("{HEALTH}?now=1")).ok();
}

#[test]
fn documents_answer_head_and_refuse_other_methods() {
    let server = Database::with_flows([(1, 1)]).serve();
    for path in [EXTENT, BIGQUERY, OPENAPI, HEALTH] {
        let (get, head) = (server.get(path).ok(), server.request("HEAD", path).ok());
        assert_eq!(head.body, b"", "{head:?}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{name}: {head:?}");
        }
        assert_eq!(
            get.header("content-length"),
            get.body.len().to_string(),
            "{get:?}"
        );
        let post = server.request("POST", path);
        assert_eq!(post.header("allow"), "GET, HEAD", "{post:?}");
        problem(post, 405, "POST");
        problem(server.get(&format!("{path}/")), 404, path);
    }
}

#[test]
fn the_page_is_html_that_may_run_its_own_script_and_nothing_else() {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    let server = Database::with_flows([(1, 1)]).serve_with(&[("api_token", "s3cret")]);
    let page = server.get("/").ok();
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for tag in ["style", "script"] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        assert_eq!(page.text().matches(&open).count(), 1, "{tag}");
        let (_, content) = page.text().split_once(&open).expect("a start");
        let (content, _) = content.split_once(&close).expect("an end");
        let hash = base64::prelude::BASE64_STANDARD.encode(Sha256::digest(content));
        let source = format!("{tag}-src 'sha256-{hash}'");
        assert!(policy.contains(&source), "{source} is to be in {policy}");
    }
    // No handler and no style in an attribute, nothing from elsewhere.
    for banned in [
        " onclick=\"",
        " style=\"",
        "http://",
        "https://",
        "innerHTML",
    ] {
        assert!(
            !page
                .text()
                .replace("http://www.w3.org/2000/svg", "")
                .contains(banned),
            "{banned}"
        );
    }
    let known = server.get_with("/", &[("if-none-match", page.header("etag"))]);
    assert_eq!(known.status, 304, "{known:?}");
    let head = server.request_with("HEAD", "/?x=1", &[]).ok();
    assert_eq!(head.header("content-length"), page.body.len().to_string());
    problem(
        server.request_with("POST", "/", &[]),
        405,
        "expected GET or HEAD",
    );
    problem(server.get("/x"), 401, "Authorization");
}
