//! A guest that does one thing a path, so that a test can see what the host makes of it.
//!
//! It runs on the test host and on Spin alike (`SPIN_VARIABLE_MUST_BE_GIVEN=x spin up --from` this folder);
//! `tests/host_facts` says what is expected of either.
//!
//! A route that has to wait does so at a [`gate`]: until the client sends the next piece of the request's
//! body. So the client decides how far a request has got, and no test hangs on a clock.
//!
//! Every answer carries three headers: `instance`, a number that no other instance has; `requests`, how
//! many this instance has been given; and `held`, how many of them had no answer when this one came in.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;

use futures::StreamExt as _;
use futures::future::poll_immediate;
use spin_sdk::http::{Request, body::IncomingBodyExt as _};
use spin_sdk::sqlite::{Connection, Error, Value};
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Response};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::spawn;
use spin_sdk::{http_service, variables};

/// More rows than the host keeps between SQLite and the guest.
const HUNDRED_ROWS: &str = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n \
                            WHERE i < 100) SELECT i FROM n";

/// Text that is not UTF-8.
const BAD_TEXT: &str = "SELECT CAST(x'ff' AS TEXT)";

thread_local! {
    static INSTANCE: u64 = RandomState::new().hash_one(());
    static REQUESTS: Cell<u32> = const { Cell::new(0) };
    static HELD: Cell<u32> = const { Cell::new(0) };
    static KEPT: Cell<Option<Connection>> = const { Cell::new(None) };
}

#[http_service]
async fn handle(request: Request) -> Result<Response, ErrorCode> {
    REQUESTS.set(REQUESTS.get() + 1);
    HELD.set(HELD.get() + 1);
    let (mut writer, response) = answer();
    let (parts, body) = request.into_parts();
    let mut body = body.stream();
    match parts.uri.path() {
        // Answers that start before they are known to end well.
        "/stream" => spawn(async move {
            line(&mut writer, "begun").await;
            gate(&mut body).await;
            end(writer, "ended").await;
        }),
        "/fail" => spawn(async move {
            line(&mut writer, "begun").await;
            gate(&mut body).await;
            let error = ErrorCode::InternalError(None);
            _ = writer.result_writer.write(Err(error)).await;
        }),
        "/trap" => spawn(async move {
            line(&mut writer, "begun").await;
            gate(&mut body).await;
            end(writer, &query(BAD_TEXT).await).await;
        }),
        // Answers that are complete before they start.
        path => {
            let text = match path {
                "/instance" => String::new(),
                "/keep" => keep().await,
                "/hold" => hold(&mut body).await,
                "/headers" => format!("{} {}\n{:?}", parts.method, parts.uri, parts.headers),
                "/variable" => format!("{:?}", variables::get(parts.uri.query().unwrap()).await),
                "/query" => query(&text(body).await).await,
                "/capacity" => capacity().await,
                "/temp" => temp().await,
                "/open" => open(&mut body).await,
                "/limit" => limit().await,
                "/poison" => poison().await,
                "/mutex" => mutex(parts.uri.query() == Some("drop")).await,
                _ => format!("no such route: {path}"),
            };
            spawn(async move { end(writer, &text).await });
        }
    }
    HELD.set(HELD.get() - 1);
    Ok(response)
}

/// A response with this instance's headers, and what writes its body.
fn answer() -> (BodyWriter, Response) {
    let number = |name: &str, n: u64| (name.to_owned(), n.to_string().into_bytes());
    let headers = [
        number("instance", INSTANCE.with(|id| *id)),
        number("requests", REQUESTS.get().into()),
        number("held", HELD.get().into()),
    ];
    let (writer, contents, trailers) = BodyWriter::new();
    let headers = Fields::from_list(&headers).unwrap();
    (writer, Response::new(headers, Some(contents), trailers).0)
}

async fn line(writer: &mut BodyWriter, text: &str) {
    let line = format!("{text}\n").into_bytes();
    writer.stream_writer.write_all(line).await;
}

async fn end(mut writer: BodyWriter, text: &str) {
    line(&mut writer, text).await;
    drop(writer.stream_writer);
    _ = writer.result_writer.write(Ok(None)).await;
}

/// Waits for the next piece of the request's body, or for its end.
async fn gate<T, E>(body: &mut (impl futures::Stream<Item = Result<T, E>> + Unpin)) {
    _ = body.next().await;
}

async fn hold<T, E>(body: &mut (impl futures::Stream<Item = Result<T, E>> + Unpin)) -> String {
    gate(body).await;
    "let go".to_owned()
}

