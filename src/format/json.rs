//! `json`: one array, a record a line. The pieces of a packed record are JSON already.

use super::{Layout, Padded, padded};
use crate::packed::{Piece, append};

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

#[inline(always)]
pub(super) fn piece(field: usize, piece: Piece<'_>, out: &mut Vec<u8>) {
    if let Some((key, length)) = KEYS.get(field) {
        append(out, key, *length);
    }
    piece.append_to(out);
}
