//! Flows that `flows load` has counted by minute, for histograms.
//!
//! The counts are those of one state of the table, up to an id. They hold while the guard's `content` is the same. Where
//! they do not hold, the flows themselves are counted, and the answer is the same.

use super::reader::{Reader, unknown_form};
use super::readiness::Readiness;
use super::sql::Statement;
use super::sql::state::TableKind;
use super::{Database, DbError, DbErrorKind, Value};
use crate::query::selection::Selection;
use crate::table::state::TableState;

/// The most flows in the minutes that borders cut, each counted on both sides of a border: about 0.8 s of SQLite's time.
/// The host does not tell meanwhile whether the client has left.
const MAX_CUT_FLOWS: i64 = 10_000_000;

/// So many of them are read in one statement.
const FLOWS_OF_STATEMENT: i64 = 1_000_000;

/// Flows up to an id, counted.
pub struct CountedFlows {
    /// The largest id that is counted.
    pub max_id: i64,
    /// Packed records: flows, a time in the bucket, packets, bytes.
    pub packed: Vec<u8>,
    /// The number of records.
    pub count: i64,
    /// The state of the table.
    pub state: TableState,
}

/// Counts flows between these borders, which rise; `None` where the flows have to be read.
///
/// # Errors
/// A table that is not ready, or a database that cannot be read.
pub async fn read_minutes<D: Database>(
    readiness: &Readiness<D>,
    borders: &[i64],
) -> Result<Option<CountedFlows>, DbError> {
    let spans = Spans::between(borders);
    if spans.whole.is_empty() {
        return Ok(None);
    }
    let read = readiness.over_table(async |database, kind| {
        if kind == TableKind::Unguarded {
            return Ok(None);
        }
        let mut reader = Reader::open(database, kind).await?;
        let counted = spans.read(&mut reader).await?;
        reader.finish().await?;
        Ok(counted)
    });
    match read.await {
        Err(error) if error.kind == DbErrorKind::NoMinutes => Ok(None),
        // Adding up flow by flow tells what overflows.
        Err(error) if error.kind == DbErrorKind::Overflow => Ok(None),
        read => read,
    }
}

/// The number of flows of a window up to the id `max_id`, in this state of the table; `None` where the flows would have to
/// be read.
///
/// # Errors
/// As [`read_minutes`].
pub async fn count_flows<D: Database>(
    readiness: &Readiness<D>,
    selection: &Selection,
    state: TableState,
    max_id: i64,
) -> Result<Option<i64>, DbError> {
    if selection.is_feed() || !selection.filters.is_empty() {
        return Ok(None);
    }
    let (after, before) = (selection.after, selection.before);
    let borders = [after.unwrap_or(i64::MIN), before.unwrap_or(i64::MAX)];
    let counted = read_minutes(readiness, &borders).await?;
    // A flow with a larger id than that of the counts would have to be looked for.
    let counted = counted
        .filter(|counted| counted.state.guard() == state.guard() && counted.max_id == max_id);
    Ok(counted.and_then(|counted| counted.flows()))
}

impl CountedFlows {
    /// The flows of all records: the first number of each.
    fn flows(&self) -> Option<i64> {
        let mut records = self.packed.split(|byte| *byte == b'[').skip(1);
        records.try_fold(0_i64, |sum, record| {
            let flows = record.split(|byte| *byte == b',').next()?;
            let flows: i64 = std::str::from_utf8(flows).ok()?.parse().ok()?;
            sum.checked_add(flows)
        })
    }
}

/// Buckets, divided at the ends of minutes.
#[derive(Debug, Default)]
struct Spans {
    /// Of whole minutes.
    whole: Vec<(i64, i64)>,
    /// Of parts of a minute.
    cut: Vec<(i64, i64)>,
    /// The minutes that are cut.
    cut_minutes: Vec<(i64, i64)>,
}

impl Spans {
    fn between(borders: &[i64]) -> Self {
        let mut spans = Self::default();
        for (after, until) in borders.iter().zip(borders.iter().skip(1)) {
            let (after, until) = (*after, *until);
            let first = end_of_minute(after).unwrap_or(i64::MAX);
            let last = until.saturating_sub(until.rem_euclid(60));
            if first < last {
                spans.add_cut(after, first);
                spans.whole.push((first, last));
                spans.add_cut(last, until);
            } else {
                spans.add_cut(after, until);
            }
        }
        spans
    }

