//! The ends of values in a packed page, found 64 bytes at a time.
//!
//! After "Parsing Gigabytes of JSON per Second" (Langdale and Lemire, 2019, arXiv 1902.08318). Each byte of a block
//! is put into classes, one bit a class. Counting quotes tells the bytes inside strings. A backslash stops the scan,
//! as does any byte that some format would not copy as it stands, so nothing inside a string is escaped here.

/// The bytes of a block by their classes. The lowest bit stands for the first byte.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Classes {
    quote: u64,
    comma: u64,
    open: u64,
    close: u64,
    minus: u64,
    digit: u64,
    /// Bytes that stop the scan: control characters, backslashes, what XML escapes or cannot hold (U+FFFE starts
    /// with 0xEF), and what JSON escapes beyond ASCII (U+0085 starts with 0xC2, U+2028 with 0xE2).
    special: u64,
}

#[cfg(target_family = "wasm")]
#[target_feature(enable = "simd128")]
fn classes(block: &[u8; 64]) -> Classes {
    use core::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u8x16_sub, u64x2, v128, v128_and, v128_or,
    };
    let mut classes = Classes::default();
    let (eighths, _) = block.as_chunks::<8>();
    let (pairs, _) = eighths.as_chunks::<2>();
    let mut shift = 0;
    for [low, high] in pairs {
        let bytes = u64x2(u64::from_le_bytes(*low), u64::from_le_bytes(*high));
        let is = |byte| u8x16_eq(bytes, u8x16_splat(byte));
        let bits = |lanes: v128| u64::from(u8x16_bitmask(lanes)).wrapping_shl(shift);
        classes.quote |= bits(is(b'"'));
        classes.comma |= bits(is(b','));
        classes.open |= bits(is(b'['));
        classes.close |= bits(is(b']'));
        classes.minus |= bits(is(b'-'));
        let value = u8x16_sub(bytes, u8x16_splat(b'0'));
        classes.digit |= bits(u8x16_lt(value, u8x16_splat(10)));
        let control = u8x16_lt(bytes, u8x16_splat(b' '));
        // `<` and `>` differ in one bit.
        let angle = u8x16_eq(v128_and(bytes, u8x16_splat(!2)), u8x16_splat(b'<'));
        // So do the first bytes of U+0085 and of U+2028.
        let line = u8x16_eq(v128_and(bytes, u8x16_splat(!0x20)), u8x16_splat(0xC2));
        let markup = v128_or(v128_or(angle, line), v128_or(is(b'&'), is(0xEF)));
        classes.special |= bits(v128_or(control, v128_or(is(b'\\'), markup)));
        shift = shift.wrapping_add(16);
    }
    classes
}

#[cfg(not(target_family = "wasm"))]
fn classes(block: &[u8; 64]) -> Classes {
    let mut classes = Classes::default();
    let mut bit = 1;
    for byte in block {
        let class = match byte {
            b'"' => &mut classes.quote,
            b',' => &mut classes.comma,
            b'[' => &mut classes.open,
            b']' => &mut classes.close,
            b'-' => &mut classes.minus,
            b'0'..=b'9' => &mut classes.digit,
            ..b' ' | b'\\' | b'<' | b'>' | b'&' | 0xC2 | 0xE2 | 0xEF => &mut classes.special,
            _ => &mut 0,
        };
        *class |= bit;
        bit = bit.wrapping_shl(1);
    }
    classes
}

/// How many bytes at the start of `text` are known to be ASCII: whole blocks of 64.
///
/// `std::str::from_utf8` takes a page of ASCII eight bytes at a time.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub fn ascii_prefix(text: &[u8]) -> usize {
    let (blocks, _) = text.as_chunks::<64>();
    let ascii = blocks.iter().take_while(|block| is_ascii(block)).count();
    ascii.saturating_mul(64)
}

#[cfg(target_family = "wasm")]
#[target_feature(enable = "simd128")]
fn is_ascii(block: &[u8; 64]) -> bool {
    use core::arch::wasm32::{u8x16_bitmask, u64x2, v128_or};
    let (eighths, _) = block.as_chunks::<8>();
    let (pairs, _) = eighths.as_chunks::<2>();
    let mut all = u64x2(0, 0);
    for [low, high] in pairs {
        all = v128_or(
            all,
            u64x2(u64::from_le_bytes(*low), u64::from_le_bytes(*high)),
        );
    }
    u8x16_bitmask(all) == 0
}

#[cfg(not(target_family = "wasm"))]
fn is_ascii(block: &[u8; 64]) -> bool {
    block.is_ascii()
}

