//! The query string becomes a [`Query`], or an error that names the parameter.

use std::borrow::Cow;
use std::collections::BinaryHeap;

use super::counts::{Buckets, HistogramQuery, Measure, TopQuery};
use super::cursor::Cursor;
use super::parameters::{
    AFTER_ID, BUCKETS, BY, COLUMNS_PARAMETER, CURSOR, END, FORMAT, HISTOGRAM_PARAMETERS, LIMIT,
    LINEAGE, ORDER, PARAMETERS, Parameter, ParameterKind, SCANNED_AFTER, SCANNED_BEFORE,
    SCHEMA_PARAMETERS, TOP_LIMIT, TOP_PARAMETERS, WIDTH,
};
use super::selection::{Filter, Selection, Values};
use super::urlencoded::{check_length, decode};
use super::{NotAcceptable, ParamError, Query};
use crate::formats::Format;
use crate::table::columns::{COLUMNS, Column, ColumnType};
use crate::table::layout::Layout;

impl Query {
    /// Reads the query string of a request. `default_format` is the format where no parameter names one.
    ///
    /// # Errors
    /// The first parameter that cannot be taken; `default_format` where it is needed and is none; a query string
    /// that is too long.
    pub fn parse(
        query: &str,
        default_format: Result<Format, NotAcceptable>,
    ) -> Result<Self, ParamError> {
        let given = Given::read(query, &PARAMETERS)?;
        let selection = Selection {
            after: given.integer(&SCANNED_AFTER)?,
            before: given.integer(&SCANNED_BEFORE)?,
            after_id: given.integer(&AFTER_ID)?,
            filters: given.filters()?,
        };
        Ok(Self {
            limit: given.integer(&LIMIT)?,
            end: match given.one(&END) {
                None => false,
                Some("1") => true,
                Some(other) => return Err(unexpected(&END, other)),
            },
            lineage: match given.one(&LINEAGE) {
                None => None,
                Some(text) if is_lineage(text) => Some(text.to_owned()),
                Some(text) => return Err(unexpected(&LINEAGE, text)),
            },
            format: given.format(default_format)?,
            layout: given.layout()?,
            cursor: match given.one(&CURSOR) {
                Some(text) => Some(Cursor::decode(text, selection.digest()).map_err(|what| {
                    ParamError::invalid(CURSOR.name, format!("cursor {text:?} {what}"))
                })?),
                None => None,
            },
            selection,
        })
    }
}

/// The format that a query string names, however faulty the rest is.
pub fn format_parameter(query: &str) -> Option<Format> {
    let given = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_format = decode(name, name).is_ok_and(|name| name == FORMAT.name);
        is_format.then(|| decode(name, value).ok()).flatten()
    });
    Format::from_name(&given?)
}

impl HistogramQuery {
    /// Reads the query string of a request for counts by time.
    ///
    /// # Errors
    /// As [`Query::parse`].
    pub fn parse(
        query: &str,
        default_format: Result<Format, NotAcceptable>,
    ) -> Result<Self, ParamError> {
        let given = Given::read(query, &HISTOGRAM_PARAMETERS)?;
        let buckets = match (given.integer(&BUCKETS)?, given.integer(&WIDTH)?) {
            (Some(_), Some(_)) => {
                let detail = "width is given beside buckets, expected one of them".to_owned();
                return Err(ParamError::invalid(WIDTH.name, detail));
            }
            (None, Some(width)) => Buckets::Width(width),
            (count, None) => Buckets::Count(count.unwrap_or(100)),
        };
        Ok(Self {
            selection: given.window()?,
            buckets,
            format: given.format(default_format)?,
        })
    }
}

