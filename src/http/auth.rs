//! The access token (RFC 6750).

use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::settings::Settings;

/// Checks the `Authorization` of a request (RFC 6750, section 2.1) where a token is set. The comparison takes the same
/// time wherever the tokens differ.
///
/// # Errors
/// A 401 when the token is missing or wrong.
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

/// The token of an `Authorization` of the scheme Bearer. The scheme's case does not matter.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

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