    fn add_cut(&mut self, after: i64, until: i64) {
        if after < until {
            self.cut.push((after, until));
            let start = after.saturating_sub(after.rem_euclid(60));
            let end = end_of_minute(until).unwrap_or(i64::MAX);
            self.cut_minutes.push((start, end));
        }
    }

    async fn read(
        &self,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<CountedFlows>, DbError> {
        let spans = pairs(&self.cut_minutes);
        let statement = Statement::flows_in_minutes(reader.kind, spans);
        let (_, mut values) = reader.row(statement).await?;
        let cut_flows = match values.next() {
            Some(Value::Integer(MAX_CUT_FLOWS..)) => return Ok(None),
            Some(Value::Integer(flows)) => flows,
            Some(Value::Null) => 0,
            _ => return Err(unknown_form()),
        };
        let statements = cut_flows.checked_div(FLOWS_OF_STATEMENT).unwrap_or(0);
        let statements = usize::try_from(statements).unwrap_or(0).saturating_add(1);
        let spans = self.cut.len().div_ceil(statements).max(1);
        let mut cut = self.cut.chunks(spans);
        let whole = pairs(&self.whole);
        let first = pairs(cut.next().unwrap_or_default());
        let Some(mut counted) = count(whole, first, reader).await? else {
            return Ok(None);
        };
        for cut in cut {
            match count(pairs(&[]), pairs(cut), reader).await? {
                Some(more) if more.max_id == counted.max_id => {
                    counted.packed.push(b',');
                    counted.packed.extend_from_slice(&more.packed);
                    counted.count = counted.count.saturating_add(more.count);
                }
                _ => return Ok(None),
            }
        }
        // The least integer: no flow was there when counting began.
        Ok(Some(counted).filter(|counted| counted.max_id > i64::MIN))
    }
}

/// Counts the flows of spans, JSON arrays as [`Statement::count_minutes`] takes them.
async fn count(
    whole: String,
    cut: String,
    reader: &mut Reader<impl Database>,
) -> Result<Option<CountedFlows>, DbError> {
    let statement = Statement::count_minutes(reader.kind, whole, cut);
    let (state, mut values) = reader.row(statement).await?;
    match (values.next(), values.next(), values.next()) {
        (Some(Value::Null), ..) => Ok(None),
        (Some(Value::Integer(max_id)), Some(Value::Integer(count)), Some(Value::Blob(packed))) => {
            Ok(Some(CountedFlows {
                max_id,
                packed,
                count,
                state,
            }))
        }
        _ => Err(unknown_form()),
    }
}

/// The end of the minute of `time`: the multiple of 60 that it does not pass; `None` beyond 64 bits.
pub fn end_of_minute(time: i64) -> Option<i64> {
    match time.rem_euclid(60) {
        0 => Some(time),
        seconds => time.checked_add(60_i64.saturating_sub(seconds)),
    }
}

/// A JSON array of pairs.
fn pairs(spans: &[(i64, i64)]) -> String {
    let pairs = spans
        .iter()
        .map(|(after, until)| format!("[{after},{until}]"));
    format!("[{}]", pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_divided_at_the_ends_of_minutes() {
        let spans = Spans::between(&[0, 120, 130, 290, 300]);
        assert_eq!(spans.whole, [(0, 120), (180, 240)]);
        assert_eq!(spans.cut, [(120, 130), (130, 180), (240, 290), (290, 300)]);
        // No span is lost at the ends of the integers.
        let spans = Spans::between(&[i64::MIN, -1, i64::MAX]);
        assert_eq!(spans.whole[0].1, -60);
        assert_eq!(spans.cut.first(), Some(&(i64::MIN, spans.whole[0].0)));
        assert_eq!(spans.cut.last().map(|cut| cut.1), Some(i64::MAX));
        let spans = Spans::between(&[5]);
        assert!(spans.whole.is_empty() && spans.cut.is_empty());
    }

    #[test]
    fn a_minute_ends_at_a_multiple_of_60_and_holds_its_end() {
        for (time, until) in [
            (0, 0),
            (1, 60),
            (60, 60),
            (61, 120),
            (-1, 0),
            (-60, -60),
            (-61, -60),
        ] {
            assert_eq!(end_of_minute(time), Some(until), "{time}");
        }
        assert_eq!(end_of_minute(i64::MAX), None);
        assert_eq!(end_of_minute(i64::MIN), Some(i64::MIN + 8));
    }
}
