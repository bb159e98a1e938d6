//! The test host held to what Spin does to a guest, each fact with a real guest: `probe`.
//!
//! The component is designed around these facts, so a test host that were kinder than Spin would let faults
//! through. Where each fact stands in Spin's source is said in the test host's modules.
//! `HOST=…/spin make host-facts` holds another host to the same facts, and so shows where the two differ.
//!
//! Which instance gets a request is decided by a race that the host leaves open: an instance that has just
//! answered may be passed over. So the tests about instances hold on to what is always so (never more
//! than …) and repeat until what can be so (as many as …) has been seen.

mod command_line;
mod host;
mod wasip2;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use host::Host;
use support::wire::{End, PATIENCE, Response, Wire, get, request_head, wait_until};

/// What the probe says.
trait Said {
    /// The text of a whole response of status 200.
    fn said(&self) -> &str;
}

impl Said for Response {
    #[track_caller]
    fn said(&self) -> &str {
        assert_eq!((self.status, self.end), (200, End::Clean), "{self:?}");
        self.text().trim_end()
    }
}

/// Has the probe run a statement on a connection of its own.
#[track_caller]
fn query(address: SocketAddr, sql: &str) -> Response {
    let mut wire = Wire::open(address);
    let length = sql.len().to_string();
    let head = request_head("POST", "/query", &[("Content-Length", &length)]);
    wire.send(head + sql);
    wire.answer()
}

/// Repeats `attempt` until it has seen what it looks for.
#[track_caller]
fn repeat_until_seen<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = attempt() {
            return seen;
        }
        assert!(start.elapsed() < PATIENCE, "never seen: {what}");
    }
}

// Instances

#[test]
fn an_instance_gets_128_requests_and_then_no_more() {
    let host = Host::start();
    let mut given = BTreeMap::<u64, u64>::new();
    let full = repeat_until_seen("an instance with 128 requests", || {
        let answer = get(host.address(), "/instance");
        let instance = answer.number("instance");
        let count = given.entry(instance).or_default();
        *count += 1;
        assert_eq!(*count, answer.number("requests"), "{answer:?}");
        assert!(*count <= 128, "a 129th request\n{answer:?}");
        (*count == 128).then_some(instance)
    });
    for _ in 0..50 {
        let answer = get(host.address(), "/instance");
        assert_ne!(answer.number("instance"), full, "{answer:?}");
    }
}

#[test]
fn sixteen_requests_wait_for_an_answer_in_one_instance_and_a_17th_goes_to_another() {
    let host = Host::start();
    repeat_until_seen("16 requests held by one instance", || {
        let mut held: Vec<_> = (0..17)
            .map(|_| Wire::hold(host.address(), "/hold"))
            .collect();
        let answers: Vec<Response> = held.iter_mut().map(|wire| wire.finish().answer()).collect();
        for answer in &answers {
            assert_eq!(answer.said(), "let go", "{answer:?}");
            assert!(answer.number("held") <= 16, "a 17th at once\n{answer:?}");
        }
        let sixteenth = answers.iter().find(|answer| answer.number("held") == 16)?;
        let of_it = |answer: &&Response| answer.number("instance") == sixteenth.number("instance");
        assert_eq!(answers.iter().filter(of_it).count(), 16, "{sixteenth:?}");
        Some(())
    });
}

#[test]
fn a_body_under_way_does_not_count_among_the_sixteen() {
    let host = Host::start();
    repeat_until_seen("20 bodies from one instance", || {
        let mut begun = Vec::new();
        for _ in 0..20 {
            let mut wire = Wire::held(host.address(), "/stream");
            let head = wire.begun();
            begun.push((wire, head));
        }
        let answers = begun
            .into_iter()
            .map(|(mut wire, head)| wire.finish().body_of(head));
        let answers: Vec<Response> = answers.collect();
        for answer in &answers {
            assert_eq!(answer.said(), "begun\nended", "{answer:?}");
        }
        let first = answers.first()?.number("instance");
        answers
            .iter()
            .all(|answer| answer.number("instance") == first)
            .then_some(())
    });
}

