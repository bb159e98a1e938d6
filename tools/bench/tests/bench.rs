//! `bench` from end to end, on a table that is too small for its numbers to mean anything.

use std::path::Path;
use std::process::Command;

#[test]
fn a_run_leaves_a_table_results_and_a_chart() {
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("elsewhere.svg");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args("--rows 5000 --rounds 1 --only full,first-byte,memory".split(' '))
        .arg("--folder")
        .arg(folder.path())
        .arg("--chart")
        .arg(&chart)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{output:?}; run `make component native`"
    );
    let table = String::from_utf8(output.stdout).unwrap();
    for line in ["all flows as xml", "first byte", "written to"] {
        assert!(table.contains(line), "no line {line:?} in\n{table}");
    }
    let results = std::fs::read(folder.path().join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
    assert_eq!(results["rows"], 5000, "{results:#}");
    let medians = |subject: &str| {
        let series = results["series"].as_array().unwrap().iter();
        let of = series.filter(|series| series["subject"] == subject);
        of.filter(|series| series["median"].as_f64().is_some_and(|m| m >= 0.0))
            .count()
    };
    for (subject, fewest) in [("component", 5), ("native", 5), ("scan", 4)] {
        assert!(medians(subject) >= fewest, "{subject}: {results:#}");
    }
    let chart = std::fs::read_to_string(chart).unwrap();
    assert!(chart.starts_with("<svg") && chart.contains("ndjson"));
}
