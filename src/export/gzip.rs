//! Content encodings: bodies as they are, or compressed by gzip while they are written.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

/// How a body is encoded.
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
    /// More chunks; the client has to see this one at once.
    Now,
    /// Nothing.
    End,
}

/// Encodes one body, chunk by chunk.
#[derive(Debug)]
pub struct GzipEncoder(Option<GzipStream>);

#[derive(Debug)]
struct GzipStream {
    encoder: GzEncoder<Vec<u8>>,
    /// What does not fill a block yet.
    pending: Vec<u8>,
}

/// Bytes that are compressed at once. What comes out depends on where the input is cut, and chunks end elsewhere when
/// pages grow. A strong entity tag stands for the same bytes.
const BLOCK: usize = 64 << 10;

impl GzipEncoder {
    /// Starts a body.
    pub fn new(encoding: ContentEncoding) -> Self {
        // The fastest level: flows are so alike that it takes most of what there is to gain.
        let gzip = || GzipStream {
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            pending: Vec::new(),
        };
        Self((encoding == ContentEncoding::Gzip).then(gzip))
    }

    /// Encodes a chunk. The result may be empty while the encoder collects.
    ///
    /// # Errors
    /// What the encoder says; writing to memory gives it no cause.
    pub fn chunk(&mut self, bytes: Vec<u8>, flush: Flush) -> io::Result<Vec<u8>> {
        let Some(GzipStream { encoder, pending }) = &mut self.0 else {
            return Ok(bytes);
        };
        pending.extend_from_slice(&bytes);
        let whole = match flush {
            Flush::No => pending.len().wrapping_sub(pending.len() % BLOCK),
            Flush::Now | Flush::End => pending.len(),
        };
        for block in pending.drain(..whole).as_slice().chunks(BLOCK) {
            encoder.write_all(block)?;
        }
        match flush {
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
        let mut encoder = GzipEncoder::new(ContentEncoding::Gzip);
        let mut sent = encoder.chunk(b"first,".to_vec(), Flush::Now).unwrap();
        assert_eq!(inflated(&sent), "first,");
        sent.extend(encoder.chunk(b"second,".to_vec(), Flush::No).unwrap());
        sent.extend(encoder.chunk(b"third".to_vec(), Flush::End).unwrap());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*sent)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "first,second,third");
    }

    /// Pages grow where the client keeps up, and so chunks end elsewhere: a strong tag stands for the same bytes anyhow.
    #[test]
    fn the_bytes_do_not_depend_on_where_chunks_end() {
        let flows: String = (0..40_000)
            .map(|id| {
                format!(
                    "{{\"id\":{id},\"time\":{},\"src_comp\":\"C{}\"}}\n",
                    id / 7,
                    id * id % 9_973
                )
            })
            .collect();
        let encoded = |sizes: &[usize]| {
            let mut encoder = GzipEncoder::new(ContentEncoding::Gzip);
            let mut rest = flows.as_bytes();
            let mut sent = Vec::new();
            for size in sizes.iter().cycle() {
                let (chunk, behind) = rest.split_at((*size).min(rest.len()));
                let flush = if behind.is_empty() {
                    Flush::End
                } else {
                    Flush::No
                };
                sent.extend(encoder.chunk(chunk.to_vec(), flush).unwrap());
                if behind.is_empty() {
                    return sent;
                }
                rest = behind;
            }
            sent
        };
        let whole = encoded(&[usize::MAX]);
        for sizes in [
            &[65_536][..],
            &[1],
            &[100, 1, 70_000],
            &[262, 258, 259],
            &[32_768, 3, 500_000],
        ] {
            assert!(encoded(sizes) == whole, "{sizes:?}");
        }
    }

    #[test]
    fn identity_hands_chunks_through() {
        let mut encoder = GzipEncoder::new(ContentEncoding::Identity);
        assert_eq!(encoder.chunk(b"x".to_vec(), Flush::No).unwrap(), b"x");
        assert_eq!(encoder.chunk(Vec::new(), Flush::End).unwrap(), b"");
    }
}
