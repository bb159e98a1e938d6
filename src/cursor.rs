//! Where a limited answer stopped, for the client to carry: the `cursor` parameter.
//!
//! Opaque to clients: a version, then in hexadecimal the answer's frozen id, the place of its last flow,
//! the digest of the question it belongs to, and a checksum. It holds nothing secret and is not signed: a
//! forged cursor could ask for nothing that a query could not.

use std::fmt::Write as _;

use xxhash_rust::xxh64::xxh64;

use crate::packed::Position;

/// The layout below; another layout takes another letter.
const VERSION: &str = "a";

/// Hexadecimal digits of a 64-bit word.
const DIGITS: usize = 16;

/// Seeds keep the two uses of the hash apart.
const CHECKSUM_SEED: u64 = 1;
const DIGEST_SEED: u64 = 2;

/// A place in a frozen answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The largest id that the answer may include.
    pub newest: i64,
    /// The last flow that was sent.
    pub position: Position,
}

impl Cursor {
    /// The text of the cursor for a question with this [`digest`].
    pub fn encode(self, digest: u64) -> String {
        let Position { time, id } = self.position;
        let mut text = String::from(VERSION);
        // Writing to a String does not fail.
        _ = write!(
            text,
            "{:016x}{time:016x}{id:016x}{digest:016x}",
            self.newest
        );
        let checksum = xxh64(text.as_bytes(), CHECKSUM_SEED);
        _ = write!(text, "{checksum:016x}");
        text
    }

    /// Reads a cursor that belongs to a question with this [`digest`].
    ///
    /// # Errors
    /// What is wrong with it, in words that go behind "cursor".
    pub fn decode(text: &str, digest: u64) -> Result<Self, &'static str> {
        const DAMAGED: &str = "is damaged, expected one as it stands in a Link";
        let words = text
            .strip_prefix(VERSION)
            .ok_or("is of another version, ask again without it")?;
        let (words, rest) = words.as_bytes().as_chunks::<DIGITS>();
        let ([newest, time, id, asked, checksum], []) = (words, rest) else {
            return Err(DAMAGED);
        };
        let word = |digits: &[u8; DIGITS]| {
            // A sign and capitals would be read too, and be other ways to write the same cursor.
            let written = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
            let digits = Some(digits).filter(|digits| digits.iter().all(written));
            digits
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|text| u64::from_str_radix(text, 16).ok())
                .ok_or(DAMAGED)
        };
        let (checked, _) = text
            .as_bytes()
            .split_last_chunk::<DIGITS>()
            .ok_or(DAMAGED)?;
        if xxh64(checked, CHECKSUM_SEED) != word(checksum)? {
            return Err(DAMAGED);
        }
        if word(asked)? != digest {
            return Err("belongs to another question, expected the parameters it came with");
        }
        let position = Position {
            time: word(time)?.cast_signed(),
            id: word(id)?.cast_signed(),
        };
        Ok(Self {
            newest: word(newest)?.cast_signed(),
            position,
        })
    }
}

/// The digest of a question, from a text that names all that it asks for.
pub fn digest(question: &str) -> u64 {
    xxh64(question.as_bytes(), DIGEST_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor {
        newest: i64::MAX,
        position: Position {
            time: -1,
            id: i64::MIN,
        },
    };

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        assert_eq!(Cursor::decode(&CURSOR.encode(7), 7), Ok(CURSOR));
    }

    #[test]
    fn a_cursor_of_another_question_is_refused() {
        let error = Cursor::decode(&CURSOR.encode(7), 8).unwrap_err();
        assert!(error.contains("another question"), "{error}");
    }

    #[test]
    fn every_change_of_a_cursor_is_noticed() {
        let text = CURSOR.encode(7);
        for i in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[i] = if changed[i] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(Cursor::decode(&changed, 7).is_err(), "{changed}");
            assert!(Cursor::decode(&text[..i], 7).is_err(), "{}", &text[..i]);
        }
        let capitals = text.to_uppercase().replacen('A', "a", 1);
        for text in [
            "",
            &capitals,
            "!",
            "AQ",
            &format!("{text}A"),
            &format!("{text}AAAAAAAAAAA"),
        ] {
            assert!(Cursor::decode(text, 7).is_err(), "{text}");
        }
        // The layout is a promise: cursors outlive a deployment.
        assert_eq!(
            text,
            "a7fffffffffffffffffffffffffffffff8000000000000000000000000000000754d3aba1f2f436fa"
        );
    }
}
