//! A guest of WASI 0.2 that does one thing a path, so that a test can see what the host makes of it.
//!
//! `tests/host_facts/wasip2.rs` says what is expected of a host. `make bench` measures `/query`, which opens the
//! database, asks for one row and closes it: what a host costs where the component does next to nothing.

use std::cell::Cell;
use std::mem::forget;

use bindings::fermyon::spin::sqlite::Connection;
use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

mod bindings {
    #![allow(missing_docs, unreachable_pub, unused, reason = "generated code")]
    wit_bindgen::generate!({
        path: "../../../components/wasip2/wit",
        world: "host",
        generate_all,
    });
}

thread_local! {
    static REQUESTS: Cell<u32> = const { Cell::new(0) };
}

struct Probe;

impl Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        REQUESTS.set(REQUESTS.get() + 1);
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let text = match path {
            "/requests" => REQUESTS.get().to_string(),
            "/query" => one_value("SELECT 1"),
            "/bad-text" => one_value("SELECT CAST(x'ff' AS TEXT)"),
            "/mark" => mark(),
            _ => "begun".to_owned(),
        };
        let headers = Fields::new();
        let length = query.strip_prefix("length=");
        if let Some(length) = length {
            let name = "content-length".to_owned();
            headers.append(&name, &length.as_bytes().to_vec()).unwrap();
        }
        let head = OutgoingResponse::new(headers);
        if path == "/no-body" {
            return ResponseOutparam::set(out, Ok(head));
        }
        let body = head.body().unwrap();
        let stream = body.write().unwrap();
        stream.write(text.as_bytes()).unwrap();
        match path {
            "/drop" => {
                ResponseOutparam::set(out, Ok(head));
                drop(stream);
                drop(body);
            }
            "/forget" => {
                ResponseOutparam::set(out, Ok(head));
                forget(stream);
                forget(body);
            }
            "/trap" => {
                ResponseOutparam::set(out, Ok(head));
                std::process::abort();
            }
            "/never" => {}
            _ => {
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
                ResponseOutparam::set(out, Ok(head));
            }
        }
    }
}

fn one_value(sql: &str) -> String {
    let connection = Connection::open("default").unwrap();
    match connection.execute(sql, &[]) {
        Ok(result) => format!("{:?}", result.rows[0].values[0]),
        Err(error) => format!("{error:?}"),
    }
}

/// Whether a setting of one connection shows on the next.
fn mark() -> String {
    let (first, second) = (Connection::open("default"), Connection::open("default"));
    let (first, second) = (first.unwrap(), second.unwrap());
    first
        .execute("PRAGMA recursive_triggers = ON", &[])
        .unwrap();
    let seen = second.execute("PRAGMA recursive_triggers", &[]).unwrap();
    format!("{:?}", seen.rows[0].values[0])
}

#[cfg(target_family = "wasm")]
mod export {
    use super::Probe;

    wasi::http::proxy::export!(Probe);
}
