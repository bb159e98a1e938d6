//! Bodies in every format, and readers of them that know nothing of this crate.

use flow_window::formats::{Encoder, End, Format};
use flow_window::rows::RecordError;
use flow_window::rows::reader::RecordReader;
use flow_window::table::columns::{COLUMN_COUNT, COLUMNS};

/// A value as a client reads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// Of an integer field.
    Integer(i64),
    /// Of a text field.
    Text(String),
}

/// A flow as a client reads it.
pub type Row = [Cell; COLUMN_COUNT];

/// Sizes of parts, from a seed: mostly of a record or less, now and then of several.
#[derive(Debug, Clone)]
pub struct Sizes(u64);

impl Sizes {
    /// Sizes that are always the same for the same page.
    pub fn of(page: &[u8]) -> Self {
        Self(page.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// The next size, below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// A page as the database hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Its flows, packed.
    pub packed: &'a [u8],
    /// How many they are by the database's count.
    pub count: i64,
}

/// A body of some pages: what could be written of it, how many records that is, and the error that ended it.
pub type Written = (Vec<u8>, u64, Result<(), String>);

/// Writes pages as the service does: parts of some sizes, each sent before the next is begun.
pub fn write(
    format: Format,
    pages: &[Page<'_>],
    end: Option<End>,
    mut size: impl FnMut() -> usize,
) -> Written {
    let mut encoder = Encoder::new(format, end);
    let mut body = Vec::new();
    let mut write = || -> Result<(), RecordError> {
        for page in pages {
            let mut records = RecordReader::new(page.packed, page.count)?;
            while encoder.write(&mut records, size())? {
                body.append(&mut encoder.take());
            }
        }
        encoder.finish();
        Ok(())
    };
    let result = write().map_err(|error| error.to_string());
    body.append(&mut encoder.take());
    (body, encoder.records(), result)
}

/// Whether parts of any size make the same body, also where it ends in an error.
pub fn check_parts(page: Page<'_>) {
    for format in Format::ALL {
        let whole = write(format, &[page], None, || usize::MAX);
        let mut sizes = Sizes::of(page.packed);
        let parts = write(format, &[page], None, || 1 + sizes.below(400));
        assert_eq!(parts, whole, "{format:?}");
        let smallest = write(format, &[page], None, || 1);
        assert_eq!(smallest, whole, "{format:?}");
    }
}

/// Where Python's `str.splitlines` ends a line, which knows more such places than any other reader.
const LINE_ENDS: [char; 10] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// Whether every format's body of these pages is read back as these rows.
#[track_caller]
pub fn check_read_back(pages: &[Page<'_>], rows: &[Row]) {
    let written = |format| {
        let (body, records, result) = write(format, pages, None, || usize::MAX);
        assert_eq!((result, records), (Ok(()), rows.len() as u64), "{format:?}");
        String::from_utf8(body).unwrap_or_else(|error| panic!("{format:?}: {error}"))
    };
    let json = written(Format::Json);
    let ndjson = written(Format::Ndjson);
    let csv = written(Format::Csv);
    let xml = written(Format::Xml);
    assert_eq!(read_json(&json), rows, "{json}");
    // The text of a record holds nothing that any reader takes for the end of a line, so each line is one.
    let lines: Vec<_> = ndjson.split_terminator(LINE_ENDS).collect();
    assert_eq!(lines.len(), rows.len(), "{ndjson}");
    assert_eq!(format!("[{}]", lines.join(",\n")), json);
    assert!(ndjson.is_empty() || ndjson.ends_with('\n'), "{ndjson}");
    assert_eq!(read_csv(&csv), rows, "{csv}");
    assert_eq!(
        read_xml(&xml),
        rows.iter().map(row_in_xml).collect::<Vec<_>>(),
        "{xml}"
    );
    for (format, body) in [
        (Format::Json, json),
        (
            Format::Ndjson,
            ndjson
                + &format!(
                    "{{\"end\":true,\"count\":{},\"watermark\":-7}}\n",
                    rows.len()
                ),
        ),
        (
            Format::Csv,
            csv + &format!("end,{},-7,,,,,,,\r\n", rows.len()),
        ),
        (Format::Xml, xml),
    ] {
        let end = End {
            watermark: Some(-7),
            cursor: None,
        };
        let (ended, ..) = write(format, pages, Some(end), || usize::MAX);
        assert_eq!(String::from_utf8_lossy(&ended), body, "{format:?}");
    }
}

fn read_json(text: &str) -> Vec<Row> {
    let records: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    records
        .iter()
        .map(|record| {
            assert_eq!(record.len(), COLUMN_COUNT, "{record:?}");
            COLUMNS.map(|field| match &record[field.name] {
                serde_json::Value::Null => Cell::Null,
                serde_json::Value::String(text) => Cell::Text(text.clone()),
                // A zero with a minus, which is an integer, is read as a float.
                serde_json::Value::Number(number) if number.as_f64() == Some(0.0) => {
                    Cell::Integer(0)
                }
                other => Cell::Integer(
                    other
                        .as_i64()
                        .unwrap_or_else(|| panic!("{other} in {text}")),
                ),
            })
        })
        .collect()
}

fn read_csv(text: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader
        .headers()
        .map(|header| header.iter().map(str::to_owned).collect::<Vec<_>>());
    let names = names.unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(names, COLUMNS.map(|field| field.name), "{text}");
    // The reader does not tell an empty text from none.
    let mut bare = bare_csv(text).into_iter().skip(COLUMN_COUNT);
    let records = reader.into_records().map(|record| {
        let record = record.unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(record.len(), COLUMN_COUNT, "{text}");
        std::array::from_fn(|i| {
            let null = bare.next().is_some_and(str::is_empty);
            cell(i, (!null).then(|| record[i].to_owned()))
        })
    });
    records.collect()
}

/// The fields of CSV with their quotes, of all records one behind the other.
fn bare_csv(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let outside = |c| {
        quoted ^= c == '"';
        !quoted && matches!(c, ',' | '\n')
    };
    let mut fields: Vec<_> = text
        .split(outside)
        .map(|field| field.trim_end_matches('\r'))
        .collect();
    fields.pop();
    fields
}

fn read_xml(text: &str) -> Vec<Row> {
    let document =
        roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let root = document.root_element();
    assert!(root.has_tag_name("records"), "{text}");
    let elements = |node: roxmltree::Node<'_, '_>| {
        node.children()
            .filter(|child| child.is_element())
            .map(|child| child.id())
            .collect::<Vec<_>>()
    };
    let node = |id| document.get_node(id).unwrap_or_else(|| document.root());
    let read = |record| {
        let values = elements(node(record));
        let mut values = values.into_iter().map(node).peekable();
        let row = std::array::from_fn(|i| {
            let value = values.next_if(|value| value.has_tag_name(COLUMNS[i].name));
            cell(
                i,
                value.map(|value| value.text().unwrap_or_default().to_owned()),
            )
        });
        assert!(values.next().is_none(), "{text}");
        row
    };
    elements(root).into_iter().map(read).collect()
}

/// The value of a field, from a reader that knows only text.
fn cell(field: usize, text: Option<String>) -> Cell {
    let integer = COLUMNS[field].column_type == flow_window::table::columns::ColumnType::Integer;
    match text {
        None => Cell::Null,
        Some(text) if integer => Cell::Integer(
            text.parse()
                .unwrap_or_else(|_| panic!("{text} in {}", COLUMNS[field].name)),
        ),
        Some(text) => Cell::Text(text),
    }
}

fn row_in_xml(row: &Row) -> Row {
    row.clone().map(|cell| match cell {
        Cell::Text(text) => Cell::Text(in_xml(&text)),
        other => other,
    })
}

/// What a reader of XML 1.0 gets for a text: U+FFFD for what is no `Char` (section 2.2).
pub fn in_xml(text: &str) -> String {
    let fits = |c: u32| matches!(c, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x10000..=0x10_FFFF);
    text.chars()
        .map(|c| if fits(u32::from(c)) { c } else { '\u{FFFD}' })
        .collect()
}
