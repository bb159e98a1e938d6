//! The query string becomes a [`Query`], or a 400 that names the parameter. Every 400 is born here, and the 414.
//!
//! Deeper code never checks again. Which format a request gets is decided here too: the parameter wins
//! over the path's ending, and that over `Accept`.

use std::borrow::Cow;

use crate::cursor::{self, Cursor};
use crate::format::Format;
use crate::negotiate;
use crate::problem::Problem;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// A parameter of the query string: one row of the README's table.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name in the query string.
    pub name: &'static str,
    /// What values it takes.
    pub expected: &'static str,
    /// What it means.
    pub description: &'static str,
    /// What kind of value, for the OpenAPI document.
    pub kind: ParameterKind,
}

/// The kinds of values that parameters take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A 64-bit integer of at least this.
    Integer(i64),
    /// The name of a format.
    Format,
    /// A cursor.
    Cursor,
    /// A switch that is on when it is given, as 1.
    Switch,
    /// A lineage, 16 hexadecimal digits in small letters.
    Lineage,
    /// Any of the given integers; may be repeated.
    AnyInteger,
    /// Any of the given texts; may be repeated.
    AnyText,
}

impl ParameterKind {
    /// Whether the parameter may be given more than once.
    pub fn repeats(self) -> bool {
        matches!(self, Self::AnyInteger | Self::AnyText)
    }
}

const fn parameter(
    name: &'static str,
    kind: ParameterKind,
    expected: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter {
        name,
        expected,
        description,
        kind,
    }
}

/// Every parameter that is known, in the README's order.
pub const PARAMETERS: [Parameter; 13] = [
    parameter(
        "scanned_after",
        ParameterKind::Integer(i64::MIN),
        "a 64-bit integer (seconds)",
        "only flows with `time` greater than this; absent: no lower bound",
    ),
    parameter(
        "scanned_before",
        ParameterKind::Integer(i64::MIN),
        "a 64-bit integer (seconds)",
        "only flows with `time` up to and including this; absent: no upper bound",
    ),
    parameter(
        "limit",
        ParameterKind::Integer(0),
        "a 64-bit integer >= 0",
        "at most so many flows; absent: all",
    ),
    parameter(
        "format",
        ParameterKind::Format,
        Format::NAMES,
        "wins over the path's ending, which wins over `Accept`",
    ),
    parameter(
        "cursor",
        ParameterKind::Cursor,
        "a cursor from a `Link`",
        "goes on where a limited answer stopped",
    ),
    parameter(
        "after_id",
        ParameterKind::Integer(i64::MIN),
        "a 64-bit integer",
        "the arrival feed: flows with `id` greater than this, in the order of `id`; may be combined with the window",
    ),
    parameter(
        "end",
        ParameterKind::Switch,
        "1",
        "`ndjson` and `csv` end in a line that names the count and the watermark; the others have an end of their own",
    ),
    parameter(
        "lineage",
        ParameterKind::Lineage,
        "16 hexadecimal digits, as in `Flow-Lineage`",
        "answer only if the table still has this lineage, else 410",
    ),
    parameter(
        "src_comp",
        ParameterKind::AnyText,
        "text",
        "exact match; repeat for \"any of\"",
    ),
    parameter(
        "dst_comp",
        ParameterKind::AnyText,
        "text",
        "exact match; repeat for \"any of\"",
    ),
    parameter(
        "src_port",
        ParameterKind::AnyText,
        "text",
        "exact match; repeat for \"any of\"",
    ),
    parameter(
        "dst_port",
        ParameterKind::AnyText,
        "text",
        "exact match; repeat for \"any of\"",
    ),
    parameter(
        "protocol",
        ParameterKind::AnyInteger,
        "a 64-bit integer",
        "exact match; repeat for \"any of\"",
    ),
];

