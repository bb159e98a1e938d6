//! The OpenAPI document, made from the code's lists of routes, parameters, formats, columns and problems.
//!
//! The file that the component holds is compared with it. `BLESS=1 cargo test` rewrites the file.

use flow_window::export::counts::{BUCKET, MEASURES};
use flow_window::formats::{Encoder, Format};
use flow_window::http::openapi;
use flow_window::http::problem::ProblemKind;
use flow_window::http::routes::{Access, FLOWS, QueryPolicy, ROUTES, Route};
use flow_window::query::parameters::{PARAMETERS, Parameter, ParameterKind};
use flow_window::rows::reader::RecordReader;
use flow_window::table::columns::{COLUMNS, Column, ColumnType};
use flow_window::table::layout::Layout;
use serde_json::{Map, Value, json};

/// The schema that `bq load --schema` takes for the flows: name, type and mode of each field.
fn bigquery_schema() -> Value {
    COLUMNS
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": match column.column_type { ColumnType::Integer => "INTEGER", ColumnType::Text => "STRING" },
                // Tables from elsewhere may hold nulls, except in the key.
                "mode": if column.is_key { "REQUIRED" } else { "NULLABLE" },
            })
        })
        .collect()
}

/// The OpenAPI document.
fn document() -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        if route.path == FLOWS {
            paths.insert(FLOWS.into(), flows_path(""));
            paths.insert(format!("{FLOWS}.{{ending}}"), flows_path("_by_ending"));
        } else if route.path == "/" {
            paths.insert("/".into(), page_path(route));
        } else if is_of_counts(route) {
            paths.insert(route.path.into(), counts_path(route, ""));
            let by_ending = format!("{}.{{ending}}", route.path);
            paths.insert(by_ending, counts_path(route, "_by_ending"));
        } else {
            paths.insert(route.path.into(), document_path(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "flow-window",
            "version": "1",
            "summary": "A time window of network-flow records",
            "description": "Any window of any size, in constant memory on both sides. An answer whose \
                            connection is closed without its proper end is not complete.",
        },
        "servers": [{ "url": "../..", "description": "what the path of this document is under, be it a proxy's prefix" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "parameters": parameters(),
            "headers": headers(),
            "responses": flow_responses()
                .into_iter()
                .chain(counts_responses())
                .chain(problem_responses())
                .collect::<Map<_, _>>(),
            "schemas": schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "asked for where the variable `api_token` is set",
                },
            },
        },
    })
}

/// The path of flows, as it is or with the format as its ending.
fn flows_path(suffix: &str) -> Value {
    let operation = |name: &str, summary: &str, ok: &str| {
        let mut responses =
            json!({ "200": reference("responses", ok), "304": reference("responses", "304") });
        add_problems(
            &mut responses,
            &[
                "400", "401", "405", "406", "410", "412", "414", "500", "503",
            ],
        );
        if !suffix.is_empty() {
            add_problems(&mut responses, &["404"]);
        }
        json!({
            "operationId": format!("{name}{suffix}"),
            "summary": summary,
            "responses": responses,
        })
    };
    let mut parameters = parameter_references(&ROUTES[0]);
    parameters.push(reference("parameters", "Prefer"));
    if !suffix.is_empty() {
        parameters.insert(0, reference("parameters", "ending"));
    }
    json!({
        "parameters": parameters,
        "get": operation("stream_flows", "The flows of a window", "Flows"),
        "head": operation("head_flows", "The headers of the flows of a window", "FlowsHead"),
    })
}

/// The page for people.
fn page_path(route: &Route) -> Value {
    let headers = references("headers", &["ETag", "Cache-Control"]);
    let operation = |method: &str| {
        let mut ok = json!({ "description": route.summary, "headers": headers });
        if method == "get" {
            let content = json!({ "text/html": { "schema": { "type": "string" } } });
            insert(&mut ok, "content", content);
        }
        let mut responses = json!({ "200": ok, "304": reference("responses", "Document304") });
        add_problems(&mut responses, &["405", "412"]);
        json!({
            "operationId": route.operation_id.replacen("get", method, 1),
            "summary": route.summary,
            "responses": responses,
            "security": [],
        })
    };
    let conditions = ["If-Match", "If-None-Match"].map(|name| reference("parameters", name));
    json!({ "parameters": conditions, "get": operation("get"), "head": operation("head") })
}

