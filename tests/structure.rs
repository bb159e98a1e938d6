//! What the layout promises, held against the files of `src/`.
//!
//! Each rule names what may stand in a few files alone. Where the code does not keep a rule yet, its files are
//! listed, and the list may only shrink: a file that is mended has to leave it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The Rust files below `src/`, by their paths there, without their tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "{files:?}");
    // What makes the OpenAPI document is part of the tests.
    files.retain(|path| !path.ends_with("openapi/generate.rs"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let name = path.strip_prefix(&root).expect("below src");
        (name.display().to_string(), code.to_owned())
    };
    files.into_iter().map(read).collect()
}

/// The lines of code, without comments.
fn lines(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines().map(str::trim_start);
    lines.filter(|line| !line.starts_with("//"))
}

/// Asserts that lines of a kind stand in these files and in no others.
#[track_caller]
fn stands_in(what: &str, allowed: &[&str], is_one: impl Fn(&str) -> bool) {
    let found: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(_, code)| lines(code).any(&is_one))
        .map(|(name, _)| name)
        .collect();
    let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
    let new: Vec<_> = found.difference(&allowed).collect();
    let mended: Vec<_> = allowed.difference(&found).collect();
    assert!(new.is_empty(), "{what} in {new:?}");
    assert!(mended.is_empty(), "take {mended:?} off the list of {what}");
}

/// Whether a line has this identifier, and not a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn the_core_names_no_host() {
    stands_in("a host's crate", &[], |line| {
        ["spin_sdk", "wasip2", "wasip3", "wit_bindgen", "wasi::"]
            .iter()
            .any(|name| line.contains(name))
    });
    let manifest = include_str!("../Cargo.toml");
    let (_, package) = manifest.split_once("[package]").expect("a package");
    let (normal, _) = package.split_once("[dev-dependencies]").expect("tests");
    for name in ["spin-sdk", "wasip", "wit-bindgen"] {
        assert!(!normal.contains(name), "{name} is a dependency of the core");
    }
}

#[test]
fn sql_stands_where_statements_are_made() {
    // One folder is the aim: `db/sql`. Advice to the operator is no statement.
    let allowed = [
        "fit.rs",
        "readiness.rs",
        "session.rs",
        "state.rs",
        "statement.rs",
    ];
    stands_in("SQL", &allowed, |line| {
        ["SELECT ", "PRAGMA ", "EXPLAIN "]
            .iter()
            .any(|verb| line.contains(verb))
            && !line.contains("PRAGMA journal_mode = DELETE")
    });
}

#[test]
fn a_column_is_named_in_few_files() {
    // Two are the aim: one list, and `schema.sql`.
    let allowed = [
        "flow.rs",
        "format/csv.rs",
        "format/json.rs",
        "format/xml.rs",
    ];
    stands_in("a column's name", &allowed, |line| {
        line.contains("byte_count")
    });
}

#[test]
fn routes_stand_on_one_page() {
    stands_in("a route", &["api.rs", "problem.rs"], |line| {
        line.contains("\"/api/v1") || line.contains(" /api/v1")
    });
}

#[test]
fn media_types_stand_with_the_formats() {
    // Each in its own format's file is the aim. Documents and problems have one of their own.
    let allowed = ["format/mod.rs", "problem.rs", "response.rs"];
    stands_in("a media type", &allowed, |line| {
        line.contains("\"application/") || line.contains("\"text/")
    });
}

#[test]
fn words_of_the_field_replace_words_of_our_own() {
    let gone = [
        "Question",
        "Fallback",
        "Walk",
        "Place",
        "Piece",
        "Records",
        "Coder",
        "Coding",
        "Then",
        "most_general",
        "takes_every_row",
        "plain_record",
        "next_record",
        "Asked",
        "Answer",
        "Reached",
        "KEPT",
        "named_behind",
        "fitness",
        "later_row",
    ];
    for word in gone {
        stands_in(&format!("the word {word}"), &[], |line| {
            has_word(line, word)
        });
    }
}
