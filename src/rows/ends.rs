//! The first and the last record of a packed page: their keys, and the page without its last record.

use super::raw_value::RawValue;
use super::reader::next_value;
use crate::table::key::RowKey;

/// The key of the first record of `packed`; `None` as for [`last_key`].
pub fn first_key(packed: &[u8]) -> Option<RowKey> {
    let (id, _, rest) = next_value(packed.strip_prefix(b"[")?)?;
    let (time, ..) = next_value(rest)?;
    Some(RowKey {
        time: integer(time)?,
        id: integer(id)?,
    })
}

/// The key of the last record of `packed`, found from the end.
///
/// `None` when `packed` is empty or that record has no integer `id` and `time`. Reading the page then tells why.
pub fn last_key(packed: &[u8]) -> Option<RowKey> {
    first_key(packed.get(last_record(packed)?..)?)
}

/// `packed` without its last record; `None` when it has none.
pub fn without_last(packed: &[u8]) -> Option<Vec<u8>> {
    let before = packed.get(..last_record(packed)?)?;
    Some(before.strip_suffix(b",").unwrap_or(before).to_vec())
}

/// The offset of the last record of `packed`.
fn last_record(packed: &[u8]) -> Option<usize> {
    let mut before = packed.strip_suffix(b"]")?;
    loop {
        let (last, head) = before.split_last()?;
        match last {
            b'"' => before = before_string(head)?,
            b'[' => return Some(head.len()),
            _ => before = head,
        }
    }
}

/// What stands before the string whose content `head` ends in.
///
/// A quote inside a string is escaped by an odd number of backslashes. The nearest quote behind an even number of
/// them opens the string.
fn before_string(mut head: &[u8]) -> Option<&[u8]> {
    loop {
        let quote = head.iter().rposition(|b| *b == b'"')?;
        head = head.get(..quote)?;
        let backslashes = head.iter().rev().take_while(|b| **b == b'\\').count();
        if backslashes.is_multiple_of(2) {
            return Some(head);
        }
    }
}

fn integer(value: RawValue<'_>) -> Option<i64> {
    std::str::from_utf8(value.bytes()).ok()?.parse().ok()
}
