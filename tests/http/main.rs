//! The HTTP contract, tested from outside: the built component behind the stand-in host.
//!
//! Grouped by behaviour. Each test has a database and a server of its own; the component is compiled once.

mod access;
mod compression;
mod conditional;
mod continuation;
mod documents;
mod edits;
mod feed;
mod filters;
mod formats;
mod log;
mod openapi;
mod other_routes;
mod problems;
mod properties;
mod records;
mod stand;
mod window;
