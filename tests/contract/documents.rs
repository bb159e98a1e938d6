//! The documents and the code say the same, and the component is what it should be.

use flow_window::formats::Format;
use flow_window::http::openapi::DOCUMENT;
use flow_window::http::problem::ProblemKind;
use flow_window::query::parameters::{HISTOGRAM_PARAMETERS, PARAMETERS, TOP_PARAMETERS};
use flow_window::settings::VARIABLES;
use serde_json::Value;

const MANIFEST: &str = include_str!("../../spin.toml");
const README: &str = include_str!("../../README.md");
const API: &str = include_str!("../../docs/api.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// Asserts that a document has this text.
#[track_caller]
fn has(document: &str, name: &str, text: &str) {
    assert!(document.contains(text), "{name} lacks\n{text}");
}

#[test]
fn the_api_has_a_row_for_every_parameter_and_format() {
    let counts = HISTOGRAM_PARAMETERS.into_iter().chain(TOP_PARAMETERS);
    for parameter in PARAMETERS.into_iter().chain(counts) {
        let (name, expected) = (parameter.name, parameter.expected);
        let row = format!("| `{name}` | {expected} | {} |", parameter.description);
        has(API, "docs/api.md", &row);
    }
    for format in Format::ALL {
        let row = format!("| `{}` | `{}` |", format.name(), format.content_type());
        has(API, "docs/api.md", &row);
    }
}

#[test]
fn the_api_has_a_row_for_every_path_header_and_field_of_the_openapi_document() {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let members = |pointer: &str| {
        let object = document.pointer(pointer).and_then(Value::as_object);
        object.unwrap_or_else(|| panic!("no object at {pointer}"))
    };
    for name in members("/paths").keys() {
        has(API, "docs/api.md", &format!("\n| `{name}` | "));
    }
    for name in members("/components/headers").keys() {
        has(API, "docs/api.md", &format!("\n| `{name}` | "));
    }
    for (name, schema) in members("/components/schemas/Flow/properties") {
        // `integer`, or `["integer", "null"]`.
        let kind = schema["type"].as_str().or(schema["type"][0].as_str());
        let kind = kind.unwrap_or_else(|| panic!("{name} has no type"));
        let description = schema["description"].as_str().unwrap_or_default();
        let row = format!("\n| `{name}` | {kind} | {description} |\n");
        has(API, "docs/api.md", &row);
    }
}

#[test]
fn the_readme_names_every_parameter_and_format_in_at_most_100_lines() {
    let parameters = PARAMETERS.iter().map(|parameter| parameter.name);
    for name in parameters.chain(Format::ALL.map(Format::name)) {
        let named = [format!("`{name}`"), format!("`{name}=")];
        assert!(
            named.iter().any(|name| README.contains(name)),
            "README lacks {name}"
        );
    }
    let lines = README.lines().count();
    assert!(lines <= 100, "{lines} lines");
}

#[test]
fn the_manual_and_the_manifest_have_every_variable() {
    let manifest = MANIFEST;
    for variable in VARIABLES {
        let (name, default) = (variable.name, variable.default);
        let shown = if default.is_empty() {
            String::new()
        } else {
            format!("`{default}`")
        };
        let row = format!("| `{name}` | {shown} | {} |", variable.description);
        has(OPERATIONS, "docs/operations.md", &row);
        let declared = format!("{name} = {{ default = \"{default}\"");
        has(manifest, "spin.toml", &declared);
        let passed_on = format!("{name} = \"{{{{ {name} }}}}\"");
        has(manifest, "spin.toml", &passed_on);
    }
}

#[test]
fn every_kind_of_problem_has_a_name_and_a_section_of_the_api() {
    for kind in ProblemKind::ALL {
        let title = kind.title();
        let name = title.to_lowercase().replace(' ', "-");
        let uri = format!("urn:problem-type:flow-window:{name}");
        assert_eq!(kind.type_uri(), uri);
        let section = format!("\n### {title}\n{}", kind.status());
        has(API, "docs/api.md", &section);
        has(API, "docs/api.md", &format!("`{uri}`. "));
    }
}

#[test]
fn the_manual_quotes_the_configuration_of_nginx_that_is_tested() {
    let tested = include_str!("../../deploy/nginx/location.conf");
    let quoted = format!("```nginx\n{tested}```\n");
    has(OPERATIONS, "docs/operations.md", &quoted);
}

#[test]
fn each_component_stays_below_750_kb() {
    for name in ["flow_window_spin", "flow_window_wasip2"] {
        let built = "target/wasm32-wasip2/release";
        let wasm = format!("{}/{built}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        let size = std::fs::metadata(wasm)
            .expect("the component, by `make component`")
            .len();
        assert!(size < 750_000, "{name}: {size} bytes");
    }
}

#[test]
fn the_two_manifests_differ_in_the_component_alone() {
    let shared = |manifest: &str, component: &str| {
        let lines = manifest.lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<_> = lines.collect();
        lines.join("\n").replace(component, "COMPONENT")
    };
    let wasip2 = shared(MANIFEST, "wasip2.wasm").replace("flow-window-wasip2", "PACKAGE");
    let wasip2 = wasip2.replace("components/wasip2/", "FOLDER");
    let wasip3 = shared(include_str!("../../spin-wasip3.toml"), "spin.wasm");
    let wasip3 = wasip3.replace("flow-window-spin", "PACKAGE");
    assert_eq!(wasip2, wasip3.replace("components/spin/", "FOLDER"));
}
