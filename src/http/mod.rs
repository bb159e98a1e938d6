//! HTTP: routes, requests, responses, problems. No host type stands here.
//!
//! - [`routes`]: the list of routes, and the dispatch
//! - [`request`], [`response`]: what comes in and what goes out
//! - [`problem`]: errors as RFC 9457 problems
//! - [`negotiate`]: `Accept` and `Accept-Encoding`
//! - [`etag`]: entity tags and conditional requests
//! - [`auth`], [`cors`]: the access token, and pages of other origins
//! - [`openapi`]: the documents
//! - [`page`]: the page for people
//! - [`access_log`]: how a request has ended

pub mod access_log;
pub mod auth;
pub mod cors;
pub mod etag;
pub mod negotiate;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod request;
pub mod response;
pub mod routes;
