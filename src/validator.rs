//! Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13.1.2).

use xxhash_rust::xxh64::xxh64;

use crate::coding::Coding;
use crate::page::State;
use crate::query::Query;

/// Keeps the tag's hash apart from the cursor's.
const SEED: u64 = 3;

/// What distinguishes one representation from another over the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Representation(u64);

impl Representation {
    /// The representation that `query` asks for, in a coding.
    pub fn new(query: &Query, coding: Coding) -> Self {
        Self(xxh64(format!("{query:?} {coding:?}").as_bytes(), SEED))
    }

    /// The strong entity tag, which changes with the representation, with any new flow and with the
    /// `user_version` of the database.
    pub fn etag(self, state: State) -> String {
        let newest = state.newest.map_or("empty".to_owned(), |id| id.to_string());
        format!("\"{:016x}.{newest}.{}\"", self.0, state.version)
    }
}

/// Whether `if_none_match` names this tag, or is `*` and names any.
pub fn names(if_none_match: &str, etag: &str) -> bool {
    let mut tags = if_none_match.split(',').map(str::trim);
    // Our tags hold no comma, so the split cannot cut one that could match. Others may, with a `*` between.
    if_none_match.trim() == "*" || tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Fallback;

    #[test]
    fn a_tag_changes_with_the_question_the_form_and_the_table() {
        let tag = |query, coding, newest, version| {
            let query = Query::parse(query, Fallback::default()).unwrap();
            Representation::new(&query, coding).etag(State { newest, version })
        };
        let tags = [
            tag("", Coding::Identity, Some(1), 0),
            tag("", Coding::Gzip, Some(1), 0),
            tag("format=csv", Coding::Identity, Some(1), 0),
            tag("limit=1", Coding::Identity, Some(1), 0),
            tag("after_id=1", Coding::Identity, Some(1), 0),
            tag("", Coding::Identity, Some(2), 0),
            tag("", Coding::Identity, Some(1), 1),
            tag("", Coding::Identity, None, 0),
        ];
        for (i, tag) in tags.iter().enumerate() {
            assert!(!tags[..i].contains(tag), "{tags:#?}");
        }
        assert_eq!(tags[0], tag("format=json&", Coding::Identity, Some(1), 0));
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
            assert!(names(list, tag), "{list}");
        }
        for list in ["", "\"0a.1.1\"", "0a.1.0", "w/\"0a.1.0\"", "\"x,*,y\""] {
            assert!(!names(list, tag), "{list}");
        }
    }
}
