//! The HTTP contract, tested from outside: the built component behind the test host.
//!
//! Grouped by behaviour. Each test has a database and a server of its own; the component is compiled once.

mod access;
mod arrow;
mod columns;
mod compression;
mod conditional;
mod continuation;
mod counts;
mod documents;
mod edits;
mod feed;
mod filter_index;
mod filters;
mod formats;
mod log;
mod openapi;
mod order;
mod other_routes;
mod problems;
mod properties;
mod window;

/// Flows, as `(id, time)`, whose times and ids lie at both ends of 64 bits, in the order of an answer.
const ENDS: [(i64, i64); 5] = [
    (i64::MIN, i64::MIN),
    (-1, i64::MIN),
    (0, 0),
    (5, i64::MAX),
    (i64::MAX, i64::MAX),
];
