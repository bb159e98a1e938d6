//! `json`: one array, a record a line. The pieces of a packed record are JSON already.

use super::{Layout, padded};
use crate::packed::{Record, append};

pub(super) const LAYOUT: Layout = Layout {
    open: b"[",
    between: b",\n",
    close: b"]",
    empty: b"[]",
};

/// What stands before each value of a record, in the order of [`crate::flow::FIELDS`], in chunks of one
/// size for [`append`].
const KEYS: [([u8; 16], usize); crate::flow::WIDTH] = [
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

#[inline]
pub(super) fn record(record: &Record<'_>, out: &mut Vec<u8>) {
    for ((key, length), piece) in KEYS.iter().zip(record) {
        append(out, key, *length);
        piece.append_to(out);
    }
    out.push(b'}');
}