/// A valid request for flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which flows, in which order.
    pub question: Selection,
    /// At most so many flows.
    pub limit: Option<i64>,
    /// How they are written.
    pub format: Format,
    /// Where an earlier answer to the same question stopped.
    pub cursor: Option<Cursor>,
    /// Whether formats without an end of their own get one.
    pub end: bool,
    /// The lineage that the client goes on in: it wants no other.
    pub lineage: Option<String>,
}

/// Which flows are asked for: what a cursor belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Flows with a `time` greater than this, in seconds.
    pub after: Option<i64>,
    /// Flows with a `time` up to and including this, in seconds.
    pub before: Option<i64>,
    /// The arrival feed: flows with an `id` greater than this, in the order of `id`.
    pub after_id: Option<i64>,
    /// Flows that match every one of these.
    pub filters: Vec<Filter>,
}

/// One column that has to hold one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The column, one of those in [`crate::flow::FIELDS`].
    pub column: &'static str,
    /// What it may hold.
    pub values: Values,
}

/// The values of a filter, in order and each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// For a column of integers.
    Integers(Vec<i64>),
    /// For a column of text.
    Texts(Vec<String>),
}

impl Selection {
    /// The digest that ties a cursor to this question.
    pub fn digest(&self) -> u64 {
        cursor::digest(&self.wire_text())
    }

    /// The question as a text of its own, by which cursors and entity tags know it: a name and a value in JSON
    /// a line, so that no two questions look alike. It is part of the wire format.
    pub fn wire_text(&self) -> String {
        let Self {
            after,
            before,
            after_id,
            filters,
        } = self;
        let mut text = String::new();
        let bounds = [
            ("scanned_after", after),
            ("scanned_before", before),
            ("after_id", after_id),
        ];
        for (name, bound) in bounds {
            if let Some(bound) = bound {
                text.push_str(&format!("{name}={bound}\n"));
            }
        }
        for Filter { column, values } in filters {
            let values = match values {
                Values::Integers(all) => serde_json::to_string(all),
                Values::Texts(all) => serde_json::to_string(all),
            };
            // Numbers and strings cannot fail to serialize.
            text.push_str(&format!("{column}={}\n", values.unwrap_or_default()));
        }
        text
    }
}

impl Query {
    /// Reads the query string of a request.
    ///
    /// # Errors
    /// A 400 that names the parameter, its value and what was expected: unknown, repeated, empty,
    /// malformed or out of range. A 406 when nothing that `Accept` names is on offer. A 414 when it is longer
    /// than [`LONGEST`].
    pub fn parse(query: &str, otherwise: FormatPreference<'_>) -> Result<Self, Problem> {
        check_length(query)?;
        let mut given = [const { Vec::new() }; PARAMETERS.len()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, name)?;
            let slot = PARAMETERS
                .iter()
                .zip(&mut given)
                .find(|(known, _)| known.name == name);
            let Some((parameter, slot)) = slot else {
                return Err(unknown(&name));
            };
            if !parameter.kind.repeats() && !slot.is_empty() {
                let detail = format!("{name} is given more than once, expected once");
                return Err(Problem::invalid_detail(&name, detail));
            }
            slot.push(decode(&name, value)?);
        }
        let [
            p_after,
            p_before,
            p_limit,
            p_format,
            p_cursor,
            p_after_id,
            p_end,
            p_lineage,
            filters @ ..,
        ] = &PARAMETERS;
        let [
            after,
            before,
            limit,
            format,
            cursor,
            after_id,
            end,
            lineage,
            given_filters @ ..,
        ] = &given;
        let question = Selection {
            after: integer(p_after, after)?,
            before: integer(p_before, before)?,
            after_id: integer(p_after_id, after_id)?,
            filters: filters
                .iter()
                .zip(given_filters)
                .filter(|(_, values)| !values.is_empty())
                .map(|(parameter, values)| filter(parameter, values))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            limit: integer(p_limit, limit)?,
            end: match end.first().map(|value| &**value) {
                None => false,
                Some("1") => true,
                Some(other) => return Err(Problem::invalid(p_end.name, other, p_end.expected)),
            },
            lineage: match lineage.first() {
                None => None,
                Some(text) if is_lineage(text) => Some(text.clone().into_owned()),
                Some(text) => {
                    return Err(Problem::invalid(p_lineage.name, text, p_lineage.expected));
                }
            },
            format: match format.first() {
                Some(name) => Format::from_name(name)
                    .ok_or_else(|| Problem::invalid(p_format.name, name, p_format.expected))?,
                None => otherwise.format()?,
            },
            cursor: match cursor.first() {
                Some(text) => Some(Cursor::decode(text, question.digest()).map_err(|what| {
                    Problem::invalid_detail(p_cursor.name, format!("cursor {text:?} {what}"))
                })?),
                None => None,
            },
            question,
        })
    }
}

