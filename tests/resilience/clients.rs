//! Clients that leave, stall, or come all at once. Afterwards the server holds no more than before.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use support::database::Database;
use support::process::{Held, ServerProcess};
use support::random::Random;
use support::tally::{Tally, short_or_long};
use support::wire::{End, PATIENCE, Wire, get, head_for};
use support::{FLOWS, FORMATS};

/// How much more a server may hold when all is over, in KiB: what its allocator keeps of its free memory …
const MORE: u64 = 64 << 10;

/// … and what the host's pool keeps of each instance that it has had at once: 2 MiB of its memory and 512 KiB
/// of its tables. How many there are for so many clients is a matter of chance.
const MORE_EACH: u64 = 2560;

/// Flows in a large answer: some 40 MB, far more than socket buffers hold.
const MANY: u32 = 300_000;

/// An answer of a few pages.
const FEW: &str = "/api/v1/stream/flows?limit=5000";

/// Waits until the server is at rest, and asserts that nothing has been left behind.
#[track_caller]
fn at_rest_again(process: &mut ServerProcess, before: &Held, at_once: u64, tally: &mut Tally) {
    let after = process.settle(before);
    assert_eq!(after.trapped, 0, "{after:?}");
    assert!(
        after.resident <= before.resident + MORE + at_once * MORE_EACH,
        "{} KiB before, {} KiB after: {tally}",
        before.resident,
        after.resident
    );
    tally.note(format!(
        "memory {} MiB before, {} MiB after; connections {}, threads {} as at the start",
        before.resident >> 10,
        after.resident >> 10,
        after.connections,
        after.threads,
    ));
    process.get(&format!("{FLOWS}?limit=3")).ok();
}

/// A server at rest after so many clients at once have asked for `target`: the host keeps 2 MiB of each
/// instance that it has ever had at the same time, and its allocator keeps what they needed.
#[track_caller]
fn warm(database: &Database, at_once: usize, target: &str) -> (ServerProcess, Held) {
    let mut process = ServerProcess::serve(database);
    all_at_once(process.address(), at_once, target);
    let before = process.at_rest();
    (process, before)
}

/// Has so many clients ask at once; every one gets the whole answer.
#[track_caller]
fn all_at_once(address: SocketAddr, clients: usize, target: &str) {
    let whole = get(address, target).ok().body;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let answer = get(address, target).ok();
                assert!(answer.body == whole, "another answer: {answer:?}");
            });
        }
    });
}

/// Reads so many bytes and leaves.
fn leave_after(address: SocketAddr, target: &str, bytes: usize) -> usize {
    let mut wire = Wire::open(address);
    wire.send(head_for(target, &[]));
    let mut there = vec![0; bytes];
    wire.socket().read_exact(&mut there).map_or(0, |()| bytes)
}

#[test]
fn a_client_that_leaves_after_any_byte_leaves_nothing_behind() {
    let database = Database::generated(MANY);
    let (mut process, before) = warm(&database, 16, FEW);
    let mut tally = Tally::of("client leaves after each byte of a small answer");
    for format in short_or_long(&["json"][..], &FORMATS[..]) {
        let target = format!("{FLOWS}.{format}?limit=3");
        let mut wire = Wire::open(process.address());
        wire.send(head_for(&target, &[("Connection", "close")]));
        let length = wire.read(1 << 20).len();
        assert!(length > 500, "{length}");
        for bytes in 0..=length - "connection: close\r\n".len() {
            assert_eq!(leave_after(process.address(), &target, bytes), bytes);
            tally.saw("what it waited for");
        }
    }
    at_rest_again(&mut process, &before, 16, &mut tally);
    tally.print();

    let mut tally = Tally::of("client leaves after random bytes of a large answer");
    let mut random = Random(7);
    for i in 0..short_or_long(60, 1_000) {
        let target = format!("{FLOWS}.{}", FORMATS[i % FORMATS.len()]);
        let bytes = random.below(15_000_000);
        assert_eq!(leave_after(process.address(), &target, bytes), bytes);
        tally.saw("what it waited for");
    }
    at_rest_again(&mut process, &before, 16, &mut tally);
    tally.print();
}

