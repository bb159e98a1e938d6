//! `xml`: one document of `<record>` elements, a record a line; no attributes, no namespace.
//!
//! A null has no element. XML 1.0 cannot hold most control characters, even escaped (section 2.2): they
//! become U+FFFD. A carriage return is escaped, or a parser would read it as a line feed (2.11).

use quick_xml::escape::partial_escape;

use super::FormatInfo;
use super::text::{Label, Naming, Padded, TextFormat};
use crate::rows::raw_value::{RawValue, unquoted};

pub(super) const INFO: FormatInfo = FormatInfo {
    name: "xml",
    media_type: "application/xml",
    media_type_parameters: "",
    aliases: &["text/xml"],
};

pub(super) struct Xml;

impl TextFormat for Xml {
    const NAMING: Naming = Naming {
        first: "<record><",
        next: "<",
        behind: ">",
        closing: Some("</"),
    };
    const OPEN: &'static [u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n";
    const BETWEEN: Padded = Padded::new(&["\n"]);
    const CLOSE: &'static [u8] = b"\n</records>";
    const EMPTY: &'static [u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records/>";
    // The declaration has to stand first.
    const BLANK_BEHIND: u64 = 1;
    const END_RECORD: Padded = Padded::new(&["</record>"]);

    #[inline(always)]
    fn fast_value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        label.before.append_to(out);
        value.content().unwrap_or(value).append_to(out);
        if label.is_last {
            label.after.append_to(out);
        }
    }

    /// Text that needs no escape is copied. JSON has escaped control characters by a backslash; U+FFFE and U+FFFF
    /// start with the byte 0xEF.
    fn value(label: &Label, value: RawValue<'_>, out: &mut Vec<u8>) {
        if label.is_first {
            out.extend_from_slice(b"<record>");
        }
        if value.bytes() == b"null" {
            return;
        }
        out.push(b'<');
        out.extend_from_slice(label.name.as_bytes());
        out.push(b'>');
        match value.content() {
            Some(content) if content.has_any(b"\\<>&\xEF") => escaped(value, out),
            content => content.unwrap_or(value).append_to(out),
        }
        label.after.append_to(out);
    }
}

#[cold]
fn escaped(value: RawValue<'_>, out: &mut Vec<u8>) {
    let text: String = unquoted(value.bytes())
        .unwrap_or_default()
        .chars()
        .map(allowed)
        .collect();
    out.extend_from_slice(partial_escape(&text).as_bytes());
}

/// The character itself, or U+FFFD where XML 1.0 does not allow it (section 2.2, production `Char`).
pub fn allowed(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => c,
        _ => '\u{FFFD}',
    }
}
