//! The SQL of a page: which rows it scans, which of them it returns, and where it ends.
//!
//! Every statement reads one index in the answer's order and never sorts; the tests here hold each shape to that.
//! Values are bound and never written into the text. So there are few texts, and SQLite's cache of prepared
//! statements serves nearly every page.

use super::state::{self, TableKind};
use super::{Bound, Statement, where_clause};
use crate::db::Value;
use crate::query::cursor::CursorSeek;
use crate::query::selection::{Filter, Selection, Values};
use crate::table::key::RowKey;

/// Where a page starts in the answer's order (keyset pagination).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// At the first flow of the selection.
    Start,
    /// After this flow.
    AfterKey(RowKey),
    /// The rest of one second that spans pages: `time = t AND id > i`.
    ///
    /// Where `id` is the rowid, SQLite finds the row value `(time, id) > (?, ?)` by `time` alone and rescans the
    /// second from its start. In a second of a hundred thousand flows that costs more than the page.
    WithinSecond(RowKey),
    /// After this second.
    AfterTime(i64),
}

impl From<CursorSeek> for Seek {
    fn from(seek: CursorSeek) -> Self {
        match seek {
            CursorSeek::Start => Self::Start,
            CursorSeek::AfterKey(key) => Self::AfterKey(key),
            CursorSeek::WithinSecond(key) => Self::WithinSecond(key),
        }
    }
}

impl From<Seek> for CursorSeek {
    fn from(seek: Seek) -> Self {
        match seek {
            Seek::Start => Self::Start,
            Seek::AfterKey(key) => Self::AfterKey(key),
            Seek::WithinSecond(key) => Self::WithinSecond(key),
            Seek::AfterTime(time) => Self::AfterKey(RowKey { time, id: i64::MAX }),
        }
    }
}

/// A page to be read.
#[derive(Debug, Clone, Copy)]
pub struct PageQuery<'a> {
    /// Which flows, in which order.
    pub selection: &'a Selection,
    /// Where the page starts.
    pub seek: Seek,
    /// The largest id that the page may hold; `None` before the first page.
    pub max_id: Option<i64>,
    /// Flows in the page, at most.
    pub row_limit: i64,
    /// Rows that the statement reads, at most, where not every row matches.
    pub scan_limit: i64,
    /// The columns that are packed.
    pub columns: &'a str,
    /// The last flow before the cursor that the answer continues from.
    pub cursor_row: Option<RowKey>,
    /// What is known of the table.
    pub kind: TableKind,
    /// The filter that an index of its own answers: its place in the selection.
    pub lead: Option<usize>,
}

/// The columns of the key. The index on `time` holds both.
pub const KEY_COLUMNS: &str = "id, time";

