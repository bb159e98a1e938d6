//! The records of a page, taken out of the text that SQLite packed them into.
//!
//! A page arrives as JSON arrays with a comma between them, written by SQLite's `json_array`:
//! `[1,1,0,"C1065","389",…],[2,…]`, without white space. This module cuts it into the pieces of each
//! record without decoding them: a piece that is valid in the output is copied as it stands. It checks
//! what it relies on and knows nothing of SQL.
//!
//! RecordReader are taken in two ways. One that is *plain* goes by [`crate::scan`], many bytes at once; any other
//! is looked at value by value.

use std::borrow::Cow;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::flow::{FIELDS, Kind, WIDTH};
use crate::scan::{self, Scan};

/// One value of a record, as it stands in the packed text: an integer's digits, a JSON string with its
/// quotes, or `null`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawValue<'a> {
    /// The packed text from the piece's start on: what stands behind the piece may be copied along.
    text: &'a [u8],
    length: usize,
}

impl<'a> RawValue<'a> {
    /// The piece's bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// The content of a string, with its escapes and without its quotes; `None` for another piece.
    #[inline(always)]
    pub fn content(self) -> Option<Self> {
        let (b'"', text) = self.text.split_first()? else {
            return None;
        };
        Some(Self {
            text,
            length: self.length.saturating_sub(2),
        })
    }

    /// Whether one of the piece's bytes is among `special`.
    pub fn has_any(self, special: &[u8]) -> bool {
        self.bytes().iter().any(|byte| special.contains(byte))
    }

    /// Appends the piece's bytes.
    ///
    /// Nearly all pieces are short. A copy of 16 bytes, of which the surplus is cut off again, is two
    /// moves; a copy of just the piece is a call of the host's `memory.copy`.
    #[inline(always)]
    pub fn append_to(self, out: &mut Vec<u8>) {
        match self.text.first_chunk::<16>() {
            Some(chunk) if self.length <= 16 => append(out, chunk, self.length),
            _ => out.extend_from_slice(self.bytes()),
        }
    }
}

/// Appends the first `length` bytes of a chunk whose size the compiler knows.
#[inline(always)]
pub fn append<const N: usize>(out: &mut Vec<u8>, chunk: &[u8; N], length: usize) {
    let end = out.len().saturating_add(length);
    out.extend_from_slice(chunk);
    out.truncate(end);
}

/// A record: its pieces in the order of [`FIELDS`].
///
/// Integer fields hold an integer and text fields a string, whatever the database stores; either may be
/// `null`, `id` and `time` excepted.
pub type Record<'a> = [RawValue<'a>; WIDTH];

/// Walks the records of a packed page.
pub struct RecordReader<'a> {
    packed: &'a [u8],
    /// Where the next record starts.
    at: usize,
    scan: Scan,
    /// Records still to come, by the database's own count.
    left: i64,
    /// The pieces of a record in which the database stores a value as another type.
    converted: Vec<Cow<'a, [u8]>>,
}

impl<'a> RecordReader<'a> {
    /// Starts at the first record of `packed`, which holds `count` of them.
    ///
    /// # Errors
    /// When `packed` is not UTF-8: SQLite stores any bytes as text.
    pub fn new(packed: &'a [u8], count: i64) -> Result<Self> {
        let ascii = scan::ascii_prefix(packed);
        let rest = packed.get(ascii..).unwrap_or_default();
        if let Err(error) = std::str::from_utf8(rest) {
            let valid = ascii.saturating_add(error.valid_up_to());
            let valid = packed.get(..valid).unwrap_or_default();
            bail!(
                "text that is not UTF-8 in the flow {}",
                behind_last_whole(valid)
            );
        }
        Ok(Self::over(packed, count))
    }

    fn over(packed: &'a [u8], count: i64) -> Self {
        Self {
            packed,
            at: 0,
            scan: Scan::at(0),
            left: count,
            converted: Vec::new(),
        }
    }

