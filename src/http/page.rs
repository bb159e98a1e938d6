//! The page for people: one HTML file that asks the API, and nothing else.

/// The page.
pub const PAGE: &str = include_str!("page/page.html");

/// Its media type.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// The media types that every browser lists in `Accept`.
pub const BROWSER_MEDIA_TYPES: [&str; 2] = ["text/html", "application/xhtml+xml"];

/// The policy of the page (Content Security Policy Level 3): its own style and script, by their hashes, and requests to
/// where it came from. A test holds the hashes to the page.
pub const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-TvGEcAxYdZOqqR6I4Oz212q7ZJCO9lm3kQSkMpjoMVY='; \
    script-src 'sha256-sYpC3unZQG/dG/5G3SejIdpsGI0XRDly+Xnibm5SVmA='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
