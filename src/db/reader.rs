//! The statements of one answer, which have to agree on the state of the table.

use super::session::Session;
use super::sql::Statement;
use super::sql::state::TableKind;
use super::{Database, DbError, DbErrorKind, Storage, Value};
use crate::table::state::TableState;

/// Runs the statements of one answer, all on one connection, and holds each of them to the state that the first has
/// seen.
pub(super) struct Reader<D: Database> {
    pub(super) session: Session<D>,
    /// What is known of the table.
    pub(super) kind: TableKind,
    /// The state that the first statement has seen.
    state: Option<TableState>,
    /// Whether the second statement has begun.
    reads_on: bool,
}

impl<D: Database> Reader<D> {
    /// Takes a connection.
    pub(super) async fn open(database: &D, kind: TableKind) -> Result<Self, DbError> {
        Ok(Self {
            session: Session::acquire(database).await?,
            kind,
            state: None,
            reads_on: false,
        })
    }

    /// Runs a statement whose first value is the state. Returns the state and the other values.
    ///
    /// # Errors
    /// What SQLite or the host says of the statement; a guard that is gone; a state that does not continue the first.
    pub(super) async fn row(
        &mut self,
        statement: Statement,
    ) -> Result<(TableState, impl Iterator<Item = Value> + use<D>), DbError> {
        if self.state.is_some() && !self.reads_on {
            self.reads_on = true;
            self.session.read_on().await?;
            self.check_long_answer().await?;
        }
        let row = match self.session.row(statement).await {
            // The check tells whether the table is fit. A statement of the guarded table then names the BLOB.
            Err(error)
                if self.kind == TableKind::Unchecked
                    && matches!(error.kind, DbErrorKind::NoIndex | DbErrorKind::UnnamedBlob) =>
            {
                return Err(DbError::guard_lost());
            }
            row => row?,
        };
        let mut values = row.unwrap_or_default().into_iter();
        let state = match values.next() {
            Some(Value::Blob(column)) => match self.kind {
                TableKind::Unchecked => TableState::from_unchecked(&column),
                TableKind::Guarded => TableState::from_guarded(&column),
                TableKind::Unguarded => TableState::from_unguarded(&column),
            },
            _ => None,
        };
        let state = state.ok_or_else(DbError::guard_lost)?;
        if self.kind == TableKind::Unchecked {
            self.kind = TableKind::Guarded;
        }
        let first = *self.state.get_or_insert(state);
        if !state.continues(first) {
            return Err(DbError::edited());
        }
        Ok((state, values))
    }

    /// Checks that the answer may take a second statement.
    ///
    /// # Errors
    /// A table without the guard on a server: there `data_version` tells nothing of edits.
    pub(super) async fn check_long_answer(&mut self) -> Result<(), DbError> {
        if self.kind == TableKind::Unguarded && self.session.storage().await? == Storage::Server {
            return Err(DbError::not_ready(
                "an answer of several pages from a database server needs the guard of the table flows; \
                 src/table/schema.sql makes it",
            ));
        }
        Ok(())
    }

    /// Returns the connection to the pool.
    pub(super) async fn finish(mut self) -> Result<(), DbError> {
        self.session.commit().await?;
        self.session.release();
        Ok(())
    }
}

/// A statement has returned values of another form than it promises.
pub(super) fn unknown_form() -> DbError {
    DbError::internal("the database's answer has an unknown form")
}
