//! Pages of other origins (CORS, the Fetch standard).

use super::response::Response;
use crate::db::Database;
use crate::settings::Settings;

/// The headers that let pages of the configured origin read an answer.
pub fn headers(settings: &Settings) -> Vec<(&'static str, String)> {
    let Some(origin) = &settings.cors_origin else {
        return Vec::new();
    };
    vec![
        ("access-control-allow-origin", origin.clone()),
        (
            "access-control-expose-headers",
            "Link, ETag, Flow-Watermark, Flow-Lineage, Flow-Count, Retry-After".to_owned(),
        ),
    ]
}

/// Response headers of a CORS preflight.
const PREFLIGHT_HEADERS: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD"),
    (
        "access-control-allow-headers",
        "Accept, Authorization, If-Match, If-None-Match, Prefer",
    ),
    // A day, in seconds: the allowed methods and headers do not change while the service runs.
    ("access-control-max-age", "86400"),
];

/// The answer to a CORS preflight.
pub fn preflight<D: Database>() -> Response<D> {
    let headers = PREFLIGHT_HEADERS.map(|(name, value)| (name, value.to_owned()));
    Response::empty(204, headers.into())
}
