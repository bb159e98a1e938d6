//! One page of a window: the unit of work.
//!
//! A page is one statement that returns one row: up to so many records, packed by SQLite itself. The
//! position `(time, id)` of its last record is where the next page starts, so no row is passed over or
//! sent twice, however many share a second. The first page fixes the largest id then present, and no
//! later page goes beyond it: an answer is frozen when it starts, although no transaction spans its
//! pages. What the records look like is [`crate::packed`]'s business.

use std::cell::Cell;

use spin_sdk::sqlite::Value;

use crate::database;
use crate::flow::COLUMNS;
use crate::packed::{self, Position, Records};
use crate::problem::Problem;
use crate::query::Query;

/// Records in a page. A prototype on Spin took 2.5 s with 250, 1.7 with 1,000, 1.3 with 2,000 and 1.5
/// with 4,000 and with 16,000 for the same million flows.
const ROWS: i64 = 2_000;

/// Records in the first page: small, since the client waits for all of it before the first byte.
const FIRST_ROWS: i64 = 500;

/// Packed bytes that a page should not exceed by much. LANL's flows pack into 60 bytes each; a table
/// of long texts gets pages of fewer records.
const BYTES: i64 = 512 << 10;

/// Packed bytes at which a page is thrown away and read again with fewer records.
const MAX_BYTES: i64 = 16 * BYTES;

/// A page as it came from the database.
#[derive(Debug)]
pub struct Page {
    /// The records, for [`Records`].
    pub packed: Vec<u8>,
    /// Whether no page follows.
    pub last: bool,
}

/// The pages of one answer that are still to be read.
#[derive(Debug)]
pub struct Pages {
    before: Option<i64>,
    /// Records still wanted, if there is a limit.
    wanted: Option<i64>,
    place: Place,
    /// The largest id when the answer started; `None` before the first page and in an empty table.
    newest: Option<i64>,
    /// Records to ask for next.
    rows: i64,
    started: bool,
    done: bool,
}

/// Where the next page starts.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Behind this time, in seconds, or at the first record of all.
    After(Option<i64>),
    /// Behind this record.
    Behind(Position),
    /// Behind this record and no further than its second, which is longer than a page.
    ///
    /// SQLite finds `(time, id) > (?, ?)` by `time` alone where `id` is the rowid, and walks the second up
    /// to the record. That is nothing in a second of a hundred flows, and more than the page itself in
    /// one of a hundred thousand.
    Inside(Position),
}

impl Pages {
    fn new(query: &Query) -> Self {
        Self {
            before: query.before,
            wanted: query.limit,
            place: Place::After(query.after),
            newest: None,
            rows: FIRST_ROWS,
            started: false,
            done: false,
        }
    }

    /// Reads the first page of `query`, and gives the pages behind it.
    ///
    /// # Errors
    /// A 503 when the database is not fit to be served from, a 500 when a record cannot be read.
    pub async fn start(query: &Query) -> Result<(Page, Self), Problem> {
        check_once().await?;
        let mut pages = Self::new(query);
        let first = pages.read_next().await?;
        Ok((first, pages))
    }

    /// Reads the next page; `None` behind the last one.
    ///
    /// # Errors
    /// A 503 when the database cannot be read, a 500 when a record cannot.
    pub async fn next(&mut self) -> Result<Option<Page>, Problem> {
        if self.done {
            Ok(None)
        } else {
            self.read_next().await.map(Some)
        }
    }

