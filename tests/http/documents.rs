//! The documents and the code say the same, and the component is what it should be.

use flow_window::formats::Format;
use flow_window::http::problem::ProblemKind;
use flow_window::query::parameters::PARAMETERS;
use flow_window::settings::VARIABLES;

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_has_a_row_for_every_parameter_and_format() {
    for parameter in PARAMETERS {
        let (name, expected) = (parameter.name, parameter.expected);
        let row = format!("| `{name}` | {expected} | {} |", parameter.description);
        assert!(README.contains(&row), "README lacks {row}");
    }
    for format in Format::ALL {
        let row = format!("| `{}` | `{}` |", format.name(), format.content_type());
        assert!(README.contains(&row), "README lacks {row}");
    }
}

#[test]
fn the_readme_and_the_manifest_have_every_variable() {
    let manifest = include_str!("../../spin.toml");
    for variable in VARIABLES {
        let (name, default) = (variable.name, variable.default);
        let shown = if default.is_empty() {
            String::new()
        } else {
            format!("`{default}`")
        };
        let row = format!("| `{name}` | {shown} | {} |", variable.description);
        assert!(README.contains(&row), "README lacks {row}");
        let declared = format!("{name} = {{ default = \"{default}\"");
        let passed_on = format!("{name} = \"{{{{ {name} }}}}\"");
        assert!(manifest.contains(&declared), "spin.toml lacks {declared}");
        assert!(manifest.contains(&passed_on), "spin.toml lacks {passed_on}");
    }
}

#[test]
fn every_kind_of_problem_has_a_name_and_a_section_of_the_readme() {
    for kind in ProblemKind::ALL {
        let title = kind.title();
        let section = format!("\n### {title}\n{}", kind.status());
        assert!(README.contains(&section), "README lacks {section}");
        let name = title.to_lowercase().replace(' ', "-");
        let uri = format!("urn:problem-type:flow-window:{name}");
        assert_eq!(kind.type_uri(), uri);
    }
}

#[test]
fn the_manual_quotes_the_configuration_of_nginx_that_is_tested() {
    let manual = include_str!("../../docs/operations.md");
    let tested = include_str!("../../docs/nginx.conf");
    let quoted = format!("```nginx\n{tested}```\n");
    assert!(
        manual.contains(&quoted),
        "docs/operations.md lacks\n{quoted}"
    );
}

#[test]
fn the_component_stays_below_750_kb() {
    let wasm = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/wasm32-wasip2/release/flow_window_spin.wasm"
    );
    let size = std::fs::metadata(wasm)
        .expect("the component, by `make component`")
        .len();
    assert!(size < 750_000, "{size} bytes");
}
