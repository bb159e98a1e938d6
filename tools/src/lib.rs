//! Native tools for flow-window: everything the `flows` binary does, as functions.
//!
//! - [`lanl`]: one line of LANL's `flows.txt`, parsed or refused
//! - [`load`]: files of such lines into the database of the service, exactly once
//! - [`fit`]: what makes a table fit to be served from, in the service's own words
//! - [`generate`]: lines with the published shape, for tests and measurements

#[path = "../../src/fit.rs"]
pub mod fit;
pub mod generate;
pub mod lanl;
pub mod load;
