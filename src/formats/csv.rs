//! `csv`: RFC 4180 with a header line. A field is quoted only where the RFC demands it.
//!
//! A null is an empty field. An empty text is `""`, so that readers which care can tell them apart.

use std::borrow::Cow;

use super::text::{Label, Naming, Padded, TextFormat};
use super::{End, FormatInfo};
use crate::rows::raw_value::{RawValue, unquoted};
use crate::table::columns::{joined, joined_length};
use crate::table::layout::Layout;

pub(super) const INFO: FormatInfo = FormatInfo {
    name: "csv",
    media_type: "text/csv",
    media_type_parameters: "; charset=utf-8; header=present",
    aliases: &[],
};

pub(super) struct Csv;

/// The header line is the first record, so it opens the body and is all of an empty one.
const HEADER: &[u8] = &joined::<{ joined_length(",", "\r\n") }>(",", "\r\n");

impl TextFormat for Csv {
    const NAMING: Naming = Naming {
        first: "",
        next: ",",
        behind: "",
        closing: None,
    };
    const OPEN: &'static [u8] = b"";
    const BETWEEN: Padded = Padded::new(&[]);
    const CLOSE: &'static [u8] = b"";
    const EMPTY: &'static [u8] = b"";
    const END_RECORD: Padded = Padded::new(&["\r\n"]);

    fn header(layout: &Layout) -> Option<Cow<'static, [u8]>> {
        Some(if layout.is_all() {
            HEADER.into()
        } else {
            (layout.field_names() + "\r\n").into_bytes().into()
        })
    }

    #[inline(always)]
    fn fast_value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        comma(label, out);
        bare(value, out);
    }

    /// A text without comma, quote or line break stands bare. JSON escapes the last two by a backslash.
    fn value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        comma(label, out);
        match value.content() {
            None if value.bytes() == b"null" => {}
            Some(content) if content.has_any(b",\\") => quoted(value, out),
            _ => bare(value, out),
        }
    }

    /// A record whose first field is `end`. It has as many fields as any, and four at least.
    fn end(records: u64, fields: usize, end: &End, out: &mut Vec<u8>) {
        let watermark = end.watermark.map(|id| id.to_string()).unwrap_or_default();
        let cursor = end.cursor.as_deref().unwrap_or_default();
        let said = ["end", &records.to_string(), &watermark, cursor];
        let empty = fields.saturating_sub(said.len());
        let line = said.join(",") + &",".repeat(empty) + "\r\n";
        out.extend_from_slice(line.as_bytes());
    }
}

#[inline(always)]
fn comma(label: &Label, out: &mut Vec<u8>) {
    if !label.is_first {
        out.push(b',');
    }
}

/// Without quotes, unless the text is empty.
#[inline(always)]
fn bare(value: RawValue<'_>, out: &mut Vec<u8>) {
    match value.content() {
        Some(content) if !content.bytes().is_empty() => content.append_to(out),
        _ => value.append_to(out),
    }
}

#[cold]
fn quoted(value: RawValue<'_>, out: &mut Vec<u8>) {
    let text = unquoted(value.bytes()).unwrap_or_default();
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}
