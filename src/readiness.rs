//! Whether the database can be served from: an index for the answer's order, integers to order by; and what
//! kind of table it is.
//!
//! Checked once by each instance of the component, which the host replaces after 128 requests or a second
//! without one. A database that fails is checked again by the next request, and so is one whose guard has gone.

use std::cell::Cell;
use std::time::Duration;

use crate::db::{Database, DbError, DbErrorKind, Value};
use crate::fit::{NOT_UNIQUE, PARTIAL_INDEX, UNIQUE_ID, not_integers, types_at_ends};
use crate::log;
use crate::session::Session;
use crate::state::IS_GUARDED;
use crate::statement::{Statement, finds_by_rowid, is_slow, plan_probe};

/// What is known of a table that is fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Whether it has the guard, by which edits are told from arrivals.
    pub guarded: bool,
    /// Whether the database has a write-ahead log, so that readers and writers do not wait for each other.
    pub write_ahead_log: bool,
}

/// What an operator is told of a table without a guard.
pub const UNGUARDED: &str = "edits of the table flows are not guarded: there are no entity tags and no \
                             lineage, and an answer that an edit falls into is cut off; `flows load --db \
                             FILE` with no file of flows makes the guard";

/// What is known of a database: whether it is fit, and which checks are under way.
pub struct Readiness<D: Database> {
    database: D,
    table: Cell<Option<Table>>,
    /// Checks that have begun, and those that have ended.
    begun: Cell<u32>,
    ended: Cell<u32>,
}

/// How long a request waits before it looks again. Requests could wake each other by a stream between them, but
/// windows were no faster; and with the bindings' own wake-up a third slower.
const PAUSE: Duration = Duration::from_micros(500);

impl<D: Database> Readiness<D> {
    /// Knows nothing of `database` yet.
    pub fn new(database: D) -> Self {
        Self {
            database,
            table: Cell::new(None),
            begun: Cell::new(0),
            ended: Cell::new(0),
        }
    }

    /// The database.
    pub fn database(&self) -> &D {
        &self.database
    }

    /// Runs `read` over the table. If the table has lost its guard since it was checked, it is checked anew; if
    /// the triggers are there and the row is not, the table is read as one without a guard.
    ///
    /// # Errors
    /// As [`Self::check`], and as `read`.
    pub async fn over_table<T>(
        &self,
        read: impl AsyncFn(&D, Table) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let lost = |result: &Result<T, DbError>| {
            let error = result.as_ref().err();
            error.is_some_and(|error| error.kind == DbErrorKind::GuardLost)
        };
        let result = read(&self.database, self.check().await?).await;
        if !lost(&result) {
            return result;
        }
        self.table.set(None);
        let table = self.check().await?;
        let result = read(&self.database, table).await;
        if !lost(&result) {
            return result;
        }
        log::line(format_args!("{UNGUARDED}"));
        let table = Table {
            guarded: false,
            ..table
        };
        self.table.set(Some(table));
        read(&self.database, table).await
    }

    /// Checks, unless the database has been found fit before.
    ///
    /// Of requests that come together one checks and the others wait for it; if that check fails, each of them
    /// makes its own, so that five seconds of a locked database do not add up.
    ///
    /// # Errors
    /// What the operator has to do, or what the database says.
    pub async fn check(&self) -> Result<Table, DbError> {
        let begun = self.begun.get();
        while self.ended.get() < begun && self.table.get().is_none() {
            self.database.sleep(PAUSE).await;
        }
        if let Some(table) = self.table.get() {
            return Ok(table);
        }
        let _check = Check::begin(self);
        let mut session = Session::open(&self.database).await?;
        let plan = check_plan(&mut session).await?;
        let table = check_table(&plan, &mut session).await?;
        session.release();
        if !table.guarded {
            log::line(format_args!("{UNGUARDED}"));
        }
        self.table.set(Some(table));
        Ok(table)
    }
}

/// A check under way. It has ended when it is dropped, also where its request is given up.
struct Check<'a>(&'a Cell<u32>);

impl<'a> Check<'a> {
    fn begin<D: Database>(readiness: &'a Readiness<D>) -> Self {
        let begun = readiness.begun.get();
        readiness.begun.set(begun.wrapping_add(1));
        Self(&readiness.ended)
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().wrapping_add(1));
    }
}

/// What an operator is told behind "the table flows has no index that".
const NO_INDEX: &str = "gives the order of (time, id), or none on id; run `flows load --db FILE` with no file \
                        of flows, or CREATE INDEX flows_time ON flows (time, id)";

/// Every page must walk an index in the order of `(time, id)`, and find the largest id in another; the
/// arrival feed walks the latter. Gives the steps of the plan.
async fn check_plan(session: &mut Session<impl Database>) -> Result<Vec<String>, DbError> {
    let Statement { text, parameters } = plan_probe();
    let steps = session.plan(&text, parameters).await?;
    match steps.iter().find(|step| is_slow(step)) {
        None => Ok(steps),
        Some(step) => {
            let detail = format!("the table flows has no index that {NO_INDEX}");
            Err(DbError::not_ready(detail).caused_by(step))
        }
    }
}

/// `time` and `id` must be integers, or a window would compare them as something else; `id` must be
/// unique, or a page could end among flows of the same place and the next one pass the rest over; and the
/// indexes must hold every row. An id that is the rowid, as the plan tells, is an integer and unique, and need
/// not be looked at.
///
/// SQLite sorts NULL before numbers and text and BLOBs behind them, so both ends of an index tell; a
/// number with a fraction between them is found when its page is read.
async fn check_table(
    plan: &[String],
    session: &mut Session<impl Database>,
) -> Result<Table, DbError> {
    let about_id = if plan.iter().any(|step| finds_by_rowid(step)) {
        "1".to_owned()
    } else {
        format!("{UNIQUE_ID}, {}", types_at_ends("id"))
    };
    let statement = format!(
        "SELECT {PARTIAL_INDEX}, {IS_GUARDED}, \
         (SELECT journal_mode FROM pragma_journal_mode), {}, {about_id}",
        types_at_ends("time")
    );
    // A space behind each step, so that the name of an index stands between two.
    let steps = Value::Text(plan.iter().map(|step| format!("{step} ")).collect());
    let values = session
        .row(&statement, vec![steps])
        .await?
        .unwrap_or_default();
    let [
        partial,
        guarded,
        journal,
        first_time,
        last_time,
        unique,
        id_ends @ ..,
    ] = values.as_slice()
    else {
        return Err(DbError::internal(
            "the database's answer has an unknown form",
        ));
    };
    if *partial == Value::Integer(1) {
        return Err(DbError::not_ready(format!(
            "an index that leaves rows out is all that {NO_INDEX}"
        )));
    }
    if *unique != Value::Integer(1) {
        return Err(DbError::not_ready(NOT_UNIQUE));
    }
    let ends = [("time", first_time), ("time", last_time)].into_iter();
    for (column, value) in ends.chain(id_ends.iter().map(|value| ("id", value))) {
        match value {
            Value::Text(kind) if kind != "integer" => {
                return Err(DbError::not_ready(not_integers(column, kind)));
            }
            // No value at all in an empty table.
            _ => {}
        }
    }
    Ok(Table {
        guarded: *guarded == Value::Integer(1),
        write_ahead_log: matches!(journal, Value::Text(mode) if mode == "wal"),
    })
}
