//! The server ends in the middle of an answer: what a client sees.
//!
//! A process that is killed cuts every connection. A server that is told to stop takes its instances and
//! connections down in any order, so a body may still end as if it were complete (design of the host, not
//! of the component): JSON, XML and gzip readers notice.

use support::database::Database;
use support::process::ServerProcess;
use support::records::parse;
use support::tally::{Tally, short_or_long};
use support::wire::{End, Response, Wire, head_for};
use support::{FLOWS, FORMATS};

/// Far more than socket buffers hold.
const MANY: u32 = 200_000;

/// A client that has begun to read an answer and has not got far.
#[track_caller]
fn begun(address: std::net::SocketAddr, format: &str) -> Wire {
    let mut wire = Wire::open(address);
    wire.send(head_for(&format!("{FLOWS}.{format}"), &[]));
    wire.wait_for_bytes();
    wire
}

fn seen(format: &str, answer: &Response) -> &'static str {
    if answer.end == End::Cut {
        return "connection cut off";
    }
    if matches!(format, "ndjson" | "csv") {
        return "ended by the host: short and clean in ndjson or csv";
    }
    let parsed = parse(format, &answer.body);
    assert!(parsed.is_err(), "a parser takes it for whole: {answer:?}");
    "ended by the host, the parser rejects it"
}

#[test]
fn a_server_that_stops_ends_every_answer_at_once() {
    let mut tally = Tally::of("server told to stop in the middle of an answer");
    let database = Database::generated(MANY);
    for _ in 0..short_or_long(5, 50) {
        let server = database.serve();
        let mut readers = FORMATS.map(|format| (format, begun(server.address(), format)));
        drop(server);
        for (format, wire) in &mut readers {
            tally.saw(seen(format, &wire.answer()));
        }
    }
    tally.print();
}

#[test]
fn a_server_that_is_killed_cuts_every_connection() {
    let mut tally = Tally::of("server killed in the middle of an answer");
    let database = Database::generated(MANY);
    for _ in 0..short_or_long(3, 30) {
        let mut process = ServerProcess::serve(&database);
        let mut readers = FORMATS.map(|format| begun(process.address(), format));
        process.kill();
        for wire in &mut readers {
            let answer = wire.answer();
            assert_eq!(answer.end, End::Cut, "{answer:?}");
            tally.saw("connection cut off");
        }
    }
    tally.print();
}
