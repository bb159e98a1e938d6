//! `application/x-www-form-urlencoded` text: its escapes, its length, and the query string that continues an
//! answer.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::ParamError;
use super::parameters::CURSOR;

/// The bytes of a query that a `Link` takes, escaped and without the cursor. A longer query is refused, so an
/// answer never leads to a `Link` that is refused.
///
/// The host takes 65,534 bytes of path and query; path and cursor need some of them. Over HTTP/2 it takes 16 KiB
/// for all headers of a request, and clients on Node.js take as much for those of an answer.
pub const MAX_LENGTH: usize = 60_000;

/// What hosts let through in a query and a URI may not hold (RFC 3986). Bytes beyond ASCII are escaped in any
/// case.
const NOT_IN_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Checks that a `Link` has room for the query.
///
/// # Errors
/// [`ParamError::TooLong`].
pub fn check_length(query: &str) -> Result<(), ParamError> {
    // An escape takes three bytes of a URI.
    if query.len() < MAX_LENGTH / 4 {
        return Ok(());
    }
    let length = with_cursor(query, "").len();
    if length > MAX_LENGTH {
        return Err(ParamError::TooLong { length });
    }
    Ok(())
}

/// The query string that continues after this one: the same with another cursor, escaped for a URI.
pub fn with_cursor(query: &str, cursor: &str) -> String {
    let is_cursor = |pair: &&str| {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        decode(name, name).is_ok_and(|name| name == CURSOR.name)
    };
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !is_cursor(pair));
    let cursor = format!("{}={cursor}", CURSOR.name);
    let next = kept.chain([cursor.as_str()]).collect::<Vec<_>>().join("&");
    utf8_percent_encode(&next, NOT_IN_URI).to_string()
}

/// Decodes the text of the parameter `name`.
///
/// # Errors
/// An escape that is not `%` and two hexadecimal digits, or text that is not UTF-8.
pub fn decode<'a>(name: &str, text: &'a str) -> Result<Cow<'a, str>, ParamError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let malformed = || {
        let detail = format!("{name} is {text:?}, expected UTF-8 with %XX escapes");
        ParamError::invalid(name, detail)
    };
    let is_whole = |escape: &str| {
        let mut digits = escape.bytes();
        digits.next().is_some_and(|b| b.is_ascii_hexdigit())
            && digits.next().is_some_and(|b| b.is_ascii_hexdigit())
    };
    if !text.split('%').skip(1).all(is_whole) {
        return Err(malformed());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(|text| Cow::Owned(text.into_owned()))
        .map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_query_is_the_same_with_another_cursor() {
        assert_eq!(with_cursor("", "x"), "cursor=x");
        assert_eq!(
            with_cursor("limit=1&cursor=a&src_comp=%26", "x"),
            "limit=1&src_comp=%26&cursor=x"
        );
        assert_eq!(with_cursor("c%75rsor=a&", "x"), "cursor=x");
        assert_eq!(
            with_cursor("src_comp=ä<[%26]", "x"),
            "src_comp=%C3%A4%3C%5B%26%5D&cursor=x"
        );
    }
}
