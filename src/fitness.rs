//! Whether the database can be served from: an index for the answer's order, integers to order by.
//!
//! Checked once by each instance of the component, which the host replaces after 128 requests or a second
//! without one. A database that fails is checked again by the next request.

use std::cell::Cell;

use spin_sdk::sqlite::Value;
use spin_sdk::wasip3::clocks::monotonic_clock::wait_for;

use crate::database;
use crate::problem::Problem;
use crate::statement::{Statement, finds_by_rowid, is_slow, most_general};

/// What this instance knows of its database.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// It is fit.
    fit: bool,
    /// Checks that have begun, and those that have ended.
    begun: u32,
    ended: u32,
}

thread_local! {
    static KNOWN: Cell<Known> = const { Cell::new(Known { fit: false, begun: 0, ended: 0 }) };
}

/// How long a request waits before it looks again, in nanoseconds. Requests could wake each other by a stream
/// between them, but windows were no faster; and with the bindings' own wake-up a third slower.
const PAUSE: u64 = 500_000;

/// Checks, unless this instance has found the database fit before.
///
/// Of requests that come together one checks and the others wait for it; if that check fails, each of them
/// makes its own, so that five seconds of a locked database do not add up.
///
/// # Errors
/// A 503 that says what to run.
pub async fn check() -> Result<(), Problem> {
    let Known { begun, .. } = KNOWN.get();
    while KNOWN.get().ended < begun && !KNOWN.get().fit {
        wait_for(PAUSE).await;
    }
    if !KNOWN.get().fit {
        let check = Check::begin();
        let plan = check_plan().await?;
        check_types(&plan).await?;
        check.passed();
    }
    Ok(())
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

    fn passed(self) {
        let known = KNOWN.get();
        KNOWN.set(Known { fit: true, ..known });
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        let known = KNOWN.get();
        let ended = known.ended.wrapping_add(1);
        KNOWN.set(Known { ended, ..known });
    }
}

/// Every page must walk an index in the order of `(time, id)`, and find the largest id in another; the
/// arrival feed walks the latter. Gives the steps of the plan.
async fn check_plan() -> Result<Vec<String>, Problem> {
    let Statement { text, parameters } = most_general();
    let steps = database::plan(&text, parameters).await?;
    match steps.iter().find(|step| is_slow(step)) {
        None => Ok(steps),
        Some(step) => {
            let detail = "the table flows has no index that gives the order of (time, id), or none \
                          on id; run `flows load --db FILE` with no file of flows, or \
                          CREATE INDEX flows_time ON flows (time, id)";
            Err(Problem::not_ready(detail).caused_by(step))
        }
    }
}

/// `time` and `id` must be integers, or a window would compare them as something else; and `id` must be
/// unique, or a page could end among flows of the same place and the next one pass the rest over. An id that
/// is the rowid, as the plan tells, is both, and need not be looked at.
///
/// SQLite sorts NULL before numbers and text and BLOBs behind them, so both ends of an index tell; a
/// number with a fraction between them is found when its page is read.
async fn check_types(plan: &[String]) -> Result<(), Problem> {
    let ends = |column| {
        let end = |order| {
            format!("(SELECT typeof({column}) FROM flows ORDER BY {column} {order} LIMIT 1)")
        };
        format!("{}, {}", end("ASC"), end("DESC"))
    };
    let statement = if plan.iter().any(|step| finds_by_rowid(step)) {
        format!("SELECT {}, 1", ends("time"))
    } else {
        format!("SELECT {}, {}, {UNIQUE_ID}", ends("time"), ends("id"))
    };
    let row = database::row(&statement, Vec::new()).await?;
    let mut types = row.map(|row| row.values).unwrap_or_default();
    if types.pop() != Some(Value::Integer(1)) {
        return Err(Problem::not_ready(
            "the id of flows is not declared to be unique; make it the primary key of a table, or \
             CREATE UNIQUE INDEX flows_id ON flows (id)",
        ));
    }
    for (value, column) in types.iter().zip(["time", "time", "id", "id"]) {
        match value {
            Value::Text(kind) if kind != "integer" => {
                return Err(Problem::not_ready(format!(
                    "the column {column} of flows holds a value of type {kind}, expected integers \
                     alone; SELECT * FROM flows WHERE typeof({column}) <> 'integer' finds it"
                )));
            }
            // No value at all in an empty table.
            _ => {}
        }
    }
    Ok(())
}

/// Whether `id` alone is the primary key, or has a unique index of its own over all rows; or whether that
/// cannot be told, of a view.
const UNIQUE_ID: &str = "\
    (SELECT group_concat(lower(name)) FROM pragma_table_info('flows') WHERE pk > 0) IS 'id' \
    OR EXISTS (SELECT 1 FROM pragma_index_list('flows') AS list \
        WHERE list.\"unique\" = 1 AND list.partial = 0 \
        AND (SELECT group_concat(lower(name)) FROM pragma_index_info(list.name)) = 'id') \
    OR EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view' AND lower(name) = 'flows')";
