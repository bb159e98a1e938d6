//! A load into the table that is being read: every answer is a whole prefix of the table, by id.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::database::Database;
use support::records::{Record, id, parse, time};
use support::server::TestServer;
use support::tally::{Tally, short_or_long};
use support::wire::{Response, Wire};
use support::{FLOWS, FORMATS};

/// Lines of a file; a load of one is one commit.
const LINES: u64 = 4_000;

/// What each side does at least, however slow the machine.
const ROUNDS: usize = 3;

#[track_caller]
fn records(format: &str, answer: &Response) -> Vec<Record> {
    let records = parse(format, &answer.decoded());
    records.unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// The watermark; 0 for an empty table, where it is the least integer: the first id is 1.
#[track_caller]
fn watermark(answer: &Response) -> i64 {
    answer.watermark().max(0)
}

/// Loads file after file until told to stop, and returns how many.
fn load_files(database: &Database, stop: &AtomicBool) -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files = 0;
    while !stop.load(Ordering::Relaxed) || files < ROUNDS as u64 {
        let path = folder.path().join(format!("{files}.txt"));
        let mut lines = Vec::new();
        flows::generate::generate(LINES, files, &mut lines).expect("lines");
        std::fs::write(&path, lines).expect("a file");
        let request = flows::load::Load {
            files: vec![path.clone()],
            db: database.path().to_owned(),
            ..Default::default()
        };
        let summary = flows::load::load(&request);
        let summary = summary.unwrap_or_else(|error| panic!("file {files}: {error:#}"));
        assert_eq!(summary.rows, LINES, "{summary}");
        std::fs::remove_file(path).expect("the file");
        files += 1;
        // In the long run the table stays small enough to be read whole again and again.
        std::thread::sleep(Duration::from_millis(short_or_long(20, 200)));
    }
    files
}

/// Windows without bounds: the ids are 1 to the watermark, each once, in the order of `(time, id)`.
#[track_caller]
fn read_whole(server: &TestServer, round: usize) -> i64 {
    let format = FORMATS[round % FORMATS.len()];
    let coding = ["identity", "gzip"][round / 4 % 2];
    let mut wire = Wire::open(server.address());
    let target = format!("{FLOWS}.{format}");
    let answer = wire.ask(&target, &[("Accept-Encoding", coding)]).ok();
    let records = records(format, &answer);
    let ids: BTreeSet<_> = records.iter().map(id).collect();
    let until = watermark(&answer);
    assert_eq!(
        records.len() as i64,
        until,
        "missing or repeated: {answer:?}"
    );
    assert_eq!(ids.len() as i64, until, "repeated: {answer:?}");
    assert_eq!(ids.first().copied(), (until > 0).then_some(1), "{answer:?}");
    assert_eq!(ids.last().copied(), (until > 0).then_some(until));
    let key = |record: &Record| (time(record), id(record));
    let ordered = records.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]));
    assert!(ordered, "out of order: {answer:?}");
    until
}

/// The arrival feed from one watermark to the next: the ids go on where they stopped.
#[track_caller]
fn read_arrivals(server: &TestServer, round: usize, after: i64) -> i64 {
    let format = FORMATS[round % FORMATS.len()];
    let answer = server
        .get(&format!("{FLOWS}.{format}?after_id={after}"))
        .ok();
    let until = watermark(&answer);
    let ids = records(format, &answer).iter().map(id).collect::<Vec<_>>();
    assert!(
        ids.iter().copied().eq(after + 1..=until),
        "after {after}: {answer:?}"
    );
    until
}

/// Portions: from the first to the last they are the prefix that was there when the first was asked for.
#[track_caller]
fn read_portions(server: &TestServer, limit: i64) -> i64 {
    let mut target = format!("{FLOWS}.ndjson?limit={limit}");
    let mut ids = Vec::new();
    let until = loop {
        let answer = server.get(&target).ok();
        ids.extend(records("ndjson", &answer).iter().map(id));
        let link = answer.header("link").split(['<', '>']).nth(1);
        let Some(next) = link else {
            break watermark(&answer);
        };
        target = format!("/api/v1/stream/{next}");
    };
    ids.sort_unstable();
    assert!(
        ids.iter().copied().eq(1..=until),
        "portions of {limit} up to {until}"
    );
    until
}

#[test]
fn every_answer_beside_a_load_is_a_whole_prefix_of_the_table() {
    let time = Duration::from_secs(short_or_long(5, 120));
    let mut tally = Tally::of(format!("flows load beside the service for {time:?}"));
    let database = Database::generated(0);
    let server = database.serve();
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let going = |rounds| start.elapsed() < time || rounds < ROUNDS;
    let (files, whole, (polls, fed), portions) = std::thread::scope(|scope| {
        let loader = scope.spawn(|| load_files(&database, &stop));
        let whole = scope.spawn(|| {
            let mut round = 0;
            while going(round) {
                read_whole(&server, round);
                round += 1;
            }
            round
        });
        let arrivals = scope.spawn(|| {
            let (mut polls, mut after) = (0, 0);
            while going(polls) {
                after = read_arrivals(&server, polls, after);
                polls += 1;
            }
            (polls, after)
        });
        let portions = scope.spawn(|| {
            let (mut rounds, mut until) = (0, 10_000);
            while going(rounds) {
                until = read_portions(&server, until / 7 + 100);
                rounds += 1;
            }
            rounds
        });
        // The loader goes on until the last reader is done, also where one has failed.
        let joined = (whole.join(), arrivals.join(), portions.join());
        stop.store(true, Ordering::Relaxed);
        let files = loader.join().expect("no error of the loader");
        (
            files,
            joined.0.expect("whole answers"),
            joined.1.expect("arrivals"),
            joined.2.expect("portions"),
        )
    });
    let rows = database.integer("SELECT count(*) FROM flows");
    assert_eq!(rows, (files * LINES) as i64);
    assert_eq!(read_arrivals(&server, 0, fed), rows, "the last arrivals");
    assert_eq!(read_whole(&server, 2), rows);
    assert_eq!(server.trapped(), 0);
    assert_eq!(server.log(), "");
    server.settle();
    tally.saw_times("whole window, a prefix", whole);
    tally.saw_times("arrivals, each once", polls);
    tally.saw_times("all portions, a prefix", portions);
    tally.note(format!("{files} loads, {rows} flows"));
    tally.print();
}
