//! The output formats: the list, and the trait that each of them implements.
//!
//! A format is one file, one row of the list and its name in [`Format::EXPECTED`]. It owns its names, its media types and the buffer that it writes
//! into. The calls of a record are dispatched statically, one loop a format.

mod arrow;
mod csv;
mod json;
mod ndjson;
mod text;
mod xml;

use crate::rows::RecordError;
use crate::rows::raw_value::RawValue;
use crate::rows::reader::RecordReader;
use crate::table::layout::Layout;
use text::TextWriter;

pub use xml::allowed as xml_char;

/// What a format is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatInfo {
    /// The name in `format=` and as the path's extension.
    pub name: &'static str,
    /// The media type in `Accept` and `Content-Type`.
    pub media_type: &'static str,
    /// The parameters behind the media type in `Content-Type`; empty where there are none.
    pub media_type_parameters: &'static str,
    /// Other media types that clients ask for the format by.
    pub aliases: &'static [&'static str],
}

/// Writes records in one format, into a buffer of its own.
pub trait RecordWriter {
    /// Starts an empty body of records in this layout. A format with metadata says `end` there.
    fn new(layout: &Layout, end: Option<&End>) -> Self
    where
        Self: Sized;

    /// Makes room for so many more bytes.
    fn reserve(&mut self, bytes: usize);

    /// Starts a record. The calls of its values follow, in the order of the fields.
    fn begin_record(&mut self);

