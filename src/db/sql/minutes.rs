//! The SQL of flows that `flows load` has counted by minute.

use super::state::{self, TableKind};
use super::{Bound, Statement};
use crate::db::Value;
use crate::table::columns::COLUMNS;

/// The largest id that is counted; NULL where the counts are those of another state of the table.
const COUNTED_ID: &str = "(SELECT max_id FROM flows_per_minute_state \
    WHERE content = (SELECT content FROM flows_guard))";

impl Statement {
    /// The statement that returns the table's state, and how many flows are counted in the minutes of these spans; NULL
    /// where there are none.
    pub fn flows_in_minutes(kind: TableKind, spans: String) -> Self {
        let mut bound = Bound::default();
        let spans = span(&mut bound, spans);
        let state = state::select(kind, None, |value| bound.integer(value));
        let flows = format!(
            "SELECT sum(flows) FROM {spans} CROSS JOIN flows_per_minute AS minute \
             ON minute.until > span.after AND minute.until <= span.until"
        );
        Self {
            text: format!("SELECT ({state}), ({flows})"),
            parameters: bound.0,
        }
    }

    /// The statement that counts flows in spans of time, JSON arrays of `[after, until]`. Those of `whole` begin and end
    /// with a minute; those of `cut` are read from the flows. It returns:
    ///
    /// 1. the table's state
    /// 2. the largest id that is counted; NULL where the counts do not hold
    /// 3. the number of spans
    /// 4. a packed record for each span: flows, `until`, packets, bytes
    pub fn count_minutes(kind: TableKind, whole: String, cut: String) -> Self {
        let [.., packets, bytes] = COLUMNS;
        let mut bound = Bound::default();
        let counts = |flows: &str, packets: &str, bytes: &str| {
            format!(
                "json_array(ifnull({flows}, 0), span.until, ifnull(sum({packets}), 0), ifnull(sum({bytes}), 0))"
            )
        };
        let whole = format!(
            "SELECT (SELECT {} FROM flows_per_minute AS minute \
             WHERE minute.until > span.after AND minute.until <= span.until) AS counts FROM {}",
            counts("sum(flows)", "packets", "bytes"),
            span(&mut bound, whole),
        );
        let cut = format!(
            "SELECT (SELECT {} FROM flows WHERE time > span.after AND time <= span.until \
             AND +id <= {COUNTED_ID}) FROM {}",
            counts("count(*)", packets.name, bytes.name),
            span(&mut bound, cut),
        );
        let state = state::select(kind, None, |value| bound.integer(value));
        Self {
            text: format!(
                "SELECT ({state}), {COUNTED_ID}, count(*), CAST(group_concat(counts) AS BLOB) \
                 FROM ({whole} UNION ALL {cut})"
            ),
            parameters: bound.0,
        }
    }
}

/// Selects from spans of time, a JSON array of `[after, until]`.
fn span(bound: &mut Bound, spans: String) -> String {
    let spans = bound.value(Value::Text(spans));
    format!("(SELECT value ->> 0 AS after, value ->> 1 AS until FROM json_each({spans})) AS span")
}
