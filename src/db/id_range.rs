//! Pages by a range of ids, which SQLite reads without walking the index on time: a sixth of its work less.
//!
//! A feed is in the order of ids, so its pages are ranges. An answer in the order of time is too, where flows have
//! arrived in that order. Then the `n` flows behind the flow `a` are those of the ids from `a + 1` to `a + n`. Each such
//! page is proved before a byte of it is sent. Let `L` be the flow with the id `a + n`.
//!
//! 1. The index on time has `L` in the `n`-th place behind `a`, if the flows of the second of `a` that the page holds are
//!    all there are.
//! 2. They are: no flow of that second has a larger id than `L`.
//! 3. The page holds `n` flows.
//! 4. Their times never fall, from that of `a` on.
//!
//! By 3 and 4 the page holds flows between `a` and `L` in the order of `(time, id)`, in that order, `n` of them. By 1 and
//! 2 there are no more. The statement evaluates 1 and 2 and reads no flow where they fail; 3 and 4 are seen in the page.
//! A page without the proof is read by the index. The range is then not tried for a page, at the next failure for two,
//! and so on.

use super::pager::{Packed, Progress, ScanEnd};
use super::reader::Reader;
use super::sql::page::Seek;
use super::sql::state::TableKind;
use super::{Database, DbError, DbErrorKind};
use crate::rows::order::is_in_order;
use crate::table::key::RowKey;

/// The most pages that are read by the index between two tries.
const MAX_PAUSE: u32 = 64;

/// When a range is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeTries {
    /// Pages to be read by the index before the next try.
    wait: u32,
    /// Pages that were read by the index behind the last failure; 0 when there was none since the last success.
    pause: u32,
}

impl RangeTries {
    /// A short answer is read by the index alone: the last page before the end of a window would be tried in vain.
    pub(super) const NEW: Self = Self { wait: 1, pause: 0 };

    fn is_due(&mut self) -> bool {
        let is_due = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        is_due
    }

    fn has_failed(&mut self) {
        self.pause = self.pause.saturating_mul(2).clamp(1, MAX_PAUSE);
        self.wait = self.pause;
    }

    fn has_held(&mut self) {
        self.pause = 0;
    }
}

