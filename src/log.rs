//! Lines to standard error, which the host keeps as the component's log.
//!
//! A line that cannot be written is dropped: the host may have closed the stream, and `eprintln!` would panic.

use std::cell::Cell;
use std::fmt::Arguments;
use std::io::Write as _;

thread_local! {
    static NOTICES: Cell<bool> = const { Cell::new(true) };
}

/// Writes one line on what an operator has set up and is to look at, unless notices are off.
pub fn notice(text: Arguments<'_>) {
    if NOTICES.get() {
        line(text);
    }
}

/// Switches notices on or off for this instance. An instance that serves one request would repeat them with each.
pub fn set_notices(on: bool) {
    NOTICES.set(on);
}

/// Writes one line. Line breaks, other control characters and characters that disguise a line become spaces.
pub fn line(text: Arguments<'_>) {
    let line: String = text
        .to_string()
        .chars()
        .map(printable)
        .chain(['\n'])
        .collect();
    _ = std::io::stderr().write_all(line.as_bytes());
}

fn printable(c: char) -> char {
    // Line and paragraph separators, marks that change the direction of text, and characters without width (Unicode,
    // general categories Zl, Zp and Cf).
    let is_disguise = matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    );
    if c.is_control() || is_disguise {
        ' '
    } else {
        c
    }
}
