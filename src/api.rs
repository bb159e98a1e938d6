//! Every route, on one page.
//!
//! A handler is thin: it parses, reads what the status depends on, and says what the answer is.

use spin_sdk::http::{Method, Request};
use spin_sdk::wasip3::http::types::{ErrorCode, Response};

use crate::body::{Answer, Body};
use crate::format::{Encoder, Format};
use crate::log::RequestLine;
use crate::page::Pages;
use crate::problem::Problem;
use crate::query::{Query, asks_for_xml};
use crate::settings::Settings;

/// Where flows are.
const FLOWS: &str = "/api/v1/stream/flows";

/// What a path leads to.
enum Route {
    /// [`stream_flows`], with the format that the path ends in.
    Flows(Option<Format>),
    NotFound,
}

fn route(path: &str) -> Route {
    let Some(ending) = path.strip_prefix(FLOWS) else {
        return Route::NotFound;
    };
    if ending.is_empty() {
        return Route::Flows(None);
    }
    let format = ending.strip_prefix('.').and_then(Format::from_name);
    format.map_or(Route::NotFound, |format| Route::Flows(Some(format)))
}

/// Answers a request.
///
/// # Errors
/// Only what the host says of the response itself; every other failure is an answer.
pub async fn answer(request: &Request) -> Result<Response, ErrorCode> {
    let settings = Settings::current().await;
    let uri = request.uri();
    let (path, query) = (uri.path(), uri.query().unwrap_or(""));
    let line = RequestLine::new(
        request.method().as_str(),
        path,
        query,
        settings.log_requests,
    );
    let answer = match route(path) {
        Route::Flows(ending) => stream_flows(request.method(), ending, query).await,
        Route::NotFound => Err(Problem::not_found(path)),
    };
    let answer = answer.unwrap_or_else(|problem| {
        if problem.status() >= 500 {
            line.failed(&problem);
        }
        let ending = path
            .rsplit_once('.')
            .and_then(|(_, name)| Format::from_name(name));
        failed(&problem, asks_for_xml(ending, query))
    });
    answer.send(request.method() == Method::HEAD, line).await
}

/// `GET /api/v1/stream/flows`: the flows of a window.
///
/// The first page is read before the status is chosen, so what fails there has a status of its own.
async fn stream_flows(
    method: &Method,
    ending: Option<Format>,
    query: &str,
) -> Result<Answer, Problem> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed(method.as_str()));
    }
    let query = Query::parse(ending, query)?;
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
