//! Debian's nginx and Caddy between client and server: with the files in `deploy/` an answer that is cut looks cut
//! behind them as well; as nginx is by default, it looks whole.
//!
//! Where a proxy is not installed the tests behind it say so and leave it out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use test_host::faults::{Fault, Point};

use crate::http2;
use support::database::Database;
use support::records::{ArrowStream, parse};
use support::server::TestServer;
use support::wire::{End, PATIENCE, Response, Wire, get, head_for, inflate, wait_until};
use support::{FLOWS, FORMATS};

/// The location in `deploy/`, which the operator's manual recommends.
const LOCATION: &str = include_str!("../../deploy/nginx/location.conf");

/// The server around it in `deploy/`.
const SERVER: &str = include_str!("../../deploy/nginx/server.conf");

/// As little as a person would write, so that the rest is nginx's default.
const DEFAULT: Configuration =
    Configuration::Nginx("location /flows-api/ { proxy_pass http://127.0.0.1:3000/; }");

/// As the manual recommends them.
const DOCUMENTED: [Configuration; 2] = [
    Configuration::Nginx(LOCATION),
    Configuration::Caddy(include_str!("../../deploy/caddy/Caddyfile")),
];

/// Where these find the service.
const UPSTREAM: &str = "127.0.0.1:3000";

/// What stands before every path behind a proxy.
const PREFIX: &str = "/flows-api";

/// Pages of 500, 3,000 and 2,700, over WASI 0.2 of 500, 4,500 and 1,200.
const COUNT: u32 = 6_200;

const GZIP: [(&str, &str); 1] = [("Accept-Encoding", "gzip")];

/// Which proxy, and what it is told.
#[derive(Debug, Clone, Copy)]
enum Configuration<'a> {
    /// What stands in the `server` block.
    Nginx(&'a str),
    /// A whole Caddyfile.
    Caddy(&'a str),
}

impl Configuration<'_> {
    /// The proxy's name, or its place on Debian, which may not be on the path.
    fn program(self) -> Option<&'static str> {
        let says = |name: &str, argument| {
            let asked = Command::new(name).arg(argument).output().ok()?;
            let said = String::from_utf8_lossy(&asked.stdout).into_owned();
            asked.status.success().then_some(said)
        };
        match self {
            Self::Nginx(_) => ["nginx", "/usr/sbin/nginx"]
                .into_iter()
                .find(|name| says(name, "-v").is_some()),
            // `v2.11.7 h1:…`
            Self::Caddy(_) => says("caddy", "version").and_then(|said| {
                let mut numbers = said
                    .trim_start_matches('v')
                    .split('.')
                    .map(str::parse::<u32>);
                let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
                (version >= (2, 8)).then_some("caddy")
            }),
        }
    }

    /// The file for a proxy before `service` that listens here, for HTTP/2 without TLS too.
    ///
    /// Around nginx's location it compresses whatever it can, as some have it.
    #[track_caller]
    fn file(self, service: SocketAddr, [address, http2]: [SocketAddr; 2]) -> String {
        let replaced = |text: &str, from: &str, to: String| {
            assert!(text.contains(from), "no {from}: {text}");
            text.replace(from, &to)
        };
        match self {
            Self::Nginx(server) => {
                let server = replaced(server, UPSTREAM, service.to_string());
                format!(
                    "daemon off; master_process off; pid nginx.pid; error_log error.log;\n\
                     events {{ worker_connections 64; }}\n\
                     http {{\n\
                     access_log off; client_body_temp_path body; proxy_temp_path proxy;\n\
                     fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
                     gzip on; gzip_types *; gzip_proxied any;\n\
                     server {{ listen {address}; listen {http2} http2;\n{server}\n}}\n\
                     }}\n"
                )
            }
            Self::Caddy(file) => {
                let file = replaced(file, UPSTREAM, service.to_string());
                let (port, http2) = (address.port(), http2.port());
                let sites = format!("\n:{port}, :{http2} {{\nbind 127.0.0.1\n");
                let file = replaced(&file, "\n:8080 {\n", sites);
                let options = "\n\tservers {\n".to_owned();
                replaced(
                    &file,
                    &options,
                    format!("\nadmin off{options}protocols h1 h2c\n"),
                )
            }
        }
    }
}

/// A proxy in a folder of its own; ended when dropped.
struct Proxy {
    process: Child,
    address: SocketAddr,
    /// Where it speaks HTTP/2.
    http2: SocketAddr,
    _folder: TempDir,
}

