//! Content codings: bodies as they are, or compressed by gzip as they are written.

use std::io::Write as _;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Not at all.
    Identity,
    /// gzip, RFC 1952.
    Gzip,
}

impl ContentEncoding {
    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        }
    }
}

/// What follows a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// More chunks; this one may wait for them.
    No,
    /// More chunks, and the client wants to see this one at once.
    Now,
    /// Nothing.
    End,
}

/// Codes one body, chunk by chunk.
#[derive(Debug)]
pub struct ContentEncoder(Option<GzEncoder<Vec<u8>>>);

impl ContentEncoder {
    /// Starts a body.
    pub fn new(coding: ContentEncoding) -> Self {
        // The fastest level: flows are so alike that it takes most of what there is to gain.
        let gzip = || GzEncoder::new(Vec::new(), Compression::fast());
        Self((coding == ContentEncoding::Gzip).then(gzip))
    }

    /// Codes a chunk; what comes back may be empty while the encoder collects.
    ///
    /// # Errors
    /// What the encoder says; writing to memory gives it no cause.
    pub fn chunk(&mut self, bytes: Vec<u8>, then: Flush) -> Result<Vec<u8>> {
        let Some(encoder) = &mut self.0 else {
            return Ok(bytes);
        };
        encoder.write_all(&bytes)?;
        match then {
            Flush::No => {}
            Flush::Now => encoder.flush()?,
            Flush::End => encoder.try_finish()?,
        }
        Ok(std::mem::take(encoder.get_mut()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn inflated(bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(bytes);
        // A stream that goes on is cut: what it holds so far is what counts.
        _ = decoder.read_to_string(&mut text);
        text
    }

    #[test]
    fn a_flushed_chunk_can_be_read_before_the_next_comes() {
        let mut coder = ContentEncoder::new(ContentEncoding::Gzip);
        let mut sent = coder.chunk(b"first,".to_vec(), Flush::Now).unwrap();
        assert_eq!(inflated(&sent), "first,");
        sent.extend(coder.chunk(b"second,".to_vec(), Flush::No).unwrap());
        sent.extend(coder.chunk(b"third".to_vec(), Flush::End).unwrap());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*sent)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "first,second,third");
    }

    #[test]
    fn identity_hands_chunks_through() {
        let mut coder = ContentEncoder::new(ContentEncoding::Identity);
        assert_eq!(coder.chunk(b"x".to_vec(), Flush::No).unwrap(), b"x");
        assert_eq!(coder.chunk(Vec::new(), Flush::End).unwrap(), b"");
    }
}
