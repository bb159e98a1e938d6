//! Whatever a table can hold: a right answer that independent parsers read, or one that is clearly none.
//!
//! What is right is worked out from what rusqlite reads of the same table. What cannot be written as its field's
//! type is refused.

use flow_window::table::columns::{COLUMNS, SQL_LIST};
use support::database::{Database, SCHEMA, unguarded_schema};
use support::process::ServerProcess;
use support::records::{Cell, Record, as_seen_through, parse, written};
use support::server::TestServer;
use support::tally::{Tally, is_soak, short_or_long};
use support::wire::{End, Response, Wire, head_for};
use support::{FLOWS, FORMATS};

/// A table that takes any type in any column.
const LOOSE: &str = "
    CREATE TABLE flows (id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol,
        packet_count, byte_count);
    CREATE UNIQUE INDEX flows_id ON flows (id);
    CREATE INDEX flows_time ON flows (time, id);
    INSERT INTO flows VALUES (1, 1, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52);
    INSERT INTO flows VALUES (2, 2, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52);
    INSERT INTO flows VALUES (3, 3, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52);
";

/// Values of every type, at their ends and where readers of one type trip over another.
const VALUES: [&str; 42] = [
    "NULL",
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "2.0",
    "-0.0",
    "0.1",
    "1e300",
    "9e999",
    "-9e999",
    "9e999 - 9e999",
    "999999999999999.0",
    "''",
    "' '",
    "'7'",
    "' 7 '",
    "'+7'",
    "'007'",
    "'7.0'",
    "'9223372036854775807'",
    "'9223372036854775808'",
    "'null'",
    "'NaN'",
    "'[1]'",
    "'],['",
    "'\"'",
    "'\\'",
    "'7' || char(0)",
    "char(0)",
    "x''",
    "x'00'",
    "x'01'",
    "x'ff00'",
    "x'37'",
    "jsonb('7')",
    "jsonb('\"x\"')",
    "jsonb('[1]')",
    "jsonb('{\"a\":1}')",
    // JSONB that says it is an integer and holds a comma, and one that holds a bracket.
    "x'33312c32'",
    "x'33315d2c'",
];

/// What the table's rows look like to a client of `format`, if each can be written.
fn stored(database: &Database, format: &str) -> Result<Vec<Record>, String> {
    let connection = database.connect();
    let select = format!("SELECT {SQL_LIST} FROM flows ORDER BY time, id");
    let mut statement = connection.prepare(&select).expect("the columns");
    let mut rows = statement.query([]).expect("rows");
    let mut records = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let values = (0..COLUMNS.len()).map(|i| row.get_ref(i).expect("a value"));
        records.push(as_seen_through(format, written(values)?));
    }
    Ok(records)
}

/// Asks for the whole table in `format` and holds the answer against what is stored.
///
/// A table that can be written has to be, unless `may_refuse`; one that cannot be has to be refused.
#[track_caller]
fn hold(
    server: &TestServer,
    database: &Database,
    format: &str,
    case: &str,
    may_refuse: bool,
) -> String {
    let held = try_to_hold(server, database, format, may_refuse);
    held.unwrap_or_else(|why| panic!("{case}, {format}: {why}"))
}

/// As [`hold`]; an error says what is wrong with the answer.
fn try_to_hold(
    server: &TestServer,
    database: &Database,
    format: &str,
    may_refuse: bool,
) -> Result<String, String> {
    let answer = server.get(&format!("{FLOWS}.{format}"));
    let refused = answer.is_problem() || answer.end == End::Cut;
    if server.trapped() > 0 {
        return Err(format!("a trap: {answer:?}"));
    }
    let stored = match stored(database, format) {
        Err(_) if refused => return Ok(outcome(&answer)),
        Err(why) => return Err(format!("{why}, and yet {answer:?}")),
        Ok(_) if refused && may_refuse => return Ok(outcome(&answer)),
        Ok(stored) => stored,
    };
    if answer.status != 200 || answer.end != End::Clean {
        return Err(format!("could be written, and yet {answer:?}"));
    }
    let read = parse(format, &answer.body).map_err(|error| format!("{error}: {answer:?}"))?;
    if read.len() != stored.len() {
        let (read, stored) = (read.len(), stored.len());
        return Err(format!("{read} flows of {stored}: {answer:?}"));
    }
    match stored
        .iter()
        .zip(&read)
        .find(|(stored, read)| stored != read)
    {
        None => Ok("200, read back equal".into()),
        Some((stored, read)) => Err(format!("stored {stored:.300?}, read {read:.300?}")),
    }
}

