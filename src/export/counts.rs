//! Flows that are counted instead of written: by time, or by the values of a field.
//!
//! Flows are read page by page, as they would be for a response of flows. So they are the same flows, and their values
//! are the same integers and texts, whatever types the table stores.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;

use xxhash_rust::xxh64::Xxh64;

use super::ExportError;
use crate::db::DbError;
use crate::formats::{Encoder, Format};
use crate::query::counts::{Measure, TopQuery};
use crate::rows::raw_value::{RawValue, unquoted};
use crate::rows::reader::RecordReader;
use crate::table::columns::{COLUMNS, Column, ColumnType, integer};
use crate::table::layout::Layout;

/// The most values that are counted: those of LANL's flows are some 12,000 computers and as many ports.
pub const MAX_VALUES: usize = 100_000;

/// The most bytes that these values may take.
pub const MAX_VALUE_BYTES: usize = 16 << 20;

/// The fields of what is counted.
pub const MEASURES: [Column; 3] = [
    integer("flows", "1", "number of flows"),
    integer("packets", "10", "packets in these flows"),
    integer("bytes", "5323", "bytes in these flows"),
];

/// The fields of a bucket.
pub const BUCKET: [Column; 5] = {
    let [flows, packets, bytes] = MEASURES;
    [
        integer(
            "time",
            "0",
            "start of the bucket, exclusive, as `scanned_after` takes it",
        ),
        integer(
            "until",
            "60",
            "end of the bucket, inclusive, as `scanned_before` takes it",
        ),
        flows,
        packets,
        bytes,
    ]
};

/// The fields of a value: the column that flows are counted by, and what is counted.
pub fn top_fields(by: &Column) -> Vec<Column> {
    let mut fields = vec![*by];
    fields.extend(MEASURES);
    fields
}

/// Counts flows, and then writes the counts.
pub struct Counts {
    counter: Counter,
    /// That of the counts.
    layout: Layout,
    encoder: Encoder,
}

enum Counter {
    Histogram(Histogram),
    Top(Top),
}

struct Histogram {
    /// The start of the first bucket, and the end of each.
    borders: Vec<i64>,
    sums: Vec<Sums>,
    /// The bucket of the flow counted last. Most flows come in the order of time.
    current: usize,
}

struct Top {
    by: &'static Column,
    order: Measure,
    limit: usize,
    /// By the value as a format would write it.
    sums: HashMap<Vec<u8>, Sums, BuildHasherDefault<Xxh64>>,
    /// Bytes of all values.
    bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sums {
    flows: i64,
    packets: i64,
    bytes: i64,
}

impl Sums {
    /// Those of one flow: id, time, packets, bytes.
    fn of_flow(flow: &[RawValue<'_>]) -> Result<Self, ExportError> {
        Ok(Self {
            flows: 1,
            packets: number(flow.get(2))?,
            bytes: number(flow.get(3))?,
        })
    }

    fn add(&mut self, more: Self) -> Result<(), ExportError> {
        let sum =
            |sum: i64, more: i64, what| sum.checked_add(more).ok_or(ExportError::Overflow(what));
        *self = Self {
            flows: sum(self.flows, more.flows, "flows")?,
            packets: sum(self.packets, more.packets, "packets")?,
            bytes: sum(self.bytes, more.bytes, "bytes")?,
        };
        Ok(())
    }

    fn of(&self, measure: Measure) -> i64 {
        match measure {
            Measure::Flows => self.flows,
            Measure::Packets => self.packets,
            Measure::Bytes => self.bytes,
        }
    }

    /// The three numbers as a packed record has them.
    fn packed(&self) -> String {
        format!("{},{},{}", self.flows, self.packets, self.bytes)
    }
}

impl Counts {
    /// Counts flows in buckets. `borders` are the start of the first and the end of each, rising.
    pub fn histogram(borders: Vec<i64>, format: Format) -> Self {
        let buckets = borders.len().saturating_sub(1);
        let histogram = Histogram {
            borders,
            sums: vec![Sums::default(); buckets],
            current: 0,
        };
        Self::new(Counter::Histogram(histogram), BUCKET.to_vec(), format)
    }

