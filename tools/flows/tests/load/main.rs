//! `flows load` as a person runs it: every line of an input is in the database exactly once, whatever
//! happens on the way.
//!
//! Nothing here waits for a fixed time. A load that has to be caught at work reads from a pipe that the
//! test holds open, and is known to be at work once its rows can be seen.
//!
//! [`place`] is what the tests stand on; [`promises`] holds what a load owes those who read, edit or replace
//! flows beside it; [`faults`] has what goes wrong, often and at random, with a row of
//! figures for each fault. The rest is shared with the survival tests of the service.

mod faults;
#[path = "../../../../tests/survival/figures.rs"]
mod figures;
#[path = "../../../../tests/survival/namespace.rs"]
mod namespace;
mod place;
mod promises;
#[path = "../../../../tests/survival/random.rs"]
mod random;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use place::{Answer, PUBLISHED, Place, generated, gzip, numbered, rows};

/// The columns but `id` of a table of somebody else's.
const FOREIGN_COLUMNS: &str = "time INTEGER NOT NULL, duration INTEGER NOT NULL, src_comp TEXT NOT NULL,
    src_port TEXT NOT NULL, dst_comp TEXT NOT NULL, dst_port TEXT NOT NULL, protocol INTEGER NOT NULL,
    packet_count INTEGER NOT NULL, byte_count INTEGER NOT NULL";

// What an input may look like.

#[test]
fn published_rows_get_the_number_of_their_line_as_id() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    place
        .load(&["flows.txt"])
        .succeeds_with(&["5 rows", "0 rejects", "ids 1-5", "flows.db"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
    assert_eq!(place.indexes(), ["flows_time"]);
    place.assert_in_order();
}

#[test]
fn numbers_are_stored_as_integers_and_ports_as_text() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let types = "SELECT group_concat(DISTINCT typeof(time) || typeof(src_port) || typeof(dst_port) || typeof(byte_count)) FROM flows";
    let types: String = place
        .connect()
        .query_row(types, [], |row| row.get(0))
        .unwrap();
    assert_eq!(types, "integertexttextinteger");
}

#[test]
fn the_database_is_where_spin_looks_unless_told_otherwise() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
    let output = command
        .args(["load", "flows.txt"])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    Answer {
        arguments: "flows.txt".to_owned(),
        output,
    }
    .succeeds_with(&[".spin/sqlite_db.db"]);
    assert_eq!(rows(&place.path(".spin/sqlite_db.db")), numbered(PUBLISHED));
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
        let place = Place::new();
        place.write(name, &content);
        place.load(&[name]).succeeds_with(&["30000 rows"]);
        assert!(place.rows() == numbered(&text), "{name} as a file");
        let place = Place::new();
        place.pipe(&content, &[]).succeeds_with(&["30000 rows"]);
        assert!(place.rows() == numbered(&text), "{name} as a stream");
    }
}

#[test]
fn line_ends_may_be_crlf_and_the_last_one_may_be_missing() {
    for text in [
        PUBLISHED.replace('\n', "\r\n"),
        PUBLISHED.trim_end().to_owned(),
        PUBLISHED.trim_end().replace('\n', "\r\n"),
    ] {
        let place = Place::new();
        place.pipe(&text, &[]).succeeds_with(&["5 rows"]);
        assert_eq!(place.rows(), numbered(PUBLISHED), "{text:?}");
    }
}

