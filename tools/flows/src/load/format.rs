//! What an input is, told by its first bytes, and gzip of one or many members.
//!
//! What is neither text nor gzip is refused by name: taken for lines, each of its pieces would be a reject.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// Bytes that suffice to tell. No line of flows is shorter, so none that is on its way is waited for longer.
pub(super) const LONGEST_MAGIC: usize = 14;

/// What some editors put before a UTF-8 text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const GZIP: &[u8] = b"\x1f\x8b";

/// Formats that are not read, by their first bytes: the name, and the command that opens them.
const OTHERS: [(&[u8], &str, Option<&str>); 13] = [
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

/// Documents, told by what their first tag begins with, in any case.
const DOCUMENTS: [(&[u8], &str); 3] = [
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
];

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Gzip,
    Other {
        name: &'static str,
        open_by: Option<&'static str>,
    },
}

impl Format {
    /// Tells by the first [`LONGEST_MAGIC`] bytes, or by all if there are fewer.
    pub(super) fn of(first: &[u8]) -> Self {
        if first.starts_with(GZIP) {
            return Self::Gzip;
        }
        let other = OTHERS.iter().find(|(magic, ..)| first.starts_with(magic));
        if let Some(&(_, name, open_by)) = other {
            return Self::Other { name, open_by };
        }
        let text = first.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first);
        let text = text.trim_ascii_start();
        let document = DOCUMENTS.iter().find(|(tag, _)| {
            text.get(..tag.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(tag))
        });
        match document {
            Some(&(_, name)) => Self::Other {
                name,
                open_by: None,
            },
            None => Self::Text,
        }
    }
}

/// The texts of all members of a gzip, one after the other. Zeros may follow the last one, as on a tape or
/// in a file of a fixed size; anything else there is an error.
pub(super) struct Members<R> {
    /// `None` behind the last one.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            member: Some(GzDecoder::new(input)),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
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
