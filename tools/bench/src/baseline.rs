//! `bench baseline`: a native server of the component's windows, which the component is measured against.
//!
//! The server uses the usual crates well: an index walk by one cached statement, a pool of connections, rows
//! encoded on a blocking thread into chunks that go through a bounded channel, small bodies whole, TCP_NODELAY.
//! Its bodies equal the component's byte for byte for databases that keep to `schema.sql`: no nulls, no numbers
//! as text, no empty or unprintable texts. It leaves out the rest of the contract.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use flows::lanl::FIELDS;
use futures::{StreamExt, stream};
use quick_xml::escape::partial_escape;
use rusqlite::{Connection, OpenFlags, Row, Rows};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, Sender};

/// A window by the index on `time`. The arguments are its two ends and the limit, -1 for none. The plus keeps
/// SQLite from preparing the statement anew for each limit.
const WINDOW: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows WHERE time > ?1 AND time <= ?2 ORDER BY time, id LIMIT +?3";

/// The same in the order of ids, which is taken to be that of time: the component proves it page by page. Every row is
/// read, so this serves whole tables alone.
const BY_ID: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows NOT INDEXED WHERE time > ?1 AND time <= ?2 ORDER BY id LIMIT +?3";

/// Chunks that may wait for the client, so that the encoder goes on while one is sent.
const QUEUED_CHUNKS: usize = 4;

/// What to serve, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The database
    #[arg(long, value_name = "PATH", default_value = ".spin/sqlite_db.db")]
    pub db: PathBuf,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Read in the order of ids, taken to be that of time
    #[arg(long)]
    pub by_id: bool,
}

/// Serves until the process ends; the first line on standard output is `Serving http://ADDRESS`.
///
/// # Errors
/// The database cannot be opened, or the address is not available.
pub fn serve(options: &Options) -> Result<()> {
    let pool = Pool::open(&options.db, if options.by_id { BY_ID } else { WINDOW })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let mut out = io::stdout();
        writeln!(out, "Serving http://{}", listener.local_addr()?)?;
        out.flush()?;
        let listener = listener.tap_io(|stream| {
            // An error leaves the server slower, not wrong.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, routes(pool)).await?;
        Ok(())
    })
}

fn routes(pool: Pool) -> Router {
    let mut routes = Router::new();
    for format in Format::ALL {
        let path = format!("/api/v1/stream/flows.{}", format.name());
        let answer = move |State(pool), Query(window)| stream_flows(pool, window, format);
        routes = routes.route(&path, get(answer));
    }
    routes.with_state(pool)
}

/// The parameters of the component's contract that the baseline knows.
#[derive(Deserialize)]
struct Window {
    scanned_after: Option<i64>,
    scanned_before: Option<i64>,
    limit: Option<u32>,
}

async fn stream_flows(pool: Pool, window: Window, format: Format) -> Response {
    let (sender, mut chunks) = mpsc::channel(QUEUED_CHUNKS);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write_flows(&pool, &window, format, ChunkWriter::new(sender.clone())) {
            // Ends the body in an error; fails if the client has gone away.
            let _ = sender.blocking_send(Err(io::Error::other(error)));
        }
    });
    let body = match chunks.recv().await {
        Some(Ok(Chunk { bytes, last: true })) => Body::from(bytes),
        Some(Ok(first)) => {
            let rest = stream::poll_fn(move |context| chunks.poll_recv(context));
            let all = stream::iter([Ok(first)]).chain(rest);
            Body::from_stream(all.map(|chunk| chunk.map(|chunk| chunk.bytes)))
        }
        Some(Err(error)) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
        None => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
}

fn write_flows(pool: &Pool, window: &Window, format: Format, chunks: ChunkWriter) -> Result<()> {
    let connection = pool.acquire()?;
    let mut statement = connection.prepare_cached(pool.statement)?;
    let rows = statement.query((
        window.scanned_after.unwrap_or(i64::MIN),
        window.scanned_before.unwrap_or(i64::MAX),
        window.limit.map_or(-1, i64::from),
    ))?;
    write_body(rows, format, chunks)?;
    drop(statement);
    pool.release(connection);
    Ok(())
}

