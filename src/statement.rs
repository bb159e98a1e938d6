//! The SQL of a page: which rows it looks at, which of them it takes, and where it ends.
//!
//! Every statement walks one index in the answer's order and never sorts; the tests here hold each shape
//! to that. Values are bound and never written into the text, so there are few texts, and SQLite's cache
//! of prepared statements serves nearly every page.

use crate::db::Value;
use crate::flow::COLUMNS;
use crate::packed::RowKey;
use crate::query::{Filter, Selection, Values};
use crate::state;

/// Where a page starts in the answer's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// At the first flow that the question asks for.
    Start,
    /// Behind this flow.
    AfterKey(RowKey),
    /// Behind this flow and no further than its second, which is longer than a page.
    ///
    /// SQLite finds `(time, id) > (?, ?)` by `time` alone where `id` is the rowid, and walks the second up
    /// to the flow. That is nothing in a second of a hundred flows, and more than the page itself in one
    /// of a hundred thousand.
    WithinSecond(RowKey),
    /// Behind this second.
    AfterTime(i64),
}

/// One page to be read.
#[derive(Debug, Clone, Copy)]
pub struct PageQuery<'a> {
    /// Which flows, in which order.
    pub question: &'a Selection,
    /// Where it starts.
    pub place: Seek,
    /// The largest id that it may reach.
    pub newest: Option<i64>,
    /// At most so many flows are taken.
    pub taken: i64,
    /// Where not every row matches: at most so many rows are looked at.
    pub looked: i64,
    /// The columns that are packed.
    pub columns: &'a str,
    /// The flow that the answer's cursor stands on, to see whether it is still there.
    pub stands_on: Option<RowKey>,
}

/// The columns of a walk that is after places alone; the index on `time` holds them both.
pub const KEYS: &str = "id, time";

/// A statement and its parameters.
#[derive(Debug)]
pub struct Statement {
    /// The SQL.
    pub text: String,
    /// Values for `?1` and so on.
    pub parameters: Vec<Value>,
}

impl Statement {
    /// The statement for the table's state alone, see [`crate::state`].
    pub fn of_state(guarded: bool) -> Self {
        let mut bound = Bound::default();
        let state = state::select(guarded, None, |value| bound.integer(value));
        Self {
            text: format!("SELECT ({state})"),
            parameters: bound.0,
        }
    }

    /// The statement for the ends of the table: its state, then the least and largest `time` and `id`.
    pub fn of_extent(guarded: bool) -> Self {
        let Self { text, parameters } = Self::of_state(guarded);
        // One look-up in an index each; min and max of one column in one SELECT would walk the table.
        let end = |column: &str, order: &str| {
            format!(", (SELECT {column} FROM flows ORDER BY {column} {order} LIMIT 1)")
        };
        let ends = [
            ("time", "ASC"),
            ("time", "DESC"),
            ("id", "ASC"),
            ("id", "DESC"),
        ];
        let ends: String = ends.map(|(column, order)| end(column, order)).concat();
        Self {
            text: text + &ends,
            parameters,
        }
    }
}

/// Collects parameters and names their places.
#[derive(Default)]
struct Bound(Vec<Value>);

impl Bound {
    fn integer(&mut self, value: i64) -> String {
        self.value(Value::Integer(value))
    }

    fn value(&mut self, value: Value) -> String {
        self.0.push(value);
        // The plus hides the value from the planner. Where it may look at one, above all behind LIMIT, SQLite
        // prepares the statement anew each time that another is bound (sqlite3VdbeSetVarmask).
        format!("+?{}", self.0.len())
    }
}

