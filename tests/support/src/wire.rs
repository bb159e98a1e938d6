//! HTTP/1.1 over a plain socket, so that how a response ends is seen as it is.
//!
//! Nothing waits for ever: a server that says nothing for [`PATIENCE`] fails the test.

use std::fmt;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// How long a test waits for what has to happen at some time. Only a failing test waits as long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` is so.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With its last chunk, or the last of the bytes it had announced.
    Clean,
    /// With the connection, before that.
    Cut,
}

/// A response as far as it came.
pub struct Response {
    /// The start of the request.
    pub request: String,
    /// The status; 0 when the connection ended before one came.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body, without the framing of its chunks.
    pub body: Vec<u8>,
    /// The chunks it came in, without the last, which is empty.
    pub chunks: usize,
    /// How it ended.
    pub end: End,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (body, length) = (&self.body, self.body.len());
        let start = String::from_utf8_lossy(&body[..length.min(1000)]);
        let end = String::from_utf8_lossy(&body[length.max(200) - 200..]);
        let Self { request, head, .. } = self;
        write!(
            f,
            "{request:.400}\n{head}\n{start}\n…\n{end}\n({length} bytes of body, end: {:?})",
            self.end
        )
    }
}

impl Response {
    /// Nothing yet, to this request.
    pub fn to(request: impl Into<String>) -> Self {
        Self {
            request: request.into(),
            status: 0,
            head: String::new(),
            body: Vec::new(),
            chunks: 0,
            end: End::Cut,
        }
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or("")
    }

    /// Whether a header is there.
    pub fn has(&self, name: &str) -> bool {
        header(&self.head, name).is_some()
    }

    /// A header that is a natural number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let number = self.header(name).parse();
        number.unwrap_or_else(|error| panic!("{name}: {error}: {self:?}"))
    }

    /// The watermark.
    #[track_caller]
    pub fn watermark(&self) -> i64 {
        let watermark = self.header("flow-watermark").parse();
        watermark.unwrap_or_else(|error| panic!("Flow-Watermark: {error}: {self:?}"))
    }

    /// Asserts 200 and a body that came whole.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.with_status(200)
    }

    /// Asserts a status and a body that came whole.
    #[track_caller]
    pub fn with_status(self, status: u16) -> Self {
        assert!(self.status == status && self.end == End::Clean, "{self:?}");
        self
    }

    /// Whether this is a problem with a status that tells of a fault of the server, whole.
    pub fn is_problem(&self) -> bool {
        matches!(self.status, 500 | 503)
            && self
                .header("content-type")
                .starts_with("application/problem+")
            && self.end == End::Clean
            && !self.body.is_empty()
    }

    /// Where `Link` leads to, if it is there: it is relative to the request's path.
    #[track_caller]
    pub fn next(&self) -> Option<String> {
        let link = header(&self.head, "link")?;
        let target = link
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix(">; rel=\"next\""))
            .filter(|target| !target.split('?').next().unwrap_or("").contains('/'))
            .unwrap_or_else(|| panic!("{link:?} is no link to a next portion: {self:?}"));
        let asked = self.request.split(' ').nth(1).expect("a target");
        let path = asked.split('?').next().unwrap_or(asked);
        let (folder, _) = path.rsplit_once('/').expect("a path");
        Some(format!("{folder}/{target}"))
    }

    /// The cursor that `Link` holds.
    #[track_caller]
    pub fn cursor(&self) -> String {
        let next = self.next().unwrap_or_else(|| panic!("no Link: {self:?}"));
        let (_, cursor) = next
            .rsplit_once("cursor=")
            .unwrap_or_else(|| panic!("no cursor: {next}"));
        cursor.to_owned()
    }

    /// The body without its coding.
    #[track_caller]
    pub fn decoded(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            "gzip" => self.inflated(),
            _ => self.body.clone(),
        }
    }

    /// The body of a response that says it is gzip, decoded.
    #[track_caller]
    pub fn inflated(&self) -> Vec<u8> {
        assert_eq!(self.header("content-encoding"), "gzip", "{self:?}");
        let inflated = inflate(&self.body);
        inflated.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `(id, time)` of each flow of a JSON response, in its order.
    #[track_caller]
    pub fn flows(self) -> Vec<(i64, i64)> {
        let answer = self.ok();
        let all = answer.json();
        let flows = all
            .as_array()
            .unwrap_or_else(|| panic!("no array: {answer:?}"));
        let field = |flow: &serde_json::Value, name| flow[name].as_i64();
        flows
            .iter()
            .map(|flow| field(flow, "id").zip(field(flow, "time")))
            .map(|flow| flow.unwrap_or_else(|| panic!("no id and time: {answer:?}")))
            .collect()
    }
}

