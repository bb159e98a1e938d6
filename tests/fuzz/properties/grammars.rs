//! The texts of one line that a client sends, each with an oracle of its own. The first byte of the input chooses.

use super::{Property, accept, accept_encoding, cursor, if_none_match};

/// The oracles by the digit that chooses them.
const ORACLES: [Property; 4] = [
    cursor::check,
    accept::check,
    accept_encoding::check,
    if_none_match::check,
];

/// Holds the text behind the first byte against its oracle.
pub fn check(bytes: &[u8]) {
    if let Some((first, text)) = bytes.split_first() {
        ORACLES[usize::from(*first) % ORACLES.len()](text);
    }
}