impl Proxy {
    /// Starts a proxy before a server; `None`, and a word on it, where it is not installed.
    #[track_caller]
    fn before(server: &TestServer, configuration: Configuration) -> Option<Self> {
        let Some(program) = configuration.program() else {
            // Past the capture of the test harness, which hides what a test that passes prints.
            let test = std::thread::current();
            let test = test.name().unwrap_or("a test");
            let missing = match configuration {
                Configuration::Nginx(_) => "nginx",
                Configuration::Caddy(_) => "Caddy 2.8 or later",
            };
            _ = writeln!(
                std::io::stderr(),
                "{test} is left out for {missing}, which is not installed"
            );
            return None;
        };
        let start = || Self::start(program, configuration, server.address());
        // The ports are free now; another program may be quicker to take one.
        let started = (0..5).find_map(|_| start().ok());
        Some(started.unwrap_or_else(|| match start() {
            Ok(proxy) => proxy,
            Err(log) => panic!("{program} does not start: {log}"),
        }))
    }

    /// Starts it on two free ports.
    ///
    /// # Errors
    /// Its log when it ends.
    #[track_caller]
    fn start(
        program: &str,
        configuration: Configuration,
        service: SocketAddr,
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [address, http2] = free_ports();
        let file = configuration.file(service, [address, http2]);
        std::fs::write(folder.path().join("configuration"), file).expect("a file");
        let log = std::fs::File::create(folder.path().join("error.log")).expect("a file");
        let mut command = Command::new(program);
        match configuration {
            Configuration::Nginx(_) => command.arg("-p").arg(folder.path()).args([
                "-c",
                "configuration",
                "-e",
                "error.log",
            ]),
            Configuration::Caddy(_) => command
                .args(["run", "--adapter", "caddyfile", "--config", "configuration"])
                .env("XDG_CONFIG_HOME", folder.path())
                .env("XDG_DATA_HOME", folder.path()),
        };
        let mut process = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the proxy starts");
        let mut ended = false;
        wait_until("the proxy listens", || {
            ended = process.try_wait().expect("its state").is_some();
            ended
                || [address, http2]
                    .iter()
                    .all(|a| TcpStream::connect(a).is_ok())
        });
        if ended {
            let log = std::fs::read_to_string(folder.path().join("error.log"));
            return Err(log.unwrap_or_default());
        }
        Ok(Self {
            process,
            address,
            http2,
            _folder: folder,
        })
    }

    /// Asks for what the service has at `target`, on a connection of its own.
    #[track_caller]
    fn ask(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        Wire::open(self.address).ask(&format!("{PREFIX}{target}"), headers)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What stands in the documented `server` block, with the location that it includes.
#[track_caller]
fn server_block() -> String {
    let inside = SERVER.split_once("\nserver {\n    listen 8080;\n");
    let inside = inside.and_then(|(_, inside)| inside.strip_suffix("}\n"));
    let include = "include /etc/nginx/flow-window.conf;";
    let parts = inside.and_then(|inside| inside.split_once(include));
    let (before, after) = parts.unwrap_or_else(|| panic!("another block: {SERVER}"));
    format!("{before}{LOCATION}{after}")
}

/// Two ports that nobody listens on.
#[track_caller]
fn free_ports() -> [SocketAddr; 2] {
    [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .map(|listener| listener.local_addr().expect("its address"))
}

/// What a client takes a link to mean (RFC 3986, section 5.2): `reference` from within the document `base`.
fn resolved(base: &str, reference: &str) -> String {
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (reference, String::new()),
    };
    let mut segments: Vec<_> = base.split('?').next().unwrap_or(base).split('/').collect();
    segments.pop();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => _ = segments.pop(),
            _ => segments.push(segment),
        }
    }
    segments.join("/") + &query
}

/// Where an answer's `Link` leads to, if it is there.
#[track_caller]
fn next(answer: &Response) -> Option<&str> {
    let link = answer.header("link");
    let target = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"");
    Some(target.unwrap_or_else(|| panic!("{link}: {answer:?}")))
}

/// The ids of an answer in NDJSON.
#[track_caller]
fn ids(answer: &Response) -> Vec<i64> {
    let lines = answer.body.split_inclusive(|byte| *byte == b'\n');
    let records = lines.map(serde_json::from_slice::<serde_json::Value>);
    let ids = records.map(|record| record.ok()?["id"].as_i64());
    ids.map(|id| id.unwrap_or_else(|| panic!("no id: {answer:?}")))
        .collect()
}

/// A server that fails in the middle of its first answer to `target`, and that answer whole.
#[track_caller]
fn about_to_fail(
    database: &Database,
    target: &str,
    headers: &[(&str, &str)],
) -> (TestServer, Response) {
    at_the_last_page(
        database,
        target,
        headers,
        Fault::Fail("disk I/O error".into()),
    )
}

