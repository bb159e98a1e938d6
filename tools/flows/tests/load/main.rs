//! `flows load` as a person runs it: every line of an input is in the database exactly once, whatever
//! happens on the way.
//!
//! No test sleeps for a fixed time. To observe a running load, a test keeps the load's input pipe open and
//! waits for the first rows.
//!
//! - [`sandbox`]: a folder with a database, and the command run in it
//! - [`promises`]: what a load guarantees to those who read, edit or replace flows beside it
//! - [`faults`]: random faults, many of each, with a row of figures for each fault

mod faults;
mod promises;
mod sandbox;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use sandbox::{FinishedLoad, PUBLISHED, Sandbox, generated, gzip, numbered, rows};

/// The columns but `id` of a table of somebody else's.
const FOREIGN_COLUMNS: &str = "time INTEGER NOT NULL, duration INTEGER NOT NULL, src_comp TEXT NOT NULL,
    src_port TEXT NOT NULL, dst_comp TEXT NOT NULL, dst_port TEXT NOT NULL, protocol INTEGER NOT NULL,
    packet_count INTEGER NOT NULL, byte_count INTEGER NOT NULL";

// What an input may look like.

#[test]
fn published_rows_get_the_number_of_their_line_as_id() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", PUBLISHED);
    sandbox
        .load(&["flows.txt"])
        .succeeds_with(&["5 rows", "0 rejects", "ids 1-5", "flows.db"]);
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
    assert_eq!(sandbox.indexes(), ["flows_time"]);
    sandbox.assert_in_order();
}

#[test]
fn numbers_are_stored_as_integers_and_ports_as_text() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let types = "SELECT group_concat(DISTINCT typeof(time) || typeof(src_port) || typeof(dst_port) || typeof(byte_count)) FROM flows";
    let types: String = sandbox
        .connect()
        .query_row(types, [], |row| row.get(0))
        .unwrap();
    assert_eq!(types, "integertexttextinteger");
}

#[test]
fn the_database_is_where_spin_looks_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", PUBLISHED);
    let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
    let output = command
        .args(["load", "flows.txt"])
        .current_dir(sandbox.folder.path())
        .output()
        .unwrap();
    FinishedLoad {
        arguments: "flows.txt".to_owned(),
        output,
    }
    .succeeds_with(&[".spin/sqlite_db.db"]);
    assert_eq!(
        rows(&sandbox.path(".spin/sqlite_db.db")),
        numbered(PUBLISHED)
    );
}

#[test]
fn gzip_is_told_by_content_and_may_have_many_members() {
    let text = generated(30_000, 1);
    let middle = text.len() / 2 + 7;
    let members = [gzip(&text[..middle]), gzip(""), gzip(&text[middle..])].concat();
    for (name, content) in [
        ("one.csv", gzip(&text)),
        ("many.gz", members),
        ("plain.gz", text.clone().into_bytes()),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write(name, &content);
        sandbox.load(&[name]).succeeds_with(&["30000 rows"]);
        assert!(sandbox.rows() == numbered(&text), "{name} as a file");
        let sandbox = Sandbox::new();
        sandbox.pipe(&content, &[]).succeeds_with(&["30000 rows"]);
        assert!(sandbox.rows() == numbered(&text), "{name} as a stream");
    }
}

