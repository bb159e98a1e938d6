//! Whether the flows of a packed page stand in the answer's order.

use super::simd;
use crate::table::key::RowKey;

/// Whether the ids of a page rise, from `after` on, and its times never fall. `count` is the number of its flows. For a
/// feed, which is in the order of ids, `times` is `false`.
///
/// Only the keys are read, 64 bytes at a time. A page is not known to be in order where another value holds a bracket,
/// or where a key is negative or has more than 18 digits.
pub fn is_in_order(packed: &[u8], after: RowKey, count: i64, times: bool) -> bool {
    let mut last = after;
    let mut left = count;
    let rises = simd::each_bracket(packed, |at| {
        let Some(key) = packed.get(at..).and_then(key) else {
            return false;
        };
        let rises = key.id > last.id && (key.time >= last.time || !times);
        last = key;
        left = left.wrapping_sub(1);
        rises
    });
    rises && left == 0
}

/// The key of the record that starts with `text`.
fn key(text: &[u8]) -> Option<RowKey> {
    let (id, rest) = digits(text.strip_prefix(b"[")?)?;
    let (time, _) = digits(rest)?;
    Some(RowKey { time, id })
}

/// The number before the next comma or bracket, and what is behind that.
fn digits(text: &[u8]) -> Option<(i64, &[u8])> {
    let (mut number, mut rest, mut length) = (0_i64, text, 0_usize);
    loop {
        let (value, count) = leading_digits(eight(rest));
        number = number
            .wrapping_mul(*POWERS.get(count)?)
            .wrapping_add(i64::from(value));
        rest = rest.get(count..)?;
        length = length.wrapping_add(count);
        if count < 8 {
            break;
        }
    }
    match rest {
        [b',' | b']', rest @ ..] if (1..=18).contains(&length) => Some((number, rest)),
        _ => None,
    }
}

/// The powers of ten up to that of eight digits.
const POWERS: [i64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// The first eight bytes, filled up with zeros.
fn eight(text: &[u8]) -> [u8; 8] {
    if let Some(bytes) = text.first_chunk() {
        return *bytes;
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(text) {
        *to = *from;
    }
    bytes
}

/// The number that the first bytes say, and how many digits it has: all of them at once.
fn leading_digits(bytes: [u8; 8]) -> (u32, usize) {
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    // The highest bit of each byte that is no digit. A carry reaches only bytes behind the first of these.
    let others = (values | values.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros().wrapping_shr(3);
    // Zeros before them make eight digits, of which pairs are joined, then fours, then all.
    let ones = match count {
        0 => 0,
        count => values.wrapping_shl(64_u32.wrapping_sub(count.wrapping_mul(8))),
    };
    let join = |parts: u64, scale: u64, bits: u32| {
        parts
            .wrapping_mul(scale)
            .wrapping_add(parts.wrapping_shr(bits))
    };
    let twos = join(ones, 10, 8) & 0x00FF_00FF_00FF_00FF;
    let fours = join(twos, 100, 16) & 0x0000_FFFF_0000_FFFF;
    (join(fours, 10_000, 32) as u32, count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(packed: &str, times: bool) -> bool {
        let count = packed.matches("],[").count() as i64 + 1;
        is_in_order(packed.as_bytes(), RowKey { time: 5, id: 7 }, count, times)
    }

    #[test]
    fn ids_rise_and_times_never_fall() {
        assert!(in_order(r#"[8,5,"a"],[9,5,"b"],[12,6,""]"#, true));
        assert!(!in_order("[8,4,1]", true));
        assert!(!in_order("[7,6,1]", true));
        assert!(!in_order("[9,6,1],[8,7,1]", true));
        assert!(!in_order("[8,6,1],[9,5,1]", true));
        assert!(in_order("[8,6,1],[9,5,1]", false));
        assert!(!in_order("[9,6,1],[8,7,1]", false));
        let longest = "[999999999999999999,999999999999999999,1]";
        assert!(in_order(longest, true));
        assert!(in_order("[8,5],[9,5]", true));
    }

    #[test]
    fn what_is_no_key_is_in_no_order() {
        for packed in [
            "",
            "[",
            "[8",
            "[8,",
            "[8,9",
            "[,9,1]",
            "[8,,1]",
            "[-8,9,1]",
            r#"[8,"9",1]"#,
            "[8,9.5,1]",
            "[8,null,1]",
            "[9999999999999999999,9,1]",
        ] {
            assert!(!in_order(packed, true), "{packed}");
        }
    }

    #[test]
    fn digits_end_at_any_other_byte() {
        for length in 0..=8 {
            for other in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
                for tail in [0, b'9', u8::MAX] {
                    let mut bytes = *b"90817263";
                    let number = std::str::from_utf8(&bytes[..length]).unwrap();
                    let expected = number.parse().unwrap_or(0);
                    bytes[length..].fill(tail);
                    if let Some(byte) = bytes.get_mut(length) {
                        *byte = other;
                    }
                    assert_eq!(leading_digits(bytes), (expected, length), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn a_key_has_18_digits_at_most() {
        for length in 1..=30 {
            let number = "9".repeat(length);
            let expected = number.parse().ok().filter(|_| length <= 18);
            let text = number + ",";
            let found = digits(text.as_bytes()).map(|(number, _)| number);
            assert_eq!(found, expected, "{length}");
        }
    }

    #[test]
    fn brackets_inside_a_value_hide_no_flow() {
        // By the brackets alone the last flow would be the one inside the text.
        let packed = r#"[8,6,"],[9,7,"],[9,1,""]"#;
        assert!(!is_in_order(
            packed.as_bytes(),
            RowKey { time: 5, id: 7 },
            2,
            true
        ));
        assert!(!is_in_order(
            b"[8,6,\"[\"]",
            RowKey { time: 5, id: 7 },
            1,
            true
        ));
    }

    #[test]
    fn brackets_are_found_wherever_they_stand() {
        for gap in 0..200 {
            let text = "x".repeat(gap);
            let packed = format!(r#"[8,5,"{text}"],[9,5,"{text}"],[10,5,"{text}"]"#);
            assert!(in_order(&packed, true), "{packed}");
            assert!(
                !in_order(&packed.replace("[10,5", "[10,4"), true),
                "{packed}"
            );
        }
    }
}