    /// Counts flows by the values of a column.
    pub fn top(query: &TopQuery) -> Self {
        let top = Top {
            by: query.by,
            order: query.order,
            limit: usize::try_from(query.limit).unwrap_or(0),
            sums: HashMap::default(),
            bytes: 0,
        };
        Self::new(Counter::Top(top), top_fields(query.by), query.format)
    }

    fn new(counter: Counter, fields: Vec<Column>, format: Format) -> Self {
        let layout = Layout::of(fields);
        Self {
            counter,
            encoder: Encoder::new(format, &layout, None),
            layout,
        }
    }

    /// The layout of the flows to be counted by this column, or by time.
    pub fn layout(by: Option<&Column>) -> Layout {
        let [id, time, .., packets, bytes] = COLUMNS;
        let mut columns = vec![id, time, packets, bytes];
        columns.extend(by.copied());
        Layout::select(&columns)
    }

    /// Counts the flows of a page.
    ///
    /// # Errors
    /// A flow that cannot be read, a sum of more than 64 bits, too many values, or a flow outside of all buckets: the
    /// table has been edited since its ends were read.
    pub fn add(&mut self, records: &mut RecordReader<'_>) -> Result<(), ExportError> {
        match &mut self.counter {
            Counter::Histogram(histogram) => for_each(records, &mut |flow| {
                histogram.add(number(flow.get(1))?, Sums::of_flow(flow)?)
            }),
            Counter::Top(top) => for_each(records, &mut |flow| top.add(flow)),
        }
    }

    /// Adds flows that are counted already: records of flows, end, packets and bytes.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_counted(&mut self, packed: &[u8], count: i64) -> Result<(), ExportError> {
        let [_, until, flows, packets, bytes] = BUCKET;
        let layout = Layout::of(vec![flows, until, packets, bytes]);
        let mut records = RecordReader::new(packed, count, &layout)?;
        match &mut self.counter {
            Counter::Histogram(histogram) => for_each(&mut records, &mut |counted| {
                let sums = Sums {
                    flows: number(counted.first())?,
                    ..Sums::of_flow(counted)?
                };
                histogram.add(number(counted.get(1))?, sums)
            }),
            Counter::Top(_) => Ok(()),
        }
    }

    /// Encodes the counts.
    ///
    /// # Errors
    /// None that the counts can cause.
    pub fn finish(&mut self) -> Result<(), ExportError> {
        let records = match &self.counter {
            Counter::Histogram(histogram) => histogram.packed(),
            Counter::Top(top) => top.packed(),
        };
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        let packed = records.join(&b',');
        let mut records = RecordReader::new(&packed, count, &self.layout)?;
        self.encoder.write(&mut records, usize::MAX)?;
        self.encoder.finish();
        Ok(())
    }

    /// Writes a byte that means nothing, if the format has room for it.
    pub fn blank(&mut self) {
        self.encoder.blank();
    }

    /// The encoded counts; nothing before [`Self::finish`].
    pub fn take(&mut self) -> Vec<u8> {
        self.encoder.take()
    }