/// Checks the query string of a path that takes no parameter.
///
/// # Errors
/// A 400 that names the first parameter, a 414 as in [`Query::parse`].
pub fn refuse_any(query: &str) -> Result<(), Problem> {
    check_length(query)?;
    let Some(pair) = query.split('&').find(|pair| !pair.is_empty()) else {
        return Ok(());
    };
    let name = pair.split('=').next().unwrap_or_default();
    let name = decode(name, name)?;
    let detail = format!("{name:?} is no parameter, expected none here");
    Err(Problem::invalid_detail(&name, detail))
}

/// What decides on the format where no parameter does.
#[derive(Debug, Clone, Copy, Default)]
pub struct FormatPreference<'a> {
    /// The format that the path ends in.
    pub ending: Option<Format>,
    /// The request's `Accept`.
    pub accept: Option<&'a str>,
}

impl FormatPreference<'_> {
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
        let given = query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let format = decode(name, name).is_ok_and(|name| name == "format");
            format.then(|| decode(name, value).ok()).flatten()
        });
        let named = given.and_then(|name| Format::from_name(&name));
        let format = named.or_else(|| self.format().ok());
        format == Some(Format::Xml)
    }
}

/// What a query may hold as hosts let it through, and a URI may not (RFC 3986): it is escaped in a Link.
/// Bytes beyond ASCII are in any case.
const NO_URI: &AsciiSet = &CONTROLS
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

/// Bytes that a query may take as a `Link` carries it: escaped, without the cursor. So what has been
/// answered goes on with a `Link` that is answered.
///
/// The host takes a path and query of 65,534 bytes, of which path and cursor need some. Over HTTP/2 it takes
/// 16 KiB for a request's headers together, and clients on Node.js take as much for an answer's.
pub const LONGEST: usize = 60_000;

/// The `Link` that leads on behind a request for this path and query.
///
/// Its target is relative to the request: behind a proxy the path may start otherwise.
pub fn next_link(path: &str, query: &str, cursor: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let next = with_cursor(query, cursor);
    format!("<{name}?{next}>; rel=\"next\"")
}

/// Checks that a `Link` has room for the query.
fn check_length(query: &str) -> Result<(), Problem> {
    // An escape takes three bytes of a URI.
    if query.len() < LONGEST / 4 {
        return Ok(());
    }
    let length = with_cursor(query, "").len();
    if length > LONGEST {
        return Err(Problem::too_long(length, LONGEST));
    }
    Ok(())
}

/// The query string that goes on behind this one: the same, with another cursor.
pub fn with_cursor(query: &str, cursor: &str) -> String {
    let name = |pair: &&str| {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        decode(name, name).is_ok_and(|name| name == "cursor")
    };
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !name(pair));
    let cursor = format!("cursor={cursor}");
    let next = kept.chain([cursor.as_str()]).collect::<Vec<_>>().join("&");
    utf8_percent_encode(&next, NO_URI).to_string()
}

