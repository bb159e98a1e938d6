//! Where a limited answer stopped, for the client to carry: the `cursor` parameter.
//!
//! A cursor is opaque to clients. It is a version, a letter for the kind of seek and one for the guard, then in
//! hexadecimal the answer's largest id, the key of its last flow, the table's guard, the digest of the selection,
//! and a checksum. It holds nothing secret and is not signed: a forged cursor asks for nothing that a query could
//! not ask for.

use std::fmt::Write as _;

use xxhash_rust::xxh64::xxh64;

use crate::table::key::RowKey;
use crate::table::state::{Guard, TableState};

/// The layout below; another layout takes another letter.
const VERSION: &str = "b";

/// Hexadecimal digits of a 64-bit word.
const DIGITS: usize = 16;

/// Seeds keep the two uses of the hash apart.
const CHECKSUM_SEED: u64 = 1;
const DIGEST_SEED: u64 = 2;

/// Where a limited answer stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Where to continue.
    pub seek: CursorSeek,
    /// The largest id that the answer may include.
    pub max_id: i64,
    /// The guard of the table that the answer is of; `None` where it had none.
    pub guard: Option<Guard>,
}

/// Where a cursor continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorSeek {
    /// At the first flow.
    Start,
    /// After this flow. The `id` is `i64::MAX` after a whole second.
    AfterKey(RowKey),
    /// After this flow, within a second that was longer than the portion.
    WithinSecond(RowKey),
}

impl CursorSeek {
    /// The key of the last flow before the cursor.
    pub fn key(self) -> Option<RowKey> {
        match self {
            Self::Start => None,
            Self::AfterKey(key) | Self::WithinSecond(key) => Some(key),
        }
    }
}

impl Cursor {
    /// Whether the answer continues in this state of the table: the guard is the same, no id has been lost, and the
    /// cursor's last flow is there. Without a guard no other edit shows.
    pub fn continues_in(self, state: TableState) -> bool {
        self.guard == state.guard() && self.max_id <= state.max_id && state.has_cursor_row
    }

    /// The text of the cursor for a selection with this [`digest`].
    pub fn encode(self, digest: u64) -> String {
        let kind = match self.seek {
            CursorSeek::Start => 's',
            CursorSeek::AfterKey(_) => 'k',
            CursorSeek::WithinSecond(_) => 'w',
        };
        let guarded = if self.guard.is_some() { 'g' } else { 'u' };
        let RowKey { time, id } = self.seek.key().unwrap_or(RowKey { time: 0, id: 0 });
        let Guard { content, lineage } = self.guard.unwrap_or(Guard {
            content: 0,
            lineage: 0,
        });
        let mut text = format!("{VERSION}{kind}{guarded}{:016x}", self.max_id);
        // Writing to a String does not fail.
        _ = write!(
            text,
            "{time:016x}{id:016x}{content:016x}{lineage:016x}{digest:016x}"
        );
        let checksum = xxh64(text.as_bytes(), CHECKSUM_SEED);
        _ = write!(text, "{checksum:016x}");
        text
    }

    /// Reads a cursor that belongs to a selection with this [`digest`].
    ///
    /// # Errors
    /// What is wrong with it, in words that go behind "cursor".
    pub fn decode(text: &str, digest: u64) -> Result<Self, &'static str> {
        const DAMAGED: &str = "is damaged, expected one as it stands in a Link";
        let rest = text
            .strip_prefix(VERSION)
            .ok_or("is of another version, ask again without it")?;
        let ([kind, guarded], words) = rest.as_bytes().split_first_chunk().ok_or(DAMAGED)?;
        let (words, rest) = words.as_chunks::<DIGITS>();
        let ([max_id, time, id, content, lineage, selection, checksum], []) = (words, rest) else {
            return Err(DAMAGED);
        };
        let word = |digits: &[u8; DIGITS]| {
            // `from_str_radix` also takes a sign and capitals: other texts of the same cursor.
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
        if word(selection)? != digest {
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
            seek: match kind {
                b's' => CursorSeek::Start,
                b'k' => CursorSeek::AfterKey(key),
                b'w' => CursorSeek::WithinSecond(key),
                _ => return Err(DAMAGED),
            },
            max_id: integer(max_id)?,
            guard: match guarded {
                b'g' => Some(guard),
                b'u' => None,
                _ => return Err(DAMAGED),
            },
        };
        // A word that the letters do not use has to be zero: one cursor has one text.
        let one_text = cursor.encode(digest) == text;
        one_text.then_some(cursor).ok_or(DAMAGED)
    }
}

/// The digest of a selection, from its text.
pub fn digest(selection: &str) -> u64 {
    xxh64(selection.as_bytes(), DIGEST_SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RowKey = RowKey {
        time: -1,
        id: i64::MIN,
    };
    const CURSOR: Cursor = Cursor {
        max_id: i64::MAX,
        seek: CursorSeek::AfterKey(KEY),
        guard: Some(Guard {
            content: 5,
            lineage: -6,
        }),
    };

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for seek in [
            CursorSeek::Start,
            CursorSeek::AfterKey(KEY),
            CursorSeek::WithinSecond(KEY),
        ] {
            for guard in [None, CURSOR.guard] {
                let cursor = Cursor {
                    seek,
                    guard,
                    ..CURSOR
                };
                assert_eq!(Cursor::decode(&cursor.encode(7), 7), Ok(cursor));
            }
        }
    }

    #[test]
    fn a_cursor_of_another_selection_is_refused() {
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
