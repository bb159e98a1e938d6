//! An answer on its way out: pages become records, records a format, the format a body.
//!
//! - [`pipeline`]: the body, whole or streamed, with read-ahead and back-pressure
//! - [`counts`]: flows that are counted instead of written
//! - [`gzip`]: content encodings

use std::io;
use std::time::Duration;

use crate::db::DbError;
use crate::rows::RecordError;

pub mod counts;
pub mod gzip;
pub mod pipeline;

/// Why a body cannot be completed.
#[derive(Debug)]
pub enum ExportError {
    /// The next page cannot be read.
    Db(DbError),
    /// A flow cannot be written.
    Record(RecordError),
    /// The encoder has failed.
    Gzip(io::Error),
    /// The client has taken nothing for so long.
    ReaderStalled(Duration),
    /// This sum takes more than 64 bits.
    Overflow(&'static str),
    /// This column has more values than can be counted.
    TooManyValues(&'static str),
}

impl From<DbError> for ExportError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<RecordError> for ExportError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Gzip(error)
    }
}
