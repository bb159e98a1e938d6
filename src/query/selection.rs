//! Which flows are asked for, and the text by which cursors and entity tags know it.

use super::cursor;

/// Which flows are asked for, in which order: what a cursor belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Flows with a `time` greater than this, in seconds.
    pub after: Option<i64>,
    /// Flows with a `time` up to and including this, in seconds.
    pub before: Option<i64>,
    /// The arrival feed: flows with an `id` greater than this, in the order of `id`.
    pub after_id: Option<i64>,
    /// Flows that match every one of these.
    pub filters: Vec<Filter>,
}

/// One column that has to hold one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The name of the column, one of [`crate::table::columns::COLUMNS`].
    pub column: &'static str,
    /// What it may hold.
    pub values: Values,
}

/// The values of a filter, in order and each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// For a column of integers.
    Integers(Vec<i64>),
    /// For a column of text.
    Texts(Vec<String>),
}

impl Selection {
    /// Whether this is the arrival feed, which goes by `id` instead of `(time, id)`.
    pub fn is_feed(&self) -> bool {
        self.after_id.is_some()
    }

    /// Whether a bound of time is given.
    pub fn has_window(&self) -> bool {
        self.after.is_some() || self.before.is_some()
    }

    /// The digest that ties a cursor to this selection.
    pub fn digest(&self) -> u64 {
        cursor::digest(&self.wire_text())
    }

    /// The text by which cursors and entity tags know this selection: a line for each bound and filter, with its
    /// name and its value in JSON.
    ///
    /// No two selections have the same text. The text is part of the wire format.
    pub fn wire_text(&self) -> String {
        let Self {
            after,
            before,
            after_id,
            filters,
        } = self;
        let mut text = String::new();
        let bounds = [
            ("scanned_after", after),
            ("scanned_before", before),
            ("after_id", after_id),
        ];
        for (name, bound) in bounds {
            if let Some(bound) = bound {
                text.push_str(&format!("{name}={bound}\n"));
            }
        }
        for Filter { column, values } in filters {
            let values = match values {
                Values::Integers(all) => serde_json::to_string(all),
                Values::Texts(all) => serde_json::to_string(all),
            };
            // Numbers and strings cannot fail to serialize.
            text.push_str(&format!("{column}={}\n", values.unwrap_or_default()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::formats::Format;
    use crate::query::Query;

    fn parse(query: &str) -> Query {
        let parsed = Query::parse(query, Ok(Format::Json));
        parsed.unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    #[test]
    fn a_selection_has_one_text_of_its_own() {
        let text = |query| parse(query).selection.wire_text();
        // Cursors and entity tags hold a hash of it: another text makes all of them invalid.
        assert_eq!(
            text("protocol=6&src_comp=b&src_comp=a&after_id=1&scanned_before=3&scanned_after=2"),
            "scanned_after=2\nscanned_before=3\nafter_id=1\nsrc_comp=[\"a\",\"b\"]\nprotocol=[6]\n"
        );
        // Filters stand in the order of the columns.
        assert_eq!(
            text("protocol=6&dst_port=d&dst_comp=c&src_port=b&src_comp=a"),
            "src_comp=[\"a\"]\nsrc_port=[\"b\"]\ndst_comp=[\"c\"]\ndst_port=[\"d\"]\nprotocol=[6]\n"
        );
        assert_eq!(text(""), "");
        assert_eq!(text("src_comp=a%0Ab%22"), "src_comp=[\"a\\nb\\\"\"]\n");
        assert_eq!(
            parse("scanned_after=1").selection.digest(),
            7_480_168_795_136_557_478
        );
    }
}
