//! `GET /extent`: the ends of the table.

use super::documents::get_document;
use crate::db::Database;
use crate::db::minutes::count_flows;
use crate::db::summary::read_extent;
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext};
use crate::http::response::Response;
use crate::query::selection::Selection;

/// The ends of the table, null where it is empty.
pub(super) async fn get_extent<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let (mut extent, state) = read_extent(context.readiness).await?;
    let all = Selection::default();
    let counting = count_flows(context.readiness, &all, state, state.max_id);
    extent.flows = Box::pin(counting).await?;
    // Integers and a string cannot fail to serialize.
    let extent = serde_json::to_string(&extent).unwrap_or_default();
    get_document(context, &extent)
}
