//! HTTP/1.1 as the tests need it: over a plain socket, so that how a connection ends is seen as it is.
//!
//! Nothing here hides a failure: whatever is not as expected panics with the request and all that came
//! back. A server that says nothing for [`PATIENCE`] is a failure too.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for what has to happen at some time. Only a failing test waits as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
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

/// An answer, and the request it is the answer to.
pub(crate) struct Answer {
    request: String,
    /// The status line and the headers.
    head: String,
    /// The body as far as it came.
    pub(crate) body: Vec<u8>,
    /// The chunks it came in, without the last, which is empty.
    pub(crate) chunks: usize,
    /// How the body ended.
    pub(crate) end: End,
}

impl Answer {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status\n{self}"))
    }

    /// A header's value, if the header is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// A header that the probe puts into every answer, as a number.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let value = self.header(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no number {name}\n{self}"))
    }

    /// The body of a complete answer of status 200.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!((self.status(), self.end), (200, End::Clean), "{self}");
        std::str::from_utf8(&self.body).unwrap().trim_end()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.body[..self.body.len().min(2000)];
        write!(
            f,
            "request: {}\nanswer: {}\n{}\n({} bytes of body, end: {:?})",
            self.request.trim_end(),
            self.head,
            String::from_utf8_lossy(start),
            self.body.len(),
            self.end
        )
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1);
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    let found = headers.find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

/// One connection and what is written and read on it.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    sent: String,
}

impl Wire {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
            sent: String::new(),
        }
    }

    /// Sends text as it is.
    pub(crate) fn send(&mut self, text: &str) -> &mut Self {
        self.sent.push_str(text);
        self.stream.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Starts a request whose body the client is in no hurry to send, and waits until the guest is waiting
    /// for it: hyper asks for a body ("100 Continue") when it is first read from.
    #[track_caller]
    pub(crate) fn hold(address: SocketAddr, path: &str) -> Self {
        let mut wire = Self::held(address, path);
        let head = wire.head();
        assert!(head.starts_with("HTTP/1.1 100 "), "{path}: {head}");
        wire
    }

    /// Starts such a request and does not wait: for an answer that starts before the body is asked for.
    pub(crate) fn held(address: SocketAddr, path: &str) -> Self {
        let mut wire = Self::open(address);
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: probe\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        ));
        wire
    }

    /// Sends the next piece of the request's body.
    pub(crate) fn piece(&mut self) -> &mut Self {
        self.send("1\r\n.\r\n")
    }

    /// Ends the request's body.
    pub(crate) fn finish(&mut self) -> &mut Self {
        self.send("0\r\n\r\n")
    }

    /// Reads the next head, with the empty line behind it.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        match self.line_end("\r\n\r\n") {
            Some(head) => String::from_utf8(head).unwrap(),
            None => panic!(
                "the connection ended within a head\nrequest: {}\ncame: {:?}",
                self.sent,
                String::from_utf8_lossy(&self.unread)
            ),
        }
    }

    /// Reads the next answer to its end; one that only asks for the body is passed over.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut head = self.head();
        while head.starts_with("HTTP/1.1 100 ") {
            head = self.head();
        }
        self.body_of(head)
    }

    /// Reads the body that follows `head`.
    pub(crate) fn body_of(&mut self, head: String) -> Answer {
        let mut body = Vec::new();
        let mut chunks = 0;
        let end = match header(&head, "content-length") {
            Some(length) => {
                let end = self.take(length.parse().unwrap(), &mut body);
                end.unwrap_or(End::Cut)
            }
            None => self.chunks(&mut body, &mut chunks).unwrap_or(End::Cut),
        };
        Answer {
            request: self.sent.clone(),
            head,
            body,
            chunks,
            end,
        }
    }

    /// Whether the server closes the connection without a further byte.
    pub(crate) fn is_closed_in_silence(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }

    fn chunks(&mut self, body: &mut Vec<u8>, chunks: &mut usize) -> Option<End> {
        loop {
            let size = String::from_utf8(self.line_end("\r\n")?).unwrap();
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            self.take(size, body)?;
            self.line_end("\r\n")?;
            if size == 0 {
                return Some(End::Clean);
            }
            *chunks += 1;
        }
    }

    /// Moves `length` bytes to `body`, or as many as there are.
    fn take(&mut self, length: usize, body: &mut Vec<u8>) -> Option<End> {
        while self.unread.len() < length && self.fill() {}
        let there = length.min(self.unread.len());
        body.extend(self.unread.drain(..there));
        (there == length).then_some(End::Clean)
    }

    /// Takes what is unread up to `end` and with it.
    fn line_end(&mut self, end: &str) -> Option<Vec<u8>> {
        loop {
            let mut windows = self.unread.windows(end.len());
            if let Some(at) = windows.position(|window| window == end.as_bytes()) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads more; false once the connection has ended, well or not.
    fn fill(&mut self) -> bool {
        let mut more = [0; 1 << 16];
        match self.stream.read(&mut more) {
            Ok(n) => {
                self.unread.extend_from_slice(&more[..n]);
                n > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // A read that has a time limit ends so when the process was stopped for a while.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Err(error) => panic!("{error}\nrequest: {}", self.sent),
        }
    }
}

/// Sends a GET on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let mut wire = Wire::open(address);
    wire.send(&format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n"));
    wire.answer()
}

/// Has the probe run a statement on a connection of its own.
#[track_caller]
pub(crate) fn query(address: SocketAddr, sql: &str) -> Answer {
    let mut wire = Wire::open(address);
    let length = sql.len();
    wire.send(&format!(
        "POST /query HTTP/1.1\r\nHost: probe\r\nContent-Length: {length}\r\n\r\n{sql}"
    ));
    wire.answer()
}