fn filter(parameter: &Parameter, values: &[Cow<'_, str>]) -> Result<Filter, Problem> {
    let values = if parameter.kind == ParameterKind::AnyInteger {
        let values = values
            .iter()
            .map(|value| one_integer(parameter, value, i64::MIN));
        let mut values = values.collect::<Result<Vec<_>, _>>()?;
        values.sort_unstable();
        values.dedup();
        Values::Integers(values)
    } else {
        if values.iter().any(|value| value.is_empty()) {
            return Err(Problem::invalid(parameter.name, "", parameter.expected));
        }
        let mut values: Vec<_> = values
            .iter()
            .map(|value| value.clone().into_owned())
            .collect();
        values.sort_unstable();
        values.dedup();
        Values::Texts(values)
    };
    Ok(Filter {
        column: parameter.name,
        values,
    })
}

fn integer(parameter: &Parameter, given: &[Cow<'_, str>]) -> Result<Option<i64>, Problem> {
    let least = match parameter.kind {
        ParameterKind::Integer(least) => least,
        _ => i64::MIN,
    };
    given
        .first()
        .map(|value| one_integer(parameter, value, least))
        .transpose()
}

fn is_lineage(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Decimal digits with an optional minus, at least `least`.
fn one_integer(parameter: &Parameter, value: &str, least: i64) -> Result<i64, Problem> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let decimal = digits.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(number) if decimal && number >= least => Ok(number),
        _ => Err(Problem::invalid(parameter.name, value, parameter.expected)),
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
    let whole = |escape: &str| {
        let mut digits = escape.bytes();
        digits.next().is_some_and(|b| b.is_ascii_hexdigit())
            && digits.next().is_some_and(|b| b.is_ascii_hexdigit())
    };
    if !text.split('%').skip(1).all(whole) {
        return Err(malformed());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
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
        let parsed = Query::parse(query, FormatPreference::default());
        parsed.unwrap_or_else(|problem| panic!("{query}: {}", problem.detail()))
    }

    #[track_caller]
    fn refused(query: &str, detail: &str) {
        let problem = Query::parse(query, FormatPreference::default()).expect_err(query);
        assert_eq!(
            (problem.status(), problem.detail()),
            (400, detail),
            "{query}"
        );
    }

    #[test]
    fn nothing_given_means_all_flows_as_json() {
        let question = Selection::default();
        let all = Query {
            question,
            limit: None,
            format: Format::Json,
            cursor: None,
            end: false,
            lineage: None,
        };
        assert_eq!(parse(""), all);
        assert_eq!(parse("&&"), all);
    }

    #[test]
    fn a_lineage_is_sixteen_small_hexadecimal_digits() {
        let lineage = "0123456789abcdef";
        let parsed = parse(&format!("lineage={lineage}"));
        assert_eq!(parsed.lineage.as_deref(), Some(lineage));
        assert_eq!(parsed.question, Selection::default());
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
            "0123456789abcdeg",
        ] {
            refused(
                &format!("lineage={wrong}"),
                &format!(
                    "lineage is {wrong:?}, expected 16 hexadecimal digits, as in `Flow-Lineage`"
                ),
            );
        }
    }

    #[test]
    fn a_question_has_one_text_of_its_own() {
        let text = |query| parse(query).question.wire_text();
        // Cursors and entity tags hold a hash of it: another text makes all of them invalid.
        assert_eq!(
            text("protocol=6&src_comp=b&src_comp=a&after_id=1&scanned_before=3&scanned_after=2"),
            "scanned_after=2\nscanned_before=3\nafter_id=1\nsrc_comp=[\"a\",\"b\"]\nprotocol=[6]\n"
        );
        assert_eq!(text(""), "");
        assert_eq!(text("src_comp=a%0Ab%22"), "src_comp=[\"a\\nb\\\"\"]\n");
        assert_eq!(
            parse("scanned_after=1").question.digest(),
            7_480_168_795_136_557_478
        );
    }

    #[test]
    fn integers_reach_both_ends_of_64_bits() {
        let query = parse("scanned_after=-9223372036854775808&scanned_before=9223372036854775807");
        assert_eq!(query.question.after, Some(i64::MIN));
        assert_eq!(query.question.before, Some(i64::MAX));
        assert_eq!(parse("limit=0").limit, Some(0));
        assert_eq!(parse("scanned%5Fafter=%31").question.after, Some(1));
        assert_eq!(parse("after_id=-1").question.after_id, Some(-1));
    }

    #[test]
    fn filters_repeat_and_name_their_column() {
        let filters = parse("dst_port=N1&protocol=17&dst_port=443&protocol=6&dst_port=N1")
            .question
            .filters;
        let ports = Values::Texts(vec!["443".into(), "N1".into()]);
        let protocols = Values::Integers(vec![6, 17]);
        let expected = [("dst_port", ports), ("protocol", protocols)];
        assert_eq!(
            filters,
            expected.map(|(column, values)| Filter { column, values })
        );
        assert_eq!(
            parse("src_comp=a+%26%2B").question.filters[0].values,
            Values::Texts(vec!["a &+".into()])
        );
        refused("src_comp=", r#"src_comp is "", expected text"#);
        refused(
            "protocol=tcp",
            r#"protocol is "tcp", expected a 64-bit integer"#,
        );
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
        let above = "9223372036854775808";
        refused(
            &format!("scanned_before={above}"),
            &format!("scanned_before is \"{above}\", {seconds}"),
        );
        let escapes = "expected UTF-8 with %XX escapes";
        refused(
            "scanned_before=%C3%28",
            &format!("scanned_before is \"%C3%28\", {escapes}"),
        );
        refused(
            "scanned_before=%4",
            &format!("scanned_before is \"%4\", {escapes}"),
        );
        refused(
            "limit=1&limit=1",
            "limit is given more than once, expected once",
        );
    }

    #[test]
    fn unknown_parameters_and_formats_are_refused() {
        let problem = Query::parse("since=1", FormatPreference::default()).unwrap_err();
        let expected = r#""since" is no parameter, expected one of scanned_after,"#;
        assert!(
            problem.detail().starts_with(expected),
            "{}",
            problem.detail()
        );
        refused(
            "format=yaml",
            &format!("format is \"yaml\", expected {}", Format::NAMES),
        );
    }

    #[test]
    fn a_cursor_belongs_to_its_question_whatever_the_limit_and_format() {
        let question = parse("scanned_after=1&src_comp=a&src_comp=b").question;
        let key = crate::packed::RowKey { time: 2, id: 3 };
        let cursor = Cursor {
            newest: 9,
            place: cursor::CursorSeek::AfterKey(key),
            guard: None,
        };
        let text = cursor.encode(question.digest());
        let other_order = parse(&format!(
            "limit=5&format=csv&src_comp=b&src_comp=a&scanned_after=1&cursor={text}"
        ));
        assert_eq!(other_order.cursor, Some(cursor));
        for other in [
            "scanned_after=2&src_comp=a&src_comp=b",
            "scanned_after=1&src_comp=a",
            "scanned_after=1&dst_comp=a&dst_comp=b",
            "",
        ] {
            let problem = Query::parse(
                &format!("{other}&cursor={text}"),
                FormatPreference::default(),
            )
            .unwrap_err();
            assert!(
                problem.detail().contains("another question"),
                "{other}: {}",
                problem.detail()
            );
        }
    }

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

    #[test]
    fn the_parameter_wins_over_the_ending_and_that_over_accept() {
        let format = |query, ending, accept| {
            Query::parse(query, FormatPreference { ending, accept }).map(|query| query.format)
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
        let xml = FormatPreference {
            ending: Some(Format::Xml),
            accept: None,
        };
        assert!(xml.asks_for_xml("limit=x"));
        assert!(!xml.asks_for_xml("limit=x&format=json"));
        assert!(FormatPreference::default().asks_for_xml("limit=x&format=xml"));
        assert!(FormatPreference::default().asks_for_xml("f%6Frmat=%78ml"));
        assert!(
            FormatPreference {
                ending: None,
                accept: Some("application/xml")
            }
            .asks_for_xml("limit=x")
        );
        assert!(
            !FormatPreference {
                ending: None,
                accept: Some("text/html")
            }
            .asks_for_xml("")
        );
    }
}
