//! What a load guarantees to those who read, edit or replace flows beside it: the guard, replacements that are
//! seen whole or not at all, ids that only rise, no input loaded twice and none skipped in silence.

use std::fs;
use std::process::Command;

use rusqlite::Connection;

use crate::FOREIGN_COLUMNS;
use crate::sandbox::{FinishedLoad, PUBLISHED, Sandbox, generated, gzip, numbered};

/// The row of the guard: content, lineage, high.
#[track_caller]
fn guard(sandbox: &Sandbox) -> (i64, i64, i64) {
    let row = "SELECT content, lineage, high FROM flows_guard";
    let get = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    sandbox.connect().query_row(row, [], get).unwrap()
}

#[track_caller]
fn triggers(database: &Connection) -> i64 {
    let count = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'flows'
        AND name GLOB 'flows_guard_*'";
    database.query_row(count, [], |row| row.get(0)).unwrap()
}

#[track_caller]
fn execute(sandbox: &Sandbox, sql: &str) {
    sandbox.connect().execute_batch(sql).unwrap();
}

#[track_caller]
fn ids(sandbox: &Sandbox) -> String {
    let rows = sandbox.rows();
    let ids: Vec<&str> = rows
        .iter()
        .map(|row| row.split(',').next().unwrap())
        .collect();
    ids.join(" ")
}

// Counts by minute.

