//! Every route, on one page.
//!
//! A handler is thin: it parses, reads what the status depends on, and says what the answer is. Its name is
//! the `operationId` in the OpenAPI document.

use crate::access;
use crate::coding::{ContentEncoder, ContentEncoding};
use crate::db::Database;
use crate::format::{Encoder, End, Format};
use crate::log::RequestLine;
use crate::negotiate;
use crate::openapi;
use crate::page::{self, Pages, Start};
use crate::pipeline::Export;
use crate::problem::Problem;
use crate::query::{self, FormatPreference, Query};
use crate::readiness::{self, Readiness};
use crate::response::{Body, Logged, Response};
use crate::settings::Settings;
use crate::state::State;
use crate::validator::{self, Representation};

/// Where flows are.
pub const FLOWS: &str = "/api/v1/stream/flows";
/// The ends of the table.
pub const EXTENT: &str = "/api/v1/extent";
/// The schema for loading into BigQuery.
pub const BIGQUERY_SCHEMA: &str = "/api/v1/schema/bigquery";
/// The OpenAPI document.
pub const OPENAPI: &str = "/api/v1/openapi.json";
/// Whether flows can be served.
pub const HEALTH: &str = "/api/v1/health";

/// What of a request decides how an answer is written.
const VARY: &str = "Accept, Accept-Encoding";

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    StreamFlows,
    GetExtent,
    GetBigquerySchema,
    GetOpenapi,
    GetHealth,
    NotFound,
}

fn route(path: &str) -> Route {
    match path {
        EXTENT => Route::GetExtent,
        BIGQUERY_SCHEMA => Route::GetBigquerySchema,
        OPENAPI => Route::GetOpenapi,
        HEALTH => Route::GetHealth,
        _ => match path.strip_prefix(FLOWS) {
            Some("") => Route::StreamFlows,
            Some(rest) if rest.strip_prefix('.').and_then(Format::from_name).is_some() => {
                Route::StreamFlows
            }
            _ => Route::NotFound,
        },
    }
}

/// A request, as its host has it: only what is asked for is taken over.
pub trait Request {
    /// The method, in capitals.
    fn method(&self) -> String;

    /// Path and query, as they were sent.
    fn target(&self) -> String;

    /// The values of a header, one for each time that it is given.
    fn header(&self, name: &str) -> Vec<Vec<u8>>;
}

/// What a handler knows of its request.
struct RequestContext<'a, D: Database, R> {
    request: &'a R,
    path: &'a str,
    query: &'a str,
    preference: FormatPreference<'a>,
    service: &'a Service<D>,
}

impl<D: Database, R: Request> RequestContext<'_, D, R> {
    /// The values of a header as one list (RFC 9110, section 5.3); `None` without one.
    fn header(&self, name: &str) -> Option<String> {
        header(self.request, name)
    }
}

fn header(request: &impl Request, name: &str) -> Option<String> {
    let values = request.header(name);
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    (!values.is_empty()).then(|| values.iter().map(text).collect::<Vec<_>>().join(", "))
}

/// The service of one instance: its settings, and what it knows of its database.
pub struct Service<D: Database> {
    settings: Settings,
    readiness: Readiness<D>,
}

impl<D: Database> Service<D> {
    /// A service that has asked its database nothing yet.
    pub fn new(database: D, settings: Settings) -> Self {
        Self {
            settings,
            readiness: Readiness::new(database),
        }
    }

    /// Answers a request.
    pub async fn handle(&self, request: &impl Request) -> Logged<D> {
        answer(Ok(self), request).await
    }
}

/// Answers a request where the settings cannot be read.
pub async fn refuse<D: Database>(problem: Problem, request: &impl Request) -> Logged<D> {
    answer(Err(problem), request).await
}

