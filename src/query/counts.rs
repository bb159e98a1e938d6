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
    /// Into so many at most, all of one width but the last. A width above an hour is of whole minutes.
    Count(i64),
    /// Into buckets of so many seconds. The last one may be shorter.
    Width(i64),
}

const MINUTE: i128 = 60;

const HOUR: i128 = 3_600;

/// The most buckets of an answer.
const MAX_BUCKETS: i128 = 10_000;

impl Buckets {
    /// The start of the first bucket of a table whose flows have times from `first` to `last`. Buckets of whole minutes
    /// start with a minute.
    pub fn start(self, first: i64, last: i64) -> i64 {
        let before = first.saturating_sub(1);
        let is_of_minutes = match self {
            Self::Width(width) => width % 60 == 0,
            Self::Count(_) => self.width(before, last) > HOUR,
        };
        if is_of_minutes {
            before.saturating_sub(before.rem_euclid(60))
        } else {
            before
        }
    }

    /// The seconds of a bucket of the window.
    fn width(self, after: i64, until: i64) -> i128 {
        match self {
            Self::Width(width) => i128::from(width).max(1),
            Self::Count(count) => {
                let width = rounded_up(span(after, until), i128::from(count)).max(1);
                if width > HOUR {
                    rounded_up(width, MINUTE).saturating_mul(MINUTE)
                } else {
                    width
                }
            }
        }
    }

    /// The borders of the buckets of the window `after < time <= until`, in order: the start, and each bucket's end.
    /// There is one border alone where the window is empty.
    ///
    /// # Errors
    /// More than 10,000 buckets.
    pub fn borders(self, after: i64, until: i64) -> Result<Vec<i64>, ParamError> {
        let width = self.width(after, until);
        let count = rounded_up(span(after, until), width);
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

/// The seconds of the window. 128 bits hold those between any two 64-bit integers.
fn span(after: i64, until: i64) -> i128 {
    i128::from(until).saturating_sub(i128::from(after)).max(0)
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
        // A bucket of more than an hour ends with a minute.
        let borders = Buckets::Count(100).borders(0, 5_011_199).unwrap();
        assert_eq!(borders[..3], [0, 50_160, 100_320]);
        assert_eq!(borders.len(), 101);
        assert_eq!(Buckets::Count(100).start(61, 5_011_199), 60);
        assert_eq!(Buckets::Count(100).start(77, 5_011_199), 60);
        assert_eq!(Buckets::Width(300).start(77, 80), 60);
        assert_eq!(Buckets::Count(100).start(77, 5_000), 76);
        assert_eq!(Buckets::Count(1).start(i64::MIN, i64::MAX), i64::MIN);
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
