//! `ndjson`: the records of `json`, each on a line of its own, with nothing around them.

use super::{Layout, json};
use crate::packed::Record;

pub(super) const LAYOUT: Layout = Layout {
    open: b"",
    between: b"",
    close: b"",
    empty: b"",
};

#[inline]
pub(super) fn record(record: &Record<'_>, out: &mut Vec<u8>) {
    json::record(record, out);
    out.push(b'\n');
}