    /// Hands over the pieces of the next record, each with its field's number, if that record is plain: every
    /// value of its field's type, and every text such that any format can copy it as it stands, but for CSV's
    /// quotes around none.
    ///
    /// `false` behind the last record as well, and where the record is not plain, which shows only when some
    /// of its pieces may have been handed over. [`Self::record`] then takes it.
    #[inline(always)]
    pub fn fast_record(&mut self, mut take: impl FnMut(usize, RawValue<'a>)) -> bool {
        self.read_fast(&mut take).is_some()
    }

    // What this calls is to be written in here: left alone, the compiler calls it, and a record of JSON takes
    // 158 ns instead of 137.
    #[inline(always)]
    fn read_fast(&mut self, take: &mut impl FnMut(usize, RawValue<'a>)) -> Option<()> {
        if self.packed.get(self.at) != Some(&b'[') {
            return None;
        }
        let mut start = self.at.wrapping_add(1);
        let mut end = self.at;
        for (i, field) in FIELDS.iter().enumerate() {
            end = self.scan.next_end(self.packed)?;
            let text = self.packed.get(start..)?;
            let length = end.wrapping_sub(start);
            let exact = match (field.kind, text.first()) {
                (Kind::Text, Some(b'"')) => true,
                (Kind::Integer, Some(b'1'..=b'9')) => length < MOST.len(),
                (Kind::Integer, Some(b'0')) => length == 1,
                (Kind::Integer, Some(b'-')) => {
                    matches!(text.get(1), Some(b'1'..=b'9')) && length < MOST.len()
                }
                _ => false,
            };
            if !exact {
                return None;
            }
            take(i, RawValue { text, length });
            start = end.wrapping_add(1);
        }
        if self.packed.get(end) != Some(&b']') {
            return None;
        }
        if let Some(comma) = self.packed.get(start) {
            if *comma != b',' || self.scan.next_end(self.packed) != Some(start) {
                return None;
            }
            start = start.wrapping_add(1);
        }
        self.at = start;
        self.left = self.left.wrapping_sub(1);
        Some(())
    }

    /// The next record, or `None` behind the last one.
    ///
    /// # Errors
    /// A value that cannot be written as its field's type; the message names the flow and the field. A page
    /// that does not hold as many records as the database has counted.
    pub fn record(&mut self) -> Result<Option<Record<'_>>> {
        let rest = self.packed.get(self.at..).unwrap_or_default();
        let Some(mut rest) = rest.strip_prefix(b"[") else {
            ensure!(rest.is_empty(), "a page whose records are not arrays");
            ensure!(
                self.left == 0,
                "a page with another number of flows than were counted"
            );
            return Ok(None);
        };
        let start = rest;
        let mut record = Record::default();
        let mut exact = true;
        for (i, (piece, field)) in record.iter_mut().zip(&FIELDS).enumerate() {
            let shape;
            (*piece, shape, rest) = next_piece(rest).with_context(|| {
                let id = next_piece(start).map(|(id, ..)| id.bytes());
                let id = String::from_utf8_lossy(id.unwrap_or(b"?"));
                format!("flow {id}: {} is neither number nor text", field.name)
            })?;
            exact &= shape == Some(field.kind) || (i >= KEYS && piece.bytes() == b"null");
        }
        // Behind a record's last piece its bracket has been taken; a comma parts it from the next.
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        self.at = self.packed.len().saturating_sub(rest.len());
        self.scan = Scan::at(self.at);
        self.left = self.left.wrapping_sub(1);
        if exact {
            return Ok(Some(record));
        }
        self.convert(record).map(Some)
    }

    /// Rewrites the pieces that the database stores as another type than the field's.
    #[cold]
    fn convert(&mut self, record: Record<'a>) -> Result<Record<'_>> {
        self.converted.clear();
        for (i, (piece, field)) in record.iter().zip(&FIELDS).enumerate() {
            let piece = piece.bytes();
            let converted = convert(piece, field.kind, i < KEYS).map_err(|what| {
                let id = record.first().map(|id| id.bytes()).unwrap_or_default();
                let (id, value) = (
                    String::from_utf8_lossy(id),
                    piece.get(..64).unwrap_or(piece),
                );
                let value = String::from_utf8_lossy(value);
                anyhow!("flow {id}: {} is {value}, {what}", field.name)
            })?;
            self.converted.push(converted);
        }
        let mut out = record;
        for (slot, piece) in out.iter_mut().zip(&self.converted) {
            *slot = RawValue {
                text: piece,
                length: piece.len(),
            };
        }
        Ok(out)
    }
}

/// Fields at the start of a record that are its place, `id` and `time`: none of them may be null.
const KEYS: usize = 2;

/// Writes a piece as a value of `kind`; an error says what was expected. No key may be null.
fn convert(piece: &[u8], kind: Kind, key: bool) -> Result<Cow<'_, [u8]>, &'static str> {
    match (piece, kind) {
        (b"null", _) if !key => Ok(Cow::Borrowed(piece)),
        ([b'"', ..], Kind::Text) => match serde_json::from_slice::<String>(piece) {
            Ok(_) => Ok(Cow::Borrowed(piece)),
            Err(_) => Err("not text that JSON can hold"),
        },
        (_, Kind::Text) => match piece.iter().all(|b| in_number_or_name(*b)) {
            true if !piece.is_empty() => Ok(Cow::Owned([b"\"", piece, b"\""].concat())),
            _ => Err("neither number nor text"),
        },
        (_, Kind::Integer) => {
            let text = unquoted(piece).ok_or("not an integer")?;
            let integer = text.trim().parse().ok();
            let value = match piece {
                [b'"', ..] => integer,
                _ => integer.or_else(|| text.parse().ok().and_then(whole)),
            };
            Ok(Cow::Owned(
                value.ok_or("not an integer")?.to_string().into_bytes(),
            ))
        }
    }
}

/// Whether numbers, `true` and `false` have this byte as SQLite writes them.
fn in_number_or_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// SQLite writes 15 digits of a REAL in JSON: from here on its value is not known.
const EXACT: f64 = 1e15;

/// The integer that a number with a fraction or an exponent stands for, if it is one.
fn whole(real: f64) -> Option<i64> {
    let fits = real.abs() < EXACT;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it fits and has no fraction"
    )]
    (fits && real.fract() == 0.0).then_some(real as i64)
}