/// What is inside a whole gzip stream.
///
/// # Errors
/// The stream is cut, or something follows it.
pub fn inflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    decoder.read_to_end(&mut inflated)?;
    match decoder.into_inner().len() {
        0 => Ok(inflated),
        behind => Err(std::io::Error::other(format!(
            "{behind} bytes behind the gzip"
        ))),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1);
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    let found = headers.find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

/// The head of a GET for `target`, on a connection that stays open.
pub fn head_for(target: &str, headers: &[(&str, &str)]) -> String {
    request_head("GET", target, headers)
}

/// The head of a request without a body, on a connection that stays open.
pub fn request_head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: flows\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// One connection.
pub struct Wire {
    stream: BufReader<TcpStream>,
    sent: String,
    /// Whether what was sent has been answered, so that what is sent next is another request.
    answered: bool,
}

impl Wire {
    /// Connects.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
        Self::over(stream)
    }

    /// Connects with a small receive buffer. A thousand clients that read nothing would otherwise hold more than the
    /// kernel gives all sockets together (`net.ipv4.tcp_mem`), and it would drop what they are sent later.
    #[track_caller]
    pub fn narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        let connected = socket
            .set_recv_buffer_size(16 << 10)
            .and_then(|()| socket.connect_timeout(&address.into(), PATIENCE));
        connected.expect("a connection");
        Self::over(socket.into())
    }

    #[track_caller]
    fn over(stream: TcpStream) -> Self {
        let limited = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        limited.expect("time limits");
        Self {
            stream: BufReader::with_capacity(1 << 16, stream),
            sent: String::new(),
            answered: false,
        }
    }

    /// Starts a request whose body the client is in no hurry to send, and does not wait: for a response that
    /// starts before the body is asked for.
    #[track_caller]
    pub fn held(address: SocketAddr, target: &str) -> Self {
        let mut wire = Self::open(address);
        let headers = [("Transfer-Encoding", "chunked"), ("Expect", "100-continue")];
        assert!(wire.send(request_head("POST", target, &headers)));
        wire
    }

    /// Starts such a request, and waits until the body is asked for ("100 Continue"): hyper does that when it
    /// is first read from.
    #[track_caller]
    pub fn hold(address: SocketAddr, target: &str) -> Self {
        let mut wire = Self::held(address, target);
        let head = wire.any_head().unwrap_or_else(|part| part);
        assert!(head.starts_with("HTTP/1.1 100 "), "{target}: {head}");
        wire
    }

    /// Sends the next piece of such a request's body.
    pub fn piece(&mut self) -> &mut Self {
        self.send("1\r\n.\r\n");
        self
    }

    /// Ends the body of such a request.
    pub fn finish(&mut self) -> &mut Self {
        self.send("0\r\n\r\n");
        self
    }

    /// The socket, for what a well-behaved client does not do.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are; false when the server takes no more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        if std::mem::take(&mut self.answered) {
            self.sent.clear();
        }
        self.sent += &String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Asks and reads the response.
    #[track_caller]
    pub fn ask(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send(head_for(target, headers));
        self.answer()
    }

    /// Reads up to `count` bytes of whatever comes.
    #[track_caller]
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.take(count, &mut bytes);
        bytes
    }

    /// Reads whatever comes until the connection ends, well or not.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        self.read(usize::MAX >> 1)
    }

    /// Waits until the first bytes of a response are there, without taking them.
    #[track_caller]
    pub fn wait_for_bytes(&mut self) {
        let there = self.stream.get_ref().peek(&mut [0]);
        assert_eq!(there.expect("bytes"), 1, "{}", self.sent);
    }

    /// Reads a response to its end, however it ends.
    #[track_caller]
    pub fn answer(&mut self) -> Response {
        self.answer_while(&mut |_| true)
    }

    /// Reads a response that comes in chunks until there are `enough` bytes of its body.
    #[track_caller]
    pub fn answer_up_to(&mut self, enough: usize) -> Response {
        self.answer_while(&mut |body| body.len() < enough)
    }

    /// Reads a response that comes in chunks while `go_on`, which is shown before each what is there of its body.
    #[track_caller]
    pub fn answer_while(&mut self, go_on: &mut dyn FnMut(&[u8]) -> bool) -> Response {
        let answer = self.begun();
        self.body_while(answer, go_on)
    }

    /// Reads the head of the next response. One that only asks for the request's body is passed over.
    #[track_caller]
    pub fn begun(&mut self) -> Response {
        let mut answer = Response::to(self.sent.clone());
        self.answered = true;
        loop {
            answer.head = match self.any_head() {
                Ok(head) => head,
                Err(part) => {
                    answer.head = part;
                    return answer;
                }
            };
            if !answer.head.starts_with("HTTP/1.1 100 ") {
                let status = answer.head.split(' ').nth(1).and_then(|s| s.parse().ok());
                answer.status = status.unwrap_or_else(|| panic!("no status: {answer:?}"));
                return answer;
            }
        }
    }

    /// Reads the body of a response whose head has been read.
    #[track_caller]
    pub fn body_of(&mut self, begun: Response) -> Response {
        self.body_while(begun, &mut |_| true)
    }

    #[track_caller]
    fn body_while(
        &mut self,
        mut answer: Response,
        go_on: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Response {
        if answer.status == 0 {
            return answer;
        }
        let length = header(&answer.head, "content-length").map(str::to_owned);
        let ended = match length {
            _ if matches!(answer.status, 204 | 304) || answer.request.starts_with("HEAD ") => true,
            Some(length) => {
                let length = length.parse();
                let length = length.unwrap_or_else(|e| panic!("{e}: {answer:?}"));
                self.take(length, &mut answer.body)
            }
            None => self.chunks(&mut answer, go_on).is_some(),
        };
        if ended {
            answer.end = End::Clean;
        }
        answer
    }

    #[track_caller]
    fn chunks(
        &mut self,
        answer: &mut Response,
        go_on: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<()> {
        while go_on(&answer.body) {
            let size = self.line()?;
            let size = std::str::from_utf8(&size).ok();
            let size = size.and_then(|size| usize::from_str_radix(size.trim_end(), 16).ok());
            let size = size.unwrap_or_else(|| panic!("no chunk size: {answer:?}"));
            if !self.take(size, &mut answer.body) {
                return None;
            }
            self.line()?;
            if size == 0 {
                return Some(());
            }
            answer.chunks += 1;
        }
        None
    }

    /// The next head, with the empty line behind it; as much of it as came where the connection ends before.
    #[track_caller]
    fn any_head(&mut self) -> Result<String, String> {
        let mut head = Vec::new();
        let mut whole = true;
        while whole && !head.ends_with(b"\r\n\r\n") {
            let line = self.line();
            whole = line.is_some();
            head.extend(line.unwrap_or_default());
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if whole { Ok(head) } else { Err(head) }
    }

    /// Whether the server closes the connection without a further byte.
    #[track_caller]
    pub fn is_closed_in_silence(&mut self) -> bool {
        self.read(1).is_empty()
    }

    /// Takes `count` bytes; false when the connection ends before.
    #[track_caller]
    fn take(&mut self, count: usize, bytes: &mut Vec<u8>) -> bool {
        let read = (&mut self.stream).take(count as u64).read_to_end(bytes);
        match read {
            Ok(n) => n == count,
            Err(error) => self.ended(&error),
        }
    }

    /// Takes a line with its line feed; `None` when the connection ends before.
    #[track_caller]
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(_) => line.ends_with(b"\n").then_some(line),
            Err(error) => self.ended(&error).then_some(line),
        }
    }

    #[track_caller]
    fn ended(&self, error: &std::io::Error) -> bool {
        let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(
            reset.contains(&error.kind()),
            "{error}: the server says nothing more\n{}",
            self.sent
        );
        false
    }
}

/// Asks on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Response {
    Wire::open(address).ask(target, &[])
}
