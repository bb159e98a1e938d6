//! One value of a record, as it stands in the packed text.

use std::borrow::Cow;

/// One value of a record, not decoded: an integer's digits, a JSON string with its quotes, or `null`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawValue<'a> {
    /// The packed text from the value's first byte on. [`RawValue::append_to`] may copy bytes behind the value.
    text: &'a [u8],
    length: usize,
}

impl<'a> RawValue<'a> {
    /// The value that the first `length` bytes of `text` are.
    #[inline(always)]
    pub fn new(text: &'a [u8], length: usize) -> Self {
        Self { text, length }
    }

    /// The value's bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// The content of a string, without its quotes and with its escapes; `None` for any other value.
    #[inline(always)]
    pub fn content(self) -> Option<Self> {
        let (b'"', text) = self.text.split_first()? else {
            return None;
        };
        Some(Self {
            text,
            length: self.length.saturating_sub(2),
        })
    }

    /// Whether one of the value's bytes is among `special`.
    pub fn has_any(self, special: &[u8]) -> bool {
        self.bytes().iter().any(|byte| special.contains(byte))
    }

    /// Appends the value's bytes.
    ///
    /// Nearly all values are short. A copy of 16 bytes that is then truncated takes two moves. A copy of the exact
    /// length calls the host's `memory.copy`.
    #[inline(always)]
    pub fn append_to(self, out: &mut Vec<u8>) {
        match self.text.first_chunk::<16>() {
            Some(chunk) if self.length <= 16 => append(out, chunk, self.length),
            _ => out.extend_from_slice(self.bytes()),
        }
    }
}

/// Appends the first `length` bytes of a chunk whose size is known when compiling.
#[inline(always)]
pub fn append<const N: usize>(out: &mut Vec<u8>, chunk: &[u8; N], length: usize) {
    let end = out.len().saturating_add(length);
    out.extend_from_slice(chunk);
    out.truncate(end);
}

/// The text of a value: a string's content with its escapes resolved, or a number as it stands.
///
/// `None` where a string is not valid JSON, or the bytes are not UTF-8.
pub fn unquoted(value: &[u8]) -> Option<Cow<'_, str>> {
    match value {
        [b'"', content @ .., b'"'] if !content.contains(&b'\\') => {
            std::str::from_utf8(content).ok().map(Cow::Borrowed)
        }
        [b'"', ..] => serde_json::from_slice(value).ok().map(Cow::Owned),
        _ => std::str::from_utf8(value).ok().map(Cow::Borrowed),
    }
}
