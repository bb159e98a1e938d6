//! Responses on their way to the host: `wasi:http@0.3.0`.

use flow_window::db::Database;
use flow_window::export::pipeline::{Sink, Stream};
use flow_window::http::access_log::{End, RequestLine};
use flow_window::http::response::{Body, Logged};
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Response};
use spin_sdk::wasip3::http_compat::BodyWriter;
use spin_sdk::wasip3::spawn;
use spin_sdk::wasip3::wit_bindgen::{StreamResult, StreamWriter, yield_async};

/// Hands a response to the host; its body goes on being written after this returns.
///
/// # Errors
/// What the host says of a header, which it then answers with a 500.
pub(crate) async fn send(logged: Logged<impl Database>) -> Result<Response, ErrorCode> {
    let Logged { response, line } = logged;
    let headers = response.headers.into_iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
    let headers = Fields::from_list(&headers)
        .map_err(|error| ErrorCode::InternalError(Some(format!("headers: {error}"))))?;
    let (writer, contents, trailers) = BodyWriter::new();
    // Without contents the host counts no bytes: over HTTP/2 it would hold none against the length that the
    // head of a HEAD names, and reset the stream.
    let contents = (!matches!(response.body, Body::Empty)).then_some(contents);
    let (handed, _) = Response::new(headers, contents, trailers);
    // It refuses no number that is a status.
    _ = handed.set_status_code(response.status);
    match response.body {
        Body::Empty => {
            line.ended(response.status, 0, 0, End::Complete);
            spawn(end(writer));
        }
        Body::Full { bytes, flows } => {
            spawn(send_full(writer, bytes, response.status, flows, line));
        }
        Body::Stream(stream) => spawn(send_stream(writer, stream, line)),
    }
    // Let the body's task run before the head is handed over, so that both leave together.
    yield_async().await;
    Ok(handed)
}

async fn end(writer: BodyWriter) {
    drop(writer.stream_writer);
    // The host may have gone already; then nobody waits for the end.
    _ = writer.result_writer.write(Ok(None)).await;
}

async fn send_full(
    mut writer: BodyWriter,
    bytes: Vec<u8>,
    status: u16,
    flows: u64,
    line: RequestLine,
) {
    let length = bytes.len() as u64;
    let left = writer.stream_writer.write_all(bytes).await;
    if left.is_empty() {
        line.ended(status, flows, length, End::Complete);
        end(writer).await;
    } else {
        let accepted = length.saturating_sub(left.len() as u64);
        line.ended(status, flows, accepted, End::ClientClosed);
    }
}

async fn send_stream(
    mut writer: BodyWriter,
    stream: Box<Stream<impl Database>>,
    line: RequestLine,
) {
    let mut sink = HostSink(&mut writer.stream_writer);
    let outcome = stream.run(&mut sink).await;
    match line.streamed(outcome) {
        End::Complete => end(writer).await,
        // A client that leaves is normal.
        End::ClientClosed => {}
        End::Aborted => {
            let error = ErrorCode::InternalError(Some("the answer is not complete".into()));
            _ = writer.result_writer.write(Err(error)).await;
        }
    }
}

struct HostSink<'a>(&'a mut StreamWriter<u8>);

impl Sink for HostSink<'_> {
    /// Chunks of 112 KiB take 0.3 MiB more for each stalled client.
    const CHUNK: usize = 64 << 10;

    /// Chunks of 64 and of 128 KiB were slower by 5 %, and whole pages took 40 % longer. From 128 KiB on the allocator of
    /// a host on Linux asks the kernel for each.
    const GROWN_CHUNK: usize = 112 << 10;

    async fn write(&mut self, chunk: Vec<u8>) -> bool {
        if chunk.is_empty() {
            let (result, _) = self.0.write(chunk).await;
            !matches!(result, StreamResult::Dropped)
        } else {
            self.0.write_all(chunk).await.is_empty()
        }
    }
}
