//! Which columns a packed record holds, and which of them are written.

use std::borrow::Cow;

use super::columns::{COLUMN_COUNT, COLUMNS, Column, SQL_LIST};

/// Columns of the key. They come first in [`COLUMNS`].
const KEY_COLUMN_COUNT: usize = 2;

/// The most values that a packed record holds: the key, and every column once.
pub const MAX_VALUES: usize = COLUMN_COUNT.saturating_add(KEY_COLUMN_COUNT);

/// The columns of a packed record. Some at its start may be hidden: they are read and not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    columns: Cow<'static, [Column]>,
    hidden: usize,
    is_all: bool,
}

impl Layout {
    /// Every column of the table, in its order.
    pub const ALL: Self = Self {
        columns: Cow::Borrowed(&COLUMNS),
        hidden: 0,
        is_all: true,
    };

    /// Records that hold these columns.
    pub fn of(columns: Vec<Column>) -> Self {
        Self {
            columns: columns.into(),
            hidden: 0,
            is_all: false,
        }
    }

    /// Flows with these columns alone, in this order.
    ///
    /// Pages need the key of their flows. Where the columns do not start with it, it stands before them and is hidden.
    pub fn select(selected: &[Column]) -> Self {
        if selected == COLUMNS {
            return Self::ALL;
        }
        let (key, _) = COLUMNS.split_at(KEY_COLUMN_COUNT);
        let hidden = if selected.starts_with(key) { &[] } else { key };
        Self {
            columns: [hidden, selected].concat().into(),
            hidden: hidden.len(),
            is_all: false,
        }
    }

    /// Whether this is [`Self::ALL`].
    pub fn is_all(&self) -> bool {
        self.is_all
    }

    /// The columns of a packed record.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How many of them are hidden.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The columns that are written.
    pub fn fields(&self) -> &[Column] {
        self.columns.get(self.hidden..).unwrap_or_default()
    }

    /// The columns of a packed record as SQL lists them.
    pub fn sql_list(&self) -> Cow<'static, str> {
        if self.is_all() {
            return SQL_LIST.into();
        }
        names(&self.columns, ", ").into()
    }

    /// The names of the columns that are written, with commas between them.
    pub fn field_names(&self) -> String {
        names(self.fields(), ",")
    }
}

fn names(columns: &[Column], separator: &str) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name).collect();
    names.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(places: &[usize]) -> Layout {
        let selected: Vec<_> = places.iter().map(|place| COLUMNS[*place]).collect();
        Layout::select(&selected)
    }

    #[test]
    fn the_key_stands_first_and_is_hidden_where_it_is_not_asked_for_first() {
        assert_eq!(Layout::ALL.sql_list(), SQL_LIST);
        assert!(select(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).is_all());
        for (places, list, hidden) in [
            (&[0, 1, 9][..], "id, time, byte_count", 0),
            (&[9, 0], "id, time, byte_count, id", 2),
            (&[1, 0], "id, time, time, id", 2),
            (&[0], "id, time, id", 2),
        ] {
            let layout = select(places);
            assert_eq!(layout.sql_list(), list);
            assert_eq!(layout.hidden(), hidden);
            let names: Vec<_> = places.iter().map(|place| COLUMNS[*place].name).collect();
            assert_eq!(layout.field_names(), names.join(","));
        }
        let every_column_backwards: Vec<_> = (0..COLUMN_COUNT).rev().collect();
        assert_eq!(select(&every_column_backwards).columns().len(), MAX_VALUES);
        let keys = COLUMNS.iter().filter(|column| column.is_key).count();
        assert_eq!(keys, KEY_COLUMN_COUNT);
    }
}