#[test]
fn line_ends_may_be_crlf_and_the_last_one_may_be_missing() {
    for text in [
        PUBLISHED.replace('\n', "\r\n"),
        PUBLISHED.trim_end().to_owned(),
        PUBLISHED.trim_end().replace('\n', "\r\n"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.pipe(&text, &[]).succeeds_with(&["5 rows"]);
        assert_eq!(sandbox.rows(), numbered(PUBLISHED), "{text:?}");
    }
}

#[test]
fn an_empty_input_holds_no_rows() {
    let sandbox = Sandbox::new();
    sandbox.write("empty", "");
    sandbox.write("empty.gz", gzip(""));
    sandbox
        .load(&["empty", "empty.gz"])
        .succeeds_with(&["0 rows"]);
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    sandbox
        .load(&["empty", "empty.gz"])
        .succeeds_with(&["0 rows"]);
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
}

#[test]
fn several_files_are_loaded_one_after_the_other_and_ids_go_on() {
    let sandbox = Sandbox::new();
    let (one, two, three) = (generated(1_000, 1), generated(2_000, 2), generated(500, 3));
    sandbox.write("one", &one);
    sandbox.write("two", &two);
    sandbox.write("three", gzip(&three));
    sandbox
        .load(&["one", "two"])
        .succeeds_with(&["3000 rows", "ids 1-3000"]);
    sandbox
        .load(&["three"])
        .succeeds_with(&["500 rows", "ids 3001-3500"]);
    assert!(sandbox.rows() == numbered(&[one, two, three].concat()));
}

// Bad lines.

#[test]
fn a_bad_line_stops_the_load_and_the_rows_before_it_stay() {
    let cases: [(&[u8], &str); 11] = [
        (b"", "the line is empty"),
        (b"6,0,C1,1,C2,2,6,1", "expected 9 fields, found 8"),
        (b"6,0,C1,1,C2,2,6,1,52,", "expected 9 fields, found 10"),
        (b"x,0,C1,1,C2,2,6,1,52", "time is not an integer: \"x\""),
        (
            b"6,0.5,C1,1,C2,2,6,1,52",
            "duration is not an integer: \"0.5\"",
        ),
        (
            b"6,0,C1,1,C2,2,tcp,1,52",
            "protocol is not an integer: \"tcp\"",
        ),
        (
            b"6,0,C1,1,C2,2,6,1e3,52",
            "packet_count is not an integer: \"1e3\"",
        ),
        (
            b"6,0,C1,1,C2,2,6,1,9223372036854775808",
            "byte_count does not fit into 64 bits: \"9223372036854775808\"",
        ),
        (b"6,0,,1,C2,2,6,1,52", "src_comp is empty"),
        (b"6,0,C1,1,C2,,6,1,52", "dst_port is empty"),
        (b"6,0,C\xff1,1,C2,2,6,1,52", "not UTF-8 at byte 6"),
    ];
    for (bad, reason) in cases {
        let sandbox = Sandbox::new();
        sandbox.write(
            "flows.txt",
            [PUBLISHED.as_bytes(), bad, b"\n", PUBLISHED.as_bytes()].concat(),
        );
        sandbox
            .load(&["flows.txt"])
            .fails_with(&["flows.txt:6: ", reason]);
        assert_eq!(sandbox.rows(), numbered(PUBLISHED), "{reason}");
    }
}

#[test]
fn a_bad_first_or_last_line_stops_the_load_too() {
    let sandbox = Sandbox::new();
    sandbox
        .pipe(format!("time,duration\n{PUBLISHED}"), &[])
        .fails_with(&["standard input:1: expected 9 fields, found 2"]);
    assert_eq!(sandbox.rows(), Vec::<String>::new());
    sandbox
        .pipe(format!("{PUBLISHED}1,0,C1"), &[])
        .fails_with(&["standard input:6: expected 9 fields, found 3"]);
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
}

#[test]
fn a_load_goes_on_at_the_bad_line_once_it_is_mended() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    let bad = text.replacen("\n150,", "\n15O,", 1);
    assert_ne!(bad, text);
    sandbox.write("flows.txt", &bad);
    sandbox
        .load(&["flows.txt"])
        .fails_with(&["time is not an integer: \"15O\""]);
    let loaded = sandbox.rows().len();
    sandbox.write("flows.txt", &text);
    sandbox
        .load(&["flows.txt"])
        .succeeds_with(&[&format!("{loaded} lines had been loaded before")]);
    assert!(
        loaded > 10_000 && sandbox.rows() == numbered(&text),
        "{loaded}"
    );
}

