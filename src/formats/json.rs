//! `json`: one array, a record a line. A packed value is JSON already.
//!
//! Some readers, such as Python's `splitlines`, take U+0085, U+2028 and U+2029 for line ends. They are escaped, so
//! that a record stays one line to any reader.

use super::FormatInfo;
use super::text::{Label, Naming, Padded, TextFormat};
use crate::rows::raw_value::RawValue;

pub(super) const INFO: FormatInfo = FormatInfo {
    name: "json",
    media_type: "application/json",
    media_type_parameters: "",
    aliases: &[],
};

pub(super) struct Json;

impl TextFormat for Json {
    const NAMING: Naming = NAMING;
    const OPEN: &'static [u8] = b"[";
    const BETWEEN: Padded = Padded::new(&[",\n"]);
    const CLOSE: &'static [u8] = b"]";
    const EMPTY: &'static [u8] = b"[]";
    const BLANK_BEHIND: u64 = 0;
    const END_RECORD: Padded = Padded::new(&["}"]);

    #[inline(always)]
    fn fast_value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        fast_member(label, value, out);
    }

    fn value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        member(label, value, out);
    }
}

/// The keys of an object.
pub(super) const NAMING: Naming = Naming {
    first: "{\"",
    next: ",\"",
    behind: "\":",
    closing: None,
};

/// A member of an object, whose value is copied.
#[inline(always)]
pub(super) fn fast_member(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
    label.before.append_to(out);
    value.append_to(out);
}

/// A member of an object. U+0085 starts with the byte 0xC2, U+2028 and U+2029 start with 0xE2.
pub(super) fn member(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
    label.before.append_to(out);
    if value.has_any(b"\xC2\xE2") {
        escaped(value.bytes(), out);
    } else {
        value.append_to(out);
    }
}

#[cold]
fn escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((first, rest)) = bytes.split_first() {
        let (text, behind): (&[u8], _) = match bytes {
            [0xC2, 0x85, behind @ ..] => (b"\\u0085", behind),
            [0xE2, 0x80, 0xA8, behind @ ..] => (b"\\u2028", behind),
            [0xE2, 0x80, 0xA9, behind @ ..] => (b"\\u2029", behind),
            _ => (std::slice::from_ref(first), rest),
        };
        out.extend_from_slice(text);
        bytes = behind;
    }
}
