//! The query string: what it is taken for, what it is refused for, and the Link that goes on behind it.

use std::collections::{BTreeMap, BTreeSet};

use flow_window::formats::Format;
use flow_window::http::negotiate;
use flow_window::http::negotiate::FormatPreference;
use flow_window::http::problem::Problem;
use flow_window::query::Query;
use flow_window::query::cursor::{Cursor, CursorSeek};
use flow_window::query::parameters::{PARAMETERS, ParameterKind};
use flow_window::query::selection::{Filter, Selection, Values};
use flow_window::query::urlencoded::{MAX_LENGTH, with_cursor};
use flow_window::table::columns::{COLUMNS, Column, ColumnType};
use flow_window::table::key::RowKey;
use flow_window::table::layout::Layout;
use flow_window::table::state::Guard;
use support::records::in_xml;

/// The query, and behind a line break the request's `Accept`; with each ending that a path may have.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (query, accept) = match text.split_once('\n') {
        Some((query, accept)) => (query, Some(accept)),
        None => (text, None),
    };
    // A host takes a URI apart at the first `#`; what comes behind it never arrives.
    let query = query.split('#').next().unwrap_or_default();
    let endings = Format::ALL.map(Some);
    for extension in [None].into_iter().chain(endings) {
        check_request(query, FormatPreference { extension, accept });
    }
}

/// What a query may hold by RFC 3986, section 3.4.
const IN_URI: &[u8] = b"-._~!$&'()*+,;=:@/?%0123456789\
    ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn parse(query: &str, fallback: FormatPreference<'_>) -> Result<Query, Problem> {
    Ok(Query::parse(query, fallback.format())?)
}

fn check_request(query: &str, fallback: FormatPreference<'_>) {
    let parsed = parse(query, fallback);
    if length(query) > MAX_LENGTH {
        let problem = parsed.expect_err(query);
        assert_eq!(problem.status(), 414, "{query:?}");
        return;
    }
    let (read, faults) = reference(query, fallback);
    match (parsed, read) {
        (Ok(parsed), Some(read)) => {
            assert_eq!(parsed, read, "{query:?}");
            let xml = parsed.format == Format::Xml;
            assert_eq!(fallback.wants_xml(query), xml, "{query:?}");
            written_otherwise(query, fallback, &parsed);
            goes_on(query, fallback, parsed);
        }
        (Err(problem), None) => refused(query, &problem, &faults),
        (Ok(parsed), None) => panic!("{query:?} is taken for {parsed:?}; faults: {faults:?}"),
        (Err(problem), Some(_)) => panic!("{query:?} is refused: {}", problem.detail()),
    }
}

/// What may be named as the parameter at fault, and `None` where `Accept` is at fault.
type Faults = BTreeSet<Option<String>>;

/// The query by the table of docs/api.md, everything that is wrong with it at once.
fn reference(query: &str, fallback: FormatPreference<'_>) -> (Option<Query>, Faults) {
    let mut faults = Faults::new();
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (raw_name, raw_value) in pairs(query) {
        let Some(name) = decoded(raw_name) else {
            faults.insert(Some(raw_name.to_owned()));
            continue;
        };
        match decoded(raw_value) {
            Some(value) => given.entry(name).or_default().push(value),
            None => _ = faults.insert(Some(name)),
        }
    }
    let mut integers: BTreeMap<&str, i64> = BTreeMap::new();
    let mut filters = Vec::new();
    for parameter in PARAMETERS {
        let Some(values) = given.get(parameter.name) else {
            continue;
        };
        let repeats = matches!(
            parameter.name,
            "src_comp" | "dst_comp" | "src_port" | "dst_port" | "protocol"
        );
        let numbers: Vec<_> = values.iter().filter_map(|value| integer(value)).collect();
        let right = match parameter.kind {
            ParameterKind::Integer(least) => {
                integers.extend(numbers.first().map(|number| (parameter.name, *number)));
                numbers.iter().all(|number| *number >= least) && numbers.len() == values.len()
            }
            ParameterKind::Filter(column) if column.column_type == ColumnType::Integer => {
                let values: BTreeSet<_> = numbers.iter().copied().collect();
                let values = Values::Integers(values.into_iter().collect());
                let column = parameter.name;
                filters.push(Filter { column, values });
                numbers.len() == given[column].len()
            }
            ParameterKind::Filter(_) => {
                let distinct: BTreeSet<_> = values.iter().cloned().collect();
                filters.push(Filter {
                    column: parameter.name,
                    values: Values::Texts(distinct.into_iter().collect()),
                });
                values.iter().all(|value| !value.is_empty())
            }
            ParameterKind::Format => values
                .iter()
                .all(|name| ["json", "xml", "ndjson", "csv", "arrow"].contains(&&**name)),
            ParameterKind::Lineage => values.iter().all(|value| {
                value.len() == 16 && value.bytes().all(|b| b"0123456789abcdef".contains(&b))
            }),
            ParameterKind::Switch => values.iter().all(|value| value == "1"),
            ParameterKind::Range(..) | ParameterKind::Word(_) => unreachable!("flows have none"),
            ParameterKind::Columns => values.iter().all(|list| columns(list).is_some()),
            ParameterKind::Cursor => true,
        };
        if !right || (values.len() > 1 && !repeats) {
            faults.insert(Some(parameter.name.to_owned()));
        }
    }
    let known = |name: &&String| !PARAMETERS.iter().any(|parameter| parameter.name == **name);
    faults.extend(given.keys().filter(known).cloned().map(Some));
    let first = |name: &str| given.get(name).map(|values| values[0].as_str());
    let format = match (first("format"), fallback.extension, fallback.accept) {
        (Some(name), ..) => Format::ALL.into_iter().find(|format| format.name() == name),
        (None, Some(ending), _) => Some(ending),
        (None, None, None) => Some(Format::Json),
        (None, None, Some(accept)) => {
            let chosen = negotiate::format(accept);
            if chosen.is_none() {
                faults.insert(None);
            }
            chosen
        }
    };
    let selection = Selection {
        after: integers.get("scanned_after").copied(),
        before: integers.get("scanned_before").copied(),
        after_id: integers.get("after_id").copied(),
        filters,
    };
    let cursor = first("cursor").map(|text| Cursor::decode(text, selection.digest()));
    if matches!(cursor, Some(Err(_))) {
        faults.insert(Some("cursor".to_owned()));
    }
    let read = Query {
        limit: integers.get("limit").copied(),
        format: format.unwrap_or_default(),
        layout: first("columns")
            .and_then(columns)
            .map_or(Layout::ALL, |columns| Layout::select(&columns)),
        cursor: cursor.and_then(Result::ok),
        end: first("end") == Some("1"),
        lineage: first("lineage").map(str::to_owned),
        selection,
    };
    (faults.is_empty().then_some(read), faults)
}