async fn answer<D: Database>(
    service: Result<&Service<D>, Problem>,
    request: &impl Request,
) -> Logged<D> {
    let method = request.method();
    let target = request.target();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let accept = header(request, "accept").filter(|accept| !accept.trim().is_empty());
    let ending = path
        .rsplit_once('.')
        .and_then(|(_, name)| Format::from_name(name));
    let preference = FormatPreference {
        ending,
        accept: accept.as_deref(),
    };
    let logged = service
        .as_ref()
        .is_ok_and(|service| service.settings.log_requests);
    let line = RequestLine::new(&method, path, query, logged);
    let (answer, cors) = match service {
        Ok(service) => {
            let context = RequestContext {
                request,
                path,
                query,
                preference,
                service,
            };
            (
                dispatch(&method, context).await,
                access::cors_headers(&service.settings),
            )
        }
        Err(problem) => (Err(problem), Vec::new()),
    };
    let mut response = answer.unwrap_or_else(|problem| {
        if problem.status() >= 500 {
            line.failed(&problem);
        }
        failed(&problem, preference.asks_for_xml(query))
    });
    response.headers.extend(cors);
    Logged {
        response: response.finish(method == "HEAD"),
        line,
    }
}

async fn dispatch<D: Database>(
    method: &str,
    asked: RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let route = route(asked.path);
    let settings = &asked.service.settings;
    if method == "OPTIONS" && settings.cors_origin.is_some() {
        // It carries no token: what may be asked is no secret.
        return match route {
            Route::NotFound => Err(Problem::not_found(asked.path)),
            _ => Ok(preflight()),
        };
    }
    if route != Route::GetHealth {
        access::check(settings, asked.header("authorization").as_deref())?;
    }
    if route != Route::NotFound && !matches!(method, "GET" | "HEAD") {
        return Err(Problem::method_not_allowed(method));
    }
    // Health alone passes over what it does not know: no probe may fail for that.
    if !matches!(
        route,
        Route::StreamFlows | Route::GetHealth | Route::NotFound
    ) {
        query::refuse_any(asked.query)?;
    }
    match route {
        Route::StreamFlows => stream_flows(asked).await,
        Route::GetExtent => get_extent(asked).await,
        Route::GetBigquerySchema => document(asked, openapi::BIGQUERY_SCHEMA),
        Route::GetOpenapi => document(asked, openapi::DOCUMENT),
        Route::GetHealth => get_health(&asked.service.readiness).await,
        Route::NotFound => Err(Problem::not_found(asked.path)),
    }
}

/// `GET /api/v1/stream/flows`: the flows of a window.
///
/// The first page is read before the status is chosen, so what fails there has a status of its own.
async fn stream_flows<D: Database>(
    asked: RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let query = Query::parse(asked.query, asked.preference)?;
    let gzip = asked.service.settings.compression
        && asked
            .header("accept-encoding")
            .is_some_and(|list| negotiate::wants_gzip(&list));
    let coding = if gzip {
        ContentEncoding::Gzip
    } else {
        ContentEncoding::Identity
    };
    let representation = Representation::new(&query, coding);
    let expected = asked.header("if-match");
    if let Some(known) = asked.header("if-none-match") {
        let state = page::read_state(&asked.service.readiness).await?;
        let etag = representation.etag(state);
        validator::check_expected(expected.as_deref(), etag.as_deref())?;
        if let Some(etag) = etag
            && validator::names(&known, &etag)
        {
            page::check_goes_on(&query, state)?;
            // Whether a limit cuts the answer is not known here; the client has the headers of then.
            let newest = query.cursor.map_or(state.newest, |cursor| cursor.newest);
            let watermark = query
                .limit
                .is_none()
                .then(|| page::watermark(&query.question, newest));
            return Ok(Response {
                status: 304,
                headers: flow_headers(Some(etag), state, watermark),
                body: Body::Empty,
            });
        }
    }
    let (format, end) = (query.format, query.end);
    let Start {
        first,
        rest,
        state,
        watermark,
        cut,
    } = Pages::start(&query, &asked.service.readiness).await?;
    let etag = representation.etag(state);
    validator::check_expected(expected.as_deref(), etag.as_deref())?;
    let mut headers = flow_headers(etag, state, watermark);
    headers.push(("content-type", format.content_type().to_owned()));
    // A name for what is saved, where the path has none; a browser shows it all the same.
    let name = format!("inline; filename=\"flows.{}\"", format.name());
    headers.push(("content-disposition", name));
    if coding == ContentEncoding::Gzip {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    if let Some(cursor) = &cut {
        headers.push(("link", query::next_link(asked.path, asked.query, cursor)));
    }
    let end = end.then_some(End {
        watermark,
        cursor: cut,
    });
    let body = Export::body(
        asked.service.readiness.database(),
        first,
        rest,
        Encoder::new(format, end),
        ContentEncoder::new(coding),
        asked.service.settings.reader_timeout,
    )?;
    Ok(Response {
        status: 200,
        headers,
        body,
    })
}

/// The headers that a 304 has as well.
fn flow_headers(
    etag: Option<String>,
    state: State,
    watermark: Option<i64>,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("vary", VARY.to_owned()),
        ("cache-control", "no-cache".to_owned()),
    ];
    headers.extend(etag.map(|etag| ("etag", etag)));
    headers.extend(state.lineage().map(|lineage| ("flow-lineage", lineage)));
    headers.extend(watermark.map(|id| ("flow-watermark", id.to_string())));
    headers
}

