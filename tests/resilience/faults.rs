//! The database fails, stalls, goes away or traps, at each point of an answer of several pages.
//!
//! Every try has a server of its own, so that the k-th pass of a point is the same one each time, and the
//! fault is known to have struck. Which points there are is found by counting an answer without a fault.

use std::time::Duration;

use support::FLOWS;
use support::database::Database;
use support::records::parse;
use support::server::{TestServer, is_wasip3};
use support::tally::{Tally, is_soak};
use support::wire::{End, Response, Wire, head_for, inflate, wait_until};
use test_host::faults::{Fault, Point};

/// Pages of 500, 3,000 and 2,700, over WASI 0.2 of 500, 4,500 and 1,200.
const COUNT: u32 = 6_200;

/// Servers kept until their instances have gone, so that a leak is seen and not waited for each time.
const WAITING: usize = 40;

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    format: &'static str,
    query: &'static str,
    gzip: bool,
}

const FORMATS: [Asked; 5] = [
    asked("json", "", false),
    asked("xml", "", false),
    asked("ndjson", "", false),
    asked("csv", "", false),
    asked("ndjson", "", true),
];

/// Other ways through the pages: where a limit cuts, filters that look at many rows, the arrival feed.
const QUESTIONS: [Asked; 4] = [
    asked("ndjson", "limit=3000", false),
    asked("csv", "protocol=6", false),
    asked("json", "after_id=9&src_port=N7", false),
    asked("xml", "after_id=100&limit=2600", true),
];

const fn asked(format: &'static str, query: &'static str, gzip: bool) -> Asked {
    Asked {
        format,
        query,
        gzip,
    }
}

impl Asked {
    #[track_caller]
    fn of(self, server: &TestServer) -> Response {
        let Self { format, query, .. } = self;
        let target = format!("{FLOWS}?format={format}&{query}");
        let target = target.trim_end_matches('&');
        let coding = if self.gzip { "gzip" } else { "identity" };
        Wire::open(server.address()).ask(target, &[("Accept-Encoding", coding)])
    }

    /// How often each point is passed by a whole answer, and the answer.
    #[track_caller]
    fn passes(self, database: &Database) -> ([usize; 5], Response) {
        let server = database.serve();
        let whole = self.of(&server).ok();
        let passes = Point::ALL.map(|point| server.faults().passed(point));
        assert!(passes.iter().all(|n| *n > 0), "{self:?}: {passes:?}");
        (passes, whole)
    }
}

/// Strikes once at each pass of each point, and has `judge` say what the client saw.
#[track_caller]
fn strike_everywhere(
    tally: &mut Tally,
    fault: &Fault,
    judge: impl Fn(Asked, &Response, &Response) -> &'static str,
) {
    let database = Database::generated(COUNT);
    let more = if is_soak() { &QUESTIONS[..] } else { &[] };
    let mut waiting = Vec::new();
    for asked in FORMATS.iter().chain(more).copied() {
        let (passes, whole) = asked.passes(&database);
        for (point, passes) in Point::ALL.into_iter().zip(passes) {
            for nth in 1..=passes {
                let server = database.serve();
                server.faults().plan(point, nth..=nth, fault.clone());
                let answer = asked.of(&server);
                let place = format!("{fault:?} at {point:?} {nth} of {passes}, {asked:?}");
                assert_eq!(server.faults().struck(), 1, "{place}: {answer:?}");
                // A statement's thread that dies before it has begun is an error to the guest, no trap.
                let unannounced = !answer.is_problem() && answer.end == End::Clean;
                let traps = usize::from(*fault == Fault::Trap && unannounced);
                wait_until(&place, || server.trapped() >= traps);
                assert_eq!(server.trapped(), traps, "{place}: {answer:?}");
                tally.saw(judge(asked, &answer, &whole));
                server.faults().clear();
                let next = asked.of(&server);
                assert!(
                    next.status == 200 && next.end == End::Clean && next.body == whole.body,
                    "{place}, the next request: {next:?}"
                );
                waiting.push(server);
                if waiting.len() >= WAITING {
                    waiting.drain(..).for_each(|server| server.settle());
                }
            }
        }
    }
    waiting.drain(..).for_each(|server| server.settle());
}

