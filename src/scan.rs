//! Finds where the values of plain records end in a packed page, 64 bytes at a time.
//!
//! After "Parsing Gigabytes of JSON per Second" (Langdale and Lemire, 2019, arXiv 1902.08318): the bytes of
//! a block are put into classes at once, a bit each, and what stands inside of strings is found by counting
//! quotes. Here nothing is escaped: a backslash is one of the bytes at which the scan stops, and so is
//! whatever else a format would have to look at.

/// Which bytes of a block are what: the lowest bit is that of the first byte.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Classes {
    quote: u64,
    comma: u64,
    open: u64,
    close: u64,
    minus: u64,
    digit: u64,
    /// Control characters, backslashes, what XML escapes or cannot hold (U+FFFE starts with 0xEF), and what JSON
    /// escapes beyond ASCII (U+0085 starts with 0xC2, U+2028 with 0xE2).
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
        // So do the bytes before which a line may end beyond ASCII.
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

/// A bit for each byte inside of a string, its opening quote included; `inside` tells of the byte before.
fn inside_strings(quotes: u64, inside: bool) -> u64 {
    let mut bits = quotes;
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits.wrapping_shl(shift);
    }
    if inside { !bits } else { bits }
}

/// The bits moved to the next byte, and the one that leaves the block for the next block.
fn behind(bits: u64, carried: &mut bool) -> u64 {
    let moved = bits.wrapping_shl(1) | u64::from(*carried);
    *carried = last(bits);
    moved
}

fn last(bits: u64) -> bool {
    bits.leading_zeros() == 0
}

/// A walk along the commas and brackets behind values.
#[derive(Debug)]
pub struct Scan {
    /// Where the block starts, and where the next one does.
    block: usize,
    next: usize,
    /// Ends of values in the block that have not been passed.
    ends: u64,
    /// Whether the block holds a byte to stop at, behind all those ends.
    stops: bool,
    /// Of the last byte of the block: whether it is inside of a string, whether a value may start behind it,
    /// whether it ends a string.
    inside: bool,
    starts: bool,
    closes: bool,
}

impl Scan {
    /// Starts at the bracket of a record, which stands at the offset `at`.
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

    /// The offset of the next comma or bracket behind a value. `None` where the text ends or something comes
    /// first that is not part of a plain record.
    ///
    /// Up to there each value is either a string that can be copied into any format as it stands, or digits
    /// and perhaps a minus before them, or nothing at all.
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
                // Filled up with control characters, at which the scan stops.
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
        // All bits below the lowest one; all there are if there is none.
        let before = (odd & odd.wrapping_neg()).wrapping_sub(1);
        self.stops = odd != 0;
        self.ends = ends & before;
        self.block = self.next;
        self.next = self.next.wrapping_add(64);
        Some(())
    }
}