#[test]
fn rejects_take_the_bad_lines_as_they_are_and_the_load_goes_on() {
    let sandbox = Sandbox::new();
    let long = "x".repeat(3_000_000);
    let bad: [&[u8]; 5] = [
        b"\n",
        b"1,2,3\r\n",
        b"\xff\xfe\n",
        long.as_bytes(),
        b"no end",
    ];
    let mut text = Vec::new();
    for (line, bad) in PUBLISHED.lines().zip(bad) {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(bad);
        text.extend_from_slice(if bad == long.as_bytes() { b"\n" } else { b"" });
    }
    sandbox.write("flows.txt", &text);
    sandbox.write("bad.txt", "kept\n");
    sandbox
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "5 rejects", "ids 1-5"]);
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
    let expected = [
        b"kept\n\n1,2,3\r\n\xff\xfe\n",
        long.as_bytes(),
        b"\nno end\n",
    ]
    .concat();
    assert!(fs::read(sandbox.path("bad.txt")).unwrap() == expected);
    sandbox
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .skips_with(&["0 rows", "0 rejects", "10 lines"], &["flows.txt"]);
    assert!(fs::read(sandbox.path("bad.txt")).unwrap() == expected);
}

#[test]
fn an_input_without_line_ends_is_one_bad_line() {
    let sandbox = Sandbox::new();
    let text = vec![b'7'; 5_000_000];
    sandbox
        .pipe(&text, &[])
        .fails_with(&["standard input:1: the line is longer than 1048576 bytes"]);
    sandbox
        .pipe(&text, &["--rejects", "bad.txt"])
        .succeeds_with(&["0 rows", "1 rejects"]);
    assert!(fs::read(sandbox.path("bad.txt")).unwrap() == [text, b"\n".to_vec()].concat());
}

#[test]
fn the_longest_line_is_still_a_line() {
    let sandbox = Sandbox::new();
    let rest = ",1,C2,2,6,1,52";
    let line = format!("1,0,{}{rest}", "C".repeat(1024 * 1024 - 4 - rest.len()));
    sandbox
        .pipe(format!("{line}\r\n{PUBLISHED}"), &[])
        .succeeds_with(&["6 rows"]);
    sandbox
        .pipe(format!("C{line}\n"), &[])
        .fails_with(&["standard input:1: the line is longer"]);
    assert!(sandbox.text() == format!("{line}\n{PUBLISHED}"));
}

#[test]
fn the_rejects_file_cannot_be_the_input() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", "bad\n");
    sandbox
        .load(&["flows.txt", "--rejects", "./flows.txt"])
        .fails_with(&["./flows.txt", "part of the load"]);
    assert_eq!(fs::read(sandbox.path("flows.txt")).unwrap(), b"bad\n");
}

// An input is its content.

#[test]
fn a_file_loaded_again_under_any_name_adds_nothing() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    sandbox.write("flows.txt", &text);
    sandbox.write("other.gz", gzip(&text));
    sandbox.load(&["flows.txt", "flows.txt"]).skips_with(
        &["20000 rows", "20000 lines had been loaded before"],
        &["flows.txt: its first 20000 lines (ids 1 to 20000)"],
    );
    let known = &["0 rows", "20000 lines had been loaded before"];
    sandbox
        .load(&["flows.txt"])
        .skips_with(known, &["flows.txt: "]);
    sandbox
        .load(&["other.gz"])
        .skips_with(known, &["other.gz: "]);
    sandbox
        .pipe(&text, &[])
        .skips_with(known, &["standard input: "]);
    assert!(sandbox.rows() == numbered(&text));
}

#[test]
fn another_file_under_the_same_name_is_loaded() {
    let sandbox = Sandbox::new();
    let first = generated(5_000, 1);
    // It differs early, late, in its last byte, or is a longer one that differs.
    let last = format!("{}9\n", &first[..first.len() - 2]);
    let late = first.replacen("\n45,", "\n45,1", 1);
    let others = [
        (generated(3_000, 2), false),
        (last, true),
        (late, true),
        (generated(9_000, 3), false),
    ];
    let mut expected = first.clone();
    sandbox.write("flows.txt", &first);
    sandbox.load(&["flows.txt"]).succeeds_with(&["5000 rows"]);
    for (other, begins_alike) in others {
        assert_ne!(other, first);
        sandbox.write("flows.txt", &other);
        let again: &[&str] = if begins_alike {
            sandbox.load(&["flows.txt"]).fails_with(&[
                "flows.txt resembles an input",
                "5000 lines",
                "--again",
            ]);
            &["flows.txt", "--again"]
        } else {
            &["flows.txt"]
        };
        expected.push_str(&other);
        sandbox
            .load(again)
            .succeeds_with(&[&format!("{} rows", other.lines().count())]);
        assert!(sandbox.rows() == numbered(&expected));
    }
}