impl PageQuery<'_> {
    /// The statement. Its one row holds: the table's state, see [`crate::state`]; the number of flows taken; the
    /// flows, packed, as a BLOB (the host panics on text that is not UTF-8) or NULL when there are none; and the
    /// place of the last row looked at, or NULL when there were fewer rows or every row is taken.
    pub fn statement(&self, guarded: bool) -> Statement {
        let mut bound = Bound::default();
        let base = where_clause(&self.base(&mut bound));
        let matching = where_clause(&self.matching(&mut bound));
        // Made in here: out there each value would first be copied out of the row (OP_Copy).
        let flow = format!("SELECT json_array({}) AS flow", self.columns);
        let order = self.order();
        let taken = bound.integer(self.taken);
        let (end, rows) = if matching.is_empty() {
            let rows = format!("{flow} FROM flows{base} ORDER BY {order} LIMIT {taken}");
            ("NULL".to_owned(), rows)
        } else {
            let looked = bound.integer(self.looked);
            let last = bound.integer(self.looked.saturating_sub(1));
            // A limit keeps SQLite from moving the outer conditions inside, where they would have it look
            // on until enough rows match.
            let rows = format!(
                "{flow} FROM (SELECT {COLUMNS} FROM flows{base} ORDER BY {order} \
                 LIMIT {looked}){matching} LIMIT {taken}"
            );
            (format!("({})", self.place(&base, &last)), rows)
        };
        let state = self.state(guarded, &mut bound);
        let text = format!(
            "SELECT ({state}), count(*), CAST(group_concat(flow) AS BLOB), {end} FROM ({rows})"
        );
        Statement {
            text,
            parameters: bound.0,
        }
    }

    /// Whether every row that the index gives is taken.
    pub fn has_no_residual(&self) -> bool {
        self.matching(&mut Bound::default()).is_empty()
    }

    /// The statement for the place of the last of `looked` rows alone. Its row holds the table's state, and the
    /// place or NULL if there are fewer rows. It counts along the index, about ten times as fast as flows are
    /// packed.
    pub fn place_statement(&self, guarded: bool) -> Statement {
        let mut bound = Bound::default();
        let base = where_clause(&self.base(&mut bound));
        let last = bound.integer(self.looked.saturating_sub(1));
        let place = self.place(&base, &last);
        let state = self.state(guarded, &mut bound);
        Statement {
            text: format!("SELECT ({state}), ({place})"),
            parameters: bound.0,
        }
    }

    /// The statement that counts the rows from here on. Its row holds the table's state and the number.
    pub fn count_statement(&self, guarded: bool) -> Statement {
        let mut bound = Bound::default();
        let base = where_clause(&self.base(&mut bound));
        let state = self.state(guarded, &mut bound);
        Statement {
            text: format!("SELECT ({state}), (SELECT count(*) FROM flows{base})"),
            parameters: bound.0,
        }
    }

    /// The statement that names the page's first value which SQLite refuses to pack: a BLOB that is no JSON of
    /// its own. Its row holds the table's state, and `flow ID: COLUMN` as a BLOB or NULL if there is none.
    pub fn blob_statement(&self, guarded: bool) -> Statement {
        let mut bound = Bound::default();
        let base = where_clause(&self.base(&mut bound));
        let mut conditions = self.matching(&mut bound);
        let rows = if conditions.is_empty() {
            self.taken
        } else {
            self.looked
        };
        let rows = bound.integer(rows);
        let refused: Vec<_> = self
            .columns
            .split(", ")
            .map(|column| {
                // 8: SQLite's binary JSON, looked at closely.
                let is_refused =
                    format!("typeof({column}) = 'blob' AND NOT json_valid({column}, 8)");
                (column, is_refused)
            })
            .collect();
        let any: Vec<_> = refused.iter().map(|(_, is)| format!("({is})")).collect();
        conditions.push(format!("({})", any.join(" OR ")));
        let named: Vec<_> = refused
            .iter()
            .map(|(column, is)| format!("WHEN {is} THEN '{column}'"))
            .collect();
        let (named, matching) = (named.join(" "), where_clause(&conditions));
        let order = self.order();
        let state = self.state(guarded, &mut bound);
        let text = format!(
            "SELECT ({state}), (SELECT CAST('flow ' || quote(id) || ': ' || CASE {named} END AS BLOB) \
             FROM (SELECT {COLUMNS} FROM flows{base} ORDER BY {order} LIMIT {rows}){matching} LIMIT 1)"
        );
        Statement {
            text,
            parameters: bound.0,
        }
    }

    fn state(&self, guarded: bool, bound: &mut Bound) -> String {
        state::select(guarded, self.stands_on, |value| bound.integer(value))
    }

    /// Selects the place of the row behind `last` others.
    fn place(&self, base: &str, last: &str) -> String {
        let order = self.order();
        format!(
            "SELECT CAST(json_array({KEYS}) AS BLOB) FROM flows{base} ORDER BY {order} \
             LIMIT 1 OFFSET {last}"
        )
    }

    fn order(&self) -> &'static str {
        if self.question.after_id.is_some() {
            "id"
        } else {
            "time, id"
        }
    }

    /// The conditions that the index answers.
    fn base(&self, bound: &mut Bound) -> Vec<String> {
        let mut conditions = Vec::new();
        if let Some(after_id) = self.question.after_id {
            let after = match self.place {
                Seek::AfterKey(RowKey { id, .. }) | Seek::WithinSecond(RowKey { id, .. }) => id,
                Seek::Start | Seek::AfterTime(_) => after_id,
            };
            conditions.push(format!("id > {}", bound.integer(after)));
            let window = self.window(bound);
            if !window.is_empty() {
                // NULL where the window holds nothing, so that no id is walked; asked once a statement.
                let newest = bound.integer(self.newest.unwrap_or(i64::MAX));
                let window = where_clause(&window);
                conditions.push(format!(
                    "id <= (SELECT {newest} FROM flows{window} LIMIT 1)"
                ));
            } else if let Some(newest) = self.newest {
                conditions.push(format!("id <= {}", bound.integer(newest)));
            }
            return conditions;
        }
        match (self.place, self.question.after) {
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
        if let Some(before) = self.question.before {
            conditions.push(format!("time <= {}", bound.integer(before)));
        }
        if let Some(newest) = self.newest {
            // The plus keeps the planner from walking the ids instead of the window.
            conditions.push(format!("+id <= {}", bound.integer(newest)));
        }
        conditions
    }

    /// The window alone.
    fn window(&self, bound: &mut Bound) -> Vec<String> {
        let mut conditions = Vec::new();
        if let Some(after) = self.question.after {
            conditions.push(format!("time > {}", bound.integer(after)));
        }
        if let Some(before) = self.question.before {
            conditions.push(format!("time <= {}", bound.integer(before)));
        }
        conditions
    }

    /// The conditions that each row looked at is held against.
    fn matching(&self, bound: &mut Bound) -> Vec<String> {
        let mut conditions = Vec::new();
        if self.question.after_id.is_some() {
            conditions = self.window(bound);
        }
        // Compared as they are written, whatever type the database stores them as.
        for Filter { column, values } in &self.question.filters {
            let (kind, places): (_, Vec<_>) = match values {
                Values::Integers(all) => {
                    ("INTEGER", all.iter().map(|v| bound.integer(*v)).collect())
                }
                Values::Texts(all) => (
                    "TEXT",
                    all.iter()
                        .map(|v| bound.value(Value::Text(v.clone())))
                        .collect(),
                ),
            };
            conditions.push(format!(
                "CAST({column} AS {kind}) COLLATE BINARY IN ({})",
                places.join(", ")
            ));
        }
        conditions
    }
}

fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}

/// The statement whose plan stands for all: where it needs neither scan nor sort, no page does.
///
/// It is the innermost part of a page without what is around it, since the host hands over a plan step by
/// step, each at the cost of a statement.
pub fn plan_probe() -> Statement {
    let question = Selection {
        before: Some(0),
        ..Selection::default()
    };
    let walk = PageQuery {
        question: &question,
        place: Seek::AfterKey(RowKey { time: 0, id: 0 }),
        newest: Some(0),
        taken: 0,
        looked: 0,
        columns: COLUMNS,
        stands_on: None,
    };
    let mut bound = Bound::default();
    let base = where_clause(&walk.base(&mut bound));
    let order = walk.order();
    let id = bound.integer(0);
    // The plan of max(id) does not tell whether an index gives it; that of the next id does.
    let text = format!(
        "SELECT {COLUMNS}, (SELECT id FROM flows WHERE id > {id} ORDER BY id LIMIT 1) \
         FROM flows{base} ORDER BY {order}"
    );
    Statement {
        text,
        parameters: bound.0,
    }
}

/// Whether a step of the plan of [`plan_probe`] sorts, or walks a table or an index from one end to the
/// other.
pub fn is_slow(step: &str) -> bool {
    step.contains("TEMP B-TREE") || step.starts_with("SCAN ")
}