impl PageQuery<'_> {
    /// The statement of the page. It returns one row of four values:
    ///
    /// 1. the table's state, see [`super::state`]
    /// 2. the number of flows
    /// 3. the flows, packed, as a BLOB; NULL where there are none. The host panics on text that is not UTF-8
    /// 4. the key of the row at `scan_limit`; NULL where there are fewer rows, or no residual conditions
    pub fn statement(&self) -> Statement {
        let mut bound = Bound::default();
        // Packed in the inner SELECT: in the outer one each value would first be copied out of the row (OP_Copy).
        let flow = format!("SELECT json_array({}) AS flow", self.columns);
        let (keys, end, rows) = if self.has_no_residual() {
            let index = where_clause(&self.index_conditions(&mut bound));
            let order = self.order();
            let rows = format!("{flow} FROM flows{index} ORDER BY {order}");
            (String::new(), "NULL".to_owned(), rows)
        } else {
            let Scan {
                keys,
                rows,
                end,
                conditions,
                order,
            } = self.scan(&mut bound);
            let conditions = where_clause(&conditions);
            (keys, end, format!("{flow} FROM {rows}{conditions}{order}"))
        };
        let row_limit = bound.integer(self.row_limit);
        let state = self.state(&mut bound);
        let text = format!(
            "{keys}SELECT ({state}), count(*), CAST(group_concat(flow) AS BLOB), {end} \
             FROM ({rows} LIMIT {row_limit})"
        );
        Statement {
            text,
            parameters: bound.0,
        }
    }

    /// The rows that are read, where conditions decide which of them are flows of the answer.
    fn scan(&self, bound: &mut Bound) -> Scan {
        let mut conditions = self.index_conditions(bound);
        let index = where_clause(&conditions);
        let residual = self.residual_conditions(bound);
        let lead = self.lead.and_then(|lead| self.selection.filters.get(lead));
        // Without a condition, every row that is read is one of the page.
        let rows = if residual.is_empty() {
            self.row_limit
        } else {
            self.scan_limit
        };
        let last = bound.integer(rows.saturating_sub(1));
        let Some(Filter { column, values }) = lead else {
            // The last row is found along the index alone. Up to it, each row is checked before it is packed.
            let order = self.order();
            let up_to = |column| format!("ifnull((SELECT last_{column} FROM last), {})", i64::MAX);
            let (time, id) = (up_to("time"), up_to("id"));
            // Behind its last row the second of a page is read along the index alone, once for the pages that follow.
            let is_within_second = matches!(self.seek, Seek::WithinSecond(_));
            if self.selection.is_feed() || is_within_second {
                conditions.push(format!("id <= {id}"));
            } else {
                conditions.push(format!("time <= {time} AND (time < {time} OR id <= {id})"));
            }
            conditions.extend(residual);
            return Scan {
                keys: format!(
                    "WITH last AS MATERIALIZED (SELECT time AS last_time, id AS last_id FROM flows{index} \
                     ORDER BY {order} LIMIT 1 OFFSET {last}) "
                ),
                rows: "flows",
                end: "(SELECT CAST(json_array(last_id, last_time) AS BLOB) FROM last)".to_owned(),
                conditions,
                order: format!(" ORDER BY {order}"),
            };
        };
        // A range of the index for each value, merged: `IN` would be sorted.
        let and = index.replacen(" WHERE", " AND", 1);
        let range = |value: &String| {
            let value = bound.value(Value::Text(value.clone()));
            format!(
                "SELECT id AS key_id, time AS key_time FROM flows INDEXED BY flows_{column} \
                 WHERE {column} = {value} COLLATE BINARY{and}"
            )
        };
        let ranges: Vec<_> = match values {
            Values::Texts(all) => all.iter().map(range).collect(),
            Values::Integers(_) => Vec::new(),
        };
        let ranges = ranges.join(" UNION ALL ");
        let scan_limit = bound.integer(rows);
        Scan {
            keys: format!(
                "WITH keys AS MATERIALIZED ({ranges} ORDER BY key_time, key_id LIMIT {scan_limit}) "
            ),
            rows: "keys CROSS JOIN flows ON id = key_id",
            end: format!(
                "(SELECT CAST(json_array(key_id, key_time) AS BLOB) FROM keys LIMIT 1 OFFSET {last})"
            ),
            conditions: residual,
            order: String::new(),
        }
    }

    /// Whether the index answers every condition.
    pub fn has_no_residual(&self) -> bool {
        self.selection.filters.is_empty()
            && !(self.selection.is_feed() && self.selection.has_window())
    }

    /// The statement that seeks to the last of `scan_limit` rows. It returns the table's state and the row's key;
    /// NULL where there are fewer rows. It counts along the index and packs nothing.
    pub fn key_statement(&self) -> Statement {
        let mut bound = Bound::default();
        let index = where_clause(&self.index_conditions(&mut bound));
        let last = bound.integer(self.scan_limit.saturating_sub(1));
        let key = self.key_at(&index, &last);
        let state = self.state(&mut bound);
        Statement {
            text: format!("SELECT ({state}), ({key})"),
            parameters: bound.0,
        }
    }

    /// The statement that counts all rows from the seek on. It returns the table's state and the number.
    pub fn count_statement(&self) -> Statement {
        let mut bound = Bound::default();
        let index = where_clause(&self.index_conditions(&mut bound));
        let state = self.state(&mut bound);
        Statement {
            text: format!("SELECT ({state}), (SELECT count(*) FROM flows{index})"),
            parameters: bound.0,
        }
    }

    /// The statement that finds the first value which SQLite refuses to pack: a BLOB that is not its binary JSON. It
    /// returns the table's state and `flow ID: COLUMN` as a BLOB; NULL where the page has no such value.
    pub fn blob_statement(&self) -> Statement {
        let mut bound = Bound::default();
        let Scan {
            keys,
            rows,
            mut conditions,
            order,
            ..
        } = self.scan(&mut bound);
        let refused: Vec<_> = self
            .columns
            .split(", ")
            .map(|column| {
                // The flag 8 checks SQLite's binary JSON in full.
                let is_refused =
                    format!("typeof({column}) = 'blob' AND NOT json_valid({column}, 8)");
                (column, is_refused)
            })
            .collect();
        let any: Vec<_> = refused.iter().map(|(_, is)| format!("({is})")).collect();
        conditions.push(format!("({})", any.join(" OR ")));
        let filter = where_clause(&conditions);
        let named: Vec<_> = refused
            .iter()
            .map(|(column, is)| format!("WHEN {is} THEN '{column}'"))
            .collect();
        let named = named.join(" ");
        let state = self.state(&mut bound);
        let text = format!(
            "{keys}SELECT ({state}), (SELECT CAST('flow ' || quote(id) || ': ' || CASE {named} END AS BLOB) \
             FROM {rows}{filter}{order} LIMIT 1)"
        );
        Statement {
            text,
            parameters: bound.0,
        }
    }

    /// The statement that counts what the indexes of these filters would read, each up to `most` keys. It returns the
    /// table's state, and for each filter the number; NULL where its index holds other values than text.
    pub fn count_keys_statement(&self, filters: &[&Filter], most: i64) -> Statement {
        let mut bound = Bound::default();
        let index = where_clause(&self.index_conditions(&mut bound));
        let and = index.replacen(" WHERE", " AND", 1);
        let most = bound.integer(most);
        let mut counts = String::new();
        for Filter { column, values } in filters {
            let from = format!("FROM flows INDEXED BY flows_{column}");
            let end = |order: &str| {
                format!("(SELECT typeof({column}) {from} ORDER BY {column} {order} LIMIT 1)")
            };
            let values = bound.values(values);
            counts.push_str(&format!(
                ", iif({} = 'text' AND {} = 'text', (SELECT count(*) FROM (SELECT 1 {from} \
                 WHERE {column} COLLATE BINARY IN ({values}){and} LIMIT {most})), NULL)",
                end("ASC"),
                end("DESC"),
            ));
        }
        let state = self.state(&mut bound);
        Statement {
            text: format!("SELECT ({state}){counts}"),
            parameters: bound.0,
        }
    }

    pub(super) fn state(&self, bound: &mut Bound) -> String {
        state::select(self.kind, self.cursor_row, |value| bound.integer(value))
    }

    /// Selects the key of the row at the offset `last`.
    fn key_at(&self, index: &str, last: &str) -> String {
        let order = self.order();
        format!(
            "SELECT CAST(json_array({KEY_COLUMNS}) AS BLOB) FROM flows{index} ORDER BY {order} \
             LIMIT 1 OFFSET {last}"
        )
    }

    pub(super) fn order(&self) -> &'static str {
        if self.selection.is_feed() {
            "id"
        } else {
            "time, id"
        }
    }

    /// The conditions that the index answers.
    pub(super) fn index_conditions(&self, bound: &mut Bound) -> Vec<String> {
        let mut conditions = Vec::new();
        if let Some(after_id) = self.selection.after_id {
            let after = match self.seek {
                Seek::AfterKey(RowKey { id, .. }) | Seek::WithinSecond(RowKey { id, .. }) => id,
                Seek::Start | Seek::AfterTime(_) => after_id,
            };
            conditions.push(format!("id > {}", bound.integer(after)));
            let window = self.window(bound);
            if !window.is_empty() {
                // NULL where the window is empty: then no id is read. SQLite evaluates it once.
                let max_id = bound.integer(self.max_id.unwrap_or(i64::MAX));
                let window = where_clause(&window);
                conditions.push(format!(
                    "id <= (SELECT {max_id} FROM flows{window} LIMIT 1)"
                ));
            } else if let Some(max_id) = self.max_id {
                conditions.push(format!("id <= {}", bound.integer(max_id)));
            }
            return conditions;
        }
        match (self.seek, self.selection.after) {
            (Seek::Start, None) => {}
            (Seek::Start, Some(time)) | (Seek::AfterTime(time), _) => {
                conditions.push(format!("time > {}", bound.integer(time)));
            }
            (Seek::AfterKey(RowKey { time, id }), _) => {
                let (time, id) = (bound.integer(time), bound.integer(id));
                conditions.push(format!("(time, id) > ({time}, {id})"));
            }
            (Seek::WithinSecond(RowKey { time, id }), _) => {
                let (time, id) = (bound.integer(time), bound.integer(id));
                conditions.push(format!("time = {time} AND id > {id}"));
            }
        }
        if let Some(before) = self.selection.before {
            conditions.push(format!("time <= {}", bound.integer(before)));
        }
        if let Some(max_id) = self.max_id {
            // The plus keeps the planner off the index of ids.
            conditions.push(format!("+id <= {}", bound.integer(max_id)));
        }
        conditions
    }

    /// The window alone.
    fn window(&self, bound: &mut Bound) -> Vec<String> {
        let mut conditions = Vec::new();
        if let Some(after) = self.selection.after {
            conditions.push(format!("time > {}", bound.integer(after)));
        }
        if let Some(before) = self.selection.before {
            conditions.push(format!("time <= {}", bound.integer(before)));
        }
        conditions
    }

    /// The conditions that each row is tested against after the index has returned it.
    fn residual_conditions(&self, bound: &mut Bound) -> Vec<String> {
        let mut conditions = Vec::new();
        if self.selection.is_feed() {
            conditions = self.window(bound);
        }
        // Values are compared as they are written, whatever type the database stores.
        for (place, Filter { column, values }) in self.selection.filters.iter().enumerate() {
            if self.lead == Some(place) {
                continue;
            }
            let kind = match values {
                Values::Integers(_) => "INTEGER",
                Values::Texts(_) => "TEXT",
            };
            let values = bound.values(values);
            conditions.push(format!(
                "CAST({column} AS {kind}) COLLATE BINARY IN ({values})"
            ));
        }
        conditions
    }
}