/// A server with `fault` at the last page of its first answer to `target`, and that answer whole.
#[track_caller]
fn at_the_last_page(
    database: &Database,
    target: &str,
    headers: &[(&str, &str)],
    fault: Fault,
) -> (TestServer, Response) {
    let server = database.serve();
    let whole = Wire::open(server.address()).ask(target, headers).ok();
    let rows = server.faults().passed(Point::Row);
    let server = database.serve();
    server.faults().plan(Point::Row, rows..=rows, fault);
    (server, whole)
}

/// The documented proxies that are installed, each before `server`.
#[track_caller]
fn documented(server: &TestServer) -> impl Iterator<Item = Proxy> {
    DOCUMENTED
        .into_iter()
        .filter_map(|configuration| Proxy::before(server, configuration))
}

/// Every format, with gzip and without.
fn representations() -> impl Iterator<Item = (&'static str, &'static [(&'static str, &'static str)])>
{
    let codings = [&[][..], &GZIP];
    FORMATS
        .into_iter()
        .flat_map(move |format| codings.map(|coding| (format, coding)))
}

#[test]
fn as_documented_an_answer_is_the_one_that_the_server_gives() {
    let database = Database::generated(COUNT);
    let server = database.serve();
    for proxy in documented(&server) {
        for (format, coding) in representations() {
            let flows = format!("{FLOWS}.{format}");
            for target in [
                flows.clone(),
                format!("{flows}?limit=3"),
                format!("{flows}?after_id=4600"),
                format!("{flows}?limit=x"),
                // The service does not compress it; nginx would, without `gzip off`.
                "/api/v1/openapi.json".to_owned(),
            ] {
                let direct = Wire::open(server.address()).ask(&target, coding);
                let answer = proxy.ask(&target, coding);
                assert_eq!((answer.status, answer.end), (direct.status, End::Clean));
                assert!(answer.body == direct.body, "{answer:?}\n{direct:?}");
                for name in [
                    "content-type",
                    "content-encoding",
                    "content-length",
                    "etag",
                    "vary",
                    "cache-control",
                    "flow-watermark",
                    "flow-lineage",
                    "link",
                ] {
                    let (here, there) = (answer.header(name), direct.header(name));
                    assert_eq!(here, there, "{name}: {answer:?}\n{direct:?}");
                }
                if answer.status == 200 && target.starts_with(&flows) {
                    assert_ne!(answer.header("etag"), "", "{answer:?}");
                    let tag = ("If-None-Match", answer.header("etag"));
                    let again = proxy.ask(&target, &[coding, &[tag]].concat());
                    assert_eq!((again.status, again.body.len()), (304, 0), "{again:?}");
                    assert_eq!(again.header("etag"), answer.header("etag"), "{again:?}");
                }
            }
        }
    }
}

#[test]
fn as_documented_an_answer_that_fails_in_its_middle_is_cut() {
    let database = Database::generated(COUNT);
    for configuration in DOCUMENTED {
        for (format, coding) in representations() {
            let target = format!("{FLOWS}.{format}");
            let (server, whole) = about_to_fail(&database, &target, coding);
            let Some(proxy) = Proxy::before(&server, configuration) else {
                break;
            };
            let cut = proxy.ask(&target, coding);
            assert_eq!(server.faults().struck(), 1, "{cut:?}");
            assert_seen_to_fail(&cut, &whole);

            let (server, whole) = about_to_fail(&database, &target, coding);
            let Some(proxy) = Proxy::before(&server, configuration) else {
                break;
            };
            let target = format!("{PREFIX}{target}");
            let cut = http2::ask(proxy.http2, "GET", &target, coding);
            assert_eq!(server.faults().struck(), 1, "{cut:?}");
            assert_seen_to_fail(&cut, &whole);
        }
    }
}

/// A part of the whole that does not end, or the proxy's own word where the server was cut off before its head.
#[track_caller]
fn assert_seen_to_fail(cut: &Response, whole: &Response) {
    let part = cut.end == End::Cut && whole.body.starts_with(&cut.body);
    assert!(cut.status == 502 || cut.status == 200 && part, "{cut:?}");
}