/// A path of counts, as it is or with the format as its ending.
fn counts_path(route: &Route, suffix: &str) -> Value {
    let name = schema_name(route);
    let operation = |method: &str, ok: &str| {
        let mut responses = json!({ "200": reference("responses", ok), "304": reference("responses", "Counts304") });
        add_problems(
            &mut responses,
            &[
                "400", "401", "405", "406", "412", "414", "422", "500", "503",
            ],
        );
        if !suffix.is_empty() {
            add_problems(&mut responses, &["404"]);
        }
        let id = route.operation_id.replacen("get", method, 1);
        json!({
            "operationId": format!("{id}{suffix}"),
            "summary": route.summary,
            "responses": responses,
        })
    };
    let mut parameters = parameter_references(route);
    if !suffix.is_empty() {
        parameters.insert(0, reference("parameters", "ending"));
    }
    json!({
        "parameters": parameters,
        "get": operation("get", &name),
        "head": operation("head", &format!("{name}Head")),
    })
}

/// The headers by which an answer of counts is known again.
const COUNTS_VALIDATORS: [&str; 4] = ["ETag", "Vary", "Cache-Control", "Flow-Lineage"];

/// The responses of the paths of counts.
fn counts_responses() -> Map<String, Value> {
    let headers = [&COUNTS_VALIDATORS[..], &["Content-Disposition"]].concat();
    let mut all = Map::new();
    for route in ROUTES.iter().filter(|route| is_of_counts(route)) {
        let name = schema_name(route);
        let array = json!({ "type": "array", "items": reference("schemas", &name) });
        let content = |format: Format| match format {
            Format::Json | Format::Xml => json!({ "schema": array }),
            Format::Ndjson | Format::Csv => json!({ "schema": { "type": "string" } }),
            Format::Arrow => json!({}),
        };
        let content = Format::ALL.map(|format| (format.media_type().to_owned(), content(format)));
        let ok = |content: Option<Map<_, _>>| {
            let mut ok =
                json!({ "description": route.summary, "headers": references("headers", &headers) });
            if let Some(content) = content {
                insert(&mut ok, "content", content.into());
            }
            ok
        };
        all.insert(format!("{name}Head"), ok(None));
        all.insert(name, ok(Some(content.into_iter().collect())));
    }
    all
}

fn is_of_counts(route: &Route) -> bool {
    route.takes_extension && route.path != FLOWS
}

/// The responses that are no problem.
fn flow_responses() -> Map<String, Value> {
    let validators = [
        "ETag",
        "Vary",
        "Cache-Control",
        "Flow-Lineage",
        "Flow-Watermark",
    ];
    let headers = [
        &validators[..],
        &["Link", "Content-Disposition", "Flow-Count"],
    ]
    .concat();
    let headers = references("headers", &headers);
    let content: Map<_, _> = Format::ALL
        .iter()
        .map(|format| (format.media_type().into(), content(*format)))
        .collect();
    let described = "the flows, frozen when the answer started";
    let all = json!({
        "Flows": { "description": described, "headers": headers, "content": content },
        "FlowsHead": { "description": described, "headers": headers },
        "304": {
            "description": "what `If-None-Match` names is current",
            "headers": references("headers", &validators),
        },
        "Counts304": {
            "description": "what `If-None-Match` names is current",
            "headers": references("headers", &COUNTS_VALIDATORS),
        },
        "Document304": {
            "description": "what `If-None-Match` names is current",
            "headers": references("headers", &["ETag", "Cache-Control"]),
        },
    });
    all.as_object().cloned().unwrap_or_default()
}

/// The schema of what a route answers: its handler's name without `get_`, each word with a capital.
fn schema_name(route: &Route) -> String {
    let words = route.operation_id.split('_').skip(1);
    let named = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    named
        .collect::<String>()
        .replace("BigquerySchema", "BigQuerySchema")
        .replace("Openapi", "OpenApi")
}