/// The parts of a statement that reads rows of which some are flows of the answer.
struct Scan {
    /// The common table expression of the keys that an index of a filter gives, or of the last row.
    keys: String,
    /// Where the rows come from.
    rows: &'static str,
    /// Selects the key of the last row, if the statement reads as many as it may.
    end: String,
    /// The conditions that a row has to meet.
    conditions: Vec<String>,
    /// The order of the rows, where they do not come in it.
    order: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::sql::probe::{finds_by_rowid, is_slow, plan_probe};
    use crate::table::SCHEMA;
    use crate::table::columns::SQL_LIST;

    const THERE: RowKey = RowKey { time: 5, id: 7 };

    /// As `flows load --index` makes it.
    const FILTER_INDEX: &str = "CREATE INDEX flows_src_comp ON flows (src_comp, time);";

    /// Every selection that differs in its statement.
    fn selections() -> Vec<Selection> {
        let filter = Filter {
            column: "src_comp",
            values: Values::Texts(vec!["C1".into(), "C2".into()]),
        };
        let protocol = Filter {
            column: "protocol",
            values: Values::Integers(vec![6]),
        };
        let mut all = Vec::new();
        for bits in 0..16 {
            let set = |bit: u32| bits & (1 << bit) != 0;
            all.push(Selection {
                after: set(0).then_some(3),
                before: set(1).then_some(9),
                after_id: set(2).then_some(4),
                filters: if set(3) {
                    vec![filter.clone(), protocol.clone()]
                } else {
                    Vec::new()
                },
            });
        }
        all
    }

