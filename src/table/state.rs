//! The state of the table: what arrivals change in it, and what edits change.
//!
//! Every statement of an answer returns the state that it has seen. An answer comes from one state of the table, or
//! is cut off. `flows load` gives the table a guard row (see `schema.sql`), which tells edits from arrivals. Any
//! other table has SQLite's `data_version` alone, which changes with every commit of another connection and means
//! nothing to a second answer.

use super::columns::{COLUMNS, Column};

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

    /// Reads the column that [`crate::db::sql::state::select`] selects of a table of which nothing is known.
    ///
    /// `None` where the table is not the one that `schema.sql` makes, with its guard and integers in `time`. A table that
    /// has other indexes or statistics may be fit all the same; its plan has to be looked at.
    pub fn from_unchecked(column: &[u8]) -> Option<Self> {
        let ([content, lineage, high, max_id], rest) = integers(column)?;
        let (objects, kind): (Vec<Option<String>>, String) =
            serde_json::from_slice(&[b"[", rest].concat()).ok()?;
        let is_integer = matches!(kind.as_str(), "integer" | "null");
        if !is_integer || !is_own_schema(&objects) {
            return None;
        }
        Some(Self::guarded(content?, lineage?, high?, max_id))
    }

    /// Reads the same column of a table with the guard; `None` where the guard is not whole.
    pub fn from_guarded(column: &[u8]) -> Option<Self> {
        let ([content, lineage, high, max_id, triggers], rest) = integers(column)?;
        let is_whole = triggers == Some(TRIGGER_COUNT) && rest.is_empty();
        is_whole.then_some(Self::guarded(content?, lineage?, high?, max_id))
    }

    fn guarded(content: i64, lineage: i64, high: i64, max_id: Option<i64>) -> Self {
        Self {
            version: Version::Guarded(Guard { content, lineage }),
            max_id: high.max(max_id.unwrap_or(i64::MIN)),
            has_cursor_row: true,
        }
    }

    /// Reads the same column of a table without a guard.
    pub fn from_unguarded(column: &[u8]) -> Option<Self> {
        let ([data_version, max_id, has_cursor_row], _) = integers(column)?;
        Some(Self {
            version: Version::Unguarded(data_version?),
            max_id: max_id.unwrap_or(i64::MIN),
            has_cursor_row: has_cursor_row? != 0,
        })
    }

    /// Whether pages of these two states belong to one answer: nothing but arrivals lies between them.
    pub fn continues(self, first: Self) -> bool {
        self.version == first.version && self.max_id >= first.max_id
    }
}

/// The integers that a JSON array starts with, and what follows them; a null is `None`.
fn integers<const N: usize>(array: &[u8]) -> Option<([Option<i64>; N], &[u8])> {
    let mut rest = array.strip_prefix(b"[")?;
    let mut integers = [None; N];
    for integer in &mut integers {
        let end = rest.iter().position(|byte| b",]".contains(byte))?;
        let (text, behind) = rest.split_at_checked(end)?;
        if text != b"null" {
            *integer = Some(std::str::from_utf8(text).ok()?.parse().ok()?);
        }
        rest = behind.get(1..)?;
    }
    Some((integers, rest))
}

