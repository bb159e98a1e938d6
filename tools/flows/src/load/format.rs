//! Detects the format of an input by its first bytes, and inflates gzip of one or many members.
//!
//! Any other known format is refused by name; as lines, all of its bytes would be rejects.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// Bytes that detection needs. Every line of flows has as many, so a stream's first line suffices.
pub(super) const LONGEST_MAGIC: usize = 14;

/// Some editors put it before UTF-8 text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const GZIP: &[u8] = b"\x1f\x8b";

/// Unsupported formats: first bytes, name, and the command that converts to text.
const UNSUPPORTED: [(&[u8], &str, Option<&str>); 13] = [
    (b"BZh", "bzip2", Some("bzip2 -dc")),
    (b"\xfd7zXZ\0", "xz", Some("xz -dc")),
    (b"\x28\xb5\x2f\xfd", "zstd", Some("zstd -dc")),
    (b"\x04\x22\x4d\x18", "lz4", Some("lz4 -dc")),
    (b"\x1f\x9d", "compressed by compress", Some("gzip -dc")),
    (b"PK\x03\x04", "zip", Some("unzip -p")),
    (b"PK\x05\x06", "an empty zip", None),
    (b"7z\xbc\xaf\x27\x1c", "7z", Some("7z x -so")),
    (b"SQLite format", "a SQLite database", None),
    (b"PAR1", "Parquet", None),
    (b"\xff\xfe", "UTF-16 text", Some("iconv -f utf-16 -t utf-8")),
    (b"\xfe\xff", "UTF-16 text", Some("iconv -f utf-16 -t utf-8")),
    (b"%PDF", "a PDF", None),
];

/// Markup, by the start of its first tag, in any case.
const MARKUP: [(&[u8], &str); 3] = [
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
];

/// The format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Gzip,
    Unsupported {
        name: &'static str,
        decompress_by: Option<&'static str>,
    },
}

impl Format {
    /// Detects the format by the first [`LONGEST_MAGIC`] bytes, or by all if there are fewer.
    pub(super) fn of(first: &[u8]) -> Self {
        if first.starts_with(GZIP) {
            return Self::Gzip;
        }
        let other = UNSUPPORTED
            .iter()
            .find(|(magic, ..)| first.starts_with(magic));
        if let Some(&(_, name, decompress_by)) = other {
            return Self::Unsupported {
                name,
                decompress_by,
            };
        }
        let text = first.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first);
        let text = text.trim_ascii_start();
        let markup = MARKUP.iter().find(|(tag, _)| {
            text.get(..tag.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(tag))
        });
        match markup {
            Some(&(_, name)) => Self::Unsupported {
                name,
                decompress_by: None,
            },
            None => Self::Text,
        }
    }
}

/// Reads the texts of all gzip members, one after the other. Zeros may pad the last member, as on a tape;
/// any other byte behind it is an error.
pub(super) struct GzipMembers<R> {
    /// `None` behind the last member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipMembers<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            member: Some(GzDecoder::new(input)),
        }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.member = self
                .member
                .take()
                .map_or(Ok(None), |member| next_member(member.into_inner()))?;
        }
        Ok(0)
    }
}

fn next_member<R: BufRead>(mut input: R) -> io::Result<Option<GzDecoder<R>>> {
    let is_padding = match input.fill_buf()? {
        [] => return Ok(None),
        [first, ..] => *first == 0,
    };
    if !is_padding {
        return Ok(Some(GzDecoder::new(input)));
    }
    loop {
        let length = match input.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(padding) if padding.iter().all(|&byte| byte == 0) => padding.len(),
            Ok(_) => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "something else than zeros stands behind the last member",
                ));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        input.consume(length);
    }
}