/// `GET /api/v1/extent`: the ends of the table, null where it is empty.
async fn get_extent<D: Database>(
    asked: RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let extent = page::read_extent(&asked.service.readiness).await?;
    let extent = serde_json::to_string(&extent).unwrap_or_default();
    document(asked, &extent)
}

/// A JSON document, with a tag over its bytes.
fn document<D: Database>(
    asked: RequestContext<'_, D, impl Request>,
    document: &str,
) -> Result<Response<D>, Problem> {
    let etag = validator::document_etag(document);
    validator::check_expected(asked.header("if-match").as_deref(), Some(&etag))?;
    let known = asked.header("if-none-match");
    let mut answer = if known.is_some_and(|known| validator::names(&known, &etag)) {
        Response {
            status: 304,
            headers: Vec::new(),
            body: Body::Empty,
        }
    } else {
        Response::json(document)
    };
    let cached = [("etag", etag), ("cache-control", "no-cache".to_owned())];
    answer.headers.extend(cached);
    Ok(answer)
}

/// `GET /api/v1/health`: 200 when flows can be served, else the problem, always as JSON.
async fn get_health<D: Database>(readiness: &Readiness<D>) -> Result<Response<D>, Problem> {
    let (status, document) = match page::read_state(readiness).await {
        Ok(state) if state.guard().is_some() => (200, r#"{"status":"ok"}"#.to_owned()),
        Ok(_) => {
            let warning = serde_json::to_string(readiness::UNGUARDED).unwrap_or_default();
            (200, format!(r#"{{"status":"ok","warning":{warning}}}"#))
        }
        Err(problem) => {
            let detail = serde_json::to_string(&problem.detail).unwrap_or_default();
            let unfit = format!(r#"{{"status":"unavailable","detail":{detail}}}"#);
            (503, unfit)
        }
    };
    let mut answer = Response::json(document);
    answer.status = status;
    let cached = ("cache-control", "no-store".to_owned());
    answer.headers.push(cached);
    Ok(answer)
}

/// What a browser asks before it lets a page of another origin ask.
fn preflight<D: Database>() -> Response<D> {
    let headers = access::PREFLIGHT_HEADERS.map(|(name, value)| (name, value.to_owned()));
    Response {
        status: 204,
        headers: headers.into(),
        body: Body::Empty,
    }
}

fn failed<D: Database>(problem: &Problem, as_xml: bool) -> Response<D> {
    let (content_type, bytes) = problem.render(as_xml);
    let mut headers = vec![
        ("content-type", content_type.to_owned()),
        ("vary", VARY.to_owned()),
        // Caches may otherwise keep a 404, 405, 410 or 414 for as long as they see fit.
        ("cache-control", "no-store".to_owned()),
    ];
    let more = problem
        .headers()
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    headers.extend(more);
    Response {
        status: problem.status(),
        headers,
        body: Body::Full { bytes, flows: 0 },
    }
}