/// A pool of connections. It opens one when none is idle; a connection is not released after an error.
#[derive(Clone)]
struct Pool {
    path: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// What every request runs.
    statement: &'static str,
}

impl Pool {
    /// Opens a first connection, so that a wrong path fails at once.
    fn open(path: &Path, statement: &'static str) -> Result<Self> {
        let pool = Self {
            path: path.into(),
            idle: Arc::default(),
            statement,
        };
        pool.release(pool.connect()?);
        Ok(pool)
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
            .with_context(|| format!("cannot open database {}", self.path.display()))
    }

    fn acquire(&self) -> Result<Connection> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn release(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}

/// Size at which a chunk is sent.
const CHUNK: usize = 64 * 1024;

/// The format of a body.
#[derive(Clone, Copy, Debug)]
enum Format {
    Json,
    Ndjson,
    Csv,
    Xml,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Xml];

    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Xml => "xml",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Xml => "application/xml",
        }
    }
}

/// A chunk of a body.
struct Chunk {
    bytes: Vec<u8>,
    /// Whether the chunk is the last one.
    last: bool,
}

/// Buffers a body and sends it in chunks. A write fails once the receiver is gone.
struct ChunkWriter {
    bytes: Vec<u8>,
    sender: Sender<io::Result<Chunk>>,
}

impl ChunkWriter {
    fn new(sender: Sender<io::Result<Chunk>>) -> Self {
        Self {
            bytes: Vec::with_capacity(CHUNK + CHUNK / 16),
            sender,
        }
    }

    /// Sends the buffer if it is full.
    #[inline]
    fn send_full(&mut self) -> io::Result<()> {
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

/// For the `csv` crate, which has a buffer of its own and writes a chunk at a time.
impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.send_full()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A row, with texts borrowed from SQLite.
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
fn write_body(rows: Rows<'_>, format: Format, chunks: ChunkWriter) -> Result<()> {
    let mut chunks = match format {
        Format::Json => write_json(rows, chunks),
        Format::Ndjson => write_ndjson(rows, chunks),
        Format::Csv => write_csv(rows, chunks),
        Format::Xml => write_xml(rows, chunks),
    }?;
    Ok(chunks.send(true)?)
}

fn write_json(mut rows: Rows<'_>, mut chunks: ChunkWriter) -> Result<ChunkWriter> {
    let mut before: &[u8] = b"[";
    while let Some(row) = rows.next()? {
        chunks.bytes.extend_from_slice(before);
        before = b",\n";
        serde_json::to_writer(&mut chunks.bytes, &Flow::read(row)?)?;
        chunks.send_full()?;
    }
    let end: &[u8] = if before == b"[" { b"[]" } else { b"]" };
    chunks.bytes.extend_from_slice(end);
    Ok(chunks)
}

fn write_ndjson(mut rows: Rows<'_>, mut chunks: ChunkWriter) -> Result<ChunkWriter> {
    while let Some(row) = rows.next()? {
        serde_json::to_writer(&mut chunks.bytes, &Flow::read(row)?)?;
        chunks.bytes.push(b'\n');
        chunks.send_full()?;
    }
    Ok(chunks)
}

fn write_csv(mut rows: Rows<'_>, chunks: ChunkWriter) -> Result<ChunkWriter> {
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

fn write_xml(mut rows: Rows<'_>, mut chunks: ChunkWriter) -> Result<ChunkWriter> {
    chunks.bytes.extend_from_slice(XML_HEAD);
    let mut end: &[u8] = b"/>";
    let mut before: &[u8] = b">\n";
    while let Some(row) = rows.next()? {
        chunks.bytes.extend_from_slice(before);
        before = b"\n";
        end = b"\n</records>";
        xml_record(&Flow::read(row)?, &mut chunks.bytes);
        chunks.send_full()?;
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
