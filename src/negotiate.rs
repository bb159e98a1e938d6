//! What `Accept` and `Accept-Encoding` ask for: lists of names with weights (RFC 9110, section 12.4).
//!
//! Read leniently: what is not by the grammar, such as `*; q=.2` of old Java clients, says what it means.

use crate::format::Format;

/// The members of a list header with their weights, in thousandths.
fn members(header: &str) -> impl Iterator<Item = (&str, u16)> {
    split(header, ',').filter_map(|member| {
        let mut parts = split(member, ';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| {
            let (name, weight) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| weight.trim())
        });
        Some((name, weight.map_or(1000, thousandths)))
    })
}

/// Splits at a separator that stands outside of quoted strings (RFC 9110, section 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let literal = escaped;
        escaped = quoted && c == '\\' && !literal;
        quoted ^= c == '"' && !literal;
        c == separator && !quoted
    })
}

/// A weight, of which more than three decimals add nothing but that it is not 0. One that cannot be read
/// is as good as none: only a 0 refuses what it stands behind.
fn thousandths(weight: &str) -> u16 {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let number = [whole, decimals].concat();
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if !is_number || whole.bytes().any(|b| b != b'0') {
        return 1000;
    }
    let padded = format!("{decimals:0<3}");
    let first = padded.get(..3).and_then(|first| first.parse().ok());
    let least = u16::from(decimals.bytes().any(|b| b != b'0'));
    first.unwrap_or(0).max(least)
}

/// The format that `accept` wants most; equal weights go by the order of [`Format::ALL`].
///
/// `None` when it wants none of them. The most specific range that fits a format counts for it.
pub fn format(accept: &str) -> Option<Format> {
    let weighed = Format::ALL.map(|format| (weight(accept, format), format));
    let mut best: Option<(u16, Format)> = None;
    for (weight, format) in weighed {
        if weight > best.map_or(0, |(most, _)| most) {
            best = Some((weight, format));
        }
    }
    best.map(|(_, format)| format)
}

/// The weight of one format, 0 if it is not wanted. Its own media type counts before its other names.
fn weight(accept: &str, format: Format) -> u16 {
    let own = format.media_type().split_once('/').unwrap_or_default();
    let fits = |range: &str| {
        let (kind, subtype) = match range.split_once('/') {
            Some((kind, subtype)) => (kind.trim_end(), subtype.trim_start()),
            None if range == "*" => ("*", "*"),
            None => return None,
        };
        let is = |(outer, inner): (&str, &str)| {
            kind.eq_ignore_ascii_case(outer) && subtype.eq_ignore_ascii_case(inner)
        };
        let mut others = format.other_names().iter();
        if is(own) {
            Some(3)
        } else if others.any(|name| name.split_once('/').is_some_and(is)) {
            Some(2)
        } else if is((own.0, "*")) {
            Some(1)
        } else {
            is(("*", "*")).then_some(0)
        }
    };
    let fitting = members(accept).filter_map(|(range, weight)| Some((fits(range)?, weight)));
    fitting.max().map_or(0, |(_, weight)| weight)
}

/// Whether `accept_encoding` wants gzip at least as much as no coding (RFC 9110, section 12.5.3).
pub fn wants_gzip(accept_encoding: &str) -> bool {
    let weight = |name: &str| {
        let named = members(accept_encoding).find(|(member, _)| member.eq_ignore_ascii_case(name));
        named.map(|(_, weight)| weight)
    };
    let any = weight("*");
    let gzip = weight("gzip").or(weight("x-gzip")).or(any).unwrap_or(0);
    // Without a word on it no coding is acceptable, and less wanted than what is named.
    let identity = weight("identity")
        .or(any.filter(|weight| *weight == 0))
        .unwrap_or(1);
    gzip > 0 && gzip >= identity
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_format_wins_and_order_breaks_ties() {
        for (accept, format) in [
            ("*/*", Format::Json),
            ("text/csv", Format::Csv),
            ("TEXT/CSV", Format::Csv),
            ("application/xml, application/json", Format::Json),
            ("application/json;q=0.5, application/xml;q=0.6", Format::Xml),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Format::Xml,
            ),
            ("application/*, application/json;q=0", Format::Xml),
            ("text/*;q=0.1, application/x-ndjson;q=0.001", Format::Csv),
            ("text/csv;header=present;q=0.2, */*;q=0.1", Format::Csv),
            ("application/json;q=0, */*", Format::Xml),
            (r#"text/csv;x="a,;q=1\",";q=0.1, */*;q=0.2"#, Format::Json),
            ("*/*; q=.2", Format::Json),
            ("*/*;q=1.0000", Format::Json),
            ("*", Format::Json),
            ("text/html, image/gif, *; q=.2, */*; q=.2", Format::Json),
            ("application/json;q=2", Format::Json),
            ("application/json;q=0.1234, text/csv;q=.124", Format::Csv),
            ("application/json;q=, text/csv;q=0.9999", Format::Json),
            ("text/csv;q=-1", Format::Csv),
            ("text/csv;q=high, */*;q=0.9", Format::Csv),
            ("text/csv;q=0.00001", Format::Csv),
            ("text/csv; Q = 0.2, application / xml;q=0.3", Format::Xml),
            ("text/xml", Format::Xml),
            ("Application/NDJSON", Format::Ndjson),
            ("application/jsonl, */*;q=0.1", Format::Ndjson),
            ("text/xml;q=0, application/xml;q=0.1", Format::Xml),
            ("text/*", Format::Csv),
        ] {
            assert_eq!(super::format(accept), Some(format), "{accept}");
        }
    }

    #[test]
    fn what_is_refused_or_no_media_type_is_not_on_offer() {
        for accept in [
            "text/html",
            "*/*;q=0",
            "application/json;q=0.0",
            "json",
            ",",
            "*/*;q=0.",
            "*/*;q=.0",
            "*;q=0.00000",
            "*/*;q=00",
            "application/xml;q=0, text/xml",
            "application",
            "application/",
            "*/json",
        ] {
            assert_eq!(super::format(accept), None, "{accept}");
        }
    }

    #[test]
    fn gzip_is_sent_where_it_is_wanted_no_less_than_nothing() {
        for wanted in [
            "gzip",
            "GZIP",
            "x-gzip",
            "*",
            "gzip;q=0.5",
            "br, gzip;q=0.001",
            "gzip, identity",
            "gzip;q=0.5, identity;q=0.5",
            "identity;q=0, *",
            "deflate, gzip;q=1.0, *;q=0.5",
            "gzip;q=x",
            "gzip;q=1.0000",
            "gzip; q=.2",
            "gzip;q=1.5, identity",
        ] {
            assert!(wants_gzip(wanted), "{wanted}");
        }
        for unwanted in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "*;q=0",
            "gzip;q=0.4, identity;q=0.5",
            "gzip;q=0, *",
            "identity, gzip;q=0.0",
            "identity, gzip;q=.9",
            "gzip;q=0.",
        ] {
            assert!(!wants_gzip(unwanted), "{unwanted}");
        }
    }
}
