//! Spin before 3.0 gives every answer the same connection: a transaction on it would be everyone's.

use support::FLOWS;
use support::database::Database;
use support::server::is_wasip3;
use support::wire::{End, Wire, head_for, wait_until};

/// More flows than the sockets between server and client hold.
const COUNT: u32 = 200_000;

#[test]
fn answers_that_share_a_connection_are_whole_or_cut_and_leave_nothing_behind() {
    if is_wasip3() {
        // No host that runs this component shares connections.
        return;
    }
    let database = Database::generated(COUNT);
    let server = database.serve_on_one_connection();
    let target = format!("{FLOWS}.json");
    let whole = server.get(&target).ok();
    // Two answers are in their middle while others begin and end.
    let mut slow: Vec<_> = (0..2)
        .map(|_| {
            let mut wire = Wire::open(server.address());
            wire.send(head_for(&target, &[]));
            wire.wait_for_bytes();
            wire
        })
        .collect();
    assert_eq!(
        server
            .get(&format!("{target}?limit=5000"))
            .ok()
            .flows()
            .len(),
        5000
    );
    // A client that leaves cannot leave its snapshot to the others: they see the flow that comes next.
    drop(slow.pop());
    let next = i64::from(COUNT) + 1;
    database.insert([(next, 9)]);
    let query = format!("{target}?after_id={COUNT}");
    assert_eq!(server.get(&query).ok().flows(), [(next, 9)]);
    // An arrival ends no answer.
    let mut slow = slow.pop().expect("the other answer");
    let answer = slow.answer();
    assert!(
        answer.end == End::Clean && answer.body == whole.body,
        "{answer:?}"
    );
    // An edit does.
    let mut wire = Wire::open(server.address());
    wire.send(head_for(&target, &[]));
    wire.wait_for_bytes();
    database.execute("DELETE FROM flows WHERE id = 7");
    let cut = wire.answer();
    assert!(
        cut.end == End::Cut && cut.body.len() < whole.body.len(),
        "{cut:?}"
    );
    wait_until("one connection", || server.connections() == 1);
    assert_eq!(server.trapped(), 0, "{}", server.log());
}