#[test]
fn a_grown_file_gets_its_new_lines_loaded() {
    let sandbox = Sandbox::new();
    let text = generated(30_000, 1);
    let mut loaded = 0;
    for share in [10, 2_000, 2_001, 30_000] {
        let grown: String = text.split_inclusive('\n').take(share).collect();
        sandbox.write("flows.gz", gzip(&grown));
        sandbox
            .load(&["flows.gz"])
            .has_summary(&[&format!("{} rows", share - loaded), &format!("-{share},")]);
        assert!(sandbox.rows() == numbered(&grown), "{share}");
        loaded = share;
    }
}

#[test]
fn a_grown_file_has_its_old_rejects_written_once() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", format!("{PUBLISHED}bad 1\n"));
    sandbox
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects"]);
    sandbox.write("flows.txt", format!("{PUBLISHED}bad 1\nbad 2\n{PUBLISHED}"));
    sandbox
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .skips_with(
            &["5 rows", "1 rejects", "ids 6-10"],
            &["first 6 lines (ids 1 to 5)"],
        );
    assert_eq!(
        fs::read_to_string(sandbox.path("bad.txt")).unwrap(),
        "bad 1\nbad 2\n"
    );
}

#[test]
fn a_last_line_without_end_may_get_its_end_later_but_no_more_text() {
    let open = PUBLISHED.trim_end();
    for end in ["\n", "\r\n"] {
        let sandbox = Sandbox::new();
        sandbox.write("flows.txt", open);
        sandbox.load(&["flows.txt"]).succeeds_with(&["5 rows"]);
        sandbox.write("flows.txt", format!("{open}{end}"));
        sandbox
            .load(&["flows.txt"])
            .skips_with(&["0 rows", "5 lines"], &[]);
        sandbox.write("flows.txt", format!("{open}{end}{open}"));
        sandbox
            .load(&["flows.txt"])
            .skips_with(&["5 rows", "ids 6-10", "5 lines"], &[]);
        assert_eq!(sandbox.rows(), numbered(&PUBLISHED.repeat(2)));
    }
    let sandbox = Sandbox::new();
    sandbox.pipe(open, &[]).succeeds_with(&["5 rows"]);
    for more in ["0\n", "0", &format!("0\n{PUBLISHED}")] {
        sandbox
            .pipe(format!("{open}{more}"), &[])
            .fails_with(&["standard input:5:", "now goes on"]);
        sandbox
            .pipe(format!("{open}{more}"), &["--rejects", "bad.txt"])
            .fails_with(&["standard input:5:", "now goes on"]);
    }
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
}

#[test]
fn a_copy_that_was_cut_short_is_not_taken_for_new() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    sandbox.write("flows.txt", &text);
    sandbox.load(&["flows.txt"]).succeeds_with(&["20000 rows"]);
    for length in [1, 1_000, text.len() / 2, text.len() - 1] {
        sandbox.write("copy.txt", &text[..length]);
        sandbox
            .load(&["copy.txt"])
            .fails_with(&["copy.txt ends after", "cut short"]);
        sandbox
            .pipe(&text[..length], &[])
            .fails_with(&["standard input ends after", "cut short"]);
    }
    assert!(sandbox.rows() == numbered(&text));
}

#[test]
fn each_of_several_inputs_that_begin_alike_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let common = generated(5_000, 1);
    let inputs = [2, 3, 4].map(|seed| format!("{common}{}", generated(1_000 * seed, seed)));
    let tails = [5, 6, 7].map(|seed| generated(100, seed));
    for (input, name) in inputs.iter().zip(["a", "b", "c"]) {
        sandbox.write(name, input);
        sandbox
            .load(&[name, "--again"])
            .succeeds_with(&[&format!("{} rows", input.lines().count())]);
    }
    for index in [1, 2, 0] {
        sandbox.write("grown", format!("{}{}", inputs[index], tails[index]));
        let known = inputs[index].lines().count();
        sandbox.load(&["grown"]).skips_with(
            &["100 rows", &format!("{known} lines had been loaded before")],
            &["grown: "],
        );
    }
    let order = [1, 2, 0].map(|input| tails[input].clone()).concat();
    assert!(sandbox.rows() == numbered(&(inputs.concat() + &order)));
}

