//! Whether an answer reads the index of a filter in place of that on time.
//!
//! An index on `(src_comp, time)` gives the flows of one host in the order of `(time, id)`; those of several are merged.
//! It is read where that takes fewer steps. The other conditions are checked row by row, as they are without it, so the
//! answer is the same.

use super::pager::{Progress, row_key};
use super::reader::Reader;
use super::sql::Statement;
use super::{Database, DbError, DbErrorKind, Value};
use crate::query::selection::{Filter, Values};

/// The most values whose ranges are merged.
const MAX_VALUES: usize = 64;

/// Keys that are counted in an index to learn how rare a filter's values are, about 1 ms.
const MAX_COUNTED: i64 = 20_000;

/// A row by the index of a filter takes the time of so many by that on time.
const COST_OF_ROW: i64 = 5;

/// A window of fewer rows is read whole.
const SHORT_WINDOW: i64 = 10_000;

impl Progress {
    /// The filter whose index the answer reads: that with the rarest values. `None` where the index on time is read.
    ///
    /// # Errors
    /// A database that cannot be read, or a table that is edited meanwhile.
    pub(super) async fn choose_index(
        &self,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<usize>, DbError> {
        match self.rarest(reader).await {
            Err(error) if error.kind == DbErrorKind::NoIndex => Ok(None),
            result => result,
        }
    }

    async fn rarest(&self, reader: &mut Reader<impl Database>) -> Result<Option<usize>, DbError> {
        if self.selection.is_feed() {
            return Ok(None);
        }
        let filters = self.selection.filters.iter().enumerate();
        let mut filters: Vec<_> = filters
            .filter(|(_, filter)| matches!(&filter.values, Values::Texts(all) if all.len() <= MAX_VALUES))
            .collect();
        if filters.is_empty() {
            return Ok(None);
        }
        let columns = filters.iter().map(|(_, filter)| &filter.column);
        let statement = Statement::filter_indexes(reader.kind, columns);
        let (_, has_index) = reader.row(statement).await?;
        let mut has_index = has_index.map(|has| has == Value::Integer(1));
        filters.retain(|_| has_index.next() == Some(true));
        let indexed: Vec<_> = filters.iter().map(|(_, filter)| *filter).collect();
        let counts = self.count_keys(&indexed, reader).await?;
        let places = filters.iter().zip(counts);
        let counted = places.filter_map(|(place, count)| Some((count?, *place)));
        let Some((count, (place, filter))) = counted.min_by_key(|(count, _)| *count) else {
            return Ok(None);
        };
        let rows = count
            .saturating_mul(COST_OF_ROW)
            .saturating_add(SHORT_WINDOW);
        let statement = self.page_query(0, rows, reader.kind).key_statement();
        let (_, mut values) = reader.row(statement).await?;
        let Some(Value::Blob(key)) = values.next() else {
            return Ok(None);
        };
        if count == MAX_COUNTED {
            // The share of these keys is unknown. That in the first rows stands for all.
            let mut start = self.clone();
            start.selection.before = Some(row_key(&key)?.time);
            if start.count_keys(&[filter], reader).await? == [Some(MAX_COUNTED)] {
                return Ok(None);
            }
        }
        Ok(Some(place))
    }

    /// How many keys the indexes of these filters give in the window, up to [`MAX_COUNTED`]; `None` where an index
    /// holds other values than text.
    async fn count_keys(
        &self,
        filters: &[&Filter],
        reader: &mut Reader<impl Database>,
    ) -> Result<Vec<Option<i64>>, DbError> {
        if filters.is_empty() {
            return Ok(Vec::new());
        }
        let page = self.page_query(0, 0, reader.kind);
        let statement = page.count_keys_statement(filters, MAX_COUNTED);
        let (_, counts) = reader.row(statement).await?;
        let count = |value| match value {
            Value::Integer(count) => Some(count),
            _ => None,
        };
        Ok(counts.map(count).collect())
    }
}
