//! Counts while something goes wrong: they are those of one state of the table, or visibly not there.

use support::database::Database;
use support::server::TestServer;
use support::tally::Tally;
use support::wire::{End, Response, Wire, get, head_for, wait_until};
use test_host::faults::{Fault, Point};

use crate::readers::statements_at_rest;

/// More than the pages that are counted before the head hold.
const ROWS: u32 = 600_000;
/// Pages before the head, a few statements at the start, and what is under way when a client leaves.
const BEFORE_HEAD: usize = 110;
const HISTOGRAM: &str = "/api/v1/flows/histogram?buckets=1";
const TOP: &str = "/api/v1/flows/top?by=dst_comp&order=flows";

/// Asks for counts, and has something done when so many statements have been handed over.
fn asked_while(server: &TestServer, target: &str, nth: usize, meanwhile: impl Fn()) -> Response {
    let (faults, address) = (server.faults().clone(), server.address());
    faults.clear();
    faults.plan(Point::Execute, nth..=nth, Fault::Hold);
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || Wire::open(address).ask(target, &[]));
        wait_until("the statement is held", || faults.is_holding());
        meanwhile();
        faults.clear();
        asked.join().expect("an answer")
    })
}

#[test]
fn an_edit_under_counts_ends_them_without_a_write_ahead_log_and_is_not_seen_with_one() {
    let mut tally = Tally::of("edits while flows are counted");
    for journal in ["delete", "wal"] {
        let database = Database::generated(ROWS);
        database.execute(&format!("PRAGMA journal_mode = {journal}"));
        let server = database.serve();
        for target in [HISTOGRAM, TOP] {
            for nth in [20, 130] {
                let before = get(server.address(), target).ok();
                let answer = asked_while(&server, target, nth, || {
                    server
                        .execute("UPDATE flows SET byte_count = byte_count + 1 WHERE id = 599999");
                });
                match (journal, nth) {
                    ("wal", _) => {
                        assert_eq!(answer.ok().body, before.body, "{target}");
                        tally.saw("counts of the state before");
                    }
                    (_, 20) => {
                        let problem = answer.with_status(503);
                        assert!(problem.text().contains("edited while"), "{problem:?}");
                        tally.saw("503 before the head");
                    }
                    _ => {
                        assert_eq!((answer.status, answer.end), (200, End::Cut), "{target}");
                        tally.saw("connection cut off");
                    }
                }
            }
        }
    }
    tally.print();
}

#[test]
fn a_page_that_fails_is_a_status_before_the_head_and_a_cut_behind_it() {
    let mut tally = Tally::of("pages that fail while flows are counted");
    let server = Database::generated(ROWS).serve();
    let failure = Fault::Fail("disk I/O error".into());
    for target in [HISTOGRAM, TOP] {
        let whole = get(server.address(), target).ok();
        for nth in [20, 130] {
            server.faults().clear();
            server.faults().plan(Point::Row, nth..=nth, failure.clone());
            let answer = get(server.address(), target);
            let expected = if nth < BEFORE_HEAD {
                (503, End::Clean)
            } else {
                (200, End::Cut)
            };
            assert_eq!((answer.status, answer.end), expected, "{target}, {nth}");
            tally.saw(if nth < BEFORE_HEAD {
                "503"
            } else {
                "connection cut off"
            });
        }
        server.faults().clear();
        assert_eq!(get(server.address(), target).ok().body, whole.body);
    }
    tally.print();
}

#[test]
fn counting_stops_when_its_client_leaves() {
    let mut tally = Tally::of("clients that leave while flows are counted");
    // Pages grow for a client that keeps up: behind the head there are some three times as many statements as before.
    let server = Database::generated(5 * ROWS).serve();
    for target in [HISTOGRAM, TOP] {
        server.faults().clear();
        get(server.address(), target).ok();
        let stayed = statements_at_rest(&server);
        server.faults().clear();
        let mut wire = Wire::open(server.address());
        wire.send(head_for(target, &[]));
        wait_until("counting has begun", || {
            server.faults().passed(Point::Row) > 0
        });
        drop(wire);
        let left = statements_at_rest(&server);
        // The host tells only after the head that a client has left.
        assert!(
            stayed > 3 * BEFORE_HEAD && left <= BEFORE_HEAD,
            "{left} of {stayed} statements"
        );
        tally.saw_times("a statement behind the client's leaving", left);
        tally.note(format!("{stayed} statements for a client that stays"));
    }
    server.settle();
    tally.print();
}
