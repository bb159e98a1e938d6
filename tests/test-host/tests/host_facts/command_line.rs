//! `up` as a person starts it: the flags of `spin up` and the environment that matter.

use crate::host::{Serving, Up};
use crate::{Said as _, query};
use support::wire::get;

impl Up {
    /// A file in the working directory.
    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn has(&self, path: &str) -> bool {
        self.folder.path().join(path).is_file()
    }
}

#[track_caller]
fn said(host: &Serving, sql: &str) -> String {
    query(host.address, sql).said().to_owned()
}

#[test]
fn the_state_folder_holds_the_database() {
    let mut up = Up::new().with(&["--state-dir", "state"]);
    let host = up.serve();
    assert_eq!(said(&host, "CREATE TABLE t (x)"), "columns: \nend: ok");
    assert!(up.has("state/sqlite_db.db"));
}

#[test]
fn a_runtime_configuration_moves_the_database_counted_from_the_working_directory() {
    let config = "[sqlite_database.default]\ntype = \"spin\"\npath = \"moved/here.db\"\n";
    let mut up = Up::new();
    std::fs::create_dir(up.folder.path().join("config")).unwrap();
    up = up.file("config/runtime.toml", config);
    up = up.with(&["--runtime-config-file", "config/runtime.toml"]);
    let host = up.serve();
    assert_eq!(said(&host, "CREATE TABLE t (x)"), "columns: \nend: ok");
    assert!(up.has("moved/here.db"));
}

#[test]
fn a_runtime_configuration_moves_the_state_folder_unless_the_flag_does() {
    let config = |up: Up| up.file("runtime.toml", "state_dir = \"by_file\"\n");
    let file = ["--runtime-config-file", "runtime.toml"];
    let mut up = config(Up::new()).with(&file);
    said(&up.serve(), "CREATE TABLE t (x)");
    assert!(up.has("by_file/sqlite_db.db"));

    let mut up = config(Up::new())
        .with(&file)
        .with(&["--state-dir", "by_flag"]);
    said(&up.serve(), "CREATE TABLE t (x)");
    assert!(up.has("by_flag/sqlite_db.db"));
}

#[test]
fn a_statement_runs_up_to_its_semicolon_and_a_file_to_its_end() {
    let mut up = Up::new()
        .file("tables.sql", "CREATE TABLE c (x); CREATE TABLE d (x);")
        .with(&["--state-dir", "state"])
        .with(&["--sqlite", "CREATE TABLE a (x); CREATE TABLE b (x)"])
        .with(&["--sqlite", "@tables.sql"]);
    let host = up.serve();
    assert_eq!(
        said(
            &host,
            "SELECT group_concat(name, ' ') AS x FROM sqlite_schema"
        ),
        "columns: x\nrow: a c d\nend: ok"
    );
}

#[test]
fn a_statement_that_fails_keeps_the_host_from_starting() {
    let mut up = Up::new().with(&["--state-dir", "state", "--sqlite", "SELEKT 1"]);
    let error = up.fail();
    assert!(error.contains("SELEKT"), "{error}");
    let mut up = Up::new().with(&["--state-dir", "state", "--sqlite", "@absent.sql"]);
    let error = up.fail();
    assert!(error.contains("absent.sql"), "{error}");
}

#[test]
fn the_environment_sets_variables_in_capitals() {
    let greeting = |name: &str| {
        let mut up = Up::new().with(&["--state-dir", "state"]);
        up.command.env(name, "good day");
        let host = up.serve();
        get(host.address, "/variable?greeting").said().to_owned()
    };
    assert_eq!(greeting("SPIN_VARIABLE_GREETING"), "Ok(\"good day\")");
    assert_eq!(greeting("SPIN_VARIABLE_greeting"), "Ok(\"hello\")");
}

#[test]
fn a_required_variable_without_a_value_keeps_the_host_from_starting() {
    let mut up = Up::new().with(&["--state-dir", "state"]);
    up.command.env_remove("SPIN_VARIABLE_MUST_BE_GIVEN");
    let error = up.fail();
    assert!(error.contains("must_be_given"), "{error}");
}
