//! `xml`: one document of `<record>` elements, a record a line; no attributes, no namespace.
//!
//! A null has no element. XML 1.0 cannot hold most control characters, even escaped (section 2.2): they
//! become U+FFFD. A carriage return is escaped, or a parser would read it as a line feed (2.11).

use quick_xml::escape::partial_escape;

use super::{Layout, padded};
use crate::packed::{Piece, Record, append, unquoted};

pub(super) const LAYOUT: Layout = Layout {
    open: b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n",
    between: b"\n",
    close: b"\n</records>",
    empty: b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>",
};

/// The tags around each value of a record, in the order of [`crate::flow::FIELDS`], in chunks of one size
/// for [`append`].
const TAGS: [[([u8; 16], usize); 2]; crate::flow::WIDTH] = [
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

#[inline]
pub(super) fn record(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<record>");
    for ([(open, opens), (close, closes)], piece) in TAGS.iter().zip(record) {
        let content = piece.content();
        if content.is_none() && piece.bytes() == b"null" {
            continue;
        }
        append(out, open, *opens);
        match content {
            Some(content) => text(*piece, content, out),
            None => piece.append_to(out),
        }
        append(out, close, *closes);
    }
    out.extend_from_slice(b"</record>");
}

/// Text that needs no escape is copied.
///
/// JSON has escaped control characters by a backslash; U+FFFE and U+FFFF start with the byte 0xEF.
#[inline]
fn text(piece: Piece<'_>, content: Piece<'_>, out: &mut Vec<u8>) {
    if content.has_any([b'\\', b'<', b'>', b'&', 0xEF]) {
        escaped(piece, out);
    } else {
        content.append_to(out);
    }
}

#[cold]
fn escaped(piece: Piece<'_>, out: &mut Vec<u8>) {
    let text: String = unquoted(piece.bytes())
        .unwrap_or_default()
        .chars()
        .map(allowed)
        .collect();
    let escaped = partial_escape(&text).replace('\r', "&#13;");
    out.extend_from_slice(escaped.as_bytes());
}

/// The character itself, or U+FFFD where XML 1.0 does not allow it (section 2.2, production `Char`).
pub fn allowed(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => c,
        _ => '\u{FFFD}',
    }
}