#[test]
fn as_documented_flows_arrive_before_the_rest_is_read() {
    let database = Database::generated(COUNT);
    for configuration in DOCUMENTED {
        for format in FORMATS {
            let target = format!("{FLOWS}.{format}");
            let stall = Fault::Delay(2 * PATIENCE);
            let (server, whole) = at_the_last_page(&database, &target, &[], stall);
            let Some(proxy) = Proxy::before(&server, configuration) else {
                break;
            };
            // Two pages of three: 500 and 3,000 flows of 6,200. Of Arrow the first batch: 3,000 flows do not fill the next.
            let enough = if format == "arrow" {
                ArrowStream::read(&whole.body).expect("a stream").ends[0]
            } else {
                let bytes = whole.body.iter().enumerate();
                let mut ends = bytes.filter(|(_, byte)| **byte == b'\n');
                // JSON parts records with a comma and a line feed, which come with the next record.
                ends.nth(3_498).expect("3,500 flows").0
            };
            let mut wire = Wire::open(proxy.address);
            wire.send(head_for(&format!("{PREFIX}{target}"), &[]));
            let begun = wire.answer_up_to(enough);
            assert_eq!(begun.status, 200, "{begun:?}");
            assert!(begun.body.len() >= enough, "{begun:?}");
            wait_until("the last page stalls", || server.faults().struck() == 1);
            assert!(whole.body.starts_with(&begun.body), "{begun:?}");
        }
    }
}

#[test]
fn as_documented_a_client_that_leaves_or_stalls_does_so_for_the_server_too() {
    // Some 75 MB. What the sockets between here and the server hold grows as they are read from: 16 MB was seen.
    let database = Database::generated(500_000);
    let server = database.serve();
    let rows = {
        server.get(FLOWS).ok();
        server.faults().passed(Point::Row)
    };
    server.faults().clear();
    for proxy in documented(&server) {
        let mut wire = Wire::open(proxy.address);
        wire.send(head_for(&format!("{PREFIX}{FLOWS}"), &[]));
        wire.wait_for_bytes();
        // Until nothing has been read for a second. nginx would put all of it on the disk, if told to.
        let mut read = 0;
        wait_until("reading stops", || {
            let before = read;
            std::thread::sleep(Duration::from_secs(1));
            read = server.faults().passed(Point::Row);
            read == before
        });
        assert!(
            read < rows / 2,
            "{read} of {rows} pages for a client that takes none"
        );
        drop(wire);
        server.settle();
        let read = server.faults().passed(Point::Row);
        assert!(
            read < rows / 2,
            "{read} of {rows} pages for a client that has left"
        );
    }
}

#[test]
fn as_documented_links_lead_on_below_the_prefix() {
    let database = Database::generated(COUNT);
    let server = database.serve();
    for proxy in documented(&server) {
        for start in [
            format!("{FLOWS}.ndjson?limit=1000"),
            format!("{FLOWS}?format=ndjson&limit=1000"),
            format!("{FLOWS}.ndjson?limit=1000&after_id=0"),
        ] {
            let mut at = format!("{PREFIX}{start}");
            let mut found = Vec::new();
            loop {
                let portion = get(proxy.address, &at).ok();
                found.extend(ids(&portion));
                let Some(next) = next(&portion) else { break };
                assert!(
                    found.len() < COUNT as usize,
                    "{start}: links without an end"
                );
                at = resolved(&at, next);
            }
            assert!(found.into_iter().eq(1..=i64::from(COUNT)), "{start}");
        }
    }
}

#[test]
fn as_documented_a_pull_brings_every_flow_once_also_where_answers_are_cut() {
    let database = Database::generated(COUNT);
    let server = database.serve();
    for proxy in documented(&server) {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().display().to_string();
        let url = format!("http://{}{PREFIX}", proxy.address);
        let arguments = [&url, "--out", &out, "--max-rows", "2000"];
        let request = flows::pull::Pull::from_arguments(arguments).expect("arguments");
        server.faults().clear();
        let failure = Fault::Fail("disk I/O error".into());
        server.faults().plan(Point::Row, 6..=6, failure);
        let mut flows = 0;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let pulled = flows::pull::pull(&request, &stop, |pulled| {
            flows = pulled.flows;
            Ok(())
        });
        pulled.expect("a pull");
        assert_eq!(flows, u64::from(COUNT));
    }
}

#[test]
fn as_documented_the_openapi_document_leads_to_every_route_below_the_prefix() {
    let database = Database::generated(10);
    let server = database.serve();
    for proxy in documented(&server) {
        let at = format!("{PREFIX}/api/v1/openapi.json");
        let document = get(proxy.address, &at).ok();
        let document: serde_json::Value = serde_json::from_slice(&document.body).expect("JSON");
        let server = document["servers"][0]["url"].as_str().expect("a server");
        let server = resolved(&at, server);
        for path in document["paths"].as_object().expect("paths").keys() {
            let path = path.replace("{ending}", "json");
            let target = format!("{}{path}", server.trim_end_matches('/'));
            get(proxy.address, &target).ok();
        }
    }
}

