//! A request as its host has it, and what a handler knows of it.

use super::negotiate::FormatPreference;
use crate::db::Database;
use crate::db::readiness::Readiness;
use crate::settings::Settings;

/// A request as its host has it. The core takes over only what it asks for.
pub trait Request {
    /// The method, in capitals.
    fn method(&self) -> String;

    /// Path and query, as they were sent.
    fn target(&self) -> String;

    /// The values of a header, one for each time that it is given.
    fn header(&self, name: &str) -> Vec<Vec<u8>>;
}

/// What a handler knows of its request.
pub struct RequestContext<'a, D: Database, R> {
    /// The request.
    pub request: &'a R,
    /// Its path.
    pub path: &'a str,
    /// Its query string, without the question mark.
    pub query: &'a str,
    /// What decides on the format where no parameter does.
    pub preference: FormatPreference<'a>,
    /// What the operator has set.
    pub settings: &'a Settings,
    /// The database, and what is known of it.
    pub readiness: &'a Readiness<D>,
}

impl<D: Database, R: Request> RequestContext<'_, D, R> {
    /// The values of a header as one list; `None` without one.
    pub fn header(&self, name: &str) -> Option<String> {
        header(self.request, name)
    }
}

/// The values of a header as one list (RFC 9110, section 5.3); `None` without one.
pub fn header(request: &impl Request, name: &str) -> Option<String> {
    let values = request.header(name);
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    (!values.is_empty()).then(|| values.iter().map(text).collect::<Vec<_>>().join(", "))
}
