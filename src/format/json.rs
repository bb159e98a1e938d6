//! `json`: one array, a record a line. The pieces of a packed record are JSON already.
//!
//! Beyond ASCII three characters end a line to some readers, such as Python's `splitlines`: U+0085, U+2028 and
//! U+2029. They are escaped, or a record would be two lines there.

use super::{Layout, Padded, padded};
use crate::packed::{RawValue, append};

pub(super) const LAYOUT: Layout = Layout {
    open: b"[",
    between: padded(b",\n"),
    close: b"]",
    empty: b"[]",
    record: [padded(b""), padded(b"}")],
};

/// What stands before each value of a record, in the order of [`crate::flow::FIELDS`], in chunks of one
/// size for [`append`].
const KEYS: [Padded; crate::flow::WIDTH] = [
    padded(b"{\"id\":"),
    padded(b",\"time\":"),
    padded(b",\"duration\":"),
    padded(b",\"src_comp\":"),
    padded(b",\"src_port\":"),
    padded(b",\"dst_comp\":"),
    padded(b",\"dst_port\":"),
    padded(b",\"protocol\":"),
    padded(b",\"packet_count\":"),
    padded(b",\"byte_count\":"),
];

/// A piece of a plain record.
#[inline(always)]
pub(super) fn plain(field: usize, piece: RawValue<'_>, out: &mut Vec<u8>) {
    key(field, out);
    piece.append_to(out);
}

/// Any piece. U+0085 starts with the byte 0xC2, the other two with 0xE2.
pub(super) fn piece(field: usize, piece: RawValue<'_>, out: &mut Vec<u8>) {
    key(field, out);
    if piece.has_any(b"\xC2\xE2") {
        escaped(piece.bytes(), out);
    } else {
        piece.append_to(out);
    }
}

#[inline(always)]
fn key(field: usize, out: &mut Vec<u8>) {
    if let Some((key, length)) = KEYS.get(field) {
        append(out, key, *length);
    }
}

#[cold]
fn escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((first, rest)) = bytes.split_first() {
        let (text, behind): (&[u8], _) = match bytes {
            [0xC2, 0x85, behind @ ..] => (b"\\u0085", behind),
            [0xE2, 0x80, 0xA8, behind @ ..] => (b"\\u2028", behind),
            [0xE2, 0x80, 0xA9, behind @ ..] => (b"\\u2029", behind),
            _ => (std::slice::from_ref(first), rest),
        };
        out.extend_from_slice(text);
        bytes = behind;
    }
}