/// A path that answers with one JSON document.
fn document_path(route: &Route) -> Value {
    let (operation, summary) = (route.operation_id, route.summary);
    let is_public = route.access == Access::Public;
    let headers: &[_] = if is_public {
        &["Cache-Control"]
    } else {
        &["ETag", "Cache-Control"]
    };
    let headers = references("headers", headers);
    let content =
        json!({ "application/json": { "schema": reference("schemas", &schema_name(route)) } });
    let answer = |method: &str, description: &str| {
        let mut answer = json!({ "description": description, "headers": headers });
        if method == "get" {
            insert(&mut answer, "content", content.clone());
        }
        answer
    };
    let described = |method: &str| {
        let mut responses = json!({ "200": answer(method, summary) });
        if is_public {
            let unfit = answer(method, "flows cannot be served; `detail` says why");
            insert(&mut responses, "503", unfit);
        } else {
            let unchanged = reference("responses", "Document304");
            insert(&mut responses, "304", unchanged);
            add_problems(&mut responses, &["400", "401", "412", "414"]);
        }
        add_problems(&mut responses, &["405"]);
        if route.reads_table && !is_public {
            add_problems(&mut responses, &["500", "503"]);
        }
        let mut described = json!({
            "operationId": operation.replacen("get", method, 1),
            "summary": summary,
            "responses": responses,
        });
        if is_public {
            insert(&mut described, "security", json!([]));
        }
        described
    };
    let mut path = json!({ "get": described("get"), "head": described("head") });
    if !is_public {
        let mut parameters = parameter_references(route);
        parameters.pop();
        insert(&mut path, "parameters", json!(parameters));
    }
    path
}

/// One format's body.
fn content(format: Format) -> Value {
    let flow = reference("schemas", "Flow");
    match format {
        Format::Json => json!({
            "schema": { "type": "array", "items": flow },
            "example": [COLUMNS.iter().map(|column| (column.name.to_owned(), example(column))).collect::<Map<_, _>>()],
        }),
        Format::Ndjson => json!({
            "schema": { "type": "string", "description": "a flow as a JSON object on each line" },
            "example": written(Format::Ndjson),
        }),
        Format::Csv => json!({
            "schema": { "type": "string", "description": "RFC 4180 with a header line" },
            "example": written(Format::Csv),
        }),
        Format::Xml => json!({
            "schema": { "type": "array", "items": flow, "xml": { "name": "records", "wrapped": true } },
            "example": written(Format::Xml),
        }),
        Format::Arrow => json!({
            "schema": { "description": "an Arrow IPC stream" },
        }),
    }
}

/// The example as the component writes it.
fn written(format: Format) -> String {
    let row: Vec<_> = COLUMNS
        .iter()
        .map(|column| example(column).to_string())
        .collect();
    let packed = format!("[{}]", row.join(","));
    let mut encoder = Encoder::new(format, &Layout::ALL, None);
    let mut records = RecordReader::new(packed.as_bytes(), 1, &Layout::ALL).unwrap();
    encoder.write(&mut records, usize::MAX).unwrap();
    encoder.finish();
    String::from_utf8(encoder.take()).unwrap()
}

/// A column's value in the first row that LANL published.
fn example(column: &Column) -> Value {
    let value = column.example;
    match column.column_type {
        ColumnType::Integer => value.parse::<i64>().map_or(Value::Null, Value::from),
        ColumnType::Text => value.into(),
    }
}

