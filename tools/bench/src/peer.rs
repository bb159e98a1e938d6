//! `bench peer`: the windows of the component, served natively; what `bench` measures it against.
//!
//! It is meant to be as good as one writes it with the usual crates: an index walk by one cached
//! statement, a pool of connections, rows encoded on a blocking thread into chunks that go through a
//! bounded channel, small answers whole, TCP_NODELAY. Bodies are the component's byte for byte, for
//! databases that keep to `schema.sql`: no nulls, no numbers as text, no empty or unprintable texts. It
//! leaves out the rest of the contract.

mod encode;

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
use futures::{StreamExt, stream};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use encode::{Chunk, Chunks, Format};

/// A window by the index on `time`; the arguments are its two ends and the limit, -1 for none. The plus keeps
/// SQLite from preparing it anew for each limit, as in the component's statements.
const WINDOW: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows WHERE time > ?1 AND time <= ?2 ORDER BY time, id LIMIT +?3";

/// Chunks that may wait for the client: enough for the encoder to go on while one is sent.
const QUEUED_CHUNKS: usize = 4;

/// What to serve and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Peer {
    /// The database
    #[arg(long, value_name = "PATH", default_value = ".spin/sqlite_db.db")]
    pub db: PathBuf,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// Serves until the process ends; the first line on standard output is `Serving http://ADDRESS`.
///
/// # Errors
/// The database cannot be opened, or the address not be listened on.
pub fn serve(peer: &Peer) -> Result<()> {
    let pool = Pool::open(&peer.db)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(peer.listen)
            .await
            .with_context(|| format!("cannot listen on {}", peer.listen))?;
        let mut out = io::stdout();
        writeln!(out, "Serving http://{}", listener.local_addr()?)?;
        out.flush()?;
        let listener = listener.tap_io(|stream| {
            // Without it the peer is slower, not wrong.
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

/// Which flows, as the component's contract has it.
#[derive(Deserialize)]
struct Window {
    scanned_after: Option<i64>,
    scanned_before: Option<i64>,
    limit: Option<u32>,
}

async fn stream_flows(pool: Pool, window: Window, format: Format) -> Response {
    let (sender, mut chunks) = mpsc::channel(QUEUED_CHUNKS);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write_flows(&pool, &window, format, Chunks::new(sender.clone())) {
            // Ends the body in an error. A client that has gone away does not hear of it.
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

fn write_flows(pool: &Pool, window: &Window, format: Format, chunks: Chunks) -> Result<()> {
    let connection = pool.take()?;
    let mut statement = connection.prepare_cached(WINDOW)?;
    let rows = statement.query((
        window.scanned_after.unwrap_or(i64::MIN),
        window.scanned_before.unwrap_or(i64::MAX),
        window.limit.map_or(-1, i64::from),
    ))?;
    encode::write(rows, format, chunks)?;
    drop(statement);
    pool.give_back(connection);
    Ok(())
}

/// Connections that wait for a request. One is opened when there is none; after an error it is not kept.
#[derive(Clone)]
struct Pool {
    path: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Pool {
    /// Opens a first connection, so that a wrong path shows at once.
    fn open(path: &Path) -> Result<Self> {
        let pool = Self {
            path: path.into(),
            idle: Arc::default(),
        };
        pool.give_back(pool.connect()?);
        Ok(pool)
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
            .with_context(|| format!("cannot open database {}", self.path.display()))
    }

    fn take(&self) -> Result<Connection> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}