    /// Counts in the body.
    pub fn records(&self) -> u64 {
        self.encoder.records()
    }
}

/// Hands the fields of each record to `take`.
fn for_each(
    records: &mut RecordReader<'_>,
    take: &mut dyn FnMut(&[RawValue<'_>]) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    loop {
        let mut fields = [RawValue::default(); 5];
        let is_fast = records.fast_record::<false>(|field, value| {
            if let Some(slot) = fields.get_mut(field) {
                *slot = value;
            }
        });
        if is_fast {
            take(&fields)?;
        } else if let Some(record) = records.record()? {
            take(record.values())?;
        } else {
            return Ok(());
        }
    }
}

/// The integer of a field; 0 for a null.
///
/// # Errors
/// None for a record: its reader lets no other value of an integer column pass.
fn number(value: Option<&RawValue<'_>>) -> Result<i64, ExportError> {
    let bytes = value.map(|value| value.bytes()).unwrap_or_default();
    if bytes == b"null" {
        return Ok(0);
    }
    let text = std::str::from_utf8(bytes).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| DbError::internal("a number of a flow is no integer").into())
}

/// Whether a bucket of these borders holds a time. The first one holds the least integer, which lies before every start
/// that there is.
fn holds(borders: &[i64], bucket: usize, time: i64) -> bool {
    match borders.get(bucket..) {
        Some([start, end, ..]) => {
            time <= *end && (time > *start || (bucket == 0 && time == i64::MIN))
        }
        _ => false,
    }
}

impl Histogram {
    fn add(&mut self, time: i64, sums: Sums) -> Result<(), ExportError> {
        if !holds(&self.borders, self.current, time) {
            let end = self.borders.partition_point(|border| *border < time);
            self.current = end.saturating_sub(1);
        }
        match self.sums.get_mut(self.current) {
            Some(bucket) if holds(&self.borders, self.current, time) => bucket.add(sums),
            _ => Err(DbError::edited().into()),
        }
    }

