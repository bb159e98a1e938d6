//! `GET /health`: whether flows can be served.

use crate::db::Database;
use crate::db::readiness::UNGUARDED;
use crate::db::summary::read_state;
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext};
use crate::http::response::Response;

/// 200 when flows can be served, else 503 with the reason; always in JSON.
pub(super) async fn get_health<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    // A string cannot fail to serialize.
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (status, document) = match read_state(context.readiness).await {
        Ok(state) if state.guard().is_some() => (200, r#"{"status":"ok"}"#.to_owned()),
        Ok(_) => {
            let warning = quoted(UNGUARDED);
            (200, format!(r#"{{"status":"ok","warning":{warning}}}"#))
        }
        Err(error) => {
            let detail = quoted(&error.detail);
            let document = format!(r#"{{"status":"unavailable","detail":{detail}}}"#);
            (503, document)
        }
    };
    let mut response = Response::json(status, document);
    let cached = ("cache-control", "no-store".to_owned());
    response.headers.push(cached);
    Ok(response)
}