/// The columns that a list names; `None` where one is unknown or comes twice.
fn columns(list: &str) -> Option<Vec<Column>> {
    let names: Vec<_> = list.split(',').collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    let columns: Vec<_> = names
        .iter()
        .filter_map(|name| COLUMNS.into_iter().find(|column| column.name == *name))
        .collect();
    (columns.len() == names.len() && distinct.len() == names.len()).then_some(columns)
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The bytes of a Link's query, its cursor left empty.
fn length(query: &str) -> usize {
    let escaped = |text: &str| -> usize {
        text.bytes()
            .map(|byte| if IN_URI.contains(&byte) { 1 } else { 3 })
            .sum()
    };
    let kept = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && decoded(name).as_deref() != Some("cursor")
    });
    kept.map(|pair| escaped(pair) + 1).sum::<usize>() + "cursor=".len()
}

/// `application/x-www-form-urlencoded`, a byte after the other; `None` where an escape is not whole or the
/// bytes are not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// Digits with an optional minus, within 64 bits.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.len() > 20 {
        return None;
    }
    let magnitude = significant
        .bytes()
        .fold(0_i128, |n, b| n * 10 + i128::from(b - b'0'));
    i64::try_from(if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
    .ok()
}

/// A refusal is a 400 that names a parameter which is at fault, or a 406; in JSON as in XML.
fn refused(query: &str, problem: &Problem, faults: &Faults) {
    let (_, json) = problem.render(false);
    let json: serde_json::Value = serde_json::from_slice(&json)
        .unwrap_or_else(|error| panic!("{query:?}: a problem that is not JSON: {error}"));
    let named = json.get("parameter").and_then(|name| name.as_str());
    assert!(
        faults.contains(&named.map(str::to_owned)),
        "{query:?}: {named:?} is named, at fault is one of {faults:?}"
    );
    let status = if named.is_some() { 400 } else { 406 };
    assert_eq!(problem.status(), status, "{query:?}");
    assert_eq!(json["status"], status, "{query:?}");
    assert_eq!(json["detail"], problem.detail(), "{query:?}");
    let (_, xml) = problem.render(true);
    let xml = String::from_utf8(xml).unwrap_or_default();
    let document = roxmltree::Document::parse(&xml)
        .unwrap_or_else(|error| panic!("{query:?}: a problem that is not XML: {error}: {xml}"));
    let text = |name| {
        let mut elements = document.root_element().children();
        let element = elements.find(|element| element.has_tag_name(("urn:ietf:rfc:7807", name)));
        element.map(|element| element.text().unwrap_or_default().to_owned())
    };
    assert_eq!(text("parameter"), named.map(in_xml), "{xml}");
    assert_eq!(
        text("detail").unwrap_or_default(),
        in_xml(problem.detail()),
        "{xml}"
    );
}

/// The same pairs, every byte escaped, from the last to the first: the order of different parameters and
/// of the values of one does not matter.
fn written_otherwise(query: &str, fallback: FormatPreference<'_>, parsed: &Query) {
    let escaped = |text: &str| {
        let bytes = decoded(text).unwrap_or_default().into_bytes();
        bytes
            .iter()
            .map(|b| format!("%{b:02X}"))
            .collect::<String>()
    };
    let mut other: Vec<_> = pairs(query)
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    other.reverse();
    let other = other.join("&&");
    if length(&other) > MAX_LENGTH {
        return;
    }
    match parse(&other, fallback) {
        Ok(same) => assert_eq!(&same, parsed, "{query:?} as {other:?}"),
        Err(problem) => panic!("{query:?} as {other:?}: {}", problem.detail()),
    }
}

/// The Link's query asks the same question from the cursor on, and is one by RFC 3986, section 3.4; and so
/// does the one behind that.
fn goes_on(query: &str, fallback: FormatPreference<'_>, parsed: Query) {
    let digest = parsed.selection.digest();
    let mut expected = parsed;
    let mut next = query.to_owned();
    for id in [7, i64::MAX] {
        let cursor = Cursor {
            max_id: i64::MAX,
            seek: CursorSeek::AfterKey(RowKey { time: -1, id }),
            guard: Some(Guard {
                content: id,
                lineage: -1,
            }),
        };
        next = with_cursor(&next, &cursor.encode(digest));
        assert!(
            next.bytes().all(|b| IN_URI.contains(&b)),
            "{query:?} goes on as {next:?}"
        );
        expected.cursor = Some(cursor);
        match parse(&next, fallback) {
            Ok(read) => assert_eq!(read, expected, "{query:?} goes on as {next:?}"),
            Err(problem) => panic!("{query:?} goes on as {next:?}: {}", problem.detail()),
        }
    }
}