/// Asserts that the counts hold, and are those of all flows.
#[track_caller]
pub(crate) fn assert_counted(sandbox: &Sandbox) {
    let database = sandbox.connect();
    let integers = |query: &str| -> Vec<[i64; 4]> {
        let mut query = database.prepare(query).unwrap();
        let row =
            |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
        query
            .query_map([], row)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let minutes = integers("SELECT until, flows, packets, bytes FROM flows_per_minute ORDER BY 1");
    let grouped = integers(
        "SELECT (time + 59) / 60 * 60 AS until, count(*), sum(packet_count), sum(byte_count) FROM flows GROUP BY 1",
    );
    assert_eq!(minutes, grouped);
    let state = integers(
        "SELECT content, max_id, (SELECT sum(flows) FROM flows_per_minute), 0 FROM flows_per_minute_state",
    );
    let expected =
        integers("SELECT (SELECT content FROM flows_guard), max(id), count(*), 0 FROM flows");
    assert_eq!(state, expected);
}

#[track_caller]
fn counts_hold(sandbox: &Sandbox) -> bool {
    let hold = "SELECT count(*) FROM flows_per_minute_state
        WHERE content = (SELECT content FROM flows_guard)";
    let hold = sandbox.connect().query_row(hold, [], |row| row.get(0));
    match hold {
        // Tables that could not be filled are not left behind.
        Err(error) if error.to_string().contains("no such table") => false,
        hold => hold.unwrap(),
    }
}

#[test]
fn flows_are_counted_by_minute_in_each_load_and_anew_without_a_file() {
    let sandbox = Sandbox::new();
    // Several commits, and late flows in the second load.
    sandbox
        .pipe(generated(300_000, 1), &[])
        .succeeds_with(&["300000 rows"]);
    assert_counted(&sandbox);
    sandbox
        .pipe(generated(20_000, 2), &[])
        .succeeds_with(&["20000 rows"]);
    assert_counted(&sandbox);
    // What others append is counted by the next load.
    execute(
        &sandbox,
        "INSERT INTO flows SELECT id + 320000, time + 7, duration, src_comp, src_port, dst_comp, \
        dst_port, protocol, packet_count, byte_count FROM flows WHERE id <= 1000",
    );
    assert!(counts_hold(&sandbox));
    sandbox
        .pipe(generated(10, 3), &[])
        .succeeds_with(&["10 rows"]);
    assert_counted(&sandbox);
    // An edit ends the counts; a load does not count a table from the middle.
    execute(&sandbox, "UPDATE flows SET byte_count = 7 WHERE id = 9");
    assert!(!counts_hold(&sandbox));
    sandbox
        .pipe(generated(10, 4), &[])
        .succeeds_with(&["10 rows"]);
    assert!(!counts_hold(&sandbox));
    sandbox.load(&[]).succeeds_with(&["0 rows"]);
    assert_counted(&sandbox);
    execute(&sandbox, "DELETE FROM flows");
    sandbox
        .pipe(generated(10, 5), &[])
        .succeeds_with(&["10 rows"]);
    assert_counted(&sandbox);
}

#[test]
fn the_counts_of_a_replacement_are_those_of_its_flows() {
    let sandbox = Sandbox::new();
    sandbox.pipe(generated(5_000, 1), &[]).succeeds_with(&[]);
    sandbox.write("new.txt", generated(300_000, 2));
    sandbox
        .load(&["--replace", "new.txt"])
        .succeeds_with(&["300000 rows"]);
    assert_counted(&sandbox);
    sandbox
        .pipe(generated(10, 3), &[])
        .succeeds_with(&["10 rows"]);
    assert_counted(&sandbox);
    sandbox.write("bad.txt", "x");
    assert!(
        !sandbox
            .load(&["--replace", "bad.txt"])
            .output
            .status
            .success()
    );
    assert_counted(&sandbox);
    // A database of an earlier version has no such tables.
    execute(
        &sandbox,
        "DROP TABLE flows_per_minute; DROP TABLE flows_per_minute_state",
    );
    sandbox
        .pipe(generated(10, 4), &[])
        .succeeds_with(&["10 rows"]);
    sandbox
        .load(&["--replace", "--renumber", "new.txt"])
        .succeeds_with(&["ids 1-300000"]);
    assert_counted(&sandbox);
}

#[test]
fn what_cannot_be_counted_is_loaded_all_the_same() {
    let sandbox = Sandbox::new();
    let line = |time: &str, packets: &str| format!("{time},0,C1,N1,C2,80,6,{packets},1\n");
    let most = i64::MAX.to_string();
    for uncountable in [line("7", &most).repeat(2), line(&most, "1")] {
        fs::remove_file(sandbox.db()).ok();
        sandbox.pipe(line("1", "1"), &[]).succeeds_with(&["1 rows"]);
        assert_counted(&sandbox);
        let refused = ["rows", "no counts by minute: a sum takes more than 64 bits"];
        sandbox.pipe(uncountable, &[]).succeeds_with(&refused);
        assert!(!counts_hold(&sandbox));
        sandbox
            .load(&[])
            .succeeds_with(&["no counts by minute: a sum takes more than 64 bits"]);
        sandbox.pipe(line("9", "1"), &[]).succeeds_with(&["1 rows"]);
        assert!(!counts_hold(&sandbox));
    }
    for (table, reason) in [
        (
            FOREIGN_COLUMNS.replace("byte_count INTEGER", "byte_count TEXT"),
            "not declared as integers",
        ),
        (FOREIGN_COLUMNS.to_owned(), "flow 1: packet_count is Text"),
    ] {
        fs::remove_file(sandbox.db()).ok();
        execute(
            &sandbox,
            &format!(
                "CREATE TABLE flows (id INTEGER PRIMARY KEY, {table});
             INSERT INTO flows VALUES (1, 1, 0, 'C1', 'N1', 'C2', '80', 6, 'x', 1)"
            ),
        );
        sandbox
            .load(&[])
            .succeeds_with(&["no counts by minute", reason]);
        assert!(!counts_hold(&sandbox));
        sandbox.pipe(line("9", "1"), &[]).succeeds_with(&["1 rows"]);
    }
}

// Indexes for filters.

#[test]
fn indexes_for_filters_are_those_that_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", generated(2_000, 1));
    let built = ["index flows_src_comp built", "index flows_dst_port built"];
    sandbox
        .load(&["--index", "src_comp,dst_port", "flows.txt"])
        .succeeds_with(&built);
    assert_eq!(
        sandbox.indexes(),
        ["flows_dst_port", "flows_src_comp", "flows_time"]
    );
    sandbox.assert_in_order();
    // A small append keeps them, a large one builds them anew; without the option nothing changes.
    sandbox
        .pipe(generated(10, 2), &[])
        .succeeds_with(&["10 rows"]);
    sandbox.write("few.txt", generated(20, 3));
    let few = sandbox.load(&["--index", "dst_port,src_comp", "few.txt"]);
    few.succeeds_with(&["20 rows"]);
    assert!(!few.shown().contains("built"), "{}", few.shown());
    sandbox.write("many.txt", generated(3_000, 4));
    sandbox
        .load(&["--index", "src_comp,dst_port", "many.txt"])
        .succeeds_with(&built);
    assert_eq!(sandbox.indexes().len(), 3);
    // A replacement keeps what it does not name.
    sandbox
        .load(&["--replace", "few.txt"])
        .succeeds_with(&["20 rows"]);
    assert_eq!(sandbox.indexes().len(), 3);
    sandbox
        .load(&["--replace", "--index", "dst_comp", "many.txt"])
        .succeeds_with(&["index flows_dst_comp built"]);
    assert_eq!(sandbox.indexes(), ["flows_dst_comp", "flows_time"]);
    sandbox.load(&["--index", ""]).succeeds_with(&["0 rows"]);
    assert_eq!(sandbox.indexes(), ["flows_time"]);
}

