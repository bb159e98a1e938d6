//! The state of the table, and its ends.

use serde::Serialize;

use super::reader::{Reader, unknown_form};
use super::readiness::Readiness;
use super::sql::Statement;
use super::{Database, DbError, Value};
use crate::table::state::TableState;

/// Reads the state of the table.
///
/// # Errors
/// A table that is not ready, or a database that cannot be read.
pub async fn read_state<D: Database>(readiness: &Readiness<D>) -> Result<TableState, DbError> {
    readiness
        .over_table(async |database, kind| {
            let mut reader = Reader::open(database, kind).await?;
            let (state, _) = reader.row(Statement::of_state(kind)).await?;
            reader.finish().await?;
            Ok(state)
        })
        .await
}

/// The ends of the table; `None` where it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The least time, in seconds.
    pub first_time: Option<i64>,
    /// The largest time, in seconds.
    pub last_time: Option<i64>,
    /// The least id.
    pub first_id: Option<i64>,
    /// The largest id.
    pub last_id: Option<i64>,
    /// The number of flows; `None` where counting them takes long.
    pub flows: Option<i64>,
    /// The table's lineage; `None` for a table without a guard.
    pub lineage: Option<String>,
}

/// Reads the ends of the table, and the state that they belong to.
///
/// # Errors
/// As [`read_state`].
pub async fn read_extent<D: Database>(
    readiness: &Readiness<D>,
) -> Result<(Extent, TableState), DbError> {
    readiness
        .over_table(async |database, kind| {
            let mut reader = Reader::open(database, kind).await?;
            let (state, values) = reader.row(Statement::of_extent(kind)).await?;
            reader.finish().await?;
            let ends: Vec<_> = values.collect();
            let [first_time, last_time, first_id, last_id] = ends.as_slice() else {
                return Err(unknown_form());
            };
            let integer = |value: &Value| match value {
                Value::Integer(end) => Some(*end),
                _ => None,
            };
            let extent = Extent {
                first_time: integer(first_time),
                last_time: integer(last_time),
                first_id: integer(first_id),
                last_id: integer(last_id),
                flows: None,
                lineage: state.lineage(),
            };
            Ok((extent, state))
        })
        .await
}
