//! What the component asks of its host, name by name: a new import fails here and is to be looked at.

use support::server::{app, is_wasip3, manifest};

/// The functions that both components import, without the version of their interface. The settings and the flows come
/// from Spin, requests from `wasi:http/types`. Rust's standard library asks for the rest, the clocks and the log's
/// stream among it. There is no socket, no HTTP client and no file.
const IMPORTS: &[&str] = &[
    "wasi:cli/environment get-environment",
    "wasi:cli/exit exit",
    "wasi:cli/stderr get-stderr",
    "wasi:cli/stdin get-stdin",
    "wasi:cli/stdout get-stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr get-terminal-stderr",
    "wasi:cli/terminal-stdin get-terminal-stdin",
    "wasi:cli/terminal-stdout get-terminal-stdout",
    "wasi:clocks/monotonic-clock now",
    "wasi:clocks/wall-clock now",
    "wasi:http/types [method]fields.get",
    "wasi:http/types [static]fields.from-list",
    "wasi:io/error",
    "wasi:io/poll [method]pollable.block",
    "wasi:io/streams [method]output-stream.blocking-flush",
    "wasi:io/streams [method]output-stream.check-write",
    "wasi:io/streams [method]output-stream.subscribe",
    "wasi:io/streams [method]output-stream.write",
];

/// What the component of WASI 0.2 imports beside them.
const WASIP2: &[&str] = &[
    "fermyon:spin/sqlite [method]connection.execute",
    "fermyon:spin/sqlite [static]connection.open",
    "fermyon:spin/variables get",
    "wasi:clocks/monotonic-clock subscribe-duration",
    "wasi:http/types [constructor]outgoing-response",
    "wasi:http/types [method]incoming-request.headers",
    "wasi:http/types [method]incoming-request.method",
    "wasi:http/types [method]incoming-request.path-with-query",
    "wasi:http/types [method]outgoing-body.write",
    "wasi:http/types [method]outgoing-response.body",
    "wasi:http/types [method]outgoing-response.set-status-code",
    "wasi:http/types [static]outgoing-body.finish",
    "wasi:http/types [static]response-outparam.set",
    "wasi:io/poll [method]pollable.ready",
    "wasi:io/poll poll",
];

/// What the component of WASI 0.3 imports beside them.
const WASIP3: &[&str] = &[
    "spin:sqlite/sqlite [method]connection.execute-async",
    "spin:sqlite/sqlite [static]connection.open-async",
    "spin:variables/variables get",
    "wasi:clocks/monotonic-clock wait-for",
    "wasi:clocks/types",
    "wasi:http/types [method]request.get-headers",
    "wasi:http/types [method]request.get-method",
    "wasi:http/types [method]request.get-path-with-query",
    "wasi:http/types [method]response.set-status-code",
    "wasi:http/types [static]response.new",
];

#[test]
fn the_component_imports_these_functions_and_no_others() {
    let imports = app().imports();
    let mut listed: Vec<_> = imports
        .iter()
        .map(|import| without_version(import))
        .collect();
    listed.sort();
    let own = if is_wasip3() { WASIP3 } else { WASIP2 };
    let mut expected = [IMPORTS, own].concat();
    expected.sort_unstable();
    assert_eq!(listed, expected, "{imports:#?}");
}

/// A newer toolchain may bring a newer patch of an interface, which changes nothing.
fn without_version(import: &str) -> String {
    let (interface, function) = import.split_once(' ').unwrap_or((import, ""));
    let (interface, _) = interface.split_once('@').unwrap_or((interface, ""));
    format!("{interface} {function}").trim_end().to_owned()
}

#[test]
fn the_component_reaches_no_network_and_no_file_and_the_manifest_allows_it_none() {
    let reached = app().imports();
    for reach in [
        "wasi:sockets",
        "wasi:http/client",
        "wasi:http/outgoing",
        "outbound",
        "wasi:filesystem",
    ] {
        let named = reached.iter().find(|import| import.contains(reach));
        assert_eq!(named, None, "{reached:#?}");
    }
    let manifest = std::fs::read_to_string(manifest()).expect("a manifest");
    let has = |line: &str| manifest.lines().any(|there| there.trim() == line);
    assert!(has("allowed_outbound_hosts = []"), "{manifest}");
    assert!(has("sqlite_databases = [\"default\"]"), "{manifest}");
    assert!(!manifest.contains("files"), "{manifest}");
    assert!(!manifest.contains("key_value_stores"), "{manifest}");
}
