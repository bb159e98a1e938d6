//! The query string: what a client asks for.
//!
//! - [`parameters`]: the list of parameters
//! - [`parse`]: the query string becomes a [`Query`] or a [`ParamError`]; deeper code never checks again
//! - [`counts`]: what a client asks to have counted
//! - [`selection`]: which flows, in which order
//! - [`cursor`]: where a limited answer stopped, for the client to carry
//! - [`urlencoded`]: escapes, and the query string that continues an answer

use crate::formats::Format;
use crate::table::layout::Layout;
use cursor::Cursor;
use selection::Selection;

pub mod counts;
pub mod cursor;
pub mod parameters;
pub mod parse;
pub mod selection;
pub mod urlencoded;

/// A valid request for flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which flows, in which order.
    pub selection: Selection,
    /// At most so many flows.
    pub limit: Option<i64>,
    /// How they are written.
    pub format: Format,
    /// Which columns are written, in which order.
    pub layout: Layout,
    /// Where an earlier answer of the same selection stopped.
    pub cursor: Option<Cursor>,
    /// Whether a format without an end of its own gets one.
    pub end: bool,
    /// The lineage that the client has seen: it wants no other.
    pub lineage: Option<String>,
}

impl Query {
    /// All flows of a selection.
    pub fn of(selection: Selection, format: Format, layout: Layout) -> Self {
        Self {
            selection,
            limit: None,
            format,
            layout,
            cursor: None,
            end: false,
            lineage: None,
        }
    }
}

/// Why a query string is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamError {
    /// A parameter is unknown, repeated, empty, malformed or out of range.
    Invalid {
        /// Its name.
        parameter: String,
        /// Its value, and what was expected.
        detail: String,
    },
    /// No parameter names a format, and no format is acceptable.
    NotAcceptable(NotAcceptable),
    /// The query is longer than [`urlencoded::MAX_LENGTH`].
    TooLong {
        /// Its length in bytes, escaped as a `Link` carries it.
        length: usize,
    },
}

/// No format is acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAcceptable {
    /// The request's `Accept`.
    pub accept: String,
}

impl ParamError {
    /// `value` of `parameter` is not what was `expected`.
    pub fn unexpected(parameter: &str, value: &str, expected: &str) -> Self {
        let detail = format!("{parameter} is {value:?}, expected {expected}");
        Self::invalid(parameter, detail)
    }

    /// `parameter` cannot be taken, for the reason in `detail`.
    pub fn invalid(parameter: &str, detail: String) -> Self {
        Self::Invalid {
            parameter: parameter.to_owned(),
            detail,
        }
    }
}
