//! Errors as the client sees them: problem details of RFC 9457, in JSON or XML.
//!
//! A problem knows its status and what the client may read of it. What the log alone may tell (SQL, the
//! host's words) travels along as its cause and never reaches a response.

use std::fmt::Write as _;
use std::time::Duration;

use quick_xml::escape::escape;
use serde::Serialize;

use crate::db::{DbError, DbErrorKind};
use crate::format::Format;

/// The kinds of problem, each with a section in the README of the same title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A parameter is unknown, malformed or out of range.
    InvalidParameter,
    /// The access token is missing or wrong.
    Unauthorized,
    /// No such path.
    NotFound,
    /// Another method than GET and HEAD.
    MethodNotAllowed,
    /// `Accept` names nothing on offer.
    NotAcceptable,
    /// What the request goes on from is of another state of the table; asking without it helps.
    Gone,
    /// `If-Match` names no current tag.
    PreconditionFailed,
    /// The query is longer than a `Link` may be.
    TooLong,
    /// The database lacks what the service needs; the detail says what to run.
    NotReady,
    /// The database stays locked; trying again helps.
    Busy,
    /// A record, or a fault, that the service cannot serve.
    Internal,
}

impl Kind {
    /// Every kind, in the order of status.
    pub const ALL: [Self; 11] = [
        Self::InvalidParameter,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Gone,
        Self::PreconditionFailed,
        Self::TooLong,
        Self::Internal,
        Self::NotReady,
        Self::Busy,
    ];

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidParameter => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::Gone => 410,
            Self::PreconditionFailed => 412,
            Self::TooLong => 414,
            Self::Internal => 500,
            Self::NotReady | Self::Busy => 503,
        }
    }

    /// The `type`: a stable name of the kind, with nothing behind it to fetch (RFC 9457, section 3.1.1).
    pub fn type_uri(self) -> &'static str {
        match self {
            Self::InvalidParameter => "urn:problem-type:flow-window:invalid-parameter",
            Self::Unauthorized => "urn:problem-type:flow-window:unauthorized",
            Self::NotFound => "urn:problem-type:flow-window:not-found",
            Self::MethodNotAllowed => "urn:problem-type:flow-window:method-not-allowed",
            Self::NotAcceptable => "urn:problem-type:flow-window:not-acceptable",
            Self::Gone => "urn:problem-type:flow-window:gone",
            Self::PreconditionFailed => "urn:problem-type:flow-window:precondition-failed",
            Self::TooLong => "urn:problem-type:flow-window:uri-too-long",
            Self::Internal => "urn:problem-type:flow-window:internal-error",
            Self::NotReady => "urn:problem-type:flow-window:database-not-ready",
            Self::Busy => "urn:problem-type:flow-window:database-busy",
        }
    }

    /// The `title`: the same for every problem of the kind.
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidParameter => "Invalid parameter",
            Self::Unauthorized => "Unauthorized",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::NotAcceptable => "Not acceptable",
            Self::Gone => "Gone",
            Self::PreconditionFailed => "Precondition failed",
            Self::TooLong => "URI too long",
            Self::Internal => "Internal error",
            Self::NotReady => "Database not ready",
            Self::Busy => "Database busy",
        }
    }
}

/// One problem.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    parameter: Option<String>,
    cause: Option<String>,
}

/// What the database says, as a client may read it.
impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        let DbError {
            kind,
            detail,
            cause,
        } = error;
        let problem = match kind {
            DbErrorKind::NotReady | DbErrorKind::GuardLost => Self::not_ready(detail),
            DbErrorKind::Busy | DbErrorKind::Edited => Self::new(Kind::Busy, detail),
            DbErrorKind::Gone(parameter) => Self::gone(parameter, detail),
            DbErrorKind::TooLarge | DbErrorKind::UnnamedBlob | DbErrorKind::Internal => {
                Self::internal(detail)
            }
        };
        Self { cause, ..problem }
    }
}

/// A flow that no format can write: the error names it and says why.
impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::internal(format!("{error:#}"))
    }
}

