//! `csv`: RFC 4180 with a header line. Fields are quoted only where the RFC wants it.
//!
//! A null is an empty field; an empty text is `""`, so that readers which care can tell them apart.

use super::{End, Layout, padded};
use crate::packed::{RawValue, unquoted};

/// The header line is the first record, so it opens the body and is all of an empty one.
const HEADER: &[u8] = b"id,time,duration,src_comp,src_port,dst_comp,dst_port,\
                        protocol,packet_count,byte_count\r\n";

pub(super) const LAYOUT: Layout = Layout {
    open: HEADER,
    between: padded(b""),
    close: b"",
    empty: HEADER,
    record: [padded(b""), padded(b"\r\n")],
};

/// A piece of a plain record.
#[inline(always)]
pub(super) fn plain(field: usize, piece: RawValue<'_>, out: &mut Vec<u8>) {
    comma(field, out);
    bare(piece, out);
}

/// Any piece. A text without comma, quote or line break stands bare; JSON escapes the last two.
pub(super) fn piece(field: usize, piece: RawValue<'_>, out: &mut Vec<u8>) {
    comma(field, out);
    match piece.content() {
        None if piece.bytes() == b"null" => {}
        Some(content) if content.has_any(b",\\") => quoted(piece, out),
        _ => bare(piece, out),
    }
}

#[inline(always)]
fn comma(field: usize, out: &mut Vec<u8>) {
    if field > 0 {
        out.push(b',');
    }
}

/// Without quotes, unless there is nothing else.
#[inline(always)]
fn bare(piece: RawValue<'_>, out: &mut Vec<u8>) {
    match piece.content() {
        Some(content) if !content.bytes().is_empty() => content.append_to(out),
        _ => piece.append_to(out),
    }
}

#[cold]
fn quoted(piece: RawValue<'_>, out: &mut Vec<u8>) {
    let text = unquoted(piece.bytes()).unwrap_or_default();
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// The record that ends a body when it is asked for: its `id` is no number. It has as many fields as any.
pub(super) fn end(count: u64, end: &End, out: &mut Vec<u8>) {
    let watermark = end.watermark.map(|id| id.to_string()).unwrap_or_default();
    let cursor = end.cursor.as_deref().unwrap_or_default();
    out.extend_from_slice(format!("end,{count},{watermark},{cursor},,,,,,\r\n").as_bytes());
}