#[test]
fn an_index_that_no_filter_could_use_is_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let unknown = sandbox.load(&["--index", "src_comp,time"]);
    assert_eq!(unknown.output.status.code(), Some(2), "{}", unknown.shown());
    assert!(
        unknown
            .shown()
            .contains("\"time\" is none of src_comp, src_port, dst_comp, dst_port"),
        "{}",
        unknown.shown()
    );
    for id in ["id INT PRIMARY KEY", "id INTEGER NOT NULL UNIQUE"] {
        fs::remove_file(sandbox.db()).ok();
        execute(
            &sandbox,
            &format!("CREATE TABLE flows ({id}, {FOREIGN_COLUMNS})"),
        );
        sandbox
            .load(&["--index", "src_comp"])
            .fails_with(&["the index on src_comp is of no use"]);
        assert!(
            !sandbox.indexes().contains(&"flows_src_comp".to_owned()),
            "it is not left behind"
        );
    }
    fs::remove_file(sandbox.db()).ok();
    let no_case = FOREIGN_COLUMNS.replace("src_comp TEXT", "src_comp TEXT COLLATE NOCASE");
    execute(
        &sandbox,
        &format!("CREATE TABLE flows (id INTEGER PRIMARY KEY, {no_case})"),
    );
    sandbox
        .load(&["--index", "src_comp"])
        .fails_with(&["compared byte by byte"]);
    sandbox
        .load(&["--index", "dst_comp"])
        .succeeds_with(&["index flows_dst_comp built"]);
}

// The guard.

#[test]
fn a_load_installs_the_guard_and_arrivals_change_nothing_in_it() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&["5 rows"]);
    assert_eq!(triggers(&sandbox.connect()), 4);
    let before = guard(&sandbox);
    sandbox
        .pipe(generated(1_000, 1), &[])
        .succeeds_with(&["1000 rows"]);
    assert_eq!(guard(&sandbox), before);
    execute(&sandbox, "DELETE FROM flows WHERE id > 900");
    let (content, lineage, high) = guard(&sandbox);
    assert!(content != before.0 && lineage == before.1 && high == 1_005);
}

#[test]
fn preparing_installs_the_guard_and_renews_one_that_was_incomplete() {
    let sandbox = Sandbox::new();
    execute(
        &sandbox,
        &format!("CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS})"),
    );
    sandbox.load(&[]).succeeds_with(&["guard installed"]);
    let before = guard(&sandbox);
    let again = sandbox.load(&[]);
    again.succeeds_with(&["0 rows"]);
    assert!(!again.shown().contains("guard"), "{}", again.shown());
    assert_eq!(guard(&sandbox), before);
    execute(&sandbox, "DROP TRIGGER flows_guard_update");
    sandbox.load(&[]).succeeds_with(&["guard installed"]);
    let after = guard(&sandbox);
    assert!(after.0 != before.0 && after.1 != before.1 && triggers(&sandbox.connect()) == 4);
    // The triggers go with a table that is renamed, and keep their names taken.
    execute(
        &sandbox,
        &format!(
            "ALTER TABLE flows RENAME TO old; CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS})"
        ),
    );
    sandbox.load(&[]).succeeds_with(&["guard installed"]);
    assert_eq!(triggers(&sandbox.connect()), 4);
}

