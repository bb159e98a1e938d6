//! The cursor: one text a place, and no other text is taken.

use flow_window::query::cursor::{Cursor, CursorSeek};
use flow_window::table::key::RowKey;
use flow_window::table::state::Guard;
use xxhash_rust::xxh64::xxh64;

/// Characters before the checksum: three letters and six words, the last of which is the digest.
const CHECKED: usize = 3 + 6 * 16;

/// Takes the input as a cursor, as a cursor with a right checksum, and as the words of one.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
        // No mutation finds a checksum, so that what lies behind it is reached only with one that is right.
        let mut body = text;
        while body.len() > CHECKED {
            body = &body[..body.floor_char_boundary(body.len() - 1)];
        }
        read(&format!("{body}{:016x}", xxh64(body.as_bytes(), 1)));
    }
    let mut words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_be_bytes(word)
    });
    let mut word = || words.next().unwrap_or_default();
    let (digest, other, kind) = (word(), word(), word());
    let mut integer = || word().cast_signed();
    let max_id = integer();
    let key = RowKey {
        time: integer(),
        id: integer(),
    };
    let guard = Guard {
        content: integer(),
        lineage: integer(),
    };
    let seek = match kind % 3 {
        0 => CursorSeek::Start,
        1 => CursorSeek::AfterKey(key),
        _ => CursorSeek::WithinSecond(key),
    };
    let cursor = Cursor {
        seek,
        max_id,
        guard: kind.is_multiple_of(2).then_some(guard),
    };
    written(cursor, digest, other.to_be_bytes());
}

/// What is taken is the one text of what it was taken for.
fn read(text: &str) {
    let digest = text
        .get(CHECKED - 16..CHECKED)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let digest = digest.unwrap_or_default();
    if let Ok(cursor) = Cursor::decode(text, digest) {
        assert_eq!(cursor.encode(digest), text);
        written(cursor, digest, [b'g'; 8]);
    }
}

/// What is written comes back, for its own question alone, and only as it was written.
fn written(cursor: Cursor, digest: u64, other: [u8; 8]) {
    let text = cursor.encode(digest);
    assert_eq!(Cursor::decode(&text, digest), Ok(cursor), "{text}");
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()), "{text}");
    let digests = [!digest, digest ^ 1, u64::from_be_bytes(other)];
    for digest in digests.into_iter().filter(|other| *other != digest) {
        assert!(
            Cursor::decode(&text, digest).is_err(),
            "{text} and {digest:x}"
        );
    }
    for at in 0..text.len() {
        let old = text.as_bytes()[at];
        let replaced = [other[at % 8] & 0x7f, old ^ 1, old ^ 0x20, b'+', b'0'];
        for new in replaced.into_iter().filter(|new| *new != old) {
            let mut changed = text.clone().into_bytes();
            changed[at] = new;
            let changed = String::from_utf8(changed).unwrap_or_default();
            assert!(
                Cursor::decode(&changed, digest).is_err(),
                "{changed} for {text}"
            );
        }
        assert!(
            Cursor::decode(&text[..at], digest).is_err(),
            "{}",
            &text[..at]
        );
        let longer = format!("{}0{}", &text[..at], &text[at..]);
        assert!(Cursor::decode(&longer, digest).is_err(), "{longer}");
    }
}
