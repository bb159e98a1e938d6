//! What `Accept` and `Accept-Encoding` ask for: lists of names with weights (RFC 9110, section 12.4).
//!
//! They are read leniently. Old Java clients send `*; q=.2`, which the grammar does not allow and whose meaning is
//! clear.

use super::page;
use crate::formats::Format;
use crate::query::NotAcceptable;
use crate::query::parse::format_parameter;

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

/// A weight in thousandths. A weight above 0 is at least one thousandth. One that cannot be read counts as 1: only a 0
/// refuses.
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

/// The format of the highest weight in `accept`, and of those the first in [`Format::ALL`]; `None` when every weight
/// is 0. The most specific range that fits a format gives its weight.
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

/// The weight of a format, 0 if no range fits. The format's own media type is more specific than an alias.
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
        let mut others = format.info().aliases.iter();
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

/// Whether gzip has at least the weight of `identity` in `accept_encoding` (RFC 9110, section 12.5.3).
pub fn wants_gzip(accept_encoding: &str) -> bool {
    let weight = |name: &str| {
        let named = members(accept_encoding).find(|(member, _)| member.eq_ignore_ascii_case(name));
        named.map(|(_, weight)| weight)
    };
    let any = weight("*");
    let gzip = weight("gzip").or(weight("x-gzip")).or(any).unwrap_or(0);
    // `identity` is acceptable unless excluded; if unlisted it ranks below every listed coding.
    let identity = weight("identity")
        .or(any.filter(|weight| *weight == 0))
        .unwrap_or(1);
    gzip > 0 && gzip >= identity
}

/// What decides on the format where no parameter does.
#[derive(Debug, Clone, Copy, Default)]
pub struct FormatPreference<'a> {
    /// The format that the path's extension names.
    pub extension: Option<Format>,
    /// The request's `Accept`, unless it is blank.
    pub accept: Option<&'a str>,
}

impl FormatPreference<'_> {
    /// The format: that of the extension, else the one that `Accept` wants, else the default.
    ///
    /// # Errors
    /// `Accept` wants no format.
    pub fn format(self) -> Result<Format, NotAcceptable> {
        match (self.extension, self.accept) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::default()),
            (None, Some(accept)) => format(accept).ok_or_else(|| NotAcceptable {
                accept: accept.to_owned(),
            }),
        }
    }

    /// Whether a browser asks for something to look at. Each browser lists XHTML beside HTML; Java's client lists HTML
    /// alone, and wants data.
    pub fn wants_page(self, query: &str) -> bool {
        let (None, Some(accept), None) = (self.extension, self.accept, format_parameter(query))
        else {
            return false;
        };
        let listed = |name: &str| {
            let mut members = members(accept);
            members.any(|(member, weight)| member.eq_ignore_ascii_case(name) && weight == 1000)
        };
        page::BROWSER_MEDIA_TYPES.into_iter().all(listed)
    }

    /// Whether a problem is written in XML for a request with this query string.
    pub fn wants_xml(self, query: &str) -> bool {
        let format = format_parameter(query).or_else(|| self.format().ok());
        format == Some(Format::Xml)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{ParamError, Query};

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

    #[test]
    fn the_parameter_wins_over_the_extension_and_that_over_accept() {
        let format = |query, extension, accept| {
            let preference = FormatPreference { extension, accept };
            Query::parse(query, preference.format()).map(|query| query.format)
        };
        let (xml, csv) = (Some(Format::Xml), Some("text/csv"));
        assert_eq!(format("format=ndjson", xml, csv).unwrap(), Format::Ndjson);
        assert_eq!(format("", xml, csv).unwrap(), Format::Xml);
        assert_eq!(format("", None, csv).unwrap(), Format::Csv);
        assert_eq!(format("", None, None).unwrap(), Format::Json);
        let refused = NotAcceptable {
            accept: "text/html".to_owned(),
        };
        assert_eq!(
            format("", None, Some("text/html")),
            Err(ParamError::NotAcceptable(refused))
        );
        assert_eq!(
            format("format=csv", None, Some("text/html")).unwrap(),
            Format::Csv
        );
    }

    #[test]
    fn a_faulty_request_still_tells_whether_xml_is_read() {
        let xml = FormatPreference {
            extension: Some(Format::Xml),
            accept: None,
        };
        assert!(xml.wants_xml("limit=x"));
        assert!(!xml.wants_xml("limit=x&format=json"));
        assert!(FormatPreference::default().wants_xml("limit=x&format=xml"));
        assert!(FormatPreference::default().wants_xml("f%6Frmat=%78ml"));
        assert!(
            FormatPreference {
                extension: None,
                accept: Some("application/xml")
            }
            .wants_xml("limit=x")
        );
        assert!(
            !FormatPreference {
                extension: None,
                accept: Some("text/html")
            }
            .wants_xml("")
        );
    }
}
