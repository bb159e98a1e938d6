//! The SQL that finds the indexes for filters.

use super::Statement;
use super::state::TableKind;

/// Whether `flows` has the index of this column that `flows load --index` makes: on the column and then on `time`, which
/// gives the rows of one value in the order of `(time, id)`. It has to hold every row, and to compare text byte by byte as
/// filters do.
#[must_use]
pub fn has_index(column: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM pragma_index_list('flows') AS list \
         WHERE list.name = 'flows_{column}' AND NOT list.partial \
         AND (SELECT group_concat(lower(name) || coll || \"desc\") FROM pragma_index_xinfo(list.name) \
             WHERE key) IN ('{column}BINARY0,timeBINARY0', '{column}BINARY0,timeBINARY0,idBINARY0') \
         AND (SELECT group_concat(lower(name) || upper(type)) FROM pragma_table_info('flows') \
             WHERE pk) = 'idINTEGER')"
    )
}

impl Statement {
    /// The statement that returns the table's state, and for each of these columns whether it has an index.
    pub fn filter_indexes<'a>(
        kind: TableKind,
        columns: impl Iterator<Item = &'a &'static str>,
    ) -> Self {
        let Self {
            mut text,
            parameters,
        } = Self::of_state(kind);
        for column in columns {
            text.push_str(", ");
            text.push_str(&has_index(column));
        }
        Self { text, parameters }
    }
}