/// A question of so many bytes, whose `Link` is as long.
fn long_question(bytes: usize) -> String {
    let question = "limit=1&src_comp=C1&src_comp=C2&src_comp=";
    let filler = "x".repeat(bytes - question.len());
    format!("{FLOWS}.ndjson?{question}{filler}")
}

#[test]
fn as_documented_a_long_question_is_answered_in_portions() {
    let database = Database::generated(10);
    let server = database.serve();
    // nginx's own limit for a request line is 8 KB; that of the documented server is 64.
    let documented = server_block();
    let [location, caddy] = DOCUMENTED;
    for (configuration, bytes) in [
        (location, 7_000),
        (Configuration::Nginx(&documented), 59_800),
        (caddy, 59_800),
    ] {
        let Some(proxy) = Proxy::before(&server, configuration) else {
            continue;
        };
        let question = long_question(bytes);
        let first = proxy.ask(&question, &[]).ok();
        let link = next(&first).unwrap_or_else(|| panic!("no Link: {first:?}"));
        let second = resolved(&format!("{PREFIX}{question}"), link);
        let second = get(proxy.address, &second).ok();
        assert_eq!((ids(&first), ids(&second)), (vec![1], vec![2]));
    }
}

/// What the manual says of nginx's default, so that it stays true.
#[test]
fn by_default_an_answer_that_fails_in_its_middle_ends_as_if_it_were_whole() {
    let database = Database::generated(COUNT);
    for (format, coding) in representations() {
        let target = format!("{FLOWS}.{format}");
        let (server, whole) = about_to_fail(&database, &target, coding);
        let Some(nginx) = Proxy::before(&server, DEFAULT) else {
            return;
        };
        let cut = nginx.ask(&target, coding).ok();
        assert_eq!(server.faults().struck(), 1, "{cut:?}");
        assert!(
            cut.body.len() < whole.body.len() && whole.body.starts_with(&cut.body),
            "{cut:?}"
        );
        if !coding.is_empty() {
            // A reader that looks for gzip's own end finds none; most do not look.
            assert!(inflate(&cut.body).is_err(), "{cut:?}");
        } else if matches!(format, "json" | "xml") {
            assert!(parse(format, &cut.body).is_err(), "{cut:?}");
        }
    }
    for format in ["ndjson", "csv"] {
        let target = format!("{FLOWS}.{format}?end=1");
        let (server, whole) = about_to_fail(&database, &target, &[]);
        let Some(nginx) = Proxy::before(&server, DEFAULT) else {
            return;
        };
        let cut = nginx.ask(&target, &[]).ok();
        let ended = |body: &[u8]| {
            let text = String::from_utf8_lossy(body).into_owned();
            let last = text.lines().next_back().unwrap_or_default();
            last.starts_with("{\"end\":true,") || last.starts_with("end,")
        };
        assert!(
            ended(&whole.body) && !ended(&cut.body),
            "{whole:?}\n{cut:?}"
        );
    }
}

/// As above.
#[test]
fn by_default_a_long_link_is_a_bad_gateway() {
    let database = Database::generated(10);
    let server = database.serve();
    let Some(nginx) = Proxy::before(&server, DEFAULT) else {
        return;
    };
    let answer = nginx.ask(&long_question(7_000), &[]);
    assert_eq!(answer.status, 502, "{answer:?}");
}

/// The same without a proxy: HTTP/1.0 has no way to say that a body of unknown length is cut.
#[test]
fn to_a_client_of_http_1_0_an_answer_that_fails_in_its_middle_looks_whole() {
    let database = Database::generated(COUNT);
    let (server, whole) = about_to_fail(&database, FLOWS, &[]);
    let mut wire = Wire::open(server.address());
    wire.send(format!("GET {FLOWS} HTTP/1.0\r\nHost: flows\r\n\r\n").as_bytes());
    let mut came = Vec::new();
    let read = wire.socket().read_to_end(&mut came);
    let came = String::from_utf8_lossy(&came).into_owned();
    read.unwrap_or_else(|error| panic!("{error}: {came}"));
    assert_eq!(server.faults().struck(), 1);
    let (head, body) = came.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    let head = head.to_lowercase();
    assert!(
        !head.contains("content-length") && !head.contains("chunked"),
        "{head}"
    );
    assert!(
        !body.is_empty()
            && body.len() < whole.body.len()
            && whole.body.starts_with(body.as_bytes()),
        "{} bytes of {}",
        body.len(),
        whole.body.len()
    );
}
