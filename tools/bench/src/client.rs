//! A lean HTTP/1.1 client: it shares the processors with the servers and leaves most of their time to them.
//!
//! A body ends at its Content-Length or behind its last chunk. A body whose connection closes earlier is
//! an error.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

/// Bytes of one read.
const BUFFER: usize = 256 * 1024;

/// Longest silence of a server.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that is kept alive between requests.
pub(super) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A body that was read to its end.
#[derive(Debug)]
pub(super) struct Download {
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// Time from the request to the body's end.
    pub(super) elapsed: Duration,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self {
            address,
            stream,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends a request, reads the body and discards it.
    ///
    /// # Errors
    /// Another status than 200, or a body that breaks off.
    pub(super) fn get(&mut self, target: &str) -> Result<Download> {
        self.read_body(target, |_| {})
    }

    /// Sends a request and returns the body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn body(&mut self, target: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read_body(target, |bytes| body.extend_from_slice(bytes))?;
        Ok(body)
    }

    /// Time from the request to the first byte of the body. The connection is closed without reading the rest.
    ///
    /// # Errors
    /// As [`Client::get`], or an empty body.
    pub(super) fn first_byte(mut self, target: &str) -> Result<Duration> {
        let started = self.request(target)?;
        let mut arrived = false;
        let mut framing = self.read_head(|_| arrived = true)?;
        while !arrived {
            ensure!(!framing.ended(), "an empty body for {target}");
            self.read_more(&mut framing, |_| arrived = true)?;
        }
        Ok(started.elapsed())
    }

    /// Sends a request and returns the connection, to read the response from.
    pub(super) fn send(mut self, target: &str) -> Result<TcpStream> {
        self.request(target)?;
        Ok(self.stream)
    }

    fn read_body(&mut self, target: &str, mut sink: impl FnMut(&[u8])) -> Result<Download> {
        let started = self.request(target)?;
        let mut bytes = 0;
        let mut counted = |chunk: &[u8]| {
            bytes += chunk.len() as u64;
            sink(chunk);
        };
        let mut framing = self
            .read_head(&mut counted)
            .with_context(|| format!("http://{}{target}", self.address))?;
        while !framing.ended() {
            self.read_more(&mut framing, &mut counted)
                .with_context(|| format!("http://{}{target}", self.address))?;
        }
        Ok(Download {
            bytes,
            elapsed: started.elapsed(),
        })
    }

    fn request(&mut self, target: &str) -> Result<Instant> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let started = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        Ok(started)
    }

    /// Reads the head, and the bytes of the body that came with it.
    fn read_head(&mut self, sink: impl FnMut(&[u8])) -> Result<Framing> {
        let mut filled = 0;
        let end = loop {
            ensure!(filled < self.buffer.len(), "a head without end");
            let read = self.stream.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "the connection was closed before an answer");
            filled += read;
            if let Some(end) = memmem::find(&self.buffer[..filled], b"\r\n\r\n") {
                break end;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end])?;
        if !head.starts_with("HTTP/1.1 200 ") {
            bail!("{}", String::from_utf8_lossy(&self.buffer[..filled]));
        }
        let mut framing = Framing::from_head(head)?;
        framing.feed(&self.buffer[end + 4..filled], sink)?;
        Ok(framing)
    }

    fn read_more(&mut self, framing: &mut Framing, sink: impl FnMut(&[u8])) -> Result<()> {
        let read = self.stream.read(&mut self.buffer)?;
        ensure!(read > 0, "the body broke off");
        framing.feed(&self.buffer[..read], sink)
    }
}

/// How far a body has been read.
#[derive(Debug)]
enum Framing {
    /// The number of bytes still missing.
    Length(u64),
    /// A chunked body, at this part.
    Chunked(ChunkPart),
}

/// The part of a chunked body that comes next.
#[derive(Debug)]
enum ChunkPart {
    /// The line with the size.
    Size {
        value: u64,
        digits: u32,
        /// Behind the digits, in a chunk extension.
        extension: bool,
    },
    /// Content: the number of bytes still missing.
    Content(u64),
    /// The line end behind the content.
    LineEnd,
    /// The trailer; the number of bytes read of its current line.
    Trailer(usize),
    /// Nothing.
    End,
}

const SIZE: ChunkPart = ChunkPart::Size {
    value: 0,
    digits: 0,
    extension: false,
};

