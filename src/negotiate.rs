//! What `Accept` and `Accept-Encoding` ask for: lists of names with weights (RFC 9110, section 12.4).

use crate::format::Format;

/// The members of a list header with their weights, in thousandths. A member that cannot be read is left
/// out: it names nothing that is on offer.
fn members(header: &str) -> impl Iterator<Item = (&str, u16)> {
    split(header, ',').filter_map(|member| {
        let mut parts = split(member, ';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((name, weight.map_or(Some(1000), thousandths)?))
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

/// A weight as the grammar has it: 0 to 1 with up to three decimals.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" if digits => Some(decimals),
        "1" if digits && decimals == 0 => Some(1000),
        _ => None,
    }
}

/// The format that `accept` wants most; equal weights go by the order of [`Format::ALL`].
///
/// `None` when it wants none of them. The most specific range that fits a format counts for it.
pub fn format(accept: &str) -> Option<Format> {
    let weighed = Format::ALL.map(|format| (weight(accept, format.media_type()), format));
    let mut best: Option<(u16, Format)> = None;
    for (weight, format) in weighed {
        if weight > best.map_or(0, |(most, _)| most) {
            best = Some((weight, format));
        }
    }
    best.map(|(_, format)| format)
}

/// The weight of one media type, 0 if it is not wanted.
fn weight(accept: &str, media_type: &str) -> u16 {
    let (kind, _) = media_type.split_once('/').unwrap_or_default();
    let fits = |range: &str| {
        if range.eq_ignore_ascii_case(media_type) {
            return Some(2);
        }
        match range.split_once('/') {
            Some((outer, "*")) if outer.eq_ignore_ascii_case(kind) => Some(1),
            Some(("*", "*")) => Some(0),
            _ => None,
        }
    };
    let fitting = members(accept).filter_map(|(range, weight)| Some((fits(range)?, weight)));
    fitting
        .max_by_key(|(specific, _)| *specific)
        .map_or(0, |(_, weight)| weight)
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
        ] {
            assert_eq!(super::format(accept), Some(format), "{accept}");
        }
    }

    #[test]
    fn what_is_refused_or_malformed_is_not_on_offer() {
        for accept in [
            "text/html",
            "*/*;q=0",
            "application/json;q=0.0",
            "json",
            "application/json;q=2",
            ",",
            "application/json;q=0.1234",
            "application/json;q=",
            "application/json;q=-1",
            "*",
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
            "gzip;q=x",
            "gzip;q=0, *",
            "identity, gzip;q=0.0",
        ] {
            assert!(!wants_gzip(unwanted), "{unwanted}");
        }
    }
}
