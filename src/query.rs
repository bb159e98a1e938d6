//! The query string becomes a [`Query`], or a 400 that names the parameter. Every 400 is born here.
//!
//! Deeper code never checks again. Which format a request gets is decided here too: the parameter wins
//! over the path's ending, and that over `Accept`.

use std::borrow::Cow;

use crate::format::Format;
use crate::negotiate;
use crate::problem::Problem;

/// A parameter of the query string: one row of the README's table.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name in the query string.
    pub name: &'static str,
    /// What values it takes.
    pub expected: &'static str,
    /// What it means.
    pub description: &'static str,
}

const SCANNED_AFTER: Parameter = Parameter {
    name: "scanned_after",
    expected: "a 64-bit integer (seconds)",
    description: "only flows with `time` greater than this; absent: no lower bound",
};
const SCANNED_BEFORE: Parameter = Parameter {
    name: "scanned_before",
    expected: "a 64-bit integer (seconds)",
    description: "only flows with `time` up to and including this; absent: no upper bound",
};
const LIMIT: Parameter = Parameter {
    name: "limit",
    expected: "a 64-bit integer >= 0",
    description: "at most so many flows; absent: all",
};
const FORMAT: Parameter = Parameter {
    name: "format",
    expected: Format::NAMES,
    description: "wins over the path's ending, which wins over `Accept`",
};

/// Every parameter that is known.
pub const PARAMETERS: [Parameter; 4] = [SCANNED_AFTER, SCANNED_BEFORE, LIMIT, FORMAT];

/// A valid request for flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Flows with a `time` greater than this, in seconds.
    pub after: Option<i64>,
    /// Flows with a `time` up to and including this, in seconds.
    pub before: Option<i64>,
    /// At most so many flows.
    pub limit: Option<i64>,
    /// How they are written.
    pub format: Format,
}

impl Query {
    /// Reads the query string of a request.
    ///
    /// # Errors
    /// A 400 that names the parameter, its value and what was expected: unknown, repeated, empty,
    /// malformed or out of range. A 406 when nothing that `Accept` names is on offer.
    pub fn parse(query: &str, otherwise: Fallback<'_>) -> Result<Self, Problem> {
        let mut given = [const { None }; PARAMETERS.len()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, name)?;
            let slot = PARAMETERS
                .iter()
                .zip(&mut given)
                .find(|(known, _)| known.name == name);
            let Some((_, slot)) = slot else {
                return Err(unknown(&name));
            };
            let value = decode(&name, value)?;
            if slot.replace(value).is_some() {
                let detail = format!("{name} is given more than once, expected once");
                return Err(Problem::invalid_detail(&name, detail));
            }
        }
        let [after, before, limit, format] = given;
        Ok(Self {
            after: integer(SCANNED_AFTER, after, i64::MIN)?,
            before: integer(SCANNED_BEFORE, before, i64::MIN)?,
            limit: integer(LIMIT, limit, 0)?,
            format: match format {
                Some(name) => Format::from_name(&name)
                    .ok_or_else(|| Problem::invalid(FORMAT.name, &name, FORMAT.expected))?,
                None => otherwise.format()?,
            },
        })
    }
}

/// What decides on the format where no parameter does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fallback<'a> {
    /// The format that the path ends in.
    pub ending: Option<Format>,
    /// The request's `Accept`.
    pub accept: Option<&'a str>,
}

impl Fallback<'_> {
    fn format(self) -> Result<Format, Problem> {
        match (self.ending, self.accept) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::default()),
            (None, Some(accept)) => {
                negotiate::format(accept).ok_or_else(|| Problem::not_acceptable(accept))
            }
        }
    }

    /// Whether the client of a request that may be faulty reads XML.
    pub fn asks_for_xml(self, query: &str) -> bool {
        let given = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("format="));
        let format = given
            .and_then(Format::from_name)
            .or_else(|| self.format().ok());
        format == Some(Format::Xml)
    }
}

/// Decimal digits with an optional minus, at least `least`.
fn integer(
    parameter: Parameter,
    value: Option<Cow<'_, str>>,
    least: i64,
) -> Result<Option<i64>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let digits = value.strip_prefix('-').unwrap_or(&value);
    let decimal = digits.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(number) if decimal && number >= least => Ok(Some(number)),
        _ => Err(Problem::invalid(parameter.name, &value, parameter.expected)),
    }
}

/// Decodes `application/x-www-form-urlencoded` text of the parameter `name`.
fn decode<'a>(name: &str, text: &'a str) -> Result<Cow<'a, str>, Problem> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let malformed = || {
        let detail = format!("{name} is {text:?}, expected UTF-8 with %XX escapes");
        Problem::invalid_detail(name, detail)
    };
    let escapes = text.split('%').skip(1);
    let whole = |escape: &str| {
        let mut digits = escape.bytes();
        digits.next().is_some_and(|b| b.is_ascii_hexdigit())
            && digits.next().is_some_and(|b| b.is_ascii_hexdigit())
    };
    if !escapes.into_iter().all(whole) {
        return Err(malformed());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(|text| Cow::Owned(text.into_owned()))
        .map_err(|_| malformed())
}