#[test]
fn a_view_is_said_to_have_no_guard_and_takes_no_flows() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    execute(
        &sandbox,
        "DROP TRIGGER flows_guard_delete; DROP TRIGGER flows_guard_update; DROP TRIGGER flows_guard_replace;
         DROP TRIGGER flows_guard_insert; ALTER TABLE flows RENAME TO kept; CREATE VIEW flows AS SELECT * FROM kept",
    );
    sandbox.load(&[]).succeeds_with(&["no guard", "view"]);
    for more in [&[][..], &["--replace"]] {
        sandbox.pipe(PUBLISHED, more).fails_with(&["view"]);
    }
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
}

#[test]
fn deleted_ids_are_not_given_again() {
    let sandbox = Sandbox::new();
    sandbox
        .pipe(generated(100, 1), &[])
        .succeeds_with(&["ids 1-100"]);
    execute(&sandbox, "DELETE FROM flows WHERE id > 50");
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&["ids 101-105"]);
}

/// The loader's own connection fires no trigger, unless somebody wants one.
#[test]
fn triggers_of_somebody_else_still_fire() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    execute(
        &sandbox,
        "CREATE TABLE seen (id); CREATE TRIGGER mine AFTER INSERT ON flows BEGIN INSERT INTO seen VALUES (NEW.id); END",
    );
    let before = guard(&sandbox);
    sandbox.pipe(generated(100, 1), &[]).succeeds_with(&[]);
    let seen = sandbox
        .connect()
        .query_row("SELECT count(*) FROM seen", [], |row| row.get::<_, i64>(0));
    assert_eq!((seen.unwrap(), guard(&sandbox)), (100, before));
}

// Replacing.

#[test]
fn replaced_flows_have_ids_behind_the_old_ones_and_another_lineage() {
    let sandbox = Sandbox::new();
    sandbox
        .pipe(generated(100, 1), &[])
        .succeeds_with(&["ids 1-100"]);
    execute(
        &sandbox,
        "CREATE INDEX mine ON flows (src_comp); CREATE VIEW names AS SELECT src_comp FROM flows",
    );
    let before = guard(&sandbox);
    sandbox
        .pipe(PUBLISHED, &["--replace"])
        .succeeds_with(&["5 rows", "ids 101-105"]);
    assert_eq!(ids(&sandbox), "101 102 103 104 105");
    let after = guard(&sandbox);
    assert!(
        after.0 != before.0 && after.1 != before.1 && after.2 == 105,
        "{after:?}"
    );
    assert_eq!(triggers(&sandbox.connect()), 4);
    assert_eq!(sandbox.indexes(), ["flows_time", "mine"]);
    let sql = sandbox.connect().query_row(
        "SELECT group_concat(sql, ';') FROM sqlite_schema WHERE name IN ('flows_time', 'names')",
        [],
        |row| row.get::<_, String>(0),
    );
    assert!(!sql.as_ref().unwrap().contains("incoming"), "{sql:?}");
    sandbox.assert_in_order();
    // Known is the new input, not the old.
    sandbox
        .pipe(PUBLISHED, &[])
        .skips_with(&["0 rows"], &["ids 101 to 105"]);
    sandbox
        .pipe(generated(100, 1), &[])
        .succeeds_with(&["ids 106-205"]);
}

#[test]
fn renumbered_flows_begin_at_one() {
    let sandbox = Sandbox::new();
    sandbox.pipe(generated(100, 1), &[]).succeeds_with(&[]);
    sandbox
        .pipe(PUBLISHED, &["--replace", "--renumber"])
        .succeeds_with(&["ids 1-5"]);
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
    assert_eq!(guard(&sandbox).2, 5);
}

