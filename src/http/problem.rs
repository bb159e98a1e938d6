//! Errors as the client sees them: problem details of RFC 9457, in JSON or XML.
//!
//! A problem knows its status and what the client may read. What the log alone may tell, such as SQL and the host's
//! words, is its cause and never reaches a response. Every error of a lower layer becomes a problem here.

use std::fmt::Write as _;

use quick_xml::escape::escape;
use serde::Serialize;

use super::routes;
use crate::db::{DbError, DbErrorKind};
use crate::export::ExportError;
use crate::export::counts::{MAX_VALUE_BYTES, MAX_VALUES};
use crate::formats::Format;
use crate::query::urlencoded::MAX_LENGTH;
use crate::query::{NotAcceptable, ParamError};
use crate::settings::SettingsError;

/// The kinds of problem: one row each in `docs/api.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
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
    /// A parameter names another state of the table: asking without it helps.
    Gone,
    /// `If-Match` names no current tag.
    PreconditionFailed,
    /// The query is longer than a `Link` has room for.
    TooLong,
    /// There are more values than can be counted: a smaller window or a filter helps.
    TooManyValues,
    /// The database lacks what the service needs; the detail says what to run.
    NotReady,
    /// The database stays locked: trying again helps.
    Busy,
    /// A flow that no format can write, or a fault of the service.
    Internal,
}

impl ProblemKind {
    /// Every kind, in the order of status.
    pub const ALL: [Self; 12] = [
        Self::InvalidParameter,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Gone,
        Self::PreconditionFailed,
        Self::TooLong,
        Self::TooManyValues,
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
            Self::TooManyValues => 422,
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
            Self::TooManyValues => "urn:problem-type:flow-window:too-many-values",
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
            Self::TooManyValues => "Too many values",
            Self::Internal => "Internal error",
            Self::NotReady => "Database not ready",
            Self::Busy => "Database busy",
        }
    }
}

/// One problem.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    parameter: Option<String>,
    cause: Option<String>,
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        let DbError {
            kind,
            detail,
            cause,
        } = error;
        let problem = match kind {
            DbErrorKind::NotReady | DbErrorKind::GuardLost => {
                Self::new(ProblemKind::NotReady, detail)
            }
            DbErrorKind::Busy
            | DbErrorKind::Edited
            | DbErrorKind::Expired
            | DbErrorKind::NoIndex
            | DbErrorKind::NoMinutes => Self::new(ProblemKind::Busy, detail),
            DbErrorKind::Gone(parameter) => Self::new(ProblemKind::Gone, detail).of(parameter),
            DbErrorKind::TooLarge
            | DbErrorKind::UnnamedBlob
            | DbErrorKind::Unsupported
            | DbErrorKind::Overflow
            | DbErrorKind::Internal => Self::new(ProblemKind::Internal, detail),
        };
        Self { cause, ..problem }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        let detail = match error {
            ExportError::Db(error) => return error.into(),
            ExportError::Record(error) => error.to_string(),
            ExportError::Gzip(error) => error.to_string(),
            ExportError::ReaderStalled(timeout) => format!(
                "the client has taken nothing for {} s; its connection is cut",
                timeout.as_secs()
            ),
            ExportError::Overflow(sum) => format!("the sum of {sum} takes more than 64 bits"),
            ExportError::TooManyValues(column) => {
                let detail = format!(
                    "{column} has more than {MAX_VALUES} values or {MAX_VALUE_BYTES} bytes of them here; ask for a \
                     smaller window or with a filter"
                );
                return Self::new(ProblemKind::TooManyValues, detail);
            }
        };
        Self::new(ProblemKind::Internal, detail)
    }
}

