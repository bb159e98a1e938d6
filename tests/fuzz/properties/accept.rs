//! `Accept`: the format is the one that RFC 9110, section 12.5.1, makes the most wanted, also where a range is
//! a lone `*` or a weight is not by the grammar.

use flow_window::formats::Format;
use flow_window::http::negotiate;

use super::lists;

/// A media range without its parameters, in lower case, and its weight in thousandths.
struct Range {
    name: String,
    weight: u16,
}

/// The header as the grammar has it; `None` where it does not fit.
fn ranges(accept: &str) -> Option<Vec<Range>> {
    lists::list(accept, |rest| {
        let kind = rest.token()?;
        let name = match rest.character(|c| c == '/') {
            Some(_) => format!("{kind}/{}", rest.token()?).to_ascii_lowercase(),
            None if kind == "*" => "*/*".to_owned(),
            None => return None,
        };
        let weight = lists::weight(rest, true)?;
        Some(Range { name, weight })
    })
}

/// The ranges that a format is in, the most specific first: its media type, its other names, the rest.
fn around(format: Format) -> [Vec<String>; 4] {
    let name = format.media_type();
    let kind = name.split('/').next().unwrap_or_default();
    let others = match format {
        Format::Xml => vec!["text/xml".to_owned()],
        Format::Ndjson => vec![
            "application/ndjson".to_owned(),
            "application/jsonl".to_owned(),
        ],
        Format::Json | Format::Csv | Format::Arrow => vec![],
    };
    [
        vec![name.to_owned()],
        others,
        vec![format!("{kind}/*")],
        vec!["*/*".to_owned()],
    ]
}

/// The weight of each format: the largest, where several ranges name it equally.
fn weights(ranges: &[Range]) -> Vec<(u16, Format)> {
    let weight = |format| {
        let given = around(format).map(|names| {
            let given = ranges.iter().filter(|range| names.contains(&range.name));
            given.map(|range| range.weight).max()
        });
        (given.into_iter().flatten().next().unwrap_or(0), format)
    };
    Format::ALL.into_iter().map(weight).collect()
}

/// Compares the choice with the reference, and with what it is when the header is written in other ways.
pub fn check(bytes: &[u8]) {
    let accept = String::from_utf8_lossy(bytes);
    let chosen = negotiate::format(&accept);
    if let Some(format) = chosen {
        let mut lower = accept.to_ascii_lowercase();
        lower.retain(|c| !c.is_whitespace());
        let names = around(format).concat();
        let named = lower.contains('*') || names.iter().any(|range| lower.contains(range));
        assert!(named, "{accept:?} does not name {format:?}");
    }
    let Some(weights) = ranges(&accept).map(|ranges| weights(&ranges)) else {
        return;
    };
    let most = weights.iter().map(|(weight, _)| *weight).max().unwrap_or(0);
    let first = weights
        .iter()
        .find(|(weight, _)| *weight == most && most > 0);
    let wanted = first.map(|(_, format)| *format);
    assert_eq!(chosen, wanted, "{accept:?} weighs {weights:?}");
    // Other types do not matter, whatever their parameters say, nor does it how any type is named.
    for same in [
        accept.to_ascii_uppercase(),
        format!(" ,{accept}\t, "),
        format!("image/png;q=1.000,{accept},text/html"),
        format!("text/html;x=\"text/csv,;q=0,\\\",\",{accept}"),
        accept.replace("*/*", "*"),
    ] {
        assert_eq!(negotiate::format(&same), wanted, "{same:?} as {accept:?}");
    }
    // What is the most wanted with a weight is not wanted without any.
    if let Some(format) = wanted {
        let refused = format!("{};q=0", format.media_type());
        assert_ne!(negotiate::format(&refused), Some(format));
        // With a weight that nobody can read, or that is too large, it is.
        for weight in ["", "x", "-0", "2", "0.5.0", "1.0000"] {
            let named = format!("*;q=.9999,{};q={weight}", format.media_type());
            assert_eq!(negotiate::format(&named), Some(format), "{named:?}");
        }
    }
}