fn unknown(name: &str) -> Problem {
    let known = PARAMETERS.map(|parameter| parameter.name).join(", ");
    Problem::invalid_detail(
        name,
        format!("{name:?} is no parameter, expected one of {known}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Query {
        Query::parse(query, Fallback::default())
            .unwrap_or_else(|e| panic!("{query}: {}", e.detail()))
    }

    #[track_caller]
    fn refused(query: &str, detail: &str) {
        let problem = Query::parse(query, Fallback::default()).expect_err(query);
        assert_eq!(
            (problem.status(), problem.detail()),
            (400, detail),
            "{query}"
        );
    }

    #[test]
    fn nothing_given_means_all_flows_as_json() {
        let all = Query {
            after: None,
            before: None,
            limit: None,
            format: Format::Json,
        };
        assert_eq!(parse(""), all);
        assert_eq!(parse("&&"), all);
    }

    #[test]
    fn integers_reach_both_ends_of_64_bits() {
        let query = parse("scanned_after=-9223372036854775808&scanned_before=9223372036854775807");
        assert_eq!(
            (query.after, query.before),
            (Some(i64::MIN), Some(i64::MAX))
        );
        assert_eq!(parse("limit=0").limit, Some(0));
        assert_eq!(parse("scanned%5Fafter=%31").after, Some(1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_what_was_expected() {
        refused("limit=", r#"limit is "", expected a 64-bit integer >= 0"#);
        refused("limit", r#"limit is "", expected a 64-bit integer >= 0"#);
        refused(
            "limit=-1",
            r#"limit is "-1", expected a 64-bit integer >= 0"#,
        );
        refused(
            "limit=%2B1",
            r#"limit is "+1", expected a 64-bit integer >= 0"#,
        );
        refused(
            "limit=1_0",
            r#"limit is "1_0", expected a 64-bit integer >= 0"#,
        );
        let seconds = "expected a 64-bit integer (seconds)";
        refused(
            "scanned_after=x",
            &format!("scanned_after is \"x\", {seconds}"),
        );
        refused(
            "scanned_after=1.5",
            &format!("scanned_after is \"1.5\", {seconds}"),
        );
        refused(
            "scanned_after=1+2",
            &format!("scanned_after is \"1 2\", {seconds}"),
        );
        refused(
            "scanned_before=9223372036854775808",
            &format!("scanned_before is \"9223372036854775808\", {seconds}"),
        );
        refused(
            "scanned_before=%C3%28",
            r#"scanned_before is "%C3%28", expected UTF-8 with %XX escapes"#,
        );
        refused(
            "scanned_before=%4",
            r#"scanned_before is "%4", expected UTF-8 with %XX escapes"#,
        );
        refused(
            "limit=1&limit=1",
            "limit is given more than once, expected once",
        );
    }

    #[test]
    fn unknown_parameters_and_formats_are_refused() {
        let problem = Query::parse("since=1", Fallback::default()).unwrap_err();
        assert!(
            problem
                .detail()
                .starts_with(r#""since" is no parameter, expected one of scanned_after,"#)
        );
        refused(
            "format=yaml",
            &format!("format is \"yaml\", expected {}", Format::NAMES),
        );
    }

    #[test]
    fn the_parameter_wins_over_the_ending_and_that_over_accept() {
        let format = |query, ending, accept| {
            Query::parse(query, Fallback { ending, accept }).map(|query| query.format)
        };
        let (xml, csv) = (Some(Format::Xml), Some("text/csv"));
        assert_eq!(format("format=ndjson", xml, csv).unwrap(), Format::Ndjson);
        assert_eq!(format("", xml, csv).unwrap(), Format::Xml);
        assert_eq!(format("", None, csv).unwrap(), Format::Csv);
        assert_eq!(format("", None, None).unwrap(), Format::Json);
        assert_eq!(
            format("", None, Some("text/html")).unwrap_err().status(),
            406
        );
        assert_eq!(
            format("format=csv", None, Some("text/html")).unwrap(),
            Format::Csv
        );
    }

    #[test]
    fn a_faulty_request_still_tells_whether_xml_is_read() {
        let xml = Fallback {
            ending: Some(Format::Xml),
            accept: None,
        };
        assert!(xml.asks_for_xml("limit=x"));
        assert!(!xml.asks_for_xml("limit=x&format=json"));
        assert!(Fallback::default().asks_for_xml("limit=x&format=xml"));
        assert!(
            Fallback {
                ending: None,
                accept: Some("application/xml")
            }
            .asks_for_xml("limit=x")
        );
        assert!(
            !Fallback {
                ending: None,
                accept: Some("text/html")
            }
            .asks_for_xml("")
        );
    }
}
