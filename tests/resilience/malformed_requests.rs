//! Request heads that are none, over a raw socket: an error or a closed connection, and then business as
//! usual.

use std::io::Read as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use support::FLOWS;
use support::database::Database;
use support::random::Random;
use support::server::TestServer;
use support::tally::{Tally, short_or_long};
use support::wire::{End, PATIENCE, Wire, head_for};

/// Heads by what is wrong with them.
fn heads() -> Vec<(&'static str, Vec<u8>)> {
    let get = |rest: &str| format!("GET {FLOWS}?limit=1{rest}").into_bytes();
    let with = |header: &str| get(&format!(" HTTP/1.1\r\nHost: flows\r\n{header}\r\n\r\n"));
    let many = |n: usize| (0..n).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    vec![
        ("nothing", Vec::new()),
        ("line ends alone", b"\r\n\r\n\r\n\r\n".to_vec()),
        ("half a request line", b"GET /api".to_vec()),
        ("no end of the head", get(" HTTP/1.1\r\nHost: flows\r\n")),
        ("no host", get(" HTTP/1.1\r\n\r\n")),
        ("two hosts", with("Host: other")),
        ("an empty host", get(" HTTP/1.1\r\nHost:\r\n\r\n")),
        (
            "a host that is none",
            get(" HTTP/1.1\r\nHost: a b/c@:x\r\n\r\n"),
        ),
        ("HTTP/0.9", get("\r\n\r\n")),
        ("HTTP/1.0", get(" HTTP/1.0\r\n\r\n")),
        ("HTTP/9.9", get(" HTTP/9.9\r\nHost: flows\r\n\r\n")),
        (
            "HTTP/2 without more",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        (
            "HTTP/2 and noise",
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 4096]].concat(),
        ),
        (
            "TLS",
            [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 512]].concat(),
        ),
        ("line feeds alone", get(" HTTP/1.1\nHost: flows\n\n")),
        (
            "a NUL in the path",
            b"GET /\0 HTTP/1.1\r\nHost: flows\r\n\r\n".to_vec(),
        ),
        ("a NUL in a header", with("x: a\0b")),
        (
            "a header that is not UTF-8",
            [&with("x: ")[..], b""].concat(),
        ),
        (
            "a value that is not UTF-8",
            [
                &get(" HTTP/1.1\r\nHost: flows\r\nAccept: ")[..],
                &[0xff, 0xfe],
                b"\r\n\r\n",
            ]
            .concat(),
        ),
        (
            "a path that is not ASCII",
            [&b"GET /\xff\xc3 HTTP/1.1\r\nHost: flows\r\n\r\n"[..]].concat(),
        ),
        ("a header without a colon", with("no colon")),
        ("a header without a name", with(": value")),
        ("a folded header", with("x: a\r\n  b")),
        ("blanks before the colon", with("x : a")),
        (
            "a percent sign alone",
            get("&src_comp=%&x=%zz HTTP/1.1\r\nHost: flows\r\n\r\n"),
        ),
        (
            "percent-encoded noise",
            get("&src_comp=%ff%00%c3 HTTP/1.1\r\nHost: flows\r\n\r\n"),
        ),
        (
            "a path of 60 KB",
            get(&format!(
                "&x={} HTTP/1.1\r\nHost: flows\r\n\r\n",
                "a".repeat(60_000)
            )),
        ),
        (
            "a path of 1 MB",
            get(&format!(
                "&x={} HTTP/1.1\r\nHost: flows\r\n\r\n",
                "a".repeat(1_000_000)
            )),
        ),
        (
            "5,000 filters",
            get(&format!(
                "{} HTTP/1.1\r\nHost: flows\r\n\r\n",
                "&src_comp=C1".repeat(5_000)
            )),
        ),
        (
            "a header of 100 KB",
            with(&format!("x: {}", "a".repeat(100_000))),
        ),
        (
            "a header of 1 MB",
            with(&format!("x: {}", "a".repeat(1_000_000))),
        ),
        (
            "an Accept of 100 KB",
            with(&format!("Accept: {}", "a/b;q=0.1,".repeat(10_000))),
        ),
        (
            "an If-None-Match of 100 KB",
            with(&format!("If-None-Match: {}", "\"x\",".repeat(25_000))),
        ),
        (
            "a name of 100 KB",
            with(&format!("{}: a", "x".repeat(100_000))),
        ),
        ("99 headers", with(many(99).trim_end())),
        ("1,000 headers", with(many(1_000).trim_end())),
        ("100,000 headers", with(many(100_000).trim_end())),
        (
            "a method of 10 KB",
            format!("{} / HTTP/1.1\r\nHost: flows\r\n\r\n", "G".repeat(10_000)).into_bytes(),
        ),
        (
            "a method in small letters",
            b"get / HTTP/1.1\r\nHost: flows\r\n\r\n".to_vec(),
        ),
        (
            "CONNECT",
            b"CONNECT flows:80 HTTP/1.1\r\nHost: flows:80\r\n\r\n".to_vec(),
        ),
        (
            "OPTIONS *",
            b"OPTIONS * HTTP/1.1\r\nHost: flows\r\n\r\n".to_vec(),
        ),
        (
            "another authority",
            b"GET http://other/ HTTP/1.1\r\nHost: flows\r\n\r\n".to_vec(),
        ),
        ("a negative length", with("Content-Length: -1")),
        (
            "two lengths",
            with("Content-Length: 1\r\nContent-Length: 2"),
        ),
        (
            "a length and chunks",
            with("Content-Length: 1\r\nTransfer-Encoding: chunked"),
        ),
        (
            "a body that never comes",
            with("Content-Length: 9999999999"),
        ),
        (
            "a body that was not asked for",
            [&with("Content-Length: 5")[..], b"hello"].concat(),
        ),
        (
            "chunks that are none",
            [&with("Transfer-Encoding: chunked")[..], b"zz\r\nhello"].concat(),
        ),
        ("an unknown coding", with("Transfer-Encoding: rot13")),
        (
            "a body expected",
            with("Expect: 100-continue\r\nContent-Length: 3"),
        ),
        (
            "an upgrade",
            with("Connection: upgrade\r\nUpgrade: websocket"),
        ),
        ("a range", with("Range: bytes=0-1")),
        ("Spin's own header", with("spin-full-url: http://other/")),
    ]
}

