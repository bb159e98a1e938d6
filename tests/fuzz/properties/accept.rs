//! `Accept`: the format is the one that RFC 9110, section 12.5.1, makes the most wanted.

use flow_window::format::Format;
use flow_window::negotiate;

use super::lists;

/// A media range without its parameters, in lower case, and its weight in thousandths.
#[derive(PartialEq)]
struct Range {
    name: String,
    weight: u16,
}

/// The header as the grammar has it; `None` where it does not fit.
fn ranges(accept: &str) -> Option<Vec<Range>> {
    lists::list(accept, |rest| {
        let kind = rest.token()?;
        rest.character(|c| c == '/')?;
        let name = format!("{kind}/{}", rest.token()?).to_ascii_lowercase();
        let weight = lists::weight(rest, true)?;
        Some(Range { name, weight })
    })
}

/// The ranges that a media type is in, the most specific first.
fn around(format: Format) -> [String; 3] {
    let name = format.media_type();
    let kind = name.split('/').next().unwrap_or_default();
    [name.to_owned(), format!("{kind}/*"), "*/*".to_owned()]
}

/// The weight of each format; `None` where a range is given twice with different weights, on which the
/// RFC has no word.
fn weights(ranges: &[Range]) -> Option<Vec<(u16, Format)>> {
    let weight = |format| {
        for name in around(format) {
            let mut given = ranges.iter().filter(|range| range.name == name);
            if let Some(first) = given.next() {
                return given
                    .all(|other| other == first)
                    .then_some((first.weight, format));
            }
        }
        Some((0, format))
    };
    Format::ALL.into_iter().map(weight).collect()
}

/// Compares the choice with the reference, and with what it is when the header is written in other ways.
pub fn check(bytes: &[u8]) {
    let accept = String::from_utf8_lossy(bytes);
    let chosen = negotiate::format(&accept);
    if let Some(format) = chosen {
        let lower = accept.to_ascii_lowercase();
        let named = around(format).iter().any(|range| lower.contains(range));
        assert!(named, "{accept:?} does not name {format:?}");
    }
    let Some(weights) = ranges(&accept).and_then(|ranges| weights(&ranges)) else {
        return;
    };
    let most = weights.iter().map(|(weight, _)| *weight).max().unwrap_or(0);
    let first = weights
        .iter()
        .find(|(weight, _)| *weight == most && most > 0);
    let wanted = first.map(|(_, format)| *format);
    assert_eq!(chosen, wanted, "{accept:?} weighs {weights:?}");
    // Other types do not matter, whatever their parameters say, nor do weights beyond the grammar.
    for same in [
        accept.to_ascii_uppercase(),
        format!(" ,{accept}\t, "),
        format!("image/png;q=1.000,{accept},text/html"),
        format!("text/html;x=\"text/csv,;q=0,\\\",\",{accept}"),
        format!("text/csv;q=1.001,{accept},application/xml;q=0.1234,*/*;q=.5,application/json;q=2"),
    ] {
        assert_eq!(negotiate::format(&same), wanted, "{same:?} as {accept:?}");
    }
    // What is the most wanted with a weight is not wanted without any.
    if let Some(format) = wanted {
        let refused = format!("{};q=0", format.media_type());
        assert_ne!(negotiate::format(&refused), Some(format));
    }
}