/// An answer that has failed must look failed.
#[track_caller]
fn failed(_: Asked, answer: &Response, whole: &Response) -> &'static str {
    if answer.is_problem() {
        return if answer.status == 503 {
            "503 problem"
        } else {
            "500 problem"
        };
    }
    assert!(
        matches!(answer.status, 0 | 200) && answer.end == End::Cut,
        "neither a problem nor cut off: {answer:?}"
    );
    assert!(
        whole.body.starts_with(&answer.body),
        "other flows than those stored: {answer:?}"
    );
    // The host may not have sent the head yet, least of all where gzip is still collecting.
    if answer.status == 0 {
        "connection cut off before the head"
    } else {
        "200, connection cut off"
    }
}

#[test]
fn an_error_of_the_database_is_an_error_status_or_a_cut_connection() {
    for message in [
        "disk I/O error",
        "database is locked",
        "database disk image is malformed",
        "no such table: flows",
        "interrupted",
    ] {
        let mut tally = Tally::of(format!(
            "database says \"{message}\" once, at each point of an answer"
        ));
        strike_everywhere(&mut tally, &Fault::Fail(message.into()), failed);
        tally.print();
        if !is_soak() && message == "database is locked" {
            break;
        }
    }
}

#[test]
fn a_connection_that_is_gone_is_not_used_again() {
    let mut tally = Tally::of("connection gone, at each point of an answer");
    strike_everywhere(&mut tally, &Fault::Gone, failed);
    tally.print();
}

#[test]
fn a_page_that_is_too_large_once_is_read_again_in_parts() {
    let mut tally = Tally::of("row above the host's limit once, at each point of an answer");
    let fault = Fault::Fail("query result exceeds limit of 134217728 bytes".into());
    strike_everywhere(&mut tally, &fault, |asked, answer, whole| {
        if answer.status == 200 && answer.end == End::Clean {
            // The pages differ, and with them where gzip was flushed.
            assert_eq!(answer.decoded(), whole.decoded(), "{asked:?}: {answer:?}");
            return "whole answer";
        }
        failed(asked, answer, whole)
    });
    assert!(tally.count("whole answer") > 0, "{tally}");
    tally.print();
}

#[test]
fn a_database_that_stalls_delays_the_answer_and_nothing_else() {
    let mut tally = Tally::of("database stalls for 30 ms, at each point of an answer");
    let fault = Fault::Delay(Duration::from_millis(30));
    strike_everywhere(&mut tally, &fault, |asked, answer, whole| {
        let same = answer.status == 200 && answer.end == End::Clean && answer.body == whole.body;
        assert!(same, "{asked:?}: {answer:?}");
        "whole answer"
    });
    tally.print();
}

/// A trap is the one fault that the component cannot tell the client of: the host ends the body cleanly.
#[test]
fn a_trap_is_a_500_or_an_answer_that_json_xml_and_gzip_readers_reject() {
    let mut tally = Tally::of("trap, at each point of an answer");
    strike_everywhere(&mut tally, &Fault::Trap, |asked, answer, whole| {
        if answer.is_problem() {
            return "500 problem";
        }
        if answer.status == 500 {
            assert_eq!(answer.body, b"", "{answer:?}");
            return "500 by the host";
        }
        if answer.status == 0 {
            return "connection cut off before the head";
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.body.len() < whole.body.len() && whole.body.starts_with(&answer.body),
            "a trap, and yet more than a part of the answer: {answer:?}"
        );
        if answer.end == End::Cut {
            return "200, connection cut off";
        }
        if asked.gzip {
            assert!(inflate(&answer.body).is_err(), "{answer:?}");
            return "200, ended by the host, gzip reader rejects it";
        }
        if matches!(asked.format, "ndjson" | "csv") {
            return "200, ended by the host: short and clean in ndjson or csv";
        }
        let parsed = parse(asked.format, &answer.body);
        assert!(parsed.is_err(), "a parser takes it for whole: {answer:?}");
        "200, ended by the host, the parser rejects it"
    });
    assert!(tally.count("500 by the host") > 0, "{tally}");
    let rejected = "200, ended by the host, the parser rejects it";
    assert!(tally.count(rejected) > 0, "{tally}");
    tally.print();
}

