//! Readers that leave or take nothing: what an answer goes on to cost, and for how long.

use std::time::{Duration, Instant};

use support::FLOWS;
use support::database::Database;
use support::server::TestServer;
use support::tally::Tally;
use support::wire::{End, Response, Wire, get, head_for, wait_until};
use test_host::faults::{Fault, Point};

/// Rows that the service looks at for a page where not every row matches.
const ROWS_A_PAGE: usize = 10_000;

/// A million rows are read before the head where a limit cuts a filtered answer, and no more.
const ROWS: u32 = 1_200_000;

/// Waits until no statement has run for a while, and gives how many have.
#[track_caller]
pub(crate) fn statements_at_rest(server: &TestServer) -> usize {
    let ran = || server.faults().passed(Point::Row);
    let (mut last, mut since) = (ran(), Instant::now());
    wait_until("no statement runs", || {
        let now = ran();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    last
}

#[test]
fn a_walk_that_finds_nothing_stops_when_its_client_leaves() {
    let mut tally = Tally::of("clients that leave a walk which finds nothing");
    let database = Database::generated(ROWS);
    let server = database.serve();
    get(server.address(), &format!("{FLOWS}?limit=1")).ok();
    let whole = ROWS as usize / ROWS_A_PAGE;
    server.faults().clear();
    get(server.address(), &format!("{FLOWS}?src_comp=nobody")).ok();
    let stayed = statements_at_rest(&server);
    assert!(stayed >= whole, "{stayed} statements, {whole} pages");
    for format in ["json", "ndjson", "csv", "xml"] {
        server.faults().clear();
        let target = format!("{FLOWS}.{format}?src_comp=nobody");
        for _ in 0..8 {
            let mut wire = Wire::open(server.address());
            wire.send(head_for(&target, &[]));
        }
        let left = statements_at_rest(&server);
        // A page for each client may be under way when it leaves, and another until that is noticed.
        assert!(
            left < whole,
            "{format}: {left} statements for eight clients, {whole} for one that stays"
        );
        tally.saw_times("a statement behind the client's leaving", left);
    }
    tally.note(format!("{stayed} statements for a client that stays"));
    server.settle();
    tally.print();
}

#[test]
fn an_index_that_is_dropped_under_an_answer_changes_nothing_in_it() {
    let mut tally = Tally::of("indexes that are dropped under an answer which reads them");
    let database = Database::generated(20 * ROWS_A_PAGE as u32);
    // C7, in a part of the second that is longer than what a page takes.
    database.execute("UPDATE flows SET src_comp = 'C7' WHERE id % 9 = 0; UPDATE flows SET time = 9 WHERE id < 50000");
    for journal in ["wal", "delete"] {
        database.execute(&format!("PRAGMA journal_mode = {journal}"));
        for target in [
            format!("{FLOWS}.csv?src_comp=C7"),
            format!("{FLOWS}.csv?src_comp=C7&limit=15000"),
            "/api/v1/flows/top?by=protocol&src_comp=C7".to_owned(),
        ] {
            let server = database.serve();
            let scanned = get(server.address(), &target).ok();
            for nth in 2..10 {
                database
                    .execute("CREATE INDEX IF NOT EXISTS flows_src_comp ON flows (src_comp, time)");
                server.faults().clear();
                server.faults().plan(Point::Execute, nth..=nth, Fault::Hold);
                let faults = server.faults().clone();
                let address = server.address();
                let path = target.clone();
                let asked = std::thread::spawn(move || get(address, &path).ok());
                wait_until("the statement is held", || faults.is_holding());
                database.execute("DROP INDEX flows_src_comp");
                faults.clear();
                let answer = asked.join().expect("an answer");
                assert_eq!(answer.body, scanned.body, "{target}: statement {nth}");
                assert_eq!(answer.header("link"), scanned.header("link"), "{target}");
                tally.saw("the same answer");
            }
            server.settle();
        }
    }
    tally.print();
}

/// Asks for what has a pause in the middle of a walk, and says what came in it.
fn seen_in_a_pause(
    database: &Database,
    (target, headers, blanks): (String, &[(&str, &str)], usize),
) -> &'static str {
    let server = database.serve();
    let ask = || Wire::open(server.address()).ask(&target, headers).ok();
    ask();
    server.faults().clear();
    let quick = ask();
    let last = statements_at_rest(&server);
    let pause = Fault::Delay(Duration::from_millis(5_200));
    server.faults().clear();
    server.faults().plan(Point::Row, last - 2..=last - 2, pause);
    let slow = ask();
    server.settle();
    assert_eq!(quick.header("etag"), slow.header("etag"), "{target}");
    // What may hold white space that depends on time has a weak tag.
    let is_weak = target.contains("src_comp") && !target.contains("limit");
    assert_eq!(slow.header("etag").starts_with("W/\""), is_weak, "{slow:?}");
    let text = |of: &Response| String::from_utf8(of.decoded()).expect("UTF-8");
    let lines = |of: &Response| text(of).matches('\n').count();
    assert_eq!(lines(&slow), lines(&quick) + blanks, "{slow:?}");
    let bare = |of: &Response| text(of).replace('\n', "");
    assert_eq!(bare(&slow), bare(&quick), "{target}");
    assert_eq!(slow.chunks, quick.chunks + blanks, "{slow:?}");
    if blanks > 0 { "a blank" } else { "silence" }
}

#[test]
fn an_answer_that_finds_nothing_for_seconds_says_that_it_goes_on() {
    let mut tally = Tally::of("walks that find nothing for seconds");
    let database = Database::generated(6 * ROWS_A_PAGE as u32);
    // The first flow alone, and then nothing.
    let found = format!("{FLOWS}?src_comp=C1");
    let nothing = format!("{FLOWS}?src_comp=nobody");
    let cases = [
        (format!("{nothing}&format=json"), &[][..], 1),
        (format!("{found}&format=json"), &[], 1),
        (format!("{found}&format=xml"), &[], 1),
        (
            format!("{found}&format=json"),
            &[("accept-encoding", "gzip")],
            1,
        ),
        // A strong tag promises the same bytes.
        (
            format!("{FLOWS}?format=json"),
            &[("accept-encoding", "gzip")],
            0,
        ),
        (format!("{nothing}&format=json&limit=9"), &[], 0),
        // White space may not stand before the declaration, nor as a line that a reader takes for a record.
        (format!("{nothing}&format=xml"), &[], 0),
        (format!("{found}&format=ndjson"), &[], 0),
        (format!("{found}&format=csv"), &[], 0),
    ];
    std::thread::scope(|scope| {
        let database = &database;
        let asked = cases.map(|case| scope.spawn(move || seen_in_a_pause(database, case)));
        for case in asked {
            tally.saw(case.join().expect("an answer"));
        }
    });
    tally.print();
}

#[test]
fn a_portion_that_passes_a_million_rows_ends_there_and_leads_on() {
    let database = Database::generated(ROWS);
    let server = database.serve();
    let ask = |target: &str| get(server.address(), target).ok();
    let next = |answer: &support::wire::Response| {
        let link = answer.header("link").split(['<', '>']).nth(1);
        link.and_then(|link| link.rsplit_once('?'))
            .map(|(_, query)| format!("{FLOWS}?{query}"))
    };
    // One match in front, one behind the first million rows.
    let found = format!("{FLOWS}?src_comp=C5&src_comp=C1100000&limit=3");
    let first = ask(&found);
    assert_eq!(count(&first.body, "\"id\":"), 1, "{first:?}");
    assert_eq!(first.header("flow-watermark"), "", "{first:?}");
    let second = ask(&next(&first).expect("a Link"));
    assert_eq!(count(&second.body, "\"id\":1100000,"), 1, "{second:?}");
    assert_eq!(next(&second), None, "{second:?}");
    assert_eq!(
        second.header("flow-watermark"),
        ROWS.to_string(),
        "{second:?}"
    );
    let nothing = ask(&format!("{FLOWS}?src_comp=nobody&limit=3"));
    let last = ask(&next(&nothing).expect("a Link"));
    assert_eq!((&*nothing.body, &*last.body), (&b"[]"[..], &b"[]"[..]));
    assert_eq!(next(&last), None, "{last:?}");
    server.settle();
}

/// How often a text stands in bytes.
fn count(bytes: &[u8], text: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(text).count()
}

#[test]
fn an_answer_waits_for_its_reader_only_so_long() {
    let mut tally = Tally::of("clients that take nothing for the reader's timeout of 1 s");
    let database = Database::generated(200_000);
    let server = database.serve_with(&[("reader_timeout", "1")]);
    let mut stalled: Vec<_> = ["json", "xml", "ndjson", "csv"]
        .map(|format| {
            let mut wire = Wire::open(server.address());
            wire.send(head_for(&format!("{FLOWS}.{format}"), &[]));
            wire
        })
        .into();
    let begun: Vec<_> = stalled.iter_mut().map(|wire| wire.read(1)).collect();
    assert!(begun.iter().all(|byte| byte == b"H"), "{begun:?}");
    assert!(server.connections() > 0);
    server.settle();
    for wire in &mut stalled {
        let rest = wire.rest();
        assert!(
            !rest.ends_with(b"\r\n0\r\n\r\n"),
            "ended as if it were whole"
        );
        tally.saw("connection cut off");
    }
    let log = server.log();
    let said = log
        .lines()
        .filter(|line| line.contains("has taken nothing for 1 s"));
    assert_eq!((said.count(), log.lines().count()), (4, 4), "{log}");
    // A client that takes something now and then is waited for.
    let mut slow = Wire::open(server.address());
    let close = &[("Connection", "close")];
    slow.send(head_for(&format!("{FLOWS}.ndjson?limit=60000"), close));
    let mut body = Vec::new();
    for _ in 0..20 {
        body.extend(slow.read(600_000));
        std::thread::sleep(Duration::from_millis(150));
    }
    body.extend(slow.rest());
    assert!(
        body.ends_with(b"\r\n0\r\n\r\n"),
        "cut off after {} bytes",
        body.len()
    );
    server.settle();
    tally.print();
}

#[test]
fn an_answer_that_nobody_takes_keeps_the_write_ahead_log_for_a_minute() {
    let mut tally =
        Tally::of("a client that takes nothing, beside a writer with a write-ahead log");
    let database = Database::generated(200_000);
    let server = database.serve();
    let mut stalled = Wire::open(server.address());
    stalled.send(head_for(&format!("{FLOWS}.ndjson"), &[]));
    let mut received = stalled.read(200_000);
    let writer = database.connect();
    writer
        .busy_timeout(Duration::from_millis(50))
        .expect("a timeout");
    let truncated = || {
        let busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        });
        busy.expect("a checkpoint") == 0
    };
    writer
        .execute_batch("UPDATE flows SET byte_count = 1 WHERE id = 200000")
        .expect("an edit");
    let start = Instant::now();
    assert!(!truncated(), "the answer reads in no transaction");
    while !truncated() {
        assert!(
            start.elapsed() < Duration::from_secs(90),
            "the log is kept still"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let kept = start.elapsed();
    assert!(kept > Duration::from_secs(50), "{kept:?}");
    tally.saw("log kept for a minute");
    // The edit beside it is seen from then on.
    received.extend(stalled.rest());
    assert!(
        !received.ends_with(b"\r\n0\r\n\r\n"),
        "ended as if it were whole"
    );
    assert!(server.log().contains("edited while"), "{}", server.log());
    assert_eq!(
        get(server.address(), &format!("{FLOWS}?limit=1")).end,
        End::Clean
    );
    server.settle();
    tally.print();
}

#[test]
fn the_log_says_how_each_answer_has_ended() {
    let database = Database::generated(200_000);
    let server = database.serve_with(&[("log_requests", "on")]);
    let line = |what: &str| {
        wait_until(what, || {
            server.log().lines().any(|line| line.contains(what))
        });
        let log = server.log();
        let line = log.lines().find(|line| line.contains(what));
        line.unwrap_or_default().to_owned()
    };
    // A statement behind the first page's fails: the answer has begun, and is cut off.
    let cut = format!("{FLOWS}.ndjson?scanned_after=1");
    server
        .faults()
        .plan(Point::Row, 6..=6, Fault::Fail("disk I/O error".to_owned()));
    let answer = get(server.address(), &cut);
    assert_eq!((answer.status, answer.end), (200, End::Cut), "{answer:?}");
    assert!(line("disk under the database").contains(&cut));
    let said = line(", cut off");
    assert!(said.starts_with(&format!("GET {cut} 200 ")), "{said}");
    server.faults().clear();
    // A client that leaves, with most of its answer still to come.
    let mut wire = Wire::open(server.address());
    wire.send(head_for(&format!("{FLOWS}.csv"), &[]));
    assert_eq!(wire.read(1), b"H");
    drop(wire);
    let said = line(" 499 ");
    assert!(said.starts_with(&format!("GET {FLOWS}.csv 499 ")), "{said}");
    server.settle();
}
