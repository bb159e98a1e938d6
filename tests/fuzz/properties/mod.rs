//! What has to hold whatever bytes come: one property a surface, for the fuzz targets and for the replay.
//!
//! - [`query`]: the query string, the problems it is refused with, and the Link that goes on behind it
//! - [`grammars`]: texts of one line, by four oracles:
//!   - [`cursor`]: the cursor that a client carries
//!   - [`accept`], [`accept_encoding`]: which format and coding a client wants
//!   - [`if_none_match`]: whether a client has the answer already
//! - [`page`]: the text of a page, from any bytes
//! - [`flows`]: the text of a page as SQLite itself packs it
//!
//! Each compares with an oracle: a slow reference that follows the specification, or a reader that knows
//! nothing of this crate. [`bodies`] reads what is written back, in every format.

pub mod accept;
pub mod accept_encoding;
pub mod bodies;
pub mod cursor;
pub mod flows;
pub mod grammars;
pub mod if_none_match;
mod lists;
pub mod page;
pub mod query;

/// A property: it panics where it does not hold.
pub type Property = fn(&[u8]);

/// Every property, by the name of its target and of its folder in `corpus`.
pub const PROPERTIES: [(&str, Property); 4] = [
    ("query", query::check),
    ("grammars", grammars::check),
    ("page", page::check),
    ("flows", flows::check),
];

/// The property of that name.
pub fn named(name: &str) -> Property {
    let found = PROPERTIES.into_iter().find(|(known, _)| *known == name);
    let (_, property) = found.unwrap_or_else(|| panic!("{name} is no property"));
    property
}