impl TopQuery {
    /// Reads the query string of a request for the values with the most.
    ///
    /// # Errors
    /// As [`Query::parse`].
    pub fn parse(
        query: &str,
        default_format: Result<Format, NotAcceptable>,
    ) -> Result<Self, ParamError> {
        let given = Given::read(query, &TOP_PARAMETERS)?;
        let name = given.one(&BY).unwrap_or("src_comp");
        let mut filters = COLUMNS.iter().filter(|column| column.is_filter);
        let order = given.one(&ORDER);
        Ok(Self {
            by: filters
                .find(|column| column.name == name)
                .ok_or_else(|| unexpected(&BY, name))?,
            order: match order {
                None => Measure::Bytes,
                Some(name) => Measure::from_name(name).ok_or_else(|| unexpected(&ORDER, name))?,
            },
            limit: given.integer(&TOP_LIMIT)?.unwrap_or(10),
            selection: given.window()?,
            format: given.format(default_format)?,
        })
    }
}

/// Reads the query string of a path that takes no parameter but the columns.
///
/// # Errors
/// As [`Query::parse`].
pub fn columns_alone(query: &str) -> Result<Layout, ParamError> {
    Given::read(query, &SCHEMA_PARAMETERS)?.layout()
}

/// Checks the query string of a path that takes no parameter.
///
/// # Errors
/// The first parameter; a query string that is too long.
pub fn refuse_any(query: &str) -> Result<(), ParamError> {
    check_length(query)?;
    let Some(pair) = query.split('&').find(|pair| !pair.is_empty()) else {
        return Ok(());
    };
    let name = pair.split('=').next().unwrap_or_default();
    let name = decode(name, name)?;
    let detail = format!("{name:?} is no parameter, expected none here");
    Err(ParamError::invalid(&name, detail))
}

/// The decoded values that a query string gives for each parameter of a route.
struct Given<'a> {
    parameters: &'static [Parameter],
    values: Vec<Vec<Cow<'a, str>>>,
}

impl<'a> Given<'a> {
    fn read(query: &'a str, parameters: &'static [Parameter]) -> Result<Self, ParamError> {
        check_length(query)?;
        let mut given = vec![Vec::new(); parameters.len()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, name)?;
            let slot = parameters
                .iter()
                .zip(&mut given)
                .find(|(known, _)| known.name == name);
            let Some((parameter, slot)) = slot else {
                return Err(unknown(&name, parameters));
            };
            if !parameter.kind.repeats() && !slot.is_empty() {
                let detail = format!("{name} is given more than once, expected once");
                return Err(ParamError::invalid(&name, detail));
            }
            slot.push(decode(&name, value)?);
        }
        Ok(Self {
            parameters,
            values: given,
        })
    }

    /// The values of a parameter.
    fn all(&self, parameter: &Parameter) -> &[Cow<'a, str>] {
        let mut known = self.parameters.iter().zip(&self.values);
        let found = known.find(|(known, _)| known.name == parameter.name);
        found
            .map(|(_, values)| values.as_slice())
            .unwrap_or_default()
    }

    /// The value of a parameter that does not repeat.
    fn one(&self, parameter: &Parameter) -> Option<&str> {
        self.all(parameter).first().map(|value| &**value)
    }

    fn filters(&self) -> Result<Vec<Filter>, ParamError> {
        let mut filters = Vec::new();
        for (parameter, values) in self.parameters.iter().zip(&self.values) {
            if let ParameterKind::Filter(column) = parameter.kind
                && !values.is_empty()
            {
                filters.push(filter(parameter, column, values)?);
            }
        }
        Ok(filters)
    }

    /// The window and the filters alone.
    fn window(&self) -> Result<Selection, ParamError> {
        Ok(Selection {
            after: self.integer(&SCANNED_AFTER)?,
            before: self.integer(&SCANNED_BEFORE)?,
            after_id: None,
            filters: self.filters()?,
        })
    }

    fn format(&self, default: Result<Format, NotAcceptable>) -> Result<Format, ParamError> {
        match self.one(&FORMAT) {
            Some(name) => Format::from_name(name).ok_or_else(|| unexpected(&FORMAT, name)),
            None => default.map_err(ParamError::NotAcceptable),
        }
    }

    fn layout(&self) -> Result<Layout, ParamError> {
        let Some(list) = self.one(&COLUMNS_PARAMETER) else {
            return Ok(Layout::ALL);
        };
        let mut selected: Vec<Column> = Vec::new();
        for name in list.split(',') {
            let column = COLUMNS.iter().find(|column| column.name == name);
            match column {
                Some(column) if !selected.contains(column) => selected.push(*column),
                Some(_) => {
                    let detail = format!("columns has {name} more than once, expected once");
                    return Err(ParamError::invalid(COLUMNS_PARAMETER.name, detail));
                }
                None => {
                    let known = COLUMNS.map(|column| column.name).join(", ");
                    let detail = format!("columns has {name:?}, expected some of {known}");
                    return Err(ParamError::invalid(COLUMNS_PARAMETER.name, detail));
                }
            }
        }
        Ok(Layout::select(&selected))
    }

    fn integer(&self, parameter: &Parameter) -> Result<Option<i64>, ParamError> {
        let value = self.one(parameter);
        value.map(|value| integer(parameter, value)).transpose()
    }
}