#[test]
fn what_cannot_replace_leaves_the_flows_that_are_there() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let before = guard(&sandbox);
    let text = generated(20_000, 1);
    let archive = gzip(&text);
    sandbox.write("good.txt", &text);
    sandbox.write("cut.gz", &archive[..archive.len() / 2]);
    sandbox.write("first.txt", format!("bad\n{text}"));
    sandbox.write("middle.txt", format!("{text}bad\n{text}"));
    sandbox.write("only-bad.txt", "bad\n");
    sandbox.write("empty.txt", "");
    sandbox.write("empty.gz", gzip(""));
    fs::create_dir(sandbox.path("folder")).unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["good.txt", "cut.gz"], "damaged or cut short"),
        (&["good.txt", "first.txt"], "first.txt:1: expected 9 fields"),
        (&["middle.txt"], "middle.txt:20001: expected 9 fields"),
        (&["good.txt", "--rejects", "folder"], "cannot open folder"),
        (&["good.txt", "--rejects", "good.txt"], "part of the load"),
        (&["only-bad.txt", "--rejects", "bad.txt"], "no flow in"),
        (&["empty.txt"], "empty.txt is empty"),
        (&["good.txt", "empty.gz"], "empty.gz is empty"),
        (&["-"], "standard input is empty"),
    ];
    for (arguments, reason) in cases {
        let arguments = [arguments, &["--replace"]].concat();
        sandbox.load(&arguments).fails_with(&[reason]);
        assert_eq!(sandbox.rows(), numbered(PUBLISHED), "{reason}");
        assert_eq!(guard(&sandbox), before, "{reason}");
    }
    // They are still known, and nothing is left of the tries.
    sandbox.pipe(PUBLISHED, &[]).skips_with(&["0 rows"], &[]);
    let left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'flows_incoming%'";
    let left = sandbox
        .connect()
        .query_row(left, [], |row| row.get::<_, i64>(0));
    assert_eq!(left.unwrap(), 0);
}

#[test]
fn readers_see_the_old_flows_until_the_new_ones_are_all_there() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let mut load = sandbox.start(&["--replace"]);
    let text = generated(3_000, 1);
    load.feed(&text);
    let incoming = || {
        let count = sandbox
            .connect()
            .query_row("SELECT count(*) FROM flows_incoming", [], |row| row.get(0));
        count.unwrap_or(0_i64)
    };
    while incoming() < 3_000 {
        assert_eq!(sandbox.visible(), 5);
    }
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
    load.finish().succeeds_with(&["3000 rows"]);
    assert!(sandbox.text() == text);
}

#[test]
fn a_replacement_beside_another_writer_starts_over() {
    let sandbox = Sandbox::new();
    sandbox.pipe(PUBLISHED, &[]).succeeds_with(&[]);
    let mut load = sandbox.start(&["--replace"]);
    load.feed(PUBLISHED);
    let is_begun = "SELECT count(*) FROM sqlite_schema WHERE name = 'flows_incoming'";
    while sandbox.connect().query_row(is_begun, [], |row| row.get(0)) != Ok(1_i64) {}
    execute(
        &sandbox,
        "INSERT INTO flows SELECT 6, 9, 0, 'C1', '1', 'C2', '2', 6, 1, 52",
    );
    load.finish()
        .fails_with(&["somebody else has added flows", "stay"]);
    assert_eq!(ids(&sandbox), "1 2 3 4 5 6");
}

#[test]
fn a_table_that_cannot_be_served_can_be_replaced() {
    let sandbox = Sandbox::new();
    execute(
        &sandbox,
        "CREATE TABLE flows (id TEXT, time TEXT); INSERT INTO flows VALUES ('id', 'time')",
    );
    sandbox
        .pipe(PUBLISHED, &["--replace"])
        .succeeds_with(&["ids 1-5"]);
    assert_eq!(sandbox.rows(), numbered(PUBLISHED));
    sandbox.load(&[]).succeeds_with(&["0 rows"]);
}

// One load at a time.

#[cfg(unix)]
#[test]
fn a_database_is_one_whatever_the_path_to_it() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    sandbox.write("flows.txt", generated(1_000, 1));
    fs::create_dir(sandbox.path("folder")).unwrap();
    symlink(sandbox.db(), sandbox.path("link.db")).unwrap();
    symlink(sandbox.folder.path(), sandbox.path("folder/here")).unwrap();
    // The first one makes the file, through a link to nowhere.
    let load = |db: &str| {
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
    };
    let mut first = sandbox.start(&[]);
    first.feed(PUBLISHED);
    sandbox.wait_for_rows(5);
    for db in [
        "link.db",
        "flows.db",
        "./folder/../flows.db",
        "folder/here/flows.db",
    ] {
        load(db).fails_with(&["another load is writing to", db]);
    }
    first.finish().succeeds_with(&["5 rows"]);
    load("folder/here/link.db").succeeds_with(&["1000 rows"]);
    fs::hard_link(sandbox.db(), sandbox.path("second.db")).unwrap();
    for db in ["second.db", "flows.db"] {
        load(db).fails_with(&["2 names (hard links)"]);
    }
}

