//! The state of the table: what arrivals change in it, and what edits change.
//!
//! Every statement of an answer returns the state that it has seen. An answer comes from one state of the table, or
//! is cut off. `flows load` gives the table a guard row (see `schema.sql`), which tells edits from arrivals. Any
//! other table has SQLite's `data_version` alone, which changes with every commit of another connection and means
//! nothing to a second answer.

/// What the guard row tells of edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Changes with every edit, and with no arrival.
    pub content: i64,
    /// Changes with every edit that a reader of new ids would miss.
    pub lineage: i64,
}

/// What tells one state of the table from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The table has the guard.
    Guarded(Guard),
    /// It has none: `PRAGMA data_version` of the connection, which changes with every commit of another.
    Unguarded(i64),
}

/// One state of the table, as one statement has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableState {
    /// What changes with edits.
    pub version: Version,
    /// The largest id ever given, as far as the table knows; the least integer where it knows of none.
    pub max_id: i64,
    /// Whether the last flow before a cursor is there. `true` where the statement did not ask.
    pub has_cursor_row: bool,
}

/// The number of triggers of a whole guard, one for each kind of change.
const TRIGGER_COUNT: i64 = 4;

impl TableState {
    /// The guard, where the table has one.
    pub fn guard(self) -> Option<Guard> {
        match self.version {
            Version::Guarded(guard) => Some(guard),
            Version::Unguarded(_) => None,
        }
    }

    /// The lineage as clients know it: 16 hexadecimal digits; `None` without a guard.
    pub fn lineage(self) -> Option<String> {
        self.guard().map(|guard| format!("{:016x}", guard.lineage))
    }

    /// Reads the column that [`crate::db::sql::state::select`] selects.
    ///
    /// `None` where the expected guard is not whole, or the column has another form.
    pub fn from_column(column: &[u8], guarded: bool) -> Option<Self> {
        if guarded {
            let (content, lineage, high, max_id, triggers): (i64, i64, i64, Option<i64>, i64) =
                serde_json::from_slice(column).ok()?;
            (triggers == TRIGGER_COUNT).then_some(Self {
                version: Version::Guarded(Guard { content, lineage }),
                max_id: high.max(max_id.unwrap_or(i64::MIN)),
                has_cursor_row: true,
            })
        } else {
            let (data_version, max_id, has_cursor_row): (i64, Option<i64>, i64) =
                serde_json::from_slice(column).ok()?;
            Some(Self {
                version: Version::Unguarded(data_version),
                max_id: max_id.unwrap_or(i64::MIN),
                has_cursor_row: has_cursor_row != 0,
            })
        }
    }

    /// Whether pages of these two states belong to one answer: nothing but arrivals lies between them.
    pub fn continues(self, first: Self) -> bool {
        self.version == first.version && self.max_id >= first.max_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_without_all_its_triggers_is_none() {
        let state = TableState::from_column(b"[1,2,9,7,4]", true).unwrap();
        let guard = Guard {
            content: 1,
            lineage: 2,
        };
        assert_eq!((state.guard(), state.max_id), (Some(guard), 9));
        assert_eq!(TableState::from_column(b"[1,2,9,7,3]", true), None);
        assert_eq!(TableState::from_column(b"[1,2,9,\"7\",4]", true), None);
        let empty = TableState::from_column(b"[1,2,-9223372036854775808,null,4]", true);
        assert_eq!(empty.map(|state| state.max_id), Some(i64::MIN));
    }

    #[test]
    fn an_answer_goes_on_over_arrivals_and_over_nothing_else() {
        let state = |content, lineage, max_id| TableState {
            version: Version::Guarded(Guard { content, lineage }),
            max_id,
            has_cursor_row: true,
        };
        assert!(state(1, 2, 10).continues(state(1, 2, 9)));
        assert!(!state(1, 2, 8).continues(state(1, 2, 9)));
        assert!(!state(3, 2, 10).continues(state(1, 2, 9)));
        assert!(!state(1, 3, 10).continues(state(1, 2, 9)));
        let unguarded = |data_version| TableState {
            version: Version::Unguarded(data_version),
            ..state(0, 0, 9)
        };
        assert!(unguarded(4).continues(unguarded(4)));
        assert!(!unguarded(5).continues(unguarded(4)));
        assert!(!unguarded(1).continues(state(1, 1, 9)));
    }
}