fn filter(
    parameter: &Parameter,
    column: &Column,
    given: &[Cow<'_, str>],
) -> Result<Filter, ParamError> {
    let values = match column.column_type {
        ColumnType::Integer => {
            let values = given.iter().map(|value| integer(parameter, value));
            Values::Integers(distinct(values.collect::<Result<_, _>>()?))
        }
        ColumnType::Text if given.iter().any(|value| value.is_empty()) => {
            return Err(unexpected(parameter, ""));
        }
        ColumnType::Text => {
            let values = given.iter().map(|value| value.clone().into_owned());
            Values::Texts(distinct(values.collect()))
        }
    };
    Ok(Filter {
        column: parameter.name,
        values,
    })
}

/// The values in order and each once.
fn distinct<T: Ord>(values: Vec<T>) -> Vec<T> {
    // The code of a heap is a tenth of a sort's.
    let mut values = BinaryHeap::from(values).into_sorted_vec();
    values.dedup();
    values
}

/// Decimal digits with an optional minus, at least what the parameter's kind says.
fn integer(parameter: &Parameter, value: &str) -> Result<i64, ParamError> {
    let range = match parameter.kind {
        ParameterKind::Integer(least) => least..=i64::MAX,
        ParameterKind::Range(least, most) => least..=most,
        _ => i64::MIN..=i64::MAX,
    };
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_decimal = digits.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(number) if is_decimal && range.contains(&number) => Ok(number),
        _ => Err(unexpected(parameter, value)),
    }
}

