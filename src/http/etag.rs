//! Entity tags and conditional requests (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2).

use xxhash_rust::xxh64::xxh64;

use super::problem::Problem;
use crate::export::gzip::ContentEncoding;
use crate::formats::Format;
use crate::query::Query;
use crate::table::state::TableState;

/// Keeps the tag's hash apart from the cursor's.
const SEED: u64 = 3;

/// The version of the formats: another one where the same flows make other bytes.
const FORMAT_VERSION: u32 = 2;

/// What distinguishes one representation from another over the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Representation {
    hash: u64,
    /// Whether the bytes may differ in what means nothing: white space and flushes, where reading takes long.
    is_weak: bool,
}

impl Representation {
    /// The representation that `query` asks for, in a content encoding.
    pub fn new(query: &Query, encoding: ContentEncoding) -> Self {
        let Query {
            selection,
            limit,
            format,
            layout,
            cursor,
            end,
            // The lineage decides whether there is an answer, and changes nothing in it.
            lineage: _,
        } = query;
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        let cursor = cursor.map(|cursor| cursor.encode(selection.digest()));
        let columns = if layout.is_all() {
            String::new()
        } else {
            format!("columns={}\n", layout.field_names())
        };
        let question = format!(
            "{}{columns}limit={limit}\ncursor={}\nend={end}\n",
            selection.wire_text(),
            cursor.unwrap_or_default(),
        );
        let is_filtered =
            !selection.filters.is_empty() || selection.is_feed() && selection.has_window();
        Self {
            hash: hash(&question, *format, encoding),
            // The head of a limited answer waits for the walk to its end.
            is_weak: is_filtered && limit.is_empty(),
        }
    }

    /// The representation of counts in a format and a content encoding. `question` tells one question from another.
    pub fn of_counts(question: &str, format: Format, encoding: ContentEncoding) -> Self {
        Self {
            hash: hash(question, format, encoding),
            is_weak: true,
        }
    }

    /// Whether the bytes may differ in what means nothing.
    pub fn is_weak(self) -> bool {
        self.is_weak
    }

    /// The entity tag, which changes with the representation, with every edit and with any new flow. It is a weak one
    /// where the answer may be silent for long.
    ///
    /// `None` for a table without a guard, which does not tell of edits.
    pub fn etag(self, state: TableState) -> Option<String> {
        let content = state.guard()?.content;
        Some(format!(
            "{}\"{:016x}.{content:016x}.{}\"",
            if self.is_weak { "W/" } else { "" },
            self.hash,
            state.max_id
        ))
    }
}

fn hash(question: &str, format: Format, encoding: ContentEncoding) -> u64 {
    let text = format!(
        "form={FORMAT_VERSION}\n{question}format={}\ncoding={}\n",
        format.name(),
        encoding.name(),
    );
    xxh64(text.as_bytes(), SEED)
}

/// Whether `if_none_match` lists this tag, by weak comparison, or is `*`.
pub fn matches(if_none_match: &str, etag: &str) -> bool {
    let mut tags = if_none_match.split(',').map(str::trim);
    // Tags of this service hold no comma. Other tags may, with a `*` between two.
    if_none_match.trim() == "*" || tags.any(|tag| opaque(tag) == opaque(etag))
}

/// A tag without the sign of a weak one.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The strong entity tag of a document.
pub fn document_etag(document: &str) -> String {
    format!("\"{:016x}\"", xxh64(document.as_bytes(), SEED))
}

