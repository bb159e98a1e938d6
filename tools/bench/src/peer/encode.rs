//! Rows become a body in one of four formats, cut into chunks.

use std::io::{self, Write};

use anyhow::Result;
use quick_xml::escape::partial_escape;
use rusqlite::{Row, Rows};
use serde::Serialize;
use tokio::sync::mpsc::Sender;

use flows::lanl::FIELDS;

/// Size at which a chunk is sent.
const CHUNK: usize = 64 * 1024;

/// How flows are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Json,
    Ndjson,
    Csv,
    Xml,
}

impl Format {
    pub(super) const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Xml];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Xml => "xml",
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Xml => "application/xml",
        }
    }
}

/// A piece of a body.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Whether it ends the body.
    pub(super) last: bool,
}

/// Gathers a body and sends it in chunks; an error means that nobody takes them any more.
pub(super) struct Chunks {
    bytes: Vec<u8>,
    sender: Sender<io::Result<Chunk>>,
}

impl Chunks {
    pub(super) fn new(sender: Sender<io::Result<Chunk>>) -> Self {
        Self {
            bytes: Vec::with_capacity(CHUNK + CHUNK / 16),
            sender,
        }
    }

    /// Sends what there is if it is enough for a chunk.
    #[inline]
    fn cut(&mut self) -> io::Result<()> {
        if self.bytes.len() < CHUNK {
            return Ok(());
        }
        self.send(false)
    }

    fn send(&mut self, last: bool) -> io::Result<()> {
        let next = Vec::with_capacity(if last { 0 } else { CHUNK + CHUNK / 16 });
        let bytes = std::mem::replace(&mut self.bytes, next);
        self.sender
            .blocking_send(Ok(Chunk { bytes, last }))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// For the `csv` crate, which gathers on its own and writes a chunk at a time.
impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.cut()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A row; its texts are borrowed from SQLite.
#[derive(Serialize)]
struct Flow<'a> {
    id: i64,
    time: i64,
    duration: i64,
    src_comp: &'a str,
    src_port: &'a str,
    dst_comp: &'a str,
    dst_port: &'a str,
    protocol: i64,
    packet_count: i64,
    byte_count: i64,
}

impl<'a> Flow<'a> {
    #[inline]
    fn read(row: &'a Row<'_>) -> Result<Self> {
        Ok(Self {
            id: row.get_ref(0)?.as_i64()?,
            time: row.get_ref(1)?.as_i64()?,
            duration: row.get_ref(2)?.as_i64()?,
            src_comp: row.get_ref(3)?.as_str()?,
            src_port: row.get_ref(4)?.as_str()?,
            dst_comp: row.get_ref(5)?.as_str()?,
            dst_port: row.get_ref(6)?.as_str()?,
            protocol: row.get_ref(7)?.as_i64()?,
            packet_count: row.get_ref(8)?.as_i64()?,
            byte_count: row.get_ref(9)?.as_i64()?,
        })
    }
}

/// Writes a whole body.
pub(super) fn write(rows: Rows<'_>, format: Format, chunks: Chunks) -> Result<()> {
    let mut chunks = match format {
        Format::Json => write_json(rows, chunks),
        Format::Ndjson => write_ndjson(rows, chunks),
        Format::Csv => write_csv(rows, chunks),
        Format::Xml => write_xml(rows, chunks),
    }?;
    Ok(chunks.send(true)?)
}

fn write_json(mut rows: Rows<'_>, mut chunks: Chunks) -> Result<Chunks> {
    let mut before: &[u8] = b"[";
    while let Some(row) = rows.next()? {
        chunks.bytes.extend_from_slice(before);
        before = b",\n";
        serde_json::to_writer(&mut chunks.bytes, &Flow::read(row)?)?;
        chunks.cut()?;
    }
    let end: &[u8] = if before == b"[" { b"[]" } else { b"]" };
    chunks.bytes.extend_from_slice(end);
    Ok(chunks)
}

fn write_ndjson(mut rows: Rows<'_>, mut chunks: Chunks) -> Result<Chunks> {
    while let Some(row) = rows.next()? {
        serde_json::to_writer(&mut chunks.bytes, &Flow::read(row)?)?;
        chunks.bytes.push(b'\n');
        chunks.cut()?;
    }
    Ok(chunks)
}

fn write_csv(mut rows: Rows<'_>, chunks: Chunks) -> Result<Chunks> {
    let mut csv = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .has_headers(false)
        .buffer_capacity(CHUNK)
        .from_writer(chunks);
    csv.write_record(["id"].iter().chain(&FIELDS))?;
    while let Some(row) = rows.next()? {
        csv.serialize(Flow::read(row)?)?;
    }
    csv.into_inner().map_err(|error| error.into_error().into())
}

const XML_HEAD: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records";

fn write_xml(mut rows: Rows<'_>, mut chunks: Chunks) -> Result<Chunks> {
    chunks.bytes.extend_from_slice(XML_HEAD);
    let mut end: &[u8] = b"/>";
    let mut before: &[u8] = b">\n";
    while let Some(row) = rows.next()? {
        chunks.bytes.extend_from_slice(before);
        before = b"\n";
        end = b"\n</records>";
        xml_record(&Flow::read(row)?, &mut chunks.bytes);
        chunks.cut()?;
    }
    chunks.bytes.extend_from_slice(end);
    Ok(chunks)
}

/// By hand: quick-xml's serializer takes twice as long.
fn xml_record(flow: &Flow<'_>, out: &mut Vec<u8>) {
    number("<record><id>", flow.id, out);
    number("</id><time>", flow.time, out);
    number("</time><duration>", flow.duration, out);
    text("</duration><src_comp>", flow.src_comp, out);
    text("</src_comp><src_port>", flow.src_port, out);
    text("</src_port><dst_comp>", flow.dst_comp, out);
    text("</dst_comp><dst_port>", flow.dst_port, out);
    number("</dst_port><protocol>", flow.protocol, out);
    number("</protocol><packet_count>", flow.packet_count, out);
    number("</packet_count><byte_count>", flow.byte_count, out);
    out.extend_from_slice(b"</byte_count></record>");
}

#[inline]
fn number(tags: &str, value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(tags.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn text(tags: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(tags.as_bytes());
    out.extend_from_slice(partial_escape(value).as_bytes());
}