#[test]
fn an_instance_is_dropped_with_its_connections_after_a_second_without_work() {
    let host = Host::start();
    // It keeps what it has at first …
    repeat_until_seen("an instance used twice", || {
        let instance = get(host.address(), "/instance").number("instance");
        let again = get(host.address(), "/instance");
        (again.number("instance") == instance && again.number("requests") > 1).then_some(())
    });
    let (asked, kept) = repeat_until_seen("a connection that is kept", || {
        let asked = Instant::now();
        let answer = get(host.address(), "/keep");
        (host.connections() > 0).then_some((asked, answer))
    });
    // … and is gone, not before a second has passed.
    wait_until("no connection", || host.connections() == 0);
    let passed = asked.elapsed();
    assert!(
        passed >= Duration::from_secs(1),
        "after {passed:?}\n{kept:?}"
    );
    let next = get(host.address(), "/instance");
    assert_ne!(next.number("instance"), kept.number("instance"), "{next:?}");
}

// Connections

#[test]
fn each_open_is_a_connection_of_its_own() {
    let host = Host::start();
    assert_eq!(
        get(host.address(), "/temp").said(),
        "columns: x\nrow: 7\nend: ok\ncolumns: \nend: no such table: t"
    );
}

#[test]
fn a_connection_is_opened_by_its_first_query_and_closed_when_the_guest_drops_it() {
    let host = Host::start();
    let mut wire = Wire::hold(host.address(), "/open");
    assert_eq!(host.connections(), 0, "opened before the first query");
    wire.piece();
    wait_until("three connections", || host.connections() == 3);
    wire.piece();
    assert_eq!(wire.answer().said(), "dropped");
    wait_until("no connection", || host.connections() == 0);
}

#[test]
fn an_instance_that_goes_takes_its_connections_with_it() {
    let host = Host::start();
    let mut wire = Wire::hold(host.address(), "/open");
    wire.piece();
    wait_until("three connections", || host.connections() == 3);
    // The guest still holds them when another request of its instance traps. Should the trap fall to
    // another instance, these stay: hence again until they are gone.
    repeat_until_seen("no connection", || {
        query(host.address(), "SELECT CAST(x'ff' AS TEXT)");
        let start = Instant::now();
        while host.connections() > 0 && start.elapsed() < Duration::from_millis(200) {
            std::thread::sleep(Duration::from_millis(2));
        }
        (host.connections() == 0).then_some(())
    });
    assert_eq!(wire.answer().status, 500);
}

#[test]
fn an_instance_holds_256_connections_at_most() {
    let host = Host::start();
    let said = get(host.address(), "/limit");
    let said = said.said();
    assert!(said.starts_with("256 "), "{said}");
    assert!(said.contains("too many connections opened"), "{said}");
    assert!(said.ends_with(" true"), "{said}");
}

#[test]
fn a_statement_waits_until_the_one_before_it_on_its_connection_is_drained() {
    let host = Host::start();
    assert_eq!(
        get(host.address(), "/mutex").said(),
        "waiting waiting waiting 100 rows 1 row"
    );
}

#[test]
fn a_statement_waits_until_the_one_before_it_on_its_connection_is_dropped() {
    let host = Host::start();
    assert_eq!(
        get(host.address(), "/mutex?drop").said(),
        "waiting waiting waiting 1 row"
    );
}

#[test]
fn a_file_cannot_be_attached_and_memory_can() {
    let host = Host::start();
    let attach = |what: &str| {
        let answer = query(host.address(), &format!("ATTACH '{what}' AS other"));
        answer.said().to_owned()
    };
    assert_eq!(attach("other.db"), "columns: \nend: not authorized");
    assert_eq!(attach(":memory:"), "columns: \nend: ok");
    assert_eq!(attach(""), "columns: \nend: ok");
}

// Rows and errors

#[test]
fn a_read_brings_one_row_however_many_there_is_room_for() {
    let host = Host::start();
    let ones = vec![1; 100];
    assert_eq!(
        get(host.address(), "/capacity").said(),
        format!("{ones:?} true")
    );
}

#[test]
fn errors_of_prepare_bind_and_step_come_in_the_result_behind_the_rows() {
    let host = Host::start();
    let said = |sql: &str| query(host.address(), sql).said().to_owned();
    assert_eq!(
        said("SELEKT 1"),
        "columns: \nend: near \"SELEKT\": syntax error in SELEKT 1 at offset 0"
    );
    assert_eq!(
        said("SELECT ?1 AS x"),
        "columns: x\nend: Wrong number of parameters passed to query. Got 0, needed 1"
    );
    assert_eq!(
        said("SELECT abs(column1) AS x FROM (VALUES (-7), (-9223372036854775808))"),
        "columns: x\nrow: 7\nend: integer overflow"
    );
    assert_eq!(said("SELECT 1 AS x"), "columns: x\nrow: 1\nend: ok");
}

