//! The OpenAPI 3.1 document and the BigQuery schema, as the component serves them.
//!
//! Both are made from the code's own lists of parameters, formats, fields and problems, and held to them by
//! a test: see `openapi/generate.rs`. The component holds the texts alone: what makes them would take a
//! tenth of it.

#[cfg(test)]
mod generate;

/// The OpenAPI document.
pub const DOCUMENT: &str = include_str!("openapi/document.json");

/// The schema that `bq load --schema` takes for the flows: name, type and mode of each field.
pub const BIGQUERY_SCHEMA: &str = include_str!("openapi/bigquery.json");