#[test]
fn a_stream_goes_on_where_it_was_or_says_that_it_cannot_tell() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    let half: String = text.split_inclusive('\n').take(10_000).collect();
    sandbox.pipe(&half, &[]).succeeds_with(&["10000 rows"]);
    sandbox
        .pipe(&text, &[])
        .skips_with(&["10000 rows", "10000 lines had been loaded before"], &[]);
    assert!(sandbox.rows() == numbered(&text));
    let late = text.replacen("\n150,", "\n150,1", 1);
    let early = text.replacen("\n2,", "\n2,1", 1);
    for differs in [&late, &early] {
        assert_ne!(*differs, text);
        sandbox
            .pipe(differs, &[])
            .fails_with(&["standard input resembles an input", "20000 lines"]);
    }
    assert!(sandbox.rows() == numbered(&text));
    sandbox
        .pipe(&late, &["--again"])
        .succeeds_with(&["20000 rows"]);
    assert!(sandbox.rows() == numbered(&[text, late].concat()));
}

// Interruptions and neighbours.

#[test]
fn rows_can_be_read_while_the_load_goes_on() {
    let sandbox = Sandbox::new();
    let mut load = sandbox.start(&[]);
    load.feed(PUBLISHED);
    sandbox.wait_for_rows(5);
    load.feed(PUBLISHED);
    sandbox.wait_for_rows(10);
    load.finish().succeeds_with(&["10 rows"]);
}

#[test]
fn a_reader_keeps_its_snapshot_and_does_not_stop_the_load() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    let reader = sandbox.connect();
    reader.execute_batch("BEGIN").unwrap();
    let count = || {
        reader
            .query_row("SELECT count(*) FROM flows", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(count(), 5);
    sandbox
        .pipe(generated(20_000, 1), &[])
        .succeeds_with(&["20000 rows"]);
    assert_eq!((count(), sandbox.visible()), (5, 20_005));
}

#[test]
fn a_second_load_into_the_same_database_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", generated(1_000, 1));
    let mut first = sandbox.start(&[]);
    first.feed(PUBLISHED);
    sandbox.wait_for_rows(5);
    sandbox
        .load(&["flows.txt"])
        .fails_with(&["another load is writing to", "flows.db"]);
    first.finish().succeeds_with(&["5 rows", "ids 1-5"]);
    sandbox
        .load(&["flows.txt"])
        .succeeds_with(&["1000 rows", "ids 6-1005"]);
}

#[test]
fn rows_that_somebody_else_inserts_meanwhile_keep_their_ids() {
    let sandbox = Sandbox::new();
    let mut load = sandbox.start(&[]);
    load.feed(PUBLISHED);
    sandbox.wait_for_rows(5);
    let foreign = "INSERT INTO flows VALUES (100, 7, 0, 'C1', '1', 'C2', '2', 6, 1, 52)";
    sandbox.connect().execute(foreign, []).unwrap();
    load.feed(PUBLISHED);
    load.finish().succeeds_with(&["10 rows"]);
    let ids: Vec<String> = sandbox
        .rows()
        .iter()
        .map(|row| row.split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(ids.join(" "), "1 2 3 4 5 100 101 102 103 104 105");
}

#[test]
fn a_load_killed_halfway_goes_on_where_it_stopped() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    let half = text.len() / 2;
    let mut load = sandbox.start(&[]);
    load.feed(&text[..half]);
    sandbox.wait_for_rows(text[..half].matches('\n').count() as i64);
    drop(load);
    let loaded = sandbox.rows().len();
    assert!((1..20_000).contains(&loaded), "{loaded}");
    sandbox.write("flows.gz", gzip(&text));
    sandbox
        .load(&["flows.gz"])
        .succeeds_with(&[&format!("{loaded} lines had been loaded before")]);
    assert!(sandbox.rows() == numbered(&text));
    sandbox.assert_in_order();
}

