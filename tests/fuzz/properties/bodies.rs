//! Bodies in every format, written as the service does, and read back.

use flow_window::formats::{Encoder, End, Format};
use flow_window::rows::RecordError;
use flow_window::rows::reader::RecordReader;
use flow_window::table::layout::Layout;
use support::random::Random;
use support::records::{Cell, Record, as_seen_through, parse};

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
    let mut encoder = Encoder::new(format, &Layout::ALL, end);
    let mut body = Vec::new();
    let mut write = || -> Result<(), RecordError> {
        for page in pages {
            let mut records = RecordReader::new(page.packed, page.count, &Layout::ALL)?;
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
        let mut sizes = Random::of(page.packed);
        let parts = write(format, &[page], None, || 1 + sizes.below(400));
        assert_eq!(parts, whole, "{format:?}");
        let smallest = write(format, &[page], None, || 1);
        assert_eq!(smallest, whole, "{format:?}");
    }
}

/// Whether every format's body of these pages is read back as these rows.
#[track_caller]
pub fn check_read_back(pages: &[Page<'_>], rows: &[Record]) {
    let [json, xml, ndjson, csv, _] = Format::ALL.map(|format| {
        let (body, records, result) = write(format, pages, None, || usize::MAX);
        assert_eq!((result, records), (Ok(()), rows.len() as u64), "{format:?}");
        let read = parse(format.name(), &body).map(plain_zeros);
        let seen = rows
            .iter()
            .map(|row| as_seen_through(format.name(), row.clone()));
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(read, Ok(seen.collect()), "{format:?}: {body}");
        body
    });
    let lines: Vec<_> = ndjson.lines().collect();
    assert_eq!(format!("[{}]", lines.join(",\n")), json);
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
            lineage: None,
            watermark: Some(-7),
            cursor: None,
        };
        let (ended, ..) = write(format, pages, Some(end), || usize::MAX);
        assert_eq!(String::from_utf8_lossy(&ended), body, "{format:?}");
    }
}

/// A zero with a minus is an integer.
fn plain_zeros(mut records: Vec<Record>) -> Vec<Record> {
    for cell in records
        .iter_mut()
        .flatten()
        .filter(|cell| **cell == Cell::MinusZero)
    {
        *cell = Cell::Integer(0);
    }
    records
}
