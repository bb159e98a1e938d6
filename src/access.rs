//! Who may ask: the access token, and pages of other origins (CORS).

use subtle::ConstantTimeEq as _;

use crate::problem::Problem;
use crate::settings::Settings;

/// Checks the `Authorization` of a request (RFC 6750, section 2.1) where a token is set.
///
/// # Errors
/// A 401 when it is missing or another. The comparison takes the same time wherever they differ.
pub fn check(settings: &Settings, authorization: Option<&str>) -> Result<(), Problem> {
    let Some(token) = &settings.api_token else {
        return Ok(());
    };
    let given = authorization.and_then(bearer);
    let same = given.is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into());
    if same {
        Ok(())
    } else {
        Err(Problem::unauthorized(given.is_some()))
    }
}

/// The token of an `Authorization` of the scheme Bearer, whose name is in any case.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The headers that let pages of the origin that is set read an answer.
pub fn cors_headers(settings: &Settings) -> Vec<(&'static str, String)> {
    let Some(origin) = &settings.cors_origin else {
        return Vec::new();
    };
    vec![
        ("access-control-allow-origin", origin.clone()),
        (
            "access-control-expose-headers",
            "Link, ETag, Flow-Watermark, Flow-Lineage, Retry-After".to_owned(),
        ),
    ]
}

/// The headers that a browser asks for before it asks for more than the simplest.
pub const PREFLIGHT_HEADERS: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD"),
    (
        "access-control-allow-headers",
        "Accept, Authorization, If-Match, If-None-Match",
    ),
    // A day: what may be asked does not change while the service runs.
    ("access-control-max-age", "86400"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(token: Option<&str>) -> Settings {
        Settings {
            api_token: token.map(str::to_owned),
            compression: true,
            cors_origin: None,
            log_requests: false,
            reader_timeout: None,
        }
    }

    #[test]
    fn only_the_token_that_is_set_opens() {
        let set = settings(Some("s3cret"));
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert!(check(&set, Some(right)).is_ok(), "{right}");
        }
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer",
            "Basic s3cret",
            "s3cret",
            "",
        ] {
            assert_eq!(
                check(&set, Some(wrong)).unwrap_err().status(),
                401,
                "{wrong}"
            );
        }
        assert_eq!(check(&set, None).unwrap_err().status(), 401);
    }

    #[test]
    fn without_a_token_everybody_may_ask() {
        assert!(check(&settings(None), None).is_ok());
        assert!(check(&settings(None), Some("Bearer x")).is_ok());
    }
}
