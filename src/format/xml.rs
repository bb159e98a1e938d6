//! `xml`: one document of `<record>` elements, a record a line; no attributes, no namespace.
//!
//! A null has no element. XML 1.0 cannot hold most control characters, even escaped (section 2.2): they
//! become U+FFFD. A carriage return is escaped, or a parser would read it as a line feed (2.11).

use quick_xml::escape::partial_escape;

use super::{Layout, Padded, padded};
use crate::packed::{RawValue, append, unquoted};

pub(super) const LAYOUT: Layout = Layout {
    open: b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n",
    between: padded(b"\n"),
    close: b"\n</records>",
    empty: b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>",
    record: [padded(b"<record>"), padded(b"</record>")],
};

/// The tags around each value of a record, in the order of [`crate::flow::FIELDS`], in chunks of one size
/// for [`append`].
const TAGS: [[Padded; 2]; crate::flow::WIDTH] = [
    [padded(b"<id>"), padded(b"</id>")],
    [padded(b"<time>"), padded(b"</time>")],
    [padded(b"<duration>"), padded(b"</duration>")],
    [padded(b"<src_comp>"), padded(b"</src_comp>")],
    [padded(b"<src_port>"), padded(b"</src_port>")],
    [padded(b"<dst_comp>"), padded(b"</dst_comp>")],
    [padded(b"<dst_port>"), padded(b"</dst_port>")],
    [padded(b"<protocol>"), padded(b"</protocol>")],
    [padded(b"<packet_count>"), padded(b"</packet_count>")],
    [padded(b"<byte_count>"), padded(b"</byte_count>")],
];

/// A piece of a plain record.
#[inline(always)]
pub(super) fn plain(field: usize, piece: RawValue<'_>, out: &mut Vec<u8>) {
    element(field, out, |out| {
        piece.content().unwrap_or(piece).append_to(out);
    });
}

/// Any piece. Text that needs no escape is copied: JSON has escaped control characters by a backslash, and
/// U+FFFE and U+FFFF start with the byte 0xEF.
pub(super) fn piece(field: usize, piece: RawValue<'_>, out: &mut Vec<u8>) {
    match piece.content() {
        None if piece.bytes() == b"null" => {}
        Some(content) if content.has_any(b"\\<>&\xEF") => {
            element(field, out, |out| escaped(piece, out));
        }
        _ => plain(field, piece, out),
    }
}

#[inline(always)]
fn element(field: usize, out: &mut Vec<u8>, write: impl Fn(&mut Vec<u8>)) {
    let Some([(open, opens), (close, closes)]) = TAGS.get(field) else {
        return;
    };
    append(out, open, *opens);
    write(out);
    append(out, close, *closes);
}

#[cold]
fn escaped(piece: RawValue<'_>, out: &mut Vec<u8>) {
    let text: String = unquoted(piece.bytes())
        .unwrap_or_default()
        .chars()
        .map(allowed)
        .collect();
    out.extend_from_slice(partial_escape(&text).as_bytes());
}

/// The character itself, or U+FFFD where XML 1.0 does not allow it (section 2.2, production `Char`).
pub fn allowed(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => c,
        _ => '\u{FFFD}',
    }
}
