//! Native tools for flow-window: everything the `flows` binary does, as functions.
//!
//! - [`lanl`]: one line of LANL's `flows.txt`, parsed or refused
//! - [`load`]: files of such lines into the database of the service, exactly once
//! - [`fit`]: what makes a table fit to be served from, in the service's own words
//! - [`generate`]: lines with the published shape, for tests and measurements
//! - [`mod@bench`]: the component measured side by side with others
//! - [`peer`]: one of these: the same windows from a native server

pub mod bench;
#[path = "../../src/fit.rs"]
pub mod fit;
pub mod generate;
pub mod lanl;
pub mod load;
pub mod peer;
