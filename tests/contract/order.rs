//! Whole answers are in the order of `(time, id)`, however far the order of arrival is from it.

use support::database::Database;
use support::random::Random;
use test_host::faults::Point;

/// Flows of many pages, fifty a second, in the order of arrival.
fn in_order() -> Vec<(i64, i64)> {
    (1..=30_000).map(|id| (id, 1 + id / 50)).collect()
}

/// Asserts that whole answers, windows and the feed hold these flows, each in its order.
#[track_caller]
fn assert_served(mut flows: Vec<(i64, i64)>) {
    let server = Database::with_flows(flows.iter().copied()).serve();
    assert!(server.flows("after_id=0").flows() == flows, "the feed");
    assert!(
        server.flows("after_id=700").flows() == behind(&flows, 700),
        "its end"
    );
    flows.sort_by_key(|(id, time)| (*time, *id));
    assert!(server.flows("").flows() == flows, "the whole answer");
    let (after, before) = (20, 520);
    flows.retain(|(_, time)| (after + 1..=before).contains(time));
    let window = format!("scanned_after={after}&scanned_before={before}");
    assert!(server.flows(&window).flows() == flows, "a window");
    let mut found = Vec::new();
    for portion in server.portions(&format!("/api/v1/stream/flows?{window}&limit=7001")) {
        found.extend(portion.flows());
    }
    assert!(found == flows, "portions of a window");
}

fn behind(flows: &[(i64, i64)], after: i64) -> Vec<(i64, i64)> {
    flows
        .iter()
        .copied()
        .filter(|(id, _)| *id > after)
        .collect()
}

#[test]
fn flows_that_arrived_in_order() {
    assert_served(in_order());
}

#[test]
fn flows_with_gaps() {
    let mut few = in_order();
    few.retain(|(id, _)| id % 977 != 0);
    assert_served(few);
    let mut many = in_order();
    many.retain(|(id, _)| id % 3 != 0);
    assert_served(many);
    // As long as several pages.
    let mut long = in_order();
    long.retain(|(id, _)| !(9_000..21_000).contains(id));
    assert_served(long);
}

#[test]
fn a_late_flow_wherever_it_is() {
    // At the ends of pages of 500 and 3,000 flows, and before the last flow.
    for id in [3_501, 6_500, 6_501, 29_999] {
        for time in [1, 71, 600] {
            let mut flows = in_order();
            flows[id - 1].1 = time;
            assert_served(flows);
        }
    }
}

#[test]
fn late_flows_here_and_there_and_any_order() {
    let mut random = Random::of(b"late flows");
    for (of, late) in [(1_000, 1), (100, 1), (10, 3), (1, 1)] {
        let mut flows = in_order();
        for (_, time) in &mut flows {
            if random.below(of) < late {
                *time = 1 + random.below(600) as i64;
            }
        }
        assert_served(flows);
    }
}

#[test]
fn a_second_longer_than_every_page() {
    let mut flows = in_order();
    for (_, time) in &mut flows[5_000..25_000] {
        *time = 101;
    }
    assert_served(flows);
}

#[test]
fn pages_of_flows_that_arrived_in_order_are_read_once() {
    let statements = |flows: Vec<(i64, i64)>| {
        let server = Database::with_flows(flows).serve();
        server.flows("").ok();
        server.faults().clear();
        server.flows("").ok();
        server.faults().passed(Point::Execute)
    };
    let once = statements(in_order());
    let mut reversed = in_order();
    reversed
        .iter_mut()
        .for_each(|(id, time)| *time = 601 - *id / 50);
    // A range that is no page costs a statement. It is tried less and less often.
    let more = statements(reversed);
    assert!(
        (once + 1..once + 6).contains(&more),
        "{more} statements, {once} in order"
    );
}
