//! The documents and the code say the same, and the component is what it should be.

use flow_window::format::Format;
use flow_window::problem::Kind;
use flow_window::query::PARAMETERS;

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_has_a_row_for_every_parameter_and_format() {
    for parameter in PARAMETERS {
        let flow_window::query::Parameter {
            name,
            expected,
            description,
        } = parameter;
        let row = format!("| `{name}` | {expected} | {description} |");
        assert!(README.contains(&row), "README lacks {row}");
    }
    for format in Format::ALL {
        let row = format!("| `{}` | `{}` |", format.name(), format.content_type());
        assert!(README.contains(&row), "README lacks {row}");
    }
}

#[test]
fn every_problem_type_points_to_a_section_of_the_readme() {
    for kind in Kind::ALL {
        let anchor = kind
            .type_reference()
            .strip_prefix("README.md#")
            .expect("a section");
        let sections = README.lines().filter_map(|line| line.strip_prefix("### "));
        let anchors: Vec<_> = sections
            .map(|s| s.to_lowercase().replace(' ', "-"))
            .collect();
        assert!(
            anchors.iter().any(|a| a == anchor),
            "no section {anchor} among {anchors:?}"
        );
    }
}

#[test]
fn the_component_stays_below_600_kb() {
    let wasm = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/wasm32-wasip2/release/flow_window.wasm"
    );
    let size = std::fs::metadata(wasm)
        .expect("the component, by `make component`")
        .len();
    assert!(size < 600_000, "{size} bytes");
}
