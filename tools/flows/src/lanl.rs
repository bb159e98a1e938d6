//! One line of LANL's `flows.txt` (Kent 2015, doi 10.17021/1179829): nine fields between commas, no
//! header, no quoting.
//!
//! Parsing copies nothing: a [`Flow`] holds the numbers, and ranges of bytes for the texts. The caller finds
//! the ends of lines and decides what becomes of a bad line.

use std::fmt;
use std::ops::Range;

/// The columns in the order of the file, named as in the database.
pub const FIELDS: [&str; 9] = [
    "time",
    "duration",
    "src_comp",
    "src_port",
    "dst_comp",
    "dst_port",
    "protocol",
    "packet_count",
    "byte_count",
];

/// Longest line that is parsed, in bytes without its end. Published lines have about 45. The limit bounds the
/// memory for a file without line ends.
pub const MAX_LINE: usize = 1024 * 1024;

/// Longest value in a message; a longer one is truncated.
const SHOWN_CHARS: usize = 60;

/// One parsed line. Texts are ranges of bytes in the line, which is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Seconds since the start of the data set.
    pub time: i64,
    /// Seconds.
    pub duration: i64,
    /// Source computer.
    pub src_comp: Range<u32>,
    /// Source port: a number or a name.
    pub src_port: Range<u32>,
    /// Destination computer.
    pub dst_comp: Range<u32>,
    /// Destination port: a number or a name.
    pub dst_port: Range<u32>,
    /// IANA protocol number.
    pub protocol: i64,
    /// Packets.
    pub packet_count: i64,
    /// Bytes.
    pub byte_count: i64,
}

/// Why a line is no flow. The message names the field at fault and the value found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// Nothing between two line ends.
    Empty,
    /// More than [`MAX_LINE`] bytes.
    TooLong,
    /// Another number of fields than nine.
    FieldCount(usize),
    /// The byte at this column, counted from 1, is not UTF-8.
    NotUtf8(usize),
    /// A field without a value, by its name.
    EmptyField(&'static str),
    /// A field with a quotation mark in it, by its name and value.
    Quoted(&'static str, String),
    /// A number field that holds no integer, by its name and value.
    NotAnInteger(&'static str, String),
    /// A number field beyond 64 bits, by its name and value.
    OutOfRange(&'static str, String),
    /// An earlier load took the line as the last of its input, without a line end; now the line is longer.
    Grown,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the line is empty, expected {} fields", FIELDS.len()),
            Self::TooLong => write!(f, "the line is longer than {MAX_LINE} bytes"),
            Self::FieldCount(found) => write!(f, "expected {} fields, found {found}", FIELDS.len()),
            Self::NotUtf8(column) => write!(f, "the line is not UTF-8 at byte {column}"),
            Self::EmptyField(name) => write!(f, "{name} is empty"),
            Self::Quoted(name, value) => {
                write!(
                    f,
                    "{name} holds a quotation mark, which no field here may: {value}"
                )
            }
            Self::NotAnInteger(name, value) => write!(f, "{name} is not an integer: {value:?}"),
            Self::OutOfRange(name, value) => {
                write!(f, "{name} does not fit into 64 bits: {value:?}")
            }
            Self::Grown => write!(
                f,
                "the line was loaded when it was the last and had no end, and now goes on"
            ),
        }
    }
}

impl std::error::Error for BadLine {}

/// Parses one line, given without its end.
///
/// # Errors
/// The first fault of the line, from left to right.
pub fn parse(line: &[u8]) -> Result<Flow, BadLine> {
    if line.is_empty() {
        return Err(BadLine::Empty);
    }
    if line.len() > MAX_LINE {
        return Err(BadLine::TooLong);
    }
    if let Err(error) = std::str::from_utf8(line) {
        return Err(BadLine::NotUtf8(error.valid_up_to() + 1));
    }
    if let Some(mark) = memchr::memchr(b'"', line) {
        return Err(quoted(line, mark));
    }
    let fields = Fields::split(line)?;
    Ok(Flow {
        time: fields.integer(0)?,
        duration: fields.integer(1)?,
        src_comp: fields.text(2)?,
        src_port: fields.text(3)?,
        dst_comp: fields.text(4)?,
        dst_port: fields.text(5)?,
        protocol: fields.integer(6)?,
        packet_count: fields.integer(7)?,
        byte_count: fields.integer(8)?,
    })
}

/// The error for a quotation mark at byte `mark`.
///
/// Quoted fields are refused, not unquoted: LANL's format has no quoting, so the comma in `"a,b"` ends a field.
fn quoted(line: &[u8], mark: usize) -> BadLine {
    let commas = memchr::memchr_iter(b',', &line[..mark]).count();
    let start = memchr::memrchr(b',', &line[..mark]).map_or(0, |comma| comma + 1);
    let end = memchr::memchr(b',', &line[mark..]).map_or(line.len(), |length| mark + length);
    let name = FIELDS[commas.min(FIELDS.len() - 1)];
    BadLine::Quoted(name, shown(&line[start..end]))
}

/// A line and the start of each of its nine fields. The tenth start lies one past the end of the line.
struct Fields<'a> {
    line: &'a [u8],
    starts: [u32; FIELDS.len() + 1],
}

