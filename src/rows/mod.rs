//! Records out of a page: what SQLite has packed becomes values that a format can write.
//!
//! - [`reader`]: the records of a page, value by value
//! - [`simd`]: the ends of values, 64 bytes at a time
//! - [`raw_value`]: one value, not decoded
//! - [`convert`]: values that the database stores as another type than their column's
//! - [`ends`]: the first and the last record of a page
//! - [`order`]: whether the records of a page stand in the answer's order

use std::fmt;

pub mod convert;
pub mod ends;
pub mod order;
pub mod raw_value;
pub mod reader;
pub mod simd;

/// A flow that no format can write, or a page that is not what its statement promises.
///
/// The message names the flow and the column, and says what was expected.
#[derive(Debug)]
pub struct RecordError(anyhow::Error);

impl From<anyhow::Error> for RecordError {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for RecordError {}
