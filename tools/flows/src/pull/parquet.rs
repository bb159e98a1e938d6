//! A Parquet file of flows, written row group by row group: the memory does not grow with the file.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::Deserialize;

/// Flows in a row group. DuckDB reads groups of this size well.
const GROUP: usize = 100_000;

/// A key is never null; the columns of a table from elsewhere may be.
const SCHEMA: &str = "message flow {
    required int64 id;
    required int64 time;
    optional int64 duration;
    optional binary src_comp (UTF8);
    optional binary src_port (UTF8);
    optional binary dst_comp (UTF8);
    optional binary dst_port (UTF8);
    optional int64 protocol;
    optional int64 packet_count;
    optional int64 byte_count;
}";

/// A flow as a line of newline-delimited JSON.
#[derive(Deserialize)]
struct Flow<'a> {
    id: i64,
    time: i64,
    duration: Option<i64>,
    #[serde(borrow)]
    src_comp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    src_port: Option<Cow<'a, str>>,
    #[serde(borrow)]
    dst_comp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    dst_port: Option<Cow<'a, str>>,
    protocol: Option<i64>,
    packet_count: Option<i64>,
    byte_count: Option<i64>,
}

/// The values of a column in the row group that is not written yet.
enum Column {
    Integers(Values<i64>),
    Texts(Values<ByteArray>),
}

/// Values that are there, and for each flow whether it has one.
struct Values<T> {
    values: Vec<T>,
    levels: Vec<i16>,
    is_required: bool,
}

impl<T> Values<T> {
    fn new(is_required: bool) -> Self {
        Self {
            values: Vec::new(),
            levels: Vec::new(),
            is_required,
        }
    }

    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    fn levels(&self) -> Option<&[i16]> {
        (!self.is_required).then_some(self.levels.as_slice())
    }

    fn clear(&mut self) {
        self.values.clear();
        self.levels.clear();
    }
}

/// A file on its way.
pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: [Column; 10],
    flows: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file.
    pub(super) fn new(out: W) -> Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let integers = |is_required| Column::Integers(Values::new(is_required));
        let texts = || Column::Texts(Values::new(false));
        Ok(Self {
            writer: SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?,
            columns: [
                integers(true),
                integers(true),
                integers(false),
                texts(),
                texts(),
                texts(),
                texts(),
                integers(false),
                integers(false),
                integers(false),
            ],
            flows: 0,
        })
    }

    /// Takes a line of newline-delimited JSON.
    ///
    /// # Errors
    /// A line that is no flow, or a file that cannot be written.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<()> {
        let flow: Flow<'_> = serde_json::from_slice(line).context("the service sends no flow")?;
        let numbers = [
            Some(flow.id),
            Some(flow.time),
            flow.duration,
            flow.protocol,
            flow.packet_count,
            flow.byte_count,
        ];
        let texts = [flow.src_comp, flow.src_port, flow.dst_comp, flow.dst_port];
        let (mut numbers, mut texts) = (numbers.into_iter(), texts.into_iter());
        for column in &mut self.columns {
            match column {
                Column::Integers(integers) => integers.push(numbers.next().flatten()),
                Column::Texts(values) => {
                    let text = texts.next().flatten();
                    values.push(text.map(|text| ByteArray::from(text.as_bytes().to_vec())));
                }
            }
        }
        self.flows += 1;
        if self.flows == GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let mut writer = group.next_column()?.context("a column is missing")?;
            match column {
                Column::Integers(integers) => {
                    let typed = writer.typed::<Int64Type>();
                    typed.write_batch(&integers.values, integers.levels(), None)?;
                    integers.clear();
                }
                Column::Texts(texts) => {
                    let typed = writer.typed::<ByteArrayType>();
                    typed.write_batch(&texts.values, texts.levels(), None)?;
                    texts.clear();
                }
            }
            writer.close()?;
        }
        group.close()?;
        self.flows = 0;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn finish(mut self) -> Result<W> {
        if self.flows > 0 {
            self.write_group()?;
        }
        Ok(self.writer.into_inner()?)
    }
}
