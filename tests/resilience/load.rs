//! 64 connections that never pause: no error, and memory that stays flat.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::database::Database;
use support::process::ServerProcess;
use support::random::Random;
use support::records::ArrowStream;
use support::tally::{Tally, short_or_long};
use support::wire::Wire;
use support::{FLOWS, FORMATS};

const CONNECTIONS: usize = 64;
const FLOWS_STORED: u32 = 60_000;

/// How much memory may rise from the first tenth of the time to the last, in MiB: how many instances the
/// host has at once is a matter of chance, and its pool keeps 2.5 MiB of each.
const MORE: u64 = CONNECTIONS as u64 * 5 / 2;

/// A window, and how many flows SQL finds in it.
struct Window {
    query: String,
    flows: i64,
}

/// From a second to a good part of the table, with and without filters.
#[track_caller]
fn windows(database: &Database) -> Vec<Window> {
    let mut windows = Vec::new();
    for (after, before) in [
        (0, 1),
        (500, 501),
        (7_000, 7_009),
        (100, 400),
        (2_000, 5_000),
    ] {
        let window = format!("time > {after} AND time <= {before}");
        let query = format!("scanned_after={after}&scanned_before={before}");
        for (filter, condition) in [
            ("", "1"),
            ("&protocol=6", "protocol = 6"),
            ("&src_port=N7&src_port=N8", "src_port IN ('N7', 'N8')"),
            ("&after_id=1000", "id > 1000"),
        ] {
            let count = format!("SELECT count(*) FROM flows WHERE {window} AND {condition}");
            windows.push(Window {
                query: format!("{query}{filter}"),
                flows: database.integer(&count),
            });
        }
    }
    assert!(windows.iter().any(|window| window.flows > 5_000));
    windows
}

/// Records in a body, counted by what each has once.
fn count(format: &str, body: &[u8]) -> i64 {
    let lines = body.iter().filter(|b| **b == b'\n').count() as i64;
    match format {
        "json" if body == b"[]" => 0,
        "json" => lines + 1,
        "csv" => lines - 1,
        "xml" if body.ends_with(b"<records/>") => 0,
        "xml" => lines - 2,
        "arrow" => ArrowStream::read(body).expect("a stream").records().len() as i64,
        _ => lines,
    }
}

/// What one connection has seen.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    codings: BTreeMap<String, usize>,
}

#[track_caller]
fn ask_until(end: Instant, process: &ServerProcess, windows: &[Window], seed: u64) -> Seen {
    let mut random = Random(seed);
    let mut wire = Wire::open(process.address());
    let mut seen = Seen::default();
    while Instant::now() < end {
        let window = &windows[random.below(windows.len())];
        let format = FORMATS[random.below(FORMATS.len())];
        let coding = ["identity", "gzip"][random.below(2)];
        let target = format!("{FLOWS}.{format}?{}", window.query);
        let asked = Instant::now();
        let answer = wire.ask(&target, &[("Accept-Encoding", coding)]).ok();
        seen.latencies.push(asked.elapsed());
        let flows = count(format, &answer.decoded());
        assert_eq!(flows, window.flows, "{answer:?}");
        *seen.codings.entry(format!("200 {coding}")).or_default() += 1;
    }
    seen
}

#[test]
fn sixty_four_connections_see_no_error_and_memory_stays_flat() {
    let time = Duration::from_secs(short_or_long(4, 120));
    let mut tally = Tally::of(format!("{CONNECTIONS} connections for {time:?}"));
    let database = Database::generated(FLOWS_STORED);
    let windows = windows(&database);
    let mut process = ServerProcess::serve(&database);
    // What each instance and thread needs once is no growth.
    run(&process, &windows, time.min(Duration::from_secs(20)));
    let memory = Mutex::new(Vec::new());
    let start = Instant::now();
    let mut seen = std::thread::scope(|scope| {
        let clients = scope.spawn(|| run(&process, &windows, time));
        while !clients.is_finished() {
            let resident = process.resident();
            memory
                .lock()
                .expect("no panic")
                .push((start.elapsed(), resident));
            std::thread::sleep(Duration::from_millis(20));
        }
        clients.join().expect("no error")
    });
    let memory = memory.into_inner().expect("no panic");
    let median = |from: Duration, to: Duration| {
        let within = memory.iter().filter(|(at, _)| (from..to).contains(at));
        let mut within: Vec<_> = within.map(|(_, resident)| resident >> 10).collect();
        within.sort_unstable();
        within.get(within.len() / 2).copied().unwrap_or(0)
    };
    let (first, last) = (
        median(Duration::ZERO, time / 10),
        median(time - time / 10, time),
    );
    seen.latencies.sort_unstable();
    let count = seen.latencies.len();
    assert!(count > CONNECTIONS, "{count} answers");
    let part = |hundredths: usize| seen.latencies[(count - 1) * hundredths / 100];
    for (what, times) in seen.codings {
        tally.saw_times(what, times);
    }
    tally.note(format!(
        "p50 {:.1?}, p99 {:.1?}, longest {:.1?}; memory {} MiB in the first tenth, {} MiB in the last",
        part(50),
        part(99),
        part(100),
        first,
        last
    ));
    assert!(last <= first + MORE, "memory rises: {tally}");
    assert_eq!(process.held().trapped, 0);
    tally.print();
}

/// Has every connection ask for so long.
#[track_caller]
fn run(process: &ServerProcess, windows: &[Window], time: Duration) -> Seen {
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CONNECTIONS as u64)
            .map(|i| scope.spawn(move || ask_until(end, process, windows, i * 0x9e37_79b9)))
            .collect();
        let mut all = Seen::default();
        for client in clients {
            let seen = client.join().expect("no error");
            all.latencies.extend(seen.latencies);
            for (what, times) in seen.codings {
                *all.codings.entry(what).or_default() += times;
            }
        }
        all
    })
}