/// The text of a piece: a string's content, or a number as it stands.
pub fn unquoted(piece: &[u8]) -> Option<Cow<'_, str>> {
    match piece {
        [b'"', content @ .., b'"'] if !content.contains(&b'\\') => {
            std::str::from_utf8(content).ok().map(Cow::Borrowed)
        }
        [b'"', ..] => serde_json::from_slice(piece).ok().map(Cow::Owned),
        _ => std::str::from_utf8(piece).ok().map(Cow::Borrowed),
    }
}

/// Takes one piece off the front, and the comma or bracket behind it. Tells which kind of field it can
/// be copied into as it stands.
///
/// `None` when the text ends first, or holds what a record cannot hold (an array, an object).
fn next_piece(text: &[u8]) -> Option<(RawValue<'_>, Option<Kind>, &[u8])> {
    let (length, kind) = match text.first()? {
        b'"' => end_of_string(text)?,
        b'[' | b'{' => return None,
        _ => {
            let length = text.iter().position(|b| matches!(b, b',' | b']'))?;
            (
                length,
                is_integer(text.get(..length)?).then_some(Kind::Integer),
            )
        }
    };
    let (b',' | b']', rest) = text.get(length..)?.split_first()? else {
        return None;
    };
    Some((RawValue { text, length }, kind, rest))
}

/// The offset behind the closing quote of the string that `text` starts with, and whether it is text as it
/// stands.
///
/// A BLOB that is SQLite's binary JSON of a text is packed unchecked: it may hold control characters, or
/// escapes of which nothing can be made.
fn end_of_string(text: &[u8]) -> Option<(usize, Option<Kind>)> {
    let mut kind = Some(Kind::Text);
    let mut escaped = false;
    for (i, byte) in text.iter().enumerate().skip(1) {
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' if escaped => escaped = false,
            _ if escaped => (kind, escaped) = (None, false),
            b'\\' => escaped = true,
            b'"' => return Some((i.checked_add(1)?, kind)),
            ..b' ' => kind = None,
            _ => {}
        }
    }
    None
}

/// The largest integer.
const MOST: &[u8; 19] = b"9223372036854775807";

/// Whether a piece is an integer as it stands. One with leading zeros, or beyond 64 bits, or the least of
/// them, has to be looked at closely.
fn is_integer(piece: &[u8]) -> bool {
    let digits = piece.strip_prefix(b"-").unwrap_or(piece);
    let fits = match digits.len() {
        1..=18 => true,
        19 => digits.first_chunk() <= Some(MOST),
        _ => false,
    };
    let leading = digits.len() > 1 && digits.first() == Some(&b'0');
    fits && !leading && digits.iter().all(u8::is_ascii_digit)
}

