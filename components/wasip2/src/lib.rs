//! flow-window as a component of Spin 2.6 and later.
//!
//! An adapter: [`sqlite`] is the core's database over `fermyon:spin/sqlite@2.0.0`, [`variables`] reads the settings,
//! and [`response`] hands answers to `wasi:http@0.2.0`. What an answer holds is the core's business.
//!
//! The host makes an instance for each request. [`executor`] waits for it.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::unreachable,
    clippy::todo,
    clippy::unimplemented,
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod executor;
mod response;
mod sqlite;
mod variables;

use flow_window::http::request::{self, Request as _};
use flow_window::log;
use flow_window::service::{self, Service};
use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{Fields, IncomingRequest, Method, ResponseOutparam};

use sqlite::SpinSqlite;

mod bindings {
    #![allow(missing_docs, unreachable_pub, unused, reason = "generated code")]
    wit_bindgen::generate!({
        path: "wit",
        world: "host",
        generate_all,
    });
}

/// The component: one request in, one response out.
struct FlowWindow;

impl Guest for FlowWindow {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers = request.headers();
        executor::run(answer(HostRequest { request, headers }, out));
    }
}

async fn answer(request: HostRequest, out: ResponseOutparam) {
    // It lives as long as the response: its pool then closes the connection behind the last byte.
    let service;
    // With each request they would fill the log.
    log::set_notices(request.target().ends_with("/health"));
    let logged = match variables::read() {
        Ok(settings) => {
            service = Service::new(SpinSqlite::default(), settings);
            service.handle(&request).await
        }
        Err(error) => service::refuse(error, &request).await,
    };
    response::send(logged, out).await;
}

/// The host makes the headers a resource anew each time that it is asked for them: once will do. A child of the request,
/// it goes first.
struct HostRequest {
    headers: Fields,
    request: IncomingRequest,
}

impl request::Request for HostRequest {
    fn method(&self) -> String {
        match self.request.method() {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other(other) => return other,
        }
        .to_owned()
    }

    fn target(&self) -> String {
        self.request.path_with_query().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Vec<Vec<u8>> {
        self.headers.get(&name.to_owned())
    }
}

// The exported name has characters that a native linker refuses, and natively there is no host to call it.
#[cfg(target_family = "wasm")]
mod export {
    use super::FlowWindow;

    wasi::http::proxy::export!(FlowWindow);
}
