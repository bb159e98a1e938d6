//! HTTP/2 without TLS, by prior knowledge: an answer has the same head and the same end as over HTTP/1.1.

use std::net::SocketAddr;

use http::{Request, Version};
use support::database::Database;
use support::wire::{End, PATIENCE, Response, Wire};
use support::{FLOWS, FORMATS};
use test_host::faults::{Fault, Point};
use tokio::net::TcpStream;

/// Pages of 500, 3,000 and 2,700, over WASI 0.2 of 500, 4,500 and 1,200.
const COUNT: u32 = 6_200;

const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip")];

/// Asks on a connection of its own. A stream that is reset is an answer that is cut.
#[track_caller]
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://flows{target}"))
        .version(Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let answer = runtime
        .block_on(async { tokio::time::timeout(PATIENCE, exchange(address, request)).await });
    answer.unwrap_or_else(|_| panic!("{method} {target}: the server says nothing more"))
}

async fn exchange(address: SocketAddr, request: Request<()>) -> Response {
    let mut answer = Response::to(format!("{request:?}"));
    let socket = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("a stream");
    let (response, _) = sender.send_request(request, true).expect("a request");
    let response = match response.await {
        Ok(response) => response,
        Err(error) => {
            answer.head = error.to_string();
            return answer;
        }
    };
    let (head, mut body) = response.into_parts();
    answer.status = head.status.as_u16();
    answer.head = format!("HTTP/2 {}\n", head.status);
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        answer.head += &format!("{name}: {value}\n");
    }
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return answer };
        let taken = body.flow_control().release_capacity(piece.len());
        taken.expect("room for as much again");
        answer.body.extend_from_slice(&piece);
    }
    if body.trailers().await.is_ok() {
        answer.end = End::Clean;
    }
    answer
}

/// The head without the moment at which it was written.
fn timeless(answer: &Response) -> Vec<&str> {
    let lines = answer.head.lines();
    let mut lines: Vec<_> = lines.filter(|line| !line.starts_with("date: ")).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn head_has_the_head_of_get_and_a_clean_end() {
    let database = Database::generated(COUNT);
    let server = database.serve();
    let mut targets = vec![
        "/api/v1/extent".to_owned(),
        "/api/v1/schema/bigquery".to_owned(),
        "/api/v1/openapi.json".to_owned(),
        "/api/v1/health".to_owned(),
        "/nowhere".to_owned(),
        format!("{FLOWS}?limit=x"),
    ];
    for format in FORMATS {
        targets.push(format!("{FLOWS}.{format}"));
        targets.push(format!("{FLOWS}.{format}?limit=3"));
        targets.push(format!("{FLOWS}.{format}?limit=0"));
    }
    for target in &targets {
        for headers in [&[][..], &GZIP] {
            let got = ask(server.address(), "GET", target, headers);
            assert!(got.status > 0 && got.end == End::Clean, "{got:?}");
            // A stream error came in most tries, not in all.
            for _ in 0..3 {
                let head = ask(server.address(), "HEAD", target, headers);
                assert!(head.body.is_empty() && head.end == End::Clean, "{head:?}");
                assert_eq!(timeless(&head), timeless(&got), "{target}");
            }
        }
    }
    assert_eq!(server.trapped(), 0, "{}", server.log());
}

#[test]
fn get_has_the_body_that_it_has_over_http_1_1() {
    let database = Database::generated(COUNT);
    let server = database.serve();
    for format in FORMATS {
        for headers in [&[][..], &GZIP] {
            for query in ["", "?limit=3", "?after_id=4700", "?limit=3000"] {
                let target = format!("{FLOWS}.{format}{query}");
                let other = Wire::open(server.address()).ask(&target, headers).ok();
                let answer = ask(server.address(), "GET", &target, headers).ok();
                assert!(answer.body == other.body, "{answer:?}\n{other:?}");
                assert_eq!(answer.header("etag"), other.header("etag"), "{answer:?}");
                assert_eq!(answer.header("link"), other.header("link"), "{answer:?}");
            }
        }
    }
}

#[test]
fn an_answer_that_fails_in_its_middle_is_a_stream_error() {
    let database = Database::generated(COUNT);
    for format in FORMATS {
        for headers in [&[][..], &GZIP] {
            let target = format!("{FLOWS}.{format}");
            let server = database.serve();
            let whole = ask(server.address(), "GET", &target, headers).ok();
            let rows = server.faults().passed(Point::Row);
            let server = database.serve();
            let fault = Fault::Fail("disk I/O error".into());
            server.faults().plan(Point::Row, rows..=rows, fault);
            let cut = ask(server.address(), "GET", &target, headers);
            assert_eq!(server.faults().struck(), 1, "{cut:?}");
            // The stream may be reset before its head is written.
            assert!(
                matches!(cut.status, 0 | 200) && cut.end == End::Cut,
                "{cut:?}"
            );
            assert!(whole.body.starts_with(&cut.body), "{cut:?}");
        }
    }
}
