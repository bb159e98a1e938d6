//! flow-window: a time window of network-flow records out of SQLite over HTTP.
//!
//! This crate knows no host. `components/` has an adapter for each: it implements the traits [`db::Database`],
//! [`api::Request`] and [`pipeline::Sink`], and hands requests to [`api::Service`].
//!
//! The modules in reading order:
//!
//! - [`api`]: every route, on one page
//! - [`query`]: the query string becomes a [`query::Query`] or a 400
//! - [`cursor`]: where a limited answer stopped, for the client to carry
//! - [`negotiate`]: what `Accept` and `Accept-Encoding` ask for
//! - [`access`]: the access token, and pages of other origins
//! - [`flow`]: the record: its fields, their order and units
//! - [`state`]: the state of the table: what tells edits from arrivals
//! - [`page`]: the unit of work: pages, the answer's frozen end, where a limit cuts
//! - [`statement`]: the SQL of a page
//! - [`packed`]: the flows of a page, taken out of the text that SQLite packed them into
//! - [`scan`]: where the values of plain records end, found 64 bytes at a time
//! - [`mod@format`]: one file for each output format
//! - [`coding`]: content codings: bodies as they are, or by gzip
//! - [`pipeline`]: pages become a response body, whole or streamed, with read-ahead
//! - [`response`]: a response before it is handed to the host
//! - [`validator`]: entity tags and conditional requests
//! - [`openapi`]: the OpenAPI document and the BigQuery schema, from the code's own lists
//! - [`readiness`]: whether the database can be served from; [`fit`]: what that means, shared with `flows load`
//! - [`db`]: the port to a database, and what its errors mean; [`session`]: one connection for an answer
//! - [`problem`]: errors as RFC 9457 problems
//! - [`settings`]: the Spin variables an operator may set
//! - [`log`]: lines to standard error
//!
//! How a request travels: `api` parses it, `page` reads the first page, and only then is the status
//! chosen. An answer that fits into its first page leaves whole; any other is streamed page by page.

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

pub mod access;
pub mod api;
pub mod coding;
pub mod cursor;
pub mod db;
pub mod fit;
pub mod flow;
pub mod format;
pub mod log;
pub mod negotiate;
pub mod openapi;
pub mod packed;
pub mod page;
pub mod pipeline;
pub mod problem;
pub mod query;
pub mod readiness;
pub mod response;
pub mod scan;
pub mod session;
pub mod settings;
pub mod state;
pub mod statement;
pub mod validator;