async fn text<T: AsRef<[u8]>, E>(
    mut body: impl futures::Stream<Item = Result<T, E>> + Unpin,
) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(piece.as_ref());
    }
    String::from_utf8(bytes).unwrap()
}

/// Runs a statement on a connection of its own; a line for the columns, for each row, and for the end.
async fn query(sql: &str) -> String {
    let connection = Connection::open_default().await.unwrap();
    run(&connection, sql).await
}

async fn run(connection: &Connection, sql: &str) -> String {
    let mut result = match connection.execute(sql, []).await {
        Ok(result) => result,
        Err(error) => return format!("refused: {error:?}"),
    };
    let mut said = format!("columns: {}\n", result.columns().join(","));
    while let Some(row) = result.next().await {
        let values: Vec<_> = row.values.iter().map(show).collect();
        said += &format!("row: {}\n", values.join(","));
    }
    said + &match result.result().await {
        Ok(()) => "end: ok".to_owned(),
        Err(Error::Io(message)) => format!("end: {message}"),
        Err(error) => format!("end: {error:?}"),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Blob(blob) => format!("{} bytes", blob.len()),
        Value::Text(text) => text.clone(),
        Value::Integer(i) => i.to_string(),
        other => format!("{other:?}"),
    }
}

/// How many rows each read brings to a guest with room for a hundred.
async fn capacity() -> String {
    let connection = Connection::open_default().await.unwrap();
    let result = connection.execute(HUNDRED_ROWS, []).await.unwrap();
    // Time for rows to queue up, so that a host that hands over all it has would be seen to.
    elsewhere().await;
    let (_, mut rows, end) = result.into_inner();
    let mut reads = Vec::new();
    loop {
        let (_, read) = rows.read(Vec::with_capacity(100)).await;
        if read.is_empty() {
            break;
        }
        reads.push(read.len());
    }
    format!("{reads:?} {:?}", end.await.is_ok())
}

/// Runs a few statements to their ends on another connection.
async fn elsewhere() {
    for _ in 0..20 {
        query("SELECT 1").await;
    }
}

/// Opens a connection that stays for as long as the instance does.
async fn keep() -> String {
    let connection = Connection::open_default().await.unwrap();
    let said = run(&connection, "SELECT 1 AS x").await;
    KEPT.set(Some(connection));
    said
}

/// A temporary table, looked for on the connection that made it and on another.
async fn temp() -> String {
    let one = Connection::open_default().await.unwrap();
    let other = Connection::open_default().await.unwrap();
    run(&one, "CREATE TEMP TABLE t AS SELECT 7 AS x").await;
    let select = "SELECT x FROM t";
    format!("{}\n{}", run(&one, select).await, run(&other, select).await)
}

/// Opens three connections, at the first gate uses them, at the second drops them.
async fn open<T, E>(body: &mut (impl futures::Stream<Item = Result<T, E>> + Unpin)) -> String {
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(Connection::open_default().await.unwrap());
    }
    gate(body).await;
    for connection in &connections {
        run(connection, "SELECT 1").await;
    }
    gate(body).await;
    "dropped".to_owned()
}

/// Opens connections until the host refuses, then once more after one has been dropped.
async fn limit() -> String {
    let mut connections = Vec::new();
    let refusal: Error = loop {
        match Connection::open_default().await {
            Ok(connection) => connections.push(connection),
            Err(error) => break error,
        }
    };
    let opened = connections.len();
    connections.pop();
    let again = Connection::open_default().await.is_ok();
    format!("{opened} {refusal} {again}")
}

/// Meets text that is not UTF-8, does not ask how the statement ended, and uses the connection again.
async fn poison() -> String {
    let connection = Connection::open_default().await.unwrap();
    let mut result = connection.execute(BAD_TEXT, []).await.unwrap();
    while result.next().await.is_some() {}
    drop(result);
    run(&connection, "SELECT 1").await
}

/// Starts a statement beside an undrained one; how far it is before and after the first is out of the way.
async fn mutex(drop_first: bool) -> String {
    let connection = Connection::open_default().await.unwrap();
    let first = connection.execute(HUNDRED_ROWS, []).await.unwrap();
    let mut second = pin!(connection.execute("SELECT 1", []));
    let mut said = String::new();
    for _ in 0..3 {
        let state = match poll_immediate(&mut second).await {
            Some(_) => "through ",
            None => "waiting ",
        };
        said += state;
        elsewhere().await;
    }
    if drop_first {
        drop(first);
    } else {
        let rows = first.collect().await.unwrap();
        said += &format!("{} rows ", rows.len());
    }
    let rows = second.await.unwrap().collect().await.unwrap();
    said + &format!("{} row", rows.len())
}