/// The first half fills every buffer and the database's cache.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_the_same_however_much_is_loaded() {
    let sandbox = Sandbox::new();
    let mut load = sandbox.start(&[]);
    let peaks = [1, 2].map(|half| {
        load.feed(generated(1_600_000, half));
        sandbox.wait_for_rows(1_600_000 * half as i64);
        let status = fs::read_to_string(format!(
            "/proc/{}/status",
            load.child.as_ref().unwrap().id()
        ))
        .unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    });
    assert!(peaks[1] < peaks[0] + 16_000, "{peaks:?} kB");
    load.finish().succeeds_with(&["3200000 rows"]);
}

#[test]
fn a_reader_of_the_summary_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut load = sandbox.start(&[]);
    drop(load.child.as_mut().unwrap().stdout.take());
    load.feed(PUBLISHED);
    let output = load.finish().output;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
}

// Databases from elsewhere.

#[test]
fn preparing_needs_a_database_with_the_table() {
    let sandbox = Sandbox::new();
    sandbox
        .load(&[])
        .fails_with(&["no database at", "flows.db"]);
    assert!(!sandbox.db().exists());
    sandbox
        .connect()
        .execute_batch("CREATE TABLE other (id)")
        .unwrap();
    sandbox
        .load(&[])
        .fails_with(&["flows.db", "there is no table flows"]);
    sandbox
        .connect()
        .execute_batch("CREATE TABLE flows (id INTEGER PRIMARY KEY, time, duration)")
        .unwrap();
    sandbox
        .load(&[])
        .fails_with(&["flows.db", "table flows has no column src_comp"]);
    sandbox.write(
        "flows.db",
        "this is no database, though as long as the head of one would be: ".repeat(9),
    );
    sandbox
        .load(&[])
        .fails_with(&["flows.db", "not a database"]);
}

#[test]
fn preparing_adds_what_is_missing_and_changes_no_row() {
    let id_tables = [
        ("id INTEGER PRIMARY KEY", ")", vec!["flows_time"]),
        (
            "id INTEGER PRIMARY KEY",
            ") WITHOUT ROWID",
            vec!["flows_time"],
        ),
        (
            "id INTEGER NOT NULL",
            ", PRIMARY KEY (time, id)) WITHOUT ROWID",
            vec!["flows_id"],
        ),
        (
            "id INTEGER NOT NULL",
            ")",
            vec!["flows_id", "flows_time_id"],
        ),
        ("id INT PRIMARY KEY", ")", vec!["flows_time_id"]),
        (
            "id INTEGER NOT NULL UNIQUE",
            ", PRIMARY KEY (src_comp, id)) WITHOUT ROWID",
            vec!["flows_time_id"],
        ),
        (
            "id INTEGER NOT NULL",
            ", PRIMARY KEY (id, src_comp)) WITHOUT ROWID",
            // The key gives the order of `id`, but does not say that it is unique.
            vec!["flows_id", "flows_time"],
        ),
    ];
    for (id, end, missing) in id_tables {
        let sandbox = Sandbox::new();
        let table = format!("CREATE TABLE flows ({id}, {FOREIGN_COLUMNS}{end}");
        sandbox.connect().execute_batch(&table).unwrap();
        let insert = "INSERT INTO flows VALUES (7, 3, 0, 'C1', '1', 'C2', '2', 6, 1, 52), (9, 1, 0, 'C1', '1', 'C2', '2', 6, 1, 'x')";
        sandbox.connect().execute_batch(insert).unwrap();
        let before = sandbox.rows();
        sandbox.load(&[]).succeeds_with(&["0 rows"]);
        let mut built = sandbox.indexes();
        built.retain(|name| name.starts_with("flows_"));
        assert_eq!(built, missing, "{table}");
        assert_eq!(sandbox.rows(), before, "{table}");
        sandbox.assert_in_order();
        sandbox.load(&[]).succeeds_with(&["0 rows"]);
        sandbox
            .pipe(PUBLISHED, &[])
            .succeeds_with(&["5 rows", "ids 10-14"]);
        sandbox.assert_in_order();
    }
}

