//! Values that the database stores as another type than their column's.

use std::borrow::Cow;

use super::raw_value::unquoted;
use crate::table::columns::{Column, ColumnType};

/// Writes a packed value as its column's type. A column of the key takes no `null`.
///
/// # Errors
/// What was expected, in words that follow the value.
pub fn convert<'a>(value: &'a [u8], column: &Column) -> Result<Cow<'a, [u8]>, &'static str> {
    match (value, column.column_type) {
        (b"null", _) if !column.is_key => Ok(Cow::Borrowed(value)),
        ([b'"', ..], ColumnType::Text) => match serde_json::from_slice::<String>(value) {
            Ok(_) => Ok(Cow::Borrowed(value)),
            Err(_) => Err("not text that JSON can hold"),
        },
        (_, ColumnType::Text) => match value.iter().all(|b| in_number_or_name(*b)) {
            true if !value.is_empty() => Ok(Cow::Owned([b"\"", value, b"\""].concat())),
            _ => Err("neither number nor text"),
        },
        (_, ColumnType::Integer) => {
            let text = unquoted(value).ok_or("not an integer")?;
            let parsed = text.trim().parse().ok();
            let integer: Option<i64> = match value {
                [b'"', ..] => parsed,
                _ => parsed.or_else(|| text.parse().ok().and_then(whole)),
            };
            let integer = integer.ok_or("not an integer")?;
            Ok(Cow::Owned(integer.to_string().into_bytes()))
        }
    }
}

/// Whether SQLite writes this byte in a number, in `true` or in `false`.
fn in_number_or_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// SQLite writes 15 digits of a REAL in JSON. A larger REAL may have lost digits.
const EXACT: f64 = 1e15;

/// The integer that a number with a fraction or an exponent stands for, if it stands for one.
fn whole(real: f64) -> Option<i64> {
    let fits = real.abs() < EXACT;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it fits and has no fraction"
    )]
    (fits && real.fract() == 0.0).then_some(real as i64)
}
