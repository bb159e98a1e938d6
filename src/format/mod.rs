//! The output formats: one file each, every one writing into the caller's buffer.
//!
//! Adding a format is one file and one arm in each `match` here.

mod csv;
mod json;
mod ndjson;
mod xml;

use anyhow::Result;

use crate::packed::{RawValue, RecordReader, append};

pub use xml::allowed as xml_char;

/// How flows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON array.
    #[default]
    Json,
    /// One XML document.
    Xml,
    /// JSON objects, a line each.
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
}

/// What stands around the records of a body.
struct Layout {
    /// Before the first record.
    open: &'static [u8],
    /// Between two records.
    between: Padded,
    /// Behind the last record.
    close: &'static [u8],
    /// The whole body when there is no record.
    empty: &'static [u8],
    /// Before and behind the values of each record.
    record: [Padded; 2],
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Json, Self::Xml, Self::Ndjson, Self::Csv];

    /// The names as an error lists them.
    pub const NAMES: &'static str = "json, xml, ndjson or csv";

    /// The name in `format=` and as the path's ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The media type as `Accept` names it.
    pub fn media_type(self) -> &'static str {
        let (media_type, _) = self
            .content_type()
            .split_once(';')
            .unwrap_or((self.content_type(), ""));
        media_type
    }

    /// Other media types that clients ask for it by. Answers are of [`Self::media_type`] all the same.
    pub fn other_names(self) -> &'static [&'static str] {
        match self {
            Self::Xml => &["text/xml"],
            Self::Ndjson => &["application/ndjson", "application/jsonl"],
            Self::Json | Self::Csv => &[],
        }
    }

    /// The media type, with its parameters.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    fn layout(self) -> &'static Layout {
        match self {
            Self::Json => &json::LAYOUT,
            Self::Xml => &xml::LAYOUT,
            Self::Ndjson => &ndjson::LAYOUT,
            Self::Csv => &csv::LAYOUT,
        }
    }
}

/// A text at the start of a chunk, and its length: what [`append`] writes at once.
type Padded = ([u8; 16], usize);

/// Evaluated when compiling; a text longer than the chunk does not compile.
const fn padded(text: &[u8]) -> Padded {
    let mut chunk = [0; 16];
    chunk.split_at_mut(text.len()).0.copy_from_slice(text);
    (chunk, text.len())
}

/// Writes one body, page by page.
pub struct Encoder {
    format: Format,
    records: u64,
    end: Option<End>,
}

/// What the end of a body says, where it was asked for and the format has no end of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The id that a client which has stored the body goes on behind.
    pub watermark: Option<i64>,
    /// Where a limit cuts the answer, the cursor that goes on.
    pub cursor: Option<String>,
}

impl Encoder {
    /// Starts an empty body. With `end`, `ndjson` and `csv` close with a line that says it and the number of
    /// flows, so that a body which has lost its end can be told from a whole one.
    pub fn new(format: Format, end: Option<End>) -> Self {
        Self {
            format,
            records: 0,
            end,
        }
    }

    /// Records written so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Writes records behind what `out` holds until it has `full` bytes; tells whether there are more.
    ///
    /// # Errors
    /// As [`RecordReader`]; `out` then ends inside the body.
    pub fn part(
        &mut self,
        records: &mut RecordReader<'_>,
        out: &mut Vec<u8>,
        full: usize,
    ) -> Result<bool> {
        // One loop a format: the choice is made once a part.
        match self.format {
            Format::Json => self.each(records, out, full, json::plain, json::piece),
            Format::Xml => self.each(records, out, full, xml::plain, xml::piece),
            // In one loop with JSON a record took 138 ns instead of 122.
            Format::Ndjson => self.each(records, out, full, json::plain, json::piece),
            Format::Csv => self.each(records, out, full, csv::plain, csv::piece),
        }
    }

    /// Ends the body.
    pub fn finish(&self, out: &mut Vec<u8>) {
        let layout = self.format.layout();
        out.extend_from_slice(if self.records == 0 {
            layout.empty
        } else {
            layout.close
        });
        match (self.format, &self.end) {
            (Format::Ndjson, Some(end)) => ndjson::end(self.records, end, out),
            (Format::Csv, Some(end)) => csv::end(self.records, end, out),
            (_, None) | (Format::Json | Format::Xml, _) => {}
        }
    }