#[test]
fn a_row_above_128_mib_is_an_error_in_the_result() {
    let host = Host::start();
    let said = |bytes: u64| {
        let answer = query(host.address(), &format!("SELECT zeroblob({bytes}) AS x"));
        answer.said().to_owned()
    };
    let limit = 128 << 20;
    // A value counts for a little more than its bytes, so the limit itself is too much.
    assert_eq!(
        said(limit),
        format!("columns: x\nend: query result exceeds limit of {limit} bytes")
    );
    assert_eq!(
        said(limit - 64),
        format!("columns: x\nrow: {} bytes\nend: ok", limit - 64)
    );
}

// Traps and failed bodies

#[test]
fn text_that_is_not_utf_8_makes_a_500_without_a_body_before_the_head() {
    let host = Host::start();
    let answer = query(host.address(), "SELECT CAST(x'ff' AS TEXT)");
    assert_eq!((answer.status, answer.end), (500, End::Clean), "{answer:?}");
    assert_eq!(answer.body, b"", "{answer:?}");
    assert_eq!(query(host.address(), "SELECT 1 AS x").status, 200);
}

#[test]
fn text_that_is_not_utf_8_ends_a_body_early_and_cleanly_behind_the_head() {
    let host = Host::start();
    let mut wire = Wire::held(host.address(), "/trap");
    let head = wire.begun();
    let answer = wire.finish().body_of(head);
    assert_eq!(answer.said(), "begun", "{answer:?}");
}

#[test]
fn a_guest_that_does_not_ask_how_it_ended_lives_on_with_a_connection_that_is_spoiled() {
    let host = Host::start();
    assert_eq!(
        get(host.address(), "/poison").said(),
        "refused: Error::Io(\"channel closed\")"
    );
}

#[test]
fn a_trap_ends_the_other_requests_of_its_instance_as_if_they_were_complete() {
    let host = Host::start();
    repeat_until_seen("three requests in one instance", || {
        let mut stream = Wire::held(host.address(), "/stream");
        let stream_head = stream.begun();
        let mut trap = Wire::held(host.address(), "/trap");
        let trap_head = trap.begun();
        let mut waiting = Wire::hold(host.address(), "/hold");
        let trapped = trap.finish().body_of(trap_head);
        // Were it in another instance, it would go on: let it, and try again.
        stream.finish();
        waiting.finish();
        let (stream, waiting) = (stream.body_of(stream_head), waiting.answer());
        let together = stream.number("instance") == trapped.number("instance");
        if !together || waiting.status == 200 {
            return None;
        }
        assert_eq!(trapped.said(), "begun", "{trapped:?}");
        assert_eq!(stream.said(), "begun", "{stream:?}");
        assert_eq!(waiting.status, 500, "{waiting:?}");
        assert_eq!(waiting.body, b"", "{waiting:?}");
        Some(())
    });
}

#[test]
fn what_a_guest_writes_at_once_leaves_as_one_chunk() {
    let host = Host::start();
    let answer = query(host.address(), "SELECT hex(zeroblob(1000000)) AS x");
    // Twice as much as wasmtime 48 would hand on by itself.
    assert!(answer.said().len() > 2_000_000, "{answer:?}");
    assert_eq!(answer.chunks, 1, "{answer:?}");
}

#[test]
fn a_body_that_ends_in_an_error_cuts_the_connection() {
    let host = Host::start();
    let mut wire = Wire::held(host.address(), "/fail");
    let head = wire.begun();
    let answer = wire.finish().body_of(head);
    assert_eq!((answer.status, answer.end), (200, End::Cut), "{answer:?}");
    assert_eq!(answer.body, b"begun\n", "{answer:?}");
    assert!(wire.is_closed_in_silence(), "{answer:?}");
}

#[test]
fn a_body_that_ends_well_ends_with_the_last_chunk_and_leaves_the_connection_open() {
    let host = Host::start();
    let mut wire = Wire::open(host.address());
    for _ in 0..2 {
        wire.send("GET /variable?greeting HTTP/1.1\r\nHost: probe\r\n\r\n");
        let answer = wire.answer();
        assert_eq!(answer.said(), "Ok(\"hello\")", "{answer:?}");
        assert_eq!(answer.header("transfer-encoding"), "chunked");
    }
}

// Requests