    fn packed(&self) -> Vec<Vec<u8>> {
        let ends = self.borders.iter().zip(self.borders.iter().skip(1));
        let buckets = ends.zip(&self.sums);
        let packed =
            buckets.map(|((start, end), sums)| format!("[{start},{end},{}]", sums.packed()));
        packed.map(String::into_bytes).collect()
    }
}

impl Top {
    fn add(&mut self, flow: &[RawValue<'_>]) -> Result<(), ExportError> {
        let value = flow.get(4).map(|value| value.bytes()).unwrap_or_default();
        let sums = Sums::of_flow(flow)?;
        if value.contains(&b'\\') {
            // The same text may be escaped in another way.
            let text = unquoted(value).unwrap_or_default();
            let value = serde_json::to_vec(&text).unwrap_or_default();
            return self.add_value(&value, sums);
        }
        self.add_value(value, sums)
    }

    fn add_value(&mut self, value: &[u8], more: Sums) -> Result<(), ExportError> {
        if let Some(sums) = self.sums.get_mut(value) {
            return sums.add(more);
        }
        self.bytes = self.bytes.saturating_add(value.len());
        if self.sums.len() >= MAX_VALUES || self.bytes > MAX_VALUE_BYTES {
            return Err(ExportError::TooManyValues(self.by.name));
        }
        self.sums.insert(value.to_vec(), more);
        Ok(())
    }

    /// The most first; of the same measure, nulls before numbers in their order, or texts in the order of their bytes.
    fn packed(&self) -> Vec<Vec<u8>> {
        let all: Vec<_> = self
            .sums
            .iter()
            .map(|(value, sums)| {
                let text = match value.as_slice() {
                    b"null" => None,
                    value => unquoted(value),
                };
                let number = match self.by.column_type {
                    ColumnType::Integer => text.as_ref().and_then(|text| text.parse::<i64>().ok()),
                    ColumnType::Text => None,
                };
                let place = (Reverse(sums.of(self.order)), number, text);
                Reverse((place, value, sums))
            })
            .collect();
        // The code of a heap is a tenth of a sort's.
        let mut all = BinaryHeap::from(all);
        let most = std::iter::from_fn(|| all.pop()).take(self.limit);
        most.map(|Reverse((_, value, sums))| {
            [b"[", value.as_slice(), b",", sums.packed().as_bytes(), b"]"].concat()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of counts of one page of flows: id, time, packets, bytes, value.
    fn body(
        mut counts: Counts,
        by: Option<&Column>,
        packed: &str,
        count: i64,
    ) -> Result<String, ExportError> {
        let layout = Counts::layout(by);
        let mut records = RecordReader::new(packed.as_bytes(), count, &layout)?;
        counts.add(&mut records)?;
        counts.finish()?;
        Ok(String::from_utf8(counts.take()).unwrap())
    }

    fn top(order: Measure, packed: &str, count: i64) -> Result<String, ExportError> {
        let query = TopQuery {
            selection: Default::default(),
            by: &COLUMNS[3],
            order,
            limit: 9,
            format: Format::Csv,
        };
        body(Counts::top(&query), Some(query.by), packed, count)
    }

    #[test]
    fn flows_fall_into_the_bucket_whose_end_they_do_not_pass() {
        let counted = |packed, count| {
            body(
                Counts::histogram(vec![0, 10, 20, 30], Format::Csv),
                None,
                packed,
                count,
            )
        };
        let flows = "[1,1,2,3],[2,10,null,5],[3,11,\"7\",1],[9,30,1.0,9223372036854775807]";
        assert_eq!(
            counted(flows, 4).unwrap(),
            "time,until,flows,packets,bytes\r\n0,10,2,2,8\r\n10,20,1,7,1\r\n20,30,1,1,9223372036854775807\r\n"
        );
        for outside in ["[1,0,1,1]", "[1,31,1,1]", "[1,-5,1,1]"] {
            let error = counted(outside, 1).unwrap_err();
            assert!(matches!(error, ExportError::Db(_)), "{error:?}");
        }
        let overflow = counted("[1,1,1,9223372036854775807],[2,1,1,1]", 2).unwrap_err();
        assert!(
            matches!(overflow, ExportError::Overflow("bytes")),
            "{overflow:?}"
        );
        // The least integer, in any order.
        let borders = vec![i64::MIN, 0, 10];
        let least = Counts::histogram(borders, Format::Csv);
        assert_eq!(
            body(least, None, "[1,5,1,1],[2,-9223372036854775808,1,1]", 2).unwrap(),
            "time,until,flows,packets,bytes\r\n-9223372036854775808,0,1,1,1\r\n0,10,1,1,1\r\n"
        );
        let none = body(Counts::histogram(vec![5], Format::Json), None, "", 0);
        assert_eq!(none.unwrap(), "[]");
    }

    #[test]
    fn values_are_counted_by_what_they_stand_for_and_ties_go_by_value() {
        let flows = r#"[1,1,1,5,"b"],[2,1,2,5,"a"],[3,1,1,1,null],[4,1,1,1,443],[5,1,1,1,"443"],[6,1,0,7,"\u0062"]"#;
        assert_eq!(
            top(Measure::Bytes, flows, 6).unwrap(),
            "src_comp,flows,packets,bytes\r\nb,2,1,12\r\na,1,2,5\r\n443,2,2,2\r\n,1,1,1\r\n"
        );
        assert_eq!(
            top(Measure::Packets, flows, 6).unwrap(),
            "src_comp,flows,packets,bytes\r\n443,2,2,2\r\na,1,2,5\r\n,1,1,1\r\nb,2,1,12\r\n"
        );
    }

    #[test]
    fn more_values_than_there_is_room_for_are_refused() {
        let flows = |count: usize, text: &str| {
            let flows: Vec<_> = (0..count)
                .map(|i| format!("[{i},1,1,1,\"{text}{i}\"]"))
                .collect();
            top(Measure::Flows, &flows.join(","), count as i64)
        };
        assert!(flows(MAX_VALUES, "").is_ok());
        let long = "x".repeat(MAX_VALUE_BYTES / 8);
        for refused in [flows(MAX_VALUES + 1, ""), flows(8, &long)] {
            assert!(
                matches!(refused, Err(ExportError::TooManyValues("src_comp"))),
                "{refused:?}"
            );
        }
    }
}
