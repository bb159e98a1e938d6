//! What the service does to an answer when everything around it goes wrong: nothing is lost in silence.
//!
//! Each module brings about one kind of trouble, checks every answer against what is stored, and prints a
//! row of figures: the fault, how often it was tried, what the client saw, what was lost. `make test` runs
//! a short version of each; with `SOAK=1` counts and durations are those of `make soak`.
//!
//! - [`faults`]: the database fails, stalls, goes away or traps, at each point of an answer
//! - [`content`]: whatever a table can hold, read back by independent parsers
//! - [`disk`]: a disk that takes nothing more
//! - [`clients`]: clients that leave, stall, or come all at once
//! - [`readers`]: readers that leave or take nothing, and what their answers go on to cost
//! - [`counts`]: counts while the table changes, a page fails or the client leaves
//! - [`malformed_requests`]: request heads that break the grammar, or are too large
//! - [`writer`]: a load into the table that is being read
//! - [`states`]: a table that is changed in every way there is
//! - [`load`]: 64 connections that never pause
//! - [`pull`]: `flows pull` killed, cut off and refused, beside writers
//! - [`stop`]: the server ends in the middle of an answer
//! - [`http2`]: the same ends over HTTP/2
//! - [`proxy`]: nginx and Caddy between, as deploy/ has them, and nginx as it is by default
//! - [`replace`]: another file under a server that is being read from
//! - [`instances`]: clients that hold every instance; packets
//! - [`shared_connection`]: a host with one connection for all
//! - [`libsql`]: a database server that lags, breaks off, goes away or holds less
//! - [`imports`]: what the component asks of its host, name by name
//!
//! [`table`] is a table that is changed and remembers what it was. The package `support` has the rest.

mod clients;
mod content;
mod counts;
mod disk;
mod faults;
mod http2;
mod imports;
mod instances;
mod libsql;
mod load;
mod malformed_requests;
mod proxy;
mod pull;
mod readers;
mod replace;
mod shared_connection;
mod states;
mod stop;
mod table;
mod writer;

/// Not a test: the process that a test of [`pull`] kills.
#[test]
#[ignore = "the command of other tests, which start it"]
fn pull_process() {
    pull::run();
}

/// Not a test: the other process of the tests that count what a process holds.
#[test]
#[ignore = "the server of other tests, which start it"]
fn server_process() {
    support::process::serve();
}
