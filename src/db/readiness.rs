//! Whether the table can be served: an index in the answer's order, and integers to order by.
//!
//! The first statement of an instance finds out whether the table is the one that `flows load` makes, which is fit by
//! its schema. Any other table is checked step by step.
//!
//! Each instance of the component checks once. The host replaces an instance after 128 requests, or a second without
//! one. After a failed check the next request checks again. After a lost guard the same request does.

use std::cell::Cell;
use std::time::Duration;

use super::reader::unknown_form;
use super::session::Session;
use super::sql::probe::{NOT_UNIQUE, is_slow, not_integers, plan_probe, table_probe};
use super::sql::state::TableKind;
use super::{Database, DbError, DbErrorKind, Value};
use crate::log;

/// What an operator is told of a table without a guard.
pub const UNGUARDED: &str = "edits of the table flows are not guarded: there are no entity tags and no \
                             lineage, and an answer that an edit falls into is cut off; `flows load --db \
                             FILE` with no file of flows makes the guard";

/// A database, and what its last check has found.
pub struct Readiness<D: Database> {
    database: D,
    /// `None` until a check has passed.
    table: Cell<Option<TableKind>>,
    /// Checks that have begun.
    begun: Cell<u32>,
    /// Checks that have ended.
    ended: Cell<u32>,
}

/// How long a request waits before it looks again whether the check of another request has ended.
const PAUSE: Duration = Duration::from_micros(500);

impl<D: Database> Readiness<D> {
    /// Takes a database that has not been checked.
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

    /// Runs `read` over the table.
    ///
    /// A table that is not known to be fit, or has lost its guard since the check, is checked step by step. Where the
    /// triggers are there and the guard row is not, the table is read as one without a guard.
    ///
    /// # Errors
    /// As [`Self::check`], and as `read`.
    pub async fn over_table<T>(
        &self,
        read: impl AsyncFn(&D, TableKind) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let mut kind = self.kind().await?;
        let mut losses = 0_u32;
        loop {
            let result = read(&self.database, kind).await;
            let error = result.as_ref().err();
            let is_lost = error.is_some_and(|error| error.kind == DbErrorKind::GuardLost);
            if !is_lost || losses == 2 {
                if kind == TableKind::Unchecked && result.is_ok() {
                    self.table.set(Some(TableKind::Guarded));
                }
                return result;
            }
            losses = losses.saturating_add(1);
            kind = self.kind_behind_loss(kind, losses).await?;
        }
    }

    async fn kind(&self) -> Result<TableKind, DbError> {
        let is_checking = self.ended.get() < self.begun.get();
        match self.table.get() {
            Some(kind) => Ok(kind),
            None if is_checking => self.check().await,
            None => Ok(TableKind::Unchecked),
        }
    }

    /// What the table is read as behind its first or second loss of the guard.
    async fn kind_behind_loss(&self, kind: TableKind, losses: u32) -> Result<TableKind, DbError> {
        if losses == 1 {
            if kind != TableKind::Unchecked {
                self.table.set(None);
            }
            return self.check().await;
        }
        log::notice(format_args!("{UNGUARDED}"));
        self.table.set(Some(TableKind::Unguarded));
        Ok(TableKind::Unguarded)
    }

    /// Checks the table, unless a check has passed before.
    ///
    /// Of requests that come together one checks and the others wait. If its check fails, each of them makes its own
    /// at the same time: five seconds of a locked database do not add up.
    ///
    /// # Errors
    /// What the operator has to do, or what the database says.
    pub async fn check(&self) -> Result<TableKind, DbError> {
        let begun = self.begun.get();
        while self.ended.get() < begun && self.table.get().is_none() {
            self.database.sleep(PAUSE).await;
        }
        if let Some(kind) = self.table.get() {
            return Ok(kind);
        }
        let _check = Check::begin(self);
        let mut session = Session::open(&self.database).await?;
        let plan = check_plan(&mut session).await?;
        let kind = check_table(&plan, &mut session).await?;
        session.release();
        if kind == TableKind::Unguarded {
            log::notice(format_args!("{UNGUARDED}"));
        }
        self.table.set(Some(kind));
        Ok(kind)
    }
}

/// A check that is under way. Dropping it ends the check, also where the host gives up the request.
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

/// What the operator is told, after "the table flows has no index that".
const NO_INDEX: &str = "gives the order of (time, id), or none on id; run `flows load --db FILE` with no file \
                        of flows, or CREATE INDEX flows_time ON flows (time, id)";

/// Checks that every page reads an index in the order of `(time, id)`, and finds the largest id in another. Returns
/// the steps of the plan.
async fn check_plan(session: &mut Session<impl Database>) -> Result<Vec<String>, DbError> {
    let steps = session.plan(plan_probe()).await?;
    match steps.iter().find(|step| is_slow(step)) {
        None => Ok(steps),
        Some(step) => {
            let detail = format!("the table flows has no index that {NO_INDEX}");
            Err(DbError::not_ready(detail).caused_by(step))
        }
    }
}

/// Checks the table behind the plan.
///
/// `time` and `id` have to be integers: a window would compare anything else by other rules. `id` has to be unique: a
/// page could end among flows of one key, and the next page would skip the rest. The indexes have to hold every row.
/// A number with a fraction between the ends of an index is found when its page is read.
async fn check_table(
    plan: &[String],
    session: &mut Session<impl Database>,
) -> Result<TableKind, DbError> {
    let row = session.row(table_probe(plan)).await?;
    let values = row.unwrap_or_default();
    let [
        partial,
        guarded,
        first_time,
        last_time,
        unique,
        id_ends @ ..,
    ] = values.as_slice()
    else {
        return Err(unknown_form());
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
            // An empty table has no value there.
            _ => {}
        }
    }
    Ok(match guarded {
        Value::Integer(1) => TableKind::Guarded,
        _ => TableKind::Unguarded,
    })
}
