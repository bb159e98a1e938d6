//! The SQL of a page that is read by a range of ids.

use super::page::PageQuery;
use super::{Bound, Statement, where_clause};
use crate::table::key::RowKey;

impl PageQuery<'_> {
    /// The statement of the flows whose ids are above that of `after` and not above `last_id`, in the order of ids. It
    /// returns as [`Self::statement`], and NULL as the last value.
    ///
    /// In the order of time it returns no flow unless the index on time has `last_id` at the end of the page: as many
    /// places behind `after` as there are ids, with no flow behind it in the second of `after`.
    pub fn range_statement(&self, after: RowKey, last_id: i64) -> Statement {
        let mut bound = Bound::default();
        let first = bound.integer(after.id);
        let last = bound.integer(last_id);
        let ids = format!("id > {first} AND id <= {last}");
        let mut conditions = vec![ids.clone()];
        if !self.selection.is_feed() {
            let time = bound.integer(after.time);
            let count = bound.integer(last_id.saturating_sub(after.id));
            let before = self.selection.before.map(|time| bound.integer(time));
            let before = before.map_or_else(String::new, |time| format!(" AND time <= {time}"));
            // The rest of a second is counted along its own ids. The row value `(time, id)` would be compared at each row.
            let rest = format!("SELECT count(*) FROM flows WHERE time = {time} AND {ids}");
            conditions.push(format!(
                "{last} = (SELECT id FROM flows WHERE time > {time}{before} ORDER BY time, id \
                 LIMIT 1 OFFSET {count} - 1 - ({rest}))"
            ));
            conditions.push(format!(
                "NOT EXISTS (SELECT 1 FROM flows WHERE time = {time} AND id > {last})"
            ));
        }
        let state = self.state(&mut bound);
        let rows = where_clause(&conditions);
        // Not behind a LIMIT: SQLite then packs the rows where it reads them.
        let text = format!(
            "SELECT ({state}), count(*), CAST(group_concat(json_array({})) AS BLOB), NULL FROM flows{rows}",
            self.columns
        );
        Statement {
            text,
            parameters: bound.0,
        }
    }
}
