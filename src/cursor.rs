//! Where a limited answer stopped, for the client to carry: the `cursor` parameter.
//!
//! Opaque to clients: a version, a letter for the kind of place and one for the guard, then in hexadecimal
//! the answer's frozen id, the flow it stands on, the table's guard, the digest of the question it belongs to,
//! and a checksum. It holds nothing secret and is not signed: a forged cursor could ask for nothing that a
//! query could not.

use std::fmt::Write as _;

use xxhash_rust::xxh64::xxh64;

use crate::packed::RowKey;
use crate::state::{Guard, State};
use crate::statement::Seek;

/// The layout below; another layout takes another letter.
const VERSION: &str = "b";

/// Hexadecimal digits of a 64-bit word.
const DIGITS: usize = 16;

/// Seeds keep the two uses of the hash apart.
const CHECKSUM_SEED: u64 = 1;
const DIGEST_SEED: u64 = 2;

/// A place in a frozen answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Where to go on: at the start, or behind the last flow that was sent.
    pub place: CursorSeek,
    /// The largest id that the answer may include.
    pub newest: i64,
    /// The guard of the table that the answer is of; `None` where it had none.
    pub guard: Option<Guard>,
}

/// Where a cursor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorSeek {
    /// Before the first flow.
    Start,
    /// Behind this flow.
    AfterKey(RowKey),
    /// Behind this flow of a second that was longer than the portion.
    WithinSecond(RowKey),
}

impl CursorSeek {
    /// The flow that it stands on.
    pub fn key(self) -> Option<RowKey> {
        match self {
            Self::Start => None,
            Self::AfterKey(key) | Self::WithinSecond(key) => Some(key),
        }
    }
}

impl From<CursorSeek> for Seek {
    fn from(place: CursorSeek) -> Self {
        match place {
            CursorSeek::Start => Self::Start,
            CursorSeek::AfterKey(key) => Self::AfterKey(key),
            CursorSeek::WithinSecond(key) => Self::WithinSecond(key),
        }
    }
}

impl From<Seek> for CursorSeek {
    fn from(place: Seek) -> Self {
        match place {
            Seek::Start => Self::Start,
            Seek::AfterKey(key) => Self::AfterKey(key),
            Seek::WithinSecond(key) => Self::WithinSecond(key),
            Seek::AfterTime(time) => Self::AfterKey(RowKey { time, id: i64::MAX }),
        }
    }
}

impl Cursor {
    /// Whether it goes on in the state of the table that `state` is: what it was made of is there, and at most
    /// flows have arrived since.
    pub fn continues_in(self, state: State) -> bool {
        self.guard == state.guard() && self.newest <= state.newest && state.stands
    }

    /// The text of the cursor for a question with this [`digest`].
    pub fn encode(self, digest: u64) -> String {
        let place = match self.place {
            CursorSeek::Start => 's',
            CursorSeek::AfterKey(_) => 'k',
            CursorSeek::WithinSecond(_) => 'w',
        };
        let guarded = if self.guard.is_some() { 'g' } else { 'u' };
        let RowKey { time, id } = self.place.key().unwrap_or(RowKey { time: 0, id: 0 });
        let Guard { content, lineage } = self.guard.unwrap_or(Guard {
            content: 0,
            lineage: 0,
        });
        let mut text = format!("{VERSION}{place}{guarded}{:016x}", self.newest);
        // Writing to a String does not fail.
        _ = write!(
            text,
            "{time:016x}{id:016x}{content:016x}{lineage:016x}{digest:016x}"
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
        let rest = text
            .strip_prefix(VERSION)
            .ok_or("is of another version, ask again without it")?;
        let ([place, guarded], words) = rest.as_bytes().split_first_chunk().ok_or(DAMAGED)?;
        let (words, rest) = words.as_chunks::<DIGITS>();
        let ([newest, time, id, content, lineage, asked, checksum], []) = (words, rest) else {
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
        let integer = |digits| word(digits).map(u64::cast_signed);
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
        let key = RowKey {
            time: integer(time)?,
            id: integer(id)?,
        };
        let guard = Guard {
            content: integer(content)?,
            lineage: integer(lineage)?,
        };
        let cursor = Self {
            place: match place {
                b's' => CursorSeek::Start,
                b'k' => CursorSeek::AfterKey(key),
                b'w' => CursorSeek::WithinSecond(key),
                _ => return Err(DAMAGED),
            },
            newest: integer(newest)?,
            guard: match guarded {
                b'g' => Some(guard),
                b'u' => None,
                _ => return Err(DAMAGED),
            },
        };
        // Words that its letters have no use for are zeros.
        let one_text = cursor.encode(digest) == text;
        one_text.then_some(cursor).ok_or(DAMAGED)
    }
}

/// The digest of a question, from a text that names all that it asks for.
pub fn digest(question: &str) -> u64 {
    xxh64(question.as_bytes(), DIGEST_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RowKey = RowKey {
        time: -1,
        id: i64::MIN,
    };
    const CURSOR: Cursor = Cursor {
        newest: i64::MAX,
        place: CursorSeek::AfterKey(KEY),
        guard: Some(Guard {
            content: 5,
            lineage: -6,
        }),
    };

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for place in [
            CursorSeek::Start,
            CursorSeek::AfterKey(KEY),
            CursorSeek::WithinSecond(KEY),
        ] {
            for guard in [None, CURSOR.guard] {
                let cursor = Cursor {
                    place,
                    guard,
                    ..CURSOR
                };
                assert_eq!(Cursor::decode(&cursor.encode(7), 7), Ok(cursor));
            }
        }
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
        let capitals = text.replace("fff", "FFF");
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
            "bkg7fffffffffffffffffffffffffffffff80000000000000000000000000000005fffffffffffffffa00000000000000073432137955692c5f"
        );
    }
}