// Every line once, or a word.

#[test]
fn an_input_that_changed_is_not_loaded_beside_its_own_rows() {
    let text = generated(20_000, 1);
    let changes = [
        text.replacen(",6,", ",7,", 1),
        text.replacen("\n45,", "\n45,1", 1),
        text.replace('\n', "\r\n"),
        text.split_inclusive('\n').skip(1).collect(),
        format!("1,0,C1,1,C2,2,6,1,52\n{text}"),
    ];
    for changed in changes {
        let sandbox = Sandbox::new();
        // Stopped halfway.
        let mut load = sandbox.start(&[]);
        load.feed(&text[..text.len() / 2]);
        sandbox.wait_for_rows(text[..text.len() / 2].matches('\n').count() as i64);
        drop(load);
        let rows = sandbox.rows();
        sandbox.write("flows.txt", &changed);
        sandbox.load(&["flows.txt"]).fails_with(&[
            "flows.txt resembles an input of which",
            "--again",
            "--replace",
        ]);
        assert_eq!(sandbox.rows(), rows);
        sandbox
            .pipe(&changed, &[])
            .fails_with(&["standard input resembles an input of which"]);
        sandbox
            .load(&["flows.txt", "--replace"])
            .succeeds_with(&["rows"]);
        assert!(sandbox.text() == changed.replace("\r\n", "\n"));
    }
}

#[test]
fn flows_that_were_deleted_by_hand_are_not_taken_for_loaded() {
    let sandbox = Sandbox::new();
    let text = generated(100, 1);
    sandbox.write("flows.txt", &text);
    sandbox.load(&["flows.txt"]).succeeds_with(&["100 rows"]);
    execute(&sandbox, "DELETE FROM flows WHERE id <= 50");
    // Trimmed: what is new of the input is still wanted.
    sandbox.load(&["flows.txt"]).skips_with(&["0 rows"], &[]);
    execute(&sandbox, "DELETE FROM flows");
    sandbox.load(&["flows.txt"]).fails_with(&[
        "flows.txt: its first 100 lines",
        "ids 1 to 100",
        "deleted",
        "--again",
    ]);
    sandbox
        .load(&["flows.txt", "--again"])
        .succeeds_with(&["100 rows", "ids 101-200"]);
    assert!(sandbox.text() == text);
}

#[test]
fn parts_that_are_alike_are_loaded_when_told_so_and_else_skipped_with_a_word() {
    let sandbox = Sandbox::new();
    let (line, other) = ("5,0,C1,N1,C2,80,6,1,81\n", "5,0,C1,N1,C2,80,6,1,82\n");
    for (name, text) in [
        ("a", line.to_owned()),
        ("b", line.to_owned()),
        ("c", line.to_owned() + other),
    ] {
        sandbox.write(name, text);
    }
    sandbox.load(&["a"]).succeeds_with(&["1 rows"]);
    sandbox.load(&["b"]).skips_with(
        &["0 rows", "1 lines"],
        &["b: its first 1 lines (ids 1 to 1)"],
    );
    sandbox
        .load(&["b", "c", "--again"])
        .succeeds_with(&["3 rows", "ids 2-4"]);
    assert_eq!(sandbox.text(), [line, line, line, other].concat());
}

#[test]
fn an_interrupted_load_of_another_goes_on_and_is_no_third() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    sandbox.write("flows.txt", &text);
    sandbox.load(&["flows.txt"]).succeeds_with(&["20000 rows"]);
    let half = text.len() / 2;
    let mut load = sandbox.start(&["--again"]);
    load.feed(&text[..half]);
    sandbox.wait_for_rows(20_000 + text[..half].matches('\n').count() as i64);
    drop(load);
    sandbox
        .load(&["flows.txt", "--again"])
        .succeeds_with(&["lines had been loaded before", "-40000,"]);
    assert!(sandbox.rows() == numbered(&text.repeat(2)));
}

