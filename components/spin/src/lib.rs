//! flow-window as a component of Spin 4.1 and later.
//!
//! An adapter: [`sqlite`] is the core's database over `spin:sqlite@3.1.0`, [`variables`] reads the settings, and
//! [`response`] hands answers to `wasi:http@0.3.0`. What an answer holds is the core's business.

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

mod response;
mod sqlite;
mod variables;

use std::cell::Cell;
use std::rc::Rc;

use flow_window::http::request;
use flow_window::service::{self, Service};
use flow_window::settings::SettingsError;
use spin_sdk::http::Method;
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Request, Response};

use sqlite::SpinSqlite;

thread_local! {
    /// What this instance knows: it serves up to 128 requests.
    static SERVICE: Cell<Option<Rc<Service<SpinSqlite>>>> = const { Cell::new(None) };
}

/// The component: one request in, one response out.
///
/// It takes the host's own request and asks it for what it needs. `#[spin_sdk::http_service]` would first
/// turn every header into a value of the `http` crate, a dozen of the host's own among them.
struct FlowWindow;

impl Guest for FlowWindow {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        // The host passes on no method that is none.
        let method = Method::try_from(request.get_method())
            .map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
        let request = HostRequest {
            method: method.as_str().to_owned(),
            headers: request.get_headers(),
            request,
        };
        let logged = match instance_service().await {
            Ok(service) => service.handle(&request).await,
            Err(error) => service::refuse(error, &request).await,
        };
        response::send(logged).await
    }
}

/// The service of this instance.
async fn instance_service() -> Result<Rc<Service<SpinSqlite>>, SettingsError> {
    if let Some(service) = known_service() {
        return Ok(service);
    }
    let settings = variables::read().await?;
    // Another request may have read them meanwhile.
    let service =
        known_service().unwrap_or_else(|| Rc::new(Service::new(SpinSqlite::default(), settings)));
    SERVICE.set(Some(service.clone()));
    Ok(service)
}

fn known_service() -> Option<Rc<Service<SpinSqlite>>> {
    let known = SERVICE.take();
    SERVICE.set(known.clone());
    known
}

/// The host makes the headers a resource anew each time that it is asked for them: once will do.
struct HostRequest {
    method: String,
    headers: Fields,
    request: Request,
}

impl request::Request for HostRequest {
    fn method(&self) -> String {
        self.method.clone()
    }

    fn target(&self) -> String {
        self.request.get_path_with_query().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Vec<Vec<u8>> {
        self.headers.get(name)
    }
}

// The exported name has characters that a native linker refuses, and natively there is no host to call it.
#[cfg(target_family = "wasm")]
mod export {
    use super::FlowWindow;

    spin_sdk::wasip3::http::service::export!(FlowWindow);
}
