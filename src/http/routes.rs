//! The list of routes, and the dispatch.
//!
//! A route is one row of the list and one handler in `routes/`. A handler is thin: it reads what the status depends
//! on, and says what the answer is.

mod counts;
mod documents;
mod extent;
pub mod flows;
mod health;

use super::auth;
use super::cors;
use super::openapi;
use super::problem::Problem;
use super::request::{Request, RequestContext};
use super::response::Response;
use crate::db::Database;
use crate::formats::Format;
use crate::query::parameters::{
    HISTOGRAM_PARAMETERS, PARAMETERS, Parameter, SCHEMA_PARAMETERS, TOP_PARAMETERS,
};
use crate::query::parse::refuse_any;

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The path.
    pub path: &'static str,
    /// The operation that GET and HEAD ask for.
    pub operation: Operation,
    /// The `operationId` of GET, for the documents. It is the name of the handler; the two documents share
    /// `get_document`.
    pub operation_id: &'static str,
    /// What the operation does, for the documents.
    pub summary: &'static str,
    /// Who may ask.
    pub access: Access,
    /// What the query string may hold.
    pub query: QueryPolicy,
    /// Whether the answer depends on the table, for the documents.
    pub reads_table: bool,
    /// Whether the path may end in a dot and the name of a format.
    pub takes_extension: bool,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The flows of a window.
    StreamFlows,
    /// The page for people.
    GetPage,
    /// Flows, counted by time.
    GetHistogram,
    /// Flows, counted by the values of a field.
    GetTop,
    /// The ends of the table.
    GetExtent,
    /// The schema for loading into BigQuery.
    GetBigquerySchema,
    /// The OpenAPI document.
    GetOpenapi,
    /// Whether flows can be served.
    GetHealth,
}

/// Who may ask for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Who has the access token, where one is set.
    Token,
    /// Anybody.
    Public,
}

/// What the query string of a route may hold.
#[derive(Debug, Clone, Copy)]
pub enum QueryPolicy {
    /// These parameters.
    Parameters(&'static [Parameter]),
    /// Nothing: a parameter is refused.
    Empty,
    /// Anything: no probe may fail for a parameter.
    Ignored,
}

/// Where flows are.
pub const FLOWS: &str = "/api/v1/stream/flows";

/// Where flows are counted by time.
pub const HISTOGRAM: &str = "/api/v1/flows/histogram";

/// Where the values with the most are.
pub const TOP: &str = "/api/v1/flows/top";

/// What most routes share: the token is needed, no parameter is taken, the table is not read.
const BASE: Route = Route {
    path: "/api/v1/openapi.json",
    operation: Operation::GetOpenapi,
    operation_id: "get_openapi",
    summary: "This document",
    access: Access::Token,
    query: QueryPolicy::Empty,
    reads_table: false,
    takes_extension: false,
};

/// Every route.
pub const ROUTES: [Route; 8] = [
    Route {
        path: FLOWS,
        operation: Operation::StreamFlows,
        operation_id: "stream_flows",
        summary: "The flows of a window",
        query: QueryPolicy::Parameters(&PARAMETERS),
        reads_table: true,
        takes_extension: true,
        ..BASE
    },
    Route {
        path: "/",
        operation: Operation::GetPage,
        operation_id: "get_page",
        summary: "A page for people: traffic by time, the most, the first flows",
        access: Access::Public,
        query: QueryPolicy::Ignored,
        ..BASE
    },
    Route {
        path: HISTOGRAM,
        operation: Operation::GetHistogram,
        operation_id: "get_histogram",
        summary: "Flows, packets and bytes by time",
        query: QueryPolicy::Parameters(&HISTOGRAM_PARAMETERS),
        reads_table: true,
        takes_extension: true,
        ..BASE
    },
    Route {
        path: TOP,
        operation: Operation::GetTop,
        operation_id: "get_top",
        summary: "The values of a field with the most flows, packets or bytes",
        query: QueryPolicy::Parameters(&TOP_PARAMETERS),
        reads_table: true,
        takes_extension: true,
        ..BASE
    },
    Route {
        path: "/api/v1/extent",
        operation: Operation::GetExtent,
        operation_id: "get_extent",
        summary: "The ends of the table",
        reads_table: true,
        ..BASE
    },
    Route {
        path: "/api/v1/schema/bigquery",
        operation: Operation::GetBigquerySchema,
        operation_id: "get_bigquery_schema",
        summary: "The schema for loading into BigQuery",
        query: QueryPolicy::Parameters(&SCHEMA_PARAMETERS),
        ..BASE
    },
    BASE,
    Route {
        path: "/api/v1/health",
        operation: Operation::GetHealth,
        operation_id: "get_health",
        summary: "Whether flows can be served",
        access: Access::Public,
        query: QueryPolicy::Ignored,
        reads_table: true,
        ..BASE
    },
];

/// The route of a path.
fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| {
        let rest = path.strip_prefix(route.path);
        rest.is_some_and(|rest| rest.is_empty() || (route.takes_extension && is_extension(rest)))
    })
}

fn is_extension(text: &str) -> bool {
    let name = text.strip_prefix('.');
    name.and_then(Format::from_name).is_some()
}

/// Answers a request, or says why not.
///
/// # Errors
/// The problem that the client is sent.
pub async fn dispatch<D: Database>(
    method: &str,
    context: RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let route = find(context.path);
    let not_found = || Problem::not_found(context.path);
    if method == "OPTIONS" && context.settings.cors_origin.is_some() {
        // A preflight carries no token. Its answer is no secret.
        return route.map(|_| cors::preflight()).ok_or_else(not_found);
    }
    let is_read = matches!(method, "GET" | "HEAD");
    if is_read && context.path == FLOWS && context.preference.wants_page(context.query) {
        // The page asks for a token itself.
        return Ok(flows::see_page(context.query));
    }
    if route.is_none_or(|route| route.access == Access::Token) {
        auth::check(context.settings, context.header("authorization").as_deref())?;
    }
    let route = route.ok_or_else(not_found)?;
    if !is_read {
        return Err(Problem::method_not_allowed(method));
    }
    if matches!(route.query, QueryPolicy::Empty) {
        refuse_any(context.query)?;
    }
    match route.operation {
        Operation::StreamFlows => flows::stream_flows(&context).await,
        Operation::GetPage => documents::get_page(&context),
        Operation::GetHistogram => counts::get_histogram(&context).await,
        Operation::GetTop => counts::get_top(&context).await,
        Operation::GetExtent => extent::get_extent(&context).await,
        Operation::GetBigquerySchema => documents::get_bigquery_schema(&context),
        Operation::GetOpenapi => documents::get_document(&context, openapi::DOCUMENT),
        Operation::GetHealth => health::get_health(&context).await,
    }
}