/// Whether a step of that plan finds the next id as a rowid: then `id` is an `INTEGER PRIMARY KEY`.
pub fn finds_by_rowid(step: &str) -> bool {
    step == "SEARCH flows USING INTEGER PRIMARY KEY (rowid>?)"
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: RowKey = RowKey { time: 5, id: 7 };
    const SCHEMA: &str = include_str!("schema.sql");

    /// Every question that differs in its statement.
    fn questions() -> Vec<Selection> {
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
        for question in &questions() {
            for place in [
                Seek::Start,
                Seek::AfterKey(THERE),
                Seek::WithinSecond(THERE),
                Seek::AfterTime(5),
            ] {
                for newest in [None, Some(100)] {
                    for columns in [COLUMNS, KEYS] {
                        for (guarded, stands_on) in
                            [(true, None), (false, None), (false, Some(THERE))]
                        {
                            let walk = PageQuery {
                                question,
                                place,
                                newest,
                                taken: 5,
                                looked: 9,
                                columns,
                                stands_on,
                            };
                            all.extend([
                                walk.statement(guarded),
                                walk.place_statement(guarded),
                                walk.count_statement(guarded),
                                walk.blob_statement(guarded),
                            ]);
                        }
                    }
                }
            }
        }
        all
    }

    /// The plan of each statement, on an empty database made by `schema`.
    fn plans(schema: &str) -> Vec<(String, Vec<String>)> {
        let database = empty(schema);
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
    /// a parenthesis; pragma and guard are tables of one row, and the schema is one of a dozen.
    fn is_slow_in_a_page(step: &str) -> bool {
        let scanned = step.strip_prefix("SCAN ").unwrap_or("(");
        let quick = scanned.starts_with('(')
            || scanned.starts_with("pragma_")
            || ["CONSTANT ROW", "sqlite_schema", "flows_guard"].contains(&scanned)
            || scanned.contains(" INDEX flows_time");
        step.contains("TEMP B-TREE") || !quick
    }

    #[test]
    fn every_page_walks_the_intended_index_and_never_sorts() {
        let foreign = SCHEMA.replace("\n);", "\n) WITHOUT ROWID;");
        assert_ne!(foreign, SCHEMA);
        for schema in [SCHEMA, &foreign] {
            for (text, steps) in plans(schema) {
                let walked: Vec<_> = steps
                    .iter()
                    .filter(|s| s.contains(" flows USING") || s.contains(" flows ("))
                    .collect();
                let intended = if text.contains("ORDER BY id") {
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
        let database = empty(SCHEMA);
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
                    .any(|step| step.contains("(time=? AND rowid>?)"));
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
        let steps = |place, question: &Selection| {
            let walk = PageQuery {
                question,
                place,
                newest: Some(50_000),
                taken: 10,
                looked: 10_000,
                columns: COLUMNS,
                stands_on: None,
            };
            machine_steps(&database, &walk.statement(true))
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
        // The state of a view over two tables.
        let (table, _) = SCHEMA.split_once("-- The guard").unwrap();
        let named = |name: &str| {
            let made = table.replace("EXISTS flows", &format!("EXISTS {name}"));
            made.replace("ON flows", &format!("ON {name}"))
        };
        let view = empty(&format!(
            "{} {} INSERT INTO a {rows}; INSERT INTO b {}; \
             CREATE VIEW flows AS SELECT * FROM a UNION ALL SELECT * FROM b;",
            named("a"),
            named("b"),
            rows.replace("SELECT i,", "SELECT 60000 + i,")
        ));
        let state = machine_steps(&view, &Statement::of_state(false));
        assert!(state < start, "{state} steps");
        let extent = machine_steps(&view, &Statement::of_extent(false));
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
