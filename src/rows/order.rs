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
    let mut number = 0_i64;
    for (i, byte) in text.iter().enumerate().take(19) {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte.wrapping_sub(b'0'));
                number = number.wrapping_mul(10).wrapping_add(digit);
            }
            b',' | b']' if i > 0 => return Some((number, text.get(i.wrapping_add(1)..)?)),
            _ => return None,
        }
    }
    None
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