    /// Writes a value of a fast record, see [`RecordReader::fast_record`].
    fn fast_value<const ALL: bool>(&mut self, field: usize, value: RawValue<'_>)
    where
        Self: Sized;

    /// Writes any value.
    fn value(&mut self, field: usize, value: RawValue<'_>);

    /// Ends a record.
    fn end_record(&mut self);

    /// Takes back the record begun last, with what [`Self::begin_record`] has written.
    fn undo_record(&mut self);

    /// Records written so far.
    fn records(&self) -> u64;

    /// Bytes that [`Self::take`] would return.
    fn buffered(&self) -> usize;

    /// The bytes written since the last call.
    fn take(&mut self) -> Vec<u8>;

    /// Completes what is written, so that [`Self::take`] returns it.
    fn flush(&mut self) {}

    /// Writes white space that readers pass over, if the format has room for it here.
    fn blank(&mut self);

    /// Ends the body. With `end`, a format without an end of its own closes with a line that says it.
    fn finish(&mut self, end: Option<&End>);
}

/// What a client needs to go on behind a body. A format without an end of its own says it in its last line, where that
/// was asked for. A format with metadata always says it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The lineage of the table.
    pub lineage: Option<String>,
    /// The id that a client which has stored the body continues after.
    pub watermark: Option<i64>,
    /// The cursor that continues, where a limit cuts the answer.
    pub cursor: Option<String>,
}

macro_rules! formats {
    ($($(#[$attribute:meta])* $format:ident: $writer:ty = $info:expr;)*) => {
        /// How flows are written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum Format {
            $($(#[$attribute])* $format),*
        }

        impl Format {
            /// Every format. Where `Accept` weighs some alike, the first of them is sent.
            pub const ALL: [Self; [$($info.name),*].len()] = [$(Self::$format),*];

            /// What the format is called.
            pub fn info(self) -> &'static FormatInfo {
                match self {
                    $(Self::$format => &$info),*
                }
            }
        }

        /// The writer of the format that was asked for.
        enum Writer {
            $($format($writer)),*
        }

        impl Writer {
            fn new(format: Format, layout: &Layout, end: Option<&End>) -> Self {
                match format {
                    $(Format::$format => Self::$format(RecordWriter::new(layout, end))),*
                }
            }

            fn write(&mut self, records: &mut RecordReader<'_>, full: usize) -> Result<bool, RecordError> {
                match (self, records.layout().is_all()) {
                    $((Self::$format(writer), true) => {
                        write::<{ <$writer>::UNROLLED }>(writer, records, full)
                    }
                    (Self::$format(writer), false) => write::<false>(writer, records, full)),*
                }
            }

            fn any(&mut self) -> &mut dyn RecordWriter {
                match self {
                    $(Self::$format(writer) => writer),*
                }
            }

            fn records(&self) -> u64 {
                match self {
                    $(Self::$format(writer) => writer.records()),*
                }
            }
        }
    };
}

// The list of formats.
formats! {
    /// One JSON array.
    #[default]
    Json: TextWriter<json::Json> = json::INFO;
    /// One XML document.
    Xml: TextWriter<xml::Xml> = xml::INFO;
    /// JSON objects, a line each.
    Ndjson: TextWriter<ndjson::Ndjson> = ndjson::INFO;
    /// Comma-separated values with a header line.
    Csv: TextWriter<csv::Csv> = csv::INFO;
    /// A stream of Arrow IPC messages.
    Arrow: arrow::ArrowWriter = arrow::INFO;
}

impl Format {
    /// The names as an error lists them.
    pub const EXPECTED: &'static str = "json, xml, ndjson, csv or arrow";

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The name in `format=` and as the path's extension.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The media type in `Accept`.
    pub fn media_type(self) -> &'static str {
        self.info().media_type
    }

    /// Whether the body says its [`End`] without being asked.
    pub fn has_metadata(self) -> bool {
        self == Self::Arrow
    }

    /// The media type with its parameters, for `Content-Type`.
    pub fn content_type(self) -> String {
        let info = self.info();
        [info.media_type, info.media_type_parameters].concat()
    }
}

/// Writes one body, page by page.
pub struct Encoder {
    writer: Writer,
    end: Option<End>,
}

/// Room for the record that fills a chunk. A longer record costs one more allocation.
const SLACK: usize = 1 << 10;

impl Encoder {
    /// Starts an empty body of records in this layout. With `end`, `ndjson` and `csv` close with a line that says the
    /// end and the number of flows. A body that has lost its end then differs from a whole one.
    pub fn new(format: Format, layout: &Layout, end: Option<End>) -> Self {
        Self {
            writer: Writer::new(format, layout, end.as_ref()),
            end,
        }
    }

    /// Records written so far.
    pub fn records(&self) -> u64 {
        self.writer.records()
    }

    /// Writes records until the chunk has `full` bytes; with `usize::MAX` writes all. Returns whether `records` has
    /// more.
    ///
    /// # Errors
    /// As [`RecordReader::record`]. The body then has no end.
    pub fn write(
        &mut self,
        records: &mut RecordReader<'_>,
        full: usize,
    ) -> Result<bool, RecordError> {
        if full < usize::MAX {
            self.writer.any().reserve(full.saturating_add(SLACK));
        }
        self.writer.write(records, full)
    }

    /// Completes the records written so far, so that a client can read them at once.
    pub fn flush(&mut self) {
        self.writer.any().flush();
    }

    /// Writes a byte that means nothing, if the format has room for it here.
    pub fn blank(&mut self) {
        self.writer.any().blank();
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        self.writer.any().finish(self.end.as_ref());
    }

    /// The chunk written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        self.writer.any().take()
    }
}

/// The loop over the records of a page, compiled for each format. For all columns of the table it is compiled once more,
/// with their number and types.
#[inline(never)]
fn write<const ALL: bool>(
    writer: &mut impl RecordWriter,
    records: &mut RecordReader<'_>,
    full: usize,
) -> Result<bool, RecordError> {
    while writer.buffered() < full {
        writer.begin_record();
        let fast = |field, value| writer.fast_value::<ALL>(field, value);
        if !records.fast_record::<ALL>(fast) {
            writer.undo_record();
            if !write_any(writer, records)? {
                return Ok(false);
            }
        }
        writer.end_record();
    }
    Ok(true)
}

/// Begins a record that is not a fast one, and writes its values; `false` at the end of the page.
#[inline(never)]
fn write_any(
    writer: &mut dyn RecordWriter,
    records: &mut RecordReader<'_>,
) -> Result<bool, RecordError> {
    let Some(record) = records.record()? else {
        return Ok(false);
    };
    writer.begin_record();
    for (field, value) in record.values().iter().enumerate() {
        writer.value(field, *value);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] =
        br#"[1,2,0,"a","b","c","d",6,1,52],[2,2,0,"","\"\n","<&>","\u0001,\r",17,-1,null]"#;

    fn body(format: Format, packed: &[u8]) -> String {
        let mut encoder = Encoder::new(format, &Layout::ALL, None);
        let mut out = Vec::new();
        let count = if packed.is_empty() { 0 } else { 2 };
        let mut records = RecordReader::new(packed, count, &Layout::ALL).unwrap();
        // One byte fills a chunk: each holds one record, and the whole is the same.
        while encoder.write(&mut records, 1).unwrap() {
            out.extend(encoder.take());
        }
        encoder.finish();
        out.extend(encoder.take());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_error_lists_every_name() {
        let names = Format::ALL.map(Format::name).join(", ");
        assert_eq!(Format::EXPECTED.replace(" or ", ", "), names);
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
    fn a_blank_stands_where_readers_pass_over_it_and_nowhere_else() {
        for (format, before_first, behind_first) in [
            (Format::Json, "\n", "\n"),
            (Format::Xml, "", "\n"),
            (Format::Ndjson, "", ""),
            (Format::Csv, "", ""),
            (Format::Arrow, "", ""),
        ] {
            let mut encoder = Encoder::new(format, &Layout::ALL, None);
            let mut records = RecordReader::new(TWO, 2, &Layout::ALL).unwrap();
            // An Arrow stream has its schema before the first record.
            _ = encoder.take();
            encoder.blank();
            assert_eq!(encoder.take(), before_first.as_bytes(), "{format:?}");
            encoder.write(&mut records, usize::MAX).unwrap();
            _ = encoder.take();
            encoder.blank();
            assert_eq!(encoder.take(), behind_first.as_bytes(), "{format:?}");
        }
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
            let end = End {
                lineage: None,
                watermark,
                cursor: cursor.map(str::to_owned),
            };
            let mut encoder = Encoder::new(format, &Layout::ALL, Some(end));
            let mut records = RecordReader::new(TWO, 2, &Layout::ALL).unwrap();
            encoder.write(&mut records, usize::MAX).unwrap();
            encoder.finish();
            String::from_utf8(encoder.take()).unwrap()
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
