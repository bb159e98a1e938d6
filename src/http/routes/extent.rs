//! `GET /extent`: the ends of the table.

use super::documents::get_document;
use crate::db::Database;
use crate::db::summary::read_extent;
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext};
use crate::http::response::Response;

/// The ends of the table, null where it is empty.
pub(super) async fn get_extent<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let (extent, _) = read_extent(context.readiness).await?;
    // Integers and a string cannot fail to serialize.
    let extent = serde_json::to_string(&extent).unwrap_or_default();
    get_document(context, &extent)
}