fn outcome(answer: &Response) -> String {
    if answer.end == End::Cut {
        "connection cut off".into()
    } else if answer.status == 200 {
        "200".into()
    } else {
        format!("{} problem", answer.status)
    }
}

#[test]
fn every_value_in_every_column_is_read_back_or_refused() {
    let mut tally = Tally::of("a value of each type in each column");
    let mut wrong = Vec::new();
    let database = Database::with_sql(LOOSE);
    let server = database.serve();
    for field in &COLUMNS {
        for value in VALUES {
            // BLOBs that are JSONB of a scalar have tests of their own.
            if matches!(value, "x'00'" | "x'01'" | "jsonb('7')" | "jsonb('\"x\"')") {
                continue;
            }
            let column = field.name;
            database.execute(&format!("UPDATE flows SET {column} = {value} WHERE id = 2"));
            // Keys order the answer, so a number that is stored as anything else may be refused.
            let key = matches!(column, "id" | "time");
            for format in FORMATS {
                match try_to_hold(&server, &database, format, key) {
                    Ok(seen) => tally.saw(seen),
                    Err(why) => wrong.push(format!("{value} in {column}, {format}: {why:.400}")),
                }
            }
            let restored = database.connect().execute(
                "UPDATE flows SET (id, time, duration, src_comp, src_port, dst_comp, dst_port, \
                 protocol, packet_count, byte_count) = (2, 2, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52) \
                 WHERE rowid = 2",
                [],
            );
            assert_eq!(restored, Ok(1));
        }
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty(),
        "{count} wrong answers:\n{}",
        wrong.join("\n")
    );
    assert!(tally.count("200, read back equal") > 500, "{tally}");
    tally.print();
}

