//! Whether the database can be served from: an index for the answer's order, integers to order by; and what
//! kind of table it is.
//!
//! Checked once by each instance of the component, which the host replaces after 128 requests or a second
//! without one. A database that fails is checked again by the next request, and so is one whose guard has gone.

use std::cell::Cell;

use spin_sdk::sqlite::Value;
use spin_sdk::wasip3::clocks::monotonic_clock::wait_for;

use crate::database;
use crate::fit::{NOT_UNIQUE, PARTIAL_INDEX, UNIQUE_ID, not_integers, types_at_ends};
use crate::log;
use crate::problem::Problem;
use crate::state::IS_GUARDED;
use crate::statement::{Statement, finds_by_rowid, is_slow, most_general};

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

/// What this instance knows of its database.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// It is fit.
    fit: Option<Table>,
    /// Checks that have begun, and those that have ended.
    begun: u32,
    ended: u32,
}

thread_local! {
    static KNOWN: Cell<Known> = const { Cell::new(Known { fit: None, begun: 0, ended: 0 }) };
}

/// How long a request waits before it looks again, in nanoseconds. Requests could wake each other by a stream
/// between them, but windows were no faster; and with the bindings' own wake-up a third slower.
const PAUSE: u64 = 500_000;

/// Runs `read` over the table. If the table has lost its guard since it was checked, it is checked anew; if
/// the triggers are there and the row is not, the table is read as one without a guard.
///
/// # Errors
/// As [`check`], and as `read`.
pub async fn over_table<T>(read: impl AsyncFn(Table) -> Result<T, Problem>) -> Result<T, Problem> {
    let known = |fit| KNOWN.set(Known { fit, ..KNOWN.get() });
    match read(check().await?).await {
        Err(problem) if problem.is_unguarded() => known(None),
        result => return result,
    }
    let table = check().await?;
    match read(table).await {
        Err(problem) if problem.is_unguarded() => {}
        result => return result,
    }
    log::line(format_args!("{UNGUARDED}"));
    let table = Table {
        guarded: false,
        ..table
    };
    known(Some(table));
    read(table).await
}

/// Checks, unless this instance has found the database fit before.
///
/// Of requests that come together one checks and the others wait for it; if that check fails, each of them
/// makes its own, so that five seconds of a locked database do not add up.
///
/// # Errors
/// A 503 that says what to run.
pub async fn check() -> Result<Table, Problem> {
    let Known { begun, .. } = KNOWN.get();
    while KNOWN.get().ended < begun && KNOWN.get().fit.is_none() {
        wait_for(PAUSE).await;
    }
    if let Some(table) = KNOWN.get().fit {
        return Ok(table);
    }
    let check = Check::begin();
    let plan = check_plan().await?;
    let table = check_table(&plan).await?;
    if !table.guarded {
        log::line(format_args!("{UNGUARDED}"));
    }
    check.passed(table);
    Ok(table)
}

/// A check under way. It has ended when it is dropped, also where its request is given up.
struct Check;

impl Check {
    fn begin() -> Self {
        let known = KNOWN.get();
        let begun = known.begun.wrapping_add(1);
        KNOWN.set(Known { begun, ..known });
        Self
    }

    fn passed(self, table: Table) {
        KNOWN.set(Known {
            fit: Some(table),
            ..KNOWN.get()
        });
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        let known = KNOWN.get();
        let ended = known.ended.wrapping_add(1);
        KNOWN.set(Known { ended, ..known });
    }
}

/// What an operator is told behind "the table flows has no index that".
const NO_INDEX: &str = "gives the order of (time, id), or none on id; run `flows load --db FILE` with no file \
                        of flows, or CREATE INDEX flows_time ON flows (time, id)";

/// Every page must walk an index in the order of `(time, id)`, and find the largest id in another; the
/// arrival feed walks the latter. Gives the steps of the plan.
async fn check_plan() -> Result<Vec<String>, Problem> {
    let Statement { text, parameters } = most_general();
    let steps = database::plan(&text, parameters).await?;
    match steps.iter().find(|step| is_slow(step)) {
        None => Ok(steps),
        Some(step) => {
            let detail = format!("the table flows has no index that {NO_INDEX}");
            Err(Problem::not_ready(detail).caused_by(step))
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
async fn check_table(plan: &[String]) -> Result<Table, Problem> {
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
    let row = database::row(&statement, vec![steps]).await?;
    let values = row.map(|row| row.values).unwrap_or_default();
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
        return Err(Problem::internal(
            "the database's answer has an unknown form",
        ));
    };
    if *partial == Value::Integer(1) {
        return Err(Problem::not_ready(format!(
            "an index that leaves rows out is all that {NO_INDEX}"
        )));
    }
    if *unique != Value::Integer(1) {
        return Err(Problem::not_ready(NOT_UNIQUE));
    }
    let ends = [("time", first_time), ("time", last_time)].into_iter();
    for (column, value) in ends.chain(id_ends.iter().map(|value| ("id", value))) {
        match value {
            Value::Text(kind) if kind != "integer" => {
                return Err(Problem::not_ready(not_integers(column, kind)));
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