#[test]
fn records_of_earlier_versions_are_understood() {
    let sandbox = Sandbox::new();
    let text = generated(20_000, 1);
    sandbox.write("flows.txt", &text);
    sandbox.load(&["flows.txt"]).succeeds_with(&[]);
    execute(
        &sandbox,
        "ALTER TABLE flow_loads RENAME TO later;
         CREATE TABLE flow_loads (
             id          INTEGER PRIMARY KEY,
             bytes       INTEGER NOT NULL, -- uncompressed, consumed up to the last commit
             lines       INTEGER NOT NULL, -- good and bad ones in these bytes
             digest      BLOB    NOT NULL, -- SHA-256 of exactly these bytes
             open_line   INTEGER NOT NULL, -- 1 if the last line had no line end
             head        BLOB    NOT NULL  -- the first of these bytes, at most 65,536
         );
         INSERT INTO flow_loads SELECT id, bytes, lines, digest, open_line, head FROM later;
         DROP TABLE later",
    );
    sandbox
        .load(&["flows.txt"])
        .skips_with(&["0 rows"], &["first 20000 lines are in"]);
    let more = format!("{text}{}", generated(5, 2));
    sandbox.write("flows.txt", &more);
    sandbox.load(&["flows.txt"]).has_summary(&["5 rows"]);
    assert!(sandbox.rows() == numbered(&more));
}

// What an input may be.