/// The parameters of the query string, and the headers that are looked at.
fn parameters() -> Map<String, Value> {
    let of_routes = ROUTES.iter().flat_map(|route| {
        let named = parameter_list(route).iter();
        named.map(|p| (parameter_name(route, p), parameter(p)))
    });
    let mut all: Map<_, _> = of_routes.collect();
    let ending = json!({
        "name": "ending",
        "in": "path",
        "required": true,
        "description": "the format, where `format` does not say otherwise",
        "schema": { "type": "string", "enum": Format::ALL.map(Format::name) },
    });
    all.insert("ending".into(), ending);
    for (name, description) in [
        ("Prefer", "`count=exact` asks for `Flow-Count`"),
        (
            "If-Match",
            "entity tags of answers that are expected; any other gets a 412",
        ),
        (
            "If-None-Match",
            "entity tags of answers that are known; a current one gets a 304",
        ),
        (
            "Accept-Encoding",
            "`gzip` gets gzip, unless the operator has turned it off",
        ),
    ] {
        let header = json!({
            "name": name,
            "in": "header",
            "description": description,
            "schema": { "type": "string" },
        });
        all.insert(name.into(), header);
    }
    all
}

fn parameter(parameter: &Parameter) -> Value {
    let integer = |least: i64| json!({ "type": "integer", "format": "int64", "minimum": least, "maximum": i64::MAX });
    let any = |items: Value| json!({ "type": "array", "items": items, "minItems": 1 });
    let schema = match parameter.kind {
        ParameterKind::Integer(least) => integer(least),
        ParameterKind::Range(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        ParameterKind::Word(words) => json!({ "type": "string", "enum": words }),
        ParameterKind::Format => {
            json!({ "type": "string", "enum": Format::ALL.map(Format::name), "default": Format::default().name() })
        }
        ParameterKind::Columns => {
            let names = json!({ "enum": COLUMNS.map(|column| column.name) });
            json!({ "type": "array", "items": names, "minItems": 1, "uniqueItems": true })
        }
        ParameterKind::Cursor => json!({ "type": "string", "format": "flow-window-cursor" }),
        ParameterKind::Lineage => json!({ "type": "string", "pattern": "^[0-9a-f]{16}$" }),
        ParameterKind::Switch => json!({ "type": "string", "enum": ["1"] }),
        ParameterKind::Filter(column) => any(match column.column_type {
            ColumnType::Integer => integer(i64::MIN),
            ColumnType::Text => json!({ "type": "string", "minLength": 1 }),
        }),
    };
    let mut described = json!({
        "name": parameter.name,
        "in": "query",
        "description": format!("{}; {}", parameter.expected, parameter.description),
        "schema": schema,
    });
    if parameter.kind == ParameterKind::Columns {
        insert(&mut described, "explode", false.into());
    }
    described
}

/// The parameters of a route, and then the headers that are looked at.
fn parameter_references(route: &Route) -> Vec<Value> {
    let named = parameter_list(route).iter();
    let named = named.map(|one| reference("parameters", &parameter_name(route, one)));
    let headers = ["If-Match", "If-None-Match", "Accept-Encoding"];
    let headers = headers.map(|name| reference("parameters", name));
    named.chain(headers).collect()
}

fn parameter_list(route: &Route) -> &'static [Parameter] {
    match route.query {
        QueryPolicy::Parameters(list) => list,
        QueryPolicy::Empty | QueryPolicy::Ignored => &[],
    }
}

/// The name of a parameter among all routes: that of its route in front where flows have another of its name.
fn parameter_name(route: &Route, one: &Parameter) -> String {
    let of_flows = PARAMETERS.iter().find(|other| other.name == one.name);
    match of_flows {
        Some(other) if other.kind != one.kind => format!("{}-{}", schema_name(route), one.name),
        _ => one.name.to_owned(),
    }
}

fn headers() -> Value {
    let header =
        |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "ETag": header("changes with the representation, with every edit and with any new flow; only a table with a guard has one", text()),
        "Vary": header("what of the request the answer depends on", text()),
        "Cache-Control": header("`no-cache`: ask with `If-None-Match` before using a stored answer; `no-store` of a problem: store none", text()),
        "Flow-Watermark": header(
            "a client that has stored the whole answer goes on with `after_id` = this; not on an answer in the order of time that a limit has cut",
            json!({ "type": "integer", "format": "int64" }),
        ),
        "Flow-Lineage": header(
            "changes when flows are edited or replaced, so that new ids do not tell all; `lineage` = this asks for no other",
            text(),
        ),
        "Flow-Count": header(
            "how many flows the window has, whatever `limit` and `cursor`; where `Prefer: count=exact` asks and counting is quick",
            json!({ "type": "integer", "format": "int64" }),
        ),
        "Link": header("`<…>; rel=\"next\"` when a limit has cut the answer short", text()),
        "Content-Disposition": header("a name for the file that the answer is stored in", text()),
        "Retry-After": header("seconds after which to try again", json!({ "type": "integer" })),
        "WWW-Authenticate": header("the scheme, Bearer", text()),
        "Allow": header("the methods that are", text()),
    })
}

