//! The HTTP contract, tested from outside: the built component behind the stand-in host.
//!
//! Grouped by behaviour. Each test has a database and a server of its own; the component is compiled once.

mod documents;
mod formats;
mod log;
mod problems;
mod stand;
mod window;
