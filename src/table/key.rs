//! The key of a row in the order of an answer.

/// The key of a row: answers are ordered by `(time, id)`, the arrival feed by `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    /// Seconds since the start of the data set.
    pub time: i64,
    /// The flow's id, which no other flow has.
    pub id: i64,
}
