//! The parameters: a list for each route that takes some. Each column that has a filter is a parameter of its own.

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
    /// An integer from the first to the second of these.
    Range(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
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

/// The number of buckets.
pub const BUCKETS: Parameter = Parameter {
    name: "buckets",
    kind: ParameterKind::Range(1, 10_000),
    expected: "an integer from 1 to 10000",
    description: "so many buckets of the same width at most; absent: 100",
};

/// The width of a bucket.
pub const WIDTH: Parameter = Parameter {
    name: "width",
    kind: ParameterKind::Integer(1),
    expected: "a 64-bit integer >= 1 (seconds)",
    description: "the width of a bucket, instead of `buckets`; 10,000 buckets at most",
};

/// What flows are counted by.
pub const BY: Parameter = Parameter {
    name: "by",
    kind: ParameterKind::Word(&FILTER_NAMES),
    expected: "src_comp, src_port, dst_comp, dst_port or protocol",
    description: "the field whose values are counted; absent: src_comp",
};

/// What values are ordered by.
pub const ORDER: Parameter = Parameter {
    name: "order",
    kind: ParameterKind::Word(&["flows", "packets", "bytes"]),
    expected: "flows, packets or bytes",
    description: "what the values with the most come first of; absent: bytes",
};

/// How many values.
pub const TOP_LIMIT: Parameter = Parameter {
    name: "limit",
    kind: ParameterKind::Range(0, 100_000),
    expected: "an integer from 0 to 100000",
    description: "at most so many values; absent: 10",
};

/// The parameters of flows that are not filters.
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

/// The names of the filters.
const FILTER_NAMES: [&str; FILTER_COUNT] = {
    let mut names = [""; FILTER_COUNT];
    let (mut slots, mut columns) = (names.as_mut_slice(), COLUMNS.as_slice());
    while let [column, rest @ ..] = columns {
        if column.is_filter {
            let [slot, more @ ..] = slots else { break };
            *slot = column.name;
            slots = more;
        }
        columns = rest;
    }
    names
};

/// The parameters of flows, in the order of the documents.
pub const PARAMETERS: [Parameter; OWN.len().saturating_add(FILTER_COUNT)] = and_filters(OWN);

/// The parameters of the BigQuery schema.
pub const SCHEMA_PARAMETERS: [Parameter; 1] = [COLUMNS_PARAMETER];

/// The parameters of counts by time.
pub const HISTOGRAM_PARAMETERS: [Parameter; FILTER_COUNT.saturating_add(5)] =
    and_filters([SCANNED_AFTER, SCANNED_BEFORE, BUCKETS, WIDTH, FORMAT]);

/// The parameters of the values with the most.
pub const TOP_PARAMETERS: [Parameter; FILTER_COUNT.saturating_add(6)] =
    and_filters([BY, ORDER, TOP_LIMIT, SCANNED_AFTER, SCANNED_BEFORE, FORMAT]);

/// These parameters, and then the filters. `N` is the number of both.
const fn and_filters<const OWN: usize, const N: usize>(own: [Parameter; OWN]) -> [Parameter; N] {
    let mut all = [SCANNED_AFTER; N];
    let (first, mut filters) = all.split_at_mut(OWN);
    first.copy_from_slice(&own);
    let mut columns: &'static [Column] = &COLUMNS;
    while let [column, rest @ ..] = columns {
        if column.is_filter {
            let [slot, more @ ..] = filters else { break };
            *slot = filter(column);
            filters = more;
        }
        columns = rest;
    }
    assert!(filters.is_empty(), "another number of filters");
    all
}

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
