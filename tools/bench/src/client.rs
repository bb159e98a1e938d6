//! A lean HTTP/1.1 client: it takes little of the processor time that it shares with the servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use crate::framing::Framing;

/// What one read may bring.
const BUFFER: usize = 256 * 1024;

/// A server that is silent for so long will say nothing more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that is kept between requests.
pub(super) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// From the request to the body's end.
    pub(super) elapsed: Duration,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            address,
            stream,
            buffer: vec![0; BUFFER],
        })
    }

    /// Asks, reads the answer to its end and throws it away.
    ///
    /// # Errors
    /// Another status than 200, or a body that breaks off.
    pub(super) fn get(&mut self, target: &str) -> Result<Answer> {
        self.read_body(target, |_| {})
    }

    /// Asks, and gives the body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn body(&mut self, target: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read_body(target, |bytes| body.extend_from_slice(bytes))?;
        Ok(body)
    }

    /// Time from the request to the first byte of the body. The rest is not read, and the connection
    /// closed: the server has to cope.
    ///
    /// # Errors
    /// As [`Client::get`], or an empty body.
    pub(super) fn first_byte(mut self, target: &str) -> Result<Duration> {
        let started = self.ask(target)?;
        let mut content = false;
        let mut framing = self.read_head(|_| content = true)?;
        while !content {
            ensure!(!framing.ended(), "an empty body for {target}");
            self.read_on(&mut framing, |_| content = true)?;
        }
        Ok(started.elapsed())
    }

    /// Asks, and gives the connection for the answer to be read from.
    pub(super) fn start(mut self, target: &str) -> Result<TcpStream> {
        self.ask(target)?;
        Ok(self.stream)
    }

    fn read_body(&mut self, target: &str, mut content: impl FnMut(&[u8])) -> Result<Answer> {
        let started = self.ask(target)?;
        let mut bytes = 0;
        let mut counted = |piece: &[u8]| {
            bytes += piece.len() as u64;
            content(piece);
        };
        let mut framing = self
            .read_head(&mut counted)
            .with_context(|| format!("http://{}{target}", self.address))?;
        while !framing.ended() {
            self.read_on(&mut framing, &mut counted)
                .with_context(|| format!("http://{}{target}", self.address))?;
        }
        Ok(Answer {
            bytes,
            elapsed: started.elapsed(),
        })
    }

    fn ask(&mut self, target: &str) -> Result<Instant> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let started = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        Ok(started)
    }

    /// Reads the head, and what of the body came with it.
    fn read_head(&mut self, content: impl FnMut(&[u8])) -> Result<Framing> {
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
        let mut framing = Framing::of(head)?;
        framing.feed(&self.buffer[end + 4..filled], content)?;
        Ok(framing)
    }

    fn read_on(&mut self, framing: &mut Framing, content: impl FnMut(&[u8])) -> Result<()> {
        let read = self.stream.read(&mut self.buffer)?;
        ensure!(read > 0, "the body broke off");
        framing.feed(&self.buffer[..read], content)
    }
}