impl From<ParamError> for Problem {
    fn from(error: ParamError) -> Self {
        match error {
            ParamError::Invalid { parameter, detail } => {
                Self::new(ProblemKind::InvalidParameter, detail).of(&parameter)
            }
            ParamError::NotAcceptable(NotAcceptable { accept }) => {
                let offered = Format::ALL.map(Format::media_type).join(", ");
                let detail = format!(
                    "Accept is {accept:?}, expected one of {offered}, or `format` to be given"
                );
                Self::new(ProblemKind::NotAcceptable, detail)
            }
            ParamError::TooLong { length } => {
                let detail = format!(
                    "the query takes {length} bytes, escaped as a Link would carry it, expected at most {MAX_LENGTH}"
                );
                Self::new(ProblemKind::TooLong, detail)
            }
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(SettingsError { detail, cause }: SettingsError) -> Self {
        Self {
            cause,
            ..Self::new(ProblemKind::NotReady, detail)
        }
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
    fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            kind,
            detail,
            parameter: None,
            cause: None,
        }
    }

    /// FormatInfo the parameter at fault.
    fn of(self, parameter: &str) -> Self {
        Self {
            parameter: Some(parameter.to_owned()),
            ..self
        }
    }

    /// 401: the token that was `given`, if one was, is not the one that is set.
    pub fn unauthorized(given: bool) -> Self {
        let detail = if given {
            "the access token is wrong"
        } else {
            "expected the header Authorization: Bearer with the access token"
        };
        Self::new(ProblemKind::Unauthorized, detail)
    }

    /// 404.
    pub fn not_found(path: &str) -> Self {
        let detail = format!("no resource at {path}; flows are at {}", routes::FLOWS);
        Self::new(ProblemKind::NotFound, detail)
    }

    /// 405.
    pub fn method_not_allowed(method: &str) -> Self {
        Self::new(
            ProblemKind::MethodNotAllowed,
            format!("method {method}, expected GET or HEAD"),
        )
    }

    /// 412: no tag of `if_match` is the current one.
    pub fn precondition_failed(if_match: &str) -> Self {
        let detail = format!("If-Match is {if_match:?}, which does not name the current answer");
        Self::new(ProblemKind::PreconditionFailed, detail)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.kind.status()
    }

    /// What the client is told.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The line for the log: the detail, and the cause if there is one.
    pub fn log_line(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{} ({cause})", self.detail),
            None => self.detail.clone(),
        }
    }

    /// Headers beside the content type.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.kind {
            // SQLite has waited for five seconds. A writer's batch takes less than that.
            ProblemKind::Busy => &[("retry-after", "5")],
            ProblemKind::MethodNotAllowed => &[("allow", "GET, HEAD")],
            ProblemKind::Unauthorized => &[("www-authenticate", "Bearer realm=\"flow-window\"")],
            _ => &[],
        }
    }

    /// Content type and body, in XML or JSON.
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
            // Strings and a number cannot fail to serialize.
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
            let value: String = value.chars().map(crate::formats::xml_char).collect();
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
        let (content_type, body) =
            Problem::from(ParamError::unexpected("limit", "-1", "an integer >= 0")).render(false);
        assert_eq!(content_type, "application/problem+json");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"type":"urn:problem-type:flow-window:invalid-parameter","title":"Invalid parameter","status":400,"detail":"limit is \"-1\", expected an integer >= 0","parameter":"limit"}"#
        );
    }

    #[test]
    fn xml_escapes_what_the_client_sent() {
        let (_, body) = Problem::from(ParamError::unexpected("a<b", "\u{1}&", "x")).render(true);
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("<parameter>a&lt;b</parameter>"), "{body}");
        assert!(!body.contains('\u{1}'), "{body}");
    }

    #[test]
    fn the_cause_stays_in_the_log() {
        let problem = Problem::from(DbError::internal("broken").caused_by("SELECT secret"));
        let (_, body) = problem.render(false);
        assert!(!String::from_utf8(body).unwrap().contains("secret"));
        assert_eq!(problem.log_line(), "broken (SELECT secret)");
    }
}
