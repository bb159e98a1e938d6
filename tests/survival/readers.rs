//! Readers that leave or take nothing: what an answer goes on to cost, and for how long.

use std::time::{Duration, Instant};

use crate::figures::Figures;
use crate::stand::{Database, FLOWS, Stand};
use crate::wire::{End, Wire, get, head_for, wait_until};
use standin::faults::{Fault, Point};

/// Rows that the service looks at for a page where not every row matches.
const ROWS_A_PAGE: usize = 10_000;

/// A million rows are read before the head where a limit cuts a filtered answer, and no more.
const ROWS: u32 = 1_200_000;

/// Waits until no statement has run for a while, and gives how many have.
#[track_caller]
fn statements_at_rest(stand: &Stand) -> usize {
    let ran = || stand.faults().passed(Point::Row);
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
    let mut figures = Figures::of("clients that leave a walk which finds nothing");
    let database = Database::with_flows(ROWS);
    let stand = database.serve();
    get(stand.address(), &format!("{FLOWS}?limit=1")).ok();
    let whole = ROWS as usize / ROWS_A_PAGE;
    stand.faults().clear();
    get(stand.address(), &format!("{FLOWS}?src_comp=nobody")).ok();
    let stayed = statements_at_rest(&stand);
    assert!(stayed >= whole, "{stayed} statements, {whole} pages");
    for format in ["json", "ndjson", "csv", "xml"] {
        stand.faults().clear();
        let target = format!("{FLOWS}.{format}?src_comp=nobody");
        for _ in 0..8 {
            let mut wire = Wire::open(stand.address());
            wire.send(head_for(&target, &[]).as_bytes());
        }
        let left = statements_at_rest(&stand);
        // A page for each client may be under way when it leaves, and another until that is noticed.
        assert!(
            left < whole,
            "{format}: {left} statements for eight clients, {whole} for one that stays"
        );
        figures.saw_times("a statement behind the client's leaving", left);
    }
    figures.note(format!("{stayed} statements for a client that stays"));
    stand.settle();
    figures.print();
}

#[test]
fn a_portion_that_passes_a_million_rows_ends_there_and_leads_on() {
    let database = Database::with_flows(ROWS);
    let stand = database.serve();
    let ask = |target: &str| get(stand.address(), target).ok();
    let next = |answer: &crate::wire::Answer| {
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
    stand.settle();
}

/// How often a text stands in bytes.
fn count(bytes: &[u8], text: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(text).count()
}

#[test]
fn an_answer_waits_for_its_reader_only_so_long() {
    let mut figures = Figures::of("clients that take nothing for the reader's timeout of 1 s");
    let database = Database::with_flows(200_000);
    let stand = Stand::with_variables(&database.path(), &[("reader_timeout", "1")]);
    let mut stalled: Vec<_> = ["json", "xml", "ndjson", "csv"]
        .map(|format| {
            let mut wire = Wire::open(stand.address());
            wire.send(head_for(&format!("{FLOWS}.{format}"), &[]).as_bytes());
            wire
        })
        .into();
    let begun: Vec<_> = stalled.iter_mut().map(|wire| wire.read(1)).collect();
    assert!(begun.iter().all(|byte| byte == b"H"), "{begun:?}");
    assert!(stand.connections() > 0);
    stand.settle();
    for wire in &mut stalled {
        let rest = wire.read(usize::MAX >> 1);
        assert!(
            !rest.ends_with(b"\r\n0\r\n\r\n"),
            "ended as if it were whole"
        );
        figures.saw("connection cut off");
    }
    let log = stand.log();
    let said = log
        .lines()
        .filter(|line| line.contains("has taken nothing for 1 s"));
    assert_eq!((said.count(), log.lines().count()), (4, 4), "{log}");
    // A client that takes something now and then is waited for.
    let mut slow = Wire::open(stand.address());
    let close = &[("Connection", "close")];
    slow.send(head_for(&format!("{FLOWS}.ndjson?limit=60000"), close).as_bytes());
    let mut body = Vec::new();
    for _ in 0..20 {
        body.extend(slow.read(600_000));
        std::thread::sleep(Duration::from_millis(150));
    }
    body.extend(slow.read(usize::MAX >> 1));
    assert!(
        body.ends_with(b"\r\n0\r\n\r\n"),
        "cut off after {} bytes",
        body.len()
    );
    stand.settle();
    figures.print();
}

#[test]
fn an_answer_that_nobody_takes_keeps_the_write_ahead_log_for_a_minute() {
    let mut figures =
        Figures::of("a client that takes nothing, beside a writer with a write-ahead log");
    let database = Database::with_flows(200_000);
    let stand = database.serve();
    let mut stalled = Wire::open(stand.address());
    stalled.send(head_for(&format!("{FLOWS}.ndjson"), &[]).as_bytes());
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
    figures.saw("log kept for a minute");
    // The edit beside it is seen from then on.
    received.extend(stalled.read(usize::MAX >> 1));
    assert!(
        !received.ends_with(b"\r\n0\r\n\r\n"),
        "ended as if it were whole"
    );
    assert!(stand.log().contains("edited while"), "{}", stand.log());
    assert_eq!(
        get(stand.address(), &format!("{FLOWS}?limit=1")).end,
        End::Clean
    );
    stand.settle();
    figures.print();
}

#[test]
fn the_log_says_how_each_answer_has_ended() {
    let database = Database::with_flows(200_000);
    let stand = Stand::with_variables(&database.path(), &[("log_requests", "on")]);
    let line = |what: &str| {
        wait_until(what, || stand.log().lines().any(|line| line.contains(what)));
        let log = stand.log();
        let line = log.lines().find(|line| line.contains(what));
        line.unwrap_or_default().to_owned()
    };
    // A statement behind the first page's fails: the answer has begun, and is cut off.
    let cut = format!("{FLOWS}.ndjson?scanned_after=1");
    stand
        .faults()
        .plan(Point::Row, 6..=6, Fault::Fail("disk I/O error".to_owned()));
    let answer = get(stand.address(), &cut);
    assert_eq!((answer.status, answer.end), (200, End::Cut), "{answer:?}");
    assert!(line("disk under the database").contains(&cut));
    let said = line(", cut off");
    assert!(said.starts_with(&format!("GET {cut} 200 ")), "{said}");
    stand.faults().clear();
    // A client that leaves, with most of its answer still to come.
    let mut wire = Wire::open(stand.address());
    wire.send(head_for(&format!("{FLOWS}.csv"), &[]).as_bytes());
    assert_eq!(wire.read(1), b"H");
    drop(wire);
    let said = line(" 499 ");
    assert!(said.starts_with(&format!("GET {FLOWS}.csv 499 ")), "{said}");
    stand.settle();
}