/// SQLite writes a REAL into JSON with 15 digits, so that of a longer number another one would arrive. In a
/// column of text that is how SQLite writes a REAL as text anywhere.
#[test]
fn a_large_number_stored_as_real_is_read_back_exactly_or_refused() {
    let database = Database::with_sql(LOOSE);
    let server = database.serve();
    let mut wrong = Vec::new();
    for value in [
        "9007199254740993.0",
        "1234567890123456.0",
        "-1234567890123456.0",
        "1234567890123456789.0",
        "9223372036854775807.0",
        "-9223372036854775808.0",
        "5e-324",
        "0.1 + 0.2",
        "1.7976931348623157e308",
    ] {
        for column in ["duration", "byte_count"] {
            database.execute(&format!("UPDATE flows SET {column} = {value} WHERE id = 2"));
            for format in FORMATS {
                if let Err(why) = try_to_hold(&server, &database, format, true) {
                    wrong.push(format!("{value} in {column}, {format}: {why:.300}"));
                }
            }
            database.execute(&format!("UPDATE flows SET {column} = 0"));
        }
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty(),
        "{count} wrong answers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_blob_that_is_jsonb_of_a_number_or_a_null_is_taken_for_it_and_an_array_is_refused() {
    let mut tally = Tally::of("a BLOB that is JSONB");
    let database = Database::with_sql(LOOSE);
    let server = database.serve();
    for (value, cells) in [
        (
            "jsonb('7')",
            Some((Cell::Integer(7), Cell::Text("7".into()))),
        ),
        ("jsonb('null')", Some((Cell::Null, Cell::Null))),
        ("jsonb('[1]')", None),
        ("jsonb('{\"a\":1}')", None),
    ] {
        database.execute(&format!(
            "UPDATE flows SET byte_count = {value}, src_comp = {value} WHERE id = 2"
        ));
        for format in FORMATS {
            let answer = server.get(&format!("{FLOWS}.{format}"));
            let Some((integer, text)) = &cells else {
                assert!(answer.is_problem(), "{value}: {answer:?}");
                tally.saw(outcome(&answer));
                continue;
            };
            let answer = answer.ok();
            let read = parse(format, &answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
            assert_eq!(
                (&read[1][9], &read[1][3]),
                (integer, text),
                "{value}: {answer:?}"
            );
            tally.saw("200, number or null as documented");
        }
    }
    tally.print();
}

#[test]
fn a_blob_that_is_jsonb_of_a_text_or_a_truth_value_is_taken_for_it_and_a_damaged_one_is_refused() {
    let database = Database::with_sql(LOOSE);
    let server = database.serve();
    for (value, text) in [
        ("jsonb('\"x\"')", "x"),
        ("jsonb('true')", "true"),
        ("x'01'", "true"),
    ] {
        database.execute(&format!("UPDATE flows SET src_comp = {value} WHERE id = 2"));
        let answer = server.get(FLOWS).ok();
        let read = parse("json", &answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        assert_eq!(read[1][3], Cell::Text(text.into()), "{value}: {answer:?}");
    }
    // The number 1,2, which as two values would move all that follow it, and texts that no format can hold:
    // two line feeds as they are, half a surrogate pair, a number with a quote in it.
    for value in [
        "x'33312c32'",
        "x'270a0a'",
        "jsonb('\"\\ud800\"')",
        "x'35312232'",
    ] {
        database.execute(&format!("UPDATE flows SET src_comp = {value} WHERE id = 2"));
        for format in FORMATS {
            let answer = server.get(&format!("{FLOWS}.{format}"));
            assert!(answer.is_problem(), "{value}: {answer:?}");
        }
    }
}

/// Characters that one format or another cannot write as they are.
fn characters() -> Vec<String> {
    let controls = (0..=0x20).chain([0x7f, 0x80, 0x85, 0x9f, 0xa0, 0xad]);
    let controls = controls.filter_map(char::from_u32).map(String::from);
    let others = [
        "\"",
        "'",
        "\\",
        "/",
        "&",
        "<",
        ">",
        ",",
        ";",
        "=",
        "]]>",
        "<![CDATA[",
        "<!--",
        "&amp;",
        "&#0;",
        "\\u0000",
        "\\\"",
        "\r",
        "\r\n",
        "\n\r",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{fdd0}",
        "\u{e000}",
        "\u{d7ff}",
        "\u{10000}",
        "🙂",
        "\u{1fffe}",
        "\u{10ffff}",
        "ä",
        "e\u{301}",
        "\u{202e}",
        "\u{200d}",
    ];
    controls.chain(others.map(String::from)).collect()
}

/// A character alone, and where it falls on each side of the eight and sixteen bytes taken at once.
fn around(character: &str) -> Vec<String> {
    let before = [0, 1, 6, 7, 8, 14, 15, 16, 40].map(|n| "a".repeat(n));
    let inside = before.iter().map(|before| format!("{before}{character}"));
    let between = format!("{character}bc{character}");
    let first = format!("{character}{}", "b".repeat(20));
    inside.chain([between, first]).collect()
}

/// Inserts texts, each into every text column of a flow of its own, and a plain one into the others.
#[track_caller]
fn insert_texts(database: &Database, texts: &[String]) {
    let mut connection = database.connect();
    let transaction = connection.transaction().expect("a transaction");
    for (i, text) in texts.iter().enumerate() {
        let [a, b, c, d] = std::array::from_fn(|column| {
            if column == i % 5 {
                "plain"
            } else {
                text.as_str()
            }
        });
        let inserted = transaction.execute(
            "INSERT INTO flows VALUES (?, ?, 0, ?, ?, ?, ?, 6, 1, 52)",
            rusqlite::params![i as i64 + 1, i as i64 / 9, a, b, c, d],
        );
        assert_eq!(inserted, Ok(1), "{text:?}");
    }
    transaction.commit().expect("a commit");
}

#[test]
fn every_character_is_read_back_as_it_was_stored() {
    let mut tally = Tally::of("control, markup, non-character and astral text");
    let database = Database::with_sql(SCHEMA);
    let texts: Vec<_> = characters().iter().flat_map(|c| around(c)).collect();
    insert_texts(&database, &texts);
    let server = database.serve();
    for format in FORMATS {
        let seen = hold(&server, &database, format, "characters", false);
        tally.saw_times(seen, texts.len());
    }
    tally.print();
}

/// Between plain flows of every length, so that it falls on every one of the 64 bytes taken at once.
#[test]
fn a_character_of_meaning_is_seen_wherever_it_falls() {
    let database = Database::with_sql(SCHEMA);
    let mut texts = Vec::new();
    for character in [
        "\"", ",", "[", "]", "-", "{", "0", "\\", "/", "<", ">", "&", "\u{1f}", " ", "ä",
        "\u{fffe}",
    ] {
        for length in 0..64 {
            let before = "a".repeat(length);
            texts.extend([format!("{before}{character}"), before]);
        }
    }
    insert_texts(&database, &texts);
    let server = database.serve();
    for format in FORMATS {
        hold(&server, &database, format, "characters of meaning", false);
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_or_cut_off_wherever_it_stands() {
    let mut tally = Tally::of("text that is not UTF-8");
    let bytes = [
        "ff",
        "61ff",
        "ff61",
        "c0af",
        "eda080",
        "f4908080",
        "c3",
        "e282",
        "f09f99",
        "61006180",
        "616161616161c3",
        "61616161616161c3",
        "6161616161616161c3",
        "2280",
        "5c80",
    ];
    let database = Database::generated(3_000);
    let server = database.serve();
    for column in ["src_comp", "src_port", "dst_comp", "dst_port"] {
        for bytes in bytes {
            // On the first page, at a page's end, and on a later one.
            for id in [1, 500, 2_700] {
                let set = format!("{column} = CAST(x'{bytes}' AS TEXT) WHERE id = {id}");
                database.execute(&format!("UPDATE flows SET {set}"));
                for format in FORMATS {
                    tally.saw(hold(&server, &database, format, &set, false));
                }
                database.execute(&format!("UPDATE flows SET {column} = '1' WHERE id = {id}"));
            }
            if !is_soak() && column != "src_comp" {
                break;
            }
        }
    }
    assert_eq!(tally.count("200, read back equal"), 0, "{tally}");
    tally.print();
}

#[test]
fn integers_at_both_ends_and_negative_times_keep_their_order_across_portions() {
    let mut tally = Tally::of("64-bit ends and negative times, in portions of 1 to 3");
    let database = Database::with_sql(SCHEMA);
    let (min, max) = (i64::MIN, i64::MAX);
    for (id, time) in [
        (min, max),
        (min + 1, min),
        (-1, -1),
        (0, 0),
        (1, min),
        (2, -1),
        (max - 1, max),
        (max, min),
    ] {
        database.execute(&format!(
            "INSERT INTO flows VALUES ({id}, {time}, {min}, '', '', '', '', {max}, {min}, {max})"
        ));
    }
    let server = database.serve();
    for format in FORMATS {
        tally.saw(hold(&server, &database, format, "64-bit ends", false));
        let whole = stored(&database, format).expect("integers");
        for limit in 1..=3 {
            let mut read = Vec::new();
            let mut target = format!("{FLOWS}.{format}?limit={limit}");
            for _ in 0..=whole.len() {
                let answer = server.get(&target).ok();
                let part = parse(format, &answer.body);
                read.extend(part.unwrap_or_else(|e| panic!("{e}: {answer:?}")));
                let link = answer.header("link").split(['<', '>']).nth(1);
                let Some(next) = link else { break };
                target = format!("/api/v1/stream/{next}");
            }
            assert_eq!(read, whole, "{format}, in portions of {limit}");
            tally.saw("portions, read back equal");
        }
    }
    for (window, count) in [
        (format!("scanned_after={max}"), 0),
        (format!("scanned_before={min}"), 3),
        (format!("scanned_after={min}&scanned_before=-1"), 2),
        (format!("after_id={max}"), 0),
        (format!("after_id={min}"), 7),
        ("after_id=-2&scanned_before=-1".to_owned(), 4),
    ] {
        let answer = server.get(&format!("{FLOWS}.ndjson?{window}")).ok();
        let read = parse("ndjson", &answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        assert_eq!(read.len(), count, "{window}: {answer:?}");
        tally.saw("window, as many as it holds");
    }
    assert_eq!(server.trapped(), 0);
    tally.print();
}

/// The SQL that makes the schema's table and its index under the name `base`, without the guard.
#[track_caller]
fn base() -> String {
    unguarded_schema()
        .replace("TABLE IF NOT EXISTS flows", "TABLE base")
        .replace("ON flows", "ON base")
}

/// Tables from elsewhere: how they are made, and whether they may be refused.
fn foreign_tables() -> Vec<(&'static str, String, bool)> {
    let columns = "id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, \
                   packet_count, byte_count";
    let fill = |count: u32| {
        format!(
            "INSERT INTO flows ({columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
             FROM n WHERE i < {count}) SELECT i, i / 700, 0, 'C' || i, 'n' || (i % 5), 'c2', '443', \
             6, 1, i FROM n;"
        )
    };
    let base = base();
    let filled_base = format!("{base}; {}", fill(3_000).replace("INTO flows", "INTO base"));
    let view = |select: &str| format!("{filled_base}; CREATE VIEW flows AS {select};");
    let schema = |from: &str, to: &str| {
        let schema = SCHEMA.replace(from, to);
        assert_ne!(schema, SCHEMA, "{from}");
        format!("{schema}; {}", fill(3_000))
    };
    vec![
        ("a view", view("SELECT * FROM base"), true),
        (
            "a view with a condition",
            view("SELECT * FROM base WHERE id % 3 = 1"),
            true,
        ),
        (
            "a view of two tables",
            view("SELECT * FROM base UNION ALL SELECT * FROM base WHERE 0"),
            true,
        ),
        (
            "a view in another order",
            view("SELECT * FROM base ORDER BY id DESC"),
            true,
        ),
        (
            "extra columns",
            schema(
                "duration     INTEGER",
                "a, \"b c\" DEFAULT 7, _rowid_ TEXT, duration INTEGER",
            ),
            false,
        ),
        (
            "columns in another order, in capitals",
            format!(
                "CREATE TABLE FLOWS (BYTE_COUNT, PACKET_COUNT, PROTOCOL, DST_PORT TEXT, DST_COMP, \
                 SRC_PORT TEXT, SRC_COMP, DURATION, TIME INTEGER, ID INTEGER PRIMARY KEY); \
                 CREATE INDEX t ON FLOWS (TIME); {}",
                fill(3_000)
            ),
            false,
        ),
        (
            "columns without regard to case",
            schema("TEXT    NOT NULL", "TEXT NOT NULL COLLATE NOCASE"),
            false,
        ),
        ("WITHOUT ROWID", schema("\n);", "\n) WITHOUT ROWID;"), false),
        ("STRICT", schema("\n);", "\n) STRICT;"), false),
        (
            "a generated column",
            schema(
                "byte_count   INTEGER NOT NULL",
                "stored INTEGER, byte_count INTEGER AS (packet_count * 7)",
            )
            .replace("packet_count, byte_count)", "packet_count, stored)"),
            false,
        ),
        (
            "an index that falls",
            schema("flows (time)", "flows (time DESC)"),
            true,
        ),
        (
            "an index on a part",
            schema("flows (time)", "flows (time) WHERE time > 1"),
            true,
        ),
        (
            "a key that falls",
            schema("INTEGER PRIMARY KEY,", "INTEGER PRIMARY KEY DESC,"),
            true,
        ),
        (
            "UTF-16, little end first",
            format!("PRAGMA encoding = 'UTF-16le'; {SCHEMA}; {}", fill(3_000)),
            true,
        ),
        (
            "UTF-16, big end first",
            format!("PRAGMA encoding = 'UTF-16be'; {SCHEMA}; {}", fill(3_000)),
            true,
        ),
        (
            "UTF-16, no flows",
            format!("PRAGMA encoding = 'UTF-16'; {SCHEMA}"),
            true,
        ),
    ]
}

#[test]
fn a_table_from_elsewhere_is_read_back_or_refused() {
    let mut tally = Tally::of("views, other columns, keys, indexes and encodings");
    for (case, sql, may_refuse) in foreign_tables() {
        let database = Database::with_sql(&sql);
        let server = database.serve();
        let seen = FORMATS.map(|format| hold(&server, &database, format, case, may_refuse));
        seen.into_iter().for_each(|seen| tally.saw(seen));
        let portion = server.get(&format!("{FLOWS}?limit=2100"));
        assert!(
            portion.is_problem() || portion.status == 200 && portion.end == End::Clean,
            "{case}: {portion:?}"
        );
        println!("  {case}: {}", outcome(&server.get(FLOWS)));
    }
    tally.print();
}

#[test]
fn a_filter_is_exact_also_where_a_column_does_not_regard_case() {
    let schema = SCHEMA.replace("TEXT    NOT NULL", "TEXT NOT NULL COLLATE NOCASE");
    let database = Database::with_sql(&schema);
    database.execute(
        "INSERT INTO flows VALUES (1, 1, 0, 'C1', 'N1', 'C2', '443', 6, 1, 52), \
         (2, 1, 0, 'c1', 'N1', 'C2', '443', 6, 1, 52)",
    );
    let server = database.serve();
    let answer = server.get(&format!("{FLOWS}.ndjson?src_comp=c1")).ok();
    let read = parse("ndjson", &answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    assert_eq!(read.len(), 1, "one flow has c1, the other C1: {answer:?}");
    assert_eq!(read[0][0], Cell::Integer(2), "{answer:?}");
}

/// An instance that has found the table fit looks at the types no more; what it says must be right all the
/// same.
#[test]
fn an_id_stored_as_real_is_refused_or_counts_for_the_watermark() {
    let database = Database::with_sql(LOOSE);
    let server = database.serve();
    server.get(FLOWS).ok();
    database.execute("UPDATE flows SET id = 4.0 WHERE id = 3");
    let answer = server.get(FLOWS);
    if !answer.is_problem() {
        let answer = answer.ok();
        assert_eq!(answer.header("flow-watermark"), "4", "{answer:?}");
    }
}

#[test]
fn ids_that_repeat_are_refused_or_all_served() {
    let loose = LOOSE.replace("UNIQUE INDEX", "INDEX");
    let database = Database::with_sql(&loose);
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         INSERT INTO flows SELECT 4, 4, 0, 'C' || i, 'N1', 'C2', '443', 6, 1, 52 FROM n",
    );
    let server = database.serve();
    for format in FORMATS {
        let answer = server.get(&format!("{FLOWS}.{format}"));
        if answer.is_problem() || answer.end == End::Cut {
            continue;
        }
        let read = parse(format, &answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        assert_eq!(read.len(), 3_003, "flows are missing: {answer:?}");
    }
}

#[test]
fn a_text_of_a_mebibyte_is_read_back() {
    let mut tally = Tally::of("texts of 1 MiB in four columns");
    let texts: Vec<_> = ["x", "\"", "\u{1}", "&", "\u{ffff}", "🙂", "\r", ","]
        .iter()
        .map(|character| character.repeat((1 << 20) / character.len()))
        .collect();
    let database = Database::with_sql(SCHEMA);
    insert_texts(&database, &texts);
    let server = database.serve();
    for format in FORMATS {
        let seen = hold(&server, &database, format, "texts of 1 MiB", false);
        tally.saw_times(seen, texts.len());
    }
    tally.print();
}

#[test]
fn a_text_beyond_the_hosts_row_is_a_problem_and_the_flows_before_it_are_none_the_worse() {
    let mut tally = Tally::of("a text of 140 MiB");
    let base = base();
    let database = Database::with_sql(&format!(
        "{base}; INSERT INTO base WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < 40) SELECT i, i, 0, 'C', 'N', 'C', '443', 6, 1, 52 FROM n; \
         CREATE VIEW flows AS SELECT id, time, duration, \
         iif(id = 40, hex(zeroblob(70 << 20)), src_comp) AS src_comp, src_port, dst_comp, dst_port, \
         protocol, packet_count, byte_count FROM base;"
    ));
    let server = database.serve();
    let answer = server.get(&format!("{FLOWS}.ndjson"));
    let refused = answer.is_problem() || answer.end == End::Cut;
    assert!(refused && server.trapped() == 0, "{answer:?}");
    tally.saw(outcome(&answer));
    let before = server.get(&format!("{FLOWS}?scanned_before=39")).ok();
    let read = parse("json", &before.body).unwrap_or_else(|e| panic!("{e}: {before:?}"));
    assert_eq!(read.len(), 39, "{before:?}");
    tally.saw("200, the 39 flows before it");
    tally.print();
}

/// What the server's memory may reach for one window of texts of 1 MiB, in KiB. SQLite packs a page up to
/// its own limit of 10^9 bytes before it or the host refuses it, and the page is read again with fewer
/// flows; that limit is what bounds the memory, whatever the window. docs/operations.md names it.
const MOST_FOR_LONG_TEXTS: u64 = 1280 << 10;

/// A table of `count` flows of which those behind `short` hold a text of 1 MiB, made as it is read, so that
/// the test needs no gigabytes of disk.
#[track_caller]
fn long_texts(count: usize, short: usize) -> Database {
    let base = base();
    Database::with_sql(&format!(
        "{base}; INSERT INTO base WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < {count}) SELECT i, i, 0, 'C', 'N', 'C', '443', 6, 1, 52 FROM n; \
         CREATE VIEW flows AS SELECT id, time, duration, \
         iif(id > {short}, hex(zeroblob(1 << 19)), 'C') AS src_comp, \
         src_port, dst_comp, dst_port, protocol, packet_count, byte_count FROM base;"
    ))
}

/// Notes the most memory that the server has held, prints the row, and asserts the bound.
#[track_caller]
fn bounded(mut tally: Tally, process: &mut ServerProcess, before: u64) {
    let peak = process.peak();
    tally.note(format!(
        "memory {} MiB before, {} MiB at its peak",
        before >> 10,
        peak >> 10
    ));
    assert_eq!(process.held().trapped, 0, "{tally}");
    assert!(peak < MOST_FOR_LONG_TEXTS, "{tally}");
    tally.print();
}

#[test]
fn a_window_of_texts_of_a_mebibyte_is_served_in_bounded_memory() {
    let count = short_or_long(600, 3_000);
    let mut tally = Tally::of(format!("{count} texts of 1 MiB in a window"));
    let database = long_texts(count, 0);
    let mut process = ServerProcess::serve(&database);
    let before = process.at_rest().resident;
    for format in short_or_long(&["ndjson"][..], &FORMATS[..]) {
        let answer = Wire::open(process.address()).ask(&format!("{FLOWS}.{format}"), &[]);
        let answer = answer.ok();
        assert!(answer.body.len() > count << 20, "{answer:?}");
        let lines = answer.body.iter().filter(|b| **b == b'\n').count();
        let around = match *format {
            "json" => -1,
            "xml" => 2,
            "csv" => 1,
            _ => 0,
        };
        assert_eq!(lines as i64, count as i64 + around, "{answer:?}");
        tally.saw("200, whole");
    }
    bounded(tally, &mut process, before);
}

#[test]
fn texts_of_a_mebibyte_behind_short_ones_are_served_in_bounded_memory() {
    let mut tally = Tally::of("2,000 texts of 1 MiB behind a first page of short ones");
    let database = long_texts(2_500, 500);
    let mut process = ServerProcess::serve(&database);
    let before = process.at_rest().resident;
    let mut wire = Wire::open(process.address());
    assert!(wire.send(head_for(&format!("{FLOWS}.ndjson"), &[])));
    // The first page was short, so the second is asked for with all the flows that a page can have.
    let read = wire.read(40 << 20).len();
    assert_eq!(read, 40 << 20, "cut off");
    tally.saw("200, the first 40 MiB");
    drop(wire);
    bounded(tally, &mut process, before);
}