    /// Writes by `plain` what the pieces of plain records are, and by `piece` those of others.
    #[inline(always)]
    fn each(
        &mut self,
        records: &mut RecordReader<'_>,
        out: &mut Vec<u8>,
        full: usize,
        plain: impl Fn(usize, RawValue<'_>, &mut Vec<u8>),
        piece: impl Fn(usize, RawValue<'_>, &mut Vec<u8>),
    ) -> Result<bool> {
        let layout = self.format.layout();
        let [(open, opens), (close, closes)] = &layout.record;
        let (between, betweens) = &layout.between;
        while out.len() < full {
            let before = out.len();
            if self.records == 0 {
                out.extend_from_slice(layout.open);
            } else {
                append(out, between, *betweens);
            }
            append(out, open, *opens);
            let values = out.len();
            if !records.fast_record(|field, value| plain(field, value, out)) {
                out.truncate(values);
                let Some(record) = records.record()? else {
                    out.truncate(before);
                    return Ok(false);
                };
                for (field, value) in record.into_iter().enumerate() {
                    piece(field, value, out);
                }
            }
            append(out, close, *closes);
            self.records = self.records.saturating_add(1);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] =
        br#"[1,2,0,"a","b","c","d",6,1,52],[2,2,0,"","\"\n","<&>","\u0001,\r",17,-1,null]"#;

    fn body(format: Format, packed: &[u8]) -> String {
        let mut encoder = Encoder::new(format, None);
        let mut out = Vec::new();
        let count = if packed.is_empty() { 0 } else { 2 };
        let mut records = RecordReader::new(packed, count).unwrap();
        // A byte is full at once: each part holds one record, and the whole is the same.
        let mut full = 1;
        while encoder.part(&mut records, &mut out, full).unwrap() {
            full = out.len() + 1;
        }
        encoder.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn empty_bodies_are_what_the_contract_says() {
        assert_eq!(body(Format::Json, b""), "[]");
        assert_eq!(body(Format::Ndjson, b""), "");
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>";
        assert_eq!(body(Format::Xml, b""), xml);
        let header = "id,time,duration,src_comp,src_port,dst_comp,dst_port,protocol,packet_count,byte_count\r\n";
        assert_eq!(body(Format::Csv, b""), header);
    }

    #[test]
    fn json_is_one_array_with_a_record_a_line() {
        let text = body(Format::Json, TWO);
        let expected = concat!(
            r#"[{"id":1,"time":2,"duration":0,"src_comp":"a","src_port":"b","dst_comp":"c","dst_port":"d","protocol":6,"packet_count":1,"byte_count":52},"#,
            "\n",
            r#"{"id":2,"time":2,"duration":0,"src_comp":"","src_port":"\"\n","dst_comp":"<&>","dst_port":"\u0001,\r","protocol":17,"packet_count":-1,"byte_count":null}]"#,
        );
        assert_eq!(text, expected);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed[1]["src_port"], "\"\n");
        let lines = body(Format::Ndjson, TWO);
        assert_eq!(format!("[{}]", lines.trim_end().replace('\n', ",\n")), text);
        assert!(lines.ends_with('\n'));
    }

    #[test]
    fn json_escapes_what_ends_a_line_beyond_ascii_and_nothing_else() {
        let text = "a\u{85}\u{2028}\u{2029}z \u{86}\u{a0}\u{2027}\u{202a}\u{20a8}\u{28a8}\u{e4}\u{ff}\u{1f642}";
        let first = format!("[1,2,0,\"{text}\",\"\",\"\",\"\u{2028}\",6,1,52]");
        let packed = first + r#",[2,2,0,"","","","",6,1,1]"#;
        let escaped = text
            .replace('\u{85}', "\\u0085")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
        for format in [Format::Json, Format::Ndjson] {
            let body = body(format, packed.as_bytes());
            let first = body.lines().next().unwrap();
            let field = format!(r#""src_comp":"{escaped}","src_port""#);
            assert!(first.contains(&field), "{first}");
            assert!(first.contains(r#""dst_port":"\u2028""#), "{first}");
        }
        for format in [Format::Xml, Format::Csv] {
            assert!(body(format, packed.as_bytes()).contains(text));
        }
    }

    #[test]
    fn an_end_that_is_asked_for_names_count_and_watermark() {
        let ended = |format, watermark, cursor: Option<&str>| {
            let mut out = Vec::new();
            let end = End {
                watermark,
                cursor: cursor.map(str::to_owned),
            };
            let mut encoder = Encoder::new(format, Some(end));
            let mut records = RecordReader::new(TWO, 2).unwrap();
            encoder.part(&mut records, &mut out, usize::MAX).unwrap();
            encoder.finish(&mut out);
            String::from_utf8(out).unwrap()
        };
        let whole = |format| ended(format, Some(-7), None);
        let ndjson = whole(Format::Ndjson);
        let last = r#"{"end":true,"count":2,"watermark":-7}"#;
        assert_eq!(ndjson.lines().last(), Some(last));
        let csv = whole(Format::Csv);
        assert!(csv.ends_with("\r\nend,2,-7,,,,,,,\r\n"), "{csv}");
        assert!(whole(Format::Json).ends_with("]"));
        assert!(whole(Format::Xml).ends_with("</records>"));
        // Cut by a limit: a cursor, and a watermark only where there is one.
        let ndjson = ended(Format::Ndjson, None, Some("bkg"));
        let last = r#"{"end":true,"count":2,"watermark":null,"cursor":"bkg"}"#;
        assert_eq!(ndjson.lines().last(), Some(last));
        let csv = ended(Format::Csv, Some(9), Some("bkg"));
        assert!(csv.ends_with("\r\nend,2,9,bkg,,,,,,\r\n"), "{csv}");
        let csv = ended(Format::Csv, None, Some("bkg"));
        assert!(csv.ends_with("\r\nend,2,,bkg,,,,,,\r\n"), "{csv}");
    }

    #[test]
    fn csv_quotes_what_rfc_4180_wants_quoted() {
        let text = body(Format::Csv, TWO);
        let records = text.split_once("\r\n").unwrap().1;
        assert_eq!(
            records,
            "1,2,0,a,b,c,d,6,1,52\r\n2,2,0,\"\",\"\"\"\n\",<&>,\"\u{1},\r\",17,-1,\r\n"
        );
    }

    #[test]
    fn xml_escapes_markup_and_replaces_what_it_cannot_hold() {
        let text = body(Format::Xml, TWO);
        assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n<record><id>1</id><time>2</time>"), "{text}");
        let second = text.lines().last().unwrap();
        assert!(text.ends_with("</record>\n</records>"), "{text}");
        let record = text.split("<record>").nth(2).unwrap();
        assert!(
            record
                .contains("<dst_comp>&lt;&amp;&gt;</dst_comp><dst_port>\u{fffd},&#13;</dst_port>"),
            "{record}"
        );
        assert!(
            !record.contains("byte_count"),
            "a null has no element: {record}"
        );
        assert_eq!(second, "</records>");
    }
}
