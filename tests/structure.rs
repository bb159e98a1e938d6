//! What the layout promises, held against the files of `src/` and the documents.
//!
//! Each rule names the files that a kind of line may stand in.

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

/// The names under `[dependencies]` in a manifest.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let (_, package) = manifest.split_once("[package]").expect("a package");
    let (_, names) = package.split_once("[dependencies]").expect("a section");
    let names = names.split("\n[").next().unwrap_or("").lines();
    let names = names.filter(|line| !line.starts_with('#'));
    names.filter_map(|line| Some(line.split_once(" = ")?.0))
}

/// Asserts that a package needs no crate with one of these prefixes, directly or through others.
#[track_caller]
fn needs_none_of(manifest: &str, banned: &[&str]) {
    let lock = include_str!("../Cargo.lock");
    let mut needed: Vec<&str> = dependencies(manifest).collect();
    let mut next = 0;
    while let Some(name) = needed.get(next) {
        assert!(
            !banned.iter().any(|word| name.starts_with(word)),
            "{name} is among {needed:?}"
        );
        let head = format!("\nname = \"{name}\"\n");
        assert!(lock.contains(&head), "{name} is not in Cargo.lock");
        // Cargo.lock adds what a package of the workspace needs for its tests; a manifest keeps them apart.
        let mut names: Vec<&str> = match *name {
            "flow-window" => dependencies(include_str!("../Cargo.toml")).collect(),
            _ => lock
                .split("[[package]]")
                .filter(|entry| entry.contains(&head))
                .flat_map(|entry| entry.lines().filter_map(|line| line.strip_prefix(" \"")))
                .filter_map(|line| line.split(['"', ' ']).next())
                .collect(),
        };
        names.retain(|name| !needed.contains(name));
        needed.extend(names);
        next += 1;
    }
    assert!(next > 5, "{needed:?}");
}

#[test]
fn the_core_names_no_host() {
    stands_in("a host's crate", &[], |line| {
        ["spin_sdk", "wasip2", "wasip3", "wit_bindgen", "wasi::"]
            .iter()
            .any(|name| line.contains(name))
    });
    let core = include_str!("../Cargo.toml");
    needs_none_of(core, &["spin-sdk", "wasip", "wit-bindgen"]);
}

/// The folders of `src/`, lowest first: a module uses its own folder and those before it.
const FLOORS: [&str; 10] = [
    "log", "settings", "table", "rows", "formats", "query", "db", "export", "http", "service",
];

#[test]
fn every_import_goes_down() {
    let floor_of = |name: &str| {
        let found = FLOORS.iter().position(|floor| *floor == name);
        found.unwrap_or_else(|| panic!("{name} is no floor"))
    };
    for (file, code) in sources() {
        let own = file.split(['/', '.']).next().expect("a name");
        if own == "lib" {
            continue;
        }
        let code = lines(&code).collect::<Vec<_>>().join("\n");
        let used = code.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        });
        for name in used {
            assert!(floor_of(name) <= floor_of(own), "{file} uses crate::{name}");
        }
    }
}

#[test]
fn sql_stands_in_one_folder() {
    for (file, code) in sources() {
        let has_sql = lines(&code).any(|line| {
            ["SELECT ", "PRAGMA ", "EXPLAIN "]
                .iter()
                .any(|verb| line.contains(verb))
                // Advice to the operator is no statement.
                && !line.contains("PRAGMA journal_mode = DELETE")
        });
        assert!(!has_sql || file.starts_with("db/sql/"), "SQL in {file}");
    }
}

#[test]
fn a_column_is_named_in_its_list() {
    stands_in("a column's name", &["table/columns.rs"], |line| {
        line.contains("byte_count")
    });
}

#[test]
fn a_route_is_named_in_the_list() {
    stands_in("a route", &["http/routes.rs"], |line| {
        line.contains("/api/v1")
    });
}

#[test]
fn a_media_type_stands_in_the_file_of_its_format() {
    let is_media_type = |line: &str| line.contains("\"application/") || line.contains("\"text/");
    for (file, code) in sources() {
        let is_format = file.starts_with("formats/") && file != "formats/mod.rs";
        // A problem has media types of its own (RFC 9457), and the page is HTML.
        let allowed = is_format || ["http/problem.rs", "http/page.rs"].contains(&file.as_str());
        assert!(
            allowed || !lines(&code).any(is_media_type),
            "a media type in {file}"
        );
    }
}

#[test]
fn every_route_has_a_file_and_a_row_in_the_documents() {
    let routes = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/routes");
    let handlers: String = std::fs::read_dir(routes)
        .expect("a folder")
        .map(|entry| std::fs::read_to_string(entry.expect("a file").path()).expect("text"))
        .collect();
    for route in flow_window::http::routes::ROUTES {
        // Documents that never change share a handler.
        let handler = match route.reads_table {
            true => route.operation_id,
            false => "get_document",
        };
        assert!(handlers.contains(&format!("fn {handler}<")), "{route:?}");
        let row = format!("`{}`", route.path);
        assert!(include_str!("../docs/api.md").contains(&row), "{row}");
    }
}

#[test]
fn operators_tool_builds_no_measurements() {
    let tool = include_str!("../tools/flows/Cargo.toml");
    // A pull asks by reqwest, which runs on tokio.
    needs_none_of(tool, &["axum", "plotters"]);
}

#[test]
fn words_of_the_field_replace_words_of_our_own() {
    let gone = [
        "Asked",
        "Question",
        "Fallback",
        "fitness",
        "fit",
        "Walk",
        "walk",
        "looked",
        "matching",
        "takes_every_row",
        "Place",
        "Position",
        "newest",
        "wanted",
        "Piece",
        "piece",
        "Records",
        "plain_record",
        "next_record",
        "coding",
        "Coder",
        "Coding",
        "Then",
        "validator",
        "State",
        "most_general",
        "named_behind",
        "Kind",
        "later_row",
        "Kept",
        "KEPT",
        "Answer",
        "Nothing",
        "Streamed",
        "Reached",
        "Nobody",
        "KEYS",
    ];
    for word in gone {
        stands_in(&format!("the word {word}"), &[], |line| {
            has_word(line, word)
        });
    }
}

/// The documents, with their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join("docs")] {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }
    assert!(found.len() >= 8, "{found:?}");
    found
}

/// A document without its blocks of code, in parts.
fn prose(document: &str) -> impl Iterator<Item = &str> {
    document.split("```").step_by(2)
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> impl Iterator<Item = String> {
    let lines = prose(document).flat_map(str::lines);
    lines.filter(|line| line.starts_with('#')).map(|heading| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let title: String = title.chars().filter(kept).collect();
        title.replace(' ', "-")
    })
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for (path, document) in documents() {
        let behind = prose(&document).flat_map(|part| part.split("](").skip(1));
        let links = behind.filter_map(|text| text.split_once(')'));
        for (link, _) in links.filter(|(link, _)| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a document");
                assert!(
                    anchors(&text).any(|known| known == anchor),
                    "{}: no heading for {link}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "src/",
        "components/",
        "deploy/",
        "tools/",
        "tests/",
        "docs/",
        ".ci/",
    ];
    let mut missing = BTreeSet::new();
    for (_, document) in documents() {
        for name in prose(&document).flat_map(|part| part.split('`').skip(1).step_by(2)) {
            // `NAME` stands for a file that somebody adds.
            let is_path = folders.iter().any(|folder| name.starts_with(folder));
            if is_path && !name.contains("NAME") && !root.join(name).exists() {
                missing.insert(name.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
