//! `GET /stream/flows`: the flows of a window.

use crate::db::Database;
use crate::db::minutes::count_flows;
use crate::db::pager::{Pager, Start, check_continues, watermark};
use crate::db::summary::read_state;
use crate::export::gzip::{ContentEncoding, GzipEncoder};
use crate::export::pipeline::{Content, Export};
use crate::formats::{Encoder, End, Format};
use crate::http::etag::{self, Representation};
use crate::http::negotiate::wants_gzip;
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext};
use crate::http::response::{Response, VARY};
use crate::query::Query;
use crate::query::urlencoded::with_cursor;
use crate::table::state::TableState;

/// The flows of a window. The first page is read before the status is chosen, so what fails there has a status of its
/// own.
pub(super) async fn stream_flows<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let query = Query::parse(context.query, context.preference.format())?;
    let encoding = content_encoding(context);
    let representation = Representation::new(&query, encoding);
    if let Some(not_modified) = not_modified(context, &query, representation).await? {
        return Ok(not_modified);
    }
    let Start {
        first,
        rest,
        state,
        watermark,
        next_cursor,
    } = Pager::start(&query, context.readiness).await?;
    let etag = representation.etag(state);
    etag::check_if_match(context.header("if-match").as_deref(), etag.as_deref())?;
    let mut headers = flow_headers(etag, state, watermark);
    headers.extend(content_headers("flows", query.format, encoding));
    let prefer = context.header("prefer");
    if prefer.is_some_and(|preferences| wants_count(&preferences)) {
        let is_whole = first.last && query.cursor.is_none() && next_cursor.is_none();
        let max_id = query.cursor.map_or(state.max_id, |cursor| cursor.max_id);
        let counting = count_flows(context.readiness, &query.selection, state, max_id);
        let count = if is_whole {
            Some(first.count)
        } else {
            Box::pin(counting).await?
        };
        if let Some(count) = count {
            headers.push(("flow-count", count.to_string()));
            headers.push(("preference-applied", "count=exact".to_owned()));
        }
    }
    if let Some(cursor) = &next_cursor {
        headers.push(("link", next_link(context.path, context.query, cursor)));
    }
    let says_end = query.end || query.format.has_metadata();
    let end = says_end.then(|| End {
        lineage: state.lineage(),
        watermark,
        cursor: next_cursor,
    });
    let export = Export::new(
        context.readiness.database(),
        &first,
        rest,
        Content::Flows(Encoder::new(query.format, &query.layout, end)),
        GzipEncoder::new(encoding),
        context.settings.reader_timeout,
        representation.is_weak(),
    )?;
    Ok(Response {
        status: 200,
        headers,
        body: export.into(),
    })
}

/// Leads a browser to the page, which shows the same flows.
pub(super) fn see_page<D: Database>(query: &str) -> Response<D> {
    let location = format!("../../../#{query}");
    Response::empty(303, vec![("location", location), ("vary", VARY.to_owned())])
}

/// Whether `Prefer` asks for the number of flows (RFC 7240).
fn wants_count(preferences: &str) -> bool {
    let mut preferences = preferences.split([',', ';']).map(str::trim);
    preferences.any(|preference| preference.eq_ignore_ascii_case("count=exact"))
}

/// The headers that describe a body. The name is that of a saved file, where the path has none; a browser shows the
/// answer all the same.
pub(super) fn content_headers(
    name: &str,
    format: Format,
    encoding: ContentEncoding,
) -> Vec<(&'static str, String)> {
    let file = format!("inline; filename=\"{name}.{}\"", format.name());
    let mut headers = vec![
        ("content-type", format.content_type()),
        ("content-disposition", file),
    ];
    if encoding == ContentEncoding::Gzip {
        headers.push(("content-encoding", encoding.name().to_owned()));
    }
    headers
}

pub(super) fn content_encoding<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> ContentEncoding {
    let accepted = context.header("accept-encoding");
    if context.settings.compression && accepted.is_some_and(|list| wants_gzip(&list)) {
        ContentEncoding::Gzip
    } else {
        ContentEncoding::Identity
    }
}

/// The current tag and the state of the table, where `If-None-Match` lists that tag.
pub(super) async fn known_state<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
    representation: Representation,
) -> Result<Option<(String, TableState)>, Problem> {
    let Some(known) = context.header("if-none-match") else {
        return Ok(None);
    };
    let state = read_state(context.readiness).await?;
    let etag = representation.etag(state);
    etag::check_if_match(context.header("if-match").as_deref(), etag.as_deref())?;
    let current = etag.filter(|etag| etag::matches(&known, etag));
    Ok(current.map(|etag| (etag, state)))
}

/// The 304, where `If-None-Match` lists the current tag.
async fn not_modified<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
    query: &Query,
    representation: Representation,
) -> Result<Option<Response<D>>, Problem> {
    let Some((etag, state)) = known_state(context, representation).await? else {
        return Ok(None);
    };
    check_continues(query, state)?;
    // Whether a limit cuts the answer is not known here. The client has the headers of the 200.
    let max_id = query.cursor.map_or(state.max_id, |cursor| cursor.max_id);
    let is_whole = query.limit.is_none();
    let watermark = is_whole.then(|| watermark(&query.selection, max_id));
    let headers = flow_headers(Some(etag), state, watermark);
    Ok(Some(Response::empty(304, headers)))
}

/// The headers that a 200 and a 304 share.
pub(super) fn flow_headers(
    etag: Option<String>,
    state: TableState,
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

/// The `Link` that continues after an answer. Its target is relative to the request: behind a proxy the path may have
/// another start.
fn next_link(path: &str, query: &str, cursor: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let next = with_cursor(query, cursor);
    format!("<{name}?{next}>; rel=\"next\"")
}
