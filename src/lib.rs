//! flow-window: a time window of network-flow records out of SQLite over HTTP.
//!
//! This crate knows no host. `components/` has an adapter for each host. An adapter implements the traits
//! [`db::Database`], [`http::request::Request`] and [`export::pipeline::Sink`], and hands requests to
//! [`service::Service`].
//!
//! The folders, lowest first. A module uses its own folder and those above it in this list:
//!
//! - [`settings`], [`log`]: the operator's variables, and lines to standard error
//! - [`table`]: the columns, the key and the state of the table of flows
//! - [`rows`]: records out of the text that SQLite packs pages into
//! - [`formats`]: the output formats
//! - [`query`]: the query string
//! - [`db`]: the port to a database, pages, and the SQL
//! - [`export`]: pages become a body
//! - [`http`]: routes, negotiation, problems
//! - [`service`]: one instance
//!
//! How a request travels: [`service`] hands it to [`http::routes`]. The handler of flows reads the first page by
//! [`db::pager`], and only then is the status chosen. An answer that fits into its first page leaves whole. Any other
//! is streamed page by page by [`export::pipeline`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented,
        clippy::exit,
        clippy::print_stdout,
        clippy::print_stderr,
    )
)]

pub mod db;
pub mod export;
pub mod formats;
pub mod http;
pub mod log;
pub mod query;
pub mod rows;
pub mod service;
pub mod settings;
pub mod table;
