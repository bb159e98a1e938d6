//! `xml`: one document of `<record>` elements, a record a line; no attributes, no namespace.
//!
//! A null has no element. XML 1.0 cannot hold most control characters, even escaped (section 2.2): they
//! become U+FFFD. A carriage return is escaped, or a parser would read it as a line feed (2.11).

use quick_xml::escape::partial_escape;

use super::Layout;
use crate::packed::{Piece, Record, unquoted};

pub(super) const LAYOUT: Layout = Layout {
    open: b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n",
    between: b"\n",
    close: b"\n</records>",
    empty: b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>",
};

/// The tags around each value of a record, in the order of [`crate::flow::FIELDS`].
const TAGS: [(&[u8], &[u8]); crate::flow::WIDTH] = [
    (b"<id>", b"</id>"),
    (b"<time>", b"</time>"),
    (b"<duration>", b"</duration>"),
    (b"<src_comp>", b"</src_comp>"),
    (b"<src_port>", b"</src_port>"),
    (b"<dst_comp>", b"</dst_comp>"),
    (b"<dst_port>", b"</dst_port>"),
    (b"<protocol>", b"</protocol>"),
    (b"<packet_count>", b"</packet_count>"),
    (b"<byte_count>", b"</byte_count>"),
];

#[inline]
pub(super) fn record(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<record>");
    for ((open, close), piece) in TAGS.iter().zip(record) {
        if *piece == b"null" {
            continue;
        }
        out.extend_from_slice(open);
        match *piece {
            [b'"', content @ .., b'"'] => text(piece, content, out),
            number => out.extend_from_slice(number),
        }
        out.extend_from_slice(close);
    }
    out.extend_from_slice(b"</record>");
}

/// Text that needs no escape is copied.
///
/// JSON has escaped control characters by a backslash; U+FFFE and U+FFFF start with the byte 0xEF.
#[inline]
fn text(piece: Piece<'_>, content: &[u8], out: &mut Vec<u8>) {
    let plain = !content
        .iter()
        .any(|b| matches!(b, b'\\' | b'<' | b'>' | b'&' | 0xEF));
    if plain {
        out.extend_from_slice(content);
    } else {
        escaped(piece, out);
    }
}

#[cold]
fn escaped(piece: Piece<'_>, out: &mut Vec<u8>) {
    let text: String = unquoted(piece)
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