/// A response for each status that is a problem.
fn problem_responses() -> Map<String, Value> {
    let mut responses = Map::new();
    let any = problem("problem details", &["Vary", "Cache-Control"]);
    responses.insert("Problem".into(), any);
    for kind in ProblemKind::ALL {
        let status = kind.status().to_string();
        let titled = |title: &str| match responses.get(&status) {
            Some(known) => format!(
                "{}; {title}",
                known["description"].as_str().unwrap_or_default()
            ),
            None => title.to_owned(),
        };
        let description = titled(kind.title());
        let header = match kind.status() {
            401 => Some("WWW-Authenticate"),
            405 => Some("Allow"),
            503 => Some("Retry-After"),
            _ => None,
        };
        // A reference may have a description of its own (OpenAPI 3.1, section 4.8.23).
        let response = match header {
            None => {
                let mut response = reference("responses", "Problem");
                insert(&mut response, "description", description.into());
                response
            }
            Some(header) => problem(&description, &["Vary", "Cache-Control", header]),
        };
        responses.insert(status, response);
    }
    responses
}

fn problem(description: &str, headers: &[&str]) -> Value {
    let schema = reference("schemas", "Problem");
    json!({
        "description": description,
        "headers": references("headers", headers),
        "content": {
            "application/problem+json": { "schema": schema },
            "application/problem+xml": { "schema": schema },
        },
    })
}

fn add_problems(responses: &mut Value, statuses: &[&str]) {
    for status in statuses {
        insert(responses, status, reference("responses", status));
    }
}

/// The properties of integers that are never null.
fn counted(fields: &[Column]) -> Map<String, Value> {
    let described = |field: &Column| {
        let schema =
            json!({ "type": "integer", "format": "int64", "description": field.description });
        (field.name.to_owned(), schema)
    };
    fields.iter().map(described).collect()
}

fn schemas() -> Value {
    let integer = json!({ "type": ["integer", "null"], "format": "int64" });
    let fields: Map<_, _> = COLUMNS
        .iter()
        .map(|column| {
            let kind = match column.column_type {
                ColumnType::Integer => "integer",
                ColumnType::Text => "string",
            };
            let mut schema = json!({
                "type": if column.is_key { json!(kind) } else { json!([kind, "null"]) },
                "description": column.description,
            });
            if column.column_type == ColumnType::Integer {
                insert(&mut schema, "format", "int64".into());
            }
            (column.name.to_owned(), schema)
        })
        .collect();
    let mut fields_of_top = counted(&MEASURES);
    let filters = COLUMNS.iter().filter(|column| column.is_filter);
    fields_of_top
        .extend(filters.map(|column| (column.name.to_owned(), fields[column.name].clone())));
    json!({
        "Flow": {
            "type": "object",
            "description": "all fields, or those that `columns` names",
            "properties": fields,
            "additionalProperties": false,
            "xml": { "name": "record" },
        },
        "Histogram": {
            "type": "object",
            "properties": counted(&BUCKET),
            "required": BUCKET.map(|field| field.name),
            "additionalProperties": false,
            "xml": { "name": "record" },
        },
        "Top": {
            "type": "object",
            "description": "the value under the name that `by` has, and its counts",
            "properties": fields_of_top,
            "required": MEASURES.map(|field| field.name),
            "additionalProperties": false,
            "xml": { "name": "record" },
        },
        "Problem": {
            "type": "object",
            "description": "problem details, RFC 9457",
            "properties": {
                "type": { "type": "string", "format": "uri", "enum": ProblemKind::ALL.map(ProblemKind::type_uri) },
                "title": { "type": "string", "enum": ProblemKind::ALL.map(ProblemKind::title) },
                "status": { "type": "integer" },
                "detail": { "type": "string" },
                "parameter": { "type": "string", "description": "the parameter at fault" },
            },
            "required": ["type", "title", "status", "detail"],
            "additionalProperties": false,
            "example": {
                "type": ProblemKind::ALL[0].type_uri(),
                "title": ProblemKind::ALL[0].title(),
                "status": ProblemKind::ALL[0].status(),
                "detail": "what was found, and what was expected",
            },
        },
        "Extent": {
            "type": "object",
            "properties": {
                "first_time": integer, "last_time": integer, "first_id": integer, "last_id": integer, "flows": integer,
                "lineage": { "type": ["string", "null"] },
            },
            "required": ["first_time", "last_time", "first_id", "last_id", "flows", "lineage"],
            "additionalProperties": false,
        },
        "BigQuerySchema": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": { "type": "string" },
                    "type": { "enum": ["INTEGER", "STRING"] },
                    "mode": { "enum": ["REQUIRED", "NULLABLE"] },
                },
                "required": ["name", "type", "mode"],
                "additionalProperties": false,
            },
        },
        "Health": {
            "type": "object",
            "properties": { "status": { "enum": ["ok", "unavailable"] }, "detail": { "type": "string" }, "warning": { "type": "string" } },
            "required": ["status"],
            "additionalProperties": false,
        },
        "OpenApi": { "type": "object", "required": ["openapi", "info", "paths"] },
    })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn references(kind: &str, names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| ((*name).to_owned(), reference(kind, name)))
        .collect::<Map<_, _>>()
        .into()
}

