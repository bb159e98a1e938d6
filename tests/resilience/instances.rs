//! Over WASI 0.2 each request has an instance of its own, and the host allows so many.

use std::io::Read as _;

use support::FLOWS;
use support::database::Database;
use support::server::is_wasip3;
use support::tally::{Tally, short_or_long};
use support::wire::{End, Wire, get, head_for, wait_until};

#[test]
fn clients_that_stall_hold_every_instance_until_the_readers_timeout() {
    if is_wasip3() {
        // There an instance serves many requests.
        return;
    }
    let instances = short_or_long(40, 1000);
    // The first one still stalls when the last one has begun.
    let timeout = short_or_long(5, 20);
    let mut tally = Tally::of(format!("{instances} stalled clients, an instance each"));
    // More than the sockets between server and client hold.
    let database = Database::generated(200_000);
    let server =
        database.serve_with_instances(instances, &[("reader_timeout", &timeout.to_string())]);
    let mut stalled = Vec::new();
    for _ in 0..instances {
        let mut wire = Wire::narrow(server.address());
        wire.send(head_for(&format!("{FLOWS}.ndjson"), &[]));
        wire.wait_for_bytes();
        stalled.push(wire);
    }
    let window = format!("{FLOWS}?limit=3");
    let refused = get(server.address(), &window).with_status(500);
    assert_eq!(refused.body, b"", "the host's own answer: {refused:?}");
    tally.saw("500 by the host for one more");
    wait_until("an instance is free again", || {
        get(server.address(), &window).status == 200
    });
    server.settle();
    for mut wire in stalled {
        let cut = wire.answer();
        assert_eq!(cut.end, End::Cut, "{cut:?}");
        tally.saw("connection cut off");
    }
    assert_eq!(server.trapped(), 0, "{}", server.log());
    tally.print();
}

/// Were head and body handed over one by one, each would be a packet, and the client would often wait for the second.
#[test]
fn head_and_body_of_a_short_answer_arrive_together() {
    let server = Database::generated(3_000).serve();
    for target in [
        format!("{FLOWS}?limit=100"),
        format!("{FLOWS}.csv?scanned_after=1000000"),
        format!("{FLOWS}?limit=x"),
        "/api/v1/health".to_owned(),
    ] {
        let whole = get(server.address(), &target);
        for _ in 0..10 {
            let mut wire = Wire::open(server.address());
            wire.send(head_for(&target, &[]));
            let mut bytes = vec![0; 1 << 20];
            let length = wire.socket().read(&mut bytes).expect("an answer");
            bytes.truncate(length);
            assert!(
                bytes.ends_with(&whole.body),
                "{length} bytes first: {whole:?}"
            );
        }
    }
    // A streamed one starts with its first page.
    let mut wire = Wire::open(server.address());
    wire.send(head_for(&format!("{FLOWS}.csv"), &[]));
    let mut bytes = vec![0; 1 << 20];
    let length = wire.socket().read(&mut bytes).expect("an answer");
    let lines = bytes.iter().take(length).filter(|byte| **byte == b'\n');
    assert!(lines.count() > 500, "{length} bytes first");
}