/// Ends the connection behind a head that leaves it open.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: flows\r\nConnection: close\r\n\r\n";

/// When a server that says nothing is told that nothing follows. It drops a request whose client has closed
/// its half, so this has to come late; how late decides what is seen and not whether the test passes.
const SILENCE: Duration = Duration::from_millis(250);

/// Sends a head and a last request, and says what comes back before the server hangs up.
#[track_caller]
fn send(server: &TestServer, case: &str, head: &[u8]) -> String {
    let start = Instant::now();
    let mut wire = Wire::open(server.address());
    // The server may answer and hang up before it has taken all.
    _ = wire.send(head) && wire.send(LAST);
    _ = wire.socket().set_read_timeout(Some(SILENCE));
    let mut open = true;
    let mut came = Vec::new();
    let mut bytes = [0; 1 << 14];
    loop {
        match wire.socket().read(&mut bytes) {
            Ok(0) => break,
            Ok(n) => came.extend(&bytes[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) if open => {
                let silent = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                assert!(silent.contains(&error.kind()), "{case}: {error}");
                open = false;
                _ = wire.socket().set_read_timeout(Some(PATIENCE));
                _ = wire.socket().shutdown(Shutdown::Write);
            }
            Err(error) => panic!("{case}: {error} after {:?}", start.elapsed()),
        }
    }
    assert!(start.elapsed() < PATIENCE, "{case}: {:?}", start.elapsed());
    assert_eq!(server.trapped(), 0, "{case}: {}", server.log());
    if !came.starts_with(b"HTTP/1.") {
        // HTTP/2 says goodbye in frames of its own.
        return "connection closed".into();
    }
    let came = String::from_utf8_lossy(&came);
    let status = came.get(9..12).unwrap_or("");
    // The host answers with a 500 where a header is no text; the component has no cause to.
    let mut answers = came.split("HTTP/1.1 ");
    let fault = answers.find(|a| a.starts_with('5') && a.contains("application/problem+"));
    assert_eq!(fault, None, "{case}: {came}");
    format!("status {status}")
}

#[track_caller]
fn works(server: &TestServer, case: &str) {
    let answer = server.get(&format!("{FLOWS}?limit=1"));
    assert!(
        answer.status == 200 && answer.end == End::Clean,
        "after {case}: {answer:?}"
    );
}

#[test]
fn a_malformed_or_oversized_head_is_refused_and_the_next_request_works() {
    let mut tally = Tally::of("malformed and oversized heads");
    let database = Database::generated(10);
    let server = database.serve();
    for (case, head) in heads() {
        tally.saw(send(&server, case, &head));
        works(&server, case);
    }
    server.settle();
    tally.print();
}

#[test]
fn a_head_with_noise_in_it_is_answered_or_refused_and_the_next_request_works() {
    let count = short_or_long(400, 20_000);
    let mut tally = Tally::of("heads with random bytes changed");
    let database = Database::generated(10);
    let server = database.serve();
    let good = head_for(
        &format!("{FLOWS}?scanned_after=0&limit=2&format=xml&cursor=AAAA"),
        &[
            ("Accept", "text/csv;q=0.5, */*"),
            ("Accept-Encoding", "gzip;q=1"),
            ("If-None-Match", "\"1.2.3\""),
        ],
    );
    let mut random = Random(0x5eed);
    for i in 0..count {
        let mut head = good.clone().into_bytes();
        for _ in 0..=random.below(4) {
            let at = random.below(head.len());
            match random.below(3) {
                0 => head[at] = random.below(256) as u8,
                1 => head.insert(at, random.below(256) as u8),
                _ => drop(head.remove(at)),
            }
        }
        let case = String::from_utf8_lossy(&head).into_owned();
        tally.saw(send(&server, &case, &head));
        if i % 16 == 0 {
            works(&server, &case);
        }
    }
    works(&server, "all of them");
    server.settle();
    tally.print();
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_answered() {
    let database = Database::generated(10);
    let server = database.serve();
    let mut wire = Wire::open(server.address());
    wire.socket().set_nodelay(true).expect("no delay");
    for byte in head_for(&format!("{FLOWS}?limit=1"), &[]).as_bytes() {
        assert!(wire.send([*byte]));
        std::thread::sleep(Duration::from_millis(2));
    }
    wire.answer().ok();
}

#[test]
fn a_hundred_requests_in_one_go_get_a_hundred_answers_in_order() {
    let database = Database::generated(200);
    let server = database.serve();
    let mut wire = Wire::open(server.address());
    let heads = (1..=100).map(|n| head_for(&format!("{FLOWS}.csv?limit={n}"), &[]));
    assert!(wire.send(heads.collect::<String>().as_bytes()));
    for n in 1..=100 {
        let answer = wire.answer().ok();
        let lines = answer.body.iter().filter(|b| **b == b'\n').count();
        assert_eq!(lines, n + 1, "{answer:?}");
    }
    assert_eq!(server.trapped(), 0);
}