/// The body of a problem, in the order of RFC 9457.
#[derive(Serialize)]
struct Details<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            kind,
            detail,
            parameter: None,
            cause: None,
        }
    }

    /// 400: `value` of `parameter` is not what was `expected`.
    pub fn invalid(parameter: &str, value: &str, expected: &str) -> Self {
        let detail = format!("{parameter} is {value:?}, expected {expected}");
        Self {
            parameter: Some(parameter.into()),
            ..Self::new(Kind::InvalidParameter, detail)
        }
    }

    /// 400 with a detail of its own.
    pub fn invalid_detail(parameter: &str, detail: impl Into<String>) -> Self {
        Self {
            parameter: Some(parameter.into()),
            ..Self::new(Kind::InvalidParameter, detail)
        }
    }

    /// 401: the token that was `given`, if one was, is not the one that is set.
    pub fn unauthorized(given: bool) -> Self {
        let detail = if given {
            "the access token is wrong"
        } else {
            "expected the header Authorization: Bearer with the access token"
        };
        Self::new(Kind::Unauthorized, detail)
    }

    /// 404.
    pub fn not_found(path: &str) -> Self {
        let detail = format!("no resource at {path}; flows are at /api/v1/stream/flows");
        Self::new(Kind::NotFound, detail)
    }

    /// 405.
    pub fn method_not_allowed(method: &str) -> Self {
        Self::new(
            Kind::MethodNotAllowed,
            format!("method {method}, expected GET or HEAD"),
        )
    }

    /// 406.
    pub fn not_acceptable(accept: &str) -> Self {
        let offered = Format::ALL.map(Format::media_type).join(", ");
        let detail =
            format!("Accept is {accept:?}, expected one of {offered}, or `format` to be given");
        Self::new(Kind::NotAcceptable, detail)
    }

    /// 410: `parameter` goes on from another state of the table. Without it there is an answer.
    pub fn gone(parameter: &str, detail: impl Into<String>) -> Self {
        Self {
            parameter: Some(parameter.into()),
            ..Self::new(Kind::Gone, detail)
        }
    }

    /// 412: no tag of `if_match` is the current one.
    pub fn precondition_failed(if_match: &str) -> Self {
        let detail = format!("If-Match is {if_match:?}, which does not name the current answer");
        Self::new(Kind::PreconditionFailed, detail)
    }

    /// 414: the query takes `length` bytes of a `Link`, which has room for `limit`.
    pub fn too_long(length: usize, limit: usize) -> Self {
        let detail = format!(
            "the query takes {length} bytes, escaped as a Link would carry it, expected at most {limit}"
        );
        Self::new(Kind::TooLong, detail)
    }

    /// 503: the operator has to act.
    pub fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotReady, detail)
    }

    /// 500.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(Kind::Internal, detail)
    }

    /// For the log: a client that has taken nothing of its answer for so long.
    pub fn reader_stalled(timeout: Duration) -> Self {
        let detail = format!(
            "the client has taken nothing for {} s; its connection is cut",
            timeout.as_secs()
        );
        Self::new(Kind::Internal, detail)
    }

    /// Adds what the log is told and the client is not.
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }

    /// What the client is told.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The line for the log: the detail, and the cause where there is one.
    pub fn log_line(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{} ({cause})", self.detail),
            None => self.detail.clone(),
        }
    }

    /// Headers beside the content type.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            // SQLite has waited for five seconds already; a writer's batch takes less than that again.
            Kind::Busy => &[("retry-after", "5")],
            Kind::MethodNotAllowed => &[("allow", "GET, HEAD")],
            Kind::Unauthorized => &[("www-authenticate", "Bearer realm=\"flow-window\"")],
            _ => &[],
        }
    }

    /// Content type and body, as XML where the request asked for XML.
    pub fn render(&self, as_xml: bool) -> (&'static str, Vec<u8>) {
        let details = Details {
            r#type: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.status(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
        };
        if as_xml {
            ("application/problem+xml", details.to_xml().into_bytes())
        } else {
            // Strings and a number cannot fail to serialize; an empty body is what is left if they do.
            (
                "application/problem+json",
                serde_json::to_vec(&details).unwrap_or_default(),
            )
        }
    }
}

impl Details<'_> {
    /// The XML form of RFC 9457, appendix B.
    fn to_xml(&self) -> String {
        let mut xml = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<problem xmlns=\"urn:ietf:rfc:7807\">",
        );
        let status = self.status.to_string();
        let fields = [
            ("type", Some(self.r#type)),
            ("title", Some(self.title)),
            ("status", Some(status.as_str())),
            ("detail", Some(self.detail)),
            ("parameter", self.parameter),
        ];
        for (name, value) in fields {
            let Some(value) = value else { continue };
            let value: String = value.chars().map(crate::format::xml_char).collect();
            // Writing to a String does not fail.
            _ = write!(xml, "<{name}>{}</{name}>", escape(&value));
        }
        xml.push_str("</problem>");
        xml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_parameter_names_itself_its_value_and_what_was_expected() {
        let (content_type, body) = Problem::invalid("limit", "-1", "an integer >= 0").render(false);
        assert_eq!(content_type, "application/problem+json");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"type":"urn:problem-type:flow-window:invalid-parameter","title":"Invalid parameter","status":400,"detail":"limit is \"-1\", expected an integer >= 0","parameter":"limit"}"#
        );
    }

    #[test]
    fn xml_escapes_what_the_client_sent() {
        let (_, body) = Problem::invalid("a<b", "\u{1}&", "x").render(true);
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("<parameter>a&lt;b</parameter>"), "{body}");
        assert!(!body.contains('\u{1}'), "{body}");
    }

    #[test]
    fn the_cause_stays_in_the_log() {
        let problem = Problem::internal("broken").caused_by("SELECT secret");
        let (_, body) = problem.render(false);
        assert!(!String::from_utf8(body).unwrap().contains("secret"));
        assert_eq!(problem.log_line(), "broken (SELECT secret)");
    }
}