#[test]
fn an_index_of_the_same_name_on_something_else_does_not_mislead() {
    let sandbox = Sandbox::new();
    let table = format!("CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS})");
    sandbox
        .connect()
        .execute_batch(&format!(
            "{table}; CREATE INDEX flows_time ON flows (duration)"
        ))
        .unwrap();
    sandbox
        .load(&[])
        .succeeds_with(&["index flows_time_id built"]);
    sandbox.assert_in_order();
}

#[test]
fn ids_that_are_not_unique_are_refused() {
    let sandbox = Sandbox::new();
    let row = "INSERT INTO flows VALUES (7, 3, 0, 'C1', '1', 'C2', '2', 6, 1, 52);";
    sandbox
        .connect()
        .execute_batch(&format!(
            "CREATE TABLE flows (id INTEGER, {FOREIGN_COLUMNS}); {row}{row}"
        ))
        .unwrap();
    sandbox
        .load(&[])
        .fails_with(&["flows.db", "cannot build the index on id", "UNIQUE"]);
    assert_eq!(sandbox.rows().len(), 2);
}

#[test]
fn ids_end_where_64_bits_end() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    sandbox
        .connect()
        .execute("UPDATE flows SET id = ?1 WHERE id = 5", [i64::MAX - 1])
        .unwrap();
    sandbox
        .pipe(generated(10, 1), &[])
        .fails_with(&["not enough ids"]);
    assert_eq!(sandbox.rows().len(), 5);
}

// What a system can refuse.

#[test]
fn a_missing_file_or_a_directory_is_named_and_no_database_made() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", PUBLISHED);
    sandbox
        .load(&["flows.txt", "missing.txt"])
        .fails_with(&["cannot open missing.txt", "No such file"]);
    sandbox
        .load(&["."])
        .fails_with(&["cannot load .: it is a directory"]);
    assert!(!sandbox.db().exists());
}

#[test]
fn a_database_that_cannot_be_made_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", PUBLISHED);
    for db in ["flows.txt/x.db", "folder"] {
        let _ = fs::create_dir(sandbox.path("folder"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
        let output = command
            .args(["load", "flows.txt", "--db", db])
            .current_dir(sandbox.folder.path())
            .output()
            .unwrap();
        FinishedLoad {
            arguments: db.to_owned(),
            output,
        }
        .fails_with(&[db.split('/').next().unwrap()]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_rejects_is_named_and_their_lines_are_not_taken_as_done() {
    let sandbox = Sandbox::new();
    let text = format!("{PUBLISHED}bad\n");
    sandbox
        .pipe(&text, &["--rejects", "/dev/full"])
        .fails_with(&["/dev/full", "No space left"]);
    sandbox
        .pipe(&text, &["--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("bad.txt")).unwrap(),
        "bad\n"
    );
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
}

#[test]
fn the_library_loads_what_it_generates() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("flows.txt", generated(1_000, 1));
    let request = flows::load::Load {
        files: vec![file.clone()],
        db: sandbox.db(),
        ..Default::default()
    };
    let summary = flows::load::load(&request).unwrap();
    assert_eq!(
        (summary.rows, summary.ids),
        (1_000, Some((1, 1_000))),
        "{summary}"
    );
    let mut text = String::new();
    fs::File::open(file)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(sandbox.rows() == numbered(&text));
}

#[test]
fn a_load_that_replaces_starts_anew_and_knows_nothing_of_what_was_there() {
    let sandbox = Sandbox::new();
    let load = |file: &Path, replace| {
        let request = flows::load::Load {
            files: vec![file.to_owned()],
            db: sandbox.db(),
            replace,
            ..Default::default()
        };
        flows::load::load(&request).unwrap()
    };
    let sample = sandbox.write("sample.txt", generated(1_000, 1));
    let own = sandbox.write("own.txt", generated(10, 2));
    load(&sample, false);
    let replaced = load(&own, true);
    assert_eq!(replaced.ids, Some((1_001, 1_010)), "{replaced}");
    assert_eq!(sandbox.rows().len(), 10);
    // The sample is no longer known, so it is loaded and not taken for what is there.
    let again = load(&sample, false);
    assert_eq!(again.ids, Some((1_011, 2_010)), "{again}");
}