fn is_lineage(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn unexpected(parameter: &Parameter, value: &str) -> ParamError {
    ParamError::unexpected(parameter.name, value, parameter.expected)
}

fn unknown(name: &str, parameters: &[Parameter]) -> ParamError {
    let known: Vec<_> = parameters.iter().map(|parameter| parameter.name).collect();
    let known = known.join(", ");
    let detail = format!("{name:?} is no parameter, expected one of {known}");
    ParamError::invalid(name, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::cursor::CursorSeek;
    use crate::table::key::RowKey;

    fn try_parse(query: &str) -> Result<Query, ParamError> {
        Query::parse(query, Ok(Format::Json))
    }

    fn parse(query: &str) -> Query {
        try_parse(query).unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    #[track_caller]
    fn error_detail(query: &str) -> String {
        match try_parse(query) {
            Err(ParamError::Invalid { detail, .. }) => detail,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[track_caller]
    fn refused(query: &str, detail: &str) {
        assert_eq!(error_detail(query), detail, "{query}");
    }

    #[test]
    fn nothing_given_means_all_flows_as_json() {
        let selection = Selection::default();
        let all = Query {
            selection,
            limit: None,
            format: Format::Json,
            layout: Layout::ALL,
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
        assert_eq!(parsed.selection, Selection::default());
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
    fn columns_are_taken_in_their_order_and_each_once() {
        let fields = |query| parse(query).layout.field_names();
        assert_eq!(fields("columns=byte_count,id"), "byte_count,id");
        assert_eq!(fields("columns=id%2Ctime"), "id,time");
        assert!(parse("").layout.is_all());
        let twice = "columns has id more than once, expected once";
        refused("columns=id,time,id", twice);
        for wrong in ["", ",id", "id,", "ID", " id", "id;time", "rowid", "*"] {
            let detail = error_detail(&format!("columns={wrong}"));
            assert!(detail.ends_with("expected some of id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count, byte_count"), "{detail}");
        }
        let alone = columns_alone("columns=id&scanned_after=1").unwrap_err();
        let detail = "\"scanned_after\" is no parameter, expected one of columns".to_owned();
        assert_eq!(alone, ParamError::invalid("scanned_after", detail));
    }

    #[test]
    fn integers_reach_both_ends_of_64_bits() {
        let query = parse("scanned_after=-9223372036854775808&scanned_before=9223372036854775807");
        assert_eq!(query.selection.after, Some(i64::MIN));
        assert_eq!(query.selection.before, Some(i64::MAX));
        assert_eq!(parse("limit=0").limit, Some(0));
        assert_eq!(parse("scanned%5Fafter=%31").selection.after, Some(1));
        assert_eq!(parse("after_id=-1").selection.after_id, Some(-1));
    }

    #[test]
    fn filters_repeat_and_name_their_column() {
        let filters = parse("dst_port=N1&protocol=17&dst_port=443&protocol=6&dst_port=N1")
            .selection
            .filters;
        let ports = Values::Texts(vec!["443".into(), "N1".into()]);
        let protocols = Values::Integers(vec![6, 17]);
        let expected = [("dst_port", ports), ("protocol", protocols)];
        assert_eq!(
            filters,
            expected.map(|(column, values)| Filter { column, values })
        );
        assert_eq!(
            parse("src_comp=a+%26%2B").selection.filters[0].values,
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
        let detail = error_detail("since=1");
        let expected = r#""since" is no parameter, expected one of scanned_after,"#;
        assert!(detail.starts_with(expected), "{detail}");
        refused(
            "format=yaml",
            &format!("format is \"yaml\", expected {}", Format::EXPECTED),
        );
    }

    #[test]
    fn counts_take_a_window_filters_and_their_own_parameters() {
        let histogram = |query| HistogramQuery::parse(query, Ok(Format::Csv));
        let parsed = histogram("scanned_after=1&protocol=6&width=60").unwrap();
        assert_eq!(parsed.buckets, Buckets::Width(60));
        assert_eq!(parsed.selection.after, Some(1));
        assert_eq!(parsed.selection.filters.len(), 1);
        assert_eq!(histogram("").unwrap().buckets, Buckets::Count(100));
        let top = |query| TopQuery::parse(query, Ok(Format::Csv));
        let parsed = top("by=dst_port&order=flows").unwrap();
        assert_eq!(
            (parsed.by.name, parsed.order, parsed.limit),
            ("dst_port", Measure::Flows, 10)
        );
        for (query, names) in [
            ("buckets=0", "buckets"),
            ("buckets=10001", "buckets"),
            ("width=0", "width"),
            ("width=1&buckets=1", "width"),
            ("limit=1", "limit"),
            ("after_id=1", "after_id"),
        ] {
            let refused = histogram(query).unwrap_err();
            assert!(
                matches!(&refused, ParamError::Invalid { parameter, .. } if parameter == names),
                "{refused:?}"
            );
        }
        for (query, names) in [
            ("by=", "by"),
            ("by=id", "by"),
            ("by=protocol&order=id", "order"),
            ("by=protocol&limit=100001", "limit"),
            ("by=protocol&columns=id", "columns"),
        ] {
            let refused = top(query).unwrap_err();
            assert!(
                matches!(&refused, ParamError::Invalid { parameter, .. } if parameter == names),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_selection_whatever_the_limit_and_format() {
        let selection = parse("scanned_after=1&src_comp=a&src_comp=b").selection;
        let key = RowKey { time: 2, id: 3 };
        let cursor = Cursor {
            max_id: 9,
            seek: CursorSeek::AfterKey(key),
            guard: None,
        };
        let text = cursor.encode(selection.digest());
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
            let detail = error_detail(&format!("{other}&cursor={text}"));
            assert!(detail.contains("another question"), "{other}: {detail}");
        }
    }
}
