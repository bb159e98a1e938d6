//! Every route, on one page.
//!
//! A handler is thin: it parses, reads what the status depends on, and says what the answer is.

use spin_sdk::http::Method;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};

use crate::body::{Answer, Body};
use crate::format::{Encoder, Format};
use crate::log::RequestLine;
use crate::page::Pages;
use crate::problem::Problem;
use crate::query::{Fallback, Query};
use crate::settings::Settings;

/// Where flows are.
const FLOWS: &str = "/api/v1/stream/flows";

/// What a path leads to.
enum Route {
    /// [`stream_flows`].
    Flows,
    NotFound,
}

fn route(path: &str) -> Route {
    match path.strip_prefix(FLOWS) {
        Some("") => Route::Flows,
        Some(rest) if rest.strip_prefix('.').and_then(Format::from_name).is_some() => Route::Flows,
        _ => Route::NotFound,
    }
}

/// The format that a path ends in.
fn ending(path: &str) -> Option<Format> {
    let (_, name) = path.rsplit_once('.')?;
    Format::from_name(name)
}

/// The `Accept` of a request; several are one list (RFC 9110, section 5.3).
fn accept(request: &Request) -> Option<String> {
    let lists = request.get_headers().get("accept");
    let text = |list: &Vec<u8>| String::from_utf8_lossy(list).into_owned();
    (!lists.is_empty()).then(|| lists.iter().map(text).collect::<Vec<_>>().join(","))
}

/// Answers a request.
///
/// # Errors
/// Only what the host says of the response itself; every other failure is an answer.
pub async fn answer(request: &Request) -> Result<Response, ErrorCode> {
    let settings = Settings::current().await;
    let method =
        Method::try_from(request.get_method()).map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
    let target = request.get_path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let line = RequestLine::new(method.as_str(), path, query, settings.log_requests);
    let accept = accept(request);
    let fallback = Fallback {
        ending: ending(path),
        accept: accept.as_deref(),
    };
    let answer = match route(path) {
        Route::Flows => stream_flows(&method, query, fallback).await,
        Route::NotFound => Err(Problem::not_found(path)),
    };
    let answer = answer.unwrap_or_else(|problem| {
        if problem.status() >= 500 {
            line.failed(&problem);
        }
        failed(&problem, fallback.asks_for_xml(query))
    });
    answer.send(method == Method::HEAD, line).await
}

/// `GET /api/v1/stream/flows`: the flows of a window.
///
/// The first page is read before the status is chosen, so what fails there has a status of its own.
async fn stream_flows(
    method: &Method,
    query: &str,
    fallback: Fallback<'_>,
) -> Result<Answer, Problem> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed(method.as_str()));
    }
    let query = Query::parse(query, fallback)?;
    let (first, rest) = Pages::start(&query).await?;
    let headers = vec![("content-type", query.format.content_type().to_owned())];
    let body = Body::new(first, rest, Encoder::new(query.format))?;
    Ok(Answer {
        status: 200,
        headers,
        body,
    })
}

fn failed(problem: &Problem, as_xml: bool) -> Answer {
    let (content_type, bytes) = problem.render(as_xml);
    let mut headers = vec![("content-type", content_type.to_owned())];
    headers.extend(
        problem
            .headers()
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Answer {
        status: problem.status(),
        headers,
        body: Body::Whole { bytes, flows: 0 },
    }
}
