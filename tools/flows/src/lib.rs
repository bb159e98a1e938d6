//! The operator's tool of flow-window: everything the `flows` binary does, as functions.
//!
//! - [`lanl`]: one line of LANL's `flows.txt`, parsed or refused
//! - [`load`]: files of such lines into the database of the service, exactly once
//! - [`pull`]: everything that the service has, and later whatever is new, as files
//! - [`generate`]: lines with the published shape, for tests and measurements

pub mod generate;
pub mod lanl;
pub mod load;
pub mod pull;
