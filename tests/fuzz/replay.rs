//! What fuzzing has kept, replayed: the properties of `make fuzz` on stable, for every file of its corpus.
//!
//! A file that fails is named. `cargo fuzz` finds new ones; these keep what has been found.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

pub mod properties;

/// The files of a folder beside this file, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(folder);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[track_caller]
fn replay(name: &str) {
    replay_those(name, |_| true);
}

#[track_caller]
fn replay_those(name: &str, is_one: impl Fn(&[u8]) -> bool) {
    let property = properties::named(name);
    let files = files(&format!("corpus/{name}"));
    let (mut replayed, mut failed) = (0, Vec::new());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        if !is_one(&bytes) {
            continue;
        }
        replayed += 1;
        // What does not hold has been said by then, on standard error.
        if catch_unwind(|| property(&bytes)).is_err() {
            failed.push(format!("{}: {}", file.display(), bytes.escape_ascii()));
        }
    }
    assert!(replayed > 0, "corpus/{name} has no such file");
    assert!(
        failed.is_empty(),
        "{name} does not hold for\n{}",
        failed.join("\n")
    );
}

#[test]
fn a_query_is_taken_for_what_it_says_or_refused_by_name() {
    replay("query");
}

#[test]
fn a_cursor_is_one_text_and_no_other_is_taken() {
    replay_those("grammars", |bytes| bytes.first() == Some(&b'0'));
}

#[test]
fn accept_gets_the_format_that_it_wants_most() {
    replay_those("grammars", |bytes| bytes.first() == Some(&b'1'));
}

#[test]
fn accept_encoding_gets_gzip_where_it_is_wanted() {
    replay_those("grammars", |bytes| bytes.first() == Some(&b'2'));
}

#[test]
fn if_none_match_names_the_tags_that_it_lists() {
    replay_those("grammars", |bytes| bytes.first() == Some(&b'3'));
}

#[test]
fn a_page_of_any_bytes_is_written_without_loss_or_refused() {
    replay("page");
}

#[test]
fn flows_that_sqlite_packs_come_back_in_every_format() {
    replay("flows");
}

#[test]
fn every_property_has_a_target_and_a_corpus() {
    let named = |paths: Vec<PathBuf>| {
        let stems = paths.iter().filter_map(|path| path.file_stem()?.to_str());
        stems.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let properties = properties::PROPERTIES.map(|(name, _)| name.to_owned());
    let properties = BTreeSet::from(properties);
    assert_eq!(named(files("targets")), properties);
    assert_eq!(named(files("corpus")), properties);
}