#[test]
fn a_request_brings_spins_headers_and_an_absolute_uri() {
    let host = Host::start();
    let mut wire = Wire::open(host.address());
    wire.send("GET /headers/?a=b HTTP/1.1\r\nHost: probe:81\r\nConnection: keep-alive\r\n");
    wire.send("Spin-Path-Info: forged\r\nAccept: text/plain\r\n\r\n");
    let answer = wire.answer();
    assert_eq!(answer.said(), "no such route: /headers/", "{answer:?}");

    wire.send("GET /headers?a=b HTTP/1.1\r\nHost: probe:81\r\nConnection: keep-alive\r\n");
    wire.send("Spin-Path-Info: forged\r\nAccept: text/plain\r\n\r\n");
    let answer = wire.answer();
    let text = answer.said();
    assert!(
        text.starts_with("GET http://probe:81/headers?a=b\n"),
        "{answer:?}"
    );
    for header in [
        "\"accept\": \"text/plain\"",
        "\"spin-path-info\": \"/headers\"",
        "\"spin-full-url\": \"http://probe:81/headers?a=b\"",
        "\"spin-matched-route\": \"/...\"",
        "\"spin-base-path\": \"/\"",
        "\"spin-raw-component-route\": \"/...\"",
        "\"spin-component-route\": \"\"",
        "\"spin-client-addr\": \"127.0.0.1:",
    ] {
        assert!(text.contains(header), "no {header}\n{answer:?}");
    }
    for absent in ["\"connection\"", "forged"] {
        assert!(!text.contains(absent), "{absent}\n{answer:?}");
    }
}

#[test]
fn a_request_without_a_host_or_with_two_loses_its_connection_without_an_answer() {
    let host = Host::start();
    for request in [
        "GET /instance HTTP/1.1\r\n\r\n",
        "GET http://one/instance HTTP/1.1\r\nHost: other\r\n\r\n",
        "GET /instance HTTP/1.1\r\nHost: not an authority\r\n\r\n",
    ] {
        let mut wire = Wire::open(host.address());
        wire.send(request);
        assert!(wire.is_closed_in_silence(), "{request}");
    }
    let mut wire = Wire::open(host.address());
    wire.send("GET http://one/instance HTTP/1.1\r\nHost: one\r\n\r\n");
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn the_host_keeps_spins_own_paths_to_itself() {
    let host = Host::start();
    let health = get(host.address(), "/.well-known/spin/health");
    assert_eq!(health.said(), "OK", "{health:?}");
    let other = get(host.address(), "/.well-known/spin/other");
    assert_eq!(other.status, 404, "{other:?}");
}

#[test]
fn an_answer_is_not_compressed() {
    let host = Host::start();
    let mut wire = Wire::open(host.address());
    wire.send(
        "GET /capacity HTTP/1.1\r\nHost: probe\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n",
    );
    let answer = wire.answer();
    assert_eq!(answer.header("content-encoding"), "", "{answer:?}");
    assert!(answer.said().starts_with("[1, 1, 1"), "{answer:?}");
}

#[test]
fn a_server_that_is_dropped_closes_its_listener_and_breaks_off_what_is_under_way() {
    let host = Host::start();
    let address = host.address();
    let mut wire = Wire::held(address, "/stream");
    let head = wire.begun();
    drop(host);
    let answer = wire.body_of(head);
    // How it ends is left open: the connection may outlive the instance for a moment.
    assert_eq!(answer.body, b"begun\n", "{answer:?}");
    wait_until("the listener closed", || {
        std::net::TcpStream::connect(address).is_err()
    });
}

// Variables

#[test]
fn a_variable_has_the_manifests_value_until_another_is_given() {
    let greeting = |host: &Host| {
        let answer = get(host.address(), "/variable?greeting");
        answer.said().to_owned()
    };
    assert_eq!(greeting(&Host::start()), "Ok(\"hello\")");
    let given = Host::with_variables(&[("must_be_given", ""), ("greeting", "good day")]).unwrap();
    assert_eq!(greeting(&given), "Ok(\"good day\")");
}

#[test]
fn a_variable_that_the_component_does_not_have_is_an_error() {
    let host = Host::start();
    // The second is the application's alone.
    for name in ["nothing", "must_be_given"] {
        let answer = get(host.address(), &format!("/variable?{name}"));
        assert!(
            answer.said().starts_with("Err(Error::Undefined("),
            "{answer:?}"
        );
    }
}

#[test]
fn a_required_variable_without_a_value_keeps_the_host_from_starting() {
    // The words are the test host's own; `command_line` has the fact for any host.
    if host::named().is_some() {
        return;
    }
    let Err(error) = Host::with_variables(&[]) else {
        panic!("started");
    };
    assert_eq!(error, "variable must_be_given is required and has no value");
}
