//! JSON documents: the OpenAPI document, the BigQuery schema, and what other routes write as one.

use crate::db::Database;
use crate::http::etag;
use crate::http::openapi::bigquery_schema;
use crate::http::page::{CONTENT_TYPE, PAGE, POLICY};
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext};
use crate::http::response::Response;
use crate::query::parse::columns_alone;

/// A JSON document with an entity tag of its bytes.
pub(super) fn get_document<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
    document: &str,
) -> Result<Response<D>, Problem> {
    let etag = etag::document_etag(document);
    etag::check_if_match(context.header("if-match").as_deref(), Some(&etag))?;
    let known = context.header("if-none-match");
    let mut response = if known.is_some_and(|known| etag::matches(&known, &etag)) {
        Response::empty(304, Vec::new())
    } else {
        Response::json(200, document)
    };
    let cached = [("etag", etag), ("cache-control", "no-cache".to_owned())];
    response.headers.extend(cached);
    Ok(response)
}

/// The schema for loading flows of the columns that are asked for.
pub(super) fn get_bigquery_schema<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let layout = columns_alone(context.query)?;
    get_document(context, &bigquery_schema(layout.fields()))
}

/// The page for people. It holds no flows, so it asks for no token.
pub(super) fn get_page<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let mut response = get_document(context, PAGE)?;
    for (name, value) in &mut response.headers {
        if *name == "content-type" {
            CONTENT_TYPE.clone_into(value);
        }
    }
    response.headers.extend([
        ("content-security-policy", POLICY.to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
    ]);
    Ok(response)
}
