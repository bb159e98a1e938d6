//! The table of flows: its columns, the key that orders its rows, and the state that tells edits from arrivals.
//!
//! - [`columns`]: the list of columns, from which every format, filter and document is made
//! - [`layout`]: which of them a record holds
//! - [`key`]: the key that pages and cursors continue after
//! - [`state`]: the guard row, the lineage, and the largest id

pub mod columns;
pub mod key;
pub mod layout;
pub mod state;

/// The SQL that creates the table, its index and its guard.
pub const SCHEMA: &str = include_str!("schema.sql");
