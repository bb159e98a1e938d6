//! What a host does to a guest of WASI 0.2.

use support::wire::{End, Wire, get, request_head};

use crate::Said as _;
use crate::host::Host;

#[test]
fn each_request_has_an_instance_of_its_own() {
    let host = Host::wasip2();
    for _ in 0..5 {
        assert_eq!(get(host.address(), "/requests").said(), "1");
    }
}

#[test]
fn a_body_that_is_finished_ends_and_one_that_is_dropped_is_cut() {
    let host = Host::wasip2();
    assert_eq!(get(host.address(), "/whole").said(), "begun");
    // With fewer bytes than the head has promised, too. The host may cut before it has sent the head.
    for path in ["/drop", "/drop?length=9"] {
        let cut = get(host.address(), path);
        assert_eq!(cut.end, End::Cut, "{cut:?}");
    }
}

#[test]
fn a_body_that_is_forgotten_or_trapped_over_ends_as_if_it_were_complete() {
    let host = Host::wasip2();
    for path in ["/forget", "/trap"] {
        assert_eq!(get(host.address(), path).said(), "begun", "{path}");
    }
}

#[test]
fn a_guest_that_never_answers_makes_a_500_without_a_body() {
    let host = Host::wasip2();
    let answer = get(host.address(), "/never").with_status(500);
    assert_eq!(answer.body, b"", "{answer:?}");
}

#[test]
fn the_answer_to_head_keeps_the_length_that_it_names_where_no_body_is_taken() {
    let host = Host::wasip2();
    let mut wire = Wire::open(host.address());
    wire.send(request_head("HEAD", "/no-body?length=7", &[]));
    let answer = wire.answer();
    assert_eq!(answer.header("content-length"), "7", "{answer:?}");
}

#[test]
fn a_statement_returns_its_rows_and_text_that_is_not_utf_8_is_an_error() {
    let host = Host::wasip2();
    assert_eq!(get(host.address(), "/query").said(), "Value::Integer(1)");
    let said = get(host.address(), "/bad-text");
    assert!(said.said().starts_with("Error::Io("), "{said:?}");
}

/// From Spin 3.0 on; before, all share one, and the mark shows.
#[test]
fn each_connection_that_is_opened_is_another() {
    let host = Host::wasip2();
    assert_eq!(get(host.address(), "/mark").said(), "Value::Integer(0)");
}