impl Framing {
    /// The framing that a response head names; the head lacks its last line end.
    ///
    /// # Errors
    /// The head names neither a length nor chunks. Such a body ends with its connection, so its end and a broken
    /// connection look alike.
    fn from_head(head: &str) -> Result<Self> {
        for line in head.split("\r\n").skip(1) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            if name.eq_ignore_ascii_case("content-length") {
                return Ok(Self::Length(value.trim().parse()?));
            }
            if name.eq_ignore_ascii_case("transfer-encoding") {
                ensure!(
                    value.trim().eq_ignore_ascii_case("chunked"),
                    "unknown transfer encoding {value}"
                );
                return Ok(Self::Chunked(SIZE));
            }
        }
        bail!("a response without length and chunks: {head}")
    }

    /// Whether the body has been read to its end.
    fn ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(ChunkPart::End))
    }

    /// Parses `bytes` and passes the body's bytes to `sink`. Bytes behind the body are ignored.
    ///
    /// # Errors
    /// A malformed chunk.
    fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() && !self.ended() {
            bytes = match self {
                Self::Length(missing) | Self::Chunked(ChunkPart::Content(missing)) => {
                    let length = bytes
                        .len()
                        .min(usize::try_from(*missing).unwrap_or(usize::MAX));
                    let (taken, rest) = bytes.split_at(length);
                    sink(taken);
                    *missing -= length as u64;
                    if let Self::Chunked(part @ ChunkPart::Content(0)) = self {
                        *part = ChunkPart::LineEnd;
                    }
                    rest
                }
                Self::Chunked(part) => {
                    part.step(bytes[0])?;
                    &bytes[1..]
                }
            };
        }
        Ok(())
    }
}

impl ChunkPart {
    /// Parses one byte of the framing.
    fn step(&mut self, byte: u8) -> Result<()> {
        *self = match (&*self, byte) {
            (Self::Size { .. }, b'\r') | (Self::LineEnd, b'\r') => return Ok(()),
            (Self::Size { digits: 0, .. }, _) if !byte.is_ascii_hexdigit() => {
                bail!("a chunk without a size")
            }
            (Self::Size { value: 0, .. }, b'\n') => Self::Trailer(0),
            (&Self::Size { value, .. }, b'\n') => Self::Content(value),
            (
                &Self::Size {
                    value,
                    digits,
                    extension,
                },
                byte,
            ) => Self::size(value, digits, extension, byte)?,
            (Self::LineEnd, b'\n') => SIZE,
            (Self::Trailer(_), b'\r') => return Ok(()),
            (Self::Trailer(0), b'\n') => Self::End,
            (Self::Trailer(_), b'\n') => Self::Trailer(0),
            (&Self::Trailer(length), _) => Self::Trailer(length + 1),
            (part, byte) => bail!("byte {byte:#x} where a body has {part:?}"),
        };
        Ok(())
    }

    fn size(value: u64, digits: u32, extension: bool, byte: u8) -> Result<Self> {
        let extension = extension || !byte.is_ascii_hexdigit();
        if extension {
            return Ok(Self::Size {
                value,
                digits,
                extension,
            });
        }
        ensure!(digits < 16, "a chunk's size of more than 64 bits");
        let digit = u64::from((byte as char).to_digit(16).unwrap_or(0));
        Ok(Self::Size {
            value: value << 4 | digit,
            digits: digits + 1,
            extension,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked";

    /// The content of `body`, fed in pieces of `size` bytes, and whether it ended.
    fn read(head: &str, body: &[u8], size: usize) -> Result<(String, bool)> {
        let mut framing = Framing::from_head(head)?;
        let mut content = Vec::new();
        for piece in body.chunks(size) {
            framing.feed(piece, |bytes| content.extend_from_slice(bytes))?;
        }
        Ok((String::from_utf8(content)?, framing.ended()))
    }

    #[test]
    fn chunks_end_behind_the_last_of_them_however_they_arrive() {
        let body = b"5\r\nhello\r\n1A;x=1\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nt: 1\r\n\r\n";
        for size in 1..=body.len() {
            let (content, ended) = read(CHUNKED, body, size).unwrap();
            assert_eq!(
                content, "helloabcdefghijklmnopqrstuvwxyz",
                "pieces of {size}"
            );
            assert!(ended, "pieces of {size}");
        }
    }

    #[test]
    fn a_body_that_breaks_off_has_not_ended() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        for length in 0..body.len() {
            assert!(
                !read(CHUNKED, &body[..length], 3).unwrap().1,
                "{length} bytes"
            );
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5";
        assert_eq!(read(head, b"hell", 3).unwrap(), ("hell".into(), false));
        assert_eq!(read(head, b"hello", 3).unwrap(), ("hello".into(), true));
        assert_eq!(read(head, b"hello!", 9).unwrap(), ("hello".into(), true));
    }

    #[test]
    fn an_empty_body_has_ended_before_it_starts() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 0";
        assert!(Framing::from_head(head).unwrap().ended());
    }

    #[test]
    fn what_is_no_body_is_refused() {
        assert!(Framing::from_head("HTTP/1.1 200 OK\r\nserver: x").is_err());
        assert!(read(CHUNKED, b"\r\nhello", 9).is_err());
        assert!(read(CHUNKED, b"5\r\nhelloX", 9).is_err());
        assert!(read(CHUNKED, b"12345678901234567\r\n", 9).is_err());
    }
}
