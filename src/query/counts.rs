//! What a client asks to have counted instead of sent.

use super::ParamError;
use super::parameters::WIDTH;
use super::selection::Selection;
use crate::formats::Format;
use crate::table::columns::Column;

/// A valid request for counts by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramQuery {
    /// Which flows.
    pub selection: Selection,
    /// How the window is divided.
    pub buckets: Buckets,
    /// How the counts are written.
    pub format: Format,
}

/// How a window is divided into buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Into so many at most, all of one width but the last.
    Count(i64),
    /// Into buckets of so many seconds. The last one may be shorter.
    Width(i64),
}

/// The most buckets of an answer.
const MAX_BUCKETS: i128 = 10_000;

impl Buckets {
    /// The borders of the buckets of the window `after < time <= until`, in order: the start, and each bucket's end.
    /// There is one border alone where the window is empty.
    ///
    /// # Errors
    /// More than 10,000 buckets.
    pub fn borders(self, after: i64, until: i64) -> Result<Vec<i64>, ParamError> {
        // 128 bits hold any span of two 64-bit integers.
        let span = i128::from(until).saturating_sub(i128::from(after)).max(0);
        let width = match self {
            Self::Width(width) => i128::from(width).max(1),
            Self::Count(count) => rounded_up(span, i128::from(count)).max(1),
        };
        let count = rounded_up(span, width);
        if count > MAX_BUCKETS {
            let detail = format!(
                "width is {width}, which makes {count} buckets of this window, expected {MAX_BUCKETS} at most"
            );
            return Err(ParamError::invalid(WIDTH.name, detail));
        }
        let border = |i: i128| {
            let end = i128::from(after).saturating_add(width.saturating_mul(i));
            i64::try_from(end).map_or(until, |end| end.min(until))
        };
        let ends = (1..=count).map(border);
        Ok(std::iter::once(after).chain(ends).collect())
    }
}

fn rounded_up(dividend: i128, divisor: i128) -> i128 {
    let rounding = divisor.saturating_sub(1);
    let dividend = dividend.saturating_add(rounding);
    dividend.checked_div(divisor).unwrap_or(0)
}

/// A valid request for the values with the most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopQuery {
    /// Which flows.
    pub selection: Selection,
    /// The column whose values are counted.
    pub by: &'static Column,
    /// What the values are ordered by, the most first.
    pub order: Measure,
    /// At most so many values.
    pub limit: i64,
    /// How the counts are written.
    pub format: Format,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Flows.
    Flows,
    /// Packets of all flows.
    Packets,
    /// Bytes of all flows.
    Bytes,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 3] = [Self::Flows, Self::Packets, Self::Bytes];

    /// The name in `order=`, and of the field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Packets => "packets",
            Self::Bytes => "bytes",
        }
    }

    /// The measure of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_divide_the_window_without_a_gap_whatever_its_ends() {
        let ends = [i64::MIN, -1, 0, 1, 7, 100, 5_000_000, i64::MAX];
        for after in ends {
            for until in ends {
                for count in [1, 2, 3, 100, 10_000] {
                    let borders = Buckets::Count(count).borders(after, until).unwrap();
                    assert_eq!(borders[0], after);
                    assert_eq!(*borders.last().unwrap(), until.max(after));
                    assert!(
                        borders.is_sorted_by(|a, b| a < b),
                        "{after} {until}: {borders:?}"
                    );
                    assert!(borders.len() as i64 <= count + 1);
                    let widths: Vec<_> = borders
                        .windows(2)
                        .map(|two| i128::from(two[1]) - i128::from(two[0]))
                        .collect();
                    if let [first, .., last] = widths.as_slice() {
                        assert!(
                            widths[..widths.len() - 1]
                                .iter()
                                .all(|width| width == first)
                        );
                        assert!(last <= first);
                    }
                }
            }
        }
        assert_eq!(
            Buckets::Width(60).borders(0, 130),
            Ok(vec![0, 60, 120, 130])
        );
        assert_eq!(
            Buckets::Width(i64::MAX)
                .borders(i64::MIN, i64::MAX)
                .unwrap(),
            [i64::MIN, -1, i64::MAX - 1, i64::MAX]
        );
        assert_eq!(Buckets::Width(1).borders(0, 10_000).unwrap().len(), 10_001);
        for (after, until) in [(0, 10_001), (i64::MIN, i64::MAX)] {
            let refused = Buckets::Width(1).borders(after, until).unwrap_err();
            assert!(
                matches!(&refused, ParamError::Invalid { parameter, .. } if parameter == "width"),
                "{refused:?}"
            );
        }
    }
}
