//! `ndjson`: the records of `json`, each on a line of its own, with nothing around them.

use super::{End, Layout, padded};

pub(super) const LAYOUT: Layout = Layout {
    open: b"",
    between: padded(b""),
    close: b"",
    empty: b"",
    record: [padded(b""), padded(b"}\n")],
};

/// The line that ends a body when it is asked for: no flow has a field `end`.
pub(super) fn end(count: u64, end: &End, out: &mut Vec<u8>) {
    let watermark = end.watermark.map_or("null".to_owned(), |id| id.to_string());
    let mut line = format!("{{\"end\":true,\"count\":{count},\"watermark\":{watermark}");
    if let Some(cursor) = &end.cursor {
        // A cursor is letters and digits.
        line.push_str(&format!(",\"cursor\":\"{cursor}\""));
    }
    line.push_str("}\n");
    out.extend_from_slice(line.as_bytes());
}