/// Calls `take` with the offset of each opening bracket, until it returns `false`; returns whether it never has.
#[cfg_attr(target_family = "wasm", target_feature(enable = "simd128"))]
pub fn each_bracket(text: &[u8], mut take: impl FnMut(usize) -> bool) -> bool {
    let mut start = 0_usize;
    let (blocks, rest) = text.as_chunks::<64>();
    for block in blocks {
        let mut open = brackets(block);
        while open != 0 {
            if !take(start.wrapping_add(open.trailing_zeros() as usize)) {
                return false;
            }
            open &= open.wrapping_sub(1);
        }
        start = start.wrapping_add(64);
    }
    let mut rest = rest.iter().enumerate().filter(|(_, byte)| **byte == b'[');
    rest.all(|(i, _)| take(start.wrapping_add(i)))
}

#[cfg(target_family = "wasm")]
#[target_feature(enable = "simd128")]
fn brackets(block: &[u8; 64]) -> u64 {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_splat, u64x2};
    let (eighths, _) = block.as_chunks::<8>();
    let (pairs, _) = eighths.as_chunks::<2>();
    let mut open = 0;
    for [low, high] in pairs.iter().rev() {
        let bytes = u64x2(u64::from_le_bytes(*low), u64::from_le_bytes(*high));
        let is_open = u8x16_bitmask(u8x16_eq(bytes, u8x16_splat(b'[')));
        open = open << 16 | u64::from(is_open);
    }
    open
}

#[cfg(not(target_family = "wasm"))]
fn brackets(block: &[u8; 64]) -> u64 {
    classes(block).open
}

/// The bytes inside strings, each opening quote included. `inside` tells whether the byte before the block is.
fn inside_strings(quotes: u64, inside: bool) -> u64 {
    let mut bits = quotes;
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits.wrapping_shl(shift);
    }
    if inside { !bits } else { bits }
}

/// The bits moved by a byte. The bit that leaves the block is carried to the next one.
fn behind(bits: u64, carried: &mut bool) -> u64 {
    let moved = bits.wrapping_shl(1) | u64::from(*carried);
    *carried = last(bits);
    moved
}

fn last(bits: u64) -> bool {
    bits.leading_zeros() == 0
}

/// A scan for the commas and brackets behind values.
#[derive(Debug)]
pub struct Scan {
    /// The offset of the block, and that of the next one.
    block: usize,
    next: usize,
    /// Ends of values in the block that the scan has not returned yet.
    ends: u64,
    /// Whether the scan stops behind those ends.
    stops: bool,
    /// Whether the last byte of the block is inside a string.
    inside: bool,
    /// Whether a value may start behind the last byte of the block.
    starts: bool,
    /// Whether the last byte of the block closes a string.
    closes: bool,
}

impl Scan {
    /// Starts at the offset `at`, where the bracket of a record stands.
    pub fn at(at: usize) -> Self {
        Self {
            block: at,
            next: at,
            ends: 0,
            stops: false,
            inside: false,
            starts: true,
            closes: false,
        }
    }

    /// The offset of the next comma or bracket behind a value. `None` at the end of the text, or where something
    /// comes first that is not part of a fast record.
    ///
    /// The value before it is a string that every format can copy as it stands, or digits that a minus may precede,
    /// or empty.
    #[inline(always)]
    pub fn next_end(&mut self, text: &[u8]) -> Option<usize> {
        while self.ends == 0 {
            if self.stops {
                return None;
            }
            self.read_block(text)?;
        }
        let end = self.block.wrapping_add(self.ends.trailing_zeros() as usize);
        self.ends &= self.ends.wrapping_sub(1);
        Some(end)
    }

    #[inline(always)]
    fn read_block(&mut self, text: &[u8]) -> Option<()> {
        let rest = text.get(self.next..).filter(|rest| !rest.is_empty())?;
        let classes = match rest.first_chunk() {
            Some(block) => classes(block),
            None => {
                // The rest of the block is control characters, which stop the scan.
                let mut block = [0; 64];
                block
                    .iter_mut()
                    .zip(rest)
                    .for_each(|(to, from)| *to = *from);
                classes(&block)
            }
        };
        let inside = inside_strings(classes.quote, self.inside);
        self.inside = last(inside);
        let ends = (classes.comma | classes.close) & !inside;
        let may_start = behind(ends | (classes.open & !inside), &mut self.starts);
        let closing = classes.quote & !inside;
        let opening = classes.quote & inside;
        let number = classes.digit | (classes.minus & may_start);
        let bracket = classes.open & may_start;
        let odd = classes.special
            | (classes.comma & inside)
            | (opening & !may_start)
            | (behind(closing, &mut self.closes) & !ends)
            | (!inside & !(number | bracket | ends | closing));
        // The bits below the lowest odd byte; all bits where there is none.
        let before = (odd & odd.wrapping_neg()).wrapping_sub(1);
        self.stops = odd != 0;
        self.ends = ends & before;
        self.block = self.next;
        self.next = self.next.wrapping_add(64);
        Some(())
    }
}