/// A place in the order of `(time, id)`: that of the last record already sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    /// Seconds.
    pub time: i64,
    /// The flow's id.
    pub id: i64,
}

/// The position of the last record of `packed`, without walking the others.
///
/// `None` when `packed` is empty or its last record has no integer `id` and `time`; walking the page then
/// tells why.
pub fn last_key(packed: &[u8]) -> Option<RowKey> {
    key_of(packed.get(last_record(packed)?..)?)
}

/// The position of the first record of `packed`; `None` as for [`last_key`].
pub fn first_key(packed: &[u8]) -> Option<RowKey> {
    key_of(packed)
}

/// The position of the record that `text` starts with, its bracket included.
pub fn key_of(text: &[u8]) -> Option<RowKey> {
    position(text.strip_prefix(b"[")?)
}

/// `packed` without its last record; `None` when it has none.
pub fn without_last(packed: &[u8]) -> Option<Vec<u8>> {
    let before = packed.get(..last_record(packed)?)?;
    Some(before.strip_suffix(b",").unwrap_or(before).to_vec())
}

/// Where the last record of `packed` starts.
///
/// Read from the end: a string's opening quote is the nearest one to the left of its closing quote that
/// an even number of backslashes precedes, since every quote inside it is escaped.
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

/// The position of the record whose pieces `pieces` starts with.
fn position(pieces: &[u8]) -> Option<RowKey> {
    let (id, _, rest) = next_piece(pieces)?;
    let (time, ..) = next_piece(rest)?;
    Some(RowKey {
        time: integer(time)?,
        id: integer(id)?,
    })
}

/// What stands before the string whose closing quote has just been taken off `head`.
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

fn integer(piece: RawValue<'_>) -> Option<i64> {
    std::str::from_utf8(piece.bytes()).ok()?.parse().ok()
}