#[test]
fn an_empty_input_holds_no_rows() {
    let place = Place::new();
    place.write("empty", "");
    place.write("empty.gz", gzip(""));
    place
        .load(&["empty", "empty.gz"])
        .succeeds_with(&["0 rows"]);
    place.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    place
        .load(&["empty", "empty.gz"])
        .succeeds_with(&["0 rows"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn several_files_are_loaded_one_after_the_other_and_ids_go_on() {
    let place = Place::new();
    let (one, two, three) = (generated(1_000, 1), generated(2_000, 2), generated(500, 3));
    place.write("one", &one);
    place.write("two", &two);
    place.write("three", gzip(&three));
    place
        .load(&["one", "two"])
        .succeeds_with(&["3000 rows", "ids 1-3000"]);
    place
        .load(&["three"])
        .succeeds_with(&["500 rows", "ids 3001-3500"]);
    assert!(place.rows() == numbered(&[one, two, three].concat()));
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
        let place = Place::new();
        place.write(
            "flows.txt",
            [PUBLISHED.as_bytes(), bad, b"\n", PUBLISHED.as_bytes()].concat(),
        );
        place
            .load(&["flows.txt"])
            .fails_with(&["flows.txt:6: ", reason]);
        assert_eq!(place.rows(), numbered(PUBLISHED), "{reason}");
    }
}

#[test]
fn a_bad_first_or_last_line_stops_the_load_too() {
    let place = Place::new();
    place
        .pipe(format!("time,duration\n{PUBLISHED}"), &[])
        .fails_with(&["standard input:1: expected 9 fields, found 2"]);
    assert_eq!(place.rows(), Vec::<String>::new());
    place
        .pipe(format!("{PUBLISHED}1,0,C1"), &[])
        .fails_with(&["standard input:6: expected 9 fields, found 3"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn a_load_goes_on_at_the_bad_line_once_it_is_mended() {
    let place = Place::new();
    let text = generated(20_000, 1);
    let bad = text.replacen("\n150,", "\n15O,", 1);
    assert_ne!(bad, text);
    place.write("flows.txt", &bad);
    place
        .load(&["flows.txt"])
        .fails_with(&["time is not an integer: \"15O\""]);
    let loaded = place.rows().len();
    place.write("flows.txt", &text);
    place
        .load(&["flows.txt"])
        .succeeds_with(&[&format!("{loaded} lines had been loaded before")]);
    assert!(
        loaded > 10_000 && place.rows() == numbered(&text),
        "{loaded}"
    );
}

#[test]
fn rejects_take_the_bad_lines_as_they_are_and_the_load_goes_on() {
    let place = Place::new();
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
    place.write("flows.txt", &text);
    place.write("bad.txt", "kept\n");
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "5 rejects", "ids 1-5"]);
    assert_eq!(place.rows(), numbered(PUBLISHED));
    let expected = [
        b"kept\n\n1,2,3\r\n\xff\xfe\n",
        long.as_bytes(),
        b"\nno end\n",
    ]
    .concat();
    assert!(fs::read(place.path("bad.txt")).unwrap() == expected);
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .skips_with(&["0 rows", "0 rejects", "10 lines"], &["flows.txt"]);
    assert!(fs::read(place.path("bad.txt")).unwrap() == expected);
}

#[test]
fn an_input_without_line_ends_is_one_bad_line() {
    let place = Place::new();
    let text = vec![b'7'; 5_000_000];
    place
        .pipe(&text, &[])
        .fails_with(&["standard input:1: the line is longer than 1048576 bytes"]);
    place
        .pipe(&text, &["--rejects", "bad.txt"])
        .succeeds_with(&["0 rows", "1 rejects"]);
    assert!(fs::read(place.path("bad.txt")).unwrap() == [text, b"\n".to_vec()].concat());
}

#[test]
fn the_longest_line_is_still_a_line() {
    let place = Place::new();
    let rest = ",1,C2,2,6,1,52";
    let line = format!("1,0,{}{rest}", "C".repeat(1024 * 1024 - 4 - rest.len()));
    place
        .pipe(format!("{line}\r\n{PUBLISHED}"), &[])
        .succeeds_with(&["6 rows"]);
    place
        .pipe(format!("C{line}\n"), &[])
        .fails_with(&["standard input:1: the line is longer"]);
    assert!(place.text() == format!("{line}\n{PUBLISHED}"));
}

#[test]
fn the_rejects_file_cannot_be_the_input() {
    let place = Place::new();
    place.write("flows.txt", "bad\n");
    place
        .load(&["flows.txt", "--rejects", "./flows.txt"])
        .fails_with(&["./flows.txt", "part of the load"]);
    assert_eq!(fs::read(place.path("flows.txt")).unwrap(), b"bad\n");
}

// An input is its content.

#[test]
fn a_file_loaded_again_under_any_name_adds_nothing() {
    let place = Place::new();
    let text = generated(20_000, 1);
    place.write("flows.txt", &text);
    place.write("other.gz", gzip(&text));
    place.load(&["flows.txt", "flows.txt"]).skips_with(
        &["20000 rows", "20000 lines had been loaded before"],
        &["flows.txt: its first 20000 lines (ids 1 to 20000)"],
    );
    let known = &["0 rows", "20000 lines had been loaded before"];
    place
        .load(&["flows.txt"])
        .skips_with(known, &["flows.txt: "]);
    place.load(&["other.gz"]).skips_with(known, &["other.gz: "]);
    place
        .pipe(&text, &[])
        .skips_with(known, &["standard input: "]);
    assert!(place.rows() == numbered(&text));
}

#[test]
fn another_file_under_the_same_name_is_loaded() {
    let place = Place::new();
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
    place.write("flows.txt", &first);
    place.load(&["flows.txt"]).succeeds_with(&["5000 rows"]);
    for (other, begins_alike) in others {
        assert_ne!(other, first);
        place.write("flows.txt", &other);
        let again: &[&str] = if begins_alike {
            place.load(&["flows.txt"]).fails_with(&[
                "flows.txt resembles an input",
                "5000 lines",
                "--again",
            ]);
            &["flows.txt", "--again"]
        } else {
            &["flows.txt"]
        };
        expected.push_str(&other);
        place
            .load(again)
            .succeeds_with(&[&format!("{} rows", other.lines().count())]);
        assert!(place.rows() == numbered(&expected));
    }
}

#[test]
fn a_grown_file_gets_its_new_lines_loaded() {
    let place = Place::new();
    let text = generated(30_000, 1);
    let mut loaded = 0;
    for share in [10, 2_000, 2_001, 30_000] {
        let grown: String = text.split_inclusive('\n').take(share).collect();
        place.write("flows.gz", gzip(&grown));
        place
            .load(&["flows.gz"])
            .sums_up(&[&format!("{} rows", share - loaded), &format!("-{share},")]);
        assert!(place.rows() == numbered(&grown), "{share}");
        loaded = share;
    }
}

#[test]
fn a_grown_file_has_its_old_rejects_written_once() {
    let place = Place::new();
    place.write("flows.txt", format!("{PUBLISHED}bad 1\n"));
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects"]);
    place.write("flows.txt", format!("{PUBLISHED}bad 1\nbad 2\n{PUBLISHED}"));
    place
        .load(&["flows.txt", "--rejects", "bad.txt"])
        .skips_with(
            &["5 rows", "1 rejects", "ids 6-10"],
            &["first 6 lines (ids 1 to 5)"],
        );
    assert_eq!(
        fs::read_to_string(place.path("bad.txt")).unwrap(),
        "bad 1\nbad 2\n"
    );
}

#[test]
fn a_last_line_without_end_may_get_its_end_later_but_no_more_text() {
    let open = PUBLISHED.trim_end();
    for end in ["\n", "\r\n"] {
        let place = Place::new();
        place.write("flows.txt", open);
        place.load(&["flows.txt"]).succeeds_with(&["5 rows"]);
        place.write("flows.txt", format!("{open}{end}"));
        place
            .load(&["flows.txt"])
            .skips_with(&["0 rows", "5 lines"], &[]);
        place.write("flows.txt", format!("{open}{end}{open}"));
        place
            .load(&["flows.txt"])
            .skips_with(&["5 rows", "ids 6-10", "5 lines"], &[]);
        assert_eq!(place.rows(), numbered(&PUBLISHED.repeat(2)));
    }
    let place = Place::new();
    place.pipe(open, &[]).succeeds_with(&["5 rows"]);
    for more in ["0\n", "0", &format!("0\n{PUBLISHED}")] {
        place
            .pipe(format!("{open}{more}"), &[])
            .fails_with(&["standard input:5:", "now goes on"]);
        place
            .pipe(format!("{open}{more}"), &["--rejects", "bad.txt"])
            .fails_with(&["standard input:5:", "now goes on"]);
    }
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn a_copy_that_was_cut_short_is_not_taken_for_new() {
    let place = Place::new();
    let text = generated(20_000, 1);
    place.write("flows.txt", &text);
    place.load(&["flows.txt"]).succeeds_with(&["20000 rows"]);
    for length in [1, 1_000, text.len() / 2, text.len() - 1] {
        place.write("copy.txt", &text[..length]);
        place
            .load(&["copy.txt"])
            .fails_with(&["copy.txt ends after", "cut short"]);
        place
            .pipe(&text[..length], &[])
            .fails_with(&["standard input ends after", "cut short"]);
    }
    assert!(place.rows() == numbered(&text));
}

#[test]
fn each_of_several_inputs_that_begin_alike_goes_on_where_it_was() {
    let place = Place::new();
    let common = generated(5_000, 1);
    let inputs = [2, 3, 4].map(|seed| format!("{common}{}", generated(1_000 * seed, seed)));
    let tails = [5, 6, 7].map(|seed| generated(100, seed));
    for (input, name) in inputs.iter().zip(["a", "b", "c"]) {
        place.write(name, input);
        place
            .load(&[name, "--again"])
            .succeeds_with(&[&format!("{} rows", input.lines().count())]);
    }
    for place_in_order in [1, 2, 0] {
        place.write(
            "grown",
            format!("{}{}", inputs[place_in_order], tails[place_in_order]),
        );
        let known = inputs[place_in_order].lines().count();
        place.load(&["grown"]).skips_with(
            &["100 rows", &format!("{known} lines had been loaded before")],
            &["grown: "],
        );
    }
    let order = [1, 2, 0].map(|input| tails[input].clone()).concat();
    assert!(place.rows() == numbered(&(inputs.concat() + &order)));
}

#[test]
fn a_stream_goes_on_where_it_was_or_says_that_it_cannot_tell() {
    let place = Place::new();
    let text = generated(20_000, 1);
    let half: String = text.split_inclusive('\n').take(10_000).collect();
    place.pipe(&half, &[]).succeeds_with(&["10000 rows"]);
    place
        .pipe(&text, &[])
        .skips_with(&["10000 rows", "10000 lines had been loaded before"], &[]);
    assert!(place.rows() == numbered(&text));
    let late = text.replacen("\n150,", "\n150,1", 1);
    let early = text.replacen("\n2,", "\n2,1", 1);
    for differs in [&late, &early] {
        assert_ne!(*differs, text);
        place
            .pipe(differs, &[])
            .fails_with(&["standard input resembles an input", "20000 lines"]);
    }
    assert!(place.rows() == numbered(&text));
    place
        .pipe(&late, &["--again"])
        .succeeds_with(&["20000 rows"]);
    assert!(place.rows() == numbered(&[text, late].concat()));
}

// Interruptions and neighbours.

#[test]
fn rows_can_be_read_while_the_load_goes_on() {
    let place = Place::new();
    let mut load = place.start(&[]);
    load.feed(PUBLISHED);
    place.wait_for_rows(5);
    load.feed(PUBLISHED);
    place.wait_for_rows(10);
    load.finish().succeeds_with(&["10 rows"]);
}

#[test]
fn a_reader_keeps_its_snapshot_and_does_not_stop_the_load() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    let reader = place.connect();
    reader.execute_batch("BEGIN").unwrap();
    let count = || {
        reader
            .query_row("SELECT count(*) FROM flows", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(count(), 5);
    place
        .pipe(generated(20_000, 1), &[])
        .succeeds_with(&["20000 rows"]);
    assert_eq!((count(), place.visible()), (5, 20_005));
}

#[test]
fn a_second_load_into_the_same_database_is_refused() {
    let place = Place::new();
    place.write("flows.txt", generated(1_000, 1));
    let mut first = place.start(&[]);
    first.feed(PUBLISHED);
    place.wait_for_rows(5);
    place
        .load(&["flows.txt"])
        .fails_with(&["another load is writing to", "flows.db"]);
    first.finish().succeeds_with(&["5 rows", "ids 1-5"]);
    place
        .load(&["flows.txt"])
        .succeeds_with(&["1000 rows", "ids 6-1005"]);
}

#[test]
fn rows_that_somebody_else_inserts_meanwhile_keep_their_ids() {
    let place = Place::new();
    let mut load = place.start(&[]);
    load.feed(PUBLISHED);
    place.wait_for_rows(5);
    let foreign = "INSERT INTO flows VALUES (100, 7, 0, 'C1', '1', 'C2', '2', 6, 1, 52)";
    place.connect().execute(foreign, []).unwrap();
    load.feed(PUBLISHED);
    load.finish().succeeds_with(&["10 rows"]);
    let ids: Vec<String> = place
        .rows()
        .iter()
        .map(|row| row.split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(ids.join(" "), "1 2 3 4 5 100 101 102 103 104 105");
}

#[test]
fn a_load_killed_halfway_goes_on_where_it_stopped() {
    let place = Place::new();
    let text = generated(20_000, 1);
    let half = text.len() / 2;
    let mut load = place.start(&[]);
    load.feed(&text[..half]);
    place.wait_for_rows(text[..half].matches('\n').count() as i64);
    drop(load);
    let loaded = place.rows().len();
    assert!((1..20_000).contains(&loaded), "{loaded}");
    place.write("flows.gz", gzip(&text));
    place
        .load(&["flows.gz"])
        .succeeds_with(&[&format!("{loaded} lines had been loaded before")]);
    assert!(place.rows() == numbered(&text));
    place.assert_in_order();
}

/// The first half fills every buffer and the database's cache.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_the_same_however_much_is_loaded() {
    let place = Place::new();
    let mut load = place.start(&[]);
    let peaks = [1, 2].map(|half| {
        load.feed(generated(1_600_000, half));
        place.wait_for_rows(1_600_000 * half as i64);
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
    let place = Place::new();
    let mut load = place.start(&[]);
    drop(load.child.as_mut().unwrap().stdout.take());
    load.feed(PUBLISHED);
    let output = load.finish().output;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

// Databases from elsewhere.

#[test]
fn preparing_needs_a_database_with_the_table() {
    let place = Place::new();
    place.load(&[]).fails_with(&["no database at", "flows.db"]);
    assert!(!place.db().exists());
    place
        .connect()
        .execute_batch("CREATE TABLE other (id)")
        .unwrap();
    place
        .load(&[])
        .fails_with(&["flows.db", "there is no table flows"]);
    place
        .connect()
        .execute_batch("CREATE TABLE flows (id INTEGER PRIMARY KEY, time, duration)")
        .unwrap();
    place
        .load(&[])
        .fails_with(&["flows.db", "table flows has no column src_comp"]);
    place.write(
        "flows.db",
        "this is no database, though as long as the head of one would be: ".repeat(9),
    );
    place.load(&[]).fails_with(&["flows.db", "not a database"]);
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
        let place = Place::new();
        let table = format!("CREATE TABLE flows ({id}, {FOREIGN_COLUMNS}{end}");
        place.connect().execute_batch(&table).unwrap();
        let insert = "INSERT INTO flows VALUES (7, 3, 0, 'C1', '1', 'C2', '2', 6, 1, 52), (9, 1, 0, 'C1', '1', 'C2', '2', 6, 1, 'x')";
        place.connect().execute_batch(insert).unwrap();
        let before = place.rows();
        place.load(&[]).succeeds_with(&["0 rows"]);
        let mut built = place.indexes();
        built.retain(|name| name.starts_with("flows_"));
        assert_eq!(built, missing, "{table}");
        assert_eq!(place.rows(), before, "{table}");
        place.assert_in_order();
        place.load(&[]).succeeds_with(&["0 rows"]);
        place
            .pipe(PUBLISHED, &[])
            .succeeds_with(&["5 rows", "ids 10-14"]);
        place.assert_in_order();
    }
}

#[test]
fn an_index_of_the_same_name_on_something_else_does_not_mislead() {
    let place = Place::new();
    let table = format!("CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS})");
    place
        .connect()
        .execute_batch(&format!(
            "{table}; CREATE INDEX flows_time ON flows (duration)"
        ))
        .unwrap();
    place
        .load(&[])
        .succeeds_with(&["index flows_time_id built"]);
    place.assert_in_order();
}

#[test]
fn ids_that_are_not_unique_are_refused() {
    let place = Place::new();
    let row = "INSERT INTO flows VALUES (7, 3, 0, 'C1', '1', 'C2', '2', 6, 1, 52);";
    place
        .connect()
        .execute_batch(&format!(
            "CREATE TABLE flows (id INTEGER, {FOREIGN_COLUMNS}); {row}{row}"
        ))
        .unwrap();
    place
        .load(&[])
        .fails_with(&["flows.db", "cannot build the index on id", "UNIQUE"]);
    assert_eq!(place.rows().len(), 2);
}

#[test]
fn ids_end_where_64_bits_end() {
    let place = Place::new();
    place.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    place
        .connect()
        .execute("UPDATE flows SET id = ?1 WHERE id = 5", [i64::MAX - 1])
        .unwrap();
    place
        .pipe(generated(10, 1), &[])
        .fails_with(&["not enough ids"]);
    assert_eq!(place.rows().len(), 5);
}

// What a system can refuse.

#[test]
fn a_missing_file_or_a_directory_is_named_and_no_database_made() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    place
        .load(&["flows.txt", "missing.txt"])
        .fails_with(&["cannot open missing.txt", "No such file"]);
    place
        .load(&["."])
        .fails_with(&["cannot load .: it is a directory"]);
    assert!(!place.db().exists());
}

#[test]
fn a_database_that_cannot_be_made_is_named() {
    let place = Place::new();
    place.write("flows.txt", PUBLISHED);
    for db in ["flows.txt/x.db", "folder"] {
        let _ = fs::create_dir(place.path("folder"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_flows"));
        let output = command
            .args(["load", "flows.txt", "--db", db])
            .current_dir(place.folder.path())
            .output()
            .unwrap();
        Answer {
            arguments: db.to_owned(),
            output,
        }
        .fails_with(&[db.split('/').next().unwrap()]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_rejects_is_named_and_their_lines_are_not_taken_as_done() {
    let place = Place::new();
    let text = format!("{PUBLISHED}bad\n");
    place
        .pipe(&text, &["--rejects", "/dev/full"])
        .fails_with(&["/dev/full", "No space left"]);
    place
        .pipe(&text, &["--rejects", "bad.txt"])
        .succeeds_with(&["5 rows", "1 rejects"]);
    assert_eq!(fs::read_to_string(place.path("bad.txt")).unwrap(), "bad\n");
    assert_eq!(place.rows(), numbered(PUBLISHED));
}

#[test]
fn the_library_loads_what_it_generates() {
    let place = Place::new();
    let file = place.write("flows.txt", generated(1_000, 1));
    let request = flows::load::Load {
        files: vec![file.clone()],
        db: place.db(),
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
    assert!(place.rows() == numbered(&text));
}

#[test]
fn a_load_that_replaces_starts_anew_and_knows_nothing_of_what_was_there() {
    let place = Place::new();
    let load = |file: &Path, replace| {
        let request = flows::load::Load {
            files: vec![file.to_owned()],
            db: place.db(),
            replace,
            ..Default::default()
        };
        flows::load::load(&request).unwrap()
    };
    let sample = place.write("sample.txt", generated(1_000, 1));
    let own = place.write("own.txt", generated(10, 2));
    load(&sample, false);
    let replaced = load(&own, true);
    assert_eq!(replaced.ids, Some((1_001, 1_010)), "{replaced}");
    assert_eq!(place.rows().len(), 10);
    // The sample is no longer known, so it is loaded and not taken for what is there.
    let again = load(&sample, false);
    assert_eq!(again.ids, Some((1_011, 2_010)), "{again}");
}