impl<'a> Fields<'a> {
    fn split(line: &'a [u8]) -> Result<Self, BadLine> {
        let mut starts = [0; FIELDS.len() + 1];
        let mut found = 0;
        for (position, &byte) in line.iter().enumerate() {
            if byte == b',' {
                found += 1;
                if found < FIELDS.len() {
                    starts[found] = position as u32 + 1;
                }
            }
        }
        if found + 1 != FIELDS.len() {
            return Err(BadLine::FieldCount(found + 1));
        }
        starts[FIELDS.len()] = line.len() as u32 + 1;
        Ok(Self { line, starts })
    }

    fn text(&self, field: usize) -> Result<Range<u32>, BadLine> {
        let range = self.starts[field]..self.starts[field + 1] - 1;
        if range.is_empty() {
            return Err(BadLine::EmptyField(FIELDS[field]));
        }
        Ok(range)
    }

    fn integer(&self, field: usize) -> Result<i64, BadLine> {
        let range = self.text(field)?;
        let value = &self.line[range.start as usize..range.end as usize];
        let digits = value.strip_prefix(b"-").unwrap_or(value);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadLine::NotAnInteger(FIELDS[field], shown(value)));
        }
        let sign = if digits.len() < value.len() { -1 } else { 1 };
        digits
            .iter()
            .try_fold(0_i64, |sum, digit| {
                sum.checked_mul(10)?
                    .checked_add(sign * i64::from(digit - b'0'))
            })
            .ok_or_else(|| BadLine::OutOfRange(FIELDS[field], shown(value)))
    }
}

fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "1,0,C1065,389,C3799,N10451,6,10,5323";

    /// `GOOD` with one field replaced.
    fn with(field: &str, value: &str) -> String {
        let position = FIELDS.iter().position(|&name| name == field).unwrap();
        let mut values: Vec<&str> = GOOD.split(',').collect();
        values[position] = value;
        values.join(",")
    }

    #[track_caller]
    fn assert_bad(line: impl AsRef<[u8]>, message: &str) {
        let line = line.as_ref();
        let found = parse(line).map_err(|bad| bad.to_string());
        assert_eq!(
            found,
            Err(message.to_owned()),
            "line: {:?}",
            String::from_utf8_lossy(line)
        );
    }

    #[test]
    fn a_published_line_gives_its_nine_fields() {
        let flow = parse(GOOD.as_bytes()).unwrap();
        let text = |range: &Range<u32>| &GOOD[range.start as usize..range.end as usize];
        assert_eq!(
            (
                flow.time,
                flow.duration,
                flow.protocol,
                flow.packet_count,
                flow.byte_count
            ),
            (1, 0, 6, 10, 5323)
        );
        assert_eq!(
            [
                &flow.src_comp,
                &flow.src_port,
                &flow.dst_comp,
                &flow.dst_port
            ]
            .map(text),
            ["C1065", "389", "C3799", "N10451"]
        );
    }

    #[test]
    fn the_ends_of_64_bits_are_numbers() {
        for value in [i64::MIN, i64::MAX] {
            let line = with("byte_count", &value.to_string());
            assert_eq!(parse(line.as_bytes()).unwrap().byte_count, value);
        }
    }

    #[test]
    fn a_bad_line_names_the_field_and_its_value() {
        assert_bad("", "the line is empty, expected 9 fields");
        assert_bad("1,0,C1", "expected 9 fields, found 3");
        assert_bad(format!("{GOOD},"), "expected 9 fields, found 10");
        assert_bad(with("time", "1.5"), "time is not an integer: \"1.5\"");
        assert_bad(with("duration", "+1"), "duration is not an integer: \"+1\"");
        assert_bad(with("protocol", " 6"), "protocol is not an integer: \" 6\"");
        assert_bad(
            with("packet_count", "-"),
            "packet_count is not an integer: \"-\"",
        );
        assert_bad(
            with("byte_count", "9223372036854775808"),
            "byte_count does not fit into 64 bits: \"9223372036854775808\"",
        );
        assert_bad(with("src_comp", ""), "src_comp is empty");
        for (field, value) in [
            ("time", "\"1\""),
            ("src_comp", "\"C1\""),
            ("dst_port", "8\"0"),
        ] {
            assert_bad(
                with(field, value),
                &format!("{field} holds a quotation mark, which no field here may: {value}"),
            );
        }
        assert_bad(
            with("src_comp", "\"C1,x\""),
            "src_comp holds a quotation mark, which no field here may: \"C1",
        );
        assert_bad(with("dst_port", ""), "dst_port is empty");
        assert_bad(b"1,0,C\xff,1,C2,2,6,1,1", "the line is not UTF-8 at byte 6");
        assert_bad(
            vec![b'1'; MAX_LINE + 1],
            "the line is longer than 1048576 bytes",
        );
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let message = parse(with("time", &"x".repeat(1000)).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(message.len() < 100 && message.ends_with("…\""), "{message}");
    }
}