#[test]
fn a_client_that_has_said_all_it_will_gets_the_whole_answer_or_a_cut_connection() {
    let database = Database::generated(MANY);
    let (mut process, before) = warm(&database, 16, FEW);
    let mut tally = Tally::of("client closes its half after the request");
    for i in 0..short_or_long(20, 200) {
        let query = if i % 2 == 0 {
            "limit=3"
        } else {
            "limit=100000"
        };
        let target = format!("{FLOWS}.{}?{query}", FORMATS[i / 2 % FORMATS.len()]);
        let whole = process.get(&target).ok().body;
        let mut wire = Wire::open(process.address());
        wire.send(head_for(&target, &[]));
        wire.socket()
            .shutdown(Shutdown::Write)
            .expect("half closed");
        let answer = wire.answer();
        let seen = match answer.end {
            End::Clean => {
                assert!(answer.status == 200 && answer.body == whole, "{answer:?}");
                "200, whole"
            }
            End::Cut => "connection cut off",
        };
        tally.saw(seen);
    }
    at_rest_again(&mut process, &before, 16, &mut tally);
    tally.print();
}

#[test]
fn clients_that_read_a_byte_a_second_or_nothing_cost_neither_others_nor_memory() {
    let database = Database::generated(MANY);
    let (mut process, before) = warm(&database, 64, FEW);
    let mut tally = Tally::of("clients that read a byte a second, or nothing");
    let each = short_or_long(20, 60);
    let mut idle: Vec<_> = (0..2 * each)
        .map(|i| {
            let mut wire = Wire::open(process.address());
            let target = format!("{FLOWS}.{}", FORMATS[i % FORMATS.len()]);
            assert!(wire.send(head_for(&target, &[("Connection", "close")])));
            wire
        })
        .collect();
    let start = Instant::now();
    let time = Duration::from_secs(short_or_long(4, 60));
    let mut most = 0;
    let mut others = 0;
    let mut read = 0;
    while start.elapsed() < time {
        for wire in &mut idle[..each] {
            let byte = wire.read(1);
            assert_eq!(byte.len(), 1, "a slow client was cut off");
        }
        read += 1;
        let tick = Instant::now();
        while tick.elapsed() < Duration::from_secs(1) {
            process
                .get(&format!("{FLOWS}?scanned_after=5&scanned_before=6"))
                .ok();
            others += 1;
            most = most.max(process.held().resident);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(read > 0 && others > 0);
    // A client that stalls holds a page or three in three forms; none of it grows with the answer.
    let held = most.saturating_sub(before.resident) / (2 * each as u64);
    assert!(held < 8 << 10, "{held} KiB for each stalled client");
    tally.saw_times("bytes as fast as it asked for them", each);
    tally.saw_times("nothing", each);
    tally.note(format!(
        "{others} × 200 for others meanwhile; {held} KiB of memory for each"
    ));
    // A slow client that takes heart gets the whole answer.
    let mut first = idle.swap_remove(0);
    let rest = first.rest();
    assert!(
        rest.ends_with(b"\r\n0\r\n\r\n"),
        "cut off after {} bytes",
        rest.len()
    );
    drop(first);
    drop(idle);
    at_rest_again(&mut process, &before, 2 * each as u64, &mut tally);
    tally.print();
}

#[test]
fn three_hundred_clients_at_once_get_the_whole_answer_each() {
    let database = Database::generated(20_000);
    let target = |i: usize| {
        format!(
            "{FLOWS}.{}?limit={}",
            FORMATS[i % FORMATS.len()],
            [5_000, 200][i % 2]
        )
    };
    let (mut process, before) = warm(&database, 300, &target(0));
    let mut tally = Tally::of("300 clients at once");
    let mut longest = Duration::ZERO;
    for i in 0..short_or_long(3, 40) {
        let start = Instant::now();
        all_at_once(process.address(), 300, &target(i));
        longest = longest.max(start.elapsed());
        assert!(longest < PATIENCE, "{longest:?}");
        tally.saw_times("200, whole", 300);
    }
    tally.note(format!("all 300 after {longest:.1?} at most"));
    at_rest_again(&mut process, &before, 300, &mut tally);
    tally.print();
}