impl Progress {
    /// Reads the next page by a range of ids; `None` where it is not known to be the page, or where none is tried.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) async fn read_range(
        &mut self,
        row_limit: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<Packed>, DbError> {
        let (Seek::AfterKey(after), Some(max_id)) = (self.seek, self.max_id) else {
            return Ok(None);
        };
        let last_id = after.id.saturating_add(row_limit);
        let may_hold = reader.kind == TableKind::Guarded
            && self.page_query(0, 0, reader.kind).has_no_residual()
            && last_id <= max_id;
        if !may_hold || !self.range_tries.is_due() {
            return Ok(None);
        }
        let page = self.page_query(row_limit, 0, reader.kind);
        let statement = page.range_statement(after, last_id);
        let is_feed = self.selection.is_feed();
        let packed = match self.run(statement, row_limit, reader).await {
            Ok((packed, _)) => packed,
            // Read by the index, the page is made shorter, or the value is named.
            Err(error)
                if matches!(error.kind, DbErrorKind::TooLarge | DbErrorKind::UnnamedBlob) =>
            {
                self.range_tries.has_failed();
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // A feed may have gaps, but one that is mostly gaps would take many pages.
        let is_full = packed.count == row_limit || (is_feed && packed.count > row_limit / 2);
        let holds = is_full
            && !packed.is_too_large()
            && is_in_order(&packed.bytes, after, packed.count, !is_feed);
        if !holds {
            self.range_tries.has_failed();
            return Ok(None);
        }
        self.range_tries.has_held();
        let end = RowKey {
            id: last_id,
            ..after
        };
        Ok(Some(match packed.end {
            ScanEnd::NoMoreRows => Packed {
                end: ScanEnd::ScanLimit(end),
                ..packed
            },
            _ => packed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params_from_iter, types::Value as Sql};
    use support::random::Random;

    use super::*;
    use crate::db::Value;
    use crate::db::sql::Statement;
    use crate::db::sql::page::{KEY_COLUMNS, PageQuery};
    use crate::query::selection::Selection;
    use crate::rows::ends::first_key;
    use crate::table::SCHEMA;
    use crate::table::columns::SQL_LIST;

    /// The flows of a table, as `(id, time)`: mostly in order, with late ones and gaps.
    fn table(below: &mut impl FnMut(usize) -> i64) -> Vec<(i64, i64)> {
        let (late, gaps) = (below(4), below(4));
        let mut time = 1;
        let mut flows = Vec::new();
        for id in 1..=3 + below(9) {
            time += below(2);
            let is_late = below(8) < late;
            let at = if is_late { 1 + below(5) } else { time };
            if below(8) >= gaps {
                flows.push((id, at));
            }
        }
        flows
    }

    /// The page of `count` flows behind `after`.
    fn page_behind(after: RowKey, count: i64, selection: &Selection) -> PageQuery<'_> {
        PageQuery {
            selection,
            seek: Seek::AfterKey(after),
            max_id: None,
            row_limit: count,
            scan_limit: 0,
            columns: KEY_COLUMNS,
            cursor_row: None,
            kind: TableKind::Guarded,
            lead: None,
        }
    }

    /// What a statement of a page returns: the keys of its flows.
    fn keys(database: &Connection, statement: &Statement) -> (Vec<RowKey>, Vec<u8>) {
        let mut prepared = database.prepare_cached(&statement.text).unwrap();
        let values = statement.parameters.iter().map(|value| match value {
            Value::Integer(integer) => Sql::Integer(*integer),
            other => panic!("{other:?} is bound"),
        });
        let packed = prepared.query_row(params_from_iter(values), |row| row.get(2));
        let packed: Vec<u8> = packed.map(Option::unwrap_or_default).unwrap();
        let text = String::from_utf8(packed.clone()).unwrap();
        let records = text
            .split_inclusive(']')
            .map(|record| record.trim_start_matches(','));
        let keys = records
            .map(|record| first_key(record.as_bytes()).unwrap())
            .collect();
        (keys, packed)
    }

    /// Reads the page of `count` flows behind `after` by the index and by the range, over random tables. Counts the
    /// pages for which `holds` takes the range. Returns that number, and the first page where the two differ.
    ///
    /// `holds` gets the flows by the range, and what they are packed in.
    fn compare(
        tables: u32,
        change: impl Fn(&mut Statement),
        holds: impl Fn(&[RowKey], &[u8], RowKey, i64) -> bool,
    ) -> (u32, Option<String>) {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        let mut random = Random::of(b"tables");
        let mut below = |end| random.below(end) as i64;
        let mut held = 0;
        for _ in 0..tables {
            let flows = table(&mut below);
            let writing = database.transaction().unwrap();
            writing.execute("DELETE FROM flows", []).unwrap();
            let insert = "INSERT INTO flows VALUES (?, ?, 0, 'C1', '1', 'C2', '2', 6, 1, 1)";
            for flow in &flows {
                writing
                    .prepare_cached(insert)
                    .unwrap()
                    .execute(*flow)
                    .unwrap();
            }
            let Some((id, time)) = flows.get(below(12) as usize).copied() else {
                continue;
            };
            let (after, count) = (RowKey { time, id }, 1 + below(5));
            let max_id = flows.last().unwrap().0 - below(2);
            let before = (below(3) == 0).then(|| time + below(4));
            if id + count > max_id {
                continue;
            }
            let selection = Selection {
                before,
                ..Selection::default()
            };
            let page = PageQuery {
                max_id: Some(max_id),
                ..page_behind(after, count, &selection)
            };
            let mut statement = page.range_statement(after, id + count);
            change(&mut statement);
            let (by_range, packed) = keys(&writing, &statement);
            if holds(&by_range, &packed, after, count) {
                held += 1;
                let (by_index, _) = keys(&writing, &page.statement());
                if by_range != by_index {
                    let difference = format!(
                        "{count} flows behind {after:?} of {flows:?} up to {before:?}: {by_range:?}, not {by_index:?}"
                    );
                    return (held, Some(difference));
                }
            }
            writing.rollback().unwrap();
        }
        (held, None)
    }

    fn is_full(keys: &[RowKey], count: i64) -> bool {
        keys.len() as i64 == count
    }

    fn never_falls(keys: &[RowKey], after: RowKey) -> bool {
        let times: Vec<_> = std::iter::once(&after)
            .chain(keys)
            .map(|key| key.time)
            .collect();
        times.is_sorted()
    }

    #[test]
    fn a_range_is_read_by_ids_and_proved_along_the_index() {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(SCHEMA).unwrap();
        let steps_of = |selection: &Selection| {
            let after = RowKey { time: 5, id: 7 };
            let page = PageQuery {
                columns: SQL_LIST,
                ..page_behind(after, 2, selection)
            };
            let statement = page.range_statement(after, 9);
            let explain = format!("EXPLAIN QUERY PLAN {}", statement.text);
            let mut explained = database.prepare(&explain).unwrap();
            let values = statement.parameters.iter().map(|_| 1);
            let steps = explained.query_map(params_from_iter(values), |row| row.get(3));
            let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
            steps
                .into_iter()
                .filter(|step| step.contains(" flows "))
                .collect::<Vec<_>>()
        };
        let by_ids = "SEARCH flows USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
        let last_id = "SEARCH flows USING INTEGER PRIMARY KEY (rowid>?)";
        let feed = Selection {
            after_id: Some(1),
            ..Selection::default()
        };
        assert_eq!(steps_of(&feed), [by_ids, last_id]);
        let time = |range: &str| format!("SEARCH flows USING COVERING INDEX flows_time ({range})");
        let rest = time("time=? AND rowid>? AND rowid<?");
        let larger = time("time=? AND rowid>?");
        for (before, range) in [(None, "time>?"), (Some(9), "time>? AND time<?")] {
            let selection = Selection {
                before,
                ..Selection::default()
            };
            let expected = [by_ids, &rest, &time(range), &larger, last_id];
            assert_eq!(steps_of(&selection), expected);
        }
    }

    #[test]
    fn a_range_that_is_proved_is_the_page_by_the_index_in_any_table() {
        let (held, difference) = compare(
            100_000,
            |_| {},
            |_, packed, after, count| is_in_order(packed, after, count, true),
        );
        assert_eq!(difference, None);
        assert!(held > 5_000, "only {held} pages were proved");
    }

    #[test]
    fn each_condition_of_the_proof_is_needed() {
        /// Removes a condition from the statement: from `start` to `end`.
        fn without(start: &str, end: &str) -> impl Fn(&mut Statement) {
            move |statement| {
                let text = &statement.text;
                let (head, rest) = text.split_once(start).expect("the condition");
                let (_, tail) = rest.split_once(end).expect("its end");
                // The parameters stay bound.
                statement.text = format!("{head} AND true{tail}");
                let unused = statement.parameters.len();
                statement
                    .text
                    .push_str(&format!(" AND +?{unused} IS NOT 'x'"));
            }
        }
        let all = |keys: &[RowKey], _: &[u8], after, count| {
            is_full(keys, count) && never_falls(keys, after)
        };
        let first = compare(100_000, without(" AND +?2 = (SELECT id", "<= +?2))"), all);
        assert!(first.1.is_some(), "the place of the last flow");
        let second = compare(100_000, without(" AND NOT EXISTS", "AND id > +?2)"), all);
        assert!(second.1.is_some(), "the end of the first second");
        let third = compare(
            100_000,
            |_| {},
            |keys, _, after, _| never_falls(keys, after),
        );
        assert!(third.1.is_some(), "the number of flows");
        let fourth = compare(100_000, |_| {}, |keys, _, _, count| is_full(keys, count));
        assert!(fourth.1.is_some(), "the order of the times");
    }
}
