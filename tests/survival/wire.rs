//! HTTP/1.1 over a plain socket, so that how an answer ends is seen as it is.
//!
//! Nothing waits for ever: a server that says nothing for [`PATIENCE`] fails the test.

use std::fmt;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for what has to happen at some time. Only a failing test waits as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk, or the last of the bytes it had announced.
    Clean,
    /// With the connection, before that.
    Cut,
}

/// An answer as far as it came.
pub(crate) struct Answer {
    pub(crate) request: String,
    /// The status; 0 when the connection ended before one came.
    pub(crate) status: u16,
    /// The status line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (body, length) = (&self.body, self.body.len());
        let start = String::from_utf8_lossy(&body[..length.min(600)]);
        let end = String::from_utf8_lossy(&body[length.max(200) - 200..]);
        let Self { request, head, .. } = self;
        write!(
            f,
            "{request:.400}\n{head}\n{start}\n…\n{end}\n({length} bytes of body, end: {:?})",
            self.end
        )
    }
}

impl Answer {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or("")
    }

    /// Asserts 200 and a body that came whole.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status == 200 && self.end == End::Clean, "{self:?}");
        self
    }

    /// The body without its coding.
    #[track_caller]
    pub(crate) fn decoded(&self) -> Vec<u8> {
        if self.header("content-encoding") != "gzip" {
            return self.body.clone();
        }
        let inflated = inflate(&self.body);
        inflated.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether this is a problem with a status that tells of a fault of the server, whole.
    pub(crate) fn is_problem(&self) -> bool {
        let content_type = self.header("content-type");
        matches!(self.status, 500 | 503)
            && content_type.starts_with("application/problem+")
            && self.end == End::Clean
            && !self.body.is_empty()
    }
}

/// What is inside a whole gzip stream; an error for one that is cut.
pub(crate) fn inflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut inflated)?;
    Ok(inflated)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1);
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    let found = headers.find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

/// A head that asks for `target`, on a connection that stays open.
pub(crate) fn head_for(target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: flows\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// One connection.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    sent: String,
}

impl Wire {
    /// Connects.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time limit");
        Self {
            stream: BufReader::with_capacity(1 << 16, stream),
            sent: String::new(),
        }
    }

    /// The socket, for what a well-behaved client does not do.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are; false when the server takes no more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.sent = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Asks and reads the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(head_for(target, headers).as_bytes());
        self.answer()
    }

    /// Reads up to `count` bytes of whatever comes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.take(count, &mut bytes);
        bytes
    }

    /// Waits until the first bytes of an answer are there, without taking them.
    #[track_caller]
    pub(crate) fn wait_for_bytes(&mut self) {
        let there = self.stream.get_ref().peek(&mut [0]);
        assert_eq!(there.expect("bytes"), 1, "{}", self.sent);
    }

    /// Reads an answer to its end, however it ends.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_while(&mut |_| true)
    }

    /// Reads an answer that comes in chunks until there are `enough` bytes of its body.
    #[track_caller]
    pub(crate) fn answer_up_to(&mut self, enough: usize) -> Answer {
        self.answer_while(&mut |there| there < enough)
    }

    /// Reads an answer that comes in chunks while `go_on`, which is told before each how many bytes are there.
    #[track_caller]
    pub(crate) fn answer_while(&mut self, go_on: &mut dyn FnMut(usize) -> bool) -> Answer {
        let mut answer = Answer {
            request: self.sent.clone(),
            status: 0,
            head: String::new(),
            body: Vec::new(),
            end: End::Cut,
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Some(line) = self.line() else {
                answer.head = String::from_utf8_lossy(&head).into_owned();
                return answer;
            };
            head.extend(line);
            if head.starts_with(b"HTTP/1.1 100 ") && head.ends_with(b"\r\n\r\n") {
                head.clear();
            }
        }
        answer.head = String::from_utf8_lossy(&head).into_owned();
        let status = answer.head.split(' ').nth(1).and_then(|s| s.parse().ok());
        answer.status = status.unwrap_or_else(|| panic!("no status: {answer:?}"));
        let length = header(&answer.head, "content-length").map(str::to_owned);
        let ended = match length {
            _ if matches!(answer.status, 204 | 304) || self.sent.starts_with("HEAD ") => true,
            Some(length) => {
                let length = length.parse();
                let length = length.unwrap_or_else(|e| panic!("{e}: {answer:?}"));
                self.take(length, &mut answer.body)
            }
            None => self.chunks(&mut answer.body, go_on).is_some(),
        };
        if ended {
            answer.end = End::Clean;
        }
        answer
    }

    fn chunks(&mut self, body: &mut Vec<u8>, go_on: &mut dyn FnMut(usize) -> bool) -> Option<()> {
        while go_on(body.len()) {
            let size = self.line()?;
            let size = std::str::from_utf8(&size).ok();
            let size = size.and_then(|size| usize::from_str_radix(size.trim_end(), 16).ok());
            let size = size.unwrap_or_else(|| panic!("no chunk size: {}", self.sent));
            if !self.take(size, body) {
                return None;
            }
            self.line()?;
            if size == 0 {
                return Some(());
            }
        }
        None
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
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    Wire::open(address).ask(target, &[])
}