/// Says where a fault lies: behind the last record that stands whole in `valid`.
fn behind_last_whole(valid: &[u8]) -> String {
    let mut records = RecordReader::over(valid, 0);
    let mut place = "at the start of a page".to_owned();
    while let Ok(Some([id, ..])) = records.record() {
        place = format!("behind flow {}", String::from_utf8_lossy(id.bytes()));
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"[7,3,0,"C1","N1","C2","443",6,10,5323]"#;

    /// The records of a page that was counted right.
    fn records(packed: &str) -> Result<Vec<Vec<String>>> {
        let counted = |count| counted_records(packed, count);
        (0..3)
            .map(counted)
            .find(|r| r.is_ok())
            .unwrap_or_else(|| counted(1))
    }

    fn counted_records(packed: &str, count: i64) -> Result<Vec<Vec<String>>> {
        let mut records = RecordReader::new(packed.as_bytes(), count)?;
        let mut all = Vec::new();
        loop {
            let mut pieces = Vec::new();
            if !records.fast_record(|_, piece| pieces.push(text(piece))) {
                let Some(record) = records.record()? else {
                    return Ok(all);
                };
                pieces = record.into_iter().map(text).collect();
            }
            all.push(pieces);
        }
    }

    fn text(piece: RawValue<'_>) -> String {
        String::from_utf8(piece.bytes().to_vec()).unwrap()
    }

    /// How many records at the start of a page are plain.
    fn plain(packed: &str) -> usize {
        let mut records = RecordReader::new(packed.as_bytes(), 0).unwrap();
        std::iter::from_fn(|| records.fast_record(|_, _| {}).then_some(())).count()
    }

    #[test]
    fn a_record_is_plain_wherever_it_stands_and_one_odd_byte_takes_that_from_it() {
        let record =
            |comp: &str| format!(r#"[7,-3,0,"{comp}","","C2: /ä{{}}","-443",6,10,1234567890]"#);
        for length in 0..130 {
            let comp = "x".repeat(length);
            let three = [record(&comp), ONE.to_owned(), record("")].join(",");
            assert_eq!(plain(&three), 3, "{three}");
            assert_eq!(counted_records(&three, 3).unwrap()[2][9], "1234567890");
            for odd in [
                ",", "&", "<", ">", "\\\\", "\\\"", "\n", "\u{0}", "\u{1f}", "\u{fffe}", "\u{85}",
                "\u{2028}", "\u{2029}",
            ] {
                let odd = record(&format!("{comp}{odd}"));
                assert_eq!(plain(&format!("{ONE},{odd},{ONE}")), 1, "{odd}");
            }
        }
        let numbers = [
            "null",
            "1.5",
            "1e3",
            "01",
            "-0",
            "--1",
            "1-1",
            "-",
            "",
            "+1",
            "[1]",
            "\"1\"",
            "1234567890123456789",
            "\"1\"1",
            "1\"1\"",
            "true",
            "{",
            "[",
            "1,2",
        ];
        let texts = [
            "C1",
            "\"C1\"\"",
            "\"C\"1",
            "\"C\"\"1\"",
            "\"C1",
            "1",
            "\"C1\",\"\"",
        ];
        let numbers = numbers.map(|odd| ONE.replace("5323", odd));
        let texts = texts.map(|odd| ONE.replace("\"C1\"", odd));
        for odd in numbers.iter().chain(&texts) {
            assert_eq!(plain(&format!("{ONE},{odd},{ONE}")), 1, "{odd}");
        }
        assert_eq!(plain(&format!("{ONE}{ONE}")), 0);
        assert_eq!(plain(&format!("{ONE}]{ONE}")), 0);
        assert_eq!(plain(&format!("{ONE},,{ONE}")), 1);
        assert_eq!(plain(&format!("{ONE},[{ONE}")), 1);
    }

    #[test]
    fn pieces_stand_as_sqlite_wrote_them() {
        let expected = [
            "7", "3", "0", r#""C1""#, r#""N1""#, r#""C2""#, r#""443""#, "6", "10", "5323",
        ];
        assert_eq!(records(ONE).unwrap(), [expected]);
        assert_eq!(records("").unwrap(), Vec::<Vec<String>>::new());
    }

    #[test]
    fn brackets_quotes_and_backslashes_inside_text_are_text() {
        let packed =
            r#"[1,1,0,"],[","\"","\\","a\\\"]]",6,1,1],[2,9,0,"","]]","\\\\\"","[[",6,1,1]"#;
        let all = records(packed).unwrap();
        assert_eq!(
            all[0][3..7],
            [r#""],[""#, r#""\"""#, r#""\\""#, r#""a\\\"]]""#]
        );
        assert_eq!(all[1][3..7], [r#""""#, r#""]]""#, r#""\\\\\"""#, r#""[[""#]);
        assert_eq!(last_key(packed.as_bytes()), Some(RowKey { time: 9, id: 2 }));
        let first = packed.split_once(",[2,9").unwrap().0.to_owned();
        assert_eq!(without_last(packed.as_bytes()).unwrap(), first.as_bytes());
        assert_eq!(without_last(first.as_bytes()).unwrap(), b"");
        assert_eq!(without_last(b""), None);
        assert_eq!(last_key(first.as_bytes()), Some(RowKey { time: 1, id: 1 }));
    }

    #[test]
    fn a_piece_ends_where_it_ends_however_long_it_is_and_whatever_follows() {
        for length in 0..40 {
            for (digit, letter) in [("7", "x"), ("0", "\u{e4}"), ("9", "/")] {
                // Up to 19 digits, as 64 bits hold them.
                let number = format!("1{}", digit.repeat(length.min(18)));
                let text = letter.repeat(length);
                for negative in ["", "-"] {
                    let packed = format!(
                        r#"[1,2,{negative}{number},"{text}","{text}\\","","\"{text}",4,5,{negative}{number}]"#
                    );
                    let record = records(&packed).unwrap().remove(0);
                    assert_eq!(record[2], format!("{negative}{number}"));
                    assert_eq!(record[3], format!("\"{text}\""));
                    assert_eq!(record[4], format!("\"{text}\\\\\""));
                    assert_eq!(record[6], format!("\"\\\"{text}\""));
                    assert_eq!(record[9], record[2]);
                }
            }
        }
    }

    #[test]
    fn an_appended_piece_brings_nothing_of_its_surroundings() {
        let mut records = RecordReader::new(ONE.as_bytes(), 1).unwrap();
        let record = records.record().unwrap().unwrap();
        for piece in record {
            let mut out = b"before".to_vec();
            piece.append_to(&mut out);
            assert_eq!(out, [b"before", piece.bytes()].concat());
        }
    }

    #[test]
    fn values_of_another_type_are_written_as_the_fields_type() {
        let packed = r#"["7","3",2.0,12,1.5,null,"x"," 6",null,"-9223372036854775808"]"#;
        let record = records(packed).unwrap().remove(0);
        let expected = [
            "7", "3", "2", r#""12""#, r#""1.5""#, "null", r#""x""#, "6", "null",
        ];
        assert_eq!(record[..9], expected);
        assert_eq!(record[9], "-9223372036854775808");
    }

    #[test]
    fn integers_reach_both_ends_of_64_bits_and_lose_leading_zeros() {
        for (piece, integer) in [
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775807", "-9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1000000000000000000", "1000000000000000000"),
            ("01", "1"),
            ("-007", "-7"),
            ("00000000000000000000000", "0"),
            ("0", "0"),
        ] {
            let record = records(&ONE.replace("5323", piece)).unwrap().remove(0);
            assert_eq!(record[9], integer);
        }
    }

    #[test]
    fn a_value_that_cannot_be_written_is_an_error_that_names_flow_and_field() {
        for (piece, what) in [
            ("1.5", "flow 7: byte_count is 1.5, not an integer"),
            ("\"many\"", "flow 7: byte_count is \"many\", not an integer"),
            ("9e999", "flow 7: byte_count is 9e999, not an integer"),
            ("1.0e+15", "flow 7: byte_count is 1.0e+15, not an integer"),
            ("\"9223372036854775808\"", "not an integer"),
            ("9223372036854775808", "not an integer"),
            ("-9223372036854775809", "not an integer"),
            ("99999999999999999999", "not an integer"),
        ] {
            let error = records(&ONE.replace("5323", piece))
                .unwrap_err()
                .to_string();
            assert!(error.contains(what), "{piece}: {error}");
        }
        for text in [
            r#""\ud800""#,
            r#""\u12""#,
            r#""\x""#,
            "\"\n\"",
            "\"\u{1f}somewhat longer\"",
            "\"\\\n\"",
            "1\"2",
        ] {
            let error = records(&ONE.replace("\"C1\"", text)).unwrap_err();
            let error = error.to_string();
            let what = format!("flow 7: src_comp is {text}, n");
            assert!(error.starts_with(&what), "{text}: {error}");
        }
        let error = records(&ONE.replace("[7,3", "[7,null"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "flow 7: time is null, not an integer");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_an_error_that_says_where() {
        let mut packed = ONE.replace("]", "],[8,4,0,\"").into_bytes();
        packed.extend(b"\xff\",\"\",\"\",\"\",6,1,1]");
        let error = RecordReader::new(&packed, 2).err().unwrap().to_string();
        assert_eq!(error, "text that is not UTF-8 in the flow behind flow 7");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found_wherever_they_stand() {
        let page = |text: &str| ONE.replace("C1", text).into_bytes();
        let letters = |at| page(&format!("{}\u{e4}", "x".repeat(at)));
        for at in 0..200 {
            let mut packed = letters(at);
            assert!(RecordReader::new(&packed, 1).is_ok(), "{at}");
            let lead = packed.iter().position(|byte| *byte == 0xC3).unwrap();
            packed[lead + 1] = b'x';
            assert!(RecordReader::new(&packed, 1).is_err(), "{at}");
        }
    }

    #[test]
    fn damaged_pages_are_errors_and_never_a_shorter_answer() {
        let two = format!("{ONE},{ONE}");
        assert_eq!(counted_records(&two, 2).unwrap().len(), 2);
        for cut in 0..two.len() {
            let damaged = &two[..cut];
            assert!(counted_records(damaged, 2).is_err(), "{damaged}");
            _ = last_key(damaged.as_bytes());
        }
        for count in [0, 1, 3] {
            assert!(counted_records(&two, count).is_err(), "{count}");
        }
        assert!(counted_records(r#"[1,2,[3],"","","","",6,1,1]"#, 1).is_err());
        assert!(counted_records("1", 1).is_err());
    }
}