/// Sets a key of an object.
fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The document with a line for each path, schema and the like, so that a change of it can be read. The component
/// holds it, so there is no more white space than that.
fn written_in_lines(document: &Value) -> String {
    let entries = |value: &Value, indent: &str, write: &dyn Fn(&Value) -> String| {
        let object = value.as_object().expect("an object");
        let lines = object
            .iter()
            .map(|(key, value)| format!("{indent}{}:{}", json!(key), write(value)));
        format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n"))
    };
    let third = |value: &Value| match value {
        Value::Object(_) => entries(value, "", &Value::to_string),
        other => other.to_string(),
    };
    let mut top = document.clone();
    let components = top["components"].take();
    let components = entries(&components, "", &third);
    let rest = entries(&top, "", &|value| match value {
        Value::Object(object) if object.len() > 3 => entries(value, "", &Value::to_string),
        other => other.to_string(),
    });
    rest.replace(
        "\"components\":null",
        &format!("\"components\":{components}"),
    ) + "\n"
}

/// Compares a file of the component with what is made here.
#[track_caller]
fn hold(name: &str, held: &str, made: &Value) {
    let made = written_in_lines(made);
    if std::env::var_os("BLESS").is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/openapi");
        std::fs::write(folder.join(name), made).unwrap();
    } else {
        assert!(
            held == made,
            "src/http/openapi/{name} has drifted; BLESS=1 cargo test rewrites it"
        );
    }
}

#[test]
fn the_documents_say_what_the_code_does() {
    hold("document.json", openapi::DOCUMENT, &document());
}

/// Every `$ref` in a document.
fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| collect(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50, "{references:#?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_problem_and_every_parameter_is_described() {
    let document = document();
    let flows = &document["paths"][FLOWS]["get"];
    for kind in ProblemKind::ALL {
        let status = kind.status().to_string();
        assert!(
            document["components"]["responses"][&status].is_object(),
            "{status}"
        );
        if !matches!(status.as_str(), "404" | "422") {
            assert!(flows["responses"][&status].is_object(), "{status}");
        }
    }
    let listed = document["paths"][FLOWS]["parameters"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(listed, PARAMETERS.len() + 4);
}

#[test]
fn the_bigquery_schema_is_that_of_the_columns() {
    let made: Value = serde_json::from_str(&openapi::bigquery_schema(&COLUMNS)).unwrap();
    assert_eq!(made, bigquery_schema());
}