#[test]
fn a_writer_that_locks_the_database_in_the_middle_of_an_answer_cuts_it_off() {
    let mut tally = Tally::of("writer holds an exclusive lock in the middle of an answer");
    // Many more flows than socket buffers hold, and no write-ahead log, which would let both work.
    let database = Database::generated(200_000);
    database.execute("PRAGMA journal_mode = DELETE");
    let server = database.serve();
    let mut readers: Vec<_> = support::FORMATS
        .iter()
        .map(|format| {
            let mut wire = Wire::open(server.address());
            wire.send(head_for(&format!("{FLOWS}.{format}"), &[]));
            wire
        })
        .collect();
    let begun: Vec<_> = readers.iter_mut().map(|wire| wire.read(1)).collect();
    assert!(begun.iter().all(|byte| byte == b"H"), "{begun:?}");
    let writer = database.connect();
    writer.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    for reader in &mut readers {
        let rest = reader.rest();
        assert!(
            !rest.ends_with(b"\r\n0\r\n\r\n") && rest.len() > 1000,
            "ended as if it were whole, {} bytes",
            rest.len()
        );
        tally.saw("200, connection cut off");
    }
    let answer = server.get(FLOWS);
    assert!(answer.is_problem() && answer.status == 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "5", "{answer:?}");
    tally.saw("503 problem with Retry-After");
    writer.execute_batch("COMMIT").expect("a commit");
    server.get(&format!("{FLOWS}?limit=3")).ok();
    assert_eq!(server.trapped(), 0, "{}", server.log());
    server.settle();
    tally.print();
}

/// Several requests for the same answer at a fresh instance, whose first one waits for the database.
#[track_caller]
fn asked_together(server: &TestServer) -> Vec<Response> {
    let patience = Fault::Delay(Duration::from_millis(200));
    server.faults().plan(Point::Open, 1..=1, patience);
    let ask = || server.get(&format!("{FLOWS}?limit=3"));
    std::thread::scope(|scope| {
        let first = scope.spawn(ask);
        wait_until("the first request", || {
            server.faults().passed(Point::Open) > 0
        });
        let rest: Vec<_> = (1..8).map(|_| scope.spawn(ask)).collect();
        let all = std::iter::once(first).chain(rest);
        all.map(|asked| asked.join().expect("an answer")).collect()
    })
}

#[test]
fn a_table_of_the_loaders_is_checked_by_its_first_page() {
    let database = Database::generated(10);
    let server = database.serve();
    for answer in asked_together(&server) {
        answer.ok();
    }
    // A page each, which brings along what is to be known of the table.
    assert_eq!(server.faults().passed(Point::Prepare), 8);
    // The host makes more than one when it is busy.
    let instances = server.started();
    assert_eq!(instances < 8, is_wasip3(), "{instances} instances");
}

#[test]
fn another_table_than_the_loaders_is_checked_once_by_requests_that_come_together() {
    let database = Database::generated(10);
    database.execute("CREATE INDEX by_source ON flows (src_comp)");
    let server = database.serve();
    for answer in asked_together(&server) {
        answer.ok();
    }
    // Each tries a page, and one of an instance asks for plan and types. Then a page each.
    let (statements, instances) = (server.faults().passed(Point::Prepare), server.started());
    assert!(
        statements <= 2 * 8 + 2 * instances,
        "{statements} statements in {instances} instances"
    );
}

#[test]
fn a_check_that_fails_fails_the_request_that_made_it_and_no_other() {
    let database = Database::generated(10);
    let server = database.serve();
    let fault = Fault::Fail("database is locked".into());
    server.faults().plan(Point::Prepare, 1..=1, fault);
    let answers = asked_together(&server);
    let busy = answers.iter().filter(|answer| answer.status == 503);
    assert_eq!(busy.count(), 1, "{answers:?}");
    let whole = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(whole.count(), 7, "{answers:?}");
}