    async fn read_next(&mut self) -> Result<Page, Problem> {
        loop {
            let asked = self.rows.min(self.wanted.unwrap_or(i64::MAX));
            match self.read(asked).await {
                Ok(packed) if too_large(&packed) && asked > 1 => {
                    self.rows = rows_for(asked, packed.bytes.len());
                }
                Ok(packed) => return self.accept(packed, asked),
                Err(problem) if problem.is_too_large() && asked > 1 => {
                    self.rows = asked.checked_div(16).unwrap_or(1).max(1);
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    async fn read(&self, asked: i64) -> Result<Packed, Problem> {
        let (statement, parameters) = self.statement(asked);
        let row = database::row(&statement, parameters).await?;
        let mut values = row.map(|row| row.values).unwrap_or_default().into_iter();
        match (values.next(), values.next(), values.next()) {
            (Some(Value::Integer(count)), Some(Value::Blob(bytes)), newest) => {
                let newest = match newest {
                    Some(Value::Integer(id)) => Some(id),
                    _ => None,
                };
                Ok(Packed {
                    count,
                    bytes,
                    newest,
                })
            }
            other => Err(
                Problem::internal("the database's answer has an unknown form")
                    .caused_by(format!("{:?}", (other.0.is_some(), other.1.is_some()))),
            ),
        }
    }

    /// Takes a page in: where the next one starts, and whether there is one.
    fn accept(&mut self, page: Packed, asked: i64) -> Result<Page, Problem> {
        if !self.started {
            self.newest = page.newest;
            self.started = true;
        }
        self.wanted = self.wanted.map(|wanted| wanted.saturating_sub(page.count));
        let ended = page.count < asked;
        self.done = self.wanted == Some(0);
        match self.place {
            Place::Inside(Position { time, .. }) if ended => self.place = Place::After(Some(time)),
            _ if ended => self.done = true,
            _ if self.done => {}
            _ => {
                self.place = place_behind(&page.bytes)?;
                self.rows = rows_for(page.count, page.bytes.len());
            }
        }
        Ok(Page {
            packed: page.bytes,
            last: self.done,
        })
    }

    /// The statement for the next page, and its parameters.
    fn statement(&self, asked: i64) -> (String, Vec<Value>) {
        let mut parameters = Vec::with_capacity(5);
        let mut conditions: Vec<&str> = Vec::with_capacity(3);
        match self.place {
            Place::After(None) => {}
            Place::After(Some(time)) => {
                conditions.push("time > ?");
                parameters.push(Value::Integer(time));
            }
            Place::Behind(Position { time, id }) => {
                conditions.push("(time, id) > (?, ?)");
                parameters.extend([Value::Integer(time), Value::Integer(id)]);
            }
            Place::Inside(Position { time, id }) => {
                conditions.extend(["time = ?", "id > ?"]);
                parameters.extend([Value::Integer(time), Value::Integer(id)]);
            }
        }
        if let Some(before) = self.before {
            conditions.push("time <= ?");
            parameters.push(Value::Integer(before));
        }
        if let (true, Some(newest)) = (self.started, self.newest) {
            // The plus keeps the planner from walking the ids instead of the window.
            conditions.push("+id <= ?");
            parameters.push(Value::Integer(newest));
        }
        parameters.push(Value::Integer(asked));
        // The first page brings the largest id along: one statement, one snapshot, one trip.
        let newest = if self.started {
            ""
        } else {
            ", (SELECT max(id) FROM flows)"
        };
        (page_statement(newest, &conditions), parameters)
    }
}

/// What a page's statement returns.
struct Packed {
    count: i64,
    bytes: Vec<u8>,
    newest: Option<i64>,
}

/// The statement of a page: `extra` columns behind the page's own, and the window's conditions.
///
/// As a BLOB and not as text, since the host panics on text that is not UTF-8.
fn page_statement(extra: &str, conditions: &[&str]) -> String {
    let (lead, conditions) = match conditions {
        [] => ("", String::new()),
        some => (" WHERE ", some.join(" AND ")),
    };
    format!(
        "SELECT count(*), CAST(json_group_array(json_array({COLUMNS})) AS BLOB){extra} \
         FROM (SELECT {COLUMNS} FROM flows{lead}{conditions} ORDER BY time, id LIMIT ?)"
    )
}

/// The place behind the last record of a page.
fn place_behind(packed: &[u8]) -> Result<Place, Problem> {
    let ends = packed::first_position(packed).zip(packed::last_position(packed));
    let (first, last) = ends.ok_or_else(|| unreadable(packed))?;
    Ok(if first.time == last.time {
        Place::Inside(last)
    } else {
        Place::Behind(last)
    })
}

/// How many records of the size seen make a page.
fn rows_for(count: i64, bytes: usize) -> i64 {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
    let fitting = count.saturating_mul(BYTES).checked_div(bytes).unwrap_or(1);
    fitting.clamp(1, ROWS)
}

fn too_large(page: &Packed) -> bool {
    i64::try_from(page.bytes.len()).is_ok_and(|bytes| bytes > MAX_BYTES)
}

/// What is wrong with a page whose end cannot be read: the first of its records that cannot.
fn unreadable(packed: &[u8]) -> Problem {
    Problem::internal(match fault(packed) {
        Err(error) => format!("{error:#}"),
        Ok(()) => "a page whose last flow has no place in the order of (time, id)".into(),
    })
}

fn fault(packed: &[u8]) -> anyhow::Result<()> {
    let mut records = Records::new(packed)?;
    while records.next_record()?.is_some() {}
    Ok(())
}

thread_local! {
    static CHECKED: Cell<bool> = const { Cell::new(false) };
}

/// Checks once an instance that the database can be served from without a scan or a sort.
///
/// # Errors
/// A 503 that says what to run.
async fn check_once() -> Result<(), Problem> {
    if !CHECKED.get() {
        check_plan().await?;
        check_types().await?;
        CHECKED.set(true);
    }
    Ok(())
}

/// Every page must walk an index in the order of `(time, id)`, and find the largest id in another.
async fn check_plan() -> Result<(), Problem> {
    let conditions = ["(time, id) > (?, ?)", "time <= ?", "+id <= ?"];
    let statement = page_statement(", (SELECT max(id) FROM flows)", &conditions);
    for step in database::plan(&statement, 5).await? {
        if is_slow(&step) {
            let detail = "the table flows has no index that gives the order of (time, id), or none \
                          on id; run `flows load --db FILE` with no file of flows, or \
                          CREATE INDEX flows_time ON flows (time, id)";
            return Err(Problem::not_ready(detail).caused_by(step));
        }
    }
    Ok(())
}

/// Whether a step of a query plan sorts, or scans a table without an index.
///
/// The page itself is a subquery and is scanned: its name starts with a parenthesis.
fn is_slow(step: &str) -> bool {
    let scanned = step.strip_prefix("SCAN ").unwrap_or("(");
    step.contains("TEMP B-TREE") || !(scanned.starts_with('(') || scanned.contains(" USING "))
}

/// `time` and `id` must be integers, or a window would compare them as something else.
///
/// SQLite sorts NULL before numbers and text and BLOBs behind them, so both ends of an index tell; a
/// number with a fraction between them is found when its page is read.
async fn check_types() -> Result<(), Problem> {
    let ends = ["time", "id"].map(|column| {
        let end = |order| {
            format!("(SELECT typeof({column}) FROM flows ORDER BY {column} {order} LIMIT 1)")
        };
        format!("{}, {}", end("ASC"), end("DESC"))
    });
    let row = database::row(&format!("SELECT {}", ends.join(", ")), Vec::new()).await?;
    let types = row.map(|row| row.values).unwrap_or_default();
    for (value, column) in types.iter().zip(["time", "time", "id", "id"]) {
        match value {
            Value::Null => {}
            Value::Text(kind) if kind == "integer" => {}
            Value::Text(kind) => {
                return Err(Problem::not_ready(format!(
                    "the column {column} of flows holds a value of type {kind}, expected integers \
                     alone; SELECT * FROM flows WHERE typeof({column}) <> 'integer' finds it"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_slow_when_it_sorts_or_scans_a_table() {
        for slow in [
            "SCAN flows",
            "USE TEMP B-TREE FOR ORDER BY",
            "USE TEMP B-TREE FOR LAST TERM OF ORDER BY",
        ] {
            assert!(is_slow(slow), "{slow}");
        }
        for quick in [
            "SCAN flows USING INDEX flows_time",
            "SEARCH flows USING INDEX flows_time (time>?)",
            "SCAN (subquery-1)",
            "CO-ROUTINE (subquery-1)",
            "SCALAR SUBQUERY 2",
            "SEARCH flows",
        ] {
            assert!(!is_slow(quick), "{quick}");
        }
    }

    const THERE: Position = Position { time: 5, id: 7 };
    const PLACES: [Option<Place>; 3] =
        [None, Some(Place::Behind(THERE)), Some(Place::Inside(THERE))];

    /// The plan of each statement that a window can lead to, on an empty database made by `schema`.
    fn plans(schema: &str) -> Vec<(String, Vec<String>)> {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        database.execute_batch(schema).unwrap();
        let mut plans = Vec::new();
        for bounds in 0..4 {
            for place in PLACES {
                let query = Query {
                    after: (bounds & 1 != 0).then_some(3),
                    before: (bounds & 2 != 0).then_some(9),
                    limit: None,
                    format: Default::default(),
                };
                let mut pages = Pages::new(&query);
                pages.started = place.is_some();
                pages.newest = place.map(|_| 100);
                pages.place = place.unwrap_or(pages.place);
                let (statement, parameters) = pages.statement(10);
                let explain = format!("EXPLAIN QUERY PLAN {statement}");
                let mut explained = database.prepare(&explain).unwrap();
                assert_eq!(explained.parameter_count(), parameters.len(), "{statement}");
                let steps = explained
                    .query_map(
                        [1; 5]
                            .get(..parameters.len())
                            .map(rusqlite::params_from_iter)
                            .unwrap(),
                        |row| row.get(3),
                    )
                    .unwrap();
                plans.push((statement, steps.map(Result::unwrap).collect()));
            }
        }
        plans
    }

    #[test]
    fn every_page_walks_the_index_on_time_and_never_sorts() {
        let schema = include_str!("schema.sql");
        let foreign = schema.replace("\n);", "\n) WITHOUT ROWID;");
        assert_ne!(foreign, schema);
        for (statement, steps) in plans(schema).into_iter().chain(plans(&foreign)) {
            let walks = |step: &String| step.contains("flows USING INDEX flows_time");
            assert_eq!(
                steps.iter().filter(|step| walks(step)).count(),
                1,
                "{statement}\n{steps:#?}"
            );
            assert!(
                !steps.iter().any(|step| is_slow(step)),
                "{statement}\n{steps:#?}"
            );
        }
    }

    #[test]
    fn a_second_longer_than_a_page_is_not_walked_again_for_each_page() {
        let inside = |(statement, _): &(String, _)| statement.contains("time = ?");
        let plans: Vec<_> = plans(include_str!("schema.sql"))
            .into_iter()
            .filter(inside)
            .collect();
        assert_eq!(plans.len(), 4);
        for (statement, steps) in plans {
            let seeks = steps
                .iter()
                .any(|step| step.contains("(time=? AND rowid>?)"));
            assert!(seeks, "{statement}\n{steps:#?}");
        }
    }

    #[test]
    fn long_records_make_short_pages() {
        assert_eq!(rows_for(500, 500 * 60), ROWS);
        assert_eq!(rows_for(500, 500 << 20), 1);
        assert_eq!(rows_for(10, 10 << 16), 8);
        assert_eq!(rows_for(0, 2), 1);
    }
}
