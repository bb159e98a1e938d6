//! `json`: one array, a record a line. The pieces of a packed record are JSON already.

use super::Layout;
use crate::packed::Record;

pub(super) const LAYOUT: Layout = Layout {
    open: b"[",
    between: b",\n",
    close: b"]",
    empty: b"[]",
};

/// What stands before each value of a record, in the order of [`crate::flow::FIELDS`].
const KEYS: [&[u8]; crate::flow::WIDTH] = [
    b"{\"id\":",
    b",\"time\":",
    b",\"duration\":",
    b",\"src_comp\":",
    b",\"src_port\":",
    b",\"dst_comp\":",
    b",\"dst_port\":",
    b",\"protocol\":",
    b",\"packet_count\":",
    b",\"byte_count\":",
];

#[inline]
pub(super) fn record(record: &Record<'_>, out: &mut Vec<u8>) {
    for (key, piece) in KEYS.iter().zip(record) {
        out.extend_from_slice(key);
        out.extend_from_slice(piece);
    }
    out.push(b'}');
}
