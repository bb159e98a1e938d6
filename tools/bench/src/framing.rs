//! Where an HTTP/1.1 body ends: at its Content-Length, or behind the last of its chunks.
//!
//! Bytes are looked at where they lie. A body whose connection closes before its end is not whole, which
//! is what the clients of the component have to be able to tell.

use anyhow::{Result, bail, ensure};

/// How far a body has been read.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are missing.
    Length(u64),
    /// In a body of chunks.
    Chunked(Part),
}

/// The part of a chunked body that comes next.
#[derive(Debug)]
pub(super) enum Part {
    /// The line with the size, read so far.
    Size {
        value: u64,
        digits: u32,
        /// Behind the digits, in an extension that means nothing here.
        extension: bool,
    },
    /// So many bytes of content.
    Content(u64),
    /// The line end behind the content.
    LineEnd,
    /// The lines behind the last chunk; so many bytes of the present one have been read.
    Trailer(usize),
    /// Nothing.
    End,
}

const SIZE: Part = Part::Size {
    value: 0,
    digits: 0,
    extension: false,
};

impl Framing {
    /// For the head of a response, without its last line end.
    ///
    /// # Errors
    /// A head that names neither a length nor chunks: such a body ends with its connection, and nobody
    /// could tell whether it is whole.
    pub(super) fn of(head: &str) -> Result<Self> {
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
    pub(super) fn ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Part::End))
    }

    /// Reads on in `bytes` and hands the body's own bytes to `content`; what follows the body is left.
    ///
    /// # Errors
    /// Something else than a chunk where one should be.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut content: impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() && !self.ended() {
            bytes = match self {
                Self::Length(missing) | Self::Chunked(Part::Content(missing)) => {
                    let length = bytes
                        .len()
                        .min(usize::try_from(*missing).unwrap_or(usize::MAX));
                    let (taken, rest) = bytes.split_at(length);
                    content(taken);
                    *missing -= length as u64;
                    if let Self::Chunked(part @ Part::Content(0)) = self {
                        *part = Part::LineEnd;
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

impl Part {
    /// Takes one byte between two contents.
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
        let mut framing = Framing::of(head)?;
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
        assert!(Framing::of(head).unwrap().ended());
    }

    #[test]
    fn what_is_no_body_is_refused() {
        assert!(Framing::of("HTTP/1.1 200 OK\r\nserver: x").is_err());
        assert!(read(CHUNKED, b"\r\nhello", 9).is_err());
        assert!(read(CHUNKED, b"5\r\nhelloX", 9).is_err());
        assert!(read(CHUNKED, b"12345678901234567\r\n", 9).is_err());
    }
}
