//! The state of the table: what changes in it when flows arrive, and what changes when they are edited.
//!
//! Every statement of an answer brings the state along that it has seen, so that an answer is known to come
//! from one state of the table, or is cut off. A table that `flows load` has prepared has a guard row (see
//! `schema.sql`), which tells edits from arrivals. For any other table SQLite's `data_version` has to do:
//! it changes with every commit of another connection, and means nothing to a second answer.

use crate::packed::RowKey;

/// The guard row of a table, as far as it tells of edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Changes with everything but an arrival.
    pub content: i64,
    /// Changes with what a reader of new ids would miss.
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
pub struct State {
    /// What edits change.
    pub version: Version,
    /// The largest id ever given, as far as the table knows; the least integer where it knows of none.
    pub newest: i64,
    /// Whether the flow that a cursor stands on is there, where that was asked.
    pub stands: bool,
}

/// What a table with a guard has to have: a trigger for each kind of change.
const TRIGGERS: i64 = 4;

impl State {
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

    /// Reads the column that [`select`] selects.
    ///
    /// `None` where the guard that was expected is not there, or the state has another form.
    pub fn from_column(column: &[u8], guarded: bool) -> Option<Self> {
        if guarded {
            let (content, lineage, high, max_id, triggers): (i64, i64, i64, Option<i64>, i64) =
                serde_json::from_slice(column).ok()?;
            (triggers == TRIGGERS).then_some(Self {
                version: Version::Guarded(Guard { content, lineage }),
                newest: high.max(max_id.unwrap_or(i64::MIN)),
                stands: true,
            })
        } else {
            let (data_version, max_id, stands): (i64, Option<i64>, i64) =
                serde_json::from_slice(column).ok()?;
            Some(Self {
                version: Version::Unguarded(data_version),
                newest: max_id.unwrap_or(i64::MIN),
                stands: stands != 0,
            })
        }
    }

    /// Whether pages that have seen these two states belong to one answer: only arrivals lie between them.
    pub fn continues(self, first: Self) -> bool {
        self.version == first.version && self.newest >= first.newest
    }
}

/// The largest id by a walk of one step: `max(id)` would walk every row of a view over several tables. The
/// bound makes the plan a search, as the check of the table wants to see it.
const MAX_ID: &str =
    "(SELECT id FROM flows WHERE id >= -9223372036854775808 ORDER BY id DESC LIMIT 1)";

/// Whether the guard is complete: its table and all its triggers, on the table that is called `flows` now.
pub const IS_GUARDED: &str = "\
    (SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'flows' COLLATE NOCASE \
        AND name GLOB 'flows_guard_*') = 4 \
    AND EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'flows_guard')";

/// The SELECT that gives the state as one BLOB, for [`State::from_column`].
///
/// `stands_on` binds the flow that a cursor stands on. Only a table without a guard is asked for it.
pub fn select(guarded: bool, stands_on: Option<RowKey>, bind: impl FnMut(i64) -> String) -> String {
    if guarded {
        return format!(
            "SELECT CAST(json_array(content, lineage, high, {MAX_ID}, \
             (SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' \
             AND tbl_name = 'flows' COLLATE NOCASE AND name GLOB 'flows_guard_*')) AS BLOB) \
             FROM flows_guard"
        );
    }
    let stands = stands_on.map(|key| [key.time, key.id].map(bind));
    let stands = stands.map_or("1".to_owned(), |[time, id]| {
        format!("EXISTS (SELECT 1 FROM flows WHERE time = {time} AND id = {id})")
    });
    format!(
        "SELECT CAST(json_array(data_version, {MAX_ID}, {stands}) AS BLOB) FROM pragma_data_version"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_without_all_its_triggers_is_none() {
        let state = State::from_column(b"[1,2,9,7,4]", true).unwrap();
        let guard = Guard {
            content: 1,
            lineage: 2,
        };
        assert_eq!((state.guard(), state.newest), (Some(guard), 9));
        assert_eq!(State::from_column(b"[1,2,9,7,3]", true), None);
        assert_eq!(State::from_column(b"[1,2,9,\"7\",4]", true), None);
        let empty = State::from_column(b"[1,2,-9223372036854775808,null,4]", true);
        assert_eq!(empty.map(|state| state.newest), Some(i64::MIN));
    }

    #[test]
    fn an_answer_goes_on_over_arrivals_and_over_nothing_else() {
        let state = |content, lineage, newest| State {
            version: Version::Guarded(Guard { content, lineage }),
            newest,
            stands: true,
        };
        assert!(state(1, 2, 10).continues(state(1, 2, 9)));
        assert!(!state(1, 2, 8).continues(state(1, 2, 9)));
        assert!(!state(3, 2, 10).continues(state(1, 2, 9)));
        assert!(!state(1, 3, 10).continues(state(1, 2, 9)));
        let unguarded = |data_version| State {
            version: Version::Unguarded(data_version),
            ..state(0, 0, 9)
        };
        assert!(unguarded(4).continues(unguarded(4)));
        assert!(!unguarded(5).continues(unguarded(4)));
        assert!(!unguarded(1).continues(state(1, 1, 9)));
    }
}