    /// Each statement there is.
    fn statements() -> Vec<Statement> {
        let mut all = Vec::new();
        for selection in &selections() {
            for seek in [
                Seek::Start,
                Seek::AfterKey(THERE),
                Seek::WithinSecond(THERE),
                Seek::AfterTime(5),
            ] {
                for max_id in [None, Some(100)] {
                    for columns in [SQL_LIST, KEY_COLUMNS] {
                        for (kind, cursor_row) in [
                            (TableKind::Unchecked, None),
                            (TableKind::Guarded, None),
                            (TableKind::Unguarded, None),
                            (TableKind::Unguarded, Some(THERE)),
                        ] {
                            let page = PageQuery {
                                selection,
                                seek,
                                max_id,
                                row_limit: 5,
                                scan_limit: 9,
                                columns,
                                cursor_row,
                                kind,
                                lead: None,
                            };
                            all.extend([
                                page.statement(),
                                page.key_statement(),
                                page.count_statement(),
                                page.blob_statement(),
                            ]);
                            if let [filter, ..] = selection.filters.as_slice()
                                && !selection.is_feed()
                                && kind != TableKind::Unchecked
                            {
                                let lead = Some(0);
                                let page = PageQuery { lead, ..page };
                                all.extend([
                                    page.statement(),
                                    page.blob_statement(),
                                    page.count_keys_statement(&[filter], 20),
                                ]);
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// The plan of each statement, on an empty database made by `schema`.
    fn plans(schema: &str) -> Vec<(String, Vec<String>)> {
        let database = empty(&format!("{schema}{FILTER_INDEX}"));
        let with_plan = |statement: Statement| {
            let steps = plan(&database, &statement);
            (statement.text, steps)
        };
        statements().into_iter().map(with_plan).collect()
    }

    /// An empty database made by `schema`.
    fn empty(schema: &str) -> rusqlite::Connection {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        database.execute_batch(schema).unwrap();
        database
    }

    /// The steps of a statement's plan.
    fn plan(database: &rusqlite::Connection, statement: &Statement) -> Vec<String> {
        let Statement { text, parameters } = statement;
        let explain = format!("EXPLAIN QUERY PLAN {text}");
        let mut explained = database.prepare(&explain).unwrap();
        assert_eq!(explained.parameter_count(), parameters.len(), "{text}");
        let values = rusqlite::params_from_iter(parameters.iter().map(|_| 1));
        let steps = explained.query_map(values, |row| row.get(3)).unwrap();
        steps.map(Result::unwrap).collect()
    }

    /// A page may start at the first row of an index; the page itself is a subquery, whose name starts with
    /// a parenthesis; pragma and guard are tables of one row, and the schema is one of a dozen. The keys are those of a
    /// page; the types at the ends of a filter's index are read from its ends.
    fn is_slow_in_a_page(step: &str) -> bool {
        let scanned = step.strip_prefix("SCAN ").unwrap_or("(");
        let quick = scanned.starts_with('(')
            || scanned.starts_with("pragma_")
            || [
                "CONSTANT ROW",
                "sqlite_schema",
                "flows_guard",
                "keys",
                "last",
            ]
            .contains(&scanned)
            || scanned.contains(" INDEX flows_time")
            || scanned == "flows USING COVERING INDEX flows_src_comp";
        step.contains("TEMP B-TREE") || !quick
    }

    #[test]
    fn every_page_walks_the_intended_index_and_never_sorts() {
        let foreign = SCHEMA.replace("\n);", "\n) WITHOUT ROWID;");
        assert_ne!(foreign, SCHEMA);
        let with_id = SCHEMA.replace("flows (time)", "flows (time, id)");
        assert_ne!(with_id, SCHEMA);
        for schema in [SCHEMA, &foreign, &with_id] {
            for (text, steps) in plans(schema) {
                let walked: Vec<_> = steps
                    .iter()
                    .filter(|s| s.contains(" flows USING") || s.contains(" flows ("))
                    .collect();
                let intended = if text.contains("INDEXED BY flows_src_comp") {
                    |step: &str| step.contains(" COVERING INDEX flows_src_comp (src_comp=?")
                } else if text.contains("ORDER BY id") {
                    |step: &str| step.contains("SEARCH flows USING") && step.contains("PRIMARY KEY")
                } else {
                    |step: &str| step.contains(" INDEX flows_time")
                };
                assert!(
                    walked.iter().any(|step| intended(step)),
                    "{text}\n{steps:#?}"
                );
                assert!(
                    !steps.iter().any(|step| is_slow_in_a_page(step)),
                    "{text}\n{steps:#?}"
                );
            }
        }
    }

    #[test]
    fn a_statement_is_prepared_once_whatever_is_bound() {
        // With statistics the planner would look at more of the values.
        let analysed = "INSERT INTO flows (time, duration, src_comp, src_port, dst_comp, dst_port, protocol, \
                        packet_count, byte_count) \
                        SELECT value / 9, 0, 'C1', '1', 'C2', '2', 6, 1, 1 \
                        FROM json_each('[' || replace(hex(zeroblob(500)), '0', '1,') || '1]'); ANALYZE;";
        let database = empty(&format!("{SCHEMA}{FILTER_INDEX}"));
        database.execute_batch(analysed).unwrap();
        for Statement { text, parameters } in statements() {
            let mut prepared = database.prepare(&text).unwrap();
            for value in [0, 7, 70] {
                let values = rusqlite::params_from_iter(parameters.iter().map(|_| value));
                prepared.query(values).unwrap().next().unwrap();
            }
            let again = prepared.get_status(rusqlite::StatementStatus::RePrepare);
            assert_eq!(again, 0, "{text}");
        }
    }

    #[test]
    fn a_second_longer_than_a_page_is_not_walked_again_for_each_page() {
        let mut seen = 0;
        for (text, steps) in plans(SCHEMA) {
            if text.contains("time = +?1 AND id > +?2") {
                let seeks = steps
                    .iter()
                    .any(|step| step.contains("time=? AND rowid>?)"));
                assert!(seeks, "{text}\n{steps:#?}");
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    /// The steps of SQLite's machine that a statement takes: what it costs, whatever the machine.
    fn machine_steps(database: &rusqlite::Connection, statement: &Statement) -> i32 {
        let mut prepared = database.prepare(&statement.text).unwrap();
        let values = statement.parameters.iter().map(|value| match value {
            Value::Integer(integer) => rusqlite::types::Value::Integer(*integer),
            other => panic!("{other:?} is bound"),
        });
        let values: Vec<_> = values.collect();
        let mut rows = prepared.query(rusqlite::params_from_iter(values)).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        prepared.get_status(rusqlite::StatementStatus::VmStep)
    }

    #[test]
    fn what_a_page_costs_does_not_grow_with_what_it_does_not_hold() {
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
                    SELECT i, 7, 0, 'C1', '1', 'C2', '2', 6, 1, 1 FROM n";
        let database = empty(&format!("{SCHEMA} INSERT INTO flows {rows};"));
        let steps = |seek, selection: &Selection| {
            let page = PageQuery {
                selection,
                seek,
                max_id: Some(50_000),
                row_limit: 10,
                scan_limit: 10_000,
                columns: SQL_LIST,
                cursor_row: None,
                kind: TableKind::Guarded,
                lead: None,
            };
            machine_steps(&database, &page.statement())
        };
        let all = Selection::default();
        let start = steps(Seek::Start, &all);
        // The end of a second of 50,000 flows costs no more than its beginning.
        let end = RowKey {
            time: 7,
            id: 49_000,
        };
        let inside = steps(Seek::WithinSecond(end), &all);
        assert!(inside < start * 2, "{inside} steps, {start} at the start");
        // A row value searches the second from its start: this is what there is to see.
        let behind = steps(Seek::AfterKey(end), &all);
        assert!(behind > start * 20, "{behind} steps, {start} at the start");
        // A feed of a window that holds nothing.
        let nothing = Selection {
            after: Some(9),
            after_id: Some(0),
            ..Selection::default()
        };
        let nothing = steps(Seek::Start, &nothing);
        assert!(nothing < start, "{nothing} steps, {start} for ten flows");
        // A filter that nothing passes reads no more rows than a page may look at: within a second, and over many.
        let none = Selection {
            filters: vec![Filter {
                column: "src_port",
                values: Values::Integers(vec![99]),
            }],
            ..Selection::default()
        };
        let assert_bounded = |database: &rusqlite::Connection, seek| {
            let filtered = |scan_limit| {
                let page = PageQuery {
                    selection: &none,
                    seek,
                    max_id: Some(200_000),
                    row_limit: 10,
                    scan_limit,
                    columns: SQL_LIST,
                    cursor_row: None,
                    kind: TableKind::Unguarded,
                    lead: None,
                };
                machine_steps(database, &page.statement())
            };
            let (few, many) = (filtered(1_000), filtered(10_000));
            let is_bounded = few * 5 < many && many < few * 12;
            assert!(is_bounded, "{few} and {many} steps at {seek:?}");
        };
        assert_bounded(&database, Seek::WithinSecond(RowKey { time: 7, id: 9 }));
        let over_time = rows.replace("SELECT i, 7,", "SELECT i, i / 3,");
        let spread = empty(&format!("{SCHEMA} INSERT INTO flows {over_time};"));
        assert_bounded(&spread, Seek::Start);
        assert_bounded(&spread, Seek::AfterKey(RowKey { time: 9, id: 28 }));
        // The state of a view over two tables.
        let (table, _) = SCHEMA.split_once("-- The guard").unwrap();
        let named = |name: &str| {
            let made = table.replace("EXISTS flows", &format!("EXISTS {name}"));
            made.replace("ON flows", &format!("ON {name}"))
        };
        let view_over = |rows: &str| {
            empty(&format!(
                "{} {} INSERT INTO a {rows}; INSERT INTO b {}; \
                 CREATE VIEW flows AS SELECT * FROM a UNION ALL SELECT * FROM b;",
                named("a"),
                named("b"),
                rows.replace("SELECT i,", "SELECT 60000 + i,")
            ))
        };
        assert_bounded(&view_over(&over_time), Seek::Start);
        let view = view_over(rows);
        let state = machine_steps(&view, &Statement::of_state(TableKind::Unguarded));
        assert!(state < start, "{state} steps");
        let extent = machine_steps(&view, &Statement::of_extent(TableKind::Unguarded));
        assert!(extent < start, "{extent} steps");
    }

    /// The plan that is checked at the start, on an empty database made by `schema`.
    fn checked_plan(schema: &str) -> Vec<String> {
        let steps = plan(&empty(schema), &plan_probe());
        assert!(
            steps.len() <= 5,
            "each step costs a trip into the host: {steps:#?}"
        );
        steps
    }

    #[test]
    fn the_plan_that_is_checked_at_the_start_tells_of_every_lack() {
        let slow = |schema: &str| checked_plan(schema).iter().any(|step| is_slow(step));
        let no_index = SCHEMA.split_once("CREATE INDEX").unwrap().0;
        let no_key = SCHEMA.replace("PRIMARY KEY", "NOT NULL");
        let ordered = format!("{no_key}; CREATE INDEX by_time ON flows (time, id);");
        let keyed = format!("{ordered}; CREATE UNIQUE INDEX by_id ON flows (id);");
        assert!(!slow(SCHEMA));
        assert!(slow(no_index));
        assert!(slow(&no_key));
        assert!(slow(&ordered));
        assert!(slow(&keyed.replace(
            "by_time ON flows (time, id)",
            "by_time ON flows (time)"
        )));
        assert!(!slow(&keyed));
    }

    #[test]
    fn the_plan_that_is_checked_at_the_start_tells_an_id_that_is_the_rowid() {
        let by_rowid = |schema: &str| checked_plan(schema).iter().any(|s| finds_by_rowid(s));
        assert!(by_rowid(SCHEMA));
        assert!(!by_rowid(&SCHEMA.replace("\n);", "\n) WITHOUT ROWID;")));
        // Of this one, any value is stored.
        assert!(!by_rowid(
            &SCHEMA.replace("INTEGER PRIMARY KEY", "INT PRIMARY KEY")
        ));
        let keyed = SCHEMA.replace("INTEGER PRIMARY KEY", "INTEGER NOT NULL");
        assert!(!by_rowid(&format!(
            "{keyed}; CREATE UNIQUE INDEX by_id ON flows (id);"
        )));
        // Found by rowid, but not by the id.
        let other = keyed.replace("flows (\n", "flows (\n    n INTEGER PRIMARY KEY,\n");
        assert_ne!(other, keyed);
        assert!(!by_rowid(&format!(
            "{other}; CREATE INDEX by_id ON flows (id);"
        )));
    }
}