#[test]
fn other_formats_are_refused_by_name_and_leave_no_rejects() {
    let cases: [(&[u8], &str); 8] = [
        (b"BZh91AY&SY and so on\n", "bzip2"),
        (b"\xfd7zXZ\0\0\x04 and so on\n", "xz"),
        (
            b"\x28\xb5\x2f\xfd and so on\n",
            "is zstd: decompress it first, zstd -dc FILE | flows load -",
        ),
        (b"PK\x03\x04 and so on\n", "zip"),
        (b"<!DOCTYPE html>\n<html>\n", "an HTML page"),
        (b"\n <HTML><body>\n", "an HTML page"),
        (b"SQLite format 3\0\n", "a SQLite database"),
        (b"\xff\xfe1\0,\0\n\0", "UTF-16"),
    ];
    for (bytes, name) in cases {
        let sandbox = Sandbox::new();
        sandbox.write("flows.gz", bytes);
        sandbox
            .load(&["flows.gz", "--rejects", "bad.txt"])
            .fails_with(&["flows.gz is ", name]);
        sandbox
            .pipe(bytes, &["--rejects", "bad.txt"])
            .fails_with(&["standard input is ", name]);
        assert_eq!(fs::read(sandbox.path("bad.txt")).unwrap(), b"", "{name}");
        assert_eq!(sandbox.visible(), 0);
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let marked = format!("\u{feff}{PUBLISHED}");
    for content in [marked.clone().into_bytes(), gzip(&marked)] {
        let sandbox = Sandbox::new();
        sandbox.write("flows.txt", &content);
        sandbox.load(&["flows.txt"]).succeeds_with(&["5 rows"]);
        assert_eq!(sandbox.rows(), numbered(PUBLISHED));
        sandbox.pipe(PUBLISHED, &[]).skips_with(&["0 rows"], &[]);
        sandbox
            .pipe(&content, &["--replace", "--renumber"])
            .succeeds_with(&["5 rows"]);
        assert_eq!(sandbox.rows(), numbered(PUBLISHED));
    }
}

#[test]
fn zeros_may_follow_a_gzip_and_nothing_else_may() {
    for (behind, good) in [
        (vec![0; 1], true),
        (vec![0; 600_000], true),
        (vec![0, 1], false),
        (b"x".to_vec(), false),
    ] {
        let sandbox = Sandbox::new();
        let padded = [gzip(PUBLISHED), behind].concat();
        sandbox.write("flows.gz", &padded);
        for load in [
            sandbox.load(&["flows.gz"]),
            sandbox.pipe(&padded, &["--replace", "--renumber"]),
        ] {
            if good {
                load.succeeds_with(&["5 rows"]);
                assert_eq!(sandbox.rows(), numbered(PUBLISHED));
            } else {
                load.fails_with(&[":6: gzip is damaged"]);
            }
        }
    }
}

#[test]
fn a_quoted_field_is_a_bad_line_that_names_it() {
    let sandbox = Sandbox::new();
    let quoted = "1,0,\"C1065\",389,C3799,N10451,6,10,5323\n";
    sandbox.pipe(quoted, &[]).fails_with(&[
        "standard input:1: src_comp holds a quotation mark",
        "\"C1065\"",
    ]);
    sandbox
        .pipe(quoted, &["--rejects", "bad.txt"])
        .succeeds_with(&["0 rows", "1 rejects"]);
    assert_eq!(fs::read_to_string(sandbox.path("bad.txt")).unwrap(), quoted);
}

// Tables of somebody else.

#[test]
fn preparing_leaves_a_write_ahead_log_also_where_the_index_is_there() {
    let sandbox = Sandbox::new();
    execute(
        &sandbox,
        &format!(
            "CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS}); CREATE INDEX flows_time ON flows (time)"
        ),
    );
    sandbox.load(&[]).succeeds_with(&["0 rows"]);
    let mode = sandbox
        .connect()
        .query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
    assert_eq!(mode.unwrap(), "wal");
}

#[test]
fn an_empty_table_has_its_index_while_the_first_load_goes_on() {
    let sandbox = Sandbox::new();
    let mut load = sandbox.start(&[]);
    load.feed(PUBLISHED);
    sandbox.wait_for_rows(5);
    assert_eq!(
        (sandbox.indexes(), triggers(&sandbox.connect())),
        (vec!["flows_time".to_owned()], 4)
    );
    sandbox.assert_in_order();
    load.finish().succeeds_with(&["5 rows"]);
}

#[test]
fn preparing_names_what_could_not_be_served() {
    let plain = FOREIGN_COLUMNS
        .replace(" NOT NULL", "")
        .replace("INTEGER", "BIGINT");
    // As pandas' `to_sql` makes it, with its index that is not unique.
    let pandas =
        format!("CREATE TABLE flows (id BIGINT, {plain}); CREATE INDEX ix_flows_id ON flows (id)");
    let row = |id: &str, time: &str, port: &str| {
        format!("; INSERT INTO flows VALUES ({id}, {time}, 0, 'C1', {port}, 'C2', '2', 6, 1, 52)")
    };
    let good = row("1", "1", "'1'") + &row("3", "3", "'1'");
    let cases = [
        (row("2", "2", "'1'"), None),
        (
            row("1", "2", "'1'"),
            Some("UNIQUE constraint failed: flows.id"),
        ),
        (
            row("'id'", "'time'", "'src_port'"),
            Some("the column time of flows holds a value of type text, expected integers alone"),
        ),
        (
            row("2", "2", "x'00'"),
            Some("flow 2: src_port is a BLOB, which no format can write"),
        ),
        (
            row("2", "2.5", "'1'"),
            Some("the column time of flows holds a value of type real"),
        ),
    ];
    for (more, reason) in cases {
        let sandbox = Sandbox::new();
        execute(&sandbox, &format!("{pandas}{good}{more}"));
        match reason {
            None => {
                sandbox
                    .load(&[])
                    .succeeds_with(&["flows_id built", "guard installed"]);
                sandbox.assert_in_order();
            }
            Some(reason) => sandbox.load(&[]).fails_with(&["flows.db", reason]),
        }
    }
}

#[test]
fn an_index_that_leaves_rows_out_does_not_do() {
    let sandbox = Sandbox::new();
    execute(
        &sandbox,
        &format!(
            "CREATE TABLE flows (id INTEGER PRIMARY KEY, {FOREIGN_COLUMNS});
             CREATE INDEX some ON flows (time) WHERE time IS NOT NULL"
        ),
    );
    let load = sandbox.load(&[]);
    let shown = load.shown();
    assert!(
        sandbox.indexes().contains(&"flows_time".to_owned()),
        "{shown}"
    );
}