/// Whether a table with these objects is the one that `schema.sql` makes: its id is the rowid, its index is that on
/// `time` or on `(time, id)`, and the guard is whole. Then every page has a plan that is known. Indexes for filters are
/// named in the statements that use them, and change no other plan.
fn is_own_schema(objects: &[Option<String>]) -> bool {
    // Blanks and quotation marks may differ: a replacement renames its table.
    let bare = |object: &Option<String>| -> Option<String> {
        let kept = |c: &char| !c.is_whitespace() && *c != '"';
        Some(object.as_ref()?.chars().filter(kept).collect())
    };
    // A constraint's own index has no SQL.
    let Some(objects) = objects.iter().map(bare).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let count = |is_one: &dyn Fn(&str) -> bool| objects.iter().filter(|sql| is_one(sql)).count();
    let tables = count(&|sql| {
        sql.starts_with("CREATETABLEflows(idINTEGERPRIMARYKEY,timeINTEGERNOTNULL,")
            && !sql.contains("WITHOUT")
    });
    let indexes = count(&|sql| {
        let columns = sql.strip_prefix("CREATEINDEXflows_timeONflows");
        matches!(columns, Some("(time)" | "(time,id)"))
    });
    let for_filters = count(&|sql| {
        let is_of = |column: &Column| {
            let name = column.name;
            sql == format!("CREATEINDEXflows_{name}ONflows({name},time)")
        };
        COLUMNS.iter().any(is_of)
    });
    let triggers = count(&|sql| sql.starts_with("CREATETRIGGERflows_guard_"));
    let created = count(&|sql| !sql.starts_with("CREATETRIGGER"));
    let has_guard = i64::try_from(triggers) == Ok(TRIGGER_COUNT);
    let others = created.saturating_sub(for_filters);
    (tables, indexes, others) == (1, 1, 2) && has_guard
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::sql::state::{TableKind, select};
    use crate::table::SCHEMA;

    #[test]
    fn a_guard_without_all_its_triggers_is_none() {
        let state = TableState::from_guarded(b"[1,2,9,7,4]").unwrap();
        let guard = Guard {
            content: 1,
            lineage: 2,
        };
        assert_eq!((state.guard(), state.max_id), (Some(guard), 9));
        assert_eq!(TableState::from_guarded(b"[1,2,9,7,3]"), None);
        assert_eq!(TableState::from_guarded(b"[1,2,9,\"7\",4]"), None);
        let empty = TableState::from_guarded(b"[1,2,-9223372036854775808,null,4]");
        assert_eq!(empty.map(|state| state.max_id), Some(i64::MIN));
    }

    #[test]
    fn a_table_of_the_schema_is_known_and_any_other_has_to_be_looked_at() {
        let objects = |sql: &str| {
            let database = rusqlite::Connection::open_in_memory().unwrap();
            database.execute_batch(sql).unwrap();
            let select = select(TableKind::Unchecked, None, |_| String::new());
            let column: rusqlite::Result<Vec<u8>> =
                database.query_row(&select, [], |row| row.get(0));
            column.is_ok_and(|column| TableState::from_unchecked(&column).is_some())
        };
        let with = |more: &str| objects(&format!("{SCHEMA}; {more}"));
        let changed = |from: &str, to: &str| {
            let changed = SCHEMA.replace(from, to);
            assert_ne!(changed, SCHEMA);
            objects(&changed)
        };
        assert!(with(""));
        assert!(with(
            "CREATE TRIGGER mine AFTER INSERT ON flows BEGIN SELECT 1; END"
        ));
        assert!(with(
            "ALTER TABLE flows RENAME TO other; ALTER TABLE other RENAME TO flows"
        ));
        assert!(with(
            "CREATE TABLE other (id); CREATE INDEX mine ON other (id)"
        ));
        assert!(with("ALTER TABLE flows ADD COLUMN more"));
        assert!(with(
            "DROP INDEX flows_time; CREATE INDEX flows_time ON flows (time, id)"
        ));
        assert!(with(
            "CREATE INDEX flows_src_comp ON flows (src_comp, time);
             CREATE INDEX flows_dst_port ON flows (dst_port, time)"
        ));
        for more in [
            "CREATE INDEX mine ON flows (src_comp)",
            "DROP INDEX flows_time; CREATE INDEX flows_time ON flows (id, time)",
            "CREATE INDEX flows_src_comp ON flows (dst_comp, time)",
            "CREATE INDEX flows_src_comp ON flows (src_comp, time) WHERE time > 0",
            "CREATE UNIQUE INDEX mine ON flows (time, id)",
            "ANALYZE",
            "DROP TRIGGER flows_guard_update",
            "DROP INDEX flows_time",
            "DROP INDEX flows_time; CREATE INDEX flows_time ON flows (time) WHERE time > 0",
            "DROP INDEX flows_time; CREATE INDEX flows_time ON flows (time DESC)",
            "DROP TABLE flows; CREATE VIEW flows AS SELECT 1 AS id",
        ] {
            assert!(!with(more), "{more}");
        }
        assert!(!changed("\n);", "\n) WITHOUT ROWID;"));
        assert!(!changed(
            "id           INTEGER PRIMARY KEY",
            "id INT PRIMARY KEY"
        ));
        assert!(!changed("time         INTEGER NOT NULL", "time INTEGER"));
        assert!(!changed(
            "src_comp     TEXT    NOT NULL",
            "src_comp TEXT UNIQUE"
        ));
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
