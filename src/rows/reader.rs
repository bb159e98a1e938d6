//! The records of a page, read out of the text that SQLite packed them into.
//!
//! A page is JSON arrays with a comma between them, as SQLite's `json_array` writes them:
//! `[1,1,0,"C1065","389",…],[2,…]`, without white space. The reader finds where each value ends and decodes
//! nothing: a value that is valid in the output is copied as it stands. It checks what it relies on.
//!
//! A *fast* record holds values that every format copies as they stand; [`super::simd`] finds their ends 64 bytes
//! at a time. Any other record is read value by value.

use std::borrow::Cow;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::RecordError;
use super::convert::convert;
use super::raw_value::RawValue;
use super::simd::{self, Scan};
use crate::table::columns::{COLUMNS, Column, ColumnType};
use crate::table::layout::{Layout, MAX_VALUES};

/// A record: the values of its layout's fields, in their order.
///
/// A column of integers holds an integer and a column of text a string, whatever type the database stores. Either
/// may be `null`, except in the key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    values: [RawValue<'a>; MAX_VALUES],
    length: usize,
    hidden: usize,
}

impl<'a> Record<'a> {
    /// The values.
    pub fn values(&self) -> &[RawValue<'a>] {
        let fields = self.hidden..self.length;
        self.values.get(fields).unwrap_or_default()
    }
}

/// Reads the records of a packed page.
pub struct RecordReader<'a> {
    packed: &'a [u8],
    layout: &'a Layout,
    /// The offset of the next record.
    at: usize,
    scan: Scan,
    /// Records still to come, by the database's own count.
    left: i64,
    /// The values of a record of which one had to be converted.
    converted: Vec<Cow<'a, [u8]>>,
}

impl<'a> RecordReader<'a> {
    /// Starts at the first record of `packed`, which holds `count` of them in this layout.
    ///
    /// # Errors
    /// When `packed` is not UTF-8: SQLite stores any bytes as text.
    pub fn new(packed: &'a [u8], count: i64, layout: &'a Layout) -> Result<Self, RecordError> {
        let ascii = simd::ascii_prefix(packed);
        let rest = packed.get(ascii..).unwrap_or_default();
        if let Err(error) = std::str::from_utf8(rest) {
            let valid = ascii.saturating_add(error.valid_up_to());
            let valid = packed.get(..valid).unwrap_or_default();
            let place = after_last_whole(valid, layout);
            return Err(anyhow!("text that is not UTF-8 in the flow {place}").into());
        }
        Ok(Self::over(packed, count, layout))
    }

    fn over(packed: &'a [u8], count: i64, layout: &'a Layout) -> Self {
        Self {
            packed,
            layout,
            at: 0,
            scan: Scan::at(0),
            left: count,
            converted: Vec::new(),
        }
    }

