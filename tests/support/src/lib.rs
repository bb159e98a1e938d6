//! What several test binaries stand on, one of each.
//!
//! - [`database`]: a database in a folder of its own
//! - [`records`]: flows as a client reads them, and as they have to be written
//! - [`wire`]: HTTP/1.1 over a plain socket
//! - `server`: the component served from the test's own process
//! - `process`: the component served from another process, whose memory and threads can be counted
//! - `sqld`: a libSQL server
//! - [`tally`]: how often a fault was tried and what came of it
//! - [`random`]: numbers that are the same in every run
//! - [`namespace`]: a process with mounts and permissions of its own
//!
//! The feature `server` adds the three servers, and so the test host.

pub mod database;
pub mod namespace;
#[cfg(feature = "server")]
pub mod process;
pub mod random;
pub mod records;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod sqld;
pub mod tally;
pub mod wire;

/// Where flows are.
pub const FLOWS: &str = "/api/v1/stream/flows";

/// The names of the formats.
pub const FORMATS: [&str; 5] = ["json", "xml", "ndjson", "csv", "arrow"];
