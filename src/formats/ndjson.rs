//! `ndjson`: the objects of `json`, each on a line of its own, with nothing around them.

use super::text::{Label, Naming, Padded, TextFormat};
use super::{End, FormatInfo, json};
use crate::rows::raw_value::RawValue;

pub(super) const INFO: FormatInfo = FormatInfo {
    name: "ndjson",
    media_type: "application/x-ndjson",
    media_type_parameters: "",
    aliases: &["application/ndjson", "application/jsonl"],
};

pub(super) struct Ndjson;

impl TextFormat for Ndjson {
    const NAMING: Naming = json::NAMING;
    const OPEN: &'static [u8] = b"";
    const BETWEEN: Padded = Padded::new(&[]);
    const CLOSE: &'static [u8] = b"";
    const EMPTY: &'static [u8] = b"";
    const END_RECORD: Padded = Padded::new(&["}\n"]);

    #[inline(always)]
    fn fast_value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        json::fast_member(label, value, out);
    }

    fn value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        json::member(label, value, out);
    }

    /// A line with the field `end`, which no flow has.
    fn end(records: u64, _fields: usize, end: &End, out: &mut Vec<u8>) {
        let watermark = end.watermark.map_or("null".to_owned(), |id| id.to_string());
        let mut line = format!("{{\"end\":true,\"count\":{records},\"watermark\":{watermark}");
        if let Some(cursor) = &end.cursor {
            // A cursor is letters and digits.
            line.push_str(&format!(",\"cursor\":\"{cursor}\""));
        }
        line.push_str("}\n");
        out.extend_from_slice(line.as_bytes());
    }
}
