//! The list of parameters: nine of their own, and one filter for each column that has one.

use crate::formats::Format;
use crate::table::columns::{COLUMNS, Column, ColumnType};

/// A parameter of the query string: one row of the table in `docs/api.md`.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name in the query string.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: ParameterKind,
    /// What values it takes, as an error says it.
    pub expected: &'static str,
    /// What it means.
    pub description: &'static str,
}

/// The kinds of values that parameters take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A 64-bit integer of at least this.
    Integer(i64),
    /// The name of a format.
    Format,
    /// A cursor.
    Cursor,
    /// Names of columns, each once, with commas between them.
    Columns,
    /// A switch, which 1 turns on.
    Switch,
    /// A lineage: 16 hexadecimal digits in lower case.
    Lineage,
    /// A filter: any of the given values of this column; may be repeated.
    Filter(&'static Column),
}

impl ParameterKind {
    /// Whether the parameter may be given more than once.
    pub fn repeats(self) -> bool {
        matches!(self, Self::Filter(_))
    }
}

/// The lower bound of the window.
pub const SCANNED_AFTER: Parameter = Parameter {
    name: "scanned_after",
    kind: ParameterKind::Integer(i64::MIN),
    expected: "a 64-bit integer (seconds)",
    description: "only flows with `time` greater than this; absent: no lower bound",
};

/// The upper bound of the window.
pub const SCANNED_BEFORE: Parameter = Parameter {
    name: "scanned_before",
    kind: ParameterKind::Integer(i64::MIN),
    expected: "a 64-bit integer (seconds)",
    description: "only flows with `time` up to and including this; absent: no upper bound",
};

/// The size of a portion.
pub const LIMIT: Parameter = Parameter {
    name: "limit",
    kind: ParameterKind::Integer(0),
    expected: "a 64-bit integer >= 0",
    description: "at most so many flows; absent: all",
};

/// The format.
pub const FORMAT: Parameter = Parameter {
    name: "format",
    kind: ParameterKind::Format,
    expected: Format::EXPECTED,
    description: "wins over the path's ending, which wins over `Accept`",
};

/// The columns of a record.
pub const COLUMNS_PARAMETER: Parameter = Parameter {
    name: "columns",
    kind: ParameterKind::Columns,
    expected: "names of columns, each once, with commas between them",
    description: "only these columns, in this order; absent: all",
};

/// Where to continue.
pub const CURSOR: Parameter = Parameter {
    name: "cursor",
    kind: ParameterKind::Cursor,
    expected: "a cursor from a `Link`",
    description: "goes on where a limited answer stopped",
};

/// The arrival feed.
pub const AFTER_ID: Parameter = Parameter {
    name: "after_id",
    kind: ParameterKind::Integer(i64::MIN),
    expected: "a 64-bit integer",
    description: "the arrival feed: flows with `id` greater than this, in the order of `id`; may be combined with the window",
};

/// The end line.
pub const END: Parameter = Parameter {
    name: "end",
    kind: ParameterKind::Switch,
    expected: "1",
    description: "`ndjson` and `csv` end in a line that names the count and the watermark; the others have an end of their own",
};

/// The lineage that is expected.
pub const LINEAGE: Parameter = Parameter {
    name: "lineage",
    kind: ParameterKind::Lineage,
    expected: "16 hexadecimal digits, as in `Flow-Lineage`",
    description: "answer only if the table still has this lineage, else 410",
};

/// The parameters that are not filters.
const OWN: [Parameter; 9] = [
    SCANNED_AFTER,
    SCANNED_BEFORE,
    LIMIT,
    FORMAT,
    COLUMNS_PARAMETER,
    CURSOR,
    AFTER_ID,
    END,
    LINEAGE,
];

/// Number of filters.
const FILTER_COUNT: usize = {
    let mut count: usize = 0;
    let mut columns = COLUMNS.as_slice();
    while let [column, rest @ ..] = columns {
        if column.is_filter {
            count = count.saturating_add(1);
        }
        columns = rest;
    }
    count
};

/// Number of parameters.
pub const PARAMETER_COUNT: usize = OWN.len().saturating_add(FILTER_COUNT);

/// Every parameter, in the order of the documents.
pub const PARAMETERS: [Parameter; PARAMETER_COUNT] = {
    let mut all = [SCANNED_AFTER; PARAMETER_COUNT];
    let (own, mut filters) = all.split_at_mut(OWN.len());
    own.copy_from_slice(&OWN);
    let mut columns: &'static [Column] = &COLUMNS;
    while let [column, rest @ ..] = columns {
        if column.is_filter {
            let [slot, more @ ..] = filters else { break };
            *slot = filter(column);
            filters = more;
        }
        columns = rest;
    }
    all
};

const fn filter(column: &'static Column) -> Parameter {
    Parameter {
        name: column.name,
        kind: ParameterKind::Filter(column),
        expected: match column.column_type {
            ColumnType::Integer => "a 64-bit integer",
            ColumnType::Text => "text",
        },
        description: "exact match; repeat for \"any of\"",
    }
}