/// Checks `If-Match`, if it is given, by strong comparison. `*` matches any answer, also one without a tag.
///
/// # Errors
/// A 412 when it does not list the answer's tag.
pub fn check_if_match(if_match: Option<&str>, etag: Option<&str>) -> Result<(), Problem> {
    let Some(expected) = if_match else {
        return Ok(());
    };
    // As in `matches`: a split cuts no tag of this service. A weak one is never the same.
    let etag = etag.filter(|etag| !etag.starts_with("W/"));
    let mut tags = expected.split(',').map(str::trim);
    if expected.trim() == "*" || tags.any(|tag| Some(tag) == etag) {
        Ok(())
    } else {
        Err(Problem::precondition_failed(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::state::{Guard, Version};

    fn state(content: i64, max_id: i64) -> TableState {
        TableState {
            version: Version::Guarded(Guard {
                content,
                lineage: 7,
            }),
            max_id,
            has_cursor_row: true,
        }
    }

    fn representation(query: &str, encoding: ContentEncoding) -> Representation {
        let query = Query::parse(query, Ok(Format::Json)).unwrap();
        Representation::new(&query, encoding)
    }

    #[test]
    fn a_tag_changes_with_the_selection_the_form_and_the_table() {
        let tag = |query, encoding, content, max_id| {
            representation(query, encoding).etag(state(content, max_id))
        };
        let tags = [
            tag("", ContentEncoding::Identity, 0, 1),
            tag("", ContentEncoding::Gzip, 0, 1),
            tag("format=csv", ContentEncoding::Identity, 0, 1),
            tag("limit=1", ContentEncoding::Identity, 0, 1),
            tag("columns=id", ContentEncoding::Identity, 0, 1),
            tag("columns=id,time", ContentEncoding::Identity, 0, 1),
            tag("columns=time,id", ContentEncoding::Identity, 0, 1),
            tag("after_id=1", ContentEncoding::Identity, 0, 1),
            tag("scanned_after=1", ContentEncoding::Identity, 0, 1),
            tag("end=1", ContentEncoding::Identity, 0, 1),
            tag("src_comp=1", ContentEncoding::Identity, 0, 1),
            tag("src_comp=1&src_comp=2", ContentEncoding::Identity, 0, 1),
            tag("src_comp=1%22,%222", ContentEncoding::Identity, 0, 1),
            tag("", ContentEncoding::Identity, 0, 2),
            tag("", ContentEncoding::Identity, 1, 1),
            tag("", ContentEncoding::Identity, 0, i64::MIN),
        ];
        for (i, tag) in tags.iter().enumerate() {
            assert!(tag.is_some() && !tags[..i].contains(tag), "{tags:#?}");
        }
        assert_eq!(
            tags[0],
            tag("format=json&", ContentEncoding::Identity, 0, 1)
        );
        // The tag is part of the wire: another value makes every client ask anew.
        assert_eq!(
            tags[0].as_deref(),
            Some("\"fe94294fc4b2bb90.0000000000000000.1\"")
        );
    }

    #[test]
    fn a_table_without_a_guard_has_no_tag() {
        let unguarded = TableState {
            version: Version::Unguarded(3),
            ..state(0, 1)
        };
        let tag = representation("", ContentEncoding::Identity).etag(unguarded);
        assert_eq!(tag, None);
    }

    #[test]
    fn a_list_names_a_tag_weak_or_strong_or_any() {
        let tag = "\"0a.1.0\"";
        for list in [
            "\"0a.1.0\"",
            "W/\"0a.1.0\"",
            "\"x\", \"0a.1.0\"",
            "*",
            " \"0a.1.0\" ",
        ] {
            assert!(matches(list, tag), "{list}");
        }
        for list in ["", "\"0a.1.1\"", "0a.1.0", "w/\"0a.1.0\"", "\"x,*,y\""] {
            assert!(!matches(list, tag), "{list}");
        }
    }

    #[test]
    fn an_expectation_is_of_a_strong_tag_or_of_any_answer() {
        let tag = "\"0a.1.0\"";
        let holds = |expected, etag| check_if_match(expected, etag).is_ok();
        for list in ["\"0a.1.0\"", "\"x\", \"0a.1.0\" ,W/\"y\"", "*", " * "] {
            assert!(holds(Some(list), Some(tag)), "{list}");
        }
        for list in ["", "W/\"0a.1.0\"", "\"0a.1.1\"", "0a.1.0", "\"x,*,y\""] {
            assert!(!holds(Some(list), Some(tag)), "{list}");
        }
        assert!(holds(None, Some(tag)) && holds(None, None));
        assert!(holds(Some("*"), None) && !holds(Some(tag), None));
    }

    #[test]
    fn a_tag_of_what_may_be_silent_is_weak_and_known_and_never_expected() {
        let tag = |query| representation(query, ContentEncoding::Identity).etag(state(0, 1));
        for (query, is_weak) in [
            ("", false),
            ("src_comp=C1", true),
            ("src_comp=C1&limit=9", false),
            ("after_id=1", false),
            ("after_id=1&scanned_after=1", true),
        ] {
            let tag = tag(query).unwrap();
            assert_eq!(tag.starts_with("W/"), is_weak, "{query}");
            assert!(matches(&tag, &tag) && matches(opaque(&tag), &tag));
            assert_eq!(check_if_match(Some(&tag), Some(&tag)).is_ok(), !is_weak);
            assert!(check_if_match(Some("*"), Some(&tag)).is_ok());
        }
    }
}
