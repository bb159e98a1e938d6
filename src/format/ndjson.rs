//! `ndjson`: the records of `json`, each on a line of its own, with nothing around them.

use super::{Layout, padded};

pub(super) const LAYOUT: Layout = Layout {
    open: b"",
    between: padded(b""),
    close: b"",
    empty: b"",
    record: [padded(b""), padded(b"}\n")],
};

/// The line that ends a body when it is asked for: no flow has a field `end`.
pub(super) fn end(count: u64, watermark: i64, out: &mut Vec<u8>) {
    let line = format!("{{\"end\":true,\"count\":{count},\"watermark\":{watermark}}}\n");
    out.extend_from_slice(line.as_bytes());
}