    /// The columns of the records.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// Reads the next record if it is a fast one, and hands the value of each field to `take` with the field's number.
    /// `ALL` says that the layout is [`Layout::ALL`]; the compiler then knows the columns.
    ///
    /// In a fast record each value has its column's type, and every format can copy it as it stands; CSV alone
    /// quotes an empty string. Returns `false` at the end of the page and for any other record. Some of that
    /// record's values may have been handed over by then; [`Self::record`] reads it again.
    #[inline(always)]
    pub fn fast_record<const ALL: bool>(
        &mut self,
        mut take: impl FnMut(usize, RawValue<'a>),
    ) -> bool {
        let (columns, hidden) = if ALL {
            (COLUMNS.as_slice(), 0)
        } else {
            (self.layout.columns(), self.layout.hidden())
        };
        self.read_fast(columns, hidden, &mut take).is_some()
    }

    // Inlined with all that it calls: a record of JSON takes 137 ns, and 158 where the compiler leaves a call.
    #[inline(always)]
    fn read_fast(
        &mut self,
        columns: &[Column],
        hidden: usize,
        take: &mut impl FnMut(usize, RawValue<'a>),
    ) -> Option<()> {
        if self.packed.get(self.at) != Some(&b'[') {
            return None;
        }
        let mut start = self.at.wrapping_add(1);
        let mut end = self.at;
        for (i, column) in columns.iter().enumerate() {
            end = self.scan.next_end(self.packed)?;
            let text = self.packed.get(start..)?;
            let length = end.wrapping_sub(start);
            let has_column_type = match (column.column_type, text.first()) {
                (ColumnType::Text, Some(b'"')) => true,
                (ColumnType::Integer, Some(b'1'..=b'9')) => length < LARGEST.len(),
                (ColumnType::Integer, Some(b'0')) => length == 1,
                (ColumnType::Integer, Some(b'-')) => {
                    matches!(text.get(1), Some(b'1'..=b'9')) && length < LARGEST.len()
                }
                _ => false,
            };
            if !has_column_type {
                return None;
            }
            if let Some(field) = i.checked_sub(hidden) {
                take(field, RawValue::new(text, length));
            }
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

    /// Reads the next record, whatever it holds; `None` at the end of the page.
    ///
    /// # Errors
    /// A value that cannot be written as its column's type. A page of another number of records than the database
    /// has counted.
    pub fn record(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        Ok(self.read()?)
    }

    fn read(&mut self) -> Result<Option<Record<'_>>> {
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
        let mut record = Record {
            hidden: self.layout.hidden(),
            ..Record::default()
        };
        let mut is_exact = true;
        for (value, column) in record.values.iter_mut().zip(self.layout.columns()) {
            let found;
            (*value, found, rest) = next_value(rest).with_context(|| {
                let id = next_value(start).map(|(id, ..)| id.bytes());
                let id = String::from_utf8_lossy(id.unwrap_or(b"?"));
                format!("flow {id}: {} is neither number nor text", column.name)
            })?;
            record.length = record.length.saturating_add(1);
            is_exact &=
                found == Some(column.column_type) || (!column.is_key && value.bytes() == b"null");
        }
        // The bracket of the last value is consumed. A comma separates the next record.
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        self.at = self.packed.len().saturating_sub(rest.len());
        self.scan = Scan::at(self.at);
        self.left = self.left.wrapping_sub(1);
        if is_exact {
            return Ok(Some(record));
        }
        self.convert(record).map(Some)
    }

    /// Converts the values that have another type than their column's.
    #[cold]
    fn convert(&mut self, record: Record<'a>) -> Result<Record<'_>> {
        self.converted.clear();
        for (value, column) in record.values.iter().zip(self.layout.columns()) {
            let value = value.bytes();
            let converted = convert(value, column).map_err(|expected| {
                let id = record.values.first().map(|id| id.bytes());
                let id = String::from_utf8_lossy(id.unwrap_or_default());
                let value = String::from_utf8_lossy(value.get(..64).unwrap_or(value));
                anyhow!("flow {id}: {} is {value}, {expected}", column.name)
            })?;
            self.converted.push(converted);
        }
        let mut out = record;
        for (slot, value) in out.values.iter_mut().zip(&self.converted) {
            *slot = RawValue::new(value, value.len());
        }
        Ok(out)
    }
}

/// Takes one value off the front of `text`, with the comma or bracket behind it. Tells the type of column that the
/// value can be copied into as it stands.
///
/// `None` when the text ends first, or holds what a record cannot hold (an array, an object).
pub(super) fn next_value(text: &[u8]) -> Option<(RawValue<'_>, Option<ColumnType>, &[u8])> {
    let (length, column_type) = match text.first()? {
        b'"' => end_of_string(text)?,
        b'[' | b'{' => return None,
        _ => {
            let length = text.iter().position(|b| matches!(b, b',' | b']'))?;
            let is_integer = is_integer(text.get(..length)?);
            (length, is_integer.then_some(ColumnType::Integer))
        }
    };
    let (b',' | b']', rest) = text.get(length..)?.split_first()? else {
        return None;
    };
    Some((RawValue::new(text, length), column_type, rest))
}

/// The offset behind the closing quote of the string that `text` starts with, and whether the string is text as it
/// stands.
///
/// SQLite packs a BLOB that is its binary JSON of a text unchecked. Such a string may hold control characters, or
/// escapes that stand for nothing.
fn end_of_string(text: &[u8]) -> Option<(usize, Option<ColumnType>)> {
    let mut column_type = Some(ColumnType::Text);
    let mut escaped = false;
    for (i, byte) in text.iter().enumerate().skip(1) {
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' if escaped => escaped = false,
            _ if escaped => (column_type, escaped) = (None, false),
            b'\\' => escaped = true,
            b'"' => return Some((i.checked_add(1)?, column_type)),
            ..b' ' => column_type = None,
            _ => {}
        }
    }
    None
}

/// The largest 64-bit integer.
const LARGEST: &[u8; 19] = b"9223372036854775807";

/// Whether a value is an integer as it stands. Leading zeros, a number beyond 64 bits and the least integer go the
/// long way, through [`convert`].
fn is_integer(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let fits = match digits.len() {
        1..=18 => true,
        19 => digits.first_chunk() <= Some(LARGEST),
        _ => false,
    };
    let leading = digits.len() > 1 && digits.first() == Some(&b'0');
    fits && !leading && digits.iter().all(u8::is_ascii_digit)
}

/// Says where a fault lies: after the last record that stands whole in `valid`.
fn after_last_whole(valid: &[u8], layout: &Layout) -> String {
    let mut records = RecordReader::over(valid, 0, layout);
    let mut place = "at the start of a page".to_owned();
    while let Ok(Some(record)) = records.record() {
        let id = record.values.first().map(|id| id.bytes());
        let id = String::from_utf8_lossy(id.unwrap_or_default());
        place = format!("behind flow {id}");
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ends::{last_key, without_last};
    use crate::table::key::RowKey;

    const ONE: &str = r#"[7,3,0,"C1","N1","C2","443",6,10,5323]"#;

    /// The records of a page that was counted right.
    fn records(packed: &str) -> Result<Vec<Vec<String>>, RecordError> {
        let counted = |count| counted_records(packed, count);
        (0..3)
            .map(counted)
            .find(|r| r.is_ok())
            .unwrap_or_else(|| counted(1))
    }

    fn counted_records(packed: &str, count: i64) -> Result<Vec<Vec<String>>, RecordError> {
        let mut records = RecordReader::new(packed.as_bytes(), count, &Layout::ALL)?;
        let mut all = Vec::new();
        loop {
            let mut values = Vec::new();
            if !records.fast_record::<true>(|_, value| values.push(text(value))) {
                let Some(record) = records.record()? else {
                    return Ok(all);
                };
                values = record.values().iter().copied().map(text).collect();
            }
            all.push(values);
        }
    }

    fn text(value: RawValue<'_>) -> String {
        String::from_utf8(value.bytes().to_vec()).unwrap()
    }

    /// How many records at the start of a page are fast.
    fn fast(packed: &str) -> usize {
        let mut records = RecordReader::new(packed.as_bytes(), 0, &Layout::ALL).unwrap();
        std::iter::from_fn(|| records.fast_record::<true>(|_, _| {}).then_some(())).count()
    }

    #[test]
    fn a_record_is_fast_wherever_it_stands_and_one_odd_byte_takes_that_from_it() {
        let record =
            |comp: &str| format!(r#"[7,-3,0,"{comp}","","C2: /ä{{}}","-443",6,10,1234567890]"#);
        for length in 0..130 {
            let comp = "x".repeat(length);
            let three = [record(&comp), ONE.to_owned(), record("")].join(",");
            assert_eq!(fast(&three), 3, "{three}");
            assert_eq!(counted_records(&three, 3).unwrap()[2][9], "1234567890");
            for odd in [
                ",", "&", "<", ">", "\\\\", "\\\"", "\n", "\u{0}", "\u{1f}", "\u{fffe}", "\u{85}",
                "\u{2028}", "\u{2029}",
            ] {
                let odd = record(&format!("{comp}{odd}"));
                assert_eq!(fast(&format!("{ONE},{odd},{ONE}")), 1, "{odd}");
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
            assert_eq!(fast(&format!("{ONE},{odd},{ONE}")), 1, "{odd}");
        }
        assert_eq!(fast(&format!("{ONE}{ONE}")), 0);
        assert_eq!(fast(&format!("{ONE}]{ONE}")), 0);
        assert_eq!(fast(&format!("{ONE},,{ONE}")), 1);
        assert_eq!(fast(&format!("{ONE},[{ONE}")), 1);
    }

    #[test]
    fn a_record_of_some_columns_is_fast_as_well() {
        let packed = r#"[7,3,"C1",7,5],[8,3,"",8,0],[9,3,"a\"",9,1],[10,3,"C1",10,1]"#;
        let layout = Layout::select(&[COLUMNS[3], COLUMNS[0], COLUMNS[9]]);
        let mut records = RecordReader::new(packed.as_bytes(), 4, &layout).unwrap();
        let values = |record: Record<'_>| {
            let values = record.values().iter().copied();
            values.map(text).collect::<Vec<_>>()
        };
        for expected in [
            Some([r#""C1""#, "7", "5"]),
            Some([r#""""#, "8", "0"]),
            None,
            Some([r#""C1""#, "10", "1"]),
        ] {
            let mut found = Vec::new();
            let is_fast = records.fast_record::<false>(|field, value| {
                found.resize(field, String::new());
                found.push(text(value));
            });
            match expected {
                Some(expected) => assert!(is_fast && found == expected, "{found:?}"),
                None => {
                    assert!(!is_fast);
                    let record = records.record().unwrap().unwrap();
                    assert_eq!(values(record), [r#""a\"""#, "9", "1"]);
                }
            }
        }
        assert!(!records.fast_record::<false>(|_, _| {}));
        assert!(records.record().unwrap().is_none());
    }

    #[test]
    fn values_stand_as_sqlite_wrote_them() {
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
    fn a_value_ends_where_it_ends_however_long_it_is_and_whatever_follows() {
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
    fn an_appended_value_brings_nothing_of_its_surroundings() {
        let mut records = RecordReader::new(ONE.as_bytes(), 1, &Layout::ALL).unwrap();
        let record = records.record().unwrap().unwrap();
        for value in record.values() {
            let mut out = b"before".to_vec();
            value.append_to(&mut out);
            assert_eq!(out, [b"before", value.bytes()].concat());
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
        for (value, integer) in [
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775807", "-9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1000000000000000000", "1000000000000000000"),
            ("01", "1"),
            ("-007", "-7"),
            ("00000000000000000000000", "0"),
            ("0", "0"),
        ] {
            let record = records(&ONE.replace("5323", value)).unwrap().remove(0);
            assert_eq!(record[9], integer);
        }
    }

    #[test]
    fn a_value_that_cannot_be_written_is_an_error_that_names_flow_and_field() {
        for (value, what) in [
            ("1.5", "flow 7: byte_count is 1.5, not an integer"),
            ("\"many\"", "flow 7: byte_count is \"many\", not an integer"),
            ("9e999", "flow 7: byte_count is 9e999, not an integer"),
            ("1.0e+15", "flow 7: byte_count is 1.0e+15, not an integer"),
            ("\"9223372036854775808\"", "not an integer"),
            ("9223372036854775808", "not an integer"),
            ("-9223372036854775809", "not an integer"),
            ("99999999999999999999", "not an integer"),
        ] {
            let error = records(&ONE.replace("5323", value))
                .unwrap_err()
                .to_string();
            assert!(error.contains(what), "{value}: {error}");
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
        let error = RecordReader::new(&packed, 2, &Layout::ALL)
            .err()
            .unwrap()
            .to_string();
        assert_eq!(error, "text that is not UTF-8 in the flow behind flow 7");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found_wherever_they_stand() {
        let page = |text: &str| ONE.replace("C1", text).into_bytes();
        let letters = |at| page(&format!("{}\u{e4}", "x".repeat(at)));
        for at in 0..200 {
            let mut packed = letters(at);
            assert!(RecordReader::new(&packed, 1, &Layout::ALL).is_ok(), "{at}");
            let lead = packed.iter().position(|byte| *byte == 0xC3).unwrap();
            packed[lead + 1] = b'x';
            assert!(RecordReader::new(&packed, 1, &Layout::ALL).is_err(), "{at}");
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
